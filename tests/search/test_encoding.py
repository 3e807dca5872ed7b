import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from ldmopt.search.encoding import Encoding, grid, learned_conditions, levels, place, scaled

SPACE = {
    "sampler": CategoricalDistribution(["ddim", "euler"]),
    "sigmas": CategoricalDistribution(["default", "karras"]),
    "steps": IntDistribution(4, 48, log=True),
}


def canonical(params):
    return {name: value for name, value in params.items()
            if name != "sigmas" or params["sampler"] == "euler"}


def test_rows_and_params_are_inverse():
    encoding = Encoding(SPACE)
    params = {"sampler": "euler", "steps": 7}
    assert encoding.params(encoding.row(params)) == params
    assert isinstance(encoding.params(encoding.row(params))["steps"], int)


@pytest.mark.parametrize("encoding", [
    Encoding(SPACE, canonical=canonical),
    Encoding(SPACE, conditions={"sigmas": ("sampler", frozenset({1.0}))}),
])
def test_what_does_not_act_is_blank_and_told_apart(encoding):
    every = encoding.every()
    assert len(every) == 45 + 2 * 45
    for row in every:
        params = encoding.params(row)
        assert ("sigmas" in params) == (params["sampler"] == "euler")
    features = encoding.features(every)
    assert len(np.unique(np.hstack([features.coordinates, features.flags]), axis=0)) == len(every)
    for group in range(features.group_count):
        assert (features.flags[:, features.groups == group].sum(axis=1) == 1).all()


def test_conditions_from_trials():
    seen = [{"sampler": "ddim", "steps": 5}, {"sampler": "euler", "steps": 5, "sigmas": "karras"}]
    assert learned_conditions(SPACE, seen) == {"sigmas": ("sampler", frozenset({1.0}))}
    seen.append({"sampler": "ddim", "steps": 5, "sigmas": "karras"})
    assert "sigmas" not in {k for k, v in learned_conditions(SPACE, seen).items()
                            if v[0] == "sampler"}


@pytest.mark.parametrize("item", [
    IntDistribution(3, 9, step=2), IntDistribution(1, 100, log=True),
    FloatDistribution(-1.0, 1.0, step=0.25), FloatDistribution(1e-5, 1.0, log=True),
    FloatDistribution(0.0, 3.0), CategoricalDistribution([None, True, "x"]),
])
def test_places_are_legal_and_reach_all(item):
    values = place(item, np.random.default_rng(0).random(3000))
    external = {item.to_external_repr(float(value)) for value in values}
    assert all(item._contains(item.to_internal_repr(value)) for value in external)
    if math.isfinite(levels(item)):
        assert len(external) == levels(item) == len(grid(item))
    if not isinstance(item, CategoricalDistribution):
        assert ((scaled(item, values) >= 0) & (scaled(item, values) <= 1)).all()


def test_neighbours_lie_near():
    encoding = Encoding({f"x{i}": IntDistribution(0, 20) for i in range(6)})
    rng = np.random.default_rng(0)
    origin = np.full((1, 6), 10.0)
    near = encoding.near(origin, 200, rng)
    changed = (near != origin).sum(axis=1)
    assert 0.5 < np.mean(changed) < 3
    assert len(near) > 50


def test_jumps_and_lines():
    encoding = Encoding({"guidance": FloatDistribution(1, 9), "size": CategoricalDistribution(
        ["64x64", "32x32"])}, jumps={"guidance": 1.0}, ordered={"size": lambda size: len(size)})
    features = encoding.features(np.array([[1.0, 0], [1.1, 0]]))
    assert features.flags[0].tolist() != features.flags[1].tolist()
    assert features.coordinates.shape == (2, 2)
