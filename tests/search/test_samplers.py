import optuna
import pytest

from ldmopt import registry
from ldmopt.errors import UserError
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.search import asking_order, distribution, make_sampler, suggest

CONTEXT = Context(describe("standin"), "cpu", {})
SEARCHED = {
    "sigmas": ["default", "karras"], "sampler": ["ddim", "euler"],
    "steps": {"low": 4, "high": 50, "log": True}, "guidance": {"low": 1, "high": 9, "step": 0.5},
    "size": ["64x64", "96x64"],
}


@pytest.fixture
def space():
    return build_space({}, SEARCHED, CONTEXT)


def settings(space, name, seed, count=14):
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"], sampler=make_sampler(name, seed)
    )
    found = []
    for _ in range(count):
        trial = study.ask()
        setting = space.canonical(suggest(trial, space))
        trial.set_constraint("failure", 0.0)
        found.append(setting)
        study.tell(trial, [setting["guidance"] / 9, setting["steps"], 1.0])
    return found


@pytest.mark.parametrize("name", registry.names("ldmopt.search.samplers"))
def test_every_sampler_proposes_legal_settings_and_repeats_itself(space, name):
    found = settings(space, name, seed=3)
    assert found == settings(space, name, seed=3)
    assert len(set(found)) > 5
    for setting in found:
        assert ("sigmas" in setting) == (setting["sampler"] == "euler")
        assert 4 <= setting["steps"] <= 50
        assert setting["guidance"] % 0.5 == 0


def test_knobs_that_others_depend_on_are_asked_first(space):
    assert asking_order(space)[0] == "sampler"


def test_distributions_match_what_is_suggested(space):
    study = optuna.create_study()
    trial = study.ask()
    suggest(trial, space)
    for name, item in trial.distributions.items():
        assert item == distribution(space.searched[name])


def test_unknown_sampler():
    with pytest.raises(UserError, match="did you mean 'tpe'"):
        make_sampler("tpee", 0)
