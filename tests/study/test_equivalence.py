"""The probe: which execution values leave the picture alone, which do not, and which fail."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ldmopt
from ldmopt.contracts import Block, Setting
from ldmopt.study import records
from ldmopt.study.equivalence import LEAST_DECIBELS, Finding, decibels, spread
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run


@pytest.fixture
def kernels(standin):
    """Writes a study that searches some kernels; returns its path."""

    def write(*values, more="", trials=6):
        listed = ", ".join(f'"{value}"' for value in values)
        return standin(
            ('plugins = ["faults"]', 'plugins = ["executions"]'),
            ("[budget]", f"kernel = [{listed}]\n{more}\n[budget]"),
            ("trials = 8", f"trials = {trials}"),
        )

    return write


def findings(out):
    rows = json.loads((out / "equivalence.json").read_text())["values"]
    return {(row["knob"], row["value"]): row for row in rows}


def frozen(out):
    return read_run(out)[2].user_attrs[records.FROZEN]


def test_psnr_is_what_it_should_be():
    black = np.zeros((4, 6, 3), np.uint8)
    assert decibels(black, black) == float("inf")
    # A mean squared error of 1 on a scale of 255: 20 log10(255).
    assert decibels(black, black + 1) == pytest.approx(48.1308, abs=1e-4)
    assert decibels(black, black + 255) == pytest.approx(0.0)
    assert decibels(black, black[:2]) == 0.0


def test_few_blocks_of_as_many_prompts_as_there_are():
    many = [Block(prompt, seed) for prompt in "abcdefgh" for seed in (0, 1)]
    assert spread(many) == [Block(prompt, 0) for prompt in "aceg"]
    few = [Block(prompt, seed) for prompt in "ab" for seed in (0, 1, 2)]
    assert spread(few) == [Block("a", 0), Block("b", 0), Block("a", 1), Block("b", 1)]


def test_equal_and_nearly_equal_pictures_leave_the_knob_alone(kernels, tmp_path):
    out, states = tmp_path / "run", []
    rulebook = ldmopt.run(kernels("plain", "same", "rounding"), out, report=states.append)
    rows = findings(out)
    # The stand-in's precision leaves the picture as it is.
    assert set(rows) == {("kernel", "same"), ("kernel", "rounding"), ("precision", "bf16")}
    same, near = rows["kernel", "same"], rows["kernel", "rounding"]
    assert same["worst_decibels"] is None
    assert same["quality"] == {"win_rate": 0.5, "low": 0.5, "high": 0.5}
    assert LEAST_DECIBELS < near["worst_decibels"] <= near["median_decibels"] < 60
    assert near["quality"]["low"] < near["quality"]["win_rate"] < near["quality"]["high"]
    assert "kernel" not in frozen(out)["picture_knobs"]
    assert states[-1].notes == ()
    # It is also in the rulebook, which stays valid.
    assert ldmopt.Rulebook.read(out).data == rulebook.data
    assert rulebook.data["scope"]["equivalence"] == list(rows.values())


def test_other_pictures_make_a_picture_knob_that_stays_one(kernels, tmp_path):
    path, out, states = kernels("plain", "same", "other", trials=16), tmp_path / "run", []
    ldmopt.run(path, out, report=states.append)
    assert "kernel" in frozen(out)["picture_knobs"]
    [note] = states[-1].notes
    assert "kernel counts as a picture knob" in note
    assert "kernel=other" in note and "dB" in note
    ldmopt.run(path, out, trials=24, report=states.append)
    shared = {}
    for line in RunFolder(out).read_journal():
        if "digest" in line:
            look = {k: v for k, v in line["setting"].items() if k != "precision"}
            key = Setting(look).json(), line["prompt"], line["seed"]
            # Pictures of one picture setting, the kernel being part of it, are all the same.
            assert shared.setdefault(key, line["digest"]) == line["digest"]
    by_kernel = {}
    for trial in records.finished(read_run(out)[2]):
        look = {k: v for k, v in trial.setting.items() if k not in ("kernel", "precision")}
        value = str(trial.setting["kernel"])
        by_kernel.setdefault(Setting(look).json(), {})[value] = trial.pictures
        # Resuming shares no picture between kernels: each trial has its own kernel's.
        texts = {RunFolder(out).picture_path(d).read_bytes() for d in trial.pictures}
        assert len(texts) == len(trial.pictures)
    both = [found for found in by_kernel.values() if {"other", "plain"} <= set(found)]
    assert all(not set(found["other"]) & set(found["plain"]) for found in both)


def test_pictures_that_are_judged_otherwise_make_a_picture_knob(kernels, tmp_path):
    # Grain of 30.6 dB passes as a distance, but the scorer, which looks for grain, sees it.
    out = tmp_path / "run"
    ldmopt.run(kernels("plain", "worse"), out)
    row = findings(out)["kernel", "worse"]
    assert row["worst_decibels"] > LEAST_DECIBELS
    assert row["quality"]["high"] < 0.45
    assert row["changes_picture"]
    assert "kernel" in frozen(out)["picture_knobs"]


def test_a_value_that_fails_is_left_out_with_its_reason(kernels, tmp_path):
    path, out, states = kernels("plain", "abort", "memory", trials=20), tmp_path / "run", []
    ldmopt.run(path, out, report=states.append)
    rows = findings(out)
    assert rows["kernel", "abort"]["failure"]["kind"] == "crash"
    assert rows["kernel", "memory"]["failure"]["kind"] == "out-of-memory"
    assert frozen(out)["dropped"] == [["kernel", "abort"]]
    assert "kernel=abort is left out of the search: crash: " in states[-1].notes[0]
    assert "kernel=memory fails at the default: out-of-memory: " in states[-1].notes[1]
    study = read_run(out)[2]
    trials = records.finished(study)
    aborted = [trial for trial in trials if trial.setting["kernel"] == "abort"]
    # Told once as a failure, for the list of what to avoid, and never proposed.
    assert [trial.failure["kind"] for trial in aborted] == ["crash"]
    assert not aborted[0].feasible
    choices = {t.distributions["kernel"].choices for t in study.trials if t.distributions}
    assert choices == {("plain", "memory")}
    # Out of memory may be otherwise in a smaller setting, so the search is taught instead: what
    # needs at least as much is told as a failure, and costs no device second.
    tried = [line["setting"] for line in RunFolder(out).read_journal()
             if line.get("failed") == "out-of-memory"]
    assert tried[0] == rows["kernel", "memory"]["setting"]
    cells = [(setting["precision"], setting["guidance"] > 1) for setting in tried]
    assert cells[0] == ("fp32", True) and len(cells) == len(set(cells))
    short = [trial for trial in trials if trial.setting["kernel"] == "memory"]
    assert len(short) > len(tried)
    assert all(trial.failure["kind"] == "out-of-memory" for trial in short)
    told = [t for t in study.trials if t.params.get("kernel") == "memory"]
    assert told and all(t.constraints["failure"] > 0 for t in told)


def test_a_knob_with_nothing_left_stays_at_the_default(kernels, tmp_path):
    path, out = kernels("abort"), tmp_path / "run"
    ldmopt.run(path, out)
    assert {t.setting["kernel"] for t in records.finished(read_run(out)[2]) if t.cost} == {"plain"}
    ldmopt.run(path, out, trials=8)
    assert len(records.finished(read_run(out)[2])) == 8


def test_a_knob_is_compared_where_it_acts(kernels, tmp_path):
    out = tmp_path / "run"
    ldmopt.run(kernels("plain", "other", more='fused = ["off", "on"]'), out)
    row = findings(out)["fused", "on"]
    assert row["setting"]["kernel"] == "other"
    # Compared with the other kernel's own pictures, from which it does not differ.
    assert row["worst_decibels"] is None and not row["changes_picture"]
    assert "fused" not in frozen(out)["picture_knobs"]


def test_a_killed_probe_goes_on_where_it_was(kernels, tmp_path):
    path, out = kernels("plain", "same", "rounding", "abort"), tmp_path / "run"
    command = [sys.executable, "-c", "from ldmopt.cli import main; main()", "run", str(path),
               "--out", str(out)]
    with open(tmp_path / "output.txt", "wb") as output:
        running = subprocess.Popen(command, env=dict(os.environ), stdout=output, stderr=output)
    while not (out / "equivalence.json").exists() and running.poll() is None:
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = findings(out)
    journal = RunFolder(out).read_journal()
    assert before, (tmp_path / "output.txt").read_text()
    states = []
    ldmopt.run(path, out, report=states.append)
    after = findings(out)
    assert list(after)[: len(before)] == list(before)
    assert {key: after[key] for key in before} == before
    assert len(after) == 4
    assert RunFolder(out).read_journal()[: len(journal)] == journal
    made = [(Setting(line["setting"]), line["prompt"], line["seed"])
            for line in RunFolder(out).read_journal() if "digest" in line]
    assert len(made) == len(set(made))


def test_a_generation_killed_before_its_first_trial_is_made_anew(kernels, tmp_path):
    path, out = kernels("plain", "same"), tmp_path / "run"
    ldmopt.run(path, out)
    folder, spec, _ = read_run(out)
    storage = records.open_storage(folder, spec)
    records.create_generation(storage, spec.name, 2, {})
    ldmopt.run(path, out)
    assert records.generations(storage, spec.name) == [1]


def test_findings_survive_their_file():
    finding = Finding("attention", "eager", Setting(attention="eager", steps=3), 41.0, 33.25,
                      {"win_rate": 0.5, "low": 0.4, "high": 0.6})
    assert Finding.from_dict(json.loads(json.dumps(finding.to_dict()))) == finding
    assert not finding.changes_picture and finding.note is None
