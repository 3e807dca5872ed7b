import numpy as np
import pytest

from ldmopt.labeling import belief as beliefs
from ldmopt.labeling import design
from ldmopt.labeling.belief import Belief
from ldmopt.labeling.design import Layout


def world(deviation=(0.01, 0.6, 0.6, 0.01), means=(0.0, 0.2, 0.2, -3.0), prompts=8):
    """Settings with one utility each; costs fall with the number."""
    look = np.repeat(np.arange(len(means)), prompts)
    table = np.equal.outer(look, np.arange(len(means))).astype(float)
    belief = Belief(table, np.array(means), np.diag(np.square(deviation)))
    layout = Layout(np.arange(len(look)).reshape(len(means), prompts), np.arange(prompts),
                    np.array([[4.0], [1.01], [1.0], [0.9]])[: len(means)])
    return belief, layout


def test_win_rates_are_against_the_default_and_their_gradient_is_right():
    belief, layout = world()
    rates = design.win_rates(belief, layout)
    assert rates.mean[0] == 0.5 and rates.mean[3] < 0.1 < 0.5 < rates.mean[1]
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-5
        moved = Belief(belief.inputs, belief.mean + step, belief.covariance)
        slope = (design.win_rates(moved, layout).mean - rates.mean) / 1e-5
        assert rates.gradient[:, place] == pytest.approx(slope, abs=1e-4)


def test_prompts_count_alike_whatever_the_number_of_their_seeds():
    belief, _ = world(prompts=3)
    table = np.array([[0, 1, 2], [3, 4, 5]])
    inputs = np.array([0.0, 0, 0, 2, 2, -2])[:, None]
    belief = Belief(inputs, np.ones(1), 1e-9 * np.eye(1))
    layout = Layout(table, np.array([0, 0, 1]), np.ones((2, 1)))
    assert design.win_rates(belief, layout).mean[1] == pytest.approx(0.5)
    short = Layout(np.array([[0, 1, 2], [3, -1, -1]]), np.array([0, 0, 1]), np.ones((2, 1)))
    rates = design.win_rates(belief, short)
    assert rates.mean[1] == pytest.approx(1 / (1 + np.exp(-2))) and np.isnan(rates.prompts[1, 1])


def test_budgets_weigh_as_the_stretch_of_log_cost_that_they_span():
    layout = Layout(np.zeros((3, 1), int), np.zeros(1, int), np.array([[1.0], [2.0], [8.0]]))
    allowed, weights = design.budgets(layout)
    assert allowed.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    whole = np.log(8.8)
    assert weights == pytest.approx([np.log(2) / whole, np.log(4) / whole, np.log(1.1) / whole])
    both = Layout(layout.pictures, layout.prompt, np.array([[1.0, 5.0], [2.0, 5], [8.0, 1]]))
    allowed, weights = design.budgets(both)
    assert weights.sum() == pytest.approx(1.0 - weights_of_nothing(both))


def weights_of_nothing(layout):
    """Budgets too small for anything: little memory, little time."""
    return (1 - np.log(1.1) / np.log(8.8)) * np.log(5) / np.log(5.5)


def test_targets_are_uncertain_rivals_and_leaders_not_what_is_known():
    belief, layout = world()
    found = design.targets(belief, layout, design.win_rates(belief, layout))
    heavy = {frozenset(map(int, pair)) for pair in found.pairs[:3]}
    assert frozenset({1, 2}) in heavy or frozenset({2, 0}) in heavy
    assert not any(3 in pair for pair in heavy)
    sure, _ = world(deviation=(1e-4,) * 4)
    gain = found.weight @ np.einsum("td,de,te->t", found.gradient, belief.covariance,
                                    found.gradient)
    known = design.targets(sure, layout, design.win_rates(sure, layout))
    assert known.weight @ np.einsum("td,de,te->t", known.gradient, sure.covariance,
                                    known.gradient) < gain / 20


def test_the_reckoned_gain_is_what_an_answer_brings():
    belief, layout = world()
    wanted = design.targets(belief, layout, design.win_rates(belief, layout))
    left, right = np.array([8, 8, 16, 24]), np.array([0, 16, 0, 0])
    order, gains = design.best_pairs(belief, wanted, left, right, 4)
    assert sorted(order) == [0, 1, 2, 3]
    first = order[0]
    # The rank-one update by hand, with the information of a logistic flattened by its variance.
    x = belief.inputs[left[first]] - belief.inputs[right[first]]
    variance = x @ belief.covariance @ x
    p = 1 / (1 + np.exp(-(x @ belief.mean) / np.sqrt(1 + np.pi * variance / 8)))
    after = np.linalg.inv(np.linalg.inv(belief.covariance) + p * (1 - p) * np.outer(x, x))
    lowered = [g @ (belief.covariance - after) @ g for g in wanted.gradient]
    assert gains[0] == pytest.approx(wanted.weight @ lowered)
    assert gains[0] == max(gains)
    # A second answer about the same two settings brings less.
    again, less = design.best_pairs(belief, wanted, left[[first] * 2], right[[first] * 2], 2)
    assert less[1] < less[0]


def test_front_chances_know_rivals_from_ruins():
    belief, layout = world()
    rates = design.win_rates(belief, layout)
    chances = design.front_chances(belief, layout, rates, np.random.default_rng(0))
    assert chances[3] == 1.0  # the cheapest of all is on the front, however bad
    assert 0.5 < chances[1] <= 1 and chances[2] > 0.5
    worse = design.front_chances(*(lambda b, y: (b, y, design.win_rates(b, y)))(
        *world(means=(0.0, -3.0, 0.2, -3.0))), np.random.default_rng(0))
    assert worse[1] < 0.05


def test_newton_finds_the_mode_and_its_covariance():
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((40, 3))
    before = Belief(inputs, np.array([0.5, 0.0, 0.0]), np.diag([0.2, 1.0, 1.0]), 0.5)
    left, right = rng.integers(0, 40, (2, 300))
    truth = np.array([0.3, 1.0, -1.0])
    chance = 1 / (1 + np.exp(-before.slope * (inputs[left] - inputs[right]) @ truth))
    win = (rng.random(300) < chance).astype(float)
    after = beliefs.updated(before, left, right, win)
    assert after.mean == pytest.approx(truth, abs=0.35)
    assert np.all(np.diag(after.covariance) < np.diag(before.covariance))
    x = (inputs[left] - inputs[right]) * before.slope
    p = 1 / (1 + np.exp(-x @ after.mean))
    slope = x.T @ (win - p) - np.linalg.solve(before.covariance, after.mean - before.mean)
    assert slope == pytest.approx(np.zeros(3), abs=1e-4)
    assert beliefs.updated(before, left[:0], right[:0], win[:0]) is before


def test_evidence_prefers_the_prior_that_foretold_the_answers():
    inputs = np.eye(2)
    right_prior = Belief(inputs, np.array([2.0, 0.0]), 0.01 * np.eye(2))
    wrong_prior = Belief(inputs, np.array([-2.0, 0.0]), 0.01 * np.eye(2))
    left, right, win = np.zeros(20, int), np.ones(20, int), np.ones(20)
    scores = [beliefs.evidence(prior, beliefs.updated(prior, left, right, win), left, right, win)
              for prior in (right_prior, wrong_prior)]
    assert scores[0] > scores[1] + 20
    both = beliefs.learned([wrong_prior, right_prior], left, right, win)
    assert both.mean[0] > 1.9


def test_ruins_bend_nothing_and_what_parts_prompts_is_left_out():
    block = np.tile(np.arange(4), 3)
    look = np.repeat(np.arange(3), 4)
    values = np.where(look == 2, -1000.0, 0.1 * look)
    features = np.stack([block * 100.0, (look == 1) * 1.0], axis=1)
    table, axes = beliefs.inputs(values, features, block, np.arange(4), look)
    assert axes == 1  # the first column tells prompts apart, not settings
    assert table[8:, 0].min() > -12 and np.all(table[:4, 0] == 0)
    assert table.shape == (12, 1 + 1 + 3)


def test_intervals_become_utilities():
    found = beliefs.from_intervals(np.array([0.5, 0.8]), np.array([0.5, 0.6]),
                                   np.array([0.5, 0.92]), np.array([0, 0, 1]))
    assert found.mean == pytest.approx([0.0, np.log(4)])
    assert found.covariance[1, 1] > 20 * found.covariance[0, 0]
