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

SUNS: dict[str, Colour] = {
    "dawn": (255, 226, 120),
    "day": (255, 220, 50),
    "sunset": (255, 214, 70),
    "night": (250, 170, 40),
}
# The side of the moon that lies in the dark.
MOON_SHADES: dict[str, Colour] = {
    "dawn": (158, 140, 184),
    "day": (92, 140, 204),
    "sunset": (134, 58, 84),
    "night": (66, 78, 132),
}


def paint(scene: Scene) -> Canvas:
    """Return the scene without its style, 192 by 192; the same scene gives the same canvas."""
    rng = random.Random(f"paint {scene.seed}")
    canvas = Canvas(_sky(scene.time, rng), grade_of(scene.time), scene.style == "pixel")
    if scene.time == "night":
        if scene.style == "flat":  # elsewhere stars are blots or disappear
            _stars(canvas, rng)
    elif scene.style != "ink" or scene.light == "none":  # few lines say more than many
        _clouds(canvas, scene.time, rng)
    _light(canvas, scene, rng)
    horizon = rng.uniform(31, 35)
    TERRAINS[scene.terrain](canvas, horizon, scene.time, rng)
    ground(canvas, scene.terrain, rng)
    # The thing stands anywhere, whatever the light does: place is no hint to it.
    x, foot = rng.uniform(17, 47), rng.uniform(56, 59.5)
    THINGS[scene.thing](canvas, canvas.snap(x), canvas.snap(foot), scene.time, rng)
    return canvas


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


def _clouds(canvas: Canvas, time: str, rng: random.Random) -> None:
    """Draw puffs, or thin faint strips for coarse blocks, where puffs would look like moons."""
    colour = {"dawn": (252, 214, 222), "day": (250, 252, 255), "sunset": (250, 142, 84)}[time]
    for _ in range(rng.randint(1, 3)):
        x, y, width = rng.uniform(4, 60), rng.uniform(4, 27), rng.uniform(4, 8)
        if canvas.blocks:
            faint = [0.5 * (a + b) for a, b in zip(colour, SKIES[time][1], strict=True)]
            row = 4 * rng.choice((0, 1, 5, 6))
            canvas.box(x - width, row, x + width, row + 4, faint, lit=False)
            continue
        parts = []
        for part in range(5):
            offset = (part - 2) / 2
            bump = width * 0.26 * (1.15 - abs(offset)) * rng.uniform(0.8, 1.2) + 0.5
            tone = shade(colour, rng.uniform(0.95, 1.0))
            parts.append((x + offset * width * 0.8, y - bump * 0.5, width * 0.36, bump, tone))
        canvas.puffs(parts, lit=False)


def _light(canvas: Canvas, scene: Scene, rng: random.Random) -> None:
    if scene.light == "none":
        return
    body, side = scene.light.split()
    x = {"left": 12.0, "middle": 32.0, "right": 52.0}[side] + rng.uniform(-3, 3)
    y, radius = rng.uniform(9.5, 14), rng.uniform(5.2, 6.4)
    x, y = canvas.snap(x), canvas.snap(y)
    if body == "sun":
        colour = SUNS[scene.time]
        rim = shade(colour, 0.93)
        turn, rays = rng.uniform(0, 1), rng.choice((8, 10))
        for ray in range(rays):
            angle = 2 * math.pi * (ray + turn) / rays
            near, far = radius + 1.2, radius + rng.uniform(3.0, 4.0)
            c, s = math.cos(angle), math.sin(angle)
            canvas.line(
                [(x + near * c, y + near * s), (x + far * c, y + far * s)], 0.9, rim, lit=False
            )
        canvas.puffs([(x, y, radius, radius, rim)], lit=False)
        canvas.ellipse(x, y, radius - 0.8, radius - 0.8, colour, lit=False)
        return
    # A crescent on its own dark disc: the outer half circle, then back along a flatter arc.
    radius += 1
    canvas.puffs([(x, y, radius, radius, MOON_SHADES[scene.time])], lit=False)
    turn = rng.uniform(-0.35, 0.35)
    outer = [-math.pi / 2 + math.pi * i / 12 for i in range(13)]
    points = [(radius * math.cos(a), radius * math.sin(a)) for a in outer]
    points += [(radius * 0.3 * math.cos(a), radius * math.sin(a)) for a in reversed(outer)]
    c, s = math.cos(turn), math.sin(turn)
    canvas.polygon(
        [(x + px * c - py * s, y + px * s + py * c) for px, py in points],
        (255, 250, 214),
        lit=False,
    )
