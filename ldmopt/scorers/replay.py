"""A scorer that looks up what a table's own scorer gave: for `ldmopt.hosts.replay` alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Block, Picture, Preference, Score, Scorer
from ldmopt.errors import UserError
from ldmopt.recording import Recording
from ldmopt.scorers.taste.chances import preference, spread

SIDE = 16
"""Pixels of a tag's side."""

MARK = 173
"""Fills a tag, so that no picture is mistaken for one."""


def tag(row: int, place: int, block: Block) -> Picture:
    """Return a small image that stands for a table's picture.

    Args:
        row: of the setting in the table, below 2^24.
        place: of the block in the table, below 2^24.
        block: the prompt and seed that it was asked for.
    """
    from PIL import Image

    pixels = np.full((SIDE, SIDE, 3), MARK, np.uint8)
    pixels[0, 0] = list(row.to_bytes(3, "little"))
    pixels[0, 1] = list(place.to_bytes(3, "little"))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return Picture(pixels, block, buffer.getvalue())


class ReplayScorer:
    """Compares as the table's scorer compared."""

    def __init__(self, table: Recording) -> None:
        """Take a table."""
        self._table = table
        self._noise = float(table.facts["noise"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """The recorded scorer's, named as a replay of it."""
        recorded: Mapping[str, Any] = self._table.facts["scorer"]
        return {**recorded, "name": f"replay of {recorded['name']}"}

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return the members' mean and deviation in logits.

        Raises:
            UserError: a picture is no tag.
        """
        members = self._members(pictures)
        return [Score(float(value), float(deviation)) for value, deviation in
                zip(members.mean(axis=0), np.sqrt(spread(members)), strict=True)]

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return the chances that left is preferred.

        Raises:
            UserError: a picture is no tag.
        """
        moved = self._members(left) - self._members(right)
        return [Preference(float(chance)) for chance in
                preference(moved.mean(axis=0), spread(moved) + self._noise)]

    def _members(self, pictures: Sequence[Picture]) -> NDArray[np.float64]:
        """Return `(members, n)` recorded logits."""
        rows, places = [], []
        for picture in pictures:
            pixels = picture.pixels
            if pixels.shape != (SIDE, SIDE, 3) or (pixels[1:] != MARK).any():
                raise UserError("a replayed table judges only its own tags, not pictures; judge "
                                "pictures with another scorer")
            rows.append(int.from_bytes(bytes(pixels[0, 0]), "little"))
            places.append(int.from_bytes(bytes(pixels[0, 1]), "little"))
        return self._table.members[rows, places].T.astype(np.float64)


_: type[Scorer] = ReplayScorer
