"""Known damage to pictures: a kind, and levels of it from barely seen to ruined.

Every function takes `(height, width, 3)` in 0..1, a level of its own unit and a generator of
random numbers, and returns a picture, of the same shape except for `repeat`; values may leave 0..1
and are clipped by the caller. `DAMAGES` says which levels make a ladder and what each costs, on
one scale for all kinds: 0 is unhurt, 1 is nothing left.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels

Plane: TypeAlias = NDArray[np.float32]
Hurt: TypeAlias = Callable[[Plane, float, np.random.Generator], Plane]


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        hurt: the function.
        levels: its levels, from little to much.
        losses: what each level costs, 0 to 1.
    """

    hurt: Hurt
    levels: tuple[float, ...]
    losses: tuple[float, ...]


def damaged(pixels: Pixels, kind: str, level: float, rng: np.random.Generator) -> Pixels:
    """Return a copy of a picture with one kind of damage at one level."""
    hurt = DAMAGES[kind].hurt(pixels.astype(np.float32) / 255.0, level, rng)
    return as_pixels(hurt)


def as_pixels(picture: Plane) -> Pixels:
    """Return 0..1 floats as uint8, rounded and clipped."""
    return np.asarray(np.clip(picture * 255.0 + 0.5, 0, 255), np.uint8)


def _blur(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(picture, (level, level, 0)), np.float32)


def _smear(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Lose detail where there is little of it, keep strong edges: a median."""
    from scipy.ndimage import median_filter

    return np.asarray(median_filter(picture, (int(level), int(level), 1)), np.float32)


def _patchy(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Lose detail in some places only."""
    mask = _field(picture, 8, rng) > 0.5 - 0.2 * level
    soft = _blur(picture, 2.5, rng)
    return np.where(mask[..., None], soft, picture).astype(np.float32)


def _noise(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    return picture + level * rng.standard_normal(picture.shape, np.float32)


def _coarse_noise(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Coloured blotches of about 4 pixels."""
    planes = [_field(picture, 4, rng) - 0.5 for _ in range(3)]
    return np.asarray(picture + np.float32(2 * level) * np.stack(planes, axis=2), np.float32)


def _specks(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    hit = rng.random(picture.shape[:2]) < level
    dots = rng.random(picture.shape, np.float32)
    return np.where(hit[..., None], dots, picture).astype(np.float32)


def _saturate(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    grey = picture.mean(axis=2, keepdims=True)
    return np.asarray(grey + (picture - grey) * np.float32(level), np.float32)


def _contrast(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    middle = picture.mean()
    return np.asarray(middle + (picture - middle) * np.float32(level), np.float32)


def _burn(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Contrast, saturation and edges blown up together, as too much guidance does."""
    sharp = picture + (picture - _blur(picture, 1.2, rng)) * np.float32(level - 1)
    return _saturate(_contrast(sharp, level, rng), level, rng)


def _sharpen(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    return picture + (picture - _blur(picture, 1.0, rng)) * np.float32(level)


def _expose(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    shift = np.float32(level if rng.random() < 0.5 else -level)
    return picture + shift


def _tint(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    colour = rng.standard_normal(3).astype(np.float32)
    colour -= colour.mean()
    return picture + np.float32(level) * colour / np.float32(np.linalg.norm(colour) + 1e-6)


def _posterize(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    return np.asarray(np.round(picture * (level - 1)) / (level - 1), np.float32)


def _jpeg(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(as_pixels(picture)).save(buffer, "JPEG", quality=int(level), subsampling=2)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"), np.float32) / np.float32(255)


def _grid(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """A checkerboard as bad upsampling leaves it."""
    rows, columns = np.indices(picture.shape[:2])
    side = int(rng.choice((1, 2)))
    board = np.where((rows // side + columns // side) % 2, level, -level)
    return np.asarray(picture + board[..., None], np.float32)


def _warp(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Bend shapes: every pixel is taken from up to `level` pixels away, smoothly."""
    from scipy.ndimage import map_coordinates

    straight = np.indices(picture.shape[:2]).astype(np.float32)
    bends = [_field(picture, 8, rng) - 0.5 for _ in range(2)]
    places = straight + np.float32(2 * level) * np.stack(bends)
    planes = [
        map_coordinates(picture[..., channel], places, order=1, mode="reflect")
        for channel in range(3)
    ]
    return np.stack(planes, axis=2).astype(np.float32)


def _shuffle(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Swap a share of 16 x 16 patches with others: things stand where they cannot."""
    result = picture.copy()
    rows, columns = picture.shape[0] // 16, picture.shape[1] // 16
    places = rng.permutation(rows * columns)[: max(2, int(level * rows * columns))]
    for place, source in zip(places, np.roll(places, 1), strict=True):
        y, x, v, u = place // columns, place % columns, source // columns, source % columns
        result[y * 16 : y * 16 + 16, x * 16 : x * 16 + 16] = picture[
            v * 16 : v * 16 + 16, u * 16 : u * 16 + 16
        ]
    return result


def _repeat(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Go on with the scene beyond its border, so that things stand there twice.

    The result is `level` times as large in one or both directions, in steps of 8 pixels: what a
    picture larger than the model was trained for looks like.
    """
    height, width = picture.shape[:2]
    more = [int(side * (level - 1) / 8 + 0.5) * 8 for side in (height, width)]
    both = rng.random()
    across = 0 if both < 0.2 else more[1]
    down = 0 if both > 0.5 else more[0]
    mode = "wrap" if rng.random() < 0.6 else "symmetric"
    left, top = int(rng.integers(0, across + 1)), int(rng.integers(0, down + 1))
    widths = ((top, down - top), (left, across - left), (0, 0))
    return np.asarray(np.pad(picture, widths, mode=mode), np.float32)  # type: ignore[call-overload]


def _tile(picture: Plane, level: float, rng: np.random.Generator) -> Plane:
    """Show the whole scene `level` times in each direction, smaller."""
    from PIL import Image

    height, width = picture.shape[:2]
    times = int(level)
    image = Image.fromarray(as_pixels(picture))
    size = (-(-width // times), -(-height // times))
    small = np.asarray(image.resize(size, Image.Resampling.BOX), np.float32) / 255.0
    flips = rng.random() < 0.5
    other = small[:, ::-1] if flips else small
    row = np.concatenate([small if index % 2 == 0 else other for index in range(times)], axis=1)
    return np.concatenate([row] * times, axis=0)[:height, :width]


def _field(picture: Plane, side: int, rng: np.random.Generator) -> Plane:
    """Return a smooth random field in 0..1 with features of about `side` pixels."""
    from scipy.ndimage import zoom

    height, width = picture.shape[:2]
    coarse = rng.random((height // side + 2, width // side + 2)).astype(np.float32)
    fine = np.asarray(zoom(coarse, side, order=1), np.float32)
    return fine[:height, :width]


DAMAGES: dict[str, Damage] = {
    "blur": Damage(_blur, (0.5, 0.8, 1.3, 2.2, 4.0), (0.1, 0.25, 0.45, 0.65, 0.9)),
    "smear": Damage(_smear, (3, 5, 7, 11), (0.12, 0.35, 0.55, 0.75)),
    "patchy": Damage(_patchy, (0.0, 0.5, 1.0, 1.5), (0.15, 0.25, 0.35, 0.45)),
    "noise": Damage(_noise, (0.02, 0.05, 0.1, 0.2, 0.4), (0.08, 0.22, 0.42, 0.68, 0.92)),
    "coarse noise": Damage(_coarse_noise, (0.04, 0.1, 0.2, 0.4), (0.1, 0.3, 0.55, 0.85)),
    "specks": Damage(_specks, (0.01, 0.04, 0.12, 0.3), (0.12, 0.35, 0.6, 0.85)),
    "saturate": Damage(_saturate, (1.3, 1.7, 2.4, 3.5), (0.06, 0.18, 0.34, 0.5)),
    "desaturate": Damage(_saturate, (0.7, 0.4, 0.1), (0.08, 0.22, 0.38)),
    "contrast": Damage(_contrast, (1.3, 1.7, 2.5, 4.0), (0.06, 0.18, 0.38, 0.56)),
    "washed out": Damage(_contrast, (0.75, 0.5, 0.3, 0.1), (0.1, 0.3, 0.55, 0.85)),
    "burn": Damage(_burn, (1.2, 1.5, 2.0, 3.0), (0.09, 0.24, 0.45, 0.64)),
    "sharpen": Damage(_sharpen, (0.6, 1.5, 3.0, 6.0), (0.05, 0.16, 0.34, 0.52)),
    "expose": Damage(_expose, (0.08, 0.18, 0.32, 0.55), (0.06, 0.2, 0.42, 0.75)),
    "tint": Damage(_tint, (0.06, 0.14, 0.28, 0.5), (0.06, 0.2, 0.42, 0.7)),
    "posterize": Damage(_posterize, (8, 5, 3, 2), (0.1, 0.25, 0.5, 0.7)),
    "jpeg": Damage(_jpeg, (60, 25, 10, 3), (0.08, 0.25, 0.5, 0.75)),
    "grid": Damage(_grid, (0.015, 0.04, 0.09, 0.2), (0.1, 0.28, 0.5, 0.75)),
    "warp": Damage(_warp, (1.5, 3.0, 5.0, 9.0), (0.12, 0.3, 0.5, 0.75)),
    "shuffle": Damage(_shuffle, (0.13, 0.3, 0.6, 1.0), (0.3, 0.5, 0.7, 0.85)),
    "repeat": Damage(_repeat, (1.25, 1.5, 2.0), (0.22, 0.4, 0.55)),
    "tile": Damage(_tile, (2, 3, 4), (0.5, 0.65, 0.75)),
}
