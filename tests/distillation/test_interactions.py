"""Planted interactions are found where settings are matched and where they are not."""

import numpy as np
import pytest

from ldmopt.contracts import Setting
from ldmopt.distillation import Constants, effects, table
from ldmopt.distillation.contrasts import ADDITIVE, MATCHED, all_contrasts
from ldmopt.exports._sentences import depending

from .simulate import Study, grid


def turning(setting):
    """More guidance helps one sampler and harms the other."""
    sign = 1.0 if setting["sampler"] == "ddim" else -1.0
    return sign * 0.3 * float(setting["guidance"] > 4)


def growing(setting):
    """One sampler is better, more so with more guidance."""
    return (setting["sampler"] == "ddim") * (0.25 + 1.2 * float(setting["guidance"] > 4))


def ruined(setting):
    """Little guidance ruins every picture; elsewhere one sampler loses."""
    return -1.0 * (setting["sampler"] == "ddim") - 5.0 * float(setting["guidance"] < 4)


def perfect(setting):
    """With little guidance every picture is preferred, else one sampler is the better one."""
    return 1.0 * (setting["sampler"] == "ddim") + 5.0 * float(setting["guidance"] < 4)


def scattered(rng, count=80):
    return [
        Setting(sampler=str(rng.choice(["pndm", "ddim"])), steps=int(rng.integers(4, 51)),
                guidance=round(float(rng.uniform(1, 8)), 2), attention="sdpa")
        for _ in range(count)
    ]  # fmt: skip


def effects_of(truth, settings, seed=0, prompts=60):
    rng = np.random.default_rng(seed)
    evidence = Study(prompts, 2, rng, truth).evidence(settings)
    made = table.build(evidence)
    return effects.effects(evidence, made, all_contrasts(made), Constants())


@pytest.mark.parametrize("matched", [True, False])
def test_an_effect_that_turns_depends(matched):
    rng = np.random.default_rng(3)
    settings = grid(["pndm", "ddim"], [8, 16, 30], [1.0, 3.0, 5.0, 7.0]) if matched \
        else scattered(rng)
    rows = [e for e in effects_of(turning, settings) if e["knob"] == "sampler"]
    assert [e["evidence"]["basis"] for e in rows] == [MATCHED if matched else ADDITIVE]
    assert rows[0]["verdict"] == "depends"
    split = rows[0]["evidence"]["depends_on"]
    assert split["knob"] == "guidance"
    low, high = sorted(split["sides"], key=lambda side: side["win_rate"])
    assert high["low"] > 0.5
    assert "max" in low["when"]["guidance"]
    assert 3.0 <= low["when"]["guidance"]["max"] <= 5.0
    assert split["confidence"] > 0.95
    assert split["splits_tried"] > 3


@pytest.mark.parametrize("matched", [True, False])
@pytest.mark.parametrize(("truth", "verdict", "room"), [
    (ruined, "harmful", "little to lose"), (perfect, "worth it", "little to gain"),
])  # fmt: skip
def test_where_there_is_no_room_nothing_depends(matched, truth, verdict, room):
    settings = grid(["pndm", "ddim"], [8, 16, 30], [1.0, 3.0, 5.0, 7.0]) if matched \
        else scattered(np.random.default_rng(3))
    rows = [e for e in effects_of(truth, settings) if e["knob"] == "sampler"]
    assert [e["verdict"] for e in rows] == [verdict]
    split = rows[0]["evidence"]["varies_with"]
    assert split["knob"] == "guidance"
    far = max(split["sides"], key=lambda side: abs(side["level"] - 0.5))
    assert far["cramped"]
    assert "max" in far["when"]["guidance"]
    assert far["low"] < 0.5 < far["high"]
    assert room in depending(rows[0])


def test_a_gain_of_different_size_is_still_a_gain():
    settings = grid(["pndm", "ddim"], [8, 16, 30], [1.0, 3.0, 5.0, 7.0])
    [row] = [e for e in effects_of(growing, settings) if e["knob"] == "sampler"]
    assert row["verdict"] == "worth it"
    assert "depends_on" not in row["evidence"]
    sides = row["evidence"]["varies_with"]["sides"]
    assert min(side["low"] for side in sides) > 0.5


def test_conditions_are_values_that_programs_can_read():
    settings = grid(["pndm", "ddim", "unipc"], [8, 30], [3.0, 5.0])

    def truth(setting):
        return (1 if setting["sampler"] == "ddim" else -1) * 0.3 * float(setting["guidance"] > 4)

    [row] = [e for e in effects_of(truth, settings) if e["knob"] == "guidance"
             and e["evidence"]["pairs"] > 3]  # fmt: skip
    told = [side["when"]["sampler"] for side in row["evidence"]["depends_on"]["sides"]]
    assert "ddim" in told
    assert sorted(next(value for value in told if value != "ddim")) == ["pndm", "unipc"]


def test_without_an_interaction_none_is_told():
    told = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        for settings in (grid(["pndm", "ddim"], [8, 16, 30], [1.0, 5.0]), scattered(rng, 40)):
            rows = effects_of(lambda s: 0.4 * (s["sampler"] == "ddim"), settings, seed, 24)
            told += any({"depends_on", "varies_with"} & set(e["evidence"]) for e in rows)
    # at 1 % each, 3 of 12 come up in 1 of 5,000 runs
    assert told <= 2
