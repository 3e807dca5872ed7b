"""Intervals hold what they promise; planted truth, 2,000 intervals a cell."""

import math

import numpy as np
import pytest

from ldmopt.contracts import BlockWin
from ldmopt.distillation.differences import difference_interval, paired_win_rate
from ldmopt.distillation.intervals import (
    Marginals,
    holm,
    mean_limits,
    mean_tests,
    median_interval,
    win_rate,
)
from ldmopt.distillation.saddlepoint import quantile, student_quantile, student_tail

CELLS = 2000
SLACK = 2 * math.sqrt(0.95 * 0.05 / CELLS)


def bernoulli(rng, p, shape):
    """One seed a prompt, wins of 0 and 1."""
    return (rng.random(shape) < p).astype(float)


def two_seeds(rng, p, shape):
    """Two seeds of wins 0 and 1; prompts differ in their chance."""
    return rng.binomial(2, rng.beta(3 * p, 3 * (1 - p), shape)) / 2


def continuous(precision):
    """Predictive probabilities that differ between prompts."""

    def draw(rng, p, shape):
        return rng.beta(precision * p, precision * (1 - p), shape)

    draw.__name__ = f"beta_{precision}"
    return draw


def rare(rng, p, shape):
    """Nearly 1 on most prompts, nearly 0 on a few."""
    good = rng.random(shape) < (p - 0.02) / 0.96
    return np.where(good, wins := rng.beta(49, 1, shape), 1 - wins)


@pytest.mark.parametrize(
    "draw", [bernoulli, two_seeds, continuous(2), continuous(20), rare],
    ids=lambda draw: draw.__name__,
)
@pytest.mark.parametrize("prompts", [8, 24, 60])
@pytest.mark.parametrize("p", [0.5, 0.75, 0.95])
def test_coverage(draw, prompts, p):
    wins = draw(np.random.default_rng(11), p, (CELLS, prompts))
    low, high = mean_limits(wins)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    covered = ((low <= p) & (p <= high)).mean()
    assert covered >= 0.93
    if prompts > 8:
        assert covered <= 0.98 + SLACK


def paired(draw, rates, share, shape):
    """Wins of two settings, at the same rank of what each can be at that share of prompts."""
    rng = np.random.default_rng(5)
    each = [np.sort(draw(rng, rate, 20_000)) for rate in rates]
    ranks = rng.integers(0, 20_000, (2, *shape))
    ranks[1] = np.where(rng.random(shape) < share, ranks[0], ranks[1])
    left, right = (wins[rank] for wins, rank in zip(each, ranks, strict=True))
    return left, right, each[0].mean() - each[1].mean()


def coverage_of_differences(draw, rates, share, prompts):
    left, right, truth = paired(draw, rates, share, (CELLS, prompts))
    low, high = mean_limits(left - right, 0.95, (-1.0, 1.0), Marginals.of(left, right))
    return ((low <= truth) & (truth <= high)).mean()


@pytest.mark.parametrize(
    "draw", [bernoulli, continuous(2), continuous(20), rare], ids=lambda draw: draw.__name__
)
@pytest.mark.parametrize("prompts", [8, 24, 60])
@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.75, 0.65), (0.95, 0.95), (0.95, 0.85)])
def test_coverage_of_differences(draw, prompts, rates):
    covered = coverage_of_differences(draw, rates, 0.5, prompts)
    if prompts == 8:
        assert covered >= 0.93
    else:
        assert 0.93 - SLACK <= covered <= 0.98 + SLACK


@pytest.mark.parametrize("rates", [(0.5, 0.5), (0.75, 0.75)])
def test_few_prompts_that_tell_two_settings_apart_are_enough_to_be_careful(rates):
    assert coverage_of_differences(continuous(20), rates, 0.9, 40) >= 0.93
    assert coverage_of_differences(rare, rates, 0.9, 60) >= 0.93


def test_wins_that_have_little_to_do_with_each_other_are_reckoned_with():
    alike, none = np.full(8, 0.01), Marginals(np.array([0.5]), np.array([0.0]))
    one, forty = (Marginals(np.full(rows, 0.5), np.full(rows, 0.4)) for rows in (1, 40))
    values = alike + np.linspace(-0.001, 0.001, 8)
    widths = [
        np.ptp([found.low, found.high])
        for found in (difference_interval(values, marginals)
                      for marginals in (none, forty.pooled(), one))
    ]  # fmt: skip
    assert widths[0] < widths[1] < widths[2] / 3
    assert np.ptp([(i := difference_interval(alike, none)).low, i.high]) > 0.3


def test_a_ruin_may_be_unseen_where_hardly_anything_was_lost():
    few, many = (Marginals(np.array([0.5, 0.98, 1.0]), np.zeros(3)).unseen(n) for n in (8, 60))
    assert few[0] == many[0] == 0
    assert 0.5 < few[1] < 1
    assert many[1] == 0
    assert few[2] == many[2] == 1


@pytest.mark.parametrize("prompts", [24, 60])
def test_p_values_are_no_smaller_than_they_should_be(prompts):
    rng = np.random.default_rng(8)
    p = 2 * np.minimum(*mean_tests(rng.beta(2, 2, (1500, prompts))))
    for level in (0.05, 0.01):
        assert (p <= level).mean() <= level + 2.5 * math.sqrt(level / 1500)


def test_the_default_against_itself_is_certain():
    quality = win_rate([BlockWin("a", 0, 0.5), BlockWin("b", 0, 0.5)])
    assert (quality.win_rate, quality.low, quality.high) == (0.5, 0.5, 0.5)


def test_prompts_are_the_unit():
    often = [BlockWin("easy", seed, 1.0) for seed in range(98)]
    assert win_rate([*often, BlockWin("hard", 0, 0.0)]).win_rate == 0.5
    few = [BlockWin(f"p{i}", 0, float(i % 2)) for i in range(8)]
    many = [BlockWin(f"p{i}", seed, float(i % 2)) for i in range(8) for seed in range(20)]
    assert win_rate(few).low == pytest.approx(win_rate(many).low)


@pytest.mark.parametrize("win", [0.0, 1.0])
def test_all_alike_is_not_certain(win):
    quality = win_rate([BlockWin(f"p{i}", 0, win) for i in range(8)])
    assert quality.high - quality.low > 0.3
    assert quality.low <= win <= quality.high


def test_one_prompt_says_nothing():
    quality = win_rate([BlockWin("a", 0, 1.0), BlockWin("a", 1, 0.5)])
    assert (quality.win_rate, quality.low, quality.high) == (0.75, 0.0, 1.0)


@pytest.mark.parametrize("blocks", [[], [BlockWin("a", 0, 1.2)], [BlockWin("a", 0, math.nan)]])
def test_refuses_what_is_no_win(blocks):
    with pytest.raises(ValueError, match="win"):
        win_rate(blocks)


def test_paired_differences_cancel_the_prompt():
    rng = np.random.default_rng(2)
    base = rng.uniform(0.1, 0.6, 24)
    left = win_rate(
        [BlockWin(f"p{i}", 0, b + 0.2 + 0.02 * rng.random()) for i, b in enumerate(base)]
    )
    right = win_rate([BlockWin(f"p{i}", 0, b) for i, b in enumerate(base)])
    found = paired_win_rate(left, right)
    assert found.estimate == pytest.approx(0.71, abs=0.01)
    assert found.low > 0.6
    assert found.high - found.low < left.high - left.low


def test_settings_without_a_common_block_cannot_be_told():
    left, right = (win_rate([BlockWin(p, 0, 0.9), BlockWin(p + p, 0, 0.8)]) for p in "ab")
    found = paired_win_rate(left, right)
    assert (found.low, found.high, found.p) == (0.0, 1.0, 1.0)


def test_saddlepoint_agrees_with_the_beta_distribution():
    stats = pytest.importorskip("scipy.stats")
    for wins, losses in ((8, 0), (6, 2), (24, 0), (40, 20)):
        points = np.array([[1.0] * wins + [0.0] * losses + [0.0, 1.0]])
        shapes = np.array([1.0] * (wins + losses) + [0.5, 0.5])
        exact = stats.beta(wins + 0.5, losses + 0.5)
        for probability in (1e-6, 0.001, 0.025, 0.5):
            found = quantile(points, shapes, stats.norm.ppf(probability))[0]
            assert found == pytest.approx(exact.ppf(probability), abs=0.005)


def test_student_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 7, 8, 23, 59, 400):
        for t in (0.0, 0.5, 2.0, 6.0, 30.0):
            assert student_tail(t, freedom) == pytest.approx(stats.t.sf(t, freedom), rel=0.02)
        for tail in (0.025, 1e-4):
            exact = stats.t.isf(tail, freedom)
            assert student_quantile(tail, freedom) == pytest.approx(exact, rel=1e-6)


def test_median_interval():
    rng = np.random.default_rng(3)
    for count in (6, 16, 48):
        held = 0
        for _ in range(800):
            found = median_interval(rng.exponential(1.0, count).tolist())
            held += found.low <= math.log(2) <= found.high
        assert held / 800 >= 0.93
    assert median_interval([2.0]).high == 2.0
    assert median_interval([3.0, 1.0, 2.0]).low == 1.0
    with pytest.raises(ValueError, match="at least one"):
        median_interval([])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
