"""The alarm on simulated opinions: honest ones do not raise it, fooled ones do."""

import numpy as np
import pytest

from ldmopt.contracts import Aligned, Setting
from ldmopt.distillation.second_opinion import Opinion, agreement, of_alignment

QUALITY = np.linspace(-2.0, 0.3, 6)


def draw(rng, quality, fooled=(0.0,) * 6, odd=(0.0,) * 6, prompts=12):
    """Simulate two opinions on settings; ``fooled`` is what only the first likes, in logits."""
    taste, found = rng.normal(0, 0.3, (prompts, 1)), []
    for number, (true, bonus, own) in enumerate(zip(quality, fooled, odd, strict=True)):
        shared = rng.normal(0, 0.5, (prompts, 1)) + rng.normal(0, 0.5, (prompts, 2))
        sides = []
        for extra in (bonus, own):
            logits = true + extra + taste + shared + rng.normal(0, 1.0, (prompts, 2))
            wins = (1 / (1 + np.exp(-1.5 * logits))).mean(axis=1)
            sides.append({f"p{index}": float(win) for index, win in enumerate(wins)})
        found.append(Opinion(Setting(steps=number), *sides))
    return found


def rate(count, **how):
    rng = np.random.default_rng(7)
    made = [how["make"](rng) for _ in range(count)]
    return np.mean([bool(agreement(draw(rng, **one)).contradictions) for one in made])


@pytest.mark.parametrize("make", [
    lambda rng: {"quality": [0.0] * 6},
    lambda rng: {"quality": QUALITY},
    lambda rng: {"quality": QUALITY, "odd": rng.normal(0, 0.3, 6)},
    lambda rng: {"quality": [0.0] * 6, "fooled": np.linspace(-2, 1, 6)},
], ids=["all alike", "a front", "tastes of its own", "the second sees no difference"])  # fmt: skip
def test_honest_opinions_do_not_cry_wolf(make):
    assert rate(40, make=make) <= 0.05


@pytest.mark.parametrize("make, least", [
    (lambda rng: {"quality": [-2, -1, 0, -1.5, -1.5, -1.5], "fooled": [0, 0, 0, 2.5, 2.5, 2.5]},
     0.9),
    (lambda rng: {"quality": [-2, -1, 0, 0.2, -0.5, -1.6], "fooled": [0, 0, 0, 0, 0, 2.8]}, 0.6),
], ids=["half a front fools the scorer", "one setting does"])  # fmt: skip
def test_fooled_scorers_raise_it(make, least):
    assert rate(25, make=make) >= least


def test_it_names_the_pair_and_the_sizes():
    prompts = [f"p{index}" for index in range(8)]
    rng = np.random.default_rng(1)
    liked = Opinion(Setting(steps=4), {p: 0.8 + 0.02 * rng.random() for p in prompts},
                    {p: 0.2 + 0.02 * rng.random() for p in prompts})
    honest = Opinion(Setting(steps=9), {p: 0.5 + 0.02 * rng.random() for p in prompts},
                     {p: 0.5 + 0.02 * rng.random() for p in prompts})
    found = agreement([liked, honest])
    assert {item.over for item in found.contradictions} == {None, Setting(steps=9)}
    for item in found.contradictions:
        assert item.liked == liked.setting
        assert item.first == pytest.approx(0.3, abs=0.05)
        assert item.second == pytest.approx(-0.3, abs=0.05)
        assert item.p <= 0.05
    assert found.correlation < 0 and found.low <= found.correlation <= found.high
    assert agreement([liked, honest], alpha=0.001).contradictions == ()
    few = [Opinion(o.setting, dict(list(o.first.items())[:4]), o.second) for o in (liked, honest)]
    assert agreement(few).contradictions == () and agreement(few).prompts == 4


def test_equal_opinions_and_empty_fronts_are_calm():
    assert agreement([]).to_dict()["contradictions"] == []
    same = {f"p{index}": 0.3 for index in range(8)}
    found = agreement([Opinion(Setting(steps=1), same, same)])
    assert found.contradictions == () and found.correlation is None


def test_alignment_becomes_wins_around_a_half():
    rows = [Aligned(0.3, 0.3, 1.0, 1.0, 1.0, (("a", 0, 0.35, 0.3), ("b", 0, 0.3, 0.3))),
            Aligned(0.2, 0.3, 0.7, 0.6, 0.8, (("a", 0, 0.2, 0.3), ("b", 0, 0.25, 0.3)))]
    first, second = of_alignment(rows)
    assert first["a"] > 0.5 and first["b"] == 0.5
    assert second["a"] < second["b"] < 0.5
    assert of_alignment([Aligned(0.3, 0.3, 1.0, 1.0, 1.0, (("a", 0, 0.3, 0.3),))]) == [{"a": 0.5}]
