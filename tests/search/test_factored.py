import math
import pickle

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState, create_trial

from ldmopt.search.factored import FactoredSampler
from ldmopt.search.hypervolume import hypervolume
from ldmopt.search.priced import Rules
from ldmopt.search.prices import one_by_one

DIRECTIONS = ["maximize", "minimize", "minimize"]
SPACE = {
    "sampler": CategoricalDistribution(["ddim", "euler"]),
    "steps": IntDistribution(2, 18, log=True),
    "guidance": FloatDistribution(1, 9, step=1),
    "attention": CategoricalDistribution(["eager", "sdpa"]),
    "batch": IntDistribution(1, 4),
}
PICTURE = {"sampler", "steps", "guidance"}


class TestConformance(
    BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase
):
    @pytest.fixture
    def sampler(self):
        return lambda: FactoredSampler(seed=0, startup=4)


def quality(params):
    need = {"ddim": 8, "euler": 5}[params["sampler"]]
    off = 1.0 if params["guidance"] == 1 else abs(params["guidance"] - 5) / 8
    return 0.8 / (1 + (need / params["steps"]) ** 2) * (1 - 0.6 * off)


def costs(params):
    unit = 0.1 * {"eager": 1.0, "sdpa": 0.7}[params["attention"]] * params["batch"] ** -0.3
    seconds = 0.05 + unit * params["steps"] * (1 + (params["guidance"] > 1))
    return seconds, 1e9 * (1 + 0.4 * params["batch"])


def price(params):
    return (*costs(params), 10 * costs(params)[0])


def priced(seed=0, **more):
    return FactoredSampler(seed=seed, picture=PICTURE, prices=one_by_one(price), space=SPACE,
                           jumps={"guidance": 1.0}, **more)


def suggest(trial):
    return {name: trial.suggest_categorical(name, item.choices)
            if isinstance(item, CategoricalDistribution)
            else trial.suggest_int(name, item.low, item.high, log=item.log)
            if isinstance(item, IntDistribution)
            else trial.suggest_float(name, item.low, item.high, step=item.step)
            for name, item in SPACE.items()}


def create(sampler, directions=DIRECTIONS):
    return optuna.create_study(directions=directions, sampler=sampler)


def search(study, count, tell=lambda study, trial, params: study.tell(
        trial, (quality(params), *costs(params)))):
    found = []
    for _ in range(count):
        trial = study.ask()
        params = suggest(trial)
        found.append(params)
        tell(study, trial, params)
    return found


def volume(found):
    """Of the known pictures' whole cost front."""
    cells = []
    for params in found:
        for attention in ("eager", "sdpa"):
            for batch in (1, 2, 3, 4):
                cost = costs({**params, "attention": attention, "batch": batch})
                cells.append((quality(params), -math.log(cost[0]), -math.log(cost[1])))
    return hypervolume(np.array(cells), np.array([0.0, -math.log(9.0), -math.log(3e9)]))


@pytest.mark.parametrize("sampler", [priced, lambda seed: FactoredSampler(seed=seed)])
def test_a_seed_repeats_itself_and_another_does_not(sampler):
    found = search(create(sampler(seed=3)), 14)
    assert found == search(create(sampler(seed=3)), 14)
    if sampler is not priced:
        assert found != search(create(sampler(seed=4)), 14)


def test_resumed_search_goes_on_as_if_never_stopped():
    whole, first = create(priced()), create(priced())
    wanted = search(whole, 14)
    found = search(first, 9)
    first.sampler = priced()
    assert found + search(first, 5) == wanted


def test_prices_find_more_for_fewer_device_seconds():
    ours = search(create(priced()), 40)
    spent = sum(price(params)[2] for params in ours)
    for seed in range(4):
        study = create(optuna.samplers.RandomSampler(seed=seed))
        drawn = search(study, 120)
        total, kept = 0.0, []
        for params in drawn:
            total += price(params)[2]
            if total > 1.5 * spent:
                break
            kept.append(params)
        assert volume(ours) > volume(kept)
    assert len({tuple(p[name] for name in sorted(PICTURE)) for p in ours}) == 40


def test_a_picture_setting_is_run_the_fastest_way():
    for params in search(create(priced()), 6):
        assert (params["attention"], params["batch"]) == ("sdpa", 4)


def test_without_filling_in_ways_of_running_are_measured_too():
    found = search(create(priced(rules=Rules(fill_in=False))), 25)
    pictures = {tuple(params[name] for name in sorted(PICTURE)) for params in found}
    assert len(pictures) < 25
    assert len({tuple(params.items()) for params in found}) == 25
    assert len({params["batch"] for params in found}) > 1


@pytest.mark.parametrize("sampler", [priced, lambda: FactoredSampler(seed=0, space=SPACE)])
def test_workers_get_different_settings(sampler):
    study = create(sampler())
    search(study, 12)
    found = [suggest(trial) for trial in [study.ask() for _ in range(4)]]
    assert len({tuple(params[name] for name in sorted(PICTURE)) for params in found}) >= 3
    assert len({tuple(params.items()) for params in found}) == 4


@pytest.mark.parametrize("sampler", [priced, lambda: FactoredSampler(seed=0, space=SPACE)])
@pytest.mark.parametrize("before", [0, 12])
def test_workers_of_their_own_know_what_the_others_try(sampler, before):
    """All four ask before any has stored what it was proposed, as processes may."""
    first = create(sampler())
    search(first, before)
    first.enqueue_trial(queued := {"sampler": "ddim", "steps": 4, "guidance": 3.0,
                                   "attention": "eager", "batch": 1})
    workers = [optuna.load_study(study_name=first.study_name, storage=first._storage,
                                 sampler=sampler()) for _ in range(4)]
    asked = [worker.ask() for worker in workers]
    found = [suggest(trial) for trial in asked]
    assert found[0] == queued
    assert len({tuple(params[name] for name in sorted(PICTURE)) for params in found}) == 4
    one = create(sampler())
    search(one, before)
    one.enqueue_trial(queued)
    assert found == [suggest(trial) for trial in [one.ask() for _ in range(4)]]


def broken(params):
    """What does not fit into memory: many steps do not matter, the way of running does."""
    return params["attention"] == "sdpa"


def tell_failure(study, trial, params):
    fails = broken(params)
    trial.set_constraint("failure", 1.0 if fails else 0.0)
    values = (0.0, 60.0, 9e9) if fails else (quality(params), *costs(params))
    study.tell(trial, values)


@pytest.mark.parametrize("sampler", [priced, lambda: FactoredSampler(seed=0, space=SPACE)])
def test_failures_are_learned(sampler):
    found = search(create(sampler()), 40, tell_failure)
    late = sum(broken(params) for params in found[20:])
    assert late <= 6
    failed = [tuple(params.items()) for params in found if broken(params)]
    assert len(set(failed)) == len(failed)


@pytest.mark.parametrize("sampler", [priced, lambda: FactoredSampler(seed=0, space=SPACE)])
def test_everything_fails(sampler):
    def tell(study, trial, params):
        trial.set_constraint("failure", 1.0)
        study.tell(trial, (0.0, 60.0, 9e9))

    found = search(create(sampler()), 25, tell)
    assert len({tuple(params.items()) for params in found}) == 25


@pytest.mark.parametrize("sampler", [priced, lambda: FactoredSampler(seed=0, space=SPACE)])
@pytest.mark.parametrize("values", [(0.5, 1.0, 1e9), (float("nan"), 1.0, 1.0), (0.0, 0.0, 0.0)])
def test_constant_and_missing_scores(sampler, values):
    def tell(study, trial, params):
        study.tell(trial, values) if np.isfinite(values).all() else study.tell(
            trial, state=TrialState.FAIL)

    found = search(create(sampler()), 25, tell)
    assert len({tuple(params.items()) for params in found}) >= 20


def test_earlier_trials_are_learned_from():
    cold, warm = create(priced()), create(priced())
    donor = create(optuna.samplers.RandomSampler(seed=1))
    search(donor, 30)
    for trial in donor.trials:
        warm.add_trial(create_trial(values=trial.values, params=trial.params,
                                    distributions=trial.distributions))
    best = max(quality(params) for params in search(warm, 4))
    assert best > 0.5
    seen = {tuple(trial.params[name] for name in sorted(PICTURE)) for trial in donor.trials}
    new = [tuple(params[name] for name in sorted(PICTURE)) for params in search(warm, 5)]
    assert not seen & set(new)
    assert search(cold, 1) != search(warm, 1)


def test_limits_are_kept():
    rules = Rules(limits=(1.0, 1.9e9))
    for params in search(create(priced(rules=rules)), 12):
        assert costs(params)[0] <= 1.0 and costs(params)[1] <= 1.9e9


def test_limits_that_nothing_meets():
    with pytest.raises(ValueError, match="within the limits"):
        suggest(create(priced(rules=Rules(limits=(1e-9, None)))).ask())


def test_raced_out_trials_teach_with_their_variance():
    def evidence(trial):
        return trial.user_attrs.get("read", (trial.values or [None])[0]), \
            trial.user_attrs.get("variance", 0.0)

    def tell(study, trial, params):
        if trial.number % 2:
            trial.set_user_attr("read", quality(params) + 0.1)
            trial.set_user_attr("variance", 0.02)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, (quality(params), *costs(params)))

    found = search(create(priced(evidence=evidence)), 20, tell)
    assert len({tuple(params.items()) for params in found}) == 20


def test_conditional_parameters_without_a_given_space():
    study = create(FactoredSampler(seed=0, startup=4))
    for _ in range(20):
        trial = study.ask()
        steps = trial.suggest_int("steps", 2, 40, log=True)
        value = quality({"sampler": "euler", "steps": steps, "guidance": 5})
        if trial.suggest_categorical("sampler", ["ddim", "euler"]) == "euler":
            value += 0.1 * (trial.suggest_categorical("sigmas", ["default", "karras"]) == "karras")
        study.tell(trial, (value, steps, 1.0))
    last = [trial.params for trial in study.trials[10:]]
    assert sum(params.get("sigmas") == "karras" for params in last) >= 3


def test_a_space_that_is_used_up():
    space = {"x": IntDistribution(0, 2), "y": CategoricalDistribution(["a", "b"])}
    for sampler in (FactoredSampler(seed=0, space=space), FactoredSampler(
            seed=0, space=space, picture={"x"}, prices=one_by_one(lambda params: (1.0, 1.0)))):
        study = create(sampler, ["maximize", "minimize"])
        for _ in range(12):
            trial = study.ask()
            x = trial.suggest_int("x", 0, 2)
            trial.suggest_categorical("y", ["a", "b"])
            study.tell(trial, (float(x), 1.0))
        assert {trial.params["x"] for trial in study.trials} == {0, 1, 2}


def test_more_objectives_than_it_can():
    study = create(FactoredSampler(seed=0, space=SPACE), ["minimize"] * 4)
    with pytest.raises(ValueError, match="up to three"):
        suggest(study.ask())


def test_costs_cannot_be_maximised():
    with pytest.raises(ValueError, match="costs to minimise"):
        suggest(create(priced(), ["maximize", "maximize", "minimize"]).ask())


def test_a_copy_goes_on_alike():
    study = create(FactoredSampler(seed=0, space=SPACE))
    search(study, 12)
    other = create(pickle.loads(pickle.dumps(study.sampler)))
    other.add_trials(study.trials)
    assert search(other, 2) == search(study, 2)
