"""A Gaussian process's posterior on a fixed set of candidates, kept up to date a reading at a time.

With `K + N = L L^T` for the readings, `V = L^-1 k(readings, candidates)` gives the mean
`V^T L^-1 y` and variance `k - sum of V squared` of the posterior on all candidates (Rasmussen and
Williams 2006, algorithm 2.1). One more reading adds a row to L and to V, which costs O(n m) for n
readings and m candidates instead of O(n^2 m); taking the last reading away again costs O(m). What
was read comes in only with `mean`, so it may be rescaled at any time.

A reading that becomes more exact, because more prompts were seen, is a further independent reading
of the same setting: `refinement` says which.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from ldmopt.search.encoding import Features
from ldmopt.search.kernel import Kernel

Floats = NDArray[np.float64]

JITTER = 1e-8


class Process:
    """A posterior under one kernel; readings are added in order."""

    def __init__(self, kernel: Kernel, candidates: Features) -> None:
        """Begin without readings.

        Args:
            kernel: with its parameters; it stays.
            candidates: where the posterior is kept, m of them.
        """
        self.kernel = kernel
        self.candidates = candidates
        self.count = 0
        self._points = candidates[:0]
        self._noise: Floats = np.zeros(0)
        self._factor: Floats = np.zeros((0, 0))
        self._rows: Floats = np.zeros((0, len(candidates)))
        self._variance: Floats = np.full(len(candidates), kernel.variance)

    def extend(self, points: Features, noise: Floats) -> None:
        """Add readings at `points`.

        Args:
            points: n of them.
            noise: `(n,)` known variance of each reading; the kernel's own comes on top.
        """
        if not len(points):
            return
        new, old = len(points), self.count
        self._reserve(old + new)
        before = self._points[:old]
        self._points = Features(
            np.concatenate([before.coordinates, points.coordinates]),
            np.concatenate([before.flags, points.flags]), points.groups)
        total = np.asarray(noise, np.float64) + self.kernel.noise + JITTER
        self._noise = np.concatenate([self._noise[:old], total])
        own = self.kernel(points, points)
        own[np.diag_indices(new)] += total
        across = self.kernel(points, self.candidates)
        if old:
            lower = self._factor[:old, :old]
            left = solve_triangular(lower, self.kernel(before, points), lower=True,
                                    check_finite=False)
            own -= left.T @ left
            across -= left.T @ self._rows[:old]
            self._factor[old : old + new, :old] = left.T
        corner = np.linalg.cholesky(own)
        self._factor[old : old + new, old : old + new] = corner
        added = (across / corner[0, 0] if new == 1
                 else solve_triangular(corner, across, lower=True, check_finite=False))
        self._rows[old : old + new] = added
        self._variance = self._variance - np.einsum("ij,ij->j", added, added)
        self.count = old + new

    def shrink(self, count: int) -> None:
        """Take the last readings away until `count` are left."""
        gone = self._rows[count : self.count]
        self._variance = self._variance + np.einsum("ij,ij->j", gone, gone)
        self.count = count

    def mean(self, values: Floats) -> Floats:
        """Return the posterior's mean on the candidates, `(m,)`, from what was read, `(n,)`."""
        return self._whitened(values) @ self._rows[: self.count]

    @property
    def variance(self) -> Floats:
        """The posterior's variance on the candidates, `(m,)`, without noise."""
        return np.maximum(self._variance, 1e-12)

    def smoothed(self, values: Floats) -> Floats:
        """Return the posterior's mean at the readings themselves, `(n,)`."""
        weights = solve_triangular(self._lower, self._whitened(values), lower=True, trans=1,
                                   check_finite=False)
        return np.asarray(values - self._noise[: self.count] * weights)

    def elsewhere(self, points: Features, values: Floats) -> tuple[Floats, Floats]:
        """Return mean and variance at points that are not among the candidates."""
        prior = np.full(len(points), self.kernel.variance)
        if not self.count:
            return np.zeros(len(points)), prior
        across = self.kernel(self._points[: self.count], points)
        rows = solve_triangular(self._lower, across, lower=True, check_finite=False)
        variance = prior - np.einsum("ij,ij->j", rows, rows)
        return self._whitened(values) @ rows, np.maximum(variance, 1e-12)

    @property
    def _lower(self) -> Floats:
        return self._factor[: self.count, : self.count]

    def _whitened(self, values: Floats) -> Floats:
        if not self.count:
            return np.zeros(0)
        return np.asarray(solve_triangular(self._lower, values, lower=True, check_finite=False))

    def _reserve(self, count: int) -> None:
        """Make room, half as much again each time."""
        room = len(self._factor)
        if count <= room:
            return
        room = max(count, room + room // 2, 32)
        factor = np.zeros((room, room))
        factor[: self.count, : self.count] = self._lower
        rows = np.empty((room, len(self.candidates)))
        rows[: self.count] = self._rows[: self.count]
        self._factor, self._rows = factor, rows


def refinement(
    old: tuple[float, float], new: tuple[float, float]
) -> tuple[float, float] | None:
    """Return the value and variance of what a more exact reading adds to an older one.

    Both count by their precision: `new = (old / v_old + more / v_more) / (1 / v_old + 1 / v_more)`.
    None where the new one is not more exact.
    """
    (before, variance_before), (after, variance_after) = old, new
    if variance_before <= 0 or variance_after >= variance_before * (1 - 1e-9):
        return None
    if variance_after <= 0:
        return after, 0.0
    precision = 1.0 / variance_after - 1.0 / variance_before
    value = (after / variance_after - before / variance_before) / precision
    return value, 1.0 / precision
