"""A study of a recorded table runs like any other, in recorded seconds, and resumes."""

import numpy as np
import pytest
from tables import PROMPTS, write_table

import ldmopt
from ldmopt.distillation.costs import MODELLED
from ldmopt.errors import UserError
from ldmopt.recording import Recording
from ldmopt.study import records
from ldmopt.study.output import read_run
from ldmopt.study.spec import parse_spec


def study(table, **more):
    text = f"""
name = "replayed"
search = "{more.get("search", "tpe")}"
device = "replay:{table}"
prompts = {{source = {[f"prompt {n}" for n in range(PROMPTS)]}, search = 4, confirm = 2}}
seeds = 2
[space]
sampler = ["pndm", "euler", "heun"]
steps = [4, 8, 50]
guidance = [1.0, 7.5]
batch = [1, 2]
[budget]
trials = {more.get("trials", 6)}
"""
    return parse_spec(text)


def test_a_table_is_searched_and_confirmed_without_a_device(tmp_path):
    table = write_table(tmp_path / "table")
    seen = []
    book = ldmopt.run(study(table), tmp_path / "run", report=seen.append)
    assert "replay" in book.data["scope"]["scorer"]
    best = next(item for item in book.data["recommendations"] if item["id"] == "best")
    assert best["evidence"]["held_out"]
    # Recorded, not measured: 51 network calls of 12 ms and what else a picture takes.
    default = book.data["default"]["cost"]["seconds"]
    assert default == pytest.approx(0.012 + 51 * 0.012 + 50 * 0.0003, rel=1e-3)
    spent = seen[-1].spent_seconds
    ldmopt.run(study(table), tmp_path / "run", report=seen.append)
    assert seen[-1].spent_seconds == spent


def test_what_a_knob_costs_is_told_though_no_two_settings_differ_in_it_alone(tmp_path):
    """Our own search runs each picture setting one way; the rulebook knows the other as well."""
    table = write_table(tmp_path / "table")
    book = ldmopt.run(study(table, trials=8, search="factored"), tmp_path / "run")
    told = {(row["knob"], row["from"], row["to"]): row for row in book.data["effects"]}
    tried = [trial.setting for trial in records.finished(read_run(tmp_path / "run")[2])]
    recorded = Recording.read(table)

    def truth(knob, start, end):
        return np.exp(np.mean([np.log(recorded.cost({**one, knob: end}).seconds
                                      / recorded.cost({**one, knob: start}).seconds)
                               for one in tried]))

    batch = told["batch", 1, 2]
    assert batch["evidence"]["cost_basis"] == MODELLED
    assert batch["seconds_ratio"] == pytest.approx(truth("batch", 1, 2), rel=0.06)
    assert batch["memory_ratio"] == pytest.approx(33 / 31, rel=0.03)
    again = ldmopt.distill(tmp_path / "run")
    assert again.data["effects"] == book.data["effects"]


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match="no-table"):
        ldmopt.run(study(tmp_path / "no-table"), tmp_path / "run")
