"""The parent's side: a host whose pipelines live in a child process."""

from __future__ import annotations

import dataclasses
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ldmopt import registry
from ldmopt.child import wire
from ldmopt.child.server import Server
from ldmopt.contracts import Block, Cost, Host, Picture, Setting
from ldmopt.errors import GenerationError, UserError
from ldmopt.model import STANDIN, Model

LOAD_DEADLINE_SECONDS = 1800.0
"""How long loading may take, an ONNX export included."""

HARMLESS = ("nan", "black", "refused")
"""Failures after which a child is as good as before."""


class ProcessHost:
    """Generates in a child process that may crash, hang or run out of memory.

    Attributes:
        busy_seconds: how long children have worked for us, loading and failures included, what
            is prepared once (an ONNX export) left out.
        deadline_seconds: how long a picture may take before its child is killed; a call for
            several may take as many times as long.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        *,
        backends: Sequence[str] = ("torch",),
        plugins: Sequence[str] = (),
        picture_part: Callable[[Setting], Setting] = lambda setting: setting,
        deadline_seconds: float = 600.0,
        log: Path | None = None,
    ) -> None:
        """Start the fork server; no child yet.

        Args:
            model: facts of the model.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
            backends: engines that may be asked for, so that their libraries are preloaded.
            plugins: modules with further knobs.
            picture_part: picks the knobs that a PNG's parameters text names.
            deadline_seconds: for one picture, once loaded.
            log: file that takes what the libraries print; None leaves it on the terminal.
        """
        engines = [STANDIN] if model.name == STANDIN else backends
        preload = ["ldmopt.child.worker"]
        for name in engines:
            preload += registry.module("ldmopt.hosts", name).PRELOAD
        preload += [model.module] if model.module else []
        self._hello = {"model": dataclasses.asdict(model), "device": device,
                       "plugins": list(plugins)}
        self.picture_part = picture_part
        self.deadline_seconds = deadline_seconds
        self.busy_seconds = 0.0
        self._server = Server(preload, log)
        self._child: tuple[socket.socket, int] | None = None

    def describe(self) -> Mapping[str, Any]:
        """Return the machine's facts as a child sees them.

        Raises:
            UserError: no child can be started, or there is no such device.
        """
        try:
            answer = next(self._ask({"op": "describe"}))[0]
        except (GenerationError, OSError) as error:
            device = str(self._hello["device"])
            if isinstance(error, GenerationError) and device.startswith("cuda"):
                raise UserError(f"device {device!r} cannot be had here ({error.reason}); give auto "
                                "or cpu, or ask ldmopt doctor what is missing") from error
            raise UserError(f"the host process cannot start: {error}; see its output above, "
                            "then try ldmopt again") from error
        facts: Mapping[str, Any] = answer["machine"]
        return facts

    def generate(
        self, setting: Setting, blocks: Sequence[Block]
    ) -> Iterator[tuple[Picture, Cost]]:
        """Yield each block's picture as it arrives, in order.

        Raises:
            GenerationError: the setting gave no usable picture; the host can be used again.
        """
        request = {
            "op": "generate",
            "setting": dict(setting),
            "picture": dict(self.picture_part(setting)),
            "blocks": [[block.prompt, block.seed] for block in blocks],
        }
        answers = self._ask(request, len(blocks))
        for block, (answer, png) in zip(blocks, answers, strict=True):
            yield Picture.from_png(png, block), Cost.from_dict(answer["cost"])

    def memory(self, setting: Setting) -> Cost:
        """Read peak memory in a fresh child.

        Raises:
            GenerationError: the setting gave no usable picture.
        """
        self._end_child()
        try:
            request = {"op": "memory", "setting": dict(setting)}
            answer, _ = next(self._ask(request))
        finally:
            self._end_child()
        return Cost.from_dict(answer["cost"])

    def close(self) -> None:
        """End the child and the server."""
        self._end_child()
        self._server.close()

    def _ask(
        self, request: Mapping[str, Any], count: int = 1
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Send a request and yield its answers, events left out.

        From ``loading``, where a child begins, to ``loaded`` the deadline is the one for loading.
        """
        finished, loading, batch = 0, True, 1
        try:
            if self._child is None:
                self._child = self._server.spawn()
                wire.send(self._child[0], self._hello)
            channel = self._child[0]
            wire.send(channel, request)
            while finished < count:
                deadline = LOAD_DEADLINE_SECONDS if loading else batch * self.deadline_seconds
                answer, blob = self._answer(channel, deadline)
                loading = {"loading": True, "loaded": False}.get(answer.get("event", ""), loading)
                batch = answer.get("batch", batch)
                if "failure" in answer:
                    if answer["failure"] in HARMLESS:
                        finished = count
                    raise GenerationError(answer["failure"], answer["reason"])
                if "event" not in answer:
                    finished += 1
                    yield answer, blob
        except OSError as error:
            raise GenerationError("crash", f"the host process is gone ({error})") from error
        finally:
            # Answers that nobody took would be read as those of the next request; and what raised
            # an error may have left CUDA unusable, or memory in pieces.
            if finished < count:
                self._end_child()

    def _answer(self, channel: socket.socket, deadline: float) -> tuple[dict[str, Any], bytes]:
        """Wait for one answer and book the time as busy, unless it was preparation."""
        began = time.monotonic()
        busy = True
        try:
            channel.settimeout(deadline)
            found = wire.receive(channel)
            busy = found is None or found[0].get("event") != "prepared"
        except TimeoutError as error:
            self._end_child()
            raise GenerationError("deadline", f"no picture within {deadline:g} s") from error
        finally:
            self.busy_seconds += (time.monotonic() - began) * busy
        if found is None:
            raise _ended(self._end_child())
        return found

    def _end_child(self) -> int:
        if self._child is None:
            return 0
        channel, pid = self._child
        self._child = None
        channel.close()
        return self._server.reap(pid)


def _ended(code: int) -> GenerationError:
    """Say how a child ended that nobody told to."""
    if code == -signal.SIGKILL:
        reason = "the system killed the host process, most likely for lack of memory"
        return GenerationError("out-of-memory", reason)
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return GenerationError("crash", f"the host process ended by {name}")


_: type[Host] = ProcessHost
