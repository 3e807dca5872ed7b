"""The pictures of a page: each is embedded once, small enough for all of them to fit."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ldmopt.contracts import Block, Pixels
from ldmopt.errors import UserError

MOST_BYTES = 10_500_000
"""Of all pictures together, as base64; the page around them takes one or two million more."""

SCALES = (1.0, 0.8, 0.64, 0.5, 0.4, 0.32, 0.25)
"""Sides are multiplied by the first of these with which all pictures fit."""

CRISP = 160
"""Up to this side pictures are kept as they are, without loss, and shown pixel for pixel."""

QUALITY, SAMPLE = 78, 16

Read = Callable[[str, Block], Pixels]


@dataclass(frozen=True)
class Thumb:
    """An embedded picture.

    Attributes:
        place: its number in the album.
        width: in pixels, as embedded.
        height: in pixels, as embedded.
        crisp: whether its pixels are the picture's own, so few that they are to be seen.
    """

    place: int
    width: int
    height: int
    crisp: bool


class Album:
    """Collects what is wanted, then reads, reduces and encodes it."""

    def __init__(self) -> None:
        """Begin empty."""
        self._wanted: dict[str, tuple[Block, int]] = {}
        self._thumbs: dict[str, Thumb] = {}
        self.encoded: list[str] = []
        self.missing: dict[str, str] = {}

    def want(self, shown: Mapping[Block, str], blocks: Sequence[Block], side: int) -> None:
        """Ask for the pictures of some blocks, at least so many pixels wide or high."""
        for block in blocks:
            digest = shown.get(block)
            if digest:
                kept, least = self._wanted.get(digest, (block, 0))
                self._wanted[digest] = (kept, max(least, side))

    def fill(
        self, read: Read, most_bytes: int = MOST_BYTES,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Read and encode everything that was asked for.

        A picture that cannot be read is left out and remembered in ``missing`` with the reason.

        Args:
            read: gives a picture's pixels, or raises a UserError.
            most_bytes: of all encoded pictures together.
            progress: is told the share that is done.
        """
        scales = list(SCALES)
        while len(scales) > 1 and self._guess(read, scales[0]) > most_bytes:
            scales.pop(0)
        while True:
            self._encode(read, scales[0], progress)
            if len(scales) == 1 or sum(map(len, self.encoded)) <= most_bytes:
                return
            scales.pop(0)

    def find(self, digest: str | None) -> Thumb | None:
        """Return an embedded picture, or None where there is none."""
        return self._thumbs.get(digest or "")

    def _guess(self, read: Read, scale: float) -> float:
        """Estimate the size of all by that of some, spread evenly."""
        rows = list(self._wanted.items())
        rows = rows[:: -(-len(rows) // SAMPLE) or 1]
        found = [_size(read, digest, *wanted, scale) for digest, wanted in rows]
        known = [size for size in found if size]
        return len(self._wanted) * sum(known) / len(known) if known else 0.0

    def _encode(self, read: Read, scale: float, progress: Callable[[float], None]) -> None:
        self.encoded, self._thumbs, self.missing = [], {}, {}
        for done, (digest, (block, side)) in enumerate(self._wanted.items(), 1):
            try:
                pixels = read(digest, block)
            except UserError as error:
                self.missing[digest] = str(error)
                continue
            data, width, height = encode(pixels, round(side * scale))
            crisp = max(pixels.shape[:2]) <= CRISP and width == pixels.shape[1]
            self._thumbs[digest] = Thumb(len(self.encoded), width, height, crisp)
            self.encoded.append(base64.b64encode(data).decode())
            progress(done / len(self._wanted))


def encode(pixels: Pixels, side: int) -> tuple[bytes, int, int]:
    """Return a WebP file that fits into a square, with its width and height.

    Args:
        pixels: height x width x 3, uint8.
        side: of the square, in pixels; smaller pictures are not enlarged.
    """
    from PIL import Image

    picture = Image.fromarray(pixels)
    lossless = max(picture.size) <= min(CRISP, max(side, CRISP // 2))
    if max(picture.size) > side and not lossless:
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    how = {"lossless": True, "quality": 60, "method": 3} if lossless else {
        "quality": QUALITY, "method": 3}  # fmt: skip
    picture.save(stream, "WEBP", **how)
    return stream.getvalue(), picture.width, picture.height


def _size(read: Read, digest: str, block: Block, side: int, scale: float) -> int:
    """The length of one picture's base64, 0 where it cannot be read."""
    try:
        return 4 * len(encode(read(digest, block), round(side * scale))[0]) // 3
    except UserError:
        return 0
