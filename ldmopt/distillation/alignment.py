"""How well a setting's pictures fit their captions, as a share of what the default's do."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ldmopt.contracts import Aligned
from ldmopt.distillation.saddlepoint import Floats, student_quantile

Row = tuple[str, int, float, float]


def aligned(blocks: Sequence[Row], confidence: float = 0.95) -> Aligned | None:
    """Return mean similarity and its ratio to the default's; None without a block.

    Args:
        blocks: prompt, seed, similarity of the setting's picture, of the default's.
        confidence: of the ratio's interval; prompts are its unit.
    """
    if not blocks:
        return None
    prompts: dict[str, list[tuple[float, float]]] = {}
    for prompt, _, own, default in blocks:
        prompts.setdefault(prompt, []).append((own, default))
    means = np.array([np.mean(pairs, axis=0) for pairs in prompts.values()], np.float64)
    own, default = (float(mean) for mean in means.mean(axis=0))
    if default <= 0.0:
        return Aligned(own, default, None, None, None, tuple(blocks))
    low, high = _ratio_limits(means, confidence)
    return Aligned(own, default, own / default, low, high, tuple(blocks))


def _ratio_limits(means: Floats, confidence: float) -> tuple[float | None, float | None]:
    """Return the limits of a ratio of means by Fieller's theorem (1954), which needs no bootstrap.

    Both are None for fewer than two prompts, and where the default's mean is not told from zero,
    so that the ratio could be anything.
    """
    count = len(means)
    if count < 2:
        return None, None
    own, default = means.mean(axis=0)
    spread = np.cov(means, rowvar=False, ddof=1) / count
    t = student_quantile((1.0 - confidence) / 2.0, count - 1) ** 2
    a = default**2 - t * spread[1, 1]
    b = own * default - t * spread[0, 1]
    c = own**2 - t * spread[0, 0]
    if a <= 0.0:
        return None, None
    reach = math.sqrt(max(0.0, b * b - a * c))
    return float((b - reach) / a), float((b + reach) / a)
