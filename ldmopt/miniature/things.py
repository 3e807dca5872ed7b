"""The four things that stand in front."""

from __future__ import annotations

import math
import random

from ldmopt.miniature.canvas import Canvas, shade


def _tree(canvas: Canvas, x: float, foot: float, time: str, rng: random.Random) -> None:
    height, bark = rng.uniform(23, 27), (104, 70, 42)
    leaf = rng.choice(((48, 124, 46), (58, 134, 40), (38, 114, 58)))
    crown = foot - height * 0.64
    lean = rng.uniform(-1, 1)
    canvas.polygon(
        [(x - 1.8, foot), (x - 0.9 + lean, crown), (x + 0.9 + lean, crown), (x + 1.8, foot)], bark
    )
    canvas.line([(x - 0.6, foot - 1), (x - 0.2 + lean, crown)], 0.5, shade(bark, 0.7))
    for side in (-1, 1):
        canvas.line(
            [(x + lean / 2, foot - height * 0.32), (x + side * 4.5, crown + 0.5)], 0.9, bark
        )
    radius = height * 0.34
    crowns = []
    for i in range(9):  # outer leaves dark, then lighter ones towards the upper left
        angle = i * 0.7 + rng.uniform(-0.2, 0.2)
        crowns.append(
            (
                x + lean + radius * 0.62 * math.cos(angle),
                crown + radius * 0.5 * math.sin(angle),
                radius * 0.5,
                radius * 0.46,
                shade(leaf, 0.86 - 0.1 * math.sin(angle + 2.2)),
            )
        )
    crowns.append((x + lean - 0.8, crown - 1.2, radius * 0.62, radius * 0.55, shade(leaf, 1.2)))
    canvas.puffs(crowns)
    for _ in range(8):
        angle, part = rng.uniform(0, 6.28), math.sqrt(rng.random())
        canvas.ellipse(
            x + lean + radius * part * math.cos(angle),
            crown + radius * 0.85 * part * math.sin(angle),
            0.9,
            0.8,
            shade(leaf, rng.choice((0.7, 1.36))),
        )


def _house(canvas: Canvas, x: float, foot: float, time: str, rng: random.Random) -> None:
    half, wall, roof = (
        rng.uniform(8, 9.5),
        (244, 234, 212),
        rng.choice(((196, 56, 42), (206, 70, 40))),
    )
    tall = rng.uniform(9.5, 11)
    eave, top = foot - tall, foot - tall - rng.uniform(7, 8.5)
    chimney = x + half * 0.45
    canvas.box(chimney, top + 0.6, chimney + 2.2, eave, (140, 74, 60))
    canvas.box(x - half, eave, x + half, foot, wall)
    canvas.box(x + half * 0.72, eave, x + half, foot, shade(wall, 0.84))
    canvas.polygon(
        [
            (x - half - 1.8, eave + 0.4),
            (x - half * 0.25, top),
            (x + half * 0.25, top),
            (x + half + 1.8, eave + 0.4),
        ],
        roof,
    )
    for row in (1, 2):  # tiles
        y = top + (eave - top) * row / 3
        reach = half * 0.25 + (half * 0.75 + 1.8) * row / 3
        canvas.line([(x - reach, y), (x + reach, y)], 0.4, shade(roof, 0.78))
    canvas.box(x - 1.6, foot - 6, x + 1.6, foot, (112, 66, 42))
    lamp = time in ("night", "sunset")
    for side in (-1, 1):
        cx = x + side * half * 0.58
        canvas.box(cx - 1.9, eave + 2.2, cx + 1.9, eave + 6, (86, 60, 46))
        canvas.box(
            cx - 1.4,
            eave + 2.7,
            cx + 1.4,
            eave + 5.5,
            (255, 224, 110) if lamp else (150, 200, 230),
            lit=not lamp,
        )
        canvas.line([(cx, eave + 2.4), (cx, eave + 5.6)], 0.4, (86, 60, 46))


def _lighthouse(canvas: Canvas, x: float, foot: float, time: str, rng: random.Random) -> None:
    height, low, high = rng.uniform(23, 26), rng.uniform(4.0, 4.6), rng.uniform(2.5, 2.9)
    top = foot - height
    stripes = 6
    for i in range(stripes):
        y0, y1 = foot - height * i / stripes, foot - height * (i + 1) / stripes
        w0, w1 = low + (high - low) * i / stripes, low + (high - low) * (i + 1) / stripes
        colour = (248, 246, 240) if i % 2 else (208, 44, 44)
        canvas.polygon([(x - w0, y0), (x - w1, y1), (x + w1, y1), (x + w0, y0)], colour)
        canvas.polygon(
            [(x + w0 * 0.5, y0), (x + w1 * 0.5, y1), (x + w1, y1), (x + w0, y0)], shade(colour, 0.8)
        )
    canvas.box(x - high - 1, top - 0.9, x + high + 1, top, (60, 60, 68))
    canvas.box(x - 1.9, top - 4, x + 1.9, top - 0.9, (255, 240, 150), lit=False)
    canvas.line([(x - 1.9, top - 4), (x - 1.9, top - 0.8)], 0.4, (60, 60, 68))
    canvas.line([(x + 1.9, top - 4), (x + 1.9, top - 0.8)], 0.4, (60, 60, 68))
    canvas.polygon([(x - 2.6, top - 4), (x, top - 6.8), (x + 2.6, top - 4)], (196, 44, 44))
    for level in (0.3, 0.62):
        canvas.box(
            x - 0.7, foot - height * level - 1, x + 0.7, foot - height * level + 1, (60, 70, 90)
        )
    canvas.box(x - 1.1, foot - 3, x + 1.1, foot, (80, 50, 44))


def _tent(canvas: Canvas, x: float, foot: float, time: str, rng: random.Random) -> None:
    half, height = rng.uniform(9.5, 11), rng.uniform(13.5, 16)
    cloth = rng.choice(((244, 132, 24), (250, 144, 36), (238, 120, 30)))
    top, back = foot - height, rng.choice((-1, 1)) * 3.6
    canvas.polygon(
        [
            (x - half, foot),
            (x, top),
            (x + back, top - 0.6),
            (x + half + abs(back), foot - 1),
            (x + half, foot),
        ]
        if back > 0
        else [
            (x + half, foot),
            (x, top),
            (x + back, top - 0.6),
            (x - half - abs(back), foot - 1),
            (x - half, foot),
        ],
        shade(cloth, 0.7),
    )
    canvas.polygon([(x - half, foot), (x, top), (x + half, foot)], cloth)
    canvas.polygon(
        [(x - half * 0.36, foot), (x, top + height * 0.28), (x + half * 0.36, foot)], (70, 40, 28)
    )
    canvas.polygon(
        [(x, top + height * 0.28), (x + half * 0.36, foot), (x + half * 0.62, foot)],
        shade(cloth, 1.16),
    )
    for side in (-1, 1):
        canvas.line(
            [(x + side * half * 0.5, foot - height * 0.5), (x + side * half * 0.66, foot)],
            0.4,
            shade(cloth, 0.72),
        )
        canvas.line(
            [(x + side * half, foot), (x + side * (half + 3), foot + 1.2)], 0.4, (90, 70, 50)
        )
    canvas.line([(x, top), (x, top - 3)], 0.5, (90, 70, 50))
    canvas.polygon([(x, top - 3), (x + 2.6, top - 2.2), (x, top - 1.4)], (220, 50, 60))


THINGS = {"tree": _tree, "house": _house, "lighthouse": _lighthouse, "tent": _tent}
