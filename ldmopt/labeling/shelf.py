"""What a run offers to be looked at right now: its pictures, bare of metadata, and the pairs."""

from __future__ import annotations

import re
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from ldmopt.contracts import Block
from ldmopt.errors import UserError
from ldmopt.labeling.choose import Chooser
from ldmopt.labeling.pool import Pool, read_pool
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SHOWN_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
DIGEST = re.compile(r"[0-9a-f]{64}")
READ_AGAIN_SECONDS = 5.0


class Gone(UserError):
    """The run folder, its labels or a picture is no longer there."""


class Shelf(Protocol):
    """Pictures that may be shown, and the chooser over them; both may grow."""

    @property
    def blocks(self) -> Mapping[str, Block]:
        """Prompt and seed of each picture that may be labelled, by digest; quick."""
        ...

    @property
    def chooser(self) -> Chooser:
        """The chooser over these pictures."""
        ...

    def png(self, digest: str) -> bytes:
        """Return a picture's file without anything that says how it was made.

        Raises:
            KeyError: no such picture may be shown.
            Gone: its file is gone or damaged.
        """
        ...

    def check(self) -> None:
        """Raise `Gone` if the run is no longer there."""
        ...


class RunShelf:
    """The pictures of a run folder, which a running study may be adding to."""

    def __init__(self, folder: RunFolder, choose: Callable[[Pool], Chooser]) -> None:
        """Read the run.

        Args:
            folder: the run.
            choose: makes a chooser over a pool; called again when the pool has grown.

        Raises:
            UserError: no run folder, nothing measured yet, or no two pictures to compare.
        """
        self._folder = folder
        self._choose = choose
        self._lock = threading.Lock()
        self._seen = self._stamp()
        pool = read_pool(folder)
        if not len(pool):
            _, spec, _ = read_run(folder.require_pictures().path)
            raise UserError(
                f"run {str(folder.path)!r} has no two pictures of one prompt and seed to compare"
                + ("; import a table in which several settings have a picture of the same"
                   if spec.imported else
                   " (pictures kept for confirmation are not shown); let the study go on with: "
                   f"ldmopt run {folder.spec} --out {folder.path}")
            )
        self._blocks = pool.pictures()
        self._chooser = choose(pool)
        self._due = 0.0

    @property
    def blocks(self) -> Mapping[str, Block]:
        """Prompt and seed of each picture that may be labelled, by digest."""
        return self._blocks

    @property
    def chooser(self) -> Chooser:
        """The chooser over these pictures; asking for it reads what a study has added."""
        self._refresh()
        return self._chooser

    def png(self, digest: str) -> bytes:
        """Return a picture's file without anything that says how it was made.

        Raises:
            KeyError: no such picture may be shown.
            Gone: its file is gone or damaged.
        """
        if not DIGEST.fullmatch(digest) or digest not in self._blocks:
            raise KeyError(digest)
        try:
            return bare_png(self._folder.picture_path(digest).read_bytes())
        except (OSError, ValueError) as error:
            raise Gone(f"picture {digest[:8]} cannot be shown: its file is gone or damaged; "
                       "restore it from a copy of the run folder") from error

    def check(self) -> None:
        """Raise `Gone` if the run is no longer there."""
        if not self._folder.exists():
            raise Gone("the run folder is gone; nothing can be stored until it is back")

    def _stamp(self) -> int:
        try:
            return self._folder.journal.stat().st_size
        except OSError:
            return 0

    def _refresh(self) -> None:
        """Read the run again where it has grown, and not too often while it grows."""
        stamp, start = self._stamp(), time.monotonic()
        if stamp == self._seen or start < self._due or not self._folder.exists():
            return
        if not self._lock.acquire(blocking=False):
            return  # another request is reading; until it is done, what is there will do
        try:
            pool = read_pool(self._folder)
            if len(pool):
                chooser = self._choose(pool)
                self._blocks, self._chooser = pool.pictures(), chooser
            self._seen = stamp
        except UserError:
            pass  # a database that is busy for a moment; the pictures that are known stay
        finally:
            now = time.monotonic()
            self._due = now + max(READ_AGAIN_SECONDS, 10 * (now - start))
            self._lock.release()


_: type[Shelf] = RunShelf


def bare_png(png: bytes) -> bytes:
    """Return a PNG with nothing in it but its pixels: no text, time, profile or EXIF.

    Raises:
        ValueError: it is no whole PNG file.
    """
    return SIGNATURE + b"".join(chunk for name, chunk in _chunks(png) if name in SHOWN_CHUNKS)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Go through a PNG's chunks: name, and the chunk whole with length and checksum."""
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG signature")
    start, name = len(SIGNATURE), b""
    while name != b"IEND":
        if start + 12 > len(png):
            raise ValueError("the file ends within a chunk")
        (length,) = struct.unpack_from(">I", png, start)
        name, end = png[start + 4:start + 8], start + 12 + length
        if end > len(png):
            raise ValueError("the file ends within a chunk")
        yield name, png[start:end]
        start = end
