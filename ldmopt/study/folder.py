"""The run folder: what a study leaves behind, written so that a kill at any moment loses nothing.

``study.toml`` frozen copy, ``study.db`` Optuna's storage, ``pictures/`` content-addressed PNGs,
``blocks.jsonl`` one line for every picture made and every memory reading, ``environment.json``,
``equivalence.json`` what the probe found of each execution value, ``costs.json`` what the cost
model says of each knob, and what distillation writes.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError

JOURNAL_VERSION = 1


class RunFolder:
    """Paths and safe writing of one run."""

    def __init__(self, path: str | Path) -> None:
        """Name a run folder; nothing is made or read yet."""
        self.path = Path(path)
        self.spec = self.path / "study.toml"
        self.database = self.path / "study.db"
        self.journal = self.path / "blocks.jsonl"
        self.labels = self.path / "labels.db"
        self.regressor = self.path / "regressor"
        self.rulebook = self.path / "rulebook.json"
        self.environment = self.path / "environment.json"
        self.equivalence = self.path / "equivalence.json"
        self.costs = self.path / "costs.json"
        self.log = self.path / "host.log"
        self._pictures = PictureFolder(self.path / "pictures")

    def exists(self) -> bool:
        """Tell whether a study was begun here."""
        return self.spec.is_file()

    def require(self) -> RunFolder:
        """Return the folder itself.

        Raises:
            UserError: no study was begun here.
        """
        if not self.exists():
            raise UserError(f"{str(self.path)!r} is no run folder (it has no study.toml); "
                            "make one with: ldmopt run STUDY.toml")
        return self

    def require_pictures(self) -> RunFolder:
        """Return the folder itself.

        Raises:
            UserError: it holds no pictures, as a table without any makes one.
        """
        if not self.blocks():
            raise UserError(f"run {str(self.path)!r} has no pictures, so there is nothing to look "
                            "at, to label or to learn from; import a table that names them in a "
                            "column 'picture'")
        return self

    def create(self) -> None:
        """Make the folder.

        Raises:
            UserError: it cannot be made or written to.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process; the system lets go when the process ends.

        Raises:
            UserError: another process holds it.
        """
        return held(self.path / "run.lock", f"run folder {str(self.path)!r}",
                    "wait for it, or give another --out (ldmopt merge makes one rulebook of two)")

    def picture_path(self, digest: str) -> Path:
        """Return where the picture of a digest is kept."""
        return self._pictures.file(digest)

    def keep(self, picture: Picture) -> str:
        """Store a picture under its digest, which is returned; a picture that is there stays.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        return self._pictures.keep(picture.digest, lambda: picture.png)

    def picture(self, digest: str, block: Block) -> Picture:
        """Return a stored picture, which is read when its pixels are asked for.

        Reading it raises a UserError where it is gone, damaged, or not the one its name says.
        """
        return self._pictures.picture(digest, block)

    def blocks(self) -> dict[str, Block]:
        """Return the prompt and seed of every stored picture, by digest.

        The journal may be growing meanwhile: a last line that is not whole is left out.

        Raises:
            UserError: a line inside is damaged, or a later ldmopt wrote the journal.
        """
        whole = self.journal.read_bytes() if self.journal.exists() else b""
        return {line["digest"]: Block(line["prompt"], line["seed"])
                for line in self._lines(whole[: whole.rfind(b"\n") + 1]) if "digest" in line}

    def append(self, line: Mapping[str, Any]) -> None:
        """Add one line to the journal.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        with writing(self.journal), self.journal.open("ab") as file:
            if file.tell() == 0:
                file.write(_line({"schema_version": JOURNAL_VERSION}))
            before = file.tell()
            try:
                file.write(_line(line))
                file.flush()
            except OSError:
                os.ftruncate(file.fileno(), before)
                raise

    def read_journal(self) -> list[dict[str, Any]]:
        """Return the journal's lines; one torn by a kill is cut off.

        Raises:
            UserError: a line inside is damaged, or a later ldmopt wrote the journal.
        """
        if not self.journal.exists():
            return []
        whole = self.journal.read_bytes()
        complete = whole[: whole.rfind(b"\n") + 1]
        if len(complete) < len(whole):
            with self.journal.open("r+b") as file:
                file.truncate(len(complete))
        return self._lines(complete)

    def _lines(self, complete: bytes) -> list[dict[str, Any]]:
        lines = []
        for number, text in enumerate(complete.splitlines(), start=1):
            try:
                lines.append(json.loads(text))
            except ValueError as error:
                raise UserError(f"{str(self.journal)!r} line {number} is damaged; "
                                "delete that line and run again") from error
        version = lines[0].get("schema_version") if lines else JOURNAL_VERSION
        if version != JOURNAL_VERSION:
            raise UserError(f"{str(self.journal)!r} has schema_version {version}, this ldmopt "
                            f"reads {JOURNAL_VERSION}; use the version that wrote it")
        return lines[1:]


class PictureFolder:
    """PNG files under the digests of their pixels."""

    def __init__(self, path: Path) -> None:
        """Name the folder; nothing is made or read yet."""
        self._path = path

    def file(self, digest: str) -> Path:
        """Return where the picture of a digest is kept."""
        return self._path / digest[:2] / f"{digest}.png"

    def keep(self, digest: str, png: Callable[[], bytes]) -> str:
        """Store a picture under its digest, which is returned; a picture that is there stays.

        Raises:
            UserError: the disk is full or the folder cannot be written.
        """
        path = self.file(digest)
        if not path.exists():
            write(path, png())
        return digest

    def picture(self, digest: str, block: Block) -> Picture:
        """Return a stored picture, which is read when its pixels are asked for.

        Reading it raises a UserError where it is gone, damaged, or not the one its name says.
        """
        return Picture.stored(digest, block, lambda: self._read(digest, block))

    def _read(self, digest: str, block: Block) -> Picture:
        path = self.file(digest)
        try:
            picture = Picture.from_png(path.read_bytes(), block)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"picture {str(path)!r} cannot be read ({error}); "
                            "restore it from a copy of the folder") from error
        if picture.digest != digest:
            raise UserError(f"picture {str(path)!r} is not the one that its name says; "
                            "restore it from a copy of the folder")
        return picture


@contextmanager
def held(path: Path, what: str, way_out: str) -> Iterator[None]:
    """Hold a lock file for this process; the system lets go when the process ends.

    Args:
        path: the lock file, which is made if need be.
        what: what it guards, for the message.
        way_out: what to do when it is held.

    Raises:
        UserError: another process holds it.
    """
    with writing(path.parent):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = path.read_text(encoding="utf-8") or "another process"
            raise UserError(f"{what} is in use by {holder}; {way_out}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        os.close(descriptor)


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: beside it first, then renamed.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    half = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            half.write_bytes(data)
            os.replace(half, path)
        finally:
            half.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"the disk is full while writing {str(path)!r}; free some space and "
                            "run again: what was finished is kept") from error
        raise UserError(f"{str(path)!r} cannot be written: {error.strerror or error}; "
                        "give a folder that you may write to") from error
