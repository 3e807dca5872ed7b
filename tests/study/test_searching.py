"""A study searched by our own search: predicted costs, races, filling in, resuming, warm start."""

import json

import numpy as np
import pytest

import ldmopt
from ldmopt.errors import UserError
from ldmopt.study import filling, records
from ldmopt.study.filling import cells
from ldmopt.study.output import read_run
from ldmopt.study.work import Ledger


@pytest.fixture
def factored(standin):
    def write(*changes, **more):
        return standin(('search = "tpe"', 'search = "factored"'),
                       ("prompts = {search = 4", "prompts = {search = 6"),
                       ("seeds = 2", "seeds = 1"), ("trials = 8", "trials = 14"),
                       *changes, **more)

    return write


def trials_of(out):
    return [trial for trial in read_run(out)[2].get_trials(deepcopy=False)
            if "setting" in trial.user_attrs]


def test_a_factored_study_ends_with_a_rulebook_and_goes_on_as_one_unbroken(factored, tmp_path):
    out = tmp_path / "run"
    rulebook = ldmopt.run(factored(), out)
    assert rulebook.data["recommendations"]
    _, spec, study = read_run(out)
    ledger = Ledger(study).read()
    assert len(ledger.finished) + len(ledger.raced) == 14
    # Raced-out trials stay out of whatever is final.
    full = {(block[0], block[1]) for block in study.user_attrs[records.FROZEN]["blocks"]}
    for trial in ledger.trials:
        assert {(b.prompt, b.seed) for b in trial.quality.blocks} == full
    for trial in ledger.raced.values():
        assert 0 < len(trial.quality.blocks) < len(full)
    saved = sum(len(full) - len(trial.quality.blocks) for trial in ledger.raced.values())
    assert study.user_attrs[records.RACING]["pictures_saved"] == saved
    assert rulebook.data["scope"]["racing"] == study.user_attrs[records.RACING]
    journal = (out / "blocks.jsonl").read_bytes()
    ldmopt.run(factored(), out)
    assert (out / "blocks.jsonl").read_bytes() == journal
    # More budget goes on; what was measured is not measured again.
    ldmopt.run(factored(), out, trials=16)
    settings = [trial.user_attrs["setting"] for trial in trials_of(out)]
    assert len({json.dumps(one, sort_keys=True) for one in settings}) >= 16

    other = tmp_path / "other"
    warm = factored(("[default]\nsteps", f'warm_start = ["{out}"]\n[default]\nsteps'),
                    ("trials = 14", "trials = 6"), ('name = "standin"', 'name = "warm"'),
                    name="warm.toml")
    ldmopt.run(warm, other)
    known = json.loads((other / "warm_start.json").read_text())
    assert len(known["evidence"]) >= 5
    # On the same prompts an earlier win rate counts as nearly exact.
    assert {round(row[2], 6) for row in known["evidence"]} == {0.0004}
    first = [trial.user_attrs["setting"] for trial in trials_of(other)[1:3]]
    assert first[0] in known["first"]


def test_a_default_outside_the_space_is_filled_in_in_no_way(factored, tmp_path, monkeypatch):
    """Whatever the front looks like: here everything is on it."""
    seen = []

    def looked(work, proposer):
        found = cells(work, proposer)
        seen.append((work.session.space, [trial.setting for trial in found]))
        return found

    monkeypatch.setattr(filling, "nondominated", lambda points: np.ones(len(points), bool))
    monkeypatch.setattr(filling, "cells", looked)
    ldmopt.run(factored(), tmp_path / "run")
    space, settings = seen[0]
    assert space.default["sampler"] == "pndm"
    assert settings
    assert {setting["sampler"] for setting in settings} <= {"ddim", "dpmpp_2m", "lms"}


def test_a_cap_that_nothing_meets_names_the_nearest(factored, tmp_path):
    path = factored(("[budget]", "[caps]\nseconds = 0.0000001\n[budget]"))
    with pytest.raises(UserError, match=r"predicted to meet caps.seconds = 1e-07 \(the fastest is"
                                        r" predicted to take [\d.]+ s\); raise"):
        ldmopt.run(path, tmp_path / "run")
    assert len(records.finished(read_run(tmp_path / "run")[2])) == 1


def test_warm_start_from_nowhere(factored, tmp_path):
    path = factored(("[default]\nsteps", 'warm_start = ["nowhere"]\n[default]\nsteps'))
    with pytest.raises(UserError, match="warm_start: 'nowhere' is no run folder"):
        ldmopt.run(path, tmp_path / "run")
