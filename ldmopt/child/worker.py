"""What runs inside a child: one warm pipeline, a plan for each setting, a meter around each call.

Requests are ``describe``, ``generate`` and ``memory``. The pipeline is loaded again only when the
LOAD part of the plan changes.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any

import numpy as np

from ldmopt import machine, registry
from ldmopt.child import png, wire
from ldmopt.child.noise import starting_noise
from ldmopt.contracts import Block, Cost, Engine, Meter, Pixels, Plan, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import all_knobs, build_plan
from ldmopt.model import STANDIN, Model

WARMUP_STEPS = 2
OUT_OF_MEMORY = (
    "out of memory", "not enough memory", "DefaultCPUAllocator", "bad allocation", "bad_alloc",
    "Failed to allocate memory", "_ALLOC_FAILED",
)
"""How torch, its CUDA libraries and ONNX Runtime say that memory ran out."""


def work(channel: socket.socket) -> None:
    """Answer requests until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hello = wire.receive(channel)
    if hello is None:
        return
    worker = Worker(Model(**hello[0]["model"]), hello[0]["device"], hello[0]["plugins"])
    while (request := wire.receive(channel)) is not None:
        message = request[0]
        try:
            if message["op"] == "describe":
                wire.send(channel, {"machine": machine.describe(worker.device)})
                continue
            setting = Setting(message["setting"])
            if message["op"] == "memory":
                answers = worker.memory(setting)
            else:
                pictures = Setting(message["picture"])
                answers = worker.generate(setting, pictures, message["blocks"])
            for answer, data in answers:
                wire.send(channel, answer, data)
        except OSError:
            return
        except Exception as error:
            failure = as_failure(error)
            wire.send(channel, {"failure": failure.kind, "reason": failure.reason})


def as_failure(error: Exception) -> GenerationError:
    """Name what went wrong while a setting ran."""
    if isinstance(error, GenerationError):
        return error
    line = (str(error).strip().splitlines() or [""])[0]
    text = f"{type(error).__name__}: {line}"
    if isinstance(error, MemoryError) or any(mark in str(error) for mark in OUT_OF_MEMORY):
        return GenerationError("out-of-memory", text)
    return GenerationError("error", text)


class Worker:
    """One warm pipeline under one meter.

    Attributes:
        model: facts of the model.
        knobs: every known knob.
        pipeline: what is loaded, or None.
    """

    def __init__(self, model: Model, device: str, plugins: list[str]) -> None:
        """Load nothing yet.

        Args:
            model: facts of the model.
            device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto``.
            plugins: modules with further knobs.
        """
        self.model = model
        self.knobs = all_knobs(plugins, model)
        self._wanted_device = device
        self.pipeline: Any = None
        self._loaded: dict[str, Any] | None = None
        self._warm: dict[str, float] = {}

    @cached_property
    def device(self) -> str:
        """The device that runs: ``auto`` becomes CUDA where there is one."""
        if self.model.name == STANDIN or self._wanted_device != "auto":
            return "cpu" if self._wanted_device == "auto" else self._wanted_device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    @cached_property
    def meter(self) -> Meter:
        """The meter of the device."""
        name = "cuda" if self.device.startswith("cuda") else "cpu"
        kind = registry.module("ldmopt.meters", name)
        meter: Meter = kind.CudaMeter(self.device) if name == "cuda" else kind.CpuMeter()
        return meter

    def unload(self) -> None:
        """Drop the pipeline."""
        self.pipeline, self._loaded = None, None
        self._warm.clear()

    def generate(
        self, setting: Setting, picture: Setting, blocks: list[list[Any]]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield ``prepared``, ``loading``, ``loaded``, ``ready``, then a cost and PNG a block.

        Between ``loaded`` and ``ready`` is the warm-up, unless an earlier one still serves.

        Raises:
            GenerationError: not-a-number or black pictures, or what loading and running raised.
        """
        yield self._prepared(setting)
        plan = self.prepare(setting)
        yield {"event": "loaded", "batch": plan.batch}, b""
        with self.edited(plan):
            key = self._warmth(setting)
            if key not in self._warm:
                began = time.perf_counter()
                yield from self._warmed(setting, plan)
                self._warm[key] = time.perf_counter() - began
            yield {"event": "ready"}, b""
            wanted = [Block(prompt, seed) for prompt, seed in blocks]
            for first in range(0, len(wanted), plan.batch):
                together = wanted[first : first + plan.batch]
                pictures, cost = self.calls(plan, together)
                cost = replace(cost, warmup_seconds=self._warm[key])
                for block, pixels in zip(together, pictures, strict=True):
                    text = png.parameters_text(picture, block, self.model.name)
                    yield {"cost": cost.to_dict()}, png.encode(pixels, text)

    def memory(self, setting: Setting) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Yield ``prepared``, ``loaded``, then the peak of one call of two steps.

        The peak does not depend on steps. To be asked of a fresh child: the libraries are paged
        in by a tiny computation, the baseline is held, the model loaded, smallest-size pictures
        made; then the peak is reset and read over one call of the setting's own size.

        On a CPU, loading and the smallest-size pictures are rehearsed before the baseline is
        held. Resident bytes count the pages of code in use, and which of them are depends on what
        else was imported and on what the system's file cache holds: half of what a small model
        seems to take, other in every process. A GPU's memory holds no such pages.
        """
        yield self._prepared(setting)
        self._engine(self.plan(setting)).warm_libraries(self.device)
        if self.device == "cpu":
            yield from self._smallest(setting)
            self.unload()
            yield {"event": "loading"}, b""
        self.meter.hold_baseline()
        yield from self._smallest(setting)
        plan = self.prepare(setting)
        with self.edited(plan):
            if setting.get("compile", "off") != "off":
                yield from self._warmed(setting, plan)
            self.meter.reset_peak()
            _, cost = self.call(self._short(plan), Block("", 0))
            yield {"cost": replace(cost, **self.meter.peak()).to_dict()}, b""

    def _smallest(self, setting: Setting) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Load what the setting needs, yield ``loaded``, and make pictures of the least size."""
        plan = self.prepare(setting)
        yield {"event": "loaded", "batch": plan.batch}, b""
        side = min(64, self.model.native_size)
        with self.edited(plan):
            yield from self._warmed(setting, plan, width=side, height=side)

    def _warmed(
        self, setting: Setting, plan: Plan, **call: Any
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Make a short call of every kind of network call that the setting's pictures need.

        What compiles here, yields ``loading`` before and ``loaded`` after it: it takes minutes.
        """
        compiles = setting.get("compile", "off") != "off"
        if compiles:
            yield {"event": "loading"}, b""
        self.call(self._short(plan, **call), Block("", 0))
        if float(setting.get("guidance_end", 1)) < 1:
            self.call(self._short(plan, guidance_scale=1.0, **call), Block("", 0))
        if compiles:
            yield {"event": "loaded", "batch": plan.batch}, b""

    @contextmanager
    def edited(self, plan: Plan) -> Iterator[None]:
        """Hold the plan's edits in force; the pipeline is as before afterwards."""
        with ExitStack() as edits:
            for edit in plan.edits:
                edits.enter_context(edit(self.pipeline))
            yield

    @staticmethod
    def _short(plan: Plan, **call: Any) -> Plan:
        """Return the plan with few steps, and other arguments of the call."""
        return replace(plan, call={**plan.call, "num_inference_steps": WARMUP_STEPS, **call})

    def _engine(self, plan: Plan) -> Engine:
        name = STANDIN if self.model.name == STANDIN else plan.load.get("backend", "torch")
        engine: Engine = registry.module("ldmopt.hosts", name)
        return engine

    def _warmth(self, setting: Setting) -> str:
        """Name what a first call pays for: how it runs, at which size, guided or not."""
        runs = {n: v for n, v in setting.items() if self.knobs[n].changes_memory}
        if runs.get("compile", "off") != "off":
            # Samplers hand on timesteps in number formats of their own: other graphs.
            runs |= setting.only({"sampler", "sigmas"})
        guided = float(setting.get("guidance", 0)) > 1
        ends = float(setting.get("guidance_end", 1)) < 1
        return Setting(runs, size=setting.get("size", ""), guided=guided, ends=ends).json()

    def plan(self, setting: Setting) -> Plan:
        """Return what the setting asks of this model's pipeline."""
        wanted = build_plan(setting, self.knobs)
        plan = build_plan(setting, self.knobs, self._engine(wanted).LACKS)
        if self.model.name == STANDIN:
            plan.call["setting"] = dict(setting)
        return plan

    def _prepared(self, setting: Setting) -> tuple[dict[str, Any], bytes]:
        plan = self.plan(setting)
        if plan.load != self._loaded:
            self._engine(plan).prepare(self.model, plan.load)
        return {"event": "prepared"}, b""

    def prepare(self, setting: Setting) -> Plan:
        """Load what the setting needs, where it is not loaded, and return its plan."""
        plan = self.plan(setting)
        if plan.load != self._loaded:
            self.unload()
            self.pipeline = self._engine(plan).load(self.model, plan.load, self.device)
            self._loaded = plan.load
        return plan

    def call(self, plan: Plan, block: Block) -> tuple[Pixels, Cost]:
        """Make one block's picture under the meter, in a call of the plan's batch.

        Raises:
            GenerationError: a picture that is not a number or black.
        """
        pictures, cost = self.calls(plan, [block])
        return pictures[0], cost

    def calls(self, plan: Plan, blocks: Sequence[Block]) -> tuple[list[Pixels], Cost]:
        """Make the pictures of one call under the meter; the plan's edits must be in force.

        A call that lacks blocks is filled up with its own: what it costs is then the same as for
        every other call of the setting. What was made to fill up is left out.

        Args:
            plan: says how many pictures a call makes.
            blocks: at least one, and no more than that.

        Raises:
            GenerationError: a picture that is not a number or black.
        """
        filled = [blocks[place % len(blocks)] for place in range(plan.batch)]
        prompts, seeds = [block.prompt for block in filled], [block.seed for block in filled]
        with self.inputs(prompts, seeds) as inputs, metered(self.pipeline, self.meter, plan.batch):
            self.meter.start()
            result = self.pipeline(output_type="np", **inputs, **plan.call)
            cost = self.meter.finish(plan.batch)
        return [as_pixels(image) for image in result.images[: len(blocks)]], cost

    @contextmanager
    def inputs(self, prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Yield what a call of the pipeline takes besides a plan's: prompts, and their noise.

        Args:
            prompts: one a picture.
            seeds: of the starting noise, one a picture.
        """
        if hasattr(self.pipeline.scheduler, "noise_sampler_seed"):
            # Brownian noise has a source of its own, that no generator decides.
            self.pipeline.scheduler.noise_sampler_seed = list(seeds)
        with starting_noise(self.model, seeds) as noise:
            inputs = {"prompt": list(prompts), **noise}
            if self.model.rounds_sizes:
                inputs["use_resolution_binning"] = False
            yield inputs


def as_pixels(image: np.ndarray[Any, Any]) -> Pixels:
    """Round a height x width x 3 picture in [0, 1] to uint8.

    Raises:
        GenerationError: it holds NaN or infinity, or is black all over.
    """
    if not np.isfinite(image).all():
        raise GenerationError("nan", "the picture holds values that are not numbers")
    pixels: Pixels = (image * 255).round().clip(0, 255).astype(np.uint8)
    if not pixels.any():
        raise GenerationError("black", "the picture is black all over")
    return pixels


@contextmanager
def metered(pipeline: Any, meter: Meter, batch: int = 1) -> Iterator[None]:
    """Book every call of the pipeline's parts under its kind, and take the wrappers off again.

    A network call is ``guided`` when it works on twice the pictures (CFG on), else ``unguided``;
    or ``cached``, where an edit of the network tells by ``reuses(sample)`` that it is a cheap one.
    """
    with ExitStack() as stack:

        def wrap(owner: Any, method: str, kind: str) -> None:
            plain = getattr(owner, method)

            # Pipelines look at a scheduler's signature before they hand it generator and eta.
            @wraps(plain)
            def timed(*args: Any, **kwargs: Any) -> Any:
                name = kind
                if kind == "network":
                    named = kwargs.get("sample", kwargs.get("hidden_states"))
                    first: Any = args[0] if args else named
                    name = "guided" if first.shape[0] > batch else "unguided"
                    if getattr(owner, "reuses", None) is not None and owner.reuses(first):
                        name = "cached"
                with meter.timed(name):
                    return plain(*args, **kwargs)

            stack.callback(_restore, owner, method, vars(owner).get(method))
            setattr(owner, method, timed)

        for part in ("text_encoder", "text_encoder_2", "text_encoder_3"):
            if getattr(pipeline, part, None) is not None:
                wrap(getattr(pipeline, part), "forward", "encode")
        for part in ("unet", "transformer"):
            if getattr(pipeline, part, None) is not None:
                wrap(getattr(pipeline, part), "forward", "network")
        wrap(pipeline.scheduler, "step", "step")
        wrap(pipeline.vae, "decode", "decode")
        yield


def _restore(owner: Any, method: str, own: Any) -> None:
    """Put back an attribute that the object had of its own, or uncover its class's method."""
    if own is None:
        delattr(owner, method)
    else:
        setattr(owner, method, own)
