"""A drawing surface three times the final size, and the light that each time of day gives.

Coordinates run from 0 to 64 in both directions, as in the final picture; the canvas holds
three by three samples a pixel, so edges come out smooth when a style shrinks it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

SCALE = 3
SIZE = 64
BLOCK = 4  # a pixel-art block in final pixels; it divides the autoencoder's factor of 8
PEN = 4  # width of an ink line, in canvas samples
THICK_LINE = 0.75  # thinner lines, in final pixels, are left out of an ink drawing
Colour = tuple[int, int, int]
Point = tuple[float, float]

# What the light of a time does to a colour: multiply, then mix with a tint by a share.
LIGHTS: dict[str, tuple[tuple[float, float, float], Colour, float]] = {
    "dawn": ((0.96, 0.90, 0.96), (244, 190, 214), 0.20),
    "day": ((1.0, 1.0, 1.0), (255, 255, 255), 0.0),
    "sunset": ((0.86, 0.62, 0.52), (196, 74, 44), 0.16),
    "night": ((0.68, 0.74, 0.94), (40, 56, 130), 0.14),
}
Grade = Callable[[Sequence[float]], Colour]


def grade_of(time: str) -> Grade:
    """Return the function that turns a noon colour into its colour at that time of day."""
    factor, tint, share = LIGHTS[time]

    def grade(colour: Sequence[float]) -> Colour:
        mixed = [
            c * f * (1 - share) + t * share for c, f, t in zip(colour, factor, tint, strict=True)
        ]
        return (_byte(mixed[0]), _byte(mixed[1]), _byte(mixed[2]))

    return grade


def _byte(value: float) -> int:
    return min(255, max(0, int(value)))


def shade(colour: Sequence[float], factor: float) -> Colour:
    """Return the colour made darker (below 1) or lighter (above 1)."""
    return (_byte(colour[0] * factor), _byte(colour[1] * factor), _byte(colour[2] * factor))


class Canvas:
    """A drawing surface in final-picture units; colours pass through the time's light.

    Beside the colours it keeps the pen lines of an ink drawing: each large shape hides the lines
    behind it and gets an outline; small shapes get none, as a pen would leave them out.
    """

    def __init__(self, image: Image.Image, grade: Grade, blocks: bool = False) -> None:
        """Draw on `image` (192 by 192), grading every colour with `grade`.

        With `blocks` the picture will be made of coarse blocks: specks and thin lines, which
        would only spoil some block's colour, are left out.
        """
        self.blocks = blocks
        self.image = image
        self.lines = Image.new("L", image.size, 0)
        self.grade = grade
        self._draw = ImageDraw.Draw(image)
        self._pen = ImageDraw.Draw(self.lines)

    def snap(self, place: float) -> float:
        """Return the block border next to a place, or the place itself without blocks."""
        return BLOCK * round(place / BLOCK) if self.blocks else place

    def polygon(self, points: Sequence[Point], colour: Sequence[float], lit: bool = True) -> None:
        """Fill a polygon; `lit` colours are graded, others (lamps, sun) are used as they are."""
        corners = [(x * SCALE, y * SCALE) for x, y in points]
        self._draw.polygon(corners, fill=self._fill(colour, lit))
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if _large(max(xs) - min(xs), max(ys) - min(ys)):
            self._pen.polygon(corners, fill=0)
            self._pen.line([*corners, *corners[:2]], fill=255, width=PEN, joint="curve")

    def box(
        self, x0: float, y0: float, x1: float, y1: float, colour: Sequence[float], lit: bool = True
    ) -> None:
        """Fill a rectangle."""
        edges = (x0 * SCALE, y0 * SCALE, max(x0, x1) * SCALE - 1, max(y0, y1) * SCALE - 1)
        if edges[2] >= edges[0] and edges[3] >= edges[1]:
            self._draw.rectangle(edges, fill=self._fill(colour, lit))
            if _large(x1 - x0, y1 - y0):
                self._pen.rectangle(edges, fill=0, outline=255, width=PEN)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Sequence[float], lit: bool = True
    ) -> None:
        """Fill an ellipse about its centre."""
        if not (self.blocks and min(rx, ry) < 1):
            self._draw.ellipse(_round(x, y, rx, ry), fill=self._fill(colour, lit))

    def puffs(
        self, parts: Sequence[tuple[float, float, float, float, Colour]], lit: bool = True
    ) -> None:
        """Fill ellipses `(x, y, rx, ry, colour)` that are one body with one outline."""
        rim = PEN / SCALE
        for x, y, rx, ry, _ in parts:
            self._pen.ellipse(_round(x, y, rx + rim, ry + rim), fill=255)
        for x, y, rx, ry, colour in parts:
            self._pen.ellipse(_round(x, y, rx, ry), fill=0)
            self.ellipse(x, y, rx, ry, colour, lit)

    def line(
        self, points: Sequence[Point], width: float, colour: Sequence[float], lit: bool = True
    ) -> None:
        """Draw a line of a width in final pixels."""
        corners = [(x * SCALE, y * SCALE) for x, y in points]
        thick = max(1, round(width * SCALE))
        if not (self.blocks and width < 0.8):
            self._draw.line(corners, fill=self._fill(colour, lit), width=thick)
        if width >= THICK_LINE:
            self._pen.line(corners, fill=255, width=PEN)

    def _fill(self, colour: Sequence[float], lit: bool) -> Colour:
        return self.grade(colour) if lit else shade(colour, 1.0)


def _large(width: float, height: float) -> bool:
    return min(width, height) >= 2.2 and max(width, height) >= 3.5


def _round(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
    return ((x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE)


def ridge(
    rng: random.Random, base: float, height: float, waves: float, points: int = 33
) -> list[Point]:
    """Return a smooth skyline from left to right: two sines with random phases."""
    a, b = rng.uniform(0, 6.28), rng.uniform(0, 6.28)
    line = []
    for i in range(points):
        t = i / (points - 1)
        y = math.sin(a + waves * t * 6.28) + 0.45 * math.sin(b + waves * 2.3 * t * 6.28)
        line.append((64 * t, base - height * y))
    return line


def below(line: Sequence[Point], bottom: float = 64) -> list[Point]:
    """Return the outline of everything under a skyline."""
    return [*line, (64, bottom), (0, bottom)]


def height_at(line: Sequence[Point], x: float) -> float:
    """Return the height of a skyline at `x`."""
    place = min(max(x, 0), 63.99) / 64 * (len(line) - 1)
    i = int(place)
    return line[i][1] + (line[i + 1][1] - line[i][1]) * (place - i)
