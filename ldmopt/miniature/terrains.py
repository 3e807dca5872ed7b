"""The five terrains, from the horizon down to the ground strip in front."""

from __future__ import annotations

import random

from ldmopt.miniature.canvas import Canvas, Colour, below, height_at, ridge, shade


def _mountains(canvas: Canvas, horizon: float, time: str, rng: random.Random) -> None:
    far = [(x, horizon + rng.uniform(-7, -2)) for x in range(0, 65, 8)]
    canvas.polygon(below(far), (136, 152, 190))
    rock = rng.choice(((112, 104, 116), (122, 108, 100), (98, 106, 122)))
    count = rng.choice((3, 3, 4))
    order = list(range(count))
    rng.shuffle(order)
    for i in order:
        x = 64 * (i + 0.5) / count + rng.uniform(-4, 4)
        top = horizon - rng.uniform(4, 11)
        foot, spread = 52.0, rng.uniform(15, 20)
        tone = rng.uniform(0.88, 1.1)
        ledge = [
            (x, top),
            (x + 2, (top + foot) / 2 - 6),
            (x - 1.5, (top + foot) / 2),
            (x + 2, foot),
        ]
        canvas.polygon([(x - spread, foot), (x, top), (x + spread, foot)], shade(rock, 1.18 * tone))
        canvas.polygon([*ledge, (x + spread, foot)], shade(rock, 0.74 * tone))
        snow = rng.uniform(0.26, 0.36)
        drop = (foot - top) * snow
        edge = [
            (x + (u * spread * snow), top + drop * (1 + v))
            for u, v in ((-1, 0), (-0.55, 0.16), (-0.2, -0.18), (0.15, 0.2), (0.5, -0.14), (1, 0))
        ]
        canvas.polygon([(x, top), *edge], (248, 250, 255))
        canvas.polygon([(x, top), *edge[3:]], (206, 216, 236))
        for _ in range(2):  # cracks along the slope
            u = rng.uniform(-0.6, 0.6)
            y = rng.uniform(top + drop * 1.5, foot - 3)
            cx = x + u * spread * (y - top) / (foot - top)
            canvas.line([(cx, y), (cx + (1.6 if u > 0 else -1.6), y + 2.6)], 0.5, shade(rock, 0.6))


def _sea(canvas: Canvas, horizon: float, time: str, rng: random.Random) -> None:
    water = rng.choice(((36, 116, 186), (30, 128, 178), (44, 104, 176)))
    horizon += 1
    for band in range(6):
        top = horizon + band * 4
        canvas.box(0, top, 64, 64, shade(water, 1.14 - band * 0.06))
    for _ in range(16):
        depth = rng.random() ** 0.8
        y = horizon + 1 + depth * 17
        length = 2.5 + depth * 6
        x = rng.uniform(-2, 64)
        canvas.line(
            [(x, y), (x + length / 2, y - 0.35), (x + length, y)],
            0.45 + 0.28 * depth,
            shade(water, rng.choice((1.55, 1.45, 0.76))),
        )
    if rng.random() < 0.5:
        x, y = rng.uniform(5, 58), horizon + 0.6
        canvas.polygon([(x - 2, y), (x + 2, y), (x + 1.3, y + 1), (x - 1.3, y + 1)], (120, 70, 50))
        canvas.polygon([(x, y - 0.3), (x, y - 3.6), (x + 1.8, y - 0.3)], (252, 250, 244))


def _desert(canvas: Canvas, horizon: float, time: str, rng: random.Random) -> None:
    sand = rng.choice(((236, 196, 116), (230, 182, 104), (240, 204, 132)))
    for level in range(3):
        base = horizon + 1 + level * 5
        line = ridge(rng, base, 2.2 + level * 0.5, rng.uniform(0.6, 1.1))
        canvas.polygon(below(line), shade(sand, 0.94 + 0.06 * level))
        # The side of a dune that turns from the light: below the crest where it falls.
        for start in range(len(line) - 1):
            (x0, y0), (x1, y1) = line[start], line[start + 1]
            if y1 > y0:
                canvas.polygon(
                    [(x0, y0), (x1, y1), (x1, y1 + 2.5), (x0, y0 + 2.5)],
                    shade(sand, 0.76 + 0.05 * level),
                )
        for _ in range(3):
            x = rng.uniform(0, 60)
            y = height_at(line, x + 2) + rng.uniform(3, 6)
            canvas.line([(x, y), (x + 2, y - 0.5), (x + 4, y)], 0.4, shade(sand, 0.84))
    for _ in range(rng.randint(1, 3)):
        x, y, h = rng.uniform(3, 61), horizon + rng.uniform(9, 14), rng.uniform(3, 4.6)
        green = (70, 130, 74)
        canvas.box(x - 0.6, y - h, x + 0.6, y, green)
        canvas.line(
            [(x - 1.8, y - h * 0.8), (x - 1.8, y - h * 0.45), (x, y - h * 0.45)], 0.7, green
        )
        canvas.line([(x + 1.8, y - h * 0.9), (x + 1.8, y - h * 0.6), (x, y - h * 0.6)], 0.7, green)


def _hills(canvas: Canvas, horizon: float, time: str, rng: random.Random) -> None:
    green = rng.choice(((96, 172, 70), (110, 176, 84), (86, 162, 82)))
    for level in range(3):
        base = horizon + level * 6
        line = ridge(rng, base, 2.8 - level * 0.4, rng.uniform(0.7, 1.3))
        tone = 1.12 - 0.14 * level
        canvas.polygon(below(line), shade(green, tone))
        for _ in range(5):
            x = rng.uniform(0, 64)
            y = height_at(line, x) + rng.uniform(0.8, 6)
            canvas.line(
                [(x, y), (x + rng.uniform(-0.5, 0.5), y - 1.1)],
                0.45,
                shade(green, tone * rng.choice((0.78, 0.84, 1.22))),
            )
        for _ in range(3 * level):
            x = rng.uniform(0, 64)
            y = height_at(line, x) + rng.uniform(1.5, 6)
            bloom = rng.choice(((250, 250, 240), (250, 220, 80), (232, 96, 120)))
            canvas.ellipse(x, y, 0.8, 0.8, bloom)


def _city(canvas: Canvas, horizon: float, time: str, rng: random.Random) -> None:
    lamp = (255, 222, 120)
    share = {"dawn": 0.3, "day": 0.0, "sunset": 0.5, "night": 0.6}[time]
    x = -3.0
    while x < 64:
        width, height = rng.uniform(6, 9), rng.uniform(6, 14)
        canvas.box(x, horizon + 4 - height, x + width, 64, (150, 164, 190))
        x += width + rng.uniform(0, 1.5)
    blocks = canvas.blocks
    x = 4.0 * rng.randint(-2, 0) if blocks else rng.uniform(-6, -1)
    while x < 64:
        # Towers of whole blocks, where the picture is made of blocks, with windows that fill one.
        width, top = rng.choice((11.0, 12.0, 13.0)), horizon + rng.uniform(-8, 6)
        if blocks:
            width, top = 12.0, canvas.snap(top)
        wall = rng.choice(((104, 114, 136), (134, 112, 116), (88, 106, 126), (124, 130, 138)))
        canvas.box(x, top, x + width, 64, wall)
        if rng.random() < 0.4 and not blocks:
            canvas.line([(x + width / 2, top), (x + width / 2, top - 3.5)], 0.75, (80, 84, 96))
        size, pace = (4.0, 8.0) if blocks else (2.1, 3.6)
        columns = [4.0] if blocks else [width / 2 + pace * i - size / 2 for i in (-1, 0, 1)]
        y = top + (4 if blocks else 2)
        while y < 50:
            for column in columns:
                lit = rng.random() < share
                left = x + column
                dark = shade(wall, 1.5 if share == 0 else 0.6)
                canvas.box(left, y, left + size, y + size + 0.3, lamp if lit else dark, lit=not lit)
            y += pace + (0 if blocks else 0.8)
        x += width + (4 * rng.randint(0, 1) if blocks else rng.uniform(0, 2.5))


TERRAINS = {"mountains": _mountains, "sea": _sea, "desert": _desert, "hills": _hills, "city": _city}
_GROUNDS: dict[str, Colour] = {
    "mountains": (124, 142, 84),
    "sea": (234, 212, 160),
    "desert": (222, 176, 100),
    "hills": (92, 150, 62),
    "city": (128, 128, 132),
}


def ground(canvas: Canvas, terrain: str, rng: random.Random) -> None:
    """Draw the strip in front on which the thing stands."""
    colour = _GROUNDS[terrain]
    line = ridge(rng, 52.5, 0.25 if terrain == "city" else 0.8, rng.uniform(0.5, 1.0))
    canvas.polygon(below(line), colour)
    if terrain == "sea":
        canvas.line([(x, y - 0.3) for x, y in line], 0.9, (248, 250, 250))
    if terrain == "city":
        canvas.line([(x, y + 0.4) for x, y in line], 0.8, (176, 176, 176))
        for dash in range(-2, 66, 8):
            canvas.box(dash, 61.2, dash + 4, 62.2, (236, 230, 190))
        return
    for _ in range(12):
        x = rng.uniform(0, 64)
        y = height_at(line, x) + 1 + rng.random() * 10
        tone = rng.choice((0.78, 0.86, 1.14))
        if terrain in ("hills", "mountains"):
            canvas.line([(x, y), (x + rng.uniform(-0.4, 0.4), y - 1.3)], 0.45, shade(colour, tone))
        else:
            canvas.ellipse(x, y, rng.uniform(0.3, 0.9), 0.35, shade(colour, tone))
