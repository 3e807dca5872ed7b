"""Alignment and human evidence inside a study: attributes, the floor, who may go on judging."""

import pytest

import ldmopt
from ldmopt.contracts import Aligned, Block, Cost, Preference
from ldmopt.errors import UserError
from ldmopt.labels import LabelStore, Pair
from ldmopt.study import records
from ldmopt.study.judging import Judges, check_judges, learned_from_labels
from ldmopt.study.output import read_evidence, read_run


class Clip:
    """An alignment scorer for tests."""

    identity = {"name": "alignment", "model": "tiny", "digest": "c"}


class Learned:
    """A scorer that learned from a label; it keeps cross-fitted ones, or does not."""

    identity = {"name": "learned", "digest": "l", "simulated_labels": 1}

    def __init__(self, crossed):
        self.crossed = crossed

    def compare(self, left, right):
        return [Preference(0.9)] * len(left)

    def cross_fitted(self, left, right):
        return [Preference(0.6)] * len(left)


class Folder:
    """Gives digests for pictures."""

    def picture(self, digest, block):
        return digest


def test_a_floor_is_a_constraint():
    spec = ldmopt.StudySpec.model_validate({
        "name": "s", "caps": {"alignment": 0.95}, "scorer": {"alignment": "miniature"}})
    cost = Cost(1.0, 1.0, peak_memory_bytes=1)

    def limit(ratio):
        return records.constraints(cost, spec, Aligned(0.3, 0.3, ratio, None, None))["alignment"]

    assert limit(0.96) < 0 < limit(0.94)
    assert limit(None) > 0 and records.constraints(None, spec)["alignment"] > 0
    assert "alignment" not in records.constraints(cost, ldmopt.StudySpec(name="s"))


def test_only_cross_fitted_scorers_that_are_kept_count():
    blocks, pictures = [Block("p", 0), Block("q", 0)], ["a", "b"]
    kept = Judges(Folder(), Learned(object())).further(blocks, pictures, pictures)
    assert [win.win for win in kept["cross_fitted"]] == [0.6, 0.6]
    assert kept["aligned"] is None
    without = Judges(Folder(), Learned(None)).further(blocks, pictures, pictures)
    assert without["cross_fitted"] == (), "its own opinion learned from the same prompt"
    assert learned_from_labels(Learned.identity) and not learned_from_labels({"human_labels": 0})


def test_another_judge_may_not_go_on():
    frozen = {"scorer": {"digest": "l"}, "alignment": dict(Clip.identity)}
    clip = Clip()
    assert check_judges(frozen, Learned(None), clip) is clip
    assert check_judges({"scorer": {"digest": "l"}}, Learned(None), clip) is None
    with pytest.raises(UserError, match="judged by scorer m, but the one at hand is l"):
        check_judges({"scorer": {"digest": "m"}}, Learned(None), clip)
    with pytest.raises(UserError, match="alignment was measured by tiny c, .* none; bring"):
        check_judges(frozen, Learned(None), None)


def test_labels_of_a_run_join_in_distill(standin, tmp_path):
    out = tmp_path / "run"
    plain = ldmopt.run(standin(), out)
    folder, spec, study = read_run(out)
    evidence = read_evidence(folder, spec, study)
    assert evidence.answers == {} and all(t.cross_fitted == () for t in evidence.trials)
    base, shown = evidence.trials[0], set()
    setting = next(s for s in evidence.confirmations if s != evidence.default)
    trial = next(t for t in evidence.trials if t.setting == setting)
    for own, default in zip(trial.pictures, base.pictures, strict=True):
        shown.add(Pair(own, default, "simulated-rater", "left", simulated=True))
    with LabelStore(folder.labels) as store:
        store.add(sorted(shown, key=lambda pair: pair.left))
    found = ldmopt.distill(out)
    humans = [item["quality"]["human"] for item in found.data["front"]
              if item["setting"] == dict(setting)]
    told = read_evidence(folder, spec, study)
    assert [answer.win for answer in told.answers[setting]] == [1.0] * len(shown)
    assert told.trials[1].cross_fitted == told.trials[1].quality.blocks
    for human in humans:
        assert human["simulated"] and human["labels"] == len(shown) and human["prompts"] == 4
        assert human["joined"]["predicted_prompts"] == 4
    for old, new in zip(plain.data["front"], found.data["front"], strict=True):
        assert old["quality"]["win_rate"] == new["quality"]["win_rate"]
