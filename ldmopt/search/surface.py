"""A Gaussian process over the logarithm of a cost, for cells of a space of execution knobs.

What a cell costs is, in logarithms, a sum: of its quantity (a network call, a decode...), of each
knob's value, of pairs of values, and of a little that is the cell's own. Each part is a term of
the kernel (additive Gaussian processes, Duvenaud, Nickisch and Rasmussen 2011), so a few readings
price many cells, and the posterior says how well. How large each part is comes from the readings
by marginal likelihood, held near what is usual by a prior (Rasmussen and Williams 2006, chapter 5).

Along batch and picture size, costs are sums: a call takes `a + b w` for w pixels in flight, peak
memory is weights plus activations. With c = a / b the logarithm is `log b + log(w + c)`, and where
a knob's value changes a and b by factors, it moves by `s log(a'/a) + (1 - s) log(b'/b)` to first
order, where `s = c / (w + c)` is the share of what does not grow. So each value has an effect on
what does not grow, which counts by s, and one on what grows, by 1 - s. The c of each quantity is
chosen by marginal likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from ldmopt.contracts import Value

Floats = NDArray[np.float64]

USUAL = {
    "main": 0.3, "split": 0.3, "slope": 0.1, "pair": 0.1, "bend": 0.1, "own": 0.03,
    "weather": 0.04, "noise": 0.02, "apart": 0.3,
}
"""Standard deviations, in logarithms, of each part: a value's effect as a whole, on what grows and
on what does not, on the exponent of the area; a pair's; how a quantity bends; the cell's own; what
all readings of one run have in common; a reading's. ``apart`` is the share of variance in which
quantities differ in how they answer a knob."""

JUMPY = {**USUAL, "own": 0.12, "bend": 0.05, "weather": 1e-3}
"""The same where a cell may lie far from its neighbours, as peak memory does: libraries choose
their workspace by shape."""

LEVEL = 6.0
"""Standard deviation of a quantity's level: nothing is known of it beforehand."""

NATIVE = 512.0 * 512.0
"""Pixels by which areas are counted."""

OCTAVES, OCTAVES_USUAL = 8, 1.5
"""How far a quantity's c is looked for from the middle of what was read, in doublings, and the
deviation that is usual."""

SPREAD = 0.7
"""How far, in logarithms, a part's deviation may lie from what is usual."""

CHUNK = 100
"""Rows that are predicted at a time."""

REACH = 1 / 3
"""How alike two positions of a numeric knob are: a length, of a range that is 1."""


@dataclass(frozen=True)
class Cell:
    """One place whose cost can be read.

    Attributes:
        quantity: what is read there, such as ``network``.
        values: knob -> value; a float is a position in a range of 0 to 1, all else is a name.
        pixels: the picture's area.
        batch: pictures in flight.
    """

    quantity: str
    values: Mapping[str, Value]
    pixels: int
    batch: int


@dataclass(frozen=True)
class Form:
    """What is expected beforehand.

    Attributes:
        growth: quantity -> exponent of the area with which it grows; 0 where it is not named.
        scales: knob -> how many times the usual effect its values may have.
        usual: how large each part is taken to be.
    """

    growth: Mapping[str, float]
    scales: Mapping[str, float]
    usual: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Surface:
    """The posterior; `fit` makes one.

    Attributes:
        form: what was expected beforehand.
        knobs: that cells differ in, in the order of the tables' columns.
        fixed: quantity -> the c of what does not grow, in native pictures in flight.
        parts: standard deviation of each part.
    """

    form: Form
    knobs: tuple[str, ...]
    fixed: Mapping[str, float]
    parts: Mapping[str, float]
    _known: _Table
    _factor: Floats
    _weights: Floats

    @classmethod
    def fit(
        cls, cells: Sequence[Cell], values: Sequence[float], deviations: Sequence[float],
        form: Form, runs: Sequence[Hashable] | None = None, knobs: Sequence[str] = (),
        parts: Mapping[str, float] | None = None,
    ) -> Surface:
        """Learn from readings.

        Args:
            cells: where; at least one.
            values: what was read, a picture, above zero.
            deviations: relative standard deviation of each reading.
            form: what is expected beforehand.
            runs: in which run each was read; each in its own when None.
            knobs: that will be asked for, besides those of the cells.
            parts: as an earlier fit found them; found anew when None.
        """
        names = tuple(sorted({*knobs, *(name for cell in cells for name in cell.values)}))
        logs = np.log(np.asarray(values, np.float64))
        noise = np.asarray(deviations, np.float64) ** 2
        together = np.eye(len(cells))
        if runs is not None:
            order = {run: place for place, run in enumerate(dict.fromkeys(runs))}
            places = np.array([order[run] for run in runs])
            together = (places[:, None] == places[None]).astype(np.float64)
        fixed = {quantity: _fixed_share(cells, logs, noise, quantity, names, form)
                 for quantity in sorted({cell.quantity for cell in cells})}
        known = _Table.of(cells, names, form, fixed)
        found = dict(parts) if parts is not None else _likely(
            _components(known, known, together), logs - known.expected, noise, form.usual)
        covariance = _kernel(known, known, found)
        covariance += found["weather"] ** 2 * together
        covariance[np.diag_indices_from(covariance)] += noise + found["noise"] ** 2
        factor = np.tril(cho_factor(covariance, lower=True)[0])
        weights = cho_solve((factor, True), logs - known.expected)
        return cls(form, names, fixed, found, known, factor, weights)

    @cached_property
    def quantities(self) -> frozenset[str]:
        """Those that were read."""
        return frozenset(self.fixed)

    def predict(self, cells: Sequence[Cell]) -> tuple[Floats, Floats]:
        """Return the mean of the logarithm and its covariance, `(m,)` and `(m, m)`."""
        mean, covariance = self.blocks([cells])
        return mean[0], covariance[0]

    def blocks(self, rows: Sequence[Sequence[Cell]]) -> tuple[Floats, Floats]:
        """Return means `(b, m)` and covariances within each row `(b, m, m)`."""
        means, covariances = [], []
        for first in range(0, len(rows), CHUNK):
            some = rows[first : first + CHUNK]
            flat = _Table.of([cell for row in some for cell in row], self.knobs, self.form,
                             self.fixed)
            across = _kernel(flat, self._known, self.parts)
            means.append((across @ self._weights + flat.expected).reshape(len(some), -1))
            told = solve_triangular(self._factor, across.T, lower=True).T
            told = told.reshape(*means[-1].shape, -1)
            table = flat.folded(len(some))
            covariances.append(_kernel(table, table, self.parts)
                               - told @ np.swapaxes(told, 1, 2))
        return np.concatenate(means), np.concatenate(covariances)

    def gains(
        self, readings: Sequence[Sequence[Cell]], target: Sequence[Cell],
        shares: Floats | None = None,
    ) -> Floats:
        """Return how much variance, summed over what is wanted, each reading would take.

        The one-step form of A-optimal design (Chaloner and Verdinelli 1995).

        Args:
            readings: cells that one run would read together.
            target: cells that matter.
            shares: `(t, len(target))`, wanted sums of their logarithms; each by itself when None.
        """
        flat = [cell for cells in readings for cell in cells]
        _, covariance = self.predict([*flat, *target])
        across = covariance[: len(flat), len(flat) :]
        if shares is not None:
            across = across @ shares.T
        gains, first = np.zeros(len(readings)), 0
        for place, cells in enumerate(readings):
            own = slice(first, first + len(cells))
            first += len(cells)
            noisy = covariance[own, own] + self.parts["weather"] ** 2
            noisy = noisy + self.parts["noise"] ** 2 * np.eye(len(cells))
            gains[place] = float((across[own] * np.linalg.solve(noisy, across[own])).sum())
        return gains


@dataclass(frozen=True, eq=False)
class _Table:
    """Cells as arrays of shape `(..., n)`, or `(..., n, k)` for k knobs."""

    quantity: NDArray[np.int64]
    names: NDArray[np.int64]
    places: Floats
    scales: Floats
    work: Floats
    share: Floats
    area: Floats
    expected: Floats

    @classmethod
    def of(
        cls, cells: Sequence[Cell], knobs: Sequence[str], form: Form, fixed: Mapping[str, float]
    ) -> _Table:
        growth = np.array([form.growth.get(cell.quantity, 0.0) for cell in cells])
        area = np.log([cell.pixels / NATIVE for cell in cells])
        work = np.exp(growth * area) * np.array([cell.batch for cell in cells], np.float64)
        rest = np.array([fixed.get(cell.quantity, 0.0) for cell in cells])
        rows = [[cell.values.get(name, "") for name in knobs] for cell in cells]
        shape = (len(cells), len(knobs))
        return cls(
            # Equality is all that is asked of a name.
            np.array([hash(cell.quantity) for cell in cells], np.int64),
            np.array([[0 if isinstance(value, float) else hash(repr(value)) for value in row]
                      for row in rows], np.int64).reshape(shape),
            np.array([[value if isinstance(value, float) else 0.0 for value in row]
                      for row in rows], np.float64).reshape(shape),
            np.array([form.scales.get(name, 1.0) ** 2 for name in knobs]),
            np.log(work + rest), rest / (work + rest), area,
            growth * area + np.log1p(rest / work),
        )

    def folded(self, rows: int) -> _Table:
        """Return the same cells in so many rows."""
        def fold(array: Floats) -> Floats:
            return array.reshape(rows, -1, *array.shape[1:])

        return _Table(self.quantity.reshape(rows, -1),
                      self.names.reshape(rows, -1, self.names.shape[1]),
                      fold(self.places), self.scales, fold(self.work), fold(self.share),
                      fold(self.area), fold(self.expected))


def _outer(left: Floats, right: Floats) -> Floats:
    return left[..., :, None] * right[..., None, :]


def _components(left: _Table, right: _Table, together: Floats | None = None) -> tuple[
    dict[str, Floats], Floats, Floats
]:
    """Return each part's matrix, the same without quantities' own share, and the level's."""
    same = (left.quantity[..., :, None] == right.quantity[..., None, :]).astype(np.float64)
    values, count, every = np.zeros(same.shape), np.zeros(same.shape), np.ones(same.shape)
    for knob, scale in enumerate(left.scales):
        alike = (left.names[..., :, None, knob] == right.names[..., None, :, knob]).astype(
            np.float64)
        if left.places[..., knob].any() or right.places[..., knob].any():
            apart = left.places[..., :, None, knob] - right.places[..., None, :, knob]
            alike *= np.exp(-0.5 * (apart / REACH) ** 2)
        values += scale * alike
        count += alike
        every *= alike
    pairs = count * (count - 1.0) / 2.0
    split = _outer(left.share, right.share) + _outer(1.0 - left.share, 1.0 - right.share)
    area = _outer(left.area, right.area)
    near = np.exp(-0.5 * (left.work[..., :, None] - right.work[..., None, :]) ** 2
                  - 0.5 * (left.area[..., :, None] - right.area[..., None, :]) ** 2)
    here = 0.5 * every * same * (near + (near == 1.0))
    shared = {"main": values, "split": values * split, "slope": area * (1.0 + values),
              "pair": pairs * (1.0 + split), "bend": near}
    own = {"own": here}
    level = LEVEL**2 * same + same * split
    if together is not None:
        own["weather"] = together
        own["noise"] = np.eye(len(together))
    return {**shared, **own}, same, level


def _kernel(left: _Table, right: _Table, parts: Mapping[str, float]) -> Floats:
    """Return the prior covariance of two sets of cells."""
    components, same, level = _components(left, right)
    shared = 1.0 - parts["apart"] + parts["apart"] * same
    total = level
    for name, matrix in components.items():
        total += parts[name] ** 2 * (matrix if name == "own" else matrix * shared)
    return total


def _likely(
    found: tuple[dict[str, Floats], Floats, Floats], logs: Floats, noise: Floats,
    usual: Mapping[str, float],
) -> dict[str, float]:
    """Return the parts that explain the readings best (maximum a posteriori)."""
    components, same, level = found
    names = [*components, "apart"]
    own = np.array([name in ("own", "weather", "noise") for name in components])
    stack = np.stack(list(components.values()))
    start = np.log([usual[name] for name in names])

    def loss(point: Floats) -> tuple[float, Floats]:
        variances, apart = np.exp(2.0 * point[:-1]), math.exp(point[-1])
        shared = np.tensordot(variances * ~own, stack, 1)
        covariance = level + np.tensordot(variances * own, stack, 1)
        covariance += shared * (1.0 - apart + apart * same)
        covariance[np.diag_indices_from(covariance)] += noise
        factor = cho_factor(covariance, lower=True)
        weights = cho_solve(factor, logs)
        # Rasmussen and Williams, equation 5.9.
        inner = (cho_solve(factor, np.eye(len(logs))) - np.outer(weights, weights)) / 2.0
        mixed = inner * (1.0 - apart + apart * same)
        slopes = np.where(own, np.tensordot(stack, inner, 2), np.tensordot(stack, mixed, 2))
        slope = np.append(2.0 * variances * slopes, apart * (inner * shared * (same - 1.0)).sum())
        away = (point - start) / SPREAD
        value = logs @ weights / 2.0 + np.log(np.diag(factor[0])).sum() + (away**2).sum() / 2.0
        return float(value), slope + away / SPREAD

    bounds = [(low - 3.0, min(low + 2.0, 0.0) if name == "apart" else low + 2.0)
              for name, low in zip(names, start, strict=True)]
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds,
                    options={"maxiter": 30})
    return dict(zip(names, np.exp(best.x).tolist(), strict=True))


def _fixed_share(
    cells: Sequence[Cell], logs: Floats, noise: Floats, quantity: str, knobs: Sequence[str],
    form: Form,
) -> float:
    """Return a quantity's c, by the likelihood of its own readings."""
    mine = [place for place, cell in enumerate(cells) if cell.quantity == quantity]
    some = [cells[place] for place in mine]
    work = np.exp(_Table.of(some, knobs, form, {}).work)
    middle = float(np.exp(np.log(work).mean()))
    if len(set(work.round(9))) < 3:
        return middle

    def surprise(power: int) -> float:
        fixed = middle * 2.0**power
        table = _Table.of(some, knobs, form, {quantity: fixed})
        covariance = _kernel(table, table, form.usual)
        covariance[np.diag_indices_from(covariance)] += (
            noise[mine] + form.usual["noise"] ** 2 + form.usual["weather"] ** 2)
        factor = cho_factor(covariance, lower=True)
        left = logs[mine] - table.expected
        away = (power / OCTAVES_USUAL) ** 2
        return float((left @ cho_solve(factor, left) + away) / 2.0
                     + np.log(np.diag(factor[0])).sum())

    return float(middle * 2.0 ** min(range(-OCTAVES, OCTAVES + 1), key=surprise))
