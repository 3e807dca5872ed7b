import numpy as np
import pytest

from ldmopt.search.racing import Race, evidence, rivals


def race(rng, shift, prompts, spread=0.25):
    """One simulated race against one rival: how it ended, and after how many prompts."""
    values = np.clip(rng.normal(shift, spread, prompts), -1, 1)
    for seen in range(1, prompts + 1):
        verdict = Race().decide([values[:seen]], prompts)
        if verdict != "keep":
            return verdict, seen
    raise AssertionError("a race ends")


@pytest.mark.parametrize("draw", [
    lambda rng, n: rng.normal(0.0, 0.25, n),
    lambda rng, n: np.where(rng.random(n) < 0.1, 0.9, -0.1),  # seldom far better
    lambda rng, n: rng.choice([-1.0, 1.0], n),
    lambda rng, n: np.tanh(rng.normal(size=n)) / 2,
])
def test_what_is_as_good_is_seldom_ever_dropped(draw):
    rng = np.random.default_rng(0)
    error, races = 0.1, 600
    wrong = sum(evidence(np.clip(draw(rng, 64), -1, 1)) >= 1 / error for _ in range(races))
    # Three deviations of the count above what the error allows.
    assert wrong <= races * error + 3 * np.sqrt(races * error * (1 - error))


def test_an_interval_made_for_one_look_would_err_more_often():
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        values = rng.normal(0.0, 0.25, 64)
        wrong += any(values[:n].mean() + 1.28 * values[:n].std(ddof=1) / np.sqrt(n) < 0
                     for n in range(3, 65))
    assert wrong > 300 * 0.2


def test_what_is_far_worse_is_dropped_early_and_what_is_better_finishes():
    rng = np.random.default_rng(1)
    ends = [race(rng, -0.4, 64) for _ in range(50)]
    assert {verdict for verdict, _ in ends} == {"drop"}
    assert np.median([seen for _, seen in ends]) <= 12
    assert {race(rng, 0.1, 64) for _ in range(50)} == {("finish", 64)}


def test_a_margin_drops_what_is_hardly_better():
    values = np.random.default_rng(2).normal(0.0, 0.1, 64)
    assert evidence(values) < 20 < evidence(values, margin=0.1)


def test_rivals_share_the_error():
    values = np.full(10, -0.4)
    assert Race().decide([values], 64) == "drop"
    assert Race().decide([values, *[np.zeros(10)] * 9], 64) == "keep"


def test_nothing_is_decided_too_early_and_without_rivals_it_finishes():
    assert Race(least=5).decide([np.full(4, -1.0)], 10) == "keep"
    assert Race().decide([], 10) == "finish"


def test_rivals_cost_no_more():
    costs = np.array([[1.0, 5.0], [2.0, 2.0], [0.5, 9.0], [3.0, 1.0]])
    quality = np.array([0.4, 0.5, 0.3, 0.6])
    assert rivals([2.0, 5.0], costs, quality) == [1, 0]
    assert rivals([0.1, 0.1], costs, quality) == []


@pytest.mark.parametrize("draw", [
    lambda rng, n: rng.normal(0.0, 0.25, n),
    lambda rng, n: np.where(rng.random(n) < 0.1, 0.9, -0.1),
    lambda rng, n: rng.choice([-1.0, 1.0], n),
])
def test_what_is_as_good_over_all_prompts_is_seldom_dropped_on_the_way(draw):
    rng = np.random.default_rng(0)
    races, wrong = 400, 0
    for _ in range(races):
        values = np.clip(draw(rng, 16), -1, 1)
        values = rng.permutation(values if values.mean() >= 0 else -values)
        room = max(0.3, values.max())
        wrong += any(Race(0.1).decide([values[:n]], 16, [room]) == "drop" for n in range(3, 16))
    assert wrong <= races * 0.1 + 3 * np.sqrt(races * 0.1 * 0.9)


def test_a_rival_that_leaves_little_room_is_lost_to_sooner():
    values = np.full(16, -0.2)

    def seen(**how):
        return next((n for n in range(1, 17) if evidence(values[:n], **how) >= 20), 99)

    assert seen(total=16, room=0.4) < seen(total=16) < seen()


def test_what_cannot_be_made_up_for_is_lost():
    assert evidence(np.full(5, -0.9), total=6, room=0.5) == np.inf
    assert evidence(np.array([-0.5]), total=2, room=0.5) < 20
