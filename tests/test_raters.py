"""Simulated raters agree as published ones do, say that they are simulated, and repeat by seed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
import raters  # noqa: E402


@pytest.fixture(scope="module")
def pictures():
    """Return a set without a model: noise pictures, normal parts."""
    rng = np.random.default_rng(0)
    shape = (12, 40)
    reads = {name: rng.dirichlet(np.ones(len(raters.LIKED[name])), shape) for name in raters.LIKED}
    parts = {name: raters.standardised(rng.standard_normal(shape)) for name in raters.MIX}
    truth = raters.standardised(sum(raters.MIX[name] * part for name, part in parts.items()))
    rows = [[Picture(rng.integers(0, 256, (16, 16, 3), np.uint8), Block(f"prompt {column}", column))
             for column in range(shape[1])] for _ in range(shape[0])]
    return raters.PictureSet(raters.TAKES[:12], rows, np.arange(40) >= 20, np.ones(12), truth,
                             parts, reads)


def test_they_agree_as_the_published_ones(pictures):
    runs = [raters.agreement(pictures, raters.raters(22, seed)) for seed in range(12)]
    assert np.mean([run["one_against_the_rest"] for run in runs]) == pytest.approx(0.58, abs=0.03)
    assert np.mean([run["halves"] for run in runs]) == pytest.approx(0.86, abs=0.03)
    noises = [rater.noise for rater in raters.raters(200)]
    assert np.mean(np.square(noises)) == pytest.approx(raters.VARIANCE * 0.75, rel=0.15)
    assert max(noises) > 2 * min(noises)


def test_labels_say_simulated_and_follow_the_seed(pictures):
    where = [((0, 1), (3, 1)), ((2, 5), (4, 5)), ((7, 9), (1, 9))]
    answers = [raters.Rater("simulated-a", 3).choose(pictures, where) for _ in range(2)]
    assert answers[0] == answers[1]
    assert all(pair.simulated and pair.prompt for pair in answers[0])
    [rating] = raters.Rater("simulated-a", 3).rate(pictures, [(0, 0)])
    assert rating.simulated and 1 <= rating.rating <= 10
    assert pictures.place[rating.picture] == (0, 0)


def test_chances_are_those_of_the_answers(pictures):
    rater = raters.Rater("simulated-a", 5)
    own = rater.utility(pictures)
    wins = [pair.win for pair in rater.choose(pictures, [((0, 1), (3, 1))] * 4000)]
    expected = rater.chance(own[0, 1] - own[3, 1])
    assert np.mean(wins) == pytest.approx(float(expected), abs=0.03)
    assert rater.chance(0.7) + rater.chance(-0.7) == pytest.approx(1.0)
