"""Where the effect of a knob depends on another one: a tree of one split, tested within prompts.

For a comparison and each other knob, settings are parted in two by that knob's values, and the
comparison's effect on the one side is held against that on the other, prompt by prompt. Where
settings differ in the compared knob alone the sides are means over pairs; else the additive model
of all knobs is given the pairwise terms of these two. Every split that could be made is tested and
all of them are corrected together by Holm's method, so looking for them costs nothing but power.

Near a win rate of 0 nothing is left to lose, near 1 nothing to gain: there two sides differ however
alike a change is. So an effect is said to depend on a knob only if the sides differ in odds as well
as in win rates: each side's interval excludes what the other side's odds ratio would make of the
win rates here. (An interaction that a monotone change of scale takes away is one of the scale:
Loftus 1978, Memory & Cognition 6.)

What is said of a side was chosen to be said: its interval is that of Benjamini and Yekutieli (2005,
JASA 100), at confidence 1 - R (1 - c) / m with R splits told of m tried, so that of the intervals
that are told no more than 1 - c miss, on the average.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.additive import Additive, levels
from ldmopt.distillation.contrasts import MATCHED, SAME_PICTURE, Contrast, column_means
from ldmopt.distillation.differences import difference_interval
from ldmopt.distillation.intervals import Interval, Marginals, holm
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import Table, distinct, ordered, value_key

FEWEST_CONTEXTS = 4
"""Pairs of settings, two on either side, that a split of matched pairs needs."""

SMALLEST_GAP = 0.04
"""Sides that differ by less are not told apart, however many prompts say so."""

MOST_CUTS = 3
"""Places where the values of a number are parted."""

EDGE = 0.01
"""Win rates count as no nearer to 0 and 1 than this where odds are taken of them."""

Condition = Value | list[Value] | dict[str, Value]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Effect:
    """An effect by prompt, with the error of the model that it comes from (0 where from none).

    ``marginals`` are the settings that it compares, each by itself, one row.
    """

    by_prompt: Floats
    marginals: Marginals
    deviation: float = 0.0
    freedom: int = 1

    def interval(self, confidence: float) -> Interval:
        """Return 0.5 + the mean with its limits."""
        return difference_interval(
            self.by_prompt, self.marginals, confidence, self.deviation, self.freedom
        )

    @property
    def level(self) -> float:
        """The mean of the win rates, against the default, of the settings that it compares."""
        return float(self.marginals.level[0])

    @property
    def ends(self) -> tuple[float, float]:
        """The two win rates, from their mean and their difference, kept `EDGE` off 0 and 1."""
        half = float(self.by_prompt.mean()) / 2.0
        low, high = (min(1.0 - EDGE, max(EDGE, self.level + way)) for way in (-half, half))
        return low, high


@dataclass(frozen=True)
class Split:
    """Two sides of another knob on which a change does different things.

    Attributes:
        knob: the other knob.
        conditions: what holds on either side.
        sides: the effect there.
        levels: the mean win rate, against the default, of the settings compared there.
        cramped: whether the other side's odds ratio would do there what was seen (see `_allows`).
        confidence: of the sides' intervals, after the choice.
        p_holm: of no difference between the sides.
        tried: how many splits were.
    """

    knob: str
    conditions: tuple[Condition, Condition]
    sides: tuple[Interval, Interval]
    levels: tuple[float, float]
    cramped: tuple[bool, bool]
    confidence: float
    p_holm: float
    tried: int

    @property
    def turns(self) -> bool:
        """One side gains or loses, the other does not do the same, and has the room to."""
        directions = {int(i.low > 0.5) - int(i.high < 0.5) for i in self.sides}
        return len(directions) == 2 and not any(self.cramped)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        rows = [
            {"when": {self.knob: when}, "win_rate": i.estimate, "low": i.low, "high": i.high,
             "level": level, "cramped": cramped}
            for when, i, level, cramped in zip(
                self.conditions, self.sides, self.levels, self.cramped, strict=True)
        ]
        return {"knob": self.knob, "sides": rows, "p_holm": self.p_holm, "splits_tried": self.tried,
                "confidence": self.confidence}  # fmt: skip


def _allows(here: Effect, there: Effect, confidence: float) -> bool:
    """Whether an effect's interval holds what the other one's odds ratio would do to it.

    Either of the two win rates may be the one to start from: which value is named first is
    arbitrary.
    """
    before, after = there.ends
    ratio = _log_odds(after) - _log_odds(before)
    start, end = here.ends
    changes = (_win_rate(_log_odds(start) + ratio) - start, end - _win_rate(_log_odds(end) - ratio))
    seen = here.interval(confidence)
    return any(seen.low <= 0.5 + change <= seen.high for change in changes)


def _log_odds(win_rate: float) -> float:
    return math.log(win_rate / (1.0 - win_rate))


def _win_rate(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))


@dataclass(frozen=True)
class _Try:
    """A split before it is known whether it holds."""

    owner: int
    knob: str
    conditions: tuple[Condition, Condition]
    sides: tuple[Effect, Effect]
    gap: Interval

    def told(self, confidence: float, after: float, p_holm: float, tried: int) -> Split:
        """Return what is said of it, with intervals at a confidence after the choice."""
        one, two = self.sides
        return Split(
            self.knob, self.conditions, (one.interval(after), two.interval(after)),
            (one.level, two.level), (_allows(one, two, confidence), _allows(two, one, confidence)),
            after, p_holm, tried,
        )  # fmt: skip


def splits(
    table: Table, contrasts: Sequence[Contrast], confidence: float, alpha: float
) -> dict[int, Split]:
    """Return, by index of the contrast, the clearest split that holds; first those that turn.

    Args:
        table: what the contrasts were made of.
        contrasts: comparisons; those that leave the picture as it is have no split.
        confidence: of intervals.
        alpha: the chance that any split is told where there is none.
    """
    tried = list(_tries(table, contrasts))
    adjusted = holm([item.gap.p for item in tried])
    holding = [(item, p) for item, p in zip(tried, adjusted, strict=True)
               if p <= alpha and abs(item.gap.estimate - 0.5) >= SMALLEST_GAP]
    owners = len({item.owner for item, _ in holding})
    after = 1.0 - owners * (1.0 - confidence) / max(1, len(tried))
    chosen: dict[int, Split] = {}
    for item, p in sorted(holding, key=lambda row: row[0].gap.p):
        found = item.told(confidence, after, p, len(tried))
        held = chosen.get(item.owner)
        if held is None or (found.turns and not held.turns):
            chosen[item.owner] = found
    return chosen


def _tries(table: Table, contrasts: Sequence[Contrast]) -> Iterator[_Try]:
    """Every split of every contrast."""
    model = Additive.of(table)
    for owner, contrast in enumerate(contrasts):
        if contrast.basis == SAME_PICTURE:
            continue
        if contrast.basis == MATCHED and len(contrast.contexts) >= FEWEST_CONTEXTS:
            yield from _matched(owner, contrast)
        elif model is not None:
            yield from _modelled(owner, contrast, model)


def _matched(owner: int, contrast: Contrast) -> Iterator[_Try]:
    """Splits of pairs of settings by what is the same within a pair."""
    for knob in sorted({name for row in contrast.contexts for name in row}):
        for conditions, inside, outside in _cuts(contrast.contexts, knob):
            if min(inside.sum(), outside.sum()) < FEWEST_CONTEXTS // 2:
                continue
            rows = [_means(contrast.by_context[part]) for part in (inside, outside)]
            common = ~np.isnan(rows[0]) & ~np.isnan(rows[1])
            if common.any():
                one, other = (Effect(row[~np.isnan(row)], contrast.marginals.where(part).pooled())
                              for row, part in zip(rows, (inside, outside), strict=True))
                apart = np.hypot(one.marginals.apart, other.marginals.apart) / 2.0
                both = Marginals(contrast.marginals.pooled().level, apart)
                gap = difference_interval((rows[0] - rows[1])[common] / 2.0, both)
                yield _Try(owner, knob, conditions, (one, other), _doubled(gap))


def _modelled(owner: int, contrast: Contrast, model: Additive) -> Iterator[_Try]:
    """Splits of all settings, by pairwise terms of an additive model."""
    steps = {value_key(step.label): step for step in levels(model.looks, contrast.knob)}
    start, end = steps.get(value_key(contrast.start)), steps.get(value_key(contrast.end))
    if start is None or end is None:
        return
    for knob in sorted({name for look in model.looks for name in look} - {contrast.knob}):
        for index, (conditions, inside, outside) in enumerate(_cuts(model.looks, knob)):
            if not (inside | outside).all():
                continue
            terms = model.pairwise(contrast.knob, (knob, index), inside)
            found = None if terms is None else terms.contrasts(start, end)
            if found is not None:
                gap, *sides = (
                    Effect(c.by_prompt, c.marginals, c.deviation, c.freedom) for c in found
                )
                half = Effect(gap.by_prompt / 2.0, gap.marginals, gap.deviation / 2.0, gap.freedom)
                yield _Try(owner, knob, conditions, (sides[0], sides[1]),
                           _doubled(half.interval(0.95)))


def _doubled(half: Interval) -> Interval:
    """Undo the halving that keeps a gap of two differences within the limits of one."""
    estimate, low, high = (0.5 + 2.0 * (x - 0.5) for x in (half.estimate, half.low, half.high))
    return Interval(estimate, low, high, half.p_above, half.p_below)


def _means(rows: Floats) -> Floats:
    """Mean of each column over the rows where it is known, NaN where in none."""
    seen = ~np.isnan(rows)
    means = np.full(rows.shape[1], np.nan)
    means[seen.any(axis=0)] = column_means(rows)
    return means


def _cuts(
    settings: Sequence[Setting], knob: str
) -> Iterator[tuple[tuple[Condition, Condition], Mask, Mask]]:
    """Part settings by a number's value, or by each of the other values against the rest.

    Settings that lack the knob are on neither side.
    """
    values = distinct(settings, knob)
    if len(values) < 2:
        return
    there = np.array([knob in row for row in settings])
    if ordered(settings, knob):
        column = np.array([float(row[knob]) if knob in row else np.nan for row in settings])
        places = np.linspace(0, len(values), min(MOST_CUTS, len(values) - 1) + 2)[1:-1]
        for place in dict.fromkeys(places.round().astype(int).tolist()):
            below = column < float(values[place])
            yield ({"max": values[place - 1]}, {"min": values[place]}), below, there & ~below
        return
    for value in values[: 1 if len(values) == 2 else None]:
        key = value_key(value)
        inside = np.array([knob in row and value_key(row[knob]) == key for row in settings])
        others = [other for other in values if value_key(other) != key]
        rest: Condition = others[0] if len(others) == 1 else others
        yield (value, rest), inside, there & ~inside
