"""How seconds and memory change with a knob.

The study's cost model tells, which has learned from every call that was timed. Without one (an
imported table), ratios of settings that differ in the knob alone are averaged geometrically; and
where there are none, a model that adds every knob's amount to the logarithm of the cost (so that
effects multiply) is fitted by least squares; numbers enter as their logarithm and its square where
they take many values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ldmopt.contracts import Setting, Value
from ldmopt.distillation.saddlepoint import Floats, student_tail
from ldmopt.distillation.table import Table, distinct, ordered, value_key, varied

FEWEST_PAIRS = 3
"""Pairs from which on their ratios are tested; fewer tell what was seen, not that it holds."""

PAIRED = "settings that differ in this knob alone"
MODELLED = "the cost model, from all calls that were timed"
ADDED = "an additive model of all knobs"

MANY_VALUES = 5
COSTS = ("seconds", "peak_memory_bytes")
LEAST_DEVIATION = 1e-3
"""Logarithms of costs are not trusted to vary less than this, however alike a few of them are."""


@dataclass(frozen=True)
class Ratio:
    """How a cost changes: the geometric mean of ratios, and the p value of no change.

    ``basis`` is `PAIRED`, `MODELLED` or `ADDED`; ``pairs`` counts settings that differ in the knob
    alone, 0 where these do not tell.
    """

    ratio: float
    p: float
    pairs: int
    basis: str = PAIRED


def cost_ratios(
    table: Table, knob: str, start: Sequence[Value], end: Sequence[Value]
) -> tuple[Ratio | None, Ratio | None]:
    """Return how seconds and memory change from one group of values to another."""
    ends = (_middle(start), _middle(end))
    seconds, memory = (_modelled(table, cost, knob, *ends) for cost in COSTS)
    if seconds is None or memory is None:
        pairs = _pairs(table, knob, start, end)
        seconds = seconds or _measured(table, COSTS[0], knob, ends, pairs)
        memory = memory or _measured(table, COSTS[1], knob, ends, pairs)
    return seconds, memory


def _pairs(
    table: Table, knob: str, start: Sequence[Value], end: Sequence[Value]
) -> list[tuple[list[int], list[int]]]:
    """Return which settings at either end are alike in all other knobs that vary."""
    before, after = ({value_key(value) for value in group} for group in (start, end))
    telling = table.varied - {knob}
    groups: dict[Setting, tuple[list[int], list[int]]] = {}
    for index, item in enumerate(table.measured):
        key = value_key(item.setting.get(knob))
        for side, keys in enumerate((before, after)):
            if key in keys:
                rest = item.setting.only(telling)
                groups.setdefault(rest, ([], []))[side].append(index)
    return [group for group in groups.values() if group[0] and group[1]]


def _measured(
    table: Table, cost: str, knob: str, ends: tuple[Value, Value],
    pairs: Sequence[tuple[list[int], list[int]]],
) -> Ratio | None:
    """Return what pairs tell, or else the additive model."""
    told = _of_pairs(_costs(table, cost), pairs)
    if told is None:
        model = additive_model(table, cost)
        told = model.ratio(knob, *ends) if model else None
    return told


def _modelled(table: Table, cost: str, knob: str, start: Value, end: Value) -> Ratio | None:
    """Two of the cost model's changes against the same base; their deviations as independent."""
    mean, variance = 0.0, 0.0
    for value, sign in ((start, -1), (end, 1)):
        change = table.cost_changes.get((knob, value_key(value)))
        if change is None:
            return None
        found = change.seconds if cost == COSTS[0] else change.memory
        if found is None:
            return None
        mean, variance = mean + sign * found[0], variance + found[1] ** 2
    error = max(math.sqrt(variance), LEAST_DEVIATION)
    return Ratio(math.exp(mean), math.erfc(abs(mean) / error / math.sqrt(2)), 0, MODELLED)


def _costs(table: Table, cost: str) -> list[float | None]:
    return [getattr(item, cost) for item in table.measured]


def _middle(values: Sequence[Value]) -> Value:
    return values[len(values) // 2]


def _of_pairs(
    costs: Sequence[float | None], pairs: Sequence[tuple[list[int], list[int]]]
) -> Ratio | None:
    """Geometric mean of after / before, with a t test of its logarithm over the pairs."""
    logs = []
    for before, after in pairs:
        old = [c for i in before if (c := costs[i])]
        new = [c for i in after if (c := costs[i])]
        if old and new:
            logs.append(math.log(float(np.median(new)) / float(np.median(old))))
    if not logs:
        return None
    mean, p = sum(logs) / len(logs), 1.0
    if len(logs) >= FEWEST_PAIRS:
        error = max(float(np.std(logs, ddof=1)), LEAST_DEVIATION) / math.sqrt(len(logs))
        p = 2 * student_tail(abs(mean) / error, len(logs) - 1)
    return Ratio(math.exp(mean), p, len(logs))


@lru_cache(maxsize=4)
def additive_model(table: Table, cost: str) -> AdditiveModel | None:
    """Return the additive model of a cost, fitted once a table; None where the settings are few.

    Args:
        table: what was measured.
        cost: ``seconds`` or ``peak_memory_bytes``.
    """
    known = [(item.setting, math.log(value))
             for item, value in zip(table.measured, _costs(table, cost), strict=True) if value]
    if not known:
        return None
    model = AdditiveModel([setting for setting, _ in known], np.array([log for _, log in known]))
    return model if model.freedom >= 2 else None


class AdditiveModel:
    """The logarithm of a cost as a sum of every knob's amount, by least squares."""

    def __init__(self, settings: Sequence[Setting], logs: Floats) -> None:
        """Fit.

        Args:
            settings: what was measured.
            logs: logarithms of the cost of each.
        """
        self.settings = settings
        self.logs = logs
        self.design = Design(settings)
        self.matrix = self.design(settings)
        self.freedom = len(settings) - int(np.linalg.matrix_rank(self.matrix))
        self.inverse = np.linalg.pinv(self.matrix)
        residuals = logs - self.matrix @ (self.inverse @ logs)
        spread = math.sqrt(float(residuals @ residuals) / max(1, self.freedom))
        self.deviation = max(spread, LEAST_DEVIATION)
        self._beside: dict[tuple[str, object], list[Setting]] = {}
        for setting in settings:
            for knob, value in setting.items():
                self._beside.setdefault((knob, value_key(value)), []).append(setting)

    def ratio(self, knob: str, start: Value, end: Value) -> Ratio | None:
        """Return the ratio of two values, or None where the settings cannot tell it."""
        base = next((s for s in self.settings if knob in s), None)
        if base is None:
            return None
        ends = self.design([self._with(base, knob, value) for value in (start, end)])
        weights = ends[1] - ends[0]
        spread = weights @ self.inverse
        if not np.allclose(spread @ self.matrix, weights, atol=1e-7):
            return None
        error = self.deviation * math.sqrt(float(spread @ spread))
        mean = float(spread @ self.logs)
        p = 2 * student_tail(abs(mean) / error, self.freedom) if error > 0 else 1.0
        return Ratio(math.exp(mean), min(1.0, p), 0, ADDED)

    def _with(self, base: Setting, knob: str, value: Value) -> Setting:
        """Return a setting with another value, and with the knobs that act beside that value."""
        beside = self._beside.get((knob, value_key(value)))
        if not beside:
            return base.replace({knob: value})
        acting = {name for name in base if any(name in s for s in beside)}
        always = [name for name in beside[0] if all(name in s for s in beside)]
        added = {name: beside[0][name] for name in always if name not in base}
        return base.only(acting).replace({**added, knob: value})


class Design:
    """Turns settings into rows: one column a value, or two smooth ones for many numbers."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        """Fix the columns."""
        self.columns: list[tuple[str, object]] = []
        for knob in sorted(varied(settings)):
            values = distinct(settings, knob)
            always = all(knob in row for row in settings)
            smooth = ordered(settings, knob) and len(values) > MANY_VALUES
            if smooth and all(float(value) > 0 for value in values):
                self.columns += [(knob, 1), (knob, 2)]
                self.columns += [] if always else [(knob, "there")]
            else:
                self.columns += [(knob, value_key(v)) for v in (values[1:] if always else values)]

    def __call__(self, settings: Sequence[Setting]) -> Floats:
        """Return settings x (1 + columns)."""
        return np.array([[1.0, *(_cell(row, *c) for c in self.columns)] for row in settings])


def _cell(row: Setting, knob: str, column: object) -> float:
    """One feature of one setting."""
    if knob not in row:
        return 0.0
    if column == "there":
        return 1.0
    if isinstance(column, int):
        return math.log(float(row[knob])) ** column
    return float(value_key(row[knob]) == column)
