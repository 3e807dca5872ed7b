"""Differences of two win rates, prompt by prompt; their intervals are those of `intervals`."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ldmopt.contracts import Quality
from ldmopt.distillation.intervals import Interval, Marginals, mean_interval
from ldmopt.distillation.saddlepoint import Floats


def paired_differences(left: Quality, right: Quality) -> dict[str, float]:
    """Return, by prompt, the mean over common seeds of left's win minus right's.

    Both are wins against the default in the same block, so what the prompt and the default's
    picture do to both cancels. It is not the probability that left is preferred to right, which
    only a direct comparison of their pictures would tell.
    """
    return {prompt: one - other for prompt, (one, other) in _paired(left, right).items()}


def paired_win_rate(left: Quality, right: Quality, confidence: float = 0.95) -> Interval:
    """Return 0.5 + the mean paired difference of two win rates, with its interval over prompts.

    The p values are against 0.5, no difference. Without a common block: [0, 1].
    """
    if left.certain and right.certain:
        return Interval(0.5, 0.5, 0.5)
    paired = list(_paired(left, right).values())
    if not paired:
        return Interval(0.5, 0.0, 1.0)
    wins = np.array(paired, np.float64).T
    return difference_interval(wins[0] - wins[1], Marginals.of(wins[:1], wins[1:]), confidence)


def difference_interval(
    values: Floats,
    marginals: Marginals,
    confidence: float = 0.95,
    deviation: float = 0.0,
    freedom: int = 1,
) -> Interval:
    """Return 0.5 + the mean of per-prompt differences, cut to [0, 1], with its interval.

    Args:
        values: prompts, differences within [-1, 1].
        marginals: one row, what they are differences of.
        confidence: e.g. 0.95.
        deviation: see `mean_interval`.
        freedom: see `mean_interval`.
    """
    found = mean_interval(values, confidence, (-1.0, 1.0), 0.0, marginals, deviation, freedom)
    low, estimate, high = (
        min(1.0, max(0.0, 0.5 + x)) for x in (found.low, found.estimate, found.high)
    )
    return Interval(estimate, low, high, found.p_above, found.p_below)


def _paired(left: Quality, right: Quality) -> dict[str, tuple[float, float]]:
    """Both sides' means over common seeds, by prompt."""
    other = {(block.prompt, block.seed): block.win for block in right.blocks}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for block in left.blocks:
        if (block.prompt, block.seed) in other:
            found[block.prompt].append((block.win, other[block.prompt, block.seed]))
    means = {prompt: np.mean(pairs, axis=0).tolist() for prompt, pairs in found.items()}
    return {prompt: (one, two) for prompt, (one, two) in means.items()}
