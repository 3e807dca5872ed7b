"""Intervals: of a win rate, of a difference of two win rates, and of a median of seconds.

Prompts are the unit. A prompt's value is the average over its seeds, and the mean over prompts
gets an interval that stays safe near 0 and 1, where Student's t does not: the Bayesian bootstrap
of the prompts (Rubin 1981) with two pseudo-observations, one beyond each end of what was seen,
whose signed root r* is referred to Student's t with (prompts - 1) degrees of freedom.

The pseudo-observations stand for prompts that nobody has tried yet, and have the weight `WEIGHT`
each. For wins of 0 and 1 they sit at 0 and 1, and the interval is that of a beta prior with both
parameters `WEIGHT` (Jeffreys has 1/2, Laplace 1; Brown, Cai and DasGupta 2001, Statistical Science
16), but for Student's t. Where the values lie well inside they move in towards the mean, since a
spread that was measured says more about the next prompt than the bounds do.

A difference of two win rates has no bounds that are near: -1 and 1 are a ruin that may not exist.
There the pseudo-observations lie on either side of the mean (a loss that was seen counts as a gain
that was not, since whatever befell one setting may befall the other), as far out as the farthest
of three: two standard deviations; about four fifths of the way to the farthest prompt; and the
standard deviation that there would be if a prompt's two wins had nothing to do with each other,
which says what prompts may do that do otherwise than those seen so far (a Dirichlet process whose
base measure is independence, by its first two moments; Ferguson 1973, Annals of Statistics 1). They
go out to -1 and 1 where all prompts are alike, and, in part, where both settings together have lost
or won less than `_HARDLY` of one prompt: then a ruin of one of them may just not have been met.
With fewer than `_FULL` prompts more counts as little, with the square of what is missing.

Simulated coverage of the 95 % interval, win rates .5, .75 and .95, seven kinds of wins (0 and 1, of
one and two seeds; chances; nearly always 1 and rarely 0): .961-.996 with 8 prompts, .946-.976 with
24, .943-.971 with 60. Of paired differences, at four pairs of win rates: .977-1, .934-.979 and
.942-.976 (20,000 a cell). The constants were chosen looking at these very cells, `_FULL` at 12 and
16 prompts; another seed gave .980-1, .932-.978 and .941-.974. Elsewhere it is less even: down to
.92 with 16 prompts where wins are nearly always 1, at .95 and .85, and .91 with 24 and 40 at .95
and .95, where all that is seen is 0 or 1 and nearly always 1.
`benchmarks/rulebook.py --part coverage` prints it, `tests/distillation/test_intervals.py` repeats a
smaller one.

Far out, where many comparisons made at once are decided, a p value is never smaller than that of
Student's t on the prompts, nor, where all prompts are alike, than 2^-prompts, which their signs
alone would give.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import BlockWin, Quality
from ldmopt.distillation.saddlepoint import (
    Floats,
    quantile,
    signed_root,
    student_quantile,
    student_tail,
)

WEIGHT = 0.7
ROWS_AT_ONCE = 256
_REACH = 2.0
"""Standard deviations from the mean to the pseudo-observations."""
_ROOM = 0.64
"""Win rates whose p (1 - p) is above this share of the largest, 1/4, count as "well inside"."""
_FARTHEST, _HARDLY, _FULL = 0.78, 0.75, 24
"""Of differences: the share of the way to the farthest prompt; the lost wins that are few; the
prompts from which on no more count as few."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits, and how surprising it would be if nothing were there.

    Attributes:
        estimate: the mean over prompts (or a median).
        low: lower limit.
        high: upper limit.
        p_above: one-sided p value of "the truth is not above the reference value".
        p_below: one-sided p value of "the truth is not below the reference value".
    """

    estimate: float
    low: float
    high: float
    p_above: float = 0.5
    p_below: float = 0.5

    @property
    def p(self) -> float:
        """Two-sided p value."""
        return min(1.0, 2.0 * min(self.p_above, self.p_below))


@dataclass(frozen=True)
class Marginals:
    """What the two settings of a difference do, each by itself.

    Attributes:
        level: rows, the mean of both win rates.
        apart: rows, the standard deviation of differences of wins that have nothing to do with
            each other.
    """

    level: Floats
    apart: Floats

    @classmethod
    def of(cls, left: Floats, right: Floats) -> Marginals:
        """Return those of wins, rows x prompts."""
        spread = left.var(axis=1) + right.var(axis=1)
        return cls((left + right).mean(axis=1) / 2.0, np.sqrt(spread))

    def where(self, kept: NDArray[np.bool_]) -> Marginals:
        """Return some of the rows."""
        return Marginals(self.level[kept], self.apart[kept])

    def pooled(self) -> Marginals:
        """Return, as one row, those of the average of all rows' differences."""
        spread = np.linalg.norm(self.apart) / len(self.apart)
        return Marginals(np.array([self.level.mean()]), np.array([spread]))

    def unseen(self, prompts: int) -> Floats:
        """Return how far a ruin, of one setting alone, may be unseen: rows, 0 (not) to 1."""
        lost = 2.0 * prompts * np.minimum(self.level, 1.0 - self.level)
        few = _HARDLY * max(1.0, _FULL / prompts) ** 2
        return np.clip(1.0 - lost / few, 0.0, 1.0)


def mean_limits(
    values: Floats,
    confidence: float = 0.95,
    ends: tuple[float, float] = (0.0, 1.0),
    marginals: Marginals | None = None,
) -> tuple[Floats, Floats]:
    """Return the limits of the mean of each row.

    Args:
        values: rows x prompts, each within ``ends``.
        confidence: e.g. 0.95.
        ends: the least and the greatest value that there can be.
        marginals: what differences are those of; None for win rates.
    """
    prompts = values.shape[1]
    if prompts < 2:
        same = np.full(len(values), ends[0]), np.full(len(values), ends[1])
        return same
    t = student_quantile((1.0 - confidence) / 2.0, prompts - 1)
    points = _with_ends(values, ends, marginals)
    low, high = (quantile(points, _shapes(prompts), root) for root in (-t, t))
    mean = values.mean(axis=1)
    return np.minimum(low, mean), np.maximum(high, mean)


def mean_interval(
    values: Floats,
    confidence: float = 0.95,
    ends: tuple[float, float] = (0.0, 1.0),
    reference: float = 0.5,
    marginals: Marginals | None = None,
    deviation: float = 0.0,
    freedom: int = 1,
) -> Interval:
    """Return the interval of one mean, with p values against a reference value.

    Args:
        values: prompts.
        confidence: e.g. 0.95.
        ends: the least and the greatest value that there can be.
        reference: what the p values test against.
        marginals: see `mean_limits`.
        deviation: standard deviation of an error beside that of sampling prompts (a model's);
            the limits widen by it in quadrature.
        freedom: degrees of freedom of ``deviation``.
    """
    row = np.asarray(values, np.float64)[None, :]
    estimate = float(row.mean())
    lows, highs = mean_limits(row, confidence, ends, marginals)
    low, high = float(lows[0]), float(highs[0])
    root = float(_roots(row, ends, marginals, reference)[0])
    df = max(1, row.shape[1] - 1)
    if deviation > 0:
        t = student_quantile((1.0 - confidence) / 2.0, freedom)
        low = max(ends[0], estimate - math.hypot(estimate - low, t * deviation))
        high = min(ends[1], estimate + math.hypot(high - estimate, t * deviation))
        root = _join(root, (estimate - reference) / deviation)
        df = min(df, freedom)
    p_above = max(_upper_tail(root, df), _least_p(row[0], reference))
    p_below = max(_upper_tail(-root, df), _least_p(-row[0], -reference))
    return Interval(estimate, low, high, p_above, p_below)


def mean_tests(
    values: Floats, ends: tuple[float, float] = (0.0, 1.0), reference: float = 0.5
) -> tuple[Floats, Floats]:
    """Return p_above and p_below of `mean_interval` for many means, without their limits.

    Args:
        values: rows x prompts; NaN where a prompt is unknown.
        ends: the least and the greatest value that there can be.
        reference: what the p values test against.
    """
    p_above, p_below = np.ones(len(values)), np.ones(len(values))
    counts = (~np.isnan(values)).sum(axis=1)
    for prompts in np.unique(counts[counts > 0]).tolist():
        rows = np.flatnonzero(counts == prompts)
        for part in np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE)):
            known = values[part]
            known = known[~np.isnan(known)].reshape(len(part), prompts)
            roots = _roots(known, ends, None, reference)
            freedom = max(1, prompts - 1)
            for row, mine, root in zip(part.tolist(), known, roots, strict=True):
                p_above[row] = max(_upper_tail(root, freedom), _least_p(mine, reference))
                p_below[row] = max(_upper_tail(-root, freedom), _least_p(-mine, -reference))
    return p_above, p_below


def _least_p(values: Floats, reference: float) -> float:
    """The least that "the mean is above the reference" may have as its p value."""
    prompts = len(values)
    deviation = float(values.std(ddof=1)) if prompts > 1 else 0.0
    if deviation == 0.0:
        return 2.0**-prompts
    root = (float(values.mean()) - reference) / deviation * math.sqrt(prompts)
    return _upper_tail(root, prompts - 1)


def _join(root: float, gap: float) -> float:
    """Two independent errors: 1 / root^2 + 1 / gap^2, with the sign of the gap."""
    if root == 0 or gap == 0 or (root > 0) != (gap > 0):
        return 0.0
    return math.copysign(1.0 / math.hypot(1.0 / root, 1.0 / gap), gap)


def _upper_tail(root: float, freedom: int) -> float:
    """P(T > root) for either sign."""
    return student_tail(root, freedom) if root >= 0 else 1.0 - student_tail(-root, freedom)


def _roots(
    rows: Floats, ends: tuple[float, float], marginals: Marginals | None, reference: float
) -> Floats:
    """The signed root of "mean above reference" of each row."""
    count, prompts = rows.shape
    if prompts < 2:
        return np.zeros(count)
    points, target = _with_ends(rows, ends, marginals), np.full(count, reference)
    flat = (np.ptp(points, axis=1) == 0) & (points[:, 0] == reference)
    return np.where(flat, 0.0, -signed_root(points, _shapes(prompts), target))


def _shapes(prompts: int) -> Floats:
    """Gamma shapes of the prompts and of the two pseudo-observations."""
    return np.concatenate([np.ones(prompts), [WEIGHT, WEIGHT]])


def _with_ends(values: Floats, ends: tuple[float, float], marginals: Marginals | None) -> Floats:
    """Append the two pseudo-observations to every row."""
    mean = values.mean(axis=1)
    if marginals is not None:
        reach = _reach(values, mean, marginals.apart)
        low, high = np.maximum(mean - reach, ends[0]), np.minimum(mean + reach, ends[1])
        out = np.where(np.ptp(values, axis=1) == 0, 1.0, marginals.unseen(values.shape[1]))
        low, high = low + out * (ends[0] - low), high + out * (ends[1] - high)
    else:
        pull = _pull(values, mean, ends)
        low = np.minimum(mean - pull * (mean - ends[0]), values.min(axis=1))
        high = np.maximum(mean + pull * (ends[1] - mean), values.max(axis=1))
    return np.column_stack([values, low, high])


def _reach(values: Floats, mean: Floats, apart: Floats) -> Floats:
    """How far from the mean the pseudo-observations of differences sit."""
    farthest = np.abs(values - mean[:, None]).max(axis=1)
    spread = np.maximum(_REACH * values.std(axis=1, ddof=1), _FARTHEST * farthest)
    return np.asarray(np.maximum(spread, apart), np.float64)


def _pull(values: Floats, mean: Floats, ends: tuple[float, float]) -> Floats:
    """How far out, from the mean (0) to the ends (1), the pseudo-observations of wins sit.

    With s the standard deviation and the mean in the middle they sit `_REACH` s away; near an end
    they stay at the ends, since values there are skewed and the rare bad prompt may be unseen.
    """
    prompts, width = values.shape[1], ends[1] - ends[0]
    share = (mean - ends[0]) / width
    room = np.minimum(1.0, 4.0 * share * (1.0 - share) / _ROOM)
    largest = np.maximum(room * width**2 / 4.0, 1e-12)
    observed = values.var(axis=1, ddof=1) / largest * (prompts - 1) / prompts
    inner = np.maximum(0.0, 1.0 - _REACH**2 * observed)
    # Values that are all alike, as a rater's ties are, say nothing of how they vary.
    inner[np.ptp(values, axis=1) == 0] = 0.0
    return np.asarray(np.sqrt(np.clip(1.0 - inner * room, 0.0, 1.0)), np.float64)


def prompt_means(blocks: Iterable[BlockWin]) -> dict[str, float]:
    """Return each prompt's average over its seeds, in the order of first appearance.

    Raises:
        ValueError: a win is not within [0, 1].
    """
    sums: dict[str, list[float]] = defaultdict(list)
    for block in blocks:
        if not 0.0 <= block.win <= 1.0:
            raise ValueError(f"a win must be within 0 and 1, and {block} is not")
        sums[block.prompt].append(block.win)
    return {prompt: sum(wins) / len(wins) for prompt, wins in sums.items()}


def win_rate(blocks: Sequence[BlockWin], confidence: float = 0.95) -> Quality:
    """Return the win rate over blocks with its interval over prompts.

    The default's own pictures, or those of a setting that makes the same, give 0.5 with the
    interval [0.5, 0.5]: nothing is uncertain there.

    Raises:
        ValueError: there are no blocks, or a win is not within [0, 1].
    """
    means = np.array(list(prompt_means(blocks).values()), np.float64)
    if not len(means):
        raise ValueError("a win rate needs at least one block")
    same = Quality(0.5, 0.5, 0.5, tuple(blocks))
    if same.certain:
        return same
    [low], [high] = mean_limits(means[None], confidence)
    return Quality(float(means.mean()), float(low), float(high), tuple(blocks))


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the median with the distribution-free interval of order statistics.

    The limits are the k-th smallest and k-th largest value, k the greatest with a binomial chance
    of at least ``confidence`` (David and Nagaraja, Order Statistics, 7.1). Under 6 values at 95 %
    no k is enough: then the whole range is given, which holds the median with a chance of
    1 - 2^(1-n). One value gives itself: nothing is known about how it varies.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a median needs at least one value")
    ordered = sorted(values)
    n = len(ordered)
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2.0
    outside, k = 0.0, 0
    while k < n // 2:
        outside += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2.0)
        )
        if 2.0 * outside > 1.0 - confidence:
            break
        k += 1
    rank = max(1, k)
    return Interval(middle, ordered[rank - 1], ordered[n - rank])


def holm(p_values: Mapping[str, float] | Sequence[float]) -> list[float]:
    """Return p values adjusted by Holm's step-down method (1979), in the order given."""
    values = list(p_values.values()) if isinstance(p_values, Mapping) else list(p_values)
    adjusted, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        running = max(running, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = running
    return adjusted
