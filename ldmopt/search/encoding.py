"""From Optuna's parameters to what a kernel compares: coordinates and flags.

A setting is a row of internal values (Optuna's `to_internal_repr`: a number, or the index of a
choice), NaN where a parameter does not act. A number becomes a coordinate in [0, 1], on a log scale
where its distribution says so; a choice becomes flags. What may jump, such as guidance at 1, gets a
flag too, and so does whether a parameter acts that does not always act.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Floats = NDArray[np.float64]
Params = Mapping[str, Any]
Coordinate = Callable[[Any], float]

FEW = 24
"""Values at the most of a parameter that may be the reason why others act."""


@dataclass(frozen=True, eq=False)
class Features:
    """Settings as a kernel sees them.

    Attributes:
        coordinates: `(n, a)`, each in about [0, 1]; 0.5 where a parameter does not act.
        flags: `(n, q)` of 0 and 1: one column a level, exactly one level a group.
        groups: `(q,)` which group a column belongs to, from 0.
    """

    coordinates: Floats
    flags: Floats
    groups: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, index: Any) -> Features:
        return Features(self.coordinates[index], self.flags[index], self.groups)

    @property
    def group_count(self) -> int:
        """How many groups of flags there are."""
        return int(self.groups.max(initial=-1)) + 1

    def joined(self, other: Features) -> Features:
        """Return both, one below the other."""
        return Features(np.concatenate([self.coordinates, other.coordinates]),
                        np.concatenate([self.flags, other.flags]), self.groups)


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the parameters of a space are told to a kernel.

    Attributes:
        space: parameter -> distribution.
        jumps: numeric parameter -> value above which things may differ at once.
        ordered: categorical parameter -> what places a choice on a line, such as a size's area.
        conditions: parameter -> (parent, internal values of the parent under which it acts).
        canonical: returns the parameters that act, of all; stands above `conditions`.
    """

    space: Mapping[str, BaseDistribution]
    jumps: Mapping[str, float] = field(default_factory=dict)
    ordered: Mapping[str, Coordinate] = field(default_factory=dict)
    conditions: Mapping[str, tuple[str, frozenset[float]]] = field(default_factory=dict)
    canonical: Callable[[dict[str, Any]], Params] | None = None

    @property
    def names(self) -> list[str]:
        """The parameters in the order of a row's columns."""
        return list(self.space)

    @property
    def size(self) -> float:
        """How many rows there are, conditions not counted; infinite with a continuous one."""
        return math.prod(levels(item) for item in self.space.values())

    def row(self, params: Params) -> Floats:
        """Return a setting's internal values, NaN for a parameter it has not."""
        return np.array([
            item.to_internal_repr(params[name]) if name in params else np.nan
            for name, item in self.space.items()
        ], np.float64)

    def params(self, row: Floats) -> dict[str, Any]:
        """Return the parameters of a row that act."""
        return {name: item.to_external_repr(float(value))
                for (name, item), value in zip(self.space.items(), row, strict=True)
                if not np.isnan(value)}

    def every(self) -> Floats:
        """Return all rows of a finite space, what does not act left out, each once."""
        values = [grid(item) for item in self.space.values()]
        every = list(itertools.product(*values))
        return self.tidy(np.array(every, np.float64).reshape(len(every), len(values)))

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Return at most so many distinct rows, evenly spread by a Latin hypercube."""
        ranks = rng.permuted(np.tile(np.arange(count), (len(self.space), 1)), axis=1).T
        spread = (ranks + rng.random(ranks.shape)) / count
        columns = [place(item, spread[:, index])
                   for index, item in enumerate(self.space.values())]
        return self.tidy(np.stack(columns, axis=1) if columns else np.zeros((1, 0)))

    def near(self, rows: Floats, count: int, rng: np.random.Generator) -> Floats:
        """Return at most so many rows that differ from one of `rows` in one or two parameters."""
        if not len(rows) or not self.space:
            return rows[:0]
        found = rows[rng.integers(len(rows), size=count)].copy()
        whole = self.draw(count, rng)
        whole = whole[rng.integers(len(whole), size=count)]
        for index, item in enumerate(self.space.values()):
            found[:, index] = np.where(np.isnan(found[:, index]), whole[:, index], found[:, index])
            other = place(item, rng.random(count))
            if isinstance(item, IntDistribution | FloatDistribution):
                here = scaled(item, np.nan_to_num(found[:, index], nan=item.low))
                other = np.where(rng.random(count) < 0.7,
                                 _step(item, here, rng), other)
            chosen = rng.random(count) < 1.5 / len(self.space)
            found[:, index] = np.where(chosen, other, found[:, index])
        return self.tidy(found)

    def tidy(self, rows: Floats) -> Floats:
        """Blank what does not act, and keep each row once, in order."""
        rows = rows.copy()
        if not self.space:
            return rows[:1]
        if self.canonical is not None:
            for index, row in enumerate(rows):
                rows[index] = self.row(self.canonical(self.params(row)))
        else:
            names = self.names
            for name, (parent, values) in self.conditions.items():
                acts = np.isin(rows[:, names.index(parent)], list(values))
                rows[~acts, names.index(name)] = np.nan
                blank = acts & np.isnan(rows[:, names.index(name)])
                rows[blank, names.index(name)] = grid(self.space[name])[0]
        _, first = np.unique(np.nan_to_num(rows, nan=np.inf), axis=0, return_index=True)
        return rows[np.sort(first)]

    def features(self, rows: Floats) -> Features:
        """Return `(n, parameters)` rows as coordinates and flags."""
        coordinates: list[Floats] = []
        flags: list[Floats] = []
        groups: list[int] = []

        def flag(codes: Floats, count: int) -> None:
            group = groups[-1] + 1 if groups else 0
            flags.extend((codes == code).astype(np.float64) for code in range(count))
            groups.extend([group] * count)

        for index, (name, item) in enumerate(self.space.items()):
            column = rows[:, index]
            missing = np.isnan(column)
            sometimes = name in self.conditions or self.canonical is not None
            if isinstance(item, CategoricalDistribution):
                count = len(item.choices)
                flag(np.where(missing, count, column), count + sometimes)
                if name in self.ordered:
                    line = np.array([self.ordered[name](choice) for choice in item.choices])
                    line = (line - line.min()) / (np.ptp(line) or 1.0)
                    at = np.where(missing, 0, column).astype(np.intp)
                    coordinates.append(np.where(missing, 0.5, line[at]))
                continue
            coordinates.append(np.where(missing, 0.5, scaled(item, column)))
            if sometimes:
                flag(missing.astype(np.float64), 2)
            if name in self.jumps:
                flag((np.nan_to_num(column, nan=-np.inf) > self.jumps[name]).astype(float), 2)
        count = len(rows)
        return Features(
            np.stack(coordinates, axis=1) if coordinates else np.zeros((count, 0)),
            np.stack(flags, axis=1) if flags else np.zeros((count, 0)),
            np.array(groups, np.intp),
        )


def learned_conditions(
    space: Mapping[str, BaseDistribution], seen: Sequence[Params]
) -> dict[str, tuple[str, frozenset[float]]]:
    """Return under which values of which one other parameter each conditional one was there.

    Only a parameter of few values is taken for the reason. Where none explains it, the parameter
    counts as always there: what a trial does not ask for costs nothing to propose.
    """
    found: dict[str, tuple[str, frozenset[float]]] = {}
    always = sorted((name for name in space if levels(space[name]) <= FEW
                     and all(name in params for params in seen)),
                    key=lambda name: levels(space[name]))
    for name in space:
        if all(name in params for params in seen):
            continue
        for parent in always:
            with_it: set[float] = set()
            without: set[float] = set()
            for params in seen:
                value = float(space[parent].to_internal_repr(params[parent]))
                (with_it if name in params else without).add(value)
            if with_it and not with_it & without:
                # A value of the parent that was never seen may well bring it.
                found[name] = (parent, frozenset(set(grid(space[parent]).tolist()) - without))
                break
    return found


def levels(item: BaseDistribution) -> float:
    """Return how many values a distribution has, infinite where it is continuous."""
    if isinstance(item, CategoricalDistribution):
        return len(item.choices)
    if isinstance(item, IntDistribution):
        return (item.high - item.low) // item.step + 1
    item = _number(item)
    return math.inf if item.step is None else round((item.high - item.low) / item.step) + 1


def grid(item: BaseDistribution) -> Floats:
    """Return all internal values of a discrete distribution; the ends of a continuous one."""
    if isinstance(item, CategoricalDistribution):
        return np.arange(len(item.choices), dtype=np.float64)
    item = _number(item)
    if levels(item) == math.inf:
        return np.array([item.low, item.high], np.float64)
    return np.asarray(item.low + np.arange(int(levels(item))) * float(item.step or 1), np.float64)


def place(item: BaseDistribution, spread: Floats) -> Floats:
    """Return the internal values at places in [0, 1) of a distribution's own scale."""
    if isinstance(item, CategoricalDistribution):
        return np.floor(spread * len(item.choices))
    item = _number(item)
    low, high = float(item.low), float(item.high)
    if item.step is None:
        step = 0.0
    else:
        step = float(item.step)
        low, high = low - step / 2, high + step / 2
    if item.log:
        low = max(low, 1e-300)
        value = np.exp(np.log(low) + spread * (np.log(high) - np.log(low)))
    else:
        value = low + spread * (high - low)
    if step:
        value = item.low + np.round((value - item.low) / step) * step
    return np.asarray(np.clip(value, item.low, item.high), np.float64)


def scaled(item: BaseDistribution, values: Floats) -> Floats:
    """Return where internal values lie between a distribution's ends, in [0, 1]."""
    item = _number(item)
    if item.high <= item.low:
        return np.zeros(len(values))
    if item.log:
        return np.asarray(np.log(values / item.low) / math.log(item.high / item.low))
    return np.asarray((values - item.low) / (item.high - item.low))


def _number(item: BaseDistribution) -> IntDistribution | FloatDistribution:
    if not isinstance(item, IntDistribution | FloatDistribution):
        raise TypeError(f"{item}: neither a number nor a choice")
    return item


def _step(item: BaseDistribution, here: Floats, rng: np.random.Generator) -> Floats:
    """Return values a little aside: a level or so of a discrete one, a tenth of a continuous."""
    if levels(item) < 1e4:
        width = np.full(len(here), max(1.2 / max(1.0, levels(item) - 1), 0.05))
    else:
        width = 0.1 ** rng.uniform(1.0, 3.0, len(here))
    aside = here + rng.normal(0.0, 1.0, len(here)) * width
    return place(item, np.clip(aside, 0.0, 1.0 - 1e-12))
