"""The cost model on machines whose every cost is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from ldmopt.contracts import Calls, Cost
from ldmopt.search.cost import CostModel, parts
from ldmopt.search.demand import Demand

KNOBS = {
    "precision": ("fp32", "fp16"), "attention": ("sdpa", "eager", "sliced"),
    "compile": ("off", "default"),
}
SIZES = (256 * 256, 512 * 512, 768 * 768)
SAMPLERS = {"ddim": 0.0004, "lms": 0.003}


class Machine:
    """A machine whose knobs multiply, and partly work on each other."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.main = {(k, v): rng.normal(0, 0.35) for k, vs in KNOBS.items() for v in vs}
        self.pair = {(a, b): rng.normal(0, 0.03) for a in self.main for b in self.main if a < b}
        self.bend = {key: rng.normal(0, 0.03) for key in self.main}

    def unit(self, demand, base, growth, weight):
        chosen = sorted(demand.execution.items())
        log = np.log(base) + weight * sum(self.main[item] for item in chosen)
        log += weight * sum(self.pair[pair] for pair in itertools.combinations(chosen, 2))
        area = np.log(demand.pixels / 512**2)
        log += area * (growth + sum(self.bend[item] for item in chosen))
        return float(np.exp(log - 0.1 * np.log(demand.batch)))

    def cost(self, demand, noise=0.005):
        def read(value):
            return value * float(np.exp(self.rng.normal(0, noise)))

        guided = {"guided": 0.06, "unguided": 0.031}
        calls = {kind: Calls(count, count * read(self.unit(demand, guided[kind], 1.1, 1.0)))
                 for kind, count in demand.calls.items()}
        inside = sum(call.seconds for call in calls.values())
        phases = {"encode": read(0.01), "other": read(0.002),
                  "decode": read(self.unit(demand, 0.05, 1.0, 0.6)),
                  "denoise": inside + demand.steps * read(SAMPLERS[demand.sampler])}
        seconds = sum(phases.values())
        peak = 2e9 * np.exp(0.5 * self.main["precision", demand.execution["precision"]])
        peak += 3000.0 * demand.pixels * demand.batch * (1.6 if demand.guided else 1.0)
        return Cost(seconds, seconds * demand.batch, phases, calls, round(peak),
                    seconds_low=seconds * (1 - noise), seconds_high=seconds * (1 + noise))


def demand(values, pixels, batch=1, steps=4, guided=True, sampler="ddim"):
    calls = {"guided" if guided else "unguided": steps}
    return Demand(dict(zip(KNOBS, values, strict=True)), pixels, batch, calls, steps, sampler)


def every(steps=20, **more):
    return [demand(values, pixels, batch, steps, guided, sampler=sampler, **more)
            for values in itertools.product(*KNOBS.values()) for pixels in SIZES
            for batch in (1, 4) for guided in (True, False) for sampler in SAMPLERS]


def few():
    """One knob turned at a time, three sizes, a batch, no guidance, the other sampler."""
    base = tuple(values[0] for values in KNOBS.values())
    found = [demand(base, pixels) for pixels in SIZES]
    for place, values in enumerate(KNOBS.values()):
        for value in values[1:]:
            found += [demand((*base[:place], value, *base[place + 1:]), pixels)
                      for pixels in SIZES[::2]]
    found += [demand(base, SIZES[1], batch=4), demand(base, SIZES[1], guided=False),
              demand(base, SIZES[1], sampler="lms")]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_few_short_runs_price_every_setting(seed):
    machine = Machine(seed)
    probes = few()
    model = CostModel.learn([(item, machine.cost(item)) for item in probes])
    grid = every()
    truth = [machine.cost(item, noise=0.0) for item in grid]
    predicted = [model.seconds(item) for item in grid]
    error = np.abs([p.value / t.seconds - 1 for p, t in zip(predicted, truth, strict=True)])
    assert np.median(error) < 0.1
    surprise = [np.log(t.seconds / p.value) / p.deviation
                for p, t in zip(predicted, truth, strict=True)]
    assert np.mean(np.abs(surprise) < 1.96) > 0.85
    bytes_error = np.abs([model.memory(item).value / t.peak_memory_bytes - 1
                          for item, t in zip(grid, truth, strict=True)])
    assert np.median(bytes_error) < 0.08


def test_chosen_probes_bring_the_error_down_faster_than_drawn_ones():
    """Readings of whole executions, chosen by what they say, against random ones, for 3 seconds."""
    targets = every()[::9]
    errors = {"chosen": [], "drawn": []}
    for seed, way in itertools.product(range(2), errors):
        machine, rng = Machine(10 + seed), np.random.default_rng(seed)
        candidates = [item for item in every(steps=2) if item.sampler == "ddim" and item.batch == 1]
        readings, spent = [(item, machine.cost(item)) for item in few()[:3]], 0.0
        model = CostModel.learn(readings)
        while spent < 3.0:
            place = (model.next_probe(candidates, targets) if way == "chosen"
                     else int(rng.integers(len(candidates))))
            readings.append((candidates[place], machine.cost(candidates.pop(place))))
            spent += readings[-1][1].seconds
            model = CostModel.learn(readings)
        truth = [machine.cost(item, noise=0.0).seconds for item in targets]
        errors[way].append(np.mean([abs(np.log(model.seconds(item).value / t))
                                    for item, t in zip(targets, truth, strict=True)]))
    assert np.mean(errors["chosen"]) < np.mean(errors["drawn"])


def test_a_reading_that_does_not_fit_is_noticed():
    machine = Machine(5)
    model = CostModel.learn([(item, machine.cost(item)) for item in few()])
    odd = demand(("fp16", "eager", "off"), SIZES[1], steps=20)
    fair = machine.cost(odd)
    assert not model.contradicts(odd, fair)
    slow = {kind: Calls(call.count, 3 * call.seconds)
            for kind, call in fair.calls_by_kind.items()}
    assert model.contradicts(odd, Cost(3 * fair.seconds, 3 * fair.seconds,
                                       fair.seconds_by_phase, slow))


def test_what_was_read_is_predicted_as_read():
    machine = Machine(6)
    probes = few()
    costs = [machine.cost(item) for item in probes]
    model = CostModel.learn(list(zip(probes, costs, strict=True)))
    for item, cost in zip(probes, costs, strict=True):
        assert model.seconds(item).value == pytest.approx(cost.seconds, rel=0.03)


def test_a_change_is_surer_than_the_two_costs_it_parts():
    """What both have in common cancels: steps alone are counted, precision has to be known."""
    machine = Machine(8)
    model = CostModel.learn([(item, machine.cost(item)) for item in few()])
    values = tuple(found[0] for found in KNOBS.values())
    short, long = (demand(values, SIZES[1], steps=steps) for steps in (10, 30))
    change = model.change([short], [long])
    truth = [machine.cost(item, noise=0.0).seconds for item in (short, long)]
    assert change.value == pytest.approx(model.seconds(long).value / model.seconds(short).value)
    assert change.value == pytest.approx(truth[1] / truth[0], rel=0.02)
    assert change.deviation < 0.5 * model.seconds(long).deviation
    half = demand(("fp16", *values[1:]), SIZES[1], steps=30)
    real = machine.cost(half, noise=0.0)
    assert model.change([long], [half]).value == pytest.approx(real.seconds / truth[1], rel=0.06)
    assert model.memory_change([long], [half]).value == pytest.approx(
        real.peak_memory_bytes / machine.cost(long).peak_memory_bytes, rel=0.06)
    none = model.change([short, long], [short, long])
    assert (none.value, none.deviation) == (1.0, 0.0)


def test_parts_sum_to_the_picture():
    machine = Machine(7)
    item = demand(("fp32", "sdpa", "off"), SIZES[0], steps=7)
    cost = machine.cost(item)
    found = parts(item, cost)
    total = found["guided"] * 7 + found["step"] * 7 + found["decode"] + found["fixed"]
    assert total == pytest.approx(cost.seconds, rel=1e-9)


def test_without_readings_there_is_no_model():
    with pytest.raises(ValueError, match="reading"):
        CostModel.learn([])


def test_memory_that_jumps_with_precision_and_size_is_learned():
    """As bf16 on a CPU, which keeps another copy of the weights except at one size."""
    def peak(item):
        whole = 30e6 if item.execution["precision"] == "fp32" else 16e6
        if item.execution["precision"] == "fp16" and item.pixels != SIZES[1]:
            whole *= 1.8
        return round(whole + 3.0 * item.pixels * item.batch)

    grid = [item for item in every() if item.sampler == "ddim"]
    machine, rng = Machine(8), np.random.default_rng(0)
    model = CostModel.learn([(grid[0], replace(machine.cost(grid[0]), peak_memory_bytes=None))],
                            [(grid[place], peak(grid[place]))
                             for place in rng.permutation(len(grid))[:40]])
    error = np.abs(model.memories(grid)[0] / [peak(item) for item in grid] - 1)
    assert np.median(error) < 0.05 and np.quantile(error, 0.9) < 0.2
