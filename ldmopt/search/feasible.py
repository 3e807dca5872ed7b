"""How likely it is that a setting works at all: a Gaussian process on what worked and what failed.

Readings are 1 where a setting met every constraint and -1 where it failed; the prior's mean is 1,
because most settings work. A regression on labels squashed through the normal distribution is the
plain relative of classification (Rasmussen and Williams 2006, section 6.5); it needs no iterations
and is kept up to date like any other posterior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ldmopt.search.encoding import Features
from ldmopt.search.kernel import Kernel
from ldmopt.search.process import Process

Floats = NDArray[np.float64]

NOISE = 0.05
"""Variance of a label."""

BLUR = 0.25
"""Variance of what divides the labels."""

MOST = 500
"""Readings at the most: all the failures there is room for, then the newest of the others."""


class Feasibility:
    """What is known of failures; certain of success until the first."""

    def __init__(self, candidates: Features) -> None:
        """Begin with candidates whose chance of success is asked for again and again."""
        self._candidates = candidates
        self._process: Process | None = None
        self._points = candidates[:0]
        self._labels: list[float] = []
        self._noise: list[float] = []
        self.failures = 0

    def add(self, point: Features, worked: bool, noise: float = NOISE) -> None:
        """Learn that one setting worked, or not.

        Args:
            point: of one row.
            worked: whether it met every constraint.
            noise: variance; more where the failure may have had another cause.
        """
        self._points = self._points.joined(point)
        self._labels.append(0.0 if worked else -2.0)
        self._noise.append(noise)
        self.failures += not worked
        if self._process is not None and len(self._labels) <= MOST:
            self._process.extend(point, np.array([noise]))
        elif self._process is not None:
            self._process = None

    def chances(self) -> Floats | float:
        """Return the chance that each candidate works; 1 while nothing failed."""
        if not self.failures:
            return 1.0
        process, labels = self._current()
        return _squashed(process.mean(labels), process.variance)

    def at(self, points: Features) -> Floats:
        """Return the chance that other settings work."""
        if not self.failures:
            return np.ones(len(points))
        process, labels = self._current()
        return _squashed(*process.elsewhere(points, labels))

    def _current(self) -> tuple[Process, Floats]:
        labels = np.array(self._labels)
        kept = np.arange(len(labels))
        if len(labels) > MOST:
            order = np.lexsort((-kept, labels == 0.0))
            kept = np.sort(order[:MOST])
        if self._process is None:
            kernel = Kernel.usual(self._candidates, noise=0.0)
            self._process = Process(Kernel(kernel.lengths, kernel.weights * 2, 1.0, 0.0, 0.0),
                                    self._candidates)
            self._process.extend(self._points[kept], np.array(self._noise)[kept])
        return self._process, labels[kept]


def _squashed(mean: Floats, variance: Floats) -> Floats:
    return np.asarray(ndtr((1.0 + mean) / np.sqrt(variance + BLUR)))
