"""From differences of values, and how uncertain they are, to chances of preference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.preference.utility import Utility

Floats = NDArray[np.float64]


def spread(members: Floats) -> Floats:
    """Return the variance between members `(members, n)`; 0 for a single one."""
    return members.var(axis=0, ddof=1) if len(members) > 1 else np.zeros(members.shape[1])


def chances(
    taste: Utility | None, moved: Floats, noise: float, sides: tuple[Floats, Floats] | None
) -> Floats:
    """Return the chances that left is preferred.

    Args:
        taste: what labels taught, or None.
        moved: `(members, n)` differences of the prior's members, in logits.
        noise: variance of a difference beyond their spread.
        sides: what the taste sees of the left pictures and of the right ones, `(n, k)` each.
    """
    variance = spread(moved) + noise
    if taste is None or sides is None:
        return preference(moved.mean(axis=0), variance)
    mean, own = taste.difference(*sides)
    return taste.chance(mean, own + taste.of_base(variance))


def preference(mean: Floats, variance: Floats) -> Floats:
    """Return the chance of a positive difference: logistic, flattened by variance.

    MacKay (1992), "The evidence framework applied to classification networks", equation 10.
    Written so that the chance of `-mean` is the exact complement.
    """
    flattened = np.clip(mean / np.sqrt(1.0 + np.pi * variance / 8.0), -40.0, 40.0)
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * flattened))
