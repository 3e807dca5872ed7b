"""Figures of agreement, held against what they must be on made-up answers."""

from __future__ import annotations

import numpy as np
import pytest

from ldmopt.scorers.taste import agreement
from ldmopt.scorers.taste.judgements import Comparisons, Judgements


def compared(win, units, weight=None, fold=None):
    """Give comparisons of ever new pictures."""
    count = len(win)
    units = np.asarray(units)
    return Comparisons(
        np.arange(count) * 2, np.arange(count) * 2 + 1, np.asarray(win, float),
        np.ones(count) if weight is None else np.asarray(weight, float),
        np.array(["a"] * count), np.zeros(count, int) if fold is None else fold,
        np.stack([units, units], axis=1),
    )  # fmt: skip


def test_accuracy_leaves_ties_out_and_halves_what_cannot_be_told():
    said = compared([1, 0, 0.5, 1, 1], [0, 0, 1, 1, 2], weight=[1, 1, 9, 1, 2])
    found = agreement.accuracy(np.array([0.9, 0.2, 0.1, 0.5, 0.4]), said)
    assert found.value == pytest.approx((1 + 1 + 0.5 + 0) / 5)
    assert (found.count, found.units) == (4, 3)
    nothing = agreement.accuracy(np.array([0.5]), compared([0.5], [0]))
    assert nothing.to_dict() == {"value": None, "low": None, "high": None, "count": 0, "units": 0}
    one_prompt = agreement.accuracy(np.array([0.9, 0.8]), compared([1, 1], [0, 0]))
    assert (one_prompt.low, one_prompt.high) == (0.0, 1.0)


@pytest.mark.parametrize(("truth", "spread"), [(0.6, 0.0), (0.75, 0.2), (0.95, 0.05)])
def test_intervals_of_accuracy_hold_the_truth(truth, spread):
    """Prompts differ in how hard they are; the interval must know."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(300):
        level = np.clip(truth + rng.uniform(-spread, spread, 14), 0, 1)
        units = np.repeat(np.arange(14), 8)
        right = (rng.random(len(units)) < level[units]).astype(float)
        found = agreement.share(right, np.ones(len(units)), units[:, None])
        inside += found.low <= truth <= found.high
    assert 0.92 <= inside / 300 <= 0.995


def test_pairs_that_share_pictures_are_not_independent():
    """One rater's rating decides many pairs: 20 pictures are not 190 comparisons."""
    rng = np.random.default_rng(4)
    inside, left, right = 0, *np.triu_indices(20, 1)
    for _ in range(300):
        quality = rng.standard_normal(20)
        said = quality + rng.standard_normal(20)
        agreed = (quality[left] > quality[right]) == (said[left] > said[right])
        found = agreement.share(
            agreed.astype(float), np.ones(len(left)), np.stack([left, right], axis=1)
        )
        inside += found.low <= 0.75 <= found.high  # 1/2 + arcsin(sqrt(1/2)) / pi
    assert 0.90 <= inside / 300 <= 0.99


def test_spearman_is_within_folds():
    rng = np.random.default_rng(0)
    rating = rng.standard_normal(300)
    fold = np.repeat([0, 1, 2], 100)
    offset = np.array([0.0, 50.0, -50.0])[fold]
    units = np.arange(300) // 5
    found = agreement.spearman(rating + rng.standard_normal(300) + offset, rating, fold, units)
    assert found.low < 0.69 < found.high and found.high - found.low < 0.3
    assert found.low > 0.5
    assert agreement.spearman(np.zeros(300), rating, fold, units).value == 0.0
    assert agreement.spearman(rating, np.ones(300), fold, units).value is None


def test_coverage_counts_ratings_in_their_intervals():
    rng = np.random.default_rng(1)
    mean, deviation = rng.standard_normal(2000), np.full(2000, 0.7)
    rating = mean + 0.7 * rng.standard_normal(2000)
    units = np.arange(2000) // 20
    assert agreement.coverage(rating, mean, deviation, units).value == pytest.approx(0.9, abs=0.02)
    assert agreement.coverage(rating, mean, 0.5 * deviation, units).value < 0.65
    mean[:1990] = np.nan
    assert agreement.coverage(rating, mean, deviation, units).count == 10


def test_recalibration_finds_what_is_overconfident():
    rng = np.random.default_rng(2)
    odds = 1.5 * rng.standard_normal(4000)
    win = (rng.random(4000) < 1 / (1 + np.exp(-odds))).astype(float)
    said = compared(win, np.arange(4000) // 40, fold=np.arange(4000) // 800)
    honest = 1 / (1 + np.exp(-odds))
    bold = 1 / (1 + np.exp(-3 * odds))
    best = agreement.best_recalibration(honest, said)
    assert agreement.brier(honest, said) / best < 1.01
    assert agreement.brier(bold, said) / agreement.best_recalibration(bold, said) > 1.1
    assert agreement.best_recalibration(bold, said) == pytest.approx(best, rel=0.01)
    crooked = np.where(honest > 0.5, 0.5 + (honest - 0.5) ** 3, 0.5 - (0.5 - honest) ** 3)
    assert agreement.best_recalibration(crooked, said) == pytest.approx(best, rel=0.02)


def test_gain_is_paired():
    rng = np.random.default_rng(5)
    win = rng.integers(0, 2, 400).astype(float)
    said = compared(win, np.arange(400) // 10)
    one = np.where(rng.random(400) < 0.7, win, 1 - win) * 0.8 + 0.1
    other = np.where(rng.random(400) < 0.08, 0.5, one)  # the same judge, sometimes at a loss
    found = agreement.gain(one, other, said)
    assert 0 < found.low < found.value < found.high < 0.05
    assert agreement.gain(one, one, said).value == 0.0


def test_agreement_with_oneself():
    rows = [(1, 1), (0, 0), (1, 0), (0.5, 1), (0.5, 0.5)]
    found = agreement.with_themselves(rows, ["p", "q", "p", "r", "r"])
    # decided first answers: right, right, wrong; decided later ones: right, right, wrong, half
    assert found.value == pytest.approx((1 + 1 + 0 + 1 + 1 + 0 + 0.5) / 7)
    assert found.count == 5
    assert agreement.with_themselves([], []).value is None


def test_repeats_bound_what_any_judge_can_reach():
    assert agreement.ceiling(1.0) == 1.0 and agreement.ceiling(0.5) == agreement.ceiling(0.3) == 0.5
    rng = np.random.default_rng(0)
    for chance in (np.full(100, 0.8), rng.uniform(0.5, 1.0, 100), np.array([0.5, 1.0])):
        alike = float((chance**2 + (1 - chance) ** 2).mean())
        assert agreement.ceiling(alike) >= float(chance.mean()) - 1e-12
    assert agreement.ceiling(0.8**2 + 0.2**2) == pytest.approx(0.8)


def rated(scales):
    """Give ratings of pictures of two prompts, by rater."""
    rows = [(index, value, name) for name, values in scales.items()
            for index, value in values.items()]
    return Judgements(
        tuple("abcdefgh"), np.array([0] * 4 + [1] * 4),
        np.array([row[0] for row in rows]), np.array([row[1] for row in rows], float),
        np.array([row[2] for row in rows]),
        np.array([0]), np.array([1]), np.array([0.0]), np.array(["pairs only"]),
    )  # fmt: skip


def test_agreement_with_the_others():
    said = rated({
        "one": dict(enumerate([1, 2, 3, 4, 1, 2, 3, 4])),
        "two": dict(enumerate([10, 20, 30, 40, 40, 30, 20, 10])),
        "three: keeps": {0: 0, 3: 1},
    })
    accuracy, spearman = agreement.with_the_others(said, "one")
    assert accuracy.value == 0.5  # one prompt as the others, the other prompt the other way round
    assert accuracy.count == 12
    assert spearman.value == pytest.approx(0.0, abs=1e-9)
    assert agreement.with_the_others(said, "pairs only")[0].value == 1.0
    keeper, _ = agreement.with_the_others(said, "three")
    assert (keeper.value, keeper.count) == (1.0, 1)


def test_a_lone_rater_has_no_others():
    said = rated({"one": dict(enumerate([1, 2, 3, 4, 1, 2, 3, 4]))})
    accuracy, spearman = agreement.with_the_others(said, "one")
    assert accuracy.count == 1  # the one pair that "pairs only" gave
    assert spearman.value is None


def test_mean_opinion_is_of_standardised_ratings():
    said = rated({"one": {0: 1, 1: 3}, "two": {0: 100, 1: 300, 2: 200}})
    opinion = agreement.mean_opinion(said)
    assert opinion[0] < opinion[2] < opinion[1]
    assert np.isnan(opinion[3:]).all()
