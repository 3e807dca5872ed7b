import json
import sqlite3

import optuna
import pytest

import ldmopt
from ldmopt.contracts import Setting
from ldmopt.errors import UserError
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_evidence, read_run


@pytest.fixture
def done(standin, tmp_path):
    path = standin()
    return path, tmp_path / "run", ldmopt.run(path, tmp_path / "run")


def test_a_study_leaves_what_it_promises(done):
    _, out, rulebook = done
    for name in ("study.toml", "study.db", "blocks.jsonl", "environment.json", "rulebook.json",
                 "rulebook.md", "sheet.png", "front.png"):
        assert (out / name).stat().st_size > 0, name
    assert ldmopt.Rulebook.read(out / "rulebook.json").data == rulebook.data
    folder, spec, study = read_run(out)
    evidence = read_evidence(folder, spec, study)
    assert len(evidence.trials) == 8
    assert evidence.trials[0].setting == evidence.default
    quality = evidence.trials[0].quality
    assert (quality.win_rate, quality.low, quality.high) == (0.5, 0.5, 0.5)
    searched = {(b.prompt, b.seed) for t in evidence.trials for b in t.quality.blocks}
    held_out = {(b.prompt, b.seed) for c in evidence.confirmations.values()
                for b in c.quality.blocks}
    assert not {prompt for prompt, _ in searched} & {prompt for prompt, _ in held_out}
    for trial in evidence.trials:
        assert trial.cost.peak_memory_bytes > 0
        for digest, block in zip(trial.pictures, trial.quality.blocks, strict=True):
            assert folder.picture(digest, block).digest == digest


def test_trials_are_ordinary_optuna_trials(done):
    _, out, _ = done
    study = optuna.load_study(study_name="standin/g1", storage=f"sqlite:///{out}/study.db")
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.metric_names == ["win_rate", "seconds", "peak_memory_bytes"]
    assert len(study.best_trials) >= 1


def test_running_again_makes_nothing_again(done):
    path, out, first = done
    journal = (out / "blocks.jsonl").read_bytes()
    again = ldmopt.run(path, out)
    assert (out / "blocks.jsonl").read_bytes() == journal
    assert again.data["recommendations"] == first.data["recommendations"]


def test_more_budget_goes_on_from_there(done):
    path, out, _ = done
    before = (out / "blocks.jsonl").read_text()
    ldmopt.run(path, out, trials=10)
    assert (out / "blocks.jsonl").read_text().startswith(before)
    assert len(records.finished(read_run(out)[2])) == 10


def test_equal_picture_settings_share_pictures(done):
    _, out, _ = done
    pictures = {}
    for line in RunFolder(out).read_journal():
        if "digest" in line:
            setting = {k: v for k, v in line["setting"].items() if k != "precision"}
            key = (Setting(setting), line["prompt"], line["seed"])
            assert pictures.setdefault(key, line["digest"]) == line["digest"]


def test_device_seconds_end_the_search(standin, tmp_path):
    path = standin(("trials = 8", "device_seconds = 4"))
    ldmopt.run(path, tmp_path / "run")
    folder, spec, study = read_run(tmp_path / "run")
    spent = sum(line.get("busy_seconds", 0) for line in folder.read_journal())
    assert spent < 8
    assert len(records.finished(study)) > 1


def test_failures_are_told_and_stay_out_of_the_rulebook(standin, tmp_path):
    path = standin(("[budget]", 'fault = ["none", "nan", "abort", "hang"]\n[budget]'),
                   ("trials = 8", "trials = 16"))
    rulebook = ldmopt.run(path, tmp_path / "run")
    _, _, study = read_run(tmp_path / "run")
    failed = [trial for trial in records.finished(study) if trial.failure]
    assert {trial.failure["kind"] for trial in failed} <= {"nan", "crash", "deadline"}
    assert failed and not any(trial.feasible for trial in failed)
    best = {trial.user_attrs["setting"]["fault"] for trial in study.best_trials}
    assert best == {"none"}
    for item in rulebook.data["recommendations"] + rulebook.data["front"]:
        assert item["setting"]["fault"] == "none"


def test_caps_are_constraints(standin, tmp_path):
    path = standin(("[budget]", "[caps]\nseconds = 0.006\n[budget]"))
    ldmopt.run(path, tmp_path / "run")
    for trial in records.finished(read_run(tmp_path / "run")[2]):
        assert trial.feasible == (trial.cost.latency_seconds <= 0.006)


def test_a_default_that_fails_stops_with_its_name(standin, tmp_path):
    path = standin(("steps = 30\n[space]", 'steps = 30\nfault = "nan"\n[space]'))
    with pytest.raises(UserError, match="default setting .*fault=nan.* gives no picture"):
        ldmopt.run(path, tmp_path / "run")


def test_another_study_is_refused(done, standin):
    _, out, _ = done
    with pytest.raises(UserError, match="holds the study 'standin', not 'other'"):
        ldmopt.run(standin(('"standin"\nmodel', '"other"\nmodel'), name="o.toml"), out)
    with pytest.raises(UserError, match=r"has changed since.*\(seeds\)"):
        ldmopt.run(standin(("seeds = 2", "seeds = 1"), name="p.toml"), out)


def test_a_run_in_use_is_refused(done):
    path, out, _ = done
    with RunFolder(out).lock(), pytest.raises(UserError, match="in use by process"):
        ldmopt.run(path, out)


@pytest.mark.parametrize("keep", [0.5, 100])
def test_a_truncated_database_is_said_and_nothing_is_lost(done, keep):
    path, out, _ = done
    connection = sqlite3.connect(out / "study.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = (out / "study.db").read_bytes()
    (out / "study.db").write_bytes(whole[: keep if keep > 1 else int(len(whole) * keep)])
    with pytest.raises(UserError, match="cannot be used.*move it away and run again"):
        ldmopt.run(path, out, trials=12)
    (out / "study.db").rename(out / "study.db.damaged")
    lines = (out / "blocks.jsonl").read_text().splitlines()
    ldmopt.run(path, out)
    kept = (out / "blocks.jsonl").read_text().splitlines()
    assert kept[: len(lines)] == lines


def test_a_spec_made_in_python_runs_too(tmp_path):
    spec = ldmopt.StudySpec.model_validate({
        "name": "made", "model": "standin", "prompts": {"search": 3, "confirm": 3}, "seeds": 1,
        "default": {"steps": 10}, "space": {"steps": [2, 20]}, "budget": {"trials": 3},
        "scorer": {"encoder": "standin"},
    })
    ldmopt.run(spec, tmp_path / "run")
    assert ldmopt.read_spec(tmp_path / "run" / "study.toml") == spec
    ldmopt.run(tmp_path / "run" / "study.toml", tmp_path / "run")


def test_progress_is_reported(standin, tmp_path):
    states = []
    ldmopt.run(standin(), tmp_path / "run", report=states.append)
    stages = list(dict.fromkeys(state.stage for state in states))
    assert stages == ["default", "probe", "search", "confirm", "distill", "done"]
    assert states[-1].trials == 8
    assert states[-1].front
    assert states[-1].spent_seconds > 0


def test_environment_says_where(done):
    facts = json.loads((done[1] / "environment.json").read_text())
    assert facts["device"] == "cpu"
    assert facts["model"] == "standin"
    assert "optuna" in facts["packages"]


def test_what_cannot_run_costs_nothing_of_the_budget(standin, tmp_path):
    path = standin(('precision = ["fp32", "bf16"]',
                    'precision = ["fp32", "bf16"]\nchoosy = ["off", "on"]'))
    ldmopt.run(path, tmp_path / "run")
    *_, study = read_run(tmp_path / "run")
    finished = records.finished(study)
    refused = [trial for trial in finished if trial.failure is not None]
    assert refused and {trial.failure["kind"] for trial in refused} == {"refused"}
    assert all(trial.setting["choosy"] == "on" for trial in refused)
    assert len(finished) - len(refused) == 8
