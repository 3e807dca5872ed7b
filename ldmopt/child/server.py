"""A fork server: imports the heavy libraries once, then gives ready children in milliseconds.

Python's own forkserver would run the user's main script again in every child and passes pickles;
this one passes a socket. It leaves CUDA untouched, so each child may use it. Where there is no
fork, the server itself becomes the one child that it is asked for.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ldmopt.child import wire

CAN_FORK = sys.platform == "linux"
GRACE_SECONDS = 0.3
"""How long a child may take to end by itself, so that its own exit code is seen."""


class Server:
    """The parent's handle on a fork server process."""

    def __init__(self, preload: Sequence[str], log: Path | None = None) -> None:
        """Start the server; it imports while the parent goes on.

        Args:
            preload: modules that children need.
            log: file that takes what the libraries print; None leaves it on the terminal.
        """
        ours, theirs = socket.socketpair()
        self._channel = ours
        with ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else None
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ldmopt.child.server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Said while it is imported, before anything in the child could ask it not to.
                env={"DIFFUSERS_VERBOSITY": "error", **os.environ},
                start_new_session=True,
            )
        theirs.close()
        wire.send(ours, {"preload": list(preload)})

    def spawn(self) -> tuple[socket.socket, int]:
        """Return a channel to a fresh child, and its process id.

        Raises:
            OSError: the server is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._channel, [b"f"], [theirs.fileno()])
        answer = wire.receive(self._channel)
        if answer is None:
            ours.close()
            raise OSError("the server of host processes ended")
        return ours, int(answer[0]["pid"])

    def reap(self, pid: int) -> int:
        """Kill a child that may have ended already; return its exit code, negative for a signal."""
        self._channel.sendall(b"r" + pid.to_bytes(4, "little"))
        answer = wire.receive(self._channel)
        return int(answer[0]["code"]) if answer else -signal.SIGKILL

    def close(self) -> None:
        """End the server and every child of it."""
        self._channel.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def serve(channel: socket.socket) -> None:
    """Fork children on request until the parent is gone, then end them all."""
    hello = wire.receive(channel)
    for name in hello[0]["preload"] if hello else ():
        importlib.import_module(name)
    children: set[int] = set()
    try:
        while True:
            # One descriptor at most; five bytes are the longest request.
            request, fds, _, _ = socket.recv_fds(channel, 5, 1)
            if not request:
                return
            if request == b"f":
                children.add(_fork(channel, fds[0]))
            else:
                pid = int.from_bytes(request[1:], "little")
                code = _reap(pid)
                children.discard(pid)
                wire.send(channel, {"code": code})
    finally:
        for pid in children:
            _reap(pid)


def _fork(channel: socket.socket, descriptor: int) -> int:
    pid = os.fork() if CAN_FORK else 0
    if pid:
        os.close(descriptor)
        wire.send(channel, {"pid": pid})
        return pid
    if not CAN_FORK:
        wire.send(channel, {"pid": os.getpid()})
    code = 1
    try:
        from ldmopt.child import worker

        channel.close()
        worker.work(socket.socket(fileno=descriptor))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Skips exit handlers, which belong to the server.
        os._exit(code)


def _reap(pid: int) -> int:
    try:
        done, status, patience = 0, 0, time.monotonic() + GRACE_SECONDS
        while not done and time.monotonic() < patience:
            done, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0 if done else 0.005)
        if not done:
            os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return -signal.SIGKILL
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))
