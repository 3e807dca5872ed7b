"""The charts of a fitted regressor's report: places in percent of each chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.scorers.taste.agreement import ceiling

LEAST_SPAN = 0.3
"""Least range of accuracies that is drawn, so that small differences look small."""


@dataclass(frozen=True)
class Learning:
    """Accuracy by the number of labels.

    Attributes:
        line: x, y of the mean, from the left.
        low: x, y of the worst round.
        high: x, y of the best round.
        ticks: x and words of the numbers of labels.
        levels: y and words of accuracies.
        references: y and words of what to hold the line against.
    """

    line: tuple[tuple[float, float], ...]
    low: tuple[tuple[float, float], ...]
    high: tuple[tuple[float, float], ...]
    ticks: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    references: tuple[tuple[float, str], ...]


def learning(report: Mapping[str, Any]) -> Learning | None:
    """Lay out the learning curve; None where there is none."""
    curve = report.get("learning_curve") or {}
    points = curve.get("points")
    if not points:
        return None
    sizes = [row["labels"] for row in points]
    means = [sum(row["accuracy"]) / len(row["accuracy"]) for row in points]
    lows, highs = ([end(row["accuracy"]) for row in points] for end in (min, max))
    lines = [(float(curve["prior"]), "prior alone")]
    themselves = report["agreement"]["themselves"]
    if themselves["value"] is not None:
        most = ceiling(themselves["value"])
        lines.append((most, f"most that {themselves['count']} repeats allow"))
    if report["labels"]["by_prompt"]:
        sizes.append(curve["labels_of_all"])
        final = report["agreement"]["judges"]["fitted"]["accuracy"]
        for values, key in ((means, "value"), (lows, "low"), (highs, "high")):
            values.append(final[key])
    bottom, top = _range([*lows, *highs, *(value for value, _ in lines)])

    def x(size: float) -> float:
        first, last = math.log(sizes[0] / 1.1), math.log(sizes[-1] * 1.1)
        return round(100.0 * (math.log(size) - first) / (last - first), 2)

    def y(value: float) -> float:
        return round(100.0 * (top - value) / (top - bottom), 2)

    def path(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
        return tuple((x(size), y(value)) for size, value in zip(sizes, values, strict=True))

    return Learning(
        path(means), path(lows), path(highs),
        tuple((x(size), str(size)) for size in sizes),
        tuple((y(level / 10), f"{level / 10:.1f}")
              for level in range(math.ceil(bottom * 10), math.floor(top * 10 + 1e-9) + 1)),
        tuple((y(value), words) for value, words in lines),
    )  # fmt: skip


def _range(values: Sequence[float]) -> tuple[float, float]:
    middle, half = (min(values) + max(values)) / 2, (max(values) - min(values)) / 2
    half = max(half + 0.04, LEAST_SPAN / 2)
    return max(0.0, middle - half), min(1.02, middle + half)
