"""Which picture a cell of a labels' CSV means: a digest, the beginning of one, or a file."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmopt.contracts import Block
from ldmopt.errors import UserError
from ldmopt.labels.picture_files import read_picture

PREFIX = 8
HEX = frozenset("0123456789abcdef")


@dataclass(slots=True)
class Found:
    """A picture that may be labelled.

    Attributes:
        digest: its digest.
        prompt: what it was made for; empty where unknown.
        seed: its seed, or None where unknown.
    """

    digest: str
    prompt: str = ""
    seed: int | None = None


class Pictures:
    """The pictures that may be labelled, and how a cell names them.

    Attributes:
        new: digest -> file, of pictures that were not known before; stays empty unless `take`.
        told: digest -> picture, of those whose prompt or seed the CSV added; stays empty unless
            `take`.
        refused: the cell that meant no picture, if there was one.
    """

    def __init__(
        self,
        folder: Path,
        known: Mapping[str, Any] | Iterable[str],
        *,
        take: bool = False,
        place: str = "this run",
    ) -> None:
        """Take what is known.

        Args:
            folder: what paths are relative to.
            known: digests; a mapping may give each one's `Found`, `contracts.Block` or prompt.
            take: whether files of other pictures are taken too, with the prompt and seed that
                their rows give.
            place: what the known pictures are in, for messages.
        """
        self._folder = folder
        self._known = known if isinstance(known, Mapping) else dict.fromkeys(known)
        self._sorted: list[str] | None = None
        self._take = take
        self._place = place
        self._files: dict[str, str] = {}
        self._names: dict[str, str] = {}  # a picture's rows share one text
        self.new: dict[str, Path] = {}
        self.told: dict[str, Found] = {}
        self.refused: str | None = None

    def find(self, text: str) -> Found:
        """Return the picture that a cell means.

        Raises:
            UserError: none, or more than one.
        """
        try:
            digest = self._digest(text)
        except UserError:
            self.refused = text
            raise
        if digest in self.told:
            return self.told[digest]
        given = self._known.get(digest)
        if isinstance(given, Found):
            return Found(digest, given.prompt, given.seed)
        if isinstance(given, Block):
            return Found(digest, given.prompt, given.seed)
        return Found(digest, given if isinstance(given, str) else "")

    def say(self, found: Sequence[Found], column: str, value: str | int) -> None:
        """Take a row's word for the prompt or seed of its pictures, where files are taken.

        Raises:
            UserError: another one is known of a picture.
        """
        if not self._take:
            return
        for picture in found:
            before = getattr(picture, column)
            if before in ("", None):
                setattr(picture, column, value)
                self.told[picture.digest] = picture
            elif before != value:
                raise UserError(
                    f"must be {before!r}, which picture {picture.digest[:12]} is known to have, got"
                    f" {value!r}; give a picture one {column}"
                )

    def _digest(self, text: str) -> str:
        name = text.lower()
        if name in self._known:
            return self._names.setdefault(name, name)
        if HEX.issuperset(name):
            return self._completed(name)
        if text not in self._files:
            self._files[text] = self._of_file(text)
        return self._files[text]

    def _completed(self, prefix: str) -> str:
        if len(prefix) < PREFIX:
            raise UserError(f"needs at least {PREFIX} characters of a digest, got {prefix!r};"
                            " give more, or the path of a picture")
        if self._sorted is None:
            self._sorted = sorted(self._known)
        start = bisect.bisect_left(self._sorted, prefix)
        found = [name for name in self._sorted[start : start + 2] if name.startswith(prefix)]
        if not found:
            raise UserError(f"names no picture of {self._place}, got {prefix!r}; check the digest")
        if len(found) > 1:
            raise UserError(f"fits several pictures, got {prefix!r}; give more characters")
        return found[0]

    def _of_file(self, text: str) -> str:
        path = self._folder / text
        try:
            if "\\" in text and not path.exists():
                path = self._folder / text.replace("\\", "/")
            digest = read_picture(path, Block("", 0)).digest
        except (UserError, ValueError, OSError) as error:
            raise UserError(
                f"must be a digest or the path of a picture (PNG, JPEG, WebP), relative to the"
                f" CSV, got {text!r}: {error}; mend the path or remove the row"
            ) from error
        if digest not in self._known:
            if not self._take:
                raise UserError(
                    f"names a picture that is not in {self._place}, got {text!r} (digest"
                    f" {digest[:12]}); a folder of its own takes it: labels import NEWFOLDER"
                )
            self.new.setdefault(digest, path)
        return digest
