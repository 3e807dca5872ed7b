"""The yardstick of benchmarks/choosing.py: a perfect front has no error, curves are read well."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import choosing  # noqa: E402
import raters  # noqa: E402


@pytest.fixture
def world():
    """Three settings that cost 1, 2 and 4 seconds, the default the dearest and middling."""
    rng = np.random.default_rng(0)
    shape = (3, 8)
    truth = np.array([[0.0], [-1.5], [0.8]]) + 0.1 * rng.standard_normal(shape)
    reads = {name: np.full((*shape, len(raters.LIKED[name])), 0.1) for name in raters.LIKED}
    for name in reads:
        reads[name] += 0.01 * rng.standard_normal(reads[name].shape)
    pictures = SimpleNamespace(
        truth=truth, reads=reads, held_out=np.arange(8) >= 4,
        parts={name: rng.standard_normal(shape) for name in ("closeness", "damage")},
    )
    allowed = np.array([[False, True, False], [False, True, True], [True, True, True]])
    return SimpleNamespace(pictures=pictures, allowed=allowed, weights=np.array([0.5, 0.4, 0.1]))


def test_the_truth_has_no_error_and_a_wrong_choice_costs_its_share(world):
    rater = raters.Rater("simulated-a", 1)
    own = rater.utility(world.pictures)
    true = rater.chance(own - own[:1])[:, :4].mean(axis=1)
    found = choosing.judged(world, rater, true)
    assert found["error"] == found["loss"] == found["promise"] == found["near"] == 0.0
    wrong = true.copy()
    order = np.argsort(true)
    wrong[order[[0, 2]]] = true[order[[2, 0]]]
    assert choosing.judged(world, rater, wrong)["loss"] > 0.0
    off = choosing.judged(world, rater, true + 0.07)
    assert off["loss"] == 0.0 and off["promise"] == pytest.approx(0.07)


def test_a_target_counts_as_reached_where_the_curve_stays_below_it():
    assert choosing.reached(np.array([0.9, 0.4, 0.6, 0.4, 0.3]), 0.5) == 30
    assert choosing.reached(np.array([0.3, 0.2]), 0.5) == 0
    assert choosing.reached(np.array([0.3, 0.6]), 0.5) is None
