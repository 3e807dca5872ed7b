"""`ldmopt label`: the labelling page of one run, served until it is interrupted."""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldmopt.errors import UserError
from ldmopt.labeling.access import LOOPBACK, checked_token, new_token
from ldmopt.labeling.front import chooser_of
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import RunShelf
from ldmopt.labels import LabelStore, Pair
from ldmopt.study.folder import RunFolder

GRACE_SECONDS = 2


def label(
    run: str | Path, *, host: str = "127.0.0.1", port: int | None = None,
    token: str | None = None, wanted: int = 100, seed: int = 0, browser: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Serve a run's labelling page until interrupted; a study may be running meanwhile.

    Every answer is on disk in the run's ``labels.db`` before the page counts it.

    Args:
        run: the run folder.
        host: address to listen on. Any but loopback asks every visitor for the token.
        port: TCP port. Without it one that belongs to this run folder, so that the same link works
            next time, or a free one if that is taken.
        token: 8 to 200 letters, digits, ``_`` or ``-``; without it one is made for a host that is
            not loopback.
        wanted: answers hoped for from each rater; the page shows progress towards it.
        seed: of sides, repeats and random choices.
        browser: open the link in a browser of this machine.
        report: is given the lines to show, the link among them.

    Raises:
        UserError: no run folder, no two pictures to compare, host or port cannot be used, a bad
            token, or the packages of ``ldmopt[label]`` are missing.
    """
    import webbrowser

    folder = RunFolder(run).require()
    uvicorn, make_app = _parts()
    if wanted < 1:
        raise UserError(f"wanted: must be at least 1, not {wanted}")
    if token is not None:
        checked_token(token)
    elif host not in LOOPBACK:
        token = new_token()
    ledgers: list[Ledger] = []  # nothing is written where there is nothing to label

    def answers() -> Sequence[Pair]:
        return ledgers[0].counting() if ledgers else ()

    shelf = RunShelf(folder, chooser_of(folder, answers, seed))
    with LabelStore(folder.labels) as store, listening(folder, host, port) as listener:
        ledgers.append(Ledger(store))
        app = make_app(ledgers[0], shelf, token, run=_name(folder), wanted=wanted, seed=seed)
        link = address(host, listener.getsockname()[1], token)
        report(f"Labelling page of {folder.path}: {link}")
        report("Stop with Ctrl+C; every answer is kept the moment it is given.")
        sys.stdout.flush()
        if browser and _has_desktop():
            webbrowser.open(link)
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False,
                                timeout_graceful_shutdown=GRACE_SECONDS, lifespan="off")
        uvicorn.Server(config).run(sockets=[listener])


def _has_desktop() -> bool:
    """Tell whether a browser would open a window, and not take the terminal over."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform != "linux" or any(os.environ.get(name) for name in screens)


def _parts() -> tuple[Any, Any]:
    """Import what only the labelling page needs.

    Raises:
        UserError: it is not installed.
    """
    try:
        import uvicorn

        from ldmopt.labeling.app import make_app
    except ImportError as error:
        raise UserError(f"the labelling page needs fastapi and uvicorn ({error}); install them "
                        "with: pip install 'ldmopt[label]'") from error
    return uvicorn, make_app


@contextmanager
def listening(folder: RunFolder, host: str, port: int | None) -> Iterator[socket.socket]:
    """Listen on a port: the one asked for, else the run folder's own, else any free one.

    Raises:
        UserError: host or port cannot be used.
    """
    if port is not None and not 0 <= port < 65536:
        raise UserError(f"port: must be 0 (any) to 65535, not {port}")
    wishes = [port] if port is not None else [usual_port(folder), 0]
    for wish in wishes:
        try:
            listener = _listen(host, wish)
        except (OSError, UnicodeError) as error:
            if wish == wishes[-1]:
                raise UserError(f"cannot listen on {host} port {wish or 'any'} ({error}); give "
                                "another --host or --port") from error
        else:
            with listener:
                yield listener
            return


def _listen(host: str, port: int) -> socket.socket:
    family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    return listener


def _name(folder: RunFolder) -> str:
    """Return a word for a run folder, which tells browsers runs apart but no path."""
    return hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:16]


def usual_port(folder: RunFolder) -> int:
    """Return a port that belongs to a folder: a page started again is found under its old link."""
    return 20000 + int(_name(folder), 16) % 10000


def address(host: str, port: int, token: str | None) -> str:
    """Return the link to the page."""
    name = _own_address() if host in ("0.0.0.0", "::", "") else host
    if ":" in name:
        name = f"[{name}]"
    return f"http://{name}:{port}/" + (f"?token={token}" if token else "")


def _own_address() -> str:
    """Return this machine's address in its network; connecting a datagram socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation, RFC 5737
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
