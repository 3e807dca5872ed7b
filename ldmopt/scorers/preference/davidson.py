"""Bradley-Terry with ties: the likelihood of an answer to "left or right?".

Davidson (1970), "On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments", JASA 65. With a difference `d` of utilities in logits and a tie parameter `nu`, the
chances of left, right and tie are `exp(d/2)`, `exp(-d/2)` and `nu`, divided by their sum. `nu = 0`
is the model of Bradley and Terry (1952). An answer counts as a *win* of the left side: 1, 0, or
1/2 for a tie.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEEPEST = 80.0
"""Differences beyond this are treated as this many logits."""


def expected_win(difference: Floats, nu: float) -> Floats:
    """Return the chance of left plus half the chance of a tie.

    The value of `-difference` is the exact complement: `tanh(d/4)` turns the ratio of hyperbolic
    functions into one of polynomials, and the smaller side is 1 minus the larger.
    """
    half = np.tanh(0.25 * np.minimum(np.abs(difference), STEEPEST))
    square = half * half
    larger = 0.5 + half / ((1.0 + square) + 0.5 * nu * (1.0 - square))
    return np.where(difference < 0, 1.0 - larger, larger)


def outcomes(difference: Floats, nu: float) -> tuple[Floats, Floats, Floats]:
    """Return the chances of left, right and tie."""
    size = np.clip(difference, -STEEPEST, STEEPEST)
    far = np.exp(-np.abs(size))
    tie = nu * np.exp(-0.5 * np.abs(size))
    total = 1.0 + far + tie
    near, away = 1.0 / total, far / total
    left = np.where(size >= 0, near, away)
    return left, np.where(size >= 0, away, near), tie / total


def surprise(difference: Floats, win: Floats, nu: float) -> Floats:
    """Return each answer's negative log likelihood in nats."""
    size = np.clip(difference, -STEEPEST, STEEPEST)
    half = 0.5 * np.abs(size)
    total = half + np.log1p(np.exp(-2.0 * half) + nu * np.exp(-half))
    said = (win - 0.5) * size + np.where(win == 0.5, np.log(nu), 0.0)
    return np.asarray(total - said)


def slopes(difference: Floats, win: Floats, nu: float) -> tuple[Floats, Floats]:
    """Return the log likelihood's first derivative, and minus its second, in the difference."""
    left, right, _ = outcomes(difference, nu)
    lead = left - right
    return win - 0.5 - 0.5 * lead, 0.25 * (left + right - lead * lead)


def flattened(difference: Floats, variance: Floats) -> Floats:
    """Return the difference that its own uncertainty leaves of it.

    MacKay (1992), "The evidence framework applied to classification networks", equation 10.
    """
    return np.asarray(difference / np.sqrt(1.0 + np.pi * variance / 8.0))
