"""Similarity with captions as a share of the default's, with an interval over prompts."""

import numpy as np
import pytest

from ldmopt.contracts import Aligned
from ldmopt.distillation.alignment import aligned


def test_means_are_over_seeds_then_prompts():
    found = aligned([("a", 0, 0.2, 0.4), ("a", 1, 0.4, 0.4), ("b", 0, 0.5, 0.4)])
    assert (found.mean, found.default) == (pytest.approx(0.4), pytest.approx(0.4))
    assert found.ratio == pytest.approx(1.0)
    assert found.low < 1.0 < found.high


def test_the_default_beside_itself_is_exactly_one():
    found = aligned([(f"p{i}", 0, 0.3 + i / 100, 0.3 + i / 100) for i in range(8)])
    assert found.ratio == 1.0
    assert (found.low, found.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_what_cannot_be_a_ratio_is_none():
    assert aligned([]) is None
    below = aligned([("a", 0, 0.1, -0.2), ("b", 0, 0.1, 0.1)])
    assert (below.ratio, below.low, below.high) == (None, None, None)
    vague = aligned([("a", 0, 0.1, -0.2), ("b", 0, 0.1, 0.4)])
    assert vague.ratio is not None and vague.low is None
    one = aligned([("a", 0, 0.1, 0.2)])
    assert one.ratio == 0.5 and one.low is None


def test_intervals_cover():
    rng, held = np.random.default_rng(0), []
    for _ in range(500):
        default = rng.normal(0.28, 0.05, 12)
        own = 0.95 * default + rng.normal(0, 0.02, 12)
        found = aligned([(str(i), 0, a, b) for i, (a, b) in enumerate(zip(own, default,
                                                                          strict=True))])
        held.append(found.low <= 0.95 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_it_comes_back_from_json():
    found = aligned([("a", 0, 0.2, 0.4), ("b", 1, 0.4, 0.4)])
    assert Aligned.from_dict(found.to_dict()) == found
