"""Prices of a whole space at once."""

import itertools
import time

import numpy as np
import pytest

from ldmopt.contracts import Calls, Cost
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.search.cost import CostModel
from ldmopt.search.demand import Counter
from ldmopt.search.pricing import Limits, Pricing

PACKAGES = {"onnxruntime": "1", "optimum-onnx": "1"}
GRID = {"sampler": ("euler", "heun"), "steps": (4, 20), "guidance": (1.0, 7.5),
        "size": ("48x48", "96x96")}
WAYS = {"backend": ("torch", "onnx"), "precision": ("fp32", "bf16"), "batch": (1, 8),
        "attention": ("sdpa", "eager")}


def every(values):
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def cost(demand):
    """A machine's cost: what a call takes is so much, and so much a sample's pixel."""
    speed = {"onnx": 0.5, "torch": 1.0}[demand.execution["backend"]]
    speed *= {"fp32": 1.0, "bf16": 0.7}[demand.execution["precision"]]
    pixels = demand.pixels * demand.batch
    calls = {kind: Calls(count, count * speed * (0.002 + 2e-7 * pixels * samples) / demand.batch)
             for kind, count in demand.calls.items()
             for samples in [2 if kind == "guided" else 1]}
    inside = sum(call.seconds for call in calls.values())
    phases = {"encode": 0.001, "decode": 5e-7 * demand.pixels * speed, "other": 0.001,
              "denoise": inside + demand.steps * 1e-4}
    seconds = sum(phases.values())
    memory = 3e7 * speed + 500.0 * pixels * (1.5 if demand.guided else 1.0)
    return Cost(seconds, seconds * demand.batch, phases, calls, round(memory),
                seconds_low=0.995 * seconds, seconds_high=1.005 * seconds)


@pytest.fixture(scope="module")
def known():
    space = build_space({"sampler": "euler", "steps": 4, "size": "48x48"}, {**GRID, **WAYS},
                        Context(describe("miniature"), "cpu", PACKAGES))
    counter = Counter(space)
    some = [space.canonical({**picture, **way, "sampler": "euler", "steps": 4})
            for picture in every(GRID) for way in every(WAYS)]
    demands = [counter.demand(one) for one in dict.fromkeys(some) if not space.refusal(one)]
    read = demands[::3] + [counter.demand(space.canonical({"sampler": "heun"}))]
    return space, counter, CostModel.learn([(one, cost(one)) for one in read])


def test_prices_are_those_of_the_model_cell_by_cell(known):
    space, counter, model = known
    pictures, ways = every(GRID), every(WAYS)
    pricing = Pricing(model, space, counter, pictures=32, calls=6)
    found, table = pricing.predict(pictures, ways), pricing(pictures, ways)
    assert table.shape == (16, 16, 3)
    for row, column in [(0, 0), (3, 9), (7, 2), (15, 11), (10, 8)]:
        setting = space.canonical({**pictures[row], **ways[column]})
        demand = counter.demand(setting)
        seconds, memory = model.seconds(demand), model.memory(demand)
        assert table[row, column, 0] == pytest.approx(seconds.value)
        assert found.seconds_deviation[row, column] == pytest.approx(seconds.deviation)
        assert table[row, column, 1] == pytest.approx(memory.value)
        assert found.memory_deviation[row, column] == pytest.approx(memory.deviation, abs=1e-6)
        # Of 32 pictures 8 come in each of 4 calls, and 6 calls are timed.
        made = 48 if ways[column]["batch"] == 8 else 32
        assert table[row, column, 2] == pytest.approx(made * seconds.value)
    truth = np.array([[cost(counter.demand(space.canonical({**picture, **way}))).seconds
                       for way in ways] for picture in pictures])
    runs = np.isfinite(found.seconds)
    assert np.median(np.abs(found.seconds / truth - 1.0)[runs]) < 0.03


def test_what_is_refused_has_no_price(known):
    space, counter, model = known
    table = Pricing(model, space, counter, pictures=4)(every(GRID), every(WAYS))
    refused = [[space.refusal(space.canonical({**picture, **way})) is not None
                for way in every(WAYS)] for picture in every(GRID)]
    assert np.isnan(table).all(axis=2).tolist() == refused
    assert 0 < np.mean(refused) < 1  # bf16 cannot be exported to ONNX


def test_one_picture_setting_is_priced_as_in_the_whole(known):
    space, counter, model = known
    pricing = Pricing(model, space, counter, pictures=4)
    whole = pricing(every(GRID), every(WAYS))
    one = Pricing(model, space, counter, pictures=4)(every(GRID)[9:10], every(WAYS))
    np.testing.assert_allclose(one[0], whole[9], rtol=1e-9)


def test_a_limit_on_latency_counts_the_whole_call(known):
    space, counter, model = known
    pictures, ways = every(GRID), every(WAYS)
    free = Pricing(model, space, counter, pictures=4)
    found = free.predict(pictures, ways)
    latency = found.seconds * found.batch
    limit = float(np.nanmedian(latency))
    kept = np.isfinite(Pricing(model, space, counter, 4, limits=Limits(latency_seconds=limit))(
        pictures, ways)[:, :, 0])
    assert (latency[kept] < 1.1 * limit).all()
    # A batch may be cheap by the picture and still be too late.
    late = (found.seconds < limit) & (latency > 2 * limit)
    assert late.any() and not kept[late].any()
    by_memory = Pricing(model, space, counter, 4, limits=Limits(memory_bytes=4e7))
    kept = np.isfinite(by_memory(pictures, ways)[:, :, 0])
    assert kept.any() and (found.memory[kept] < 1.1 * 4e7).all()
    assert not kept[found.memory > 1.2 * 4e7].any()


def test_where_nothing_meets_the_limits_the_nearest_is_told(known):
    space, counter, model = known
    pricing = Pricing(model, space, counter, 4,
                      limits=Limits(latency_seconds=1e-6, memory_bytes=1e3))
    assert np.isnan(pricing(every(GRID), every(WAYS))).all()
    latency, memory = pricing.nearest(every(GRID), every(WAYS))
    found = pricing.predict(every(GRID), every(WAYS))
    assert latency == pytest.approx(np.nanmin(found.seconds * found.batch))
    assert memory == pytest.approx(np.nanmin(found.memory))


def test_what_failed_has_no_price_nor_what_needs_more(known):
    space, counter, model = known
    pictures, ways = every(GRID), every(WAYS)
    free = np.isfinite(Pricing(model, space, counter, 4)(pictures, ways)[:, :, 0])

    def lost(kind, **values):
        failed = {space.canonical(values): kind}
        priced = Pricing(model, space, counter, 4, failed=failed)(pictures, ways)
        return [(pictures[row], ways[column]) for row, column in
                zip(*np.nonzero(free & np.isnan(priced[:, :, 0])), strict=True)]

    small = lost("out-of-memory", size="48x48", guidance=1.0, batch=1, attention="eager")
    torch = [way for way in ways if way["backend"] == "torch" and way["attention"] == "eager"
             and way["precision"] == "fp32"]
    assert {tuple(way.items()) for _, way in small} == {tuple(way.items()) for way in torch}
    assert len(small) == 16 * len(torch)  # every size, guided or not, both batches
    large = lost("out-of-memory", size="96x96", guidance=7.5, batch=8)
    assert large and all(picture["size"] == "96x96" and picture["guidance"] > 1
                         and way["batch"] == 8 for picture, way in large)
    black = lost("black", size="48x48", guidance=1.0, batch=1, precision="bf16")
    assert black and all(picture["size"] == "48x48" and way["batch"] == 1
                         for picture, way in black)


def test_a_large_space_is_priced_quickly(known):
    """No timing is asserted tightly: a loop over cells would take minutes."""
    space, counter, model = known
    pictures = every({**GRID, "steps": tuple(range(2, 42)), "guidance": (1.0, 2.0, 3.0, 4.0)})
    began = time.perf_counter()
    table = Pricing(model, space, counter, 32)(pictures, every(WAYS) * 6)
    assert table.shape == (640, 96, 3)
    assert time.perf_counter() - began < 60


def test_without_memory_readings_bytes_are_all_alike(known):
    space, counter, _ = known
    demand = counter.demand(space.default)
    whole = cost(demand)
    bare = Cost(whole.seconds, whole.latency_seconds, whole.seconds_by_phase, whole.calls_by_kind)
    model = CostModel.learn([(demand, bare)])
    table = Pricing(model, space, counter, 4)(every(GRID)[:2], every(WAYS)[:2])
    assert (table[:, :, 1] == 1.0).all() and (table[:, :, 0] > 0).all()
