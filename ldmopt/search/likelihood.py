"""A kernel's parameters by marginal likelihood, held near what is usual by priors.

The maximum a posteriori point (Rasmussen and Williams 2006, equations 5.8 and 5.9), in logarithms,
by L-BFGS with the exact gradient. It is found from what was read alone, never from where the last
search ended, so a study that was stopped and resumed goes on as one that was not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from scipy.optimize import minimize

from ldmopt.search.encoding import Features
from ldmopt.search.kernel import ROOT5, Kernel

Floats = NDArray[np.float64]

MOST_POINTS = 200
"""Readings that parameters are fitted to; more say little more and cost their cube."""

SPREADS = {"lengths": 0.8, "weights": 1.0, "signal": 0.6, "noise": 1.5}
"""Standard deviations of the priors, in logarithms."""

LEAST_NOISE = 1e-6

GROWTH = 4 / 3
"""Parameters are fitted again whenever there are so many times the readings."""


def last_due(count: int, first: int) -> int:
    """Return at how many readings, up to `count`, parameters were last to be fitted.

    Whenever there are a third more than the last time, from `first` on; `count` below that.
    """
    due = first
    while math.ceil(due * GROWTH) <= count:
        due = math.ceil(due * GROWTH)
    return min(due, count)


def fitted(
    points: Features, values: Floats, noise: Floats, usual: Kernel, *, iterations: int = 40
) -> Kernel:
    """Return the kernel that explains readings best.

    Args:
        points: where was read.
        values: `(n,)` what was read, standardised.
        noise: `(n,)` known variance of each reading.
        usual: centre of the priors; its constant stays.
        iterations: of L-BFGS at the most.
    """
    if len(points) < 3 or float(np.ptp(values)) == 0.0:
        return usual
    if len(points) > MOST_POINTS:
        kept = np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)
        points, values, noise = points[kept], values[kept], noise[kept]
    evidence = _Evidence.of(points, values, noise, usual)
    found = minimize(evidence.loss, evidence.start, jac=True, method="L-BFGS-B",
                     bounds=[(at - 3.5 * width, at + 3.5 * width)
                             for at, width in zip(evidence.start, evidence.widths, strict=True)],
                     options={"maxiter": iterations})
    return evidence.kernel(found.x) if np.isfinite(found.fun) else usual


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The negative logarithm of likelihood times prior.

    Attributes:
        squared: `(a, n, n)` squared differences of each coordinate.
        differ: `(groups, n, n)` where flags differ.
        values: `(n,)`.
        noise: `(n,)`.
        start: logarithms of lengths, weights, signal and noise before anything was read.
        widths: standard deviations of the priors about them.
        constant: the kernel's.
    """

    squared: Floats
    differ: Floats
    values: Floats
    noise: Floats
    start: Floats
    widths: Floats
    constant: float

    @classmethod
    def of(cls, points: Features, values: Floats, noise: Floats, usual: Kernel) -> _Evidence:
        columns = points.coordinates.T
        squared = (columns[:, :, None] - columns[:, None, :]) ** 2
        count = len(points)
        differ = np.ones((points.group_count, count, count))
        for group in range(points.group_count):
            own = points.flags[:, points.groups == group]
            differ[group] -= own @ own.T
        start = np.log(np.concatenate(
            [usual.lengths, usual.weights, [usual.signal, usual.noise]]))
        widths = np.concatenate([
            np.full(len(usual.lengths), SPREADS["lengths"]),
            np.full(len(usual.weights), SPREADS["weights"]),
            [SPREADS["signal"], SPREADS["noise"]],
        ])
        return cls(squared, differ, values, noise, start, widths, usual.constant)

    def kernel(self, point: Floats) -> Kernel:
        """Return the kernel of a point in logarithms."""
        a = len(self.squared)
        values = np.exp(point)
        return Kernel(values[:a], values[a:-2], float(values[-2]),
                      max(float(values[-1]), LEAST_NOISE), self.constant)

    def loss(self, point: Floats) -> tuple[float, Floats]:
        """Return the loss and its gradient."""
        a, count = len(self.squared), len(self.values)
        values = np.exp(point)
        lengths, weights, signal, noise = values[:a], values[a:-2], values[-2], values[-1]
        squared = np.tensordot(lengths**-2.0, self.squared, 1) if a else np.zeros((count, count))
        root = ROOT5 * np.sqrt(np.maximum(squared, 0.0))
        hamming = np.tensordot(weights, self.differ, 1) if len(weights) else 0.0
        decay = np.exp(-root - hamming)
        alike = (1.0 + root + root * root / 3.0) * decay
        covariance = self.constant + signal * alike
        covariance[np.diag_indices(count)] += self.noise + noise + LEAST_NOISE
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e12, np.zeros(len(point))
        solved = cho_solve((factor, True), self.values, check_finite=False)
        inverse = cho_solve((factor, True), np.eye(count), check_finite=False)
        pull = inverse - np.outer(solved, solved)
        away = (point - self.start) / self.widths
        loss = (self.values @ solved / 2 + np.log(np.diag(factor)).sum() + (away @ away) / 2)
        # d matern / d squared distance = -5/6 (1 + root) exp(-root)
        by_distance = pull * decay * (1.0 + root) * (signal * 5.0 / 6.0)
        by_flags = pull * alike * signal
        gradient = np.concatenate([
            np.tensordot(self.squared, by_distance, 2) * lengths**-2.0,
            -np.tensordot(self.differ, by_flags, 2) * weights / 2,
            [float(by_flags.sum()) / 2, float(np.trace(pull)) * noise / 2],
        ])
        return float(loss), gradient + away / self.widths
