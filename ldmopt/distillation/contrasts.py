"""What changing one knob from one value to another does, from settings that were measured.

Where two settings differ in that knob alone, their blocks are compared one with one and the
differences averaged over all such pairs (*matched*). Where there is no such pair, an additive
model of all knobs is fitted to each prompt by least squares and its contrast taken (*additive*);
the model's own error, from its residuals, is then added to that of sampling prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.additive import FEWEST_SETTINGS, MOST_LEVELS, Additive, Level, levels
from ldmopt.distillation.costs import Ratio, cost_ratios
from ldmopt.distillation.differences import difference_interval
from ldmopt.distillation.intervals import Interval, Marginals
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import Table, distinct, ordered, value_key

MATCHED = "settings that differ in this knob alone"
ADDITIVE = "an additive model of all knobs, since no two settings differ in this one alone"
GRID_VALUES = 8
"""Numbers of more values than this are compared in groups."""

LEAST_SHARE = 0.4
"""Where fewer of the settings at two values are matched, all of them are asked by the model."""

SAME_PICTURE = "the knob does not change the picture"


@dataclass(frozen=True)
class Contrast:
    """One knob from one value to another.

    Attributes:
        knob: the knob.
        start: the value before.
        end: the value after.
        basis: `MATCHED`, `ADDITIVE` or `SAME_PICTURE`.
        contexts: settings of the other picture knobs under which both values were seen.
        by_context: contexts x prompts (one row for an additive contrast), differences of wins.
        marginals: of each row of ``by_context``.
        deviation: standard deviation of the additive model's own error; 0 when matched.
        freedom: its degrees of freedom.
        same: that all pictures are the default's own.
        grouped: by value, the least and greatest of the numbers that it stands for.
        seconds: the change in device seconds, None where no cost tells.
        memory: the change in peak memory.
    """

    knob: str
    start: Value
    end: Value
    basis: str
    contexts: tuple[Setting, ...]
    by_context: Floats
    marginals: Marginals
    deviation: float = 0.0
    freedom: int = 1
    same: bool = False
    grouped: Mapping[Value, tuple[Value, Value]] = field(default_factory=dict)
    seconds: Ratio | None = None
    memory: Ratio | None = None

    def differences(self) -> Floats:
        """Differences by prompt, averaged over contexts; prompts without any are left out."""
        return column_means(self.by_context)

    def interval(self, confidence: float) -> Interval:
        """Return 0.5 + the mean difference of win rates, with its interval."""
        if self.same or self.basis == SAME_PICTURE:
            return Interval(0.5, 0.5, 0.5)
        return difference_interval(
            self.differences(), self.marginals.pooled(), confidence, self.deviation, self.freedom
        )

    def where(self, kept: NDArray[np.bool_]) -> Contrast:
        """Return what some of the contexts tell, which may be none."""
        contexts = tuple(row for row, keep in zip(self.contexts, kept, strict=True) if keep)
        return replace(self, contexts=contexts, by_context=self.by_context[kept],
                       marginals=self.marginals.where(kept))

    def given(self) -> dict[str, Value]:
        """Return the values of other knobs that are the same in all contexts."""
        if not self.contexts:
            return {}
        first = self.contexts[0]
        return {
            name: value
            for name, value in first.items()
            if all(value_key(row.get(name)) == value_key(value) for row in self.contexts)
        }


def column_means(rows: Floats) -> Floats:
    """Mean of each column over the rows where it is known, unknown columns left out."""
    seen = ~np.isnan(rows)
    counts = seen.sum(axis=0)
    sums = np.where(seen, rows, 0.0).sum(axis=0)
    return np.asarray(sums[counts > 0] / counts[counts > 0], np.float64)


def contrast(table: Table, knob: str, start: Value, end: Value) -> Contrast | None:
    """Return the matched contrast of two values, or None where no pair of settings is matched."""
    seconds, memory = cost_ratios(table, knob, [start], [end])
    if knob not in table.picture_knobs:
        if seconds is None:
            return None
        return Contrast(
            knob, start, end, SAME_PICTURE, (), np.zeros((0, 0)),
            Marginals(np.zeros(0), np.zeros(0)), seconds=seconds, memory=memory,
        )
    ends = (value_key(start), value_key(end))
    groups: dict[Setting, dict[tuple[str, object], int]] = {}
    for index, look in enumerate(table.looks):
        if knob in look and value_key(look[knob]) in ends:
            groups.setdefault(_without(look, knob), {})[value_key(look[knob])] = index
    pairs = {rest: found for rest, found in groups.items() if len(found) == 2}
    if not pairs:
        return None
    first = [found[ends[0]] for found in pairs.values()]
    second = [found[ends[1]] for found in pairs.values()]
    before, after = (table.wins[rows] for rows in (first, second))
    rows = table.over_prompts(after - before)
    if np.isnan(rows).all():
        return None
    level = (np.nanmean(before, axis=1) + np.nanmean(after, axis=1)) / 2.0
    spread = sum(np.nanvar(table.over_prompts(wins), axis=1) for wins in (before, after))
    return Contrast(
        knob, start, end, MATCHED, tuple(pairs), rows, Marginals(level, np.sqrt(spread)),
        same=bool(table.same[first + second].all()), seconds=seconds, memory=memory,
    )  # fmt: skip


def additive_contrast(
    table: Table, model: Additive | None, knob: str, start: Level, end: Level
) -> Contrast | None:
    """Return a contrast of the additive model, or None where it cannot be told."""
    found = model.contrast(knob, start, end) if model else None
    if found is None:
        return None
    seconds, memory = cost_ratios(table, knob, start.members, end.members)
    return Contrast(
        knob, start.label, end.label, ADDITIVE, (), found.by_prompt[None, :], found.marginals,
        found.deviation, found.freedom,
        grouped={step.label: (step.members[0], step.members[-1])
                 for step in (start, end) if len(step.members) > 1},
        seconds=seconds, memory=memory,
    )  # fmt: skip


def neighbours(table: Table, knob: str) -> list[tuple[Value, Value]]:
    """Return the pairs of values to compare.

    Numbers: neighbours in order. Others: the default's value with each other one.
    """
    settings = [item.setting for item in table.measured]
    values = distinct(settings, knob)
    if ordered(settings, knob):
        return list(zip(values, values[1:], strict=False))
    base = table.default.get(knob, values[0])
    return [(base, value) for value in values if value_key(value) != value_key(base)]


def matched_pairs(table: Table, knob: str) -> list[Contrast]:
    """Return the matched contrasts of neighbouring values.

    Where a number's neighbours share no setting, the nearest values that do are compared.
    """
    found = [c for pair in neighbours(table, knob) if (c := contrast(table, knob, *pair))]
    settings = [item.setting for item in table.measured]
    if found or not ordered(settings, knob):
        return found
    return [c for pair in _neighbours_within(table, knob) if (c := contrast(table, knob, *pair))]


def _neighbours_within(table: Table, knob: str) -> list[tuple[Value, Value]]:
    """Pairs of numbers that follow each other among settings equal in all other knobs."""
    picture = knob in table.picture_knobs
    rows = table.looks if picture else [item.setting for item in table.measured]
    groups: dict[Setting, list[Setting]] = {}
    for row in rows:
        if knob in row:
            groups.setdefault(_without(row, knob), []).append(row)
    pairs: dict[tuple[Value, Value], None] = {}
    for group in groups.values():
        values = distinct(group, knob)
        pairs.update(dict.fromkeys(zip(values, values[1:], strict=False)))
    return sorted(pairs, key=lambda pair: (float(pair[0]), float(pair[1])))


def all_contrasts(table: Table) -> list[Contrast]:
    """Return the contrasts of every knob, matched where possible, else additive.

    A number that took many values was proposed by a sampler rather than laid out as a grid: its
    pairs are matched by chance only, so groups of values are compared by the additive model.
    """
    model = Additive.of(table)
    found: list[Contrast] = []
    for knob in table.knobs():
        rows = matched_pairs(table, knob)
        if knob in table.picture_knobs and (not rows or _by_chance(table, knob, rows)):
            rows = additive_pairs(table, model, knob) or rows
        found += rows
    return found


def _by_chance(table: Table, knob: str, rows: Sequence[Contrast]) -> bool:
    """Whether matched pairs are accidents: of few settings, or many small steps of a number."""
    values = len(distinct(table.looks, knob))
    single = all(len(c.contexts) < 2 for c in rows)
    if ordered(table.looks, knob) and values > (MOST_LEVELS + 1 if single else GRID_VALUES):
        return True
    return not any(well_matched(table, c) for c in rows)


def well_matched(table: Table, found: Contrast) -> bool:
    """Whether enough of the settings at a contrast's two values have their pair."""
    ends = {value_key(found.start), value_key(found.end)}
    there = sum(found.knob in look and value_key(look[found.knob]) in ends for look in table.looks)
    return 2.0 * len(found.contexts) / there >= LEAST_SHARE


def additive_pairs(table: Table, model: Additive | None, knob: str) -> list[Contrast]:
    """Return the additive contrasts of neighbouring levels.

    Levels without order are compared with the default's; where too few settings took that, with
    the one that most took.
    """
    steps = levels(table.looks, knob)
    if ordered(table.looks, knob):
        pairs = list(zip(steps, steps[1:], strict=False))
    else:
        base = _base(table, knob, steps)
        pairs = [(base, step) for step in steps if step is not base]
    return [c for pair in pairs if (c := additive_contrast(table, model, knob, *pair))]


def _base(table: Table, knob: str, steps: Sequence[Level]) -> Level:
    """Return what a knob's levels are compared with."""
    taken = Counter(value_key(look[knob]) for look in table.looks if knob in look)
    usual = value_key(table.default.get(knob))
    if taken[usual] < FEWEST_SETTINGS:
        usual = max(taken, key=lambda key: taken[key])
    return next(step for step in steps if value_key(step.label) == usual)


def _without(setting: Setting, knob: str) -> Setting:
    return Setting({name: value for name, value in setting.items() if name != knob})
