"""A simulated study with planted truth becomes the rulebook that the truth asks for."""

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pytest

from ldmopt.contracts import Setting
from ldmopt.distillation import Constants, candidates, distill
from ldmopt.distillation.additive import levels
from ldmopt.errors import UserError
from ldmopt.rulebook import Rulebook

from .simulate import DEFAULT, SAMPLERS, Study, grid


@pytest.fixture(scope="module")
def study():
    """A full grid, 24 prompts x 2 seeds, with one kind of setting that runs out of memory."""
    made = Study(24, 2, np.random.default_rng(4))
    settings = grid(list(SAMPLERS), [4, 8, 16, 30, 50], [1.0, 3.0, 5.0, 7.5, 12.0])
    kernels = np.random.default_rng(0).choice(["sdpa", "eager", "sliced-max"], len(settings))
    settings = [s.replace({"attention": str(k)}) for s, k in zip(settings, kernels, strict=True)]
    failures = {
        s: "out-of-memory" for s in settings if s["attention"] == "eager" and s["steps"] == 50
    }
    chosen = candidates(made.evidence(settings, failures=failures), 7)
    evidence = made.evidence(settings, chosen, failures)
    return evidence, distill(evidence, created=datetime(2026, 1, 1, tzinfo=UTC))


def by_id(rulebook):
    return {item["id"]: item for item in rulebook.data["recommendations"]}


def test_recommendations(study):
    evidence, rulebook = study
    found = by_id(rulebook)
    assert {"best", "balanced", "fastest-not-worse", "smallest"} <= set(found)
    for item in rulebook.data["recommendations"] + rulebook.data["front"]:
        assert Setting(item["setting"]) in evidence.confirmations
        assert item["cost"]["source"] == "measured"
    assert all(item["evidence"]["held_out"] for item in found.values())
    assert found["best"]["setting"]["sampler"] in ("dpmpp_2m", "unipc")
    assert found["best"]["quality"]["low"] > 0.5
    fastest = found["fastest-not-worse"]
    assert fastest["quality"]["low"] > 0.45
    assert fastest["cost"]["seconds"] < 0.5 * rulebook.data["default"]["cost"]["seconds"]
    assert found["smallest"]["cost"]["peak_memory_bytes"] == min(
        c.cost.peak_memory_bytes for c in evidence.confirmations.values()
        if c.quality.low > 0.45)  # fmt: skip


def test_budgets_hold_what_they_say(study):
    _, rulebook = study
    budgets = [i for i in rulebook.data["recommendations"] if i["id"].startswith("under-")]
    assert budgets
    for item in budgets:
        limits = item["when"]
        if limits["max_seconds"]:
            assert item["id"] == f"under-{limits['max_seconds']:g}s"
            assert item["cost"]["latency_seconds"] <= limits["max_seconds"]
        else:
            assert item["id"] == f"under-{limits['max_memory_bytes'] / 1e9:g}gb"
            assert item["cost"]["peak_memory_bytes"] <= limits["max_memory_bytes"]


def test_effects_find_what_was_planted(study):
    _, rulebook = study
    found = {(e["knob"], e["from"], e["to"]): e for e in rulebook.data["effects"]}
    assert found["guidance", 7.5, 12.0]["verdict"] == "harmful"
    assert found["guidance", 1.0, 3.0]["verdict"] == "worth it"
    assert found["sampler", "pndm", "dpmpp_2m"]["verdict"] == "worth it"
    assert found["steps", 30, 50]["verdict"] == "not worth it"
    assert found["steps", 4, 8]["verdict"] in ("worth it", "depends")
    assert found["steps", 30, 50]["seconds_ratio"] == pytest.approx(1.6, abs=0.1)


def test_execution_knobs_leave_the_picture_alone(study):
    _, rulebook = study
    rows = [e for e in rulebook.data["effects"] if e["knob"] == "attention"]
    assert {(e["win_rate"], e["low"], e["high"]) for e in rows} == {(0.5, 0.5, 0.5)}
    sliced = next(e for e in rows if e["to"] == "sliced-max")
    assert sliced["seconds_ratio"] == pytest.approx(1.45, abs=0.12)
    assert sliced["memory_ratio"] == pytest.approx(55 / 62, abs=0.02)
    assert sliced["verdict"] == "depends"
    assert next(e for e in rows if e["to"] == "eager")["verdict"] == "not worth it"


def test_plateaus_and_equivalents(study):
    _, rulebook = study
    assert [(p["knob"], p["beyond"]) for p in rulebook.data["plateaus"]] == [("steps", 30)]
    groups = [set(e["values"]) for e in rulebook.data["equivalent"] if e["knob"] == "sampler"]
    assert {"dpmpp_2m", "unipc"} in groups


def test_a_number_that_many_took_is_no_group_with_others():
    """No guidance costs half as much and must not be averaged with its neighbours."""
    some = [1.0] * 30 + [1.5] * 5 + [2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0] * 4
    found = levels([Setting(guidance=value) for value in some], "guidance")
    assert found[0].members == (1.0,)
    assert sorted(v for level in found for v in level.members) == sorted(set(some))
    assert 3 <= len(found) <= 4
    even = levels([Setting(steps=value) for value in range(1, 41)], "steps")
    assert [len(level.members) for level in even] == [10, 10, 10, 10]


def test_avoid(study):
    evidence, rulebook = study
    failed = [a for a in rulebook.data["avoid"] if a["win_rate"] is None]
    assert [a["when"] for a in failed] == [{"attention": "eager", "steps": {"min": 50}}]
    assert failed[0]["evidence"]["failure"] == "out-of-memory"
    losing = [a for a in rulebook.data["avoid"] if a["win_rate"] is not None]
    assert {"guidance": {"min": 12.0}} in [a["when"] for a in losing]
    pictures = {p for t in evidence.trials for p in t.pictures}
    for rule in losing:
        assert rule["high"] < 0.45
        assert rule["picture"] in pictures


def test_failed_trials_stay_out_of_all_else(study):
    evidence, rulebook = study
    failed = {t.number for t in evidence.trials if t.failure}
    assert failed
    for item in rulebook.data["recommendations"]:
        assert not failed & set(item["evidence"]["trials"])


def test_same_evidence_same_rulebook(study, tmp_path):
    evidence, rulebook = study
    again = distill(evidence, created=datetime(2026, 1, 1, tzinfo=UTC))
    assert again.data == rulebook.data
    rulebook.write(tmp_path / "rulebook.json")
    assert Rulebook.read(tmp_path / "rulebook.json").data == rulebook.data


def test_the_default_is_the_honest_answer():
    made = Study(12, 2, np.random.default_rng(1))
    worse = grid(["lms", "ddim"], [4, 8], [1.0, 12.0])
    rulebook = distill(made.evidence(worse, worse[:4]))
    found = by_id(rulebook)
    for id in ("best", "balanced", "fastest-not-worse"):
        assert found[id]["setting"] == dict(DEFAULT)
        assert found[id]["quality"]["win_rate"] == 0.5


def test_the_default_alone():
    made = Study(8, 1, np.random.default_rng(1))
    rulebook = distill(made.evidence([]))
    assert by_id(rulebook)["best"]["runner_up"] == {}
    assert rulebook.data["effects"] == rulebook.data["avoid"] == []
    assert rulebook.recommend().setting == DEFAULT


def test_unknown_memory():
    made = Study(12, 1, np.random.default_rng(1))
    evidence = made.evidence(grid(["unipc"], [8, 30], [5.0]), grid(["unipc"], [8], [5.0]))

    def forget(row):
        return dataclasses.replace(row, cost=dataclasses.replace(row.cost, peak_memory_bytes=None))

    bare = dataclasses.replace(
        evidence,
        trials=tuple(forget(t) for t in evidence.trials),
        confirmations={s: forget(c) for s, c in evidence.confirmations.items()},
    )
    rulebook = distill(bare)
    assert "smallest" not in by_id(rulebook)
    assert all(e["memory_ratio"] is None for e in rulebook.data["effects"])


def test_refusals():
    made = Study(8, 1, np.random.default_rng(1))
    evidence = made.evidence([])
    with pytest.raises(UserError, match="default on held-out"):
        distill(dataclasses.replace(evidence, confirmations={}))
    with pytest.raises(UserError, match="margin"):
        distill(evidence, Constants(margin=0.7))
    with pytest.raises(UserError, match="confidence"):
        distill(evidence, Constants(confidence=95))


def test_pruned_trials_with_fewer_blocks():
    made = Study(12, 2, np.random.default_rng(6))
    evidence = made.evidence(grid(["unipc", "ddim"], [8, 16, 30], [3.0, 5.0]))
    trials = list(evidence.trials)
    cut = dataclasses.replace(trials[3].quality, blocks=trials[3].quality.blocks[:6])
    trials[3] = dataclasses.replace(trials[3], quality=cut, pictures=trials[3].pictures[:6])
    rulebook = distill(dataclasses.replace(evidence, trials=tuple(trials)))
    assert rulebook.data["effects"]


def test_candidates():
    made = Study(24, 2, np.random.default_rng(3))
    settings = grid(list(SAMPLERS), [4, 8, 16, 30], [1.0, 3.0, 5.0, 12.0], ["sdpa", "sliced-max"])
    evidence = made.evidence(settings, failures={settings[0]: "nan"})
    chosen = candidates(evidence, 6)
    assert chosen[0] == DEFAULT
    assert len(chosen) == len(set(chosen)) == 6
    assert candidates(evidence, 3) == chosen[:3]
    assert candidates(evidence, 1) == [DEFAULT]
    assert settings[0] not in candidates(evidence, 1000)
    truth = {s: made.truth(s) - made.truth(DEFAULT) for s in chosen}
    assert max(truth.values()) >= max(made.truth(s) - made.truth(DEFAULT) for s in settings) - 0.1
    fast = [s for s in chosen if truth[s] > -0.05 and s["steps"] <= 8]
    assert fast


def test_candidates_do_not_trust_one_lucky_setting():
    """With 8 prompts, a lucky setting among many equal ones is not ranked by its luck alone."""
    made = Study(8, 1, np.random.default_rng(0), truth=lambda s: 0.0, binary=True)
    evidence = made.evidence(grid(list(SAMPLERS), [4, 8, 16, 30, 50], [1.0, 3.0, 5.0, 7.5]))
    from ldmopt.distillation.shortlist import shrunk

    raw = [t.quality.win_rate for t in evidence.trials]
    pulled = [row.point.win_rate for row in shrunk(evidence)]
    assert max(raw) >= 0.85
    assert max(pulled) - 0.5 < 0.4 * (max(raw) - 0.5)
