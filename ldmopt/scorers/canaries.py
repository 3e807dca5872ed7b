"""Canaries: pictures that no honest scorer prefers to the picture they were made from.

Each takes an honest picture and ruins it, or puts something empty of the same size in its place.
Sizes are shares of the picture's own side, so that a canary looks the same at 64 and at 1024
pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels

Ruin: TypeAlias = Callable[[Pixels], Pixels]

BLURRED_SIDE = 1 / 8
"""The side to which the blurred canary is reduced, as a share of the picture's."""
SATURATION, MOST_SATURATION = 5.0, 50.0
GAUDY = 90.0
"""Mean distance from grey, of 255, that an over-saturated picture has at least."""
JPEG_QUALITY = 2
JPEG_SIDE = 128
"""Larger pictures are reduced to about this side first: JPEG's blocks are 8 pixels at any size."""


def noise(pixels: Pixels) -> Pixels:
    """Return uniform noise of the picture's size; the same for the same size."""
    return np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)


def black(pixels: Pixels) -> Pixels:
    """Return nothing at all."""
    return np.zeros_like(pixels)


def flat_grey(pixels: Pixels) -> Pixels:
    """Return one grey everywhere."""
    return np.full_like(pixels, 128)


def heavy_blur(pixels: Pixels) -> Pixels:
    """Return the picture without anything finer than an eighth of its side."""
    height, width = pixels.shape[:2]
    small = (max(2, round(width * BLURRED_SIDE)), max(2, round(height * BLURRED_SIDE)))
    return _resized(_resized(pixels, small), (width, height))


def over_saturated(pixels: Pixels) -> Pixels:
    """Return the picture with its colours five times as far from grey, a pale one's farther."""
    values = pixels.astype(np.float32)
    grey = values.mean(axis=2, keepdims=True)
    colour = float(np.abs(values - grey).mean())
    factor = min(MOST_SATURATION, max(SATURATION, GAUDY / max(colour, 1e-6)))
    return np.asarray(np.clip(grey + (values - grey) * factor, 0, 255), np.uint8)


def jpeg_ruin(pixels: Pixels) -> Pixels:
    """Return the picture after JPEG at the lowest quality, its blocks a 16th of the side or so."""
    from PIL import Image

    height, width = pixels.shape[:2]
    share = min(1.0, JPEG_SIDE / max(height, width))
    small = (max(8, round(width * share)), max(8, round(height * share)))
    buffer = io.BytesIO()
    reduced = pixels if small == (width, height) else _resized(pixels, small)
    Image.fromarray(reduced).save(buffer, "JPEG", quality=JPEG_QUALITY)
    with Image.open(buffer) as image:
        back = image.convert("RGB")
        if small != (width, height):
            back = back.resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(back)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Pixels:
    """Average down, or go smoothly up, to a width and height."""
    from PIL import Image

    image = Image.fromarray(pixels)
    how = Image.Resampling.BOX if size[0] < image.width else Image.Resampling.BICUBIC
    return np.asarray(image.resize(size, how))


CANARIES: Mapping[str, Ruin] = {
    "noise": noise,
    "black": black,
    "flat grey": flat_grey,
    "heavy blur": heavy_blur,
    "over-saturated": over_saturated,
    "JPEG ruin": jpeg_ruin,
}
"""By the name that outputs give them; the first three show nothing of the picture."""

EMPTY = ("noise", "black", "flat grey")
"""Those that have nothing to do with any caption."""
