"""Real faults through a whole study: each is a finished trial, and the study goes on."""

import faults
import pytest
from optuna.trial import TrialState

import ldmopt
from ldmopt.study import records
from ldmopt.study.output import read_run

KINDS = ["none", *faults.EXPECTED]
DEADLINE_SECONDS = 5.0
"""Long enough that no sound picture misses it on a busy machine."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A study whose one searched knob breaks the pipeline in every way that there is."""
    out = tmp_path_factory.mktemp("faults") / "run"
    spec = ldmopt.StudySpec.model_validate({
        "name": "faults", "model": "standin", "prompts": {"search": 2, "confirm": 2}, "seeds": 1,
        "plugins": ["faults"], "deadline_seconds": DEADLINE_SECONDS, "search": "random",
        "default": {"steps": 4}, "space": {"fault": KINDS, "steps": [4, 6]},
        "budget": {"trials": 2 * len(KINDS)}, "scorer": {"encoder": "standin"},
        "caps": {"seconds": 100.0, "memory_gb": 4.0},
    })
    rulebook = ldmopt.run(spec, out)
    return rulebook, *read_run(out)


def trials_of(study, kind):
    return [trial for trial in study.get_trials() if trial.user_attrs["setting"]["fault"] == kind]


@pytest.mark.parametrize("kind", faults.EXPECTED)
def test_a_fault_is_a_finished_trial_that_says_why(ended, kind):
    _, _, _, study = ended
    found = [trial for trial in trials_of(study, kind) if "failure" in trial.user_attrs]
    assert found and len(found) == len(trials_of(study, kind))
    for trial in found:
        assert trial.state is TrialState.COMPLETE
        # No win, the longest and the most that were allowed.
        assert trial.values == [0.0, 100.0, 4e9]
        assert trial.constraints["failure"] > 0
        failure = trial.user_attrs["failure"]
        assert failure["kind"] == faults.EXPECTED[kind]
        assert failure["reason"] and "\n" not in failure["reason"]


def test_the_study_goes_on_after_each(ended):
    rulebook, folder, _, study = ended
    finished = records.finished(study)
    sound = [trial for trial in finished if trial.setting["fault"] == "none"]
    assert {trial.setting["steps"] for trial in sound} == {4, 6}
    assert all(trial.feasible and trial.cost and len(trial.pictures) == 2 for trial in sound)
    assert len(finished) == 2 * len(KINDS)
    assert finished[-1].number > len(faults.EXPECTED)
    for item in rulebook.data["recommendations"] + rulebook.data["front"]:
        assert item["setting"]["fault"] == "none"
    # What a failed setting took is booked too: a hang took its deadline.
    lines = [line for line in folder.read_journal() if "failed" in line]
    assert {line["setting"]["fault"] for line in lines} == set(faults.EXPECTED)
    hung = [line["busy_seconds"] for line in lines if line["failed"] == "deadline"]
    assert min(hung) >= DEADLINE_SECONDS


def test_faults_are_warned_of(ended):
    rulebook, *_ = ended
    warned = {str(value) for item in rulebook.data["avoid"] if "fault" in item["when"]
              for value in (item["when"]["fault"] if isinstance(item["when"]["fault"], list)
                            else [item["when"]["fault"]])}
    assert warned == set(faults.EXPECTED)


@pytest.mark.real
def test_nan_latents_of_a_real_pipeline_and_a_batch_that_goes_on(tmp_path):
    spec = ldmopt.StudySpec.model_validate({
        "name": "nan", "prompts": {"search": 2, "confirm": 2}, "seeds": 1, "plugins": ["faults"],
        "default": {"steps": 3, "sampler": "ddim"},
        "space": {"poison": ["off", "on"], "batch": [1, 2]}, "search": "random",
        "budget": {"trials": 4}, "scorer": {"encoder": "standin"},
    })
    ldmopt.run(spec, tmp_path / "run")
    _, _, study = read_run(tmp_path / "run")
    for trial in records.finished(study):
        if trial.setting["poison"] == "on":
            assert trial.failure["kind"] == "nan"
        else:
            assert trial.cost.batch == trial.setting["batch"]
