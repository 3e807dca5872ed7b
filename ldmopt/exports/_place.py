"""Labels beside points, without overlaps: try positions around each point, keep the freest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

ANGLES = (20, -20, 160, 200, 45, -45, 135, 225, 90, 270)
DISTANCES = (11.0, 24.0, 42.0, 64.0, 90.0)


def place(
    figure: Figure,
    axes: Axes,
    labels: Sequence[tuple[str, float, float, str]],
    obstacles: Sequence[tuple[float, float]],
    crowd: Sequence[tuple[float, float]] = (),
) -> None:
    """Write labels near their points.

    Args:
        figure: what is drawn on, with an Agg canvas.
        axes: whose data coordinates are meant.
        labels: text, x, y and colour of each.
        obstacles: points, in data coordinates, that no label may cover.
        crowd: points that labels rather leave free.
    """
    blocked = [_around(axes, point, 9.0) for point in obstacles]
    soft = [_around(axes, point, 7.0) for point in crowd]
    for label in sorted(labels, key=lambda label: -len(label[0])):
        blocked.append(_place_one(figure, axes, label, blocked, soft))


def _around(axes: Axes, point: tuple[float, float], reach: float) -> Bbox:
    """A square of pixels around a point of the data."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(point)
    return Bbox.from_extents(x - reach, y - reach, x + reach, y + reach)


def _place_one(
    figure: Figure,
    axes: Axes,
    label: tuple[str, float, float, str],
    blocked: Sequence[Bbox],
    soft: Sequence[Bbox],
) -> Bbox:
    """Try every position, keep the one with the least trouble, and draw it with a thin line."""
    from matplotlib.patheffects import withStroke

    text, x, y, colour = label
    frame = axes.get_window_extent()
    scale = figure.dpi / 72.0
    px, py = axes.transData.transform((x, y))
    size = _size(figure, text)
    best: tuple[float, Bbox, float] | None = None
    for distance in DISTANCES:
        for angle in ANGLES:
            box = _box((px, py), size, distance * scale, angle)
            trouble = distance / 20.0 + 1000.0 * _outside(box, frame)
            trouble += sum(_overlap(box, other) for other in blocked)
            trouble += 0.03 * sum(_overlap(box, other) for other in soft)
            trouble += 40.0 * sum(_crosses((px, py), box, other) for other in blocked)
            if best is None or trouble < best[0]:
                best = (trouble, box, distance)
    if best is None:
        raise ValueError("no position to try")
    box, distance = best[1], best[2]
    center = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2))
    near = (min(max(px, box.x0), box.x1), min(max(py, box.y0), box.y1))
    if distance > DISTANCES[0]:
        end = axes.transData.inverted().transform(near)
        axes.plot([x, end[0]], [y, end[1]], color=colour, lw=0.7, alpha=0.7, zorder=3)
    axes.text(
        center[0], center[1], text, ha="center", va="center", color=colour, fontsize=9.5,
        weight="bold", linespacing=1.15, zorder=6,
        path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.85)],
    )  # fmt: skip
    return box


def _size(figure: Figure, text: str) -> tuple[float, float]:
    """Width and height of a label in pixels, with a little room."""
    probe = figure.text(0, 0, text, fontsize=9.5, weight="bold", linespacing=1.15)
    extent = probe.get_window_extent()
    probe.remove()
    return float(extent.width) + 4.0, float(extent.height) + 3.0


def _box(
    point: tuple[float, float], size: tuple[float, float], distance: float, angle: float
) -> Bbox:
    """A box of that size whose nearest side is about that far from the point."""
    from matplotlib.transforms import Bbox

    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    cx = point[0] + dx * distance + (size[0] / 2) * _side(dx)
    cy = point[1] + dy * distance + (size[1] / 2) * _side(dy)
    return Bbox.from_extents(cx - size[0] / 2, cy - size[1] / 2, cx + size[0] / 2, cy + size[1] / 2)


def _side(direction: float) -> float:
    """-1, 0 or 1: which way a box grows."""
    return 0.0 if abs(direction) < 0.1 else math.copysign(1.0, direction)


def _overlap(one: Bbox, other: Bbox) -> float:
    """Shared area in square pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return float(max(0.0, width) * max(0.0, height))


def _outside(box: Bbox, frame: Bbox) -> float:
    """Pixels by which a box leaves the frame."""
    gap: float = (
        max(0.0, frame.x0 - box.x0) + max(0.0, box.x1 - frame.x1)
        + max(0.0, frame.y0 - box.y0) + max(0.0, box.y1 - frame.y1)
    )  # fmt: skip
    return gap


def _crosses(point: tuple[float, float], box: Bbox, other: Bbox) -> bool:
    """Whether the line from the point to its label runs through another box."""
    end = (min(max(point[0], box.x0), box.x1), min(max(point[1], box.y0), box.y1))
    for step in range(2, 10):
        x = point[0] + (end[0] - point[0]) * step / 10
        y = point[1] + (end[1] - point[1]) * step / 10
        own = abs(x - point[0]) < 10 and abs(y - point[1]) < 10
        if not own and other.x0 <= x <= other.x1 and other.y0 <= y <= other.y1:
            return True
    return False
