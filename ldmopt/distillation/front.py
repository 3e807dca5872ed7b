"""The Pareto front of win rate against costs, and the volume that it dominates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ldmopt.contracts import Cost, Setting, Trial
from ldmopt.distillation.saddlepoint import Floats


@dataclass(frozen=True)
class Point:
    """What a setting is worth and costs, as far as comparing settings goes.

    Attributes:
        win_rate: higher is better.
        seconds: device seconds per picture.
        latency_seconds: until the pictures of a call arrive.
        peak_memory_bytes: None where it was not measured.
    """

    win_rate: float
    seconds: float
    latency_seconds: float
    peak_memory_bytes: float | None = None

    @classmethod
    def of(cls, cost: Cost, win_rate: float) -> Point:
        """Join a cost with a win rate."""
        return cls(win_rate, cost.seconds, cost.latency_seconds, cost.peak_memory_bytes)

    def costs(self) -> tuple[float, float, float]:
        """Everything that is better when lower; unknown memory compares as equal to all other."""
        return (self.seconds, self.latency_seconds, self.peak_memory_bytes or 0.0)


@dataclass(frozen=True)
class Bounds:
    """The scales of the hypervolume, fixed before a search (DESIGN 3).

    Attributes:
        fastest: least feasible latency in seconds.
        slowest: largest feasible latency in seconds.
        smallest: least feasible peak memory in bytes, or None for two objectives.
        largest: largest feasible peak memory in bytes, or None for two objectives.
    """

    fastest: float
    slowest: float
    smallest: float | None = None
    largest: float | None = None


def pareto(trials: Iterable[Trial]) -> list[Trial]:
    """Return the feasible trials that no other one beats, each setting once, best win rate first.

    The win rates are those of the search: what a winner won by luck is still in them.
    """
    usable: dict[Setting, tuple[Trial, Point]] = {}
    for trial in trials:
        if trial.feasible and trial.measured and trial.cost and trial.quality:
            point = Point.of(trial.cost, trial.quality.win_rate)
            usable.setdefault(trial.setting, (trial, point))
    rows = list(usable.values())
    kept = [rows[index] for index in nondominated([point for _, point in rows])]
    return [trial for trial, point in sorted(kept, key=lambda row: -row[1].win_rate)]


def nondominated(points: Sequence[Point]) -> list[int]:
    """Return the indices of points that no other point beats, in the order given.

    A point is beaten by one at least as good in win rate and in every cost, and better in one. Of
    equal points the first stays. Where some memories are unknown, memory is left out for all.
    """
    if not points:
        return []
    known = all(point.peak_memory_bytes is not None for point in points)
    rows = np.array(
        [(-point.win_rate, *point.costs()[: 3 if known else 2]) for point in points], np.float64
    )
    kept = []
    for index, row in enumerate(rows):
        no_worse = (rows <= row).all(axis=1)
        better = no_worse & (rows < row).any(axis=1)
        equal_before = no_worse[:index] & (rows[:index] == row).all(axis=1)
        if not better.any() and not equal_before.any():
            kept.append(index)
    return kept


def hypervolume(points: Sequence[Point], bounds: Bounds) -> float:
    """Return the share of the unit cube (or square) that the points dominate.

    Win rate counts from 0; log latency and log bytes count from 1.1 x the largest feasible; each
    axis is normalised to [0, 1]. Without memory bounds, the two-objective figure.
    """
    boxes = np.array([_box(point, bounds) for point in points], np.float64).reshape(-1, 3)
    return _volume(boxes[(boxes > 0).all(axis=1)])


def contributions(points: Sequence[Point], bounds: Bounds) -> list[float]:
    """Return for each point the hypervolume that would be lost without it."""
    whole = hypervolume(points, bounds)
    return [
        whole - hypervolume([*points[:index], *points[index + 1 :]], bounds)
        for index in range(len(points))
    ]


def _box(point: Point, bounds: Bounds) -> tuple[float, float, float]:
    """The sides of the box between a point and the reference, each within [0, 1]."""
    time = _share(point.latency_seconds, bounds.fastest, bounds.slowest)
    if bounds.smallest is None or bounds.largest is None:
        return (point.win_rate, time, 1.0)
    if point.peak_memory_bytes is None:
        return (point.win_rate, time, 0.0)
    return (point.win_rate, time, _share(point.peak_memory_bytes, bounds.smallest, bounds.largest))


def _share(value: float, least: float, largest: float) -> float:
    """1 at the least, 0 at 1.1 x the largest, linear in the logarithm."""
    top = math.log(1.1 * largest)
    share = (top - math.log(max(value, 1e-300))) / (top - math.log(least))
    return min(1.0, max(0.0, share))


def _volume(boxes: Floats) -> float:
    """Union of boxes from the origin: sweep the third axis, keep the area of the first two."""
    total, above = 0.0, 0.0
    order = np.argsort(boxes[:, 2], kind="stable")
    heights = boxes[order, 2]
    for rank in range(len(order)):
        total += (heights[rank] - above) * _area(boxes[order[rank:], :2])
        above = heights[rank]
    return float(total)


def _area(sides: Floats) -> float:
    """Union of rectangles from the origin."""
    area, reached = 0.0, 0.0
    for width, height in sides[np.argsort(-sides[:, 0], kind="stable")]:
        if height > reached:
            area += width * (height - reached)
            reached = height
    return float(area)
