"""An additive model of wins: every knob adds its own amount, fitted to each prompt alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import Table, distinct, ordered, value_key

MOST_LEVELS = 4
FEWEST_SETTINGS = 3
"""Settings that a level needs before anything is said about it."""


@dataclass(frozen=True)
class Level:
    """Values of a knob that the model does not tell apart.

    Attributes:
        label: the middle one.
        members: all of them.
    """

    label: Value
    members: tuple[Value, ...]


@dataclass(frozen=True)
class ModelContrast:
    """Difference of two levels by prompt, with the standard deviation of the model's error."""

    by_prompt: Floats
    level: float
    deviation: float
    freedom: int


def levels(settings: Sequence[Setting], knob: str) -> list[Level]:
    """Return a knob's levels: its values, or up to `MOST_LEVELS` groups of many numbers."""
    values = distinct(settings, knob)
    if not ordered(settings, knob) or len(values) <= MOST_LEVELS + 1:
        return [Level(value, (value,)) for value in values]
    seen = np.array([float(row[knob]) for row in settings if knob in row])
    cuts = np.quantile(seen, np.linspace(0, 1, MOST_LEVELS + 1)[1:-1])
    groups: dict[int, list[Value]] = {}
    for value in values:
        groups.setdefault(int(np.searchsorted(cuts, float(value), side="left")), []).append(value)
    return [Level(group[len(group) // 2], tuple(group)) for group in groups.values()]


@dataclass(frozen=True)
class Additive:
    """The fitted model.

    Attributes:
        columns: the design's columns as (knob, level); the first one, an intercept, is None.
        inverse: columns x settings, the design's pseudo-inverse.
        design: settings x columns.
        wins: settings x prompts.
    """

    columns: tuple[tuple[str, Level] | None, ...]
    inverse: Floats
    design: Floats
    wins: Floats

    @classmethod
    def fit(cls, table: Table) -> Additive | None:
        """Fit to the settings that were seen on every prompt; None when they are too few."""
        by_prompt = table.over_prompts(table.wins)
        whole = np.flatnonzero(~np.isnan(by_prompt).any(axis=1))
        looks = [table.looks[index] for index in whole]
        columns: list[tuple[str, Level] | None] = [None]
        for knob in sorted({name for look in looks for name in look}):
            steps = levels(looks, knob)
            always = all(knob in look for look in looks)
            columns += [(knob, step) for step in (steps[1:] if always else steps)]
        design = np.array([[_cell(look, column) for column in columns] for look in looks])
        if len(looks) < len(columns) + FEWEST_SETTINGS:
            return None
        return cls(tuple(columns), np.linalg.pinv(design), design, by_prompt[whole])

    def contrast(self, knob: str, start: Level, end: Level) -> ModelContrast | None:
        """Return end minus start, or None where the settings cannot tell it."""
        weights = np.array(
            [self._weight(column, knob, end) - self._weight(column, knob, start)
             for column in self.columns]
        )  # fmt: skip
        told = np.allclose(weights @ self.inverse @ self.design, weights, atol=1e-8)
        few = min(self._count(knob, start), self._count(knob, end)) < FEWEST_SETTINGS
        freedom = len(self.design) - int(np.linalg.matrix_rank(self.design))
        if not told or few or freedom < 1:
            return None
        means = self.wins.mean(axis=1)
        residuals = means - self.design @ (self.inverse @ means)
        variance = float(residuals @ residuals) / freedom
        spread = weights @ self.inverse
        deviation = float(np.sqrt(variance * (spread @ spread)))
        return ModelContrast(spread @ self.wins, float(means.mean()), deviation, freedom)

    @staticmethod
    def _weight(column: tuple[str, Level] | None, knob: str, level: Level) -> float:
        return float(column is not None and column[0] == knob and column[1] == level)

    def _count(self, knob: str, level: Level) -> int:
        """Settings at a level; one without a column of its own is what its knob's others leave."""
        if (knob, level) in self.columns:
            return int(self.design[:, self.columns.index((knob, level))].sum())
        mine = [i for i, c in enumerate(self.columns) if c is not None and c[0] == knob]
        return int((self.design[:, mine].sum(axis=1) == 0).sum())


def _cell(look: Setting, column: tuple[str, Level] | None) -> float:
    """1 where the setting is at the column's level."""
    if column is None:
        return 1.0
    knob, level = column
    keys = {value_key(value) for value in level.members}
    return float(knob in look and value_key(look[knob]) in keys)
