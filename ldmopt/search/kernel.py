"""The covariance of what settings are worth: coordinates by Matérn, flags by Hamming.

`k = constant + signal * exp(-sum of the weights of the groups that differ) * matern(r)`, where r is
the distance of the coordinates over their lengths. The exponentiated Hamming distance for choices
(Hutter et al. 2009; Ru et al. 2020, CoCaBO) and Matérn 5/2 for numbers (Rasmussen and Williams
2006, equation 4.17). A jump is a flag, so a function may be smooth on both its sides; whether a
parameter acts is a flag too, which is the simplest of the kernels for conditional spaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.encoding import Features

Floats = NDArray[np.float64]

CONSTANT = 1.0
"""Variance of the level that all settings share, over that of a standardised objective."""

LENGTH = 0.3
"""Usual length of one coordinate alone, as a share of its range. Longer ones were tried: the search
was then too sure of what lies between two ends that look alike."""

ROOT5 = np.sqrt(5.0)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A covariance with its parameters.

    Attributes:
        lengths: `(a,)` of the coordinates.
        weights: `(groups,)` what it costs, as an exponent, that a group's flags differ.
        signal: variance of what differs between settings.
        noise: variance of a reading beyond what is known of it.
        constant: variance of the shared level.
    """

    lengths: Floats
    weights: Floats
    signal: float = 1.0
    noise: float = 1e-3
    constant: float = CONSTANT

    @classmethod
    def usual(cls, features: Features, noise: float = 1e-3) -> Kernel:
        """Return what is believed before anything was read.

        Lengths grow with the root of how many coordinates there are, so that a function of many
        is taken to depend on each a little (Hvarfner et al. 2024).
        """
        count = features.coordinates.shape[1]
        groups = features.group_count
        return cls(np.full(count, LENGTH * np.sqrt(max(1, count + groups))),
                   np.full(groups, 1.5 / max(1, count + groups)), 1.0, noise)

    def __call__(self, left: Features, right: Features) -> Floats:
        """Return the covariances `(n, m)`, without noise."""
        return self.constant + self.signal * self.alike(left, right)

    def alike(self, left: Features, right: Features) -> Floats:
        """Return the correlations `(n, m)` of what differs between settings."""
        a, b = left.coordinates / self.lengths, right.coordinates / self.lengths
        squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * (a @ b.T)
        root = ROOT5 * np.sqrt(np.maximum(squared, 0.0))
        exponent = root
        if len(self.weights):
            weight = self.weights[left.groups]
            exponent = root + (self.weights.sum() - (left.flags * weight) @ right.flags.T)
        return np.asarray((1.0 + root + root * root / 3.0) * np.exp(-exponent))

    @property
    def variance(self) -> float:
        """The variance of any one setting."""
        return self.constant + self.signal
