"""Tail probabilities of a random weighted mean, and Student's t, without a table or a draw.

A weighted mean whose weights are Dirichlet (normalised gamma) variables is what the Bayesian
bootstrap (Rubin 1981, Annals of Statistics 9) gives for the mean of a sample. Its distribution
function is found by Barndorff-Nielsen's r* form of the Lugannani-Rice saddlepoint approximation
(Lugannani and Rice 1980, Advances in Applied Probability 12; Barndorff-Nielsen 1986,
Biometrika 73), which keeps its relative accuracy far out in the tails. Checked against the Beta
distribution: within 0.002 at a probability of 0.025, even where all observations are equal to 1.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_NEWTON_STEPS = 60
_NEAR_ZERO = 1e-3
_SLOPE, _CLOSE = 1e-9, 1e-7
"""When a saddlepoint, and a quantile's root, are near enough."""


def signed_root(points: Floats, shapes: Floats, target: Floats) -> Floats:
    """Return r* with ``P(sum(w x) <= target) = Phi(r*)`` for Dirichlet weights w.

    Args:
        points: rows x points, the values x that are averaged.
        shapes: points, the gamma shapes (Dirichlet concentrations); all above zero.
        target: rows.

    Returns:
        One number a row; minus or plus infinity where the target is not inside the points.
    """
    offsets = points - target[:, None]
    inside = (offsets.min(axis=1) < 0) & (offsets.max(axis=1) > 0)
    result = np.where(offsets.min(axis=1) >= 0, -np.inf, np.inf)
    if inside.any():
        result[inside] = _inner_root(offsets[inside], shapes)
    return result


def _inner_root(offsets: Floats, shapes: Floats) -> Floats:
    """r* for rows whose offsets have both signs: K(s) = -sum(shape log(1 - s offset))."""
    s = _saddlepoint(offsets, shapes)
    rest = 1.0 - s[:, None] * offsets
    ratio = offsets / rest
    square = ratio * ratio
    cumulant = -np.log(rest) @ shapes
    second, third = square @ shapes, 2.0 * ((square * ratio) @ shapes)
    r = np.sign(s) * np.sqrt(np.maximum(-2.0 * cumulant, 0.0))
    u = s * np.sqrt(second)
    near = np.abs(r) < _NEAR_ZERO
    safe = np.where(near, 1.0, r)
    correction = np.log(np.where(near, 1.0, u / safe)) / safe
    root: Floats = r + np.where(near, third / (6.0 * second**1.5), correction)
    return root


def _saddlepoint(offsets: Floats, shapes: Floats) -> Floats:
    """The root s of K'(s) = 0, by Newton's steps kept inside a shrinking bracket.

    Rows that are done are left out of further steps.
    """
    low, high = 1.0 / offsets.min(axis=1), 1.0 / offsets.max(axis=1)
    s = np.zeros(len(offsets))
    left = np.arange(len(offsets))
    rows = offsets
    for _ in range(_NEWTON_STEPS):
        ratio = rows / (1.0 - s[left, None] * rows)
        slope, curve = ratio @ shapes, (ratio * ratio) @ shapes
        going = np.abs(slope) > _SLOPE * np.sqrt(curve)
        if not going.any():
            break
        if not going.all():
            left, rows, slope, curve = left[going], rows[going], slope[going], curve[going]
        here = s[left]
        low[left] = np.where(slope < 0, here, low[left])
        high[left] = np.where(slope > 0, here, high[left])
        step = here - slope / curve
        inside = (step > low[left]) & (step < high[left])
        s[left] = np.where(inside, step, (low[left] + high[left]) / 2)
    return s


def quantile(points: Floats, shapes: Floats, root: float) -> Floats:
    """Return the targets at which `signed_root` equals ``root``, one a row.

    Solved by regula falsi with Illinois steps. Rows whose points are all equal give that point.
    """
    targets = np.clip(points @ shapes / shapes.sum(), points.min(axis=1), points.max(axis=1))
    rows = np.arange(len(points))
    low, high = points.min(axis=1), points.max(axis=1)
    scale = np.maximum(high - low, 1e-300)
    # the ends have infinite roots: finite stand-ins serve as the first bracket
    left, right = np.full(len(points), -abs(root) - 30.0), np.full(len(points), abs(root) + 30.0)
    side = np.zeros(len(points))
    for step in range(80):
        target = targets[rows]
        value = np.clip(signed_root(points[rows], shapes, target) - root, -1e9, 1e9)
        going = (np.abs(value) >= _CLOSE) & (high - low >= 1e-12 * scale)
        if not going.any():
            break
        rows, target, value, low, high, scale, left, right, side = (
            part[going] for part in (rows, target, value, low, high, scale, left, right, side)
        )
        below = value < 0
        low, high = np.where(below, target, low), np.where(below, high, target)
        left = np.where(below, value, np.where(side > 0, left / 2, left))
        right = np.where(below, np.where(side < 0, right / 2, right), value)
        side = np.where(below, -1.0, 1.0)
        falsi = high - right * (high - low) / np.where(right > left, right - left, 1.0)
        use_falsi = (step % 4 < 3) & (falsi > low) & (falsi < high)
        targets[rows] = np.where(use_falsi, falsi, (low + high) / 2)
    return np.asarray(targets, np.float64)


def student_tail(t: float, freedom: int) -> float:
    """Return ``P(T > t)`` for Student's t with a whole number of degrees of freedom, t >= 0.

    The finite trigonometric sums of Abramowitz and Stegun 26.7.3 and 26.7.4; far out, where they
    cancel, the leading term of the tail.
    """
    if math.isinf(t):
        return 0.0
    theta = math.atan(t / math.sqrt(freedom))
    cosine2 = math.cos(theta) ** 2
    first = 1 if freedom % 2 == 0 else 2
    term, total = 1.0, 1.0
    for k in range(first, freedom - 2, 2):
        term *= cosine2 * k / (k + 1)
        total += term
    if freedom % 2 == 0:
        inside = math.sin(theta) * total
    elif freedom == 1:
        inside = 2 * theta / math.pi
    else:
        inside = 2 / math.pi * (theta + math.sin(theta) * math.cos(theta) * total)
    outside = (1.0 - inside) / 2
    return outside if outside > 1e-11 else _far_tail(t, freedom)


def _far_tail(t: float, freedom: int) -> float:
    """The leading term of P(T > t): the density times t (1 + freedom / t^2) / freedom."""
    log_density = (
        math.lgamma((freedom + 1) / 2)
        - math.lgamma(freedom / 2)
        - 0.5 * math.log(freedom * math.pi)
        - (freedom + 1) / 2 * math.log1p(t * t / freedom)
    )
    return math.exp(log_density) * t * (1 + freedom / (t * t)) / freedom


@cache
def student_quantile(tail: float, freedom: int) -> float:
    """Return t with ``P(T > t) = tail`` for 0 < tail < 0.5, by bisection."""
    low, high = 0.0, 2.0
    while student_tail(high, freedom) > tail:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_tail(middle, freedom) > tail else (low, middle)
    return (low + high) / 2
