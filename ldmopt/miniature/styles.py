"""The four styles: what turns a painted scene (192 by 192) into a picture of 64 by 64."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ldmopt.miniature.canvas import BLOCK, SCALE, SIZE, Canvas
from ldmopt.miniature.painting import paint

if TYPE_CHECKING:
    from ldmopt.miniature.scenes import Scene

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]


def render(scene: Scene) -> Picture:
    """Return the picture of a scene, `(64, 64, 3)` uint8; the same scene gives the same bytes."""
    rng = random.Random(f"style {scene.seed}")
    return _STYLES[scene.style](paint(scene), rng)


def _bytes(values: Any) -> Picture:
    picture: Picture = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return picture


def _small(image: Image.Image, size: int = SIZE) -> Floats:
    return np.asarray(image.resize((size, size), Image.Resampling.BOX), np.float32)


@cache
def _noise(size: int, coarse: int, kind: str) -> Floats:
    """Return a fixed smooth field in [-1, 1], `(2 * size, 2 * size)`, to cut windows from."""
    grid = np.random.default_rng(_number(kind)).uniform(-1, 1, (coarse, coarse))
    image = Image.fromarray(grid.astype(np.float32))
    return np.asarray(image.resize((2 * size, 2 * size), Image.Resampling.BICUBIC), np.float32)


def _number(text: str) -> int:
    """Return a number that depends on nothing but the text (Python's own hash is salted)."""
    return int.from_bytes(text.encode()[:8].ljust(8, b"."), "big") % (1 << 31)


def _window(field: Floats, size: int, rng: random.Random) -> Floats:
    y, x = rng.randrange(size), rng.randrange(size)
    return field[y : y + size, x : x + size]


def _flat(canvas: Canvas, rng: random.Random) -> Picture:
    """Clean fills: colours cut into few steps, then saturated."""
    steps = Image.eval(canvas.image, lambda v: (v // 20) * 20 + 10)
    small = _small(steps)
    grey = small.mean(axis=2, keepdims=True)
    return _bytes(grey + (small - grey) * 1.18)


def _watercolor(canvas: Canvas, rng: random.Random) -> Picture:
    """Washes with wobbling borders, darker rims, mottled pigment and a ragged paper margin."""
    full = SIZE * SCALE
    base = np.arange(full, dtype=np.float32)
    dx = _window(_noise(full, 56, "wobble x"), full, rng) * 2.6
    dy = _window(_noise(full, 56, "wobble y"), full, rng) * 2.6
    xs = np.clip(base[None, :] + dx, 0, full - 1).astype(np.intp)
    ys = np.clip(base[:, None] + dy, 0, full - 1).astype(np.intp)
    wet = Image.fromarray(np.asarray(canvas.image)[ys, xs]).resize(
        (SIZE, SIZE), Image.Resampling.BOX
    )
    small = np.asarray(wet, np.float32)
    soft = np.asarray(wet.filter(ImageFilter.GaussianBlur(1.6)), np.float32)
    rim = np.abs(small - soft).mean(axis=2, keepdims=True)
    mottle = _window(_noise(SIZE, 20, "mottled"), SIZE, rng)[..., None]
    wash = small + (255 - small) * (0.2 + 0.07 * mottle) - 0.8 * rim
    place = np.minimum(np.arange(SIZE), SIZE - 1 - np.arange(SIZE)).astype(np.float32)
    margin = np.minimum(place[:, None], place[None, :])
    ragged = _window(_noise(SIZE, 40, "margin"), SIZE, rng)
    paper = np.clip(3.1 + 1.8 * ragged - margin, 0, 1)[..., None]
    return _bytes(wash + (np.array((252, 250, 244), np.float32) - wash) * paper)


def _pixel(canvas: Canvas, rng: random.Random) -> Picture:
    """Blocks of 4 by 4 pixels in a small palette."""
    # A small core of each block decides its colour: crisper than the mean of the whole block.
    half = canvas.image.resize((2 * SIZE // BLOCK, 2 * SIZE // BLOCK), Image.Resampling.BOX)
    mean, core = _small(half, SIZE // BLOCK), np.asarray(half, np.float32)[1::2, 1::2]
    blocks = 0.3 * mean + 0.7 * core
    grey = blocks.mean(axis=2, keepdims=True)
    blocks = np.clip(np.round((grey + (blocks - grey) * 1.25) / 28) * 28, 0, 255)
    return np.repeat(np.repeat(_bytes(blocks), BLOCK, axis=0), BLOCK, axis=1)


@cache
def _hatch() -> Floats:
    """Return slanted strokes, 1 on a stroke and 0 between, `(64, 64)`, period 4 pixels."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    strokes: Floats = np.clip(1.5 * np.cos((x + y) * (np.pi / 2)), 0, 1).astype(np.float32)
    return strokes


def _ink(canvas: Canvas, rng: random.Random) -> Picture:
    """Pen outlines, strokes in the dark parts, over a thin tinted wash."""
    small, line = _small(canvas.image), _small(canvas.lines) / 255
    tone = small.mean(axis=2)
    strokes = _hatch() * np.clip((110 - tone) / 110, 0, 1)
    wash = 0.42 * small + 0.58 * np.array((246, 240, 226), np.float32)
    dark = np.clip(1 - line - 0.45 * strokes, 0, 1)[..., None]
    return _bytes(np.array((34, 30, 40), np.float32) * (1 - dark) + wash * dark)


_STYLES = {"flat": _flat, "watercolor": _watercolor, "pixel": _pixel, "ink": _ink}
