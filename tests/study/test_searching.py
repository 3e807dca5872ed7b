"""A study searched by our own search: predicted costs, races, filling in, resuming, warm start."""

import json
import re

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


@pytest.mark.parametrize("search", ["tpe", "grid"])
def test_a_cap_that_nothing_tried_meets_names_the_nearest(standin, tmp_path, search):
    path = standin(("[budget]", "[caps]\nseconds = 0.0000001\n[budget]"), ("tpe", search),
                   ("trials = 8", "trials = 4"))
    for _ in range(2):
        with pytest.raises(UserError, match=r"none of the 4 settings tried meets caps.seconds = "
                                            r"1e-07 \(the fastest took [\d.]+ s: .*\); change"):
            ldmopt.run(path, tmp_path / "run")
    assert len(records.finished(read_run(tmp_path / "run")[2])) == 4


@pytest.mark.parametrize(("space", "words"), [
    ("", "names no knob"),
    ('sampler = ["ddim"]\nsigmas = ["karras", "exponential"]\n',
     "sigmas never acts: no searched or default value of .*sampler.* lets it; leave sigmas out"),
])
def test_a_space_of_nothing_costs_no_device_second(standin, tmp_path, space, words):
    path = standin()
    text = path.read_text()
    begin, end = text.index("sampler = ["), text.index("[budget]")
    path.write_text(text[:begin] + space + text[end:])
    with pytest.raises(UserError, match=words):
        ldmopt.run(path, tmp_path / "run")
    assert not (tmp_path / "run" / "blocks.jsonl").exists()


def test_where_every_setting_fails_the_reason_is_told(factored, tmp_path):
    path = factored(('precision = ["fp32", "bf16"]', 'fault = ["nan", "raise"]'))
    try:
        ldmopt.run(path, tmp_path / "run")
    except UserError as error:
        assert re.search(r"no setting of \[space\] gives a usable picture.*error", str(error))
    assert records.finished(read_run(tmp_path / "run")[2])[0].feasible


def test_a_storage_that_two_run_folders_name(standin, tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    path = standin(("[default]", f'storage = "{url}"\n[default]'), ("trials = 8", "trials = 2"))
    ldmopt.run(path, tmp_path / "one")
    with pytest.raises(UserError, match="belongs to another run folder than .*two.*another name"):
        ldmopt.run(path, tmp_path / "two")
    ldmopt.run(path, tmp_path / "one")


def test_warm_start_from_nowhere(factored, tmp_path):
    path = factored(("[default]\nsteps", 'warm_start = ["nowhere"]\n[default]\nsteps'))
    with pytest.raises(UserError, match="warm_start: 'nowhere' is no run folder"):
        ldmopt.run(path, tmp_path / "run")
