"""What is said of luck, of knees, of ties, and of settings that were raced out."""

import dataclasses

import numpy as np
import pytest

from ldmopt.contracts import Quality, Setting
from ldmopt.distillation import Constants, candidates, distill, table
from ldmopt.distillation.confirmed import confirmed
from ldmopt.distillation.ladder import choices, knee
from ldmopt.exports.markdown import to_markdown

from .simulate import DEFAULT, SAMPLERS, Study, grid


def equal(setting):
    return 0.0


def chosen(truth, prompts=8, seed=0, binary=True):
    """A study of many settings whose best ones by the search's figures are confirmed."""
    made = Study(prompts, 1, np.random.default_rng(seed), truth, binary=binary)
    settings = grid(list(SAMPLERS), [4, 8, 16, 30, 50], [1.0, 3.0, 5.0, 7.5])
    searched = made.evidence(settings)
    ranked = sorted(searched.trials, key=lambda trial: -trial.quality.win_rate)
    best = [trial.setting for trial in ranked if trial.setting != DEFAULT][:5]
    return made.evidence(settings, best)


def test_the_luck_of_the_best_of_many_is_told():
    """With 8 prompts, the best of 100 equal settings looks splendid, and is not."""
    rulebook = distill(chosen(equal))
    said = rulebook.data["scope"]["selection"]
    assert said["searched"] == 100
    assert said["chosen"] == 5
    assert said["search"]["win_rate"] > 0.8
    assert said["change"]["beyond_chance"]
    assert said["change"]["high"] < 0
    assert "beyond chance: what wins a search is lucky there" in to_markdown(rulebook)
    best = rulebook.data["recommendations"][0]
    assert best["setting"] == dict(DEFAULT)  # on held-out prompts none of them won


def test_no_luck_no_alarm():
    """Settings that are far better by truth stay so."""
    rulebook = distill(chosen(lambda s: 2.5 * (s["steps"] == 30), prompts=24, binary=False))
    said = rulebook.data["scope"]["selection"]
    assert not said["change"]["beyond_chance"]
    assert "within chance" in to_markdown(rulebook)
    best = rulebook.data["recommendations"][0]["evidence"]["in_search"]
    assert best["low"] < best["win_rate"] < best["high"]
    assert not best["change"]["beyond_chance"]


def test_luck_beyond_chance_is_seldom_seen_where_nothing_was_chosen():
    """Settings picked without looking: a change beyond chance is chance."""
    seen = 0
    for seed in range(24):
        made = Study(12, 2, np.random.default_rng(seed))
        settings = grid(["unipc", "ddim"], [8, 30], [5.0])
        said = distill(made.evidence(settings, settings)).data["scope"]["selection"]
        seen += said["change"]["beyond_chance"]
    assert seen <= 4


def test_a_tie_names_no_winner():
    made = Study(24, 2, np.random.default_rng(5))
    settings = grid(["dpmpp_2m", "unipc"], [20, 30], [5.0])
    rulebook = distill(made.evidence(settings, settings))
    best = rulebook.data["recommendations"][0]
    tied = best["evidence"]["tied"]
    assert len(tied) == 3
    assert [row["seconds"] for row in tied] == sorted(row["seconds"] for row in tied)
    assert "**best** is no single winner: 3 others cannot be told from it" in to_markdown(rulebook)


def test_a_clear_winner_is_one():
    made = Study(60, 2, np.random.default_rng(5), lambda s: 1.5 * (s["sampler"] == "unipc"))
    settings = grid(["ddim", "unipc"], [30], [5.0])
    best = distill(made.evidence(settings, settings)).data["recommendations"][0]
    assert best["setting"]["sampler"] == "unipc"
    assert best["evidence"]["tied"] == []


def test_the_knee_gets_a_budget():
    """Two steep steps, then a plateau that costs ten times as much."""
    gains = {4: -0.9, 8: 0.3, 12: 1.2, 150: 1.35}
    made = Study(60, 2, np.random.default_rng(1), lambda s: gains.get(int(s["steps"]), 0.0))
    settings = grid(["unipc"], list(gains), [5.0])
    evidence = made.evidence(settings, settings)
    rows = confirmed(evidence, Constants())
    found = knee(rows, lambda row: row.point.latency_seconds, Constants())
    assert found.setting["steps"] == 12
    [choice] = [c for c in choices(rows, Constants()) if c.is_knee and c.max_seconds]
    assert choice.chosen.setting["steps"] == 12
    assert choice.chosen.point.latency_seconds <= choice.max_seconds
    assert f"**{choice.id}** is the knee" in to_markdown(distill(evidence))


def test_a_straight_front_has_no_knee():
    made = Study(60, 2, np.random.default_rng(1), lambda s: 0.35 * np.log2(float(s["steps"]) / 12))
    settings = grid(["unipc"], [6, 12, 24], [5.0])
    rows = [row for row in confirmed(made.evidence(settings, settings), Constants())
            if row.setting != DEFAULT]  # fmt: skip
    assert knee(rows, lambda row: float(row.setting["steps"]), Constants()) is None


def raced(evidence, prompts=6):
    """Drop what loses after so many prompts, as a race would."""
    trials = []
    for trial in evidence.trials:
        seen = [b for b in trial.quality.blocks if int(b.prompt.split()[1]) < prompts]
        mean = sum(block.win for block in seen) / len(seen)
        if trial.setting != DEFAULT and mean < 0.3:
            trial = dataclasses.replace(trial, raced_out=True, quality=Quality(
                mean, 0.0, 1.0, tuple(seen)), pictures=trial.pictures[: len(seen)])  # fmt: skip
        trials.append(trial)
    return dataclasses.replace(evidence, trials=tuple(trials))


@pytest.fixture(scope="module")
def race():
    made = Study(40, 1, np.random.default_rng(2), lambda s: -2.5 * (s["guidance"] > 7.6))
    settings = grid(["pndm", "ddim", "unipc"], [8, 16, 30, 50], [3.0, 5.0, 12.0])
    whole = raced(made.evidence(settings), prompts=16)
    good = [t.setting for t in whole.trials if not t.raced_out][:3]
    return raced(made.evidence(settings, good), prompts=16)


def test_raced_out_settings_are_no_figure_of_quality(race):
    out = [trial for trial in race.trials if trial.raced_out]
    assert len(out) >= 10
    assert not {trial.setting for trial in out} & set(candidates(race, 100))
    made = table.build(race)
    assert not set(made.dropped) & set(made.looks)
    assert len(made.looks) + len(made.dropped) == len(race.trials)
    rulebook = distill(race)
    assert rulebook.data["scope"]["raced_out"] == len(out)
    assert all(e["to"] != 12.0 for e in rulebook.data["effects"])


def test_what_was_raced_out_is_still_avoided(race):
    rules = [row for row in distill(race).data["avoid"] if row["win_rate"] is not None]
    assert [row["when"] for row in rules] == [{"guidance": {"min": 12.0}}]
    [rule] = rules
    assert rule["evidence"]["raced_out"] >= 10
    assert 0.1 < rule["win_rate"] < 0.45  # what was not shown counts as good enough
    assert "were dropped early" in rule["why"]
    shown = rule["evidence"]["shows"]
    default = race.trials[0]
    assert default.pictures[int(shown["prompt"].split()[1])] == shown["default_picture"]


def test_racing_makes_no_false_avoid_rules():
    wrong = 0
    for seed in range(15):
        made = Study(16, 1, np.random.default_rng(seed), equal, binary=True)
        evidence = raced(made.evidence(grid(["pndm", "ddim", "unipc"], [8, 30, 50], [3.0, 5.0])))
        wrong += bool([r for r in distill(dataclasses.replace(
            evidence, confirmations={DEFAULT: made.confirm(DEFAULT)})).data["avoid"]])  # fmt: skip
    assert wrong <= 3


def test_every_rule_carries_scope_and_judge(race):
    data = distill(race).data
    rules = [*data["effects"], *data["plateaus"], *data["equivalent"], *data["avoid"],
             *data["recommendations"]]  # fmt: skip
    assert len(rules) > 5
    for rule in rules:
        scope = rule["evidence"]["scope"]
        assert scope["model"] == "simulated model (no model was run)"
        assert scope["device"] == "simulated device"
        assert {"versions", "prompts", "raters"} <= set(scope)
        assert rule["evidence"]["judged_by"] == "the regressor alone"
    assert "All of it rests on the regressor alone." in to_markdown(distill(race))


def test_constants_are_stated_and_can_be_changed():
    made = Study(60, 2, np.random.default_rng(0), lambda s: 0.3 * (s["sampler"] == "ddim"))
    evidence = made.evidence(grid(["pndm", "ddim"], [8, 16, 30, 50], [3.0, 5.0, 7.5]))

    def verdict(**changed):
        data = distill(evidence, Constants(**changed)).data
        assert data["constants"] == {**Constants().to_dict(), **changed}
        return next(e["verdict"] for e in data["effects"] if e["knob"] == "sampler")

    assert verdict() == "worth it"
    assert verdict(worth=0.2) == "no difference shown"
    assert "gain of at least 0.2;" in to_markdown(distill(evidence, Constants(worth=0.2)))


def test_a_failure_by_chance_explains_nothing():
    """Two crashes among ten settings that happen to share a knob: each is listed by itself."""
    made = Study(8, 1, np.random.default_rng(1))
    settings = grid(["ddim", "unipc"], [4, 8, 16, 30, 50], [5.0])
    crashed = {s: "crash" for s in settings if s["steps"] == 16}
    rows = distill(made.evidence(settings, failures=crashed)).data["avoid"]
    assert sorted(row["evidence"]["settings"] for row in rows if row["win_rate"] is None) == [1, 1]
    assert Setting(rows[-1]["when"])["steps"] == 16
