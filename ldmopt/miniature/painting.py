"""Drawing of scenes: sky, clouds, sun or moon, then terrain and thing; every factor but style."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ldmopt.miniature.canvas import SCALE, SIZE, Canvas, Colour, grade_of, shade
from ldmopt.miniature.terrains import TERRAINS, ground
from ldmopt.miniature.things import THINGS

if TYPE_CHECKING:
    from ldmopt.miniature.scenes import Scene

# Top, middle and bottom of the sky.
SKIES: dict[str, tuple[Colour, Colour, Colour]] = {
    "dawn": ((150, 150, 215), (236, 176, 205), (255, 222, 200)),
    "day": ((62, 142, 228), (120, 190, 245), (205, 235, 252)),
    "sunset": ((112, 48, 104), (226, 88, 62), (255, 186, 82)),
    "night": ((8, 12, 46), (14, 24, 76), (34, 50, 116)),
}


def paint(scene: Scene) -> Image.Image:
    """Return the scene without its style, 192 by 192 RGB; the same scene gives the same image."""
    rng = random.Random(f"paint {scene.seed}")
    canvas = Canvas(_sky(scene.time, rng), grade_of(scene.time))
    if scene.time != "night":
        _clouds(canvas, scene.time, rng, scene.style == "pixel")
    elif scene.style != "ink":  # pen lines around stars would be black dots
        _stars(canvas, rng)
    _light(canvas, scene, rng)
    horizon = rng.uniform(31, 35)
    TERRAINS[scene.terrain](canvas, horizon, scene.time, rng)
    ground(canvas, scene.terrain, rng)
    # The thing stands anywhere, whatever the light does: place is no hint to it.
    THINGS[scene.thing](canvas, rng.uniform(17, 47), rng.uniform(56, 59.5), scene.time, rng)
    return canvas.image


def _sky(time: str, rng: random.Random) -> Image.Image:
    top, middle, bottom = (np.array(c, np.float32) for c in SKIES[time])
    height = SIZE * SCALE
    place = np.linspace(0, 1, height, dtype=np.float32)[:, None] / rng.uniform(0.5, 0.62)
    upper = top + (middle - top) * np.clip(place * 2, 0, 1)
    rows = upper + (bottom - middle) * np.clip(place * 2 - 1, 0, 1)
    rows = np.clip(rows * rng.uniform(0.94, 1.04), 0, 255).astype(np.uint8)
    return Image.fromarray(
        np.ascontiguousarray(np.broadcast_to(rows[:, None], (height, height, 3)))
    )


def _stars(canvas: Canvas, rng: random.Random) -> None:
    for _ in range(rng.randint(22, 34)):
        radius = rng.choice((0.34, 0.34, 0.5, 0.67))
        tone = rng.randint(170, 255)
        x, y = rng.uniform(0, 64), rng.uniform(0, 32)
        canvas.ellipse(x, y, radius, radius, (tone, tone, min(255, tone + 15)), lit=False)


def _clouds(canvas: Canvas, time: str, rng: random.Random, strips: bool) -> None:
    """Draw puffs, or thin faint strips for coarse blocks, where puffs would look like moons."""
    colour = {"dawn": (252, 214, 222), "day": (250, 252, 255), "sunset": (250, 142, 84)}[time]
    for _ in range(rng.randint(2, 4)):
        x, y, width = rng.uniform(4, 60), rng.uniform(4, 27), rng.uniform(4, 8)
        if strips:
            faint = [0.5 * (a + b) for a, b in zip(colour, SKIES[time][1], strict=True)]
            row = 4 * rng.choice((0, 1, 5, 6))
            canvas.box(x - width, row, x + width, row + 4, faint, lit=False)
            continue
        for part in range(5):
            offset = (part - 2) / 2
            bump = width * 0.26 * (1.15 - abs(offset)) * rng.uniform(0.8, 1.2)
            canvas.ellipse(
                x + offset * width * 0.8,
                y - bump * 0.5,
                width * 0.36,
                bump + 0.5,
                shade(colour, rng.uniform(0.95, 1.0)),
                lit=False,
            )


def _light(canvas: Canvas, scene: Scene, rng: random.Random) -> None:
    if scene.light == "none":
        return
    body, side = scene.light.split()
    x = {"left": 12.0, "middle": 32.0, "right": 52.0}[side] + rng.uniform(-3, 3)
    y, radius = rng.uniform(9.5, 14), rng.uniform(5.2, 6.4)
    if body == "sun":
        colour = {
            "dawn": (255, 226, 120),
            "day": (255, 220, 50),
            "sunset": (255, 214, 70),
            "night": (250, 170, 40),
        }[scene.time]
        rim = shade(colour, 0.93)
        turn, rays = rng.uniform(0, 1), rng.choice((8, 10, 12))
        for ray in range(rays):
            angle = 2 * math.pi * (ray + turn) / rays
            near, far = radius + 0.8, radius + rng.uniform(2.4, 3.6)
            canvas.line(
                [
                    (x + near * math.cos(angle), y + near * math.sin(angle)),
                    (x + far * math.cos(angle), y + far * math.sin(angle)),
                ],
                0.8,
                rim,
                lit=False,
            )
        canvas.ellipse(x, y, radius, radius, rim, lit=False)
        canvas.ellipse(x, y, radius - 0.8, radius - 0.8, colour, lit=False)
        return
    # A crescent: the outer half circle, then back along a flatter inner arc.
    turn = rng.uniform(-0.5, 0.5) + rng.choice((0.0, math.pi))
    outer = [-math.pi / 2 + math.pi * i / 12 for i in range(13)]
    points = [(radius * math.cos(a), radius * math.sin(a)) for a in outer]
    points += [(radius * 0.32 * math.cos(a), radius * math.sin(a)) for a in reversed(outer)]
    c, s = math.cos(turn), math.sin(turn)
    shape = [
        (x + (px - radius * 0.5) * c - py * s, y + (px - radius * 0.5) * s + py * c)
        for px, py in points
    ]
    canvas.polygon(shape, (255, 250, 226), lit=False)
    for _ in range(2):  # craters
        px, py = points[rng.randint(3, 9)]
        px, py = px * 0.7 - radius * 0.5, py * 0.7
        canvas.ellipse(
            x + px * c - py * s, y + px * s + py * c, 0.6, 0.6, (206, 206, 204), lit=False
        )
