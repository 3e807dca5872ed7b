"""A Gaussian process over the logarithm of a cost, for cells of a space of execution knobs.

What a cell costs is, in logarithms, a sum: of its quantity (a guided call, a decode...), of each
knob's value, of pairs of values, of how each of these bends with the picture's area and the batch,
and of a little that is the cell's own. Each part is a term of the kernel (additive Gaussian
processes, Duvenaud, Nickisch and Rasmussen 2011), so a few readings price many cells, and the
posterior says how well. How large each part is comes from the readings by marginal likelihood,
held near what is usual by a prior (Rasmussen and Williams 2006, chapter 5).

Costs have a floor: a call takes `a + b x` for x pixels or pictures, which in logarithms bends. But
`log(a + b x) = log b + log(x + a / b)`, so with an offset added to the area and to the batch they
are straight again; both offsets are chosen by marginal likelihood too.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from ldmopt.contracts import Value

Floats = NDArray[np.float64]

USUAL = {
    "main": 0.4, "pair": 0.15, "slope": 0.2, "bend": 0.1, "own": 0.03, "apart": 0.3, "noise": 0.015,
}
"""Standard deviations, in logarithms, of each part; ``apart`` is the share of variance in which
quantities differ in how they answer a knob."""

JUMPY = {**USUAL, "own": 0.12}
"""The same where a cell may lie far from its neighbours, as peak memory does: libraries choose
their workspace by shape."""

LEVEL = 6.0
"""Standard deviation of a quantity's level: nothing is known of it beforehand."""

AREA_OFFSETS = (0.0, 64.0**2, 128.0**2, 256.0**2, 512.0**2, 1024.0**2)
BATCH_OFFSETS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What is tried; a batch's offset is the overhead of a call in pictures."""

SPREAD = 0.7
"""How far, in logarithms, a part's deviation may lie from what is usual."""


@dataclass(frozen=True)
class Cell:
    """One place whose cost can be read.

    Attributes:
        quantity: what is read there, such as ``guided``.
        values: knob -> value, the same knobs in every cell of a surface.
        pixels: the picture's area.
        batch: pictures in a call.
    """

    quantity: str
    values: Mapping[str, Value]
    pixels: int
    batch: int


@dataclass(frozen=True, eq=False)
class Surface:
    """The posterior; `fit` makes one.

    Attributes:
        cells: that were read.
        logs: `(n,)` logarithms of what was read, the expected growth taken off.
        noise: `(n,)` variances of the readings beyond the common noise.
        parts: standard deviation of each part.
        growth: quantity -> exponent of the area that is expected beforehand.
        offsets: what is added to area (pixels) and batch (pictures).
    """

    cells: tuple[Cell, ...]
    logs: Floats
    noise: Floats
    parts: Mapping[str, float]
    growth: Mapping[str, float]
    offsets: tuple[float, float]

    @classmethod
    def fit(
        cls, cells: Sequence[Cell], values: Sequence[float], deviations: Sequence[float],
        growth: Mapping[str, float], usual: Mapping[str, float] = USUAL,
    ) -> Surface:
        """Learn from readings.

        Args:
            cells: where.
            values: what was read, above zero.
            deviations: relative standard deviation of each reading.
            growth: quantity -> exponent of the area that is expected beforehand.
            usual: how large each part is taken to be beforehand.
        """
        raw = np.log(np.asarray(values, np.float64))
        noise = np.asarray(deviations, np.float64) ** 2
        batches = BATCH_OFFSETS if len({cell.batch for cell in cells}) > 2 else BATCH_OFFSETS[:1]
        areas = AREA_OFFSETS if len({cell.pixels for cell in cells}) > 2 else AREA_OFFSETS[:1]
        offsets = min(itertools.product(areas, batches), key=lambda pair: _surprise(
            _Table.of(cells, pair), raw - _expected(cells, growth, pair), noise, usual))
        table, logs = _Table.of(cells, offsets), raw - _expected(cells, growth, offsets)
        names = list(usual)
        start = np.log([usual[name] for name in names])

        def loss(point: Floats) -> float:
            found = dict(zip(names, np.exp(point), strict=True))
            try:
                return _surprise(table, logs, noise, found) + float(
                    (((point - start) / SPREAD) ** 2).sum() / 2)
            except np.linalg.LinAlgError:
                return 1e12

        best = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 30},
                        bounds=[(low - 3, low + 2) for low in start])
        parts = dict(zip(names, np.exp(best.x), strict=True))
        return cls(tuple(cells), logs, noise, parts, dict(growth), offsets)

    def predict(self, cells: Sequence[Cell]) -> tuple[Floats, Floats]:
        """Return the mean of the logarithm and its covariance, `(m,)` and `(m, m)`."""
        known, factor, weights = self._solved
        wanted = _Table.of(cells, self.offsets)
        across = _kernel(wanted, known, self.parts)
        mean = across @ weights + _expected(cells, self.growth, self.offsets)
        left = _kernel(wanted, wanted, self.parts) - across @ cho_solve(factor, across.T)
        return mean, left

    @cached_property
    def _solved(self) -> tuple[_Table, tuple[Floats, bool], Floats]:
        known = _Table.of(self.cells, self.offsets)
        factor = _factor(known, self.noise, self.parts)
        return known, factor, cho_solve(factor, self.logs)

    def gains(self, cells: Sequence[Cell], target: Sequence[Cell]) -> Floats:
        """Return how much variance, summed over `target`, one more reading of each cell takes.

        The one-step form of A-optimal design (Chaloner and Verdinelli 1995).
        """
        together = [*cells, *target]
        _, covariance = self.predict(together)
        n = len(cells)
        noise = self.parts["noise"] ** 2
        own = np.diag(covariance)[:n] + noise
        return np.asarray((covariance[:n, n:] ** 2).sum(axis=1) / own)


@dataclass(frozen=True, eq=False)
class _Table:
    """Cells as arrays: names of quantities and values, logarithms of area and of a batch's share.

    Where a call has an overhead of c pictures, a picture of a batch of n takes `(n + c) / n`.
    """

    quantity: NDArray[np.str_]
    values: NDArray[np.str_]
    area: Floats
    batch: Floats

    @classmethod
    def of(cls, cells: Sequence[Cell], offsets: tuple[float, float]) -> _Table:
        knobs = sorted(cells[0].values) if cells else []
        rows = [[repr(cell.values[name]) for name in knobs] for cell in cells]
        return cls(
            np.array([cell.quantity for cell in cells], np.str_),
            np.array(rows, np.str_).reshape(len(cells), len(knobs)),
            np.log([(cell.pixels + offsets[0]) / (2.0**18 + offsets[0]) for cell in cells]),
            np.log([cell.batch for cell in cells]),
        )


def _expected(
    cells: Sequence[Cell], growth: Mapping[str, float], offsets: tuple[float, float]
) -> Floats:
    area, call = offsets
    return np.array([
        growth.get(cell.quantity, 0.0) * np.log(cell.pixels + area)
        + np.log((cell.batch + call) / cell.batch)
        for cell in cells
    ])


def _kernel(left: _Table, right: _Table, parts: Mapping[str, float]) -> Floats:
    """Return the prior covariance of two sets of cells."""
    same = (left.quantity[:, None] == right.quantity[None]).astype(np.float64)
    shared = 1.0 - parts["apart"] + parts["apart"] * same
    equal = (left.values[:, None] == right.values[None]).astype(np.float64)
    count = equal.shape[2]
    alike = equal.sum(axis=2)
    pairs = alike * (alike - 1.0) / 2.0
    area = np.multiply.outer(left.area, right.area)
    batch = np.multiply.outer(left.batch, right.batch)
    near = np.exp(-0.5 * np.subtract.outer(left.area, right.area) ** 2
                  - 0.5 * np.subtract.outer(left.batch, right.batch) ** 2)
    slopes = area + batch
    per, per_pair = 1.0 / max(1, count), 1.0 / max(1.0, count * (count - 1) / 2)
    total = LEVEL**2 * same
    total = total + parts["slope"] ** 2 * slopes * shared
    total += parts["main"] ** 2 * alike * shared
    total += parts["slope"] ** 2 * slopes * alike * per * shared
    total += parts["pair"] ** 2 * pairs * shared
    total += (parts["slope"] / 2) ** 2 * slopes * pairs * per_pair * shared
    total += parts["bend"] ** 2 * near * shared
    at_one = (left.area[:, None] == right.area[None]) & (left.batch[:, None] == right.batch[None])
    total += parts["own"] ** 2 * (0.5 * near + 0.5 * at_one) * (alike == count) * same
    return np.asarray(total)


def _factor(
    table: _Table, noise: Floats, parts: Mapping[str, float]
) -> tuple[Floats, bool]:
    covariance = _kernel(table, table, parts)
    covariance[np.diag_indices_from(covariance)] += noise + parts["noise"] ** 2
    factor: tuple[Floats, bool] = cho_factor(covariance, lower=True)
    return factor


def _surprise(
    table: _Table, logs: Floats, noise: Floats, parts: Mapping[str, float]
) -> float:
    """Return the negative logarithm of the marginal likelihood, without its constant."""
    factor = _factor(table, noise, parts)
    return float(logs @ cho_solve(factor, logs) / 2 + np.log(np.diag(factor[0])).sum())
