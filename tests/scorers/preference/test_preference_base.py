"""A base that holds until labels say otherwise."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from ldmopt.scorers.preference.estimator import Pairs, PreferenceRegressor
from tests.scorers.preference.test_preference import World


def with_base(world, agreement):
    """Return a base utility that correlates with the truth by about `agreement`."""
    own = world.rng.normal(size=len(world.truth)) * world.truth.std()
    return agreement * world.truth + np.sqrt(1 - agreement**2) * own


@pytest.mark.parametrize("labels", [3, 10, 30])
def test_few_labels_of_noise_leave_the_bases_order(labels):
    kept = []
    for seed in range(10):
        world = World(300 + seed)
        base = with_base(world, 0.9)
        answers = world.pairs(labels, reliability=0.0, base=base)
        known = PreferenceRegressor(base=True).fit(None, pairs=answers)
        seen = known.utility(np.column_stack([base, world.features]))
        kept.append(spearmanr(seen, base).statistic)
    assert np.mean(np.array(kept) > 0.999) >= 0.8
    assert np.mean(kept) > 0.95


def test_many_labels_override_a_wrong_base():
    world = World(20)
    train = world.group < 30
    base = with_base(world, 0.1)
    answers = world.pairs(600, train, base=base)
    table = np.column_stack([base, world.features])
    known = PreferenceRegressor(base=True).fit(None, pairs=answers)
    assert known.chosen_ in ("linear", "rbf")
    assert np.corrcoef(known.utility(table[~train]), world.truth[~train])[0, 1] > 0.9


def test_a_base_that_is_right_is_kept_and_its_order_with_it():
    world = World(21)
    answers = world.pairs(200, base=world.truth)
    known = PreferenceRegressor(base=True).fit(None, pairs=answers)
    assert known.chosen_ in ("base", "sure")
    seen = known.utility(np.column_stack([world.truth, world.features]))
    assert spearmanr(seen, world.truth).statistic == pytest.approx(1.0)
    assert 0.6 < known.utility_.weights[0] * known.utility_.temperature < 1.5


def test_an_overconfident_base_is_made_less_sure():
    world = World(22)
    answers = world.pairs(400, base=6 * world.truth)
    known = PreferenceRegressor(base=True, map="base").fit(None, pairs=answers)
    assert known.chosen_ == "sure"
    chance = known.preference(answers.left, answers.right)
    clear = chance > 0.8
    assert abs(answers.win[clear].mean() - chance[clear].mean()) < 0.06


def test_the_bases_known_spread_flattens_its_chances():
    world = World(23)
    answers = world.pairs(200, base=world.truth)
    spread = np.full(200, 4.0)
    known = PreferenceRegressor(base=True, map="base").fit(
        None,
        pairs=Pairs(answers.left, answers.right, answers.win, answers.rater, answers.group,
                    spread),
    )  # fmt: skip
    plain = known.preference(answers.left, answers.right)
    flat = known.preference(answers.left, answers.right, spread=spread)
    assert (np.abs(flat - 0.5) <= np.abs(plain - 0.5)).all()
    assert np.abs(flat - plain).max() > 0.02


def test_a_base_works_with_ratings_alone():
    world = World(24)
    base = with_base(world, 0.6)
    table = np.column_stack([base, world.features])
    rows = np.flatnonzero(world.group < 30)
    known = PreferenceRegressor(base=True).fit(
        table[rows], world.ratings(rows, noise=0.8), groups=world.group[rows]
    )
    out = world.group >= 30
    seen = np.corrcoef(known.utility(table[out]), world.truth[out])[0, 1]
    assert seen > np.corrcoef(base[out], world.truth[out])[0, 1] + 0.1
    seen = known.cross_validated_
    assert seen.of_ratings.all() and len(seen.win) > 0
    assert np.mean((seen.chance - seen.win) ** 2) < 0.2
