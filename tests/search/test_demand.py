"""What settings ask for, counted without running them."""

import pytest

from ldmopt.contracts import Calls, Cost, Setting
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.search.demand import Counter, calls_of


@pytest.fixture(scope="module")
def space():
    return build_space({"steps": 6, "guidance": 5.0, "size": "64x64"}, {},
                       Context(describe("miniature")))


@pytest.mark.parametrize(("values", "calls", "steps"), [
    ({"sampler": "euler"}, {"guided": 6}, 6),
    # Second order: 2N - 1; PNDM without Runge-Kutta steps: N + 1 (GOTCHAS 4).
    ({"sampler": "heun"}, {"guided": 11}, 11),
    ({"sampler": "pndm", "guidance": 1.0}, {"unguided": 7}, 7),
    ({"sampler": "euler", "guidance_end": 0.65}, {"guided": 4, "unguided": 2}, 6),
    ({"sampler": "euler", "deepcache": 3}, {"guided": 2, "cached": 4}, 6),
    ({"sampler": "heun", "deepcache": 2}, {"guided": 6, "cached": 5}, 11),
    ({"sampler": "euler", "deepcache": 3, "guidance_end": 0.65},
     {"guided": 2, "unguided": 1, "cached": 2, "cached_unguided": 1}, 6),
])
def test_calls_are_counted(space, values, calls, steps):
    """As a meter counted them in tests/knobs/test_acceleration.py."""
    demand = Counter(space).demand(space.canonical(values))
    assert (dict(demand.calls), demand.steps) == (calls, steps)


def test_a_demand_holds_what_decides_how_a_call_runs(space):
    counter = Counter(space)
    plain = counter.demand(space.canonical({"batch": 4, "token_merging": 0.375}))
    assert (plain.pixels, plain.batch, plain.guided) == (64 * 64, 4, True)
    assert plain.execution["token_merging"] == pytest.approx(0.5)  # a place in its range
    assert not {"batch", "sampler", "steps", "guidance"} & set(plain.execution)
    # How often layers are reused is counted; what such a call takes is always the same.
    two, five = (counter.demand(space.canonical({"deepcache": n})) for n in (2, 5))
    assert two.execution == five.execution != plain.execution


def reading(evaluations, kind="guided"):
    return Cost(1.0, 1.0, {}, {kind: Calls(evaluations, 0.5), "step": Calls(evaluations, 0.1)})


def test_a_reading_tells_counts_for_every_number_of_steps(space, monkeypatch):
    monkeypatch.setattr(Counter, "_timesteps", lambda self, schedule, steps: steps)
    counter = Counter(space)
    heun = {"sampler": "heun", "sigmas": "karras"}
    assert counter.evaluations(space.canonical({**heun, "steps": 20})) == 20
    counter = Counter(space)
    counter.learn(space.canonical({**heun, "steps": 4}), reading(7))
    assert counter.evaluations(space.canonical({**heun, "steps": 20})) == 39
    # Of another schedule nothing was read; and two steps alone do not tell 2N - 1 from N + 1.
    assert counter.evaluations(space.canonical({"sampler": "heun", "steps": 20})) == 20
    counter.learn(space.canonical({"sampler": "lms", "steps": 2}), reading(3))
    assert counter.evaluations(space.canonical({"sampler": "lms", "steps": 2})) == 3
    assert counter.evaluations(space.canonical({"sampler": "lms", "steps": 20})) == 20


def test_a_reading_tells_whether_guidance_runs_at_all(space):
    counter = Counter(space)
    assert counter.guided(Setting(guidance=7.5)) and not counter.guided(Setting(guidance=1.0))
    counter.learn(space.canonical({}), reading(7, "unguided"))
    assert not counter.guided(Setting(guidance=7.5))


def test_nothing_is_cached_where_every_call_is_whole():
    assert calls_of(5, 0, 1) == {"guided": 5}
