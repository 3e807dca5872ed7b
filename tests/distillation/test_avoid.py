"""Rules to avoid: found where a search seldom looked, and not paid for twice."""

import numpy as np
import pytest

from ldmopt.contracts import Setting
from ldmopt.distillation import Constants, avoid, table

from .simulate import Study, grid


def rules_of(truth, settings, prompts, seeds, number, **more):
    study = Study(prompts, seeds, np.random.default_rng(number), truth, **more)
    evidence = study.evidence(settings)
    return avoid.avoid(evidence, table.build(evidence), Constants())


def searched(rng):
    """What a search proposes: many good settings, seven of a sampler that it soon left alone."""
    samplers = ["lms"] * 7 + ["ddim", "unipc", "dpmpp_2m"] * 30
    return [Setting(sampler=name, steps=int(rng.integers(3, 41)), attention="sdpa",
                    guidance=float(rng.integers(2, 25)) / 2) for name in samplers]  # fmt: skip


def one_sampler(setting):
    return 0.3 - 4.0 * (setting["sampler"] == "lms")


def corner(setting):
    return -1.5 * float(setting["sampler"] == "ddim" and setting["steps"] <= 12)


def test_a_bad_value_is_found_with_sixteen_prompts():
    """As few as a quickstart has: no p value of them is under .0002, whatever is seen."""
    for number in range(4):
        settings = searched(np.random.default_rng(number))
        [rule] = rules_of(one_sampler, settings, 16, 1, number)
        assert rule["when"] == {"sampler": "lms"}
        assert rule["evidence"]["p_holm"] <= Constants().error(0.4)


def test_a_corner_far_worse_than_others_that_lose_a_little_is_found():
    """Eight in a hundred pictures are ruined: about half of the settings fall below the floor."""
    settings = grid(["pndm", "ddim"], range(5, 45, 5), [1.0, 3.0, 5.0, 7.0, 9.0])
    for number in range(4):
        rules = rules_of(corner, settings, 60, 2, number, rare=0.08)
        assert [row["when"] for row in rules] == [{"sampler": "ddim", "steps": {"max": 10}}]


def test_conditions_that_the_same_settings_meet_are_one_test():
    settings = [Setting(a=a, b=b) for a, b in ((1, 1), (1, 2), (2, 3), (2, 4), (3, 4))]
    tried = list(avoid.candidates(settings))
    alike = avoid._alike(tried)
    masks = {rule.inside.tobytes() for rule in tried}
    assert len(set(alike)) == len(masks) < len(tried)
    assert all((tried[at].inside == rule.inside).all()
               for at, rule in zip(alike, tried, strict=True))  # fmt: skip
    shares = avoid._shares(tried, alike)
    assert sum(shares[at] for at in set(alike)) == pytest.approx(1.0)
    assert {len(tried[at].parts) for at in alike} == {1, 2}


def test_half_of_the_chance_is_for_conditions_on_one_knob():
    """By hand: one single rule and two pairs, so shares of 1/2, 1/4 and 1/4."""
    adjusted = avoid._adjusted(np.array([0.01, 0.004, 0.2]), [0, 1, 2], [0.5, 0.25, 0.25])
    # .004 / .25 comes first; then .01 over what three quarters leave, but no less than before
    assert adjusted == pytest.approx([0.016, 0.016, 0.2])
    assert avoid._adjusted(np.array([0.01, 0.01]), [0, 0], [1.0, 1.0]) == [0.01, 0.01]


def test_how_bad_is_asked_of_the_worst_nine_in_ten():
    means = np.array([0.1, 0.2, 0.3, 0.4, 0.15, 0.9])
    inside = np.array([True, True, False, True, False, False])
    assert avoid._as_bad(inside, means).tolist() == [True, True, True, True, True, False]
    many = np.concatenate([np.linspace(0.1, 0.2, 9), [0.9, 0.15, 0.5]])
    assert avoid._as_bad(np.arange(12) < 10, many).sum() == 10
