"""Where the effect of a knob depends on another one: one split, tested within prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.contrasts import MATCHED, Contrast, column_means
from ldmopt.distillation.intervals import Interval, difference_interval, holm, mean_test
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import distinct, ordered, value_key

FEWEST_CONTEXTS = 4
SMALLEST_GAP = 0.04

Condition = Value | dict[str, Value]


@dataclass(frozen=True)
class Split:
    """Two sides of another knob on which a change does different things."""

    knob: str
    conditions: tuple[Condition, Condition]
    sides: tuple[Interval, Interval]
    p_holm: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        rows = [
            {"when": {self.knob: when}, "win_rate": i.estimate, "low": i.low, "high": i.high}
            for when, i in zip(self.conditions, self.sides, strict=True)
        ]
        return {"knob": self.knob, "sides": rows, "p_holm": self.p_holm}


@dataclass(frozen=True)
class _Try:
    """A split before it is known whether it holds."""

    owner: int
    knob: str
    conditions: tuple[Condition, Condition]
    inside: NDArray[np.bool_]
    p: float
    gap: float


def splits(contrasts: Sequence[Contrast], confidence: float, alpha: float) -> dict[int, Split]:
    """Return, by index of the contrast, the split that says "it depends".

    A split is told where the two sides differ by `SMALLEST_GAP` or more after Holm's correction
    over all splits of all contrasts, and their directions differ: two gains of different size are
    still gains.
    """
    tried = [item for index, c in enumerate(contrasts) for item in _tries(index, c)]
    adjusted = holm([item.p for item in tried])
    found: dict[int, Split] = {}
    for item, p in sorted(zip(tried, adjusted, strict=True), key=lambda row: row[0].p):
        if p > alpha or abs(item.gap) < SMALLEST_GAP or item.owner in found:
            continue
        contrast = contrasts[item.owner]
        sides = (
            _side(contrast, item.inside, confidence),
            _side(contrast, ~item.inside, confidence),
        )
        if _directions_differ(*sides):
            found[item.owner] = Split(item.knob, item.conditions, sides, p)
    return found


def _directions_differ(one: Interval, other: Interval) -> bool:
    """One side gains or loses, and the other does not do the same."""
    directions = {int(i.low > 0.5) - int(i.high < 0.5) for i in (one, other)}
    return len(directions) == 2


def _side(contrast: Contrast, rows: NDArray[np.bool_], confidence: float) -> Interval:
    means = column_means(contrast.by_context[rows])
    return difference_interval(means, contrast.level, confidence)


def _tries(owner: int, contrast: Contrast) -> list[_Try]:
    """Every split of a contrast's contexts by one other knob that leaves two on each side."""
    contexts = contrast.contexts
    if contrast.basis != MATCHED or len(contexts) < FEWEST_CONTEXTS:
        return []
    found = []
    for knob in sorted({name for row in contexts for name in row}):
        for conditions, inside in _cuts(contexts, knob):
            if 2 <= inside.sum() <= len(contexts) - 2:
                gaps = _gaps(contrast.by_context, inside)
                if not len(gaps):
                    continue
                p = min(1.0, 2.0 * min(mean_test(gaps, (-2.0, 2.0), 0.0)))
                found.append(_Try(owner, knob, conditions, inside, p, float(gaps.mean())))
    return found


def _gaps(rows: Floats, inside: NDArray[np.bool_]) -> Floats:
    """By prompt, the mean effect inside minus that outside, where both are known."""
    sides = []
    for part in (rows[inside], rows[~inside]):
        seen = ~np.isnan(part)
        counts = seen.sum(axis=0)
        sums = np.where(seen, part, 0.0).sum(axis=0)
        sides.append(np.where(counts > 0, sums / np.maximum(counts, 1), np.nan))
    gaps = sides[0] - sides[1]
    return np.asarray(gaps[~np.isnan(gaps)], np.float64)


def _cuts(
    contexts: Sequence[Setting], knob: str
) -> list[tuple[tuple[Condition, Condition], NDArray[np.bool_]]]:
    """A number's middle, or each of the other values against the rest."""
    values = distinct(contexts, knob)
    if len(values) < 2:
        return []
    if ordered(contexts, knob) and all(knob in row for row in contexts):
        middle = len(values) // 2
        inside = np.array([float(row[knob]) < float(values[middle]) for row in contexts])
        return [(({"max": values[middle - 1]}, {"min": values[middle]}), inside)]
    cuts: list[tuple[tuple[Condition, Condition], NDArray[np.bool_]]] = []
    for value in values:
        inside = np.array([value_key(row.get(knob)) == value_key(value) for row in contexts])
        cuts.append(((value, f"not {value}"), inside))
    return cuts
