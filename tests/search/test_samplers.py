import optuna
import pytest

from ldmopt import registry
from ldmopt.errors import UserError
from ldmopt.knob import Context, Number, build_space
from ldmopt.model import describe
from ldmopt.search import asking_order, conditional, distribution, make_sampler, suggest
from ldmopt.search.samplers.grid import values

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
        directions=["maximize", "minimize", "minimize"], sampler=make_sampler(name, seed, space)
    )
    found = []
    for _ in range(count):
        trial = study.ask()
        setting = space.canonical(suggest(trial, space))
        trial.set_constraint("failure", 0.0)
        found.append(setting)
        study.tell(trial, [setting["guidance"] / 9, setting["steps"], 1.0])
    return found


PLAIN = {name: values for name, values in SEARCHED.items() if name != "sigmas"}


@pytest.mark.parametrize("name", registry.names("ldmopt.search.samplers"))
def test_every_sampler_proposes_legal_settings_and_repeats_itself(space, name):
    if name == "gp":
        space = build_space({}, PLAIN, CONTEXT)
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


def test_unknown_sampler(space):
    with pytest.raises(UserError, match="did you mean 'tpe'"):
        make_sampler("tpee", 0, space)


def test_gp_refuses_conditional_knobs(space):
    assert conditional(space) == {"sigmas": "sampler"}
    with pytest.raises(UserError, match="gp' cannot search sigmas.*of sampler; leave one"):
        make_sampler("gp", 0, space)


def test_a_grid_is_coarse_and_on_the_steps():
    assert values(Number(1.0, 12.0, step=0.5), 5) == [1.0, 4.0, 6.5, 9.0, 12.0]
    assert values(Number(4, 50, whole=True, log=True), 5) == [4, 8, 14, 27, 50]
    assert values(Number(2, 4, whole=True), 5) == [2, 3, 4]
    assert values(Number(1.0, 2.0, step=0.4), 3) == [1.0, 1.4, 1.8]


def test_a_grid_too_large_says_so():
    many = build_space({}, {"steps": list(range(1, 101)), "guidance": list(range(1, 61)),
        "size": [f"{8 * side}x64" for side in range(8, 32)]}, CONTEXT)
    with pytest.raises(UserError, match="more than 100000 combinations"):
        make_sampler("grid", 0, many)
