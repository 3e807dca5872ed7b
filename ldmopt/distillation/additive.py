"""An additive model of wins: every knob adds its own amount, fitted to each prompt alike.

Least squares, whose contrasts are weights on settings; applied to each prompt's wins they give an
effect by prompt. What the model itself gets wrong, all prompts alike, is told by its residuals.
`Additive.pairwise` adds the terms of two knobs together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.intervals import Marginals
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import Table, distinct, ordered, value_key

MOST_LEVELS = 4

ALONE = 0.2
"""The share of settings at one number from which it is no group with others."""

FEWEST_SETTINGS = 3
"""Settings that a level needs before anything is said about it."""

FEWEST_IN_CORNER = 2
"""Settings that each of two levels needs under each of two conditions."""

SINGULAR = 1e-10


@dataclass(frozen=True)
class Level:
    """Values of a knob that the model does not tell apart.

    Attributes:
        label: the middle one.
        members: all of them.
    """

    label: Value
    members: tuple[Value, ...]


Column = tuple[str, Level] | None


@dataclass(frozen=True)
class ModelContrast:
    """Difference of two levels by prompt, with the standard deviation of the model's error.

    The level of ``marginals`` is a mean win rate: of all settings, or of those under the condition
    of a pairwise term that the difference rests on.
    """

    by_prompt: Floats
    marginals: Marginals
    deviation: float
    freedom: int


def levels(settings: Sequence[Setting], knob: str) -> list[Level]:
    """Return a knob's levels: its values, or up to `MOST_LEVELS` groups of many numbers.

    A number that many settings took is a level of its own; those between are grouped.
    """
    values = distinct(settings, knob)
    if not ordered(settings, knob) or len(values) <= MOST_LEVELS + 1:
        return [Level(value, (value,)) for value in values]
    seen = np.array([float(row[knob]) for row in settings if knob in row])
    found: list[Level] = []
    for alone, run in groupby(values, lambda value: float(np.mean(seen == value)) >= ALONE):
        some = list(run)
        inside = seen[(seen >= float(some[0])) & (seen <= float(some[-1]))]
        count = max(1, round(MOST_LEVELS * len(inside) / len(seen)))
        groups = [[value] for value in some] if alone else _grouped(some, inside, count)
        found += [Level(group[len(group) // 2], tuple(group)) for group in groups]
    return found


def _grouped(values: Sequence[Value], seen: Floats, count: int) -> list[list[Value]]:
    """Cut numbers, in order, into groups that about as many settings took."""
    cuts = np.quantile(seen, np.linspace(0, 1, count + 1)[1:-1])
    groups: dict[int, list[Value]] = {}
    for value in values:
        groups.setdefault(int(np.searchsorted(cuts, float(value), side="left")), []).append(value)
    return list(groups.values())


class Fit:
    """Least squares of settings x prompts on a design; contrasts are weights of its columns."""

    def __init__(self, design: Floats, wins: Floats) -> None:
        """Fit.

        Args:
            design: settings x columns.
            wins: settings x prompts.
        """
        gram = np.linalg.pinv(design.T @ design, rcond=SINGULAR, hermitian=True)
        self.inverse = gram @ design.T
        self.told = self.inverse @ design
        self.wins = wins
        self.freedom = len(design) - round(float(np.trace(self.told)))
        means = wins.mean(axis=1)
        residuals = means - design @ (self.inverse @ means)
        self.marginals = Marginals(np.array([means.mean()]), np.zeros(1))
        self.variance = float(residuals @ residuals) / max(1, self.freedom)
        # What a group of values hides is larger in some groups (few steps) than in others: each
        # setting's own error, as if it had been left out (HC3, MacKinnon and White 1985).
        leverage = np.einsum("ij,ji->i", design, self.inverse)
        self.own = (residuals / np.maximum(1.0 - leverage, SINGULAR)) ** 2

    def contrast(self, weights: Floats) -> ModelContrast | None:
        """Return what the weights of the columns tell, or None where the settings cannot."""
        if self.freedom < 1 or not np.allclose(weights @ self.told, weights, atol=1e-6):
            return None
        spread = weights @ self.inverse
        deviation = float(np.sqrt(max(self.variance * (spread @ spread),
                                      self.own @ spread**2)))
        return ModelContrast(spread @ self.wins, self.marginals, deviation, self.freedom)


@dataclass(frozen=True, eq=False)
class Additive:
    """The fitted model.

    Attributes:
        looks: the settings that were seen on every prompt.
        columns: the design's columns as (knob, level); the first one, an intercept, is None.
        design: looks x columns.
        fit: the least squares.
    """

    looks: tuple[Setting, ...]
    columns: tuple[Column, ...]
    design: Floats
    fit: Fit
    _pairwise: dict[tuple[str, tuple[str, int]], PairwiseTerms] = field(default_factory=dict)

    @classmethod
    def of(cls, table: Table) -> Additive | None:
        """Return the model of a table's wins, fitted once; None when settings are too few."""
        return _fitted(table)

    def contrast(self, knob: str, start: Level, end: Level) -> ModelContrast | None:
        """Return end minus start, or None where the settings cannot tell it."""
        few = min(self.at(knob, start).sum(), self.at(knob, end).sum()) < FEWEST_SETTINGS
        return None if few else self.fit.contrast(self.weights(knob, start, end))

    def weights(self, knob: str, start: Level, end: Level) -> Floats:
        """Return the columns' weights of end minus start."""
        return np.array([
            float(column == (knob, end)) - float(column == (knob, start)) for column in self.columns
        ])  # fmt: skip

    def at(self, knob: str, level: Level) -> NDArray[np.bool_]:
        """Return which looks are at a level."""
        keys = {value_key(value) for value in level.members}
        return np.array([knob in look and value_key(look[knob]) in keys for look in self.looks])

    def pairwise(
        self, knob: str, split: tuple[str, int], inside: NDArray[np.bool_]
    ) -> PairwiseTerms | None:
        """Return the model with the terms of a knob under a condition; None when too large.

        Args:
            knob: whose effect may depend.
            split: a name of the condition, under which the terms are remembered.
            inside: looks that meet the condition.
        """
        if (knob, split) not in self._pairwise:
            self._pairwise[knob, split] = PairwiseTerms(self, knob, inside)
        found = self._pairwise[knob, split]
        return found if found.fit.freedom >= FEWEST_SETTINGS else None


class PairwiseTerms:
    """An additive model in which one knob's amounts differ under a condition."""

    def __init__(self, model: Additive, knob: str, inside: NDArray[np.bool_]) -> None:
        """Fit.

        Args:
            model: the additive model.
            knob: whose amounts differ.
            inside: looks that meet the condition.
        """
        self.model, self.knob, self.inside = model, knob, inside
        mine = [i for i, column in enumerate(model.columns) if column and column[0] == knob]
        self.mine = mine
        terms = model.design[:, mine] * inside[:, None]
        design = np.column_stack([model.design, inside.astype(np.float64), terms])
        self.fit = Fit(design, model.fit.wins)

    def contrasts(
        self, start: Level, end: Level
    ) -> tuple[ModelContrast, ModelContrast, ModelContrast] | None:
        """Return end minus start: inside minus outside, inside, outside; None where not told."""
        ends = [self.model.at(self.knob, level) for level in (start, end)]
        corners = [(at & side).sum() for at in ends for side in (self.inside, ~self.inside)]
        if min(corners) < FEWEST_IN_CORNER:
            return None
        main = self.model.weights(self.knob, start, end)
        nothing = np.zeros_like(main)
        gap, inside, outside = (
            np.concatenate([base, [0.0], term[self.mine]])
            for base, term in ((nothing, main), (main, main), (main, nothing))
        )
        found = self.fit.contrast(gap)
        within, without = (self._on(side, ends, weights)
                           for side, weights in ((self.inside, inside), (~self.inside, outside)))
        if found is None or within is None or without is None:
            return None
        return found, within, without

    def _on(
        self, side: NDArray[np.bool_], ends: Sequence[NDArray[np.bool_]], weights: Floats
    ) -> ModelContrast | None:
        """A difference on one side, with the mean win rate of the settings that it rests on."""
        found = self.fit.contrast(weights)
        if found is None:
            return None
        resting, means = np.abs(weights @ self.fit.inverse), self.fit.wins.mean(axis=1)
        level = np.mean([np.average(means[at & side], weights=resting[at & side] + SINGULAR)
                         for at in ends])
        return replace(found, marginals=Marginals(np.array([level]), np.zeros(1)))


@lru_cache(maxsize=2)
def _fitted(table: Table) -> Additive | None:
    """Fit the model."""
    by_prompt = table.over_prompts(table.wins)
    whole = np.flatnonzero(~np.isnan(by_prompt).any(axis=1))
    looks = [table.looks[index] for index in whole]
    columns: list[Column] = [None]
    member: dict[tuple[str, tuple[str, object]], int] = {}
    for knob in sorted({name for look in looks for name in look}):
        steps = levels(looks, knob)
        always = all(knob in look for look in looks)
        for step in steps[1:] if always else steps:
            member.update(dict.fromkeys(((knob, value_key(v)) for v in step.members), len(columns)))
            columns.append((knob, step))
    if len(looks) < len(columns) + FEWEST_SETTINGS:
        return None
    design = _design(looks, member, len(columns))
    return Additive(tuple(looks), tuple(columns), design, Fit(design, by_prompt[whole]))


def _design(
    looks: Sequence[Setting], member: Mapping[tuple[str, tuple[str, object]], int], width: int
) -> Floats:
    """Return looks x columns: an intercept, and 1 where a look is at the column's level."""
    design = np.zeros((len(looks), width))
    design[:, 0] = 1.0
    for row, look in enumerate(looks):
        for knob, value in look.items():
            column = member.get((knob, value_key(value)))
            if column is not None:
                design[row, column] = 1.0
    return design
