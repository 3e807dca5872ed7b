"""How a setting is timed: once a call, on until the median is known or the repeats end."""

import json
from dataclasses import replace

import numpy as np
import pytest

import ldmopt
from ldmopt.contracts import Block, Calls, Cost, Picture, Setting
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.study import records
from ldmopt.study.bench import Bench
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run
from ldmopt.study.timing import LEAST_CALLS, MOST_CALLS, calls_wanted, median_cost

BLOCKS = [Block("a house", seed) for seed in range(8)]


class ScriptedHost:
    """A stand-in for a host, whose calls take what a list says."""

    def __init__(self, seconds):
        self.busy_seconds = 0.0
        self.seconds = list(seconds)
        self.calls = []

    def generate(self, setting, blocks):
        batch = int(setting.get("batch", 1))
        for first in range(0, len(blocks), batch):
            together = blocks[first : first + batch]
            self.calls.append([block.seed for block in together])
            took = self.seconds.pop(0)
            self.busy_seconds += took
            cost = Cost(took / batch, took, batch=batch)
            for block in together:
                yield Picture(np.full((8, 8, 3), 1 + block.seed, np.uint8), block), cost

    def memory(self, setting):
        return Cost(1.0, 1.0, peak_memory_bytes=7, baseline_bytes=1)

    def close(self):
        pass


@pytest.fixture
def space():
    return build_space({}, {}, Context(describe("standin"), "cpu", {}))


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def timed(values):
    return [Cost(value, value) for value in values]


def test_too_few_calls_tell_nothing():
    assert calls_wanted([], 0) == LEAST_CALLS
    assert calls_wanted(timed([1.0] * 4), 4) == LEAST_CALLS - 4


def test_a_median_that_is_known_ends_the_repeats():
    assert calls_wanted(timed([1.0, 1.001, 1.002, 1.003, 1.004, 1.005]), 3) == 0
    noisy = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert calls_wanted(timed(noisy), 6) == 1
    # Timing alone never takes more calls than the pictures did.
    assert calls_wanted(timed(noisy), 3) == 0
    assert calls_wanted(timed(noisy * 2), 20) == 0
    assert len(noisy * 2) == MOST_CALLS


def test_steady_pictures_are_enough(space, folder):
    host = ScriptedHost([1.0] * 8)
    bench = Bench(host, folder, space)
    bench.pictures(space.default, BLOCKS)
    cost = bench.cost(space.default, BLOCKS)
    assert len(host.calls) == 8
    assert (cost.repeats, cost.seconds_low, cost.seconds_high) == (8, 1.0, 1.0)
    assert cost.peak_memory_bytes == 7


def test_unsteady_pictures_are_timed_again_and_a_resume_knows_it(space, folder):
    host = ScriptedHost([1.0, 2.0] * 6)
    bench = Bench(host, folder, space)
    bench.pictures(space.default, BLOCKS)
    cost = bench.cost(space.default, BLOCKS)
    assert cost.repeats == MOST_CALLS == len(host.calls)
    assert (cost.seconds_low, cost.seconds_high) == (1.0, 2.0)
    lines = folder.read_journal()
    assert sum("digest" in line for line in lines) == 8
    assert sum("repeat" in line for line in lines) == 4
    after = Bench(ScriptedHost([]), folder, space)
    assert after.cost(space.default, BLOCKS) == cost
    assert after.spent_seconds == bench.spent_seconds == 18.0


def test_a_shared_picture_is_timed_on_blocks_of_its_own(space, folder):
    host = ScriptedHost([1.0] * 30)
    bench = Bench(host, folder, space)
    bench.pictures(space.default, BLOCKS)
    other = space.canonical({"precision": "bf16"})
    bench.pictures(other, BLOCKS)
    assert len(host.calls) == 8
    assert bench.cost(other, BLOCKS).repeats == LEAST_CALLS
    assert len(host.calls) == 8 + LEAST_CALLS


def test_a_call_for_several_pictures_counts_once(space, folder):
    setting = space.canonical({"batch": 3})
    host = ScriptedHost([3.0, 6.0, 3.3, *[3.0] * 9])
    bench = Bench(host, folder, space)
    bench.pictures(setting, BLOCKS, anew=True)
    assert [cost.seconds for cost in bench.costs(setting, BLOCKS)] == pytest.approx(
        [1.0, 2.0, 1.1])
    cost = bench.cost(setting, BLOCKS)
    assert cost.batch == 3
    assert cost.repeats == LEAST_CALLS
    assert (cost.seconds, cost.latency_seconds) == (1.0, 3.0)
    # Full calls of pictures that are there already.
    assert host.calls[3:] == [[0, 1, 2], [3, 4, 5], [6, 7, 0]]
    assert [line["place"] for line in folder.read_journal() if "digest" in line] == [
        0, 1, 2, 0, 1, 2, 0, 1]


def test_a_kill_within_a_call_leaves_a_call_that_counts(space, folder):
    setting = space.canonical({"batch": 4})
    host = ScriptedHost([4.0, 4.0, *[4.0] * 9])
    Bench(host, folder, space).pictures(setting, BLOCKS, anew=True)
    lines = folder.journal.read_text().splitlines()
    folder.journal.write_text("\n".join(lines[:7]) + "\n")
    assert json.loads(lines[6])["place"] == 1
    bench = Bench(host, folder, space)
    bench.pictures(setting, BLOCKS, anew=True)
    assert host.calls[2] == [6, 7]
    assert len(bench.costs(setting, BLOCKS)) == 3


def test_a_median_keeps_every_figure():
    cost = Cost(1.0, 2.0, {"denoise": 1.0}, {"guided": Calls(4, 0.9)}, joules=5.0, batch=2,
                warmup_seconds=9.0, foreign_processes=0)
    others = [replace(cost, seconds=seconds, joules=None, warmup_seconds=1.0,
                      foreign_processes=foreign) for seconds, foreign in ((3.0, 1), (2.0, None))]
    found = median_cost([cost, *others])
    assert (found.seconds, found.joules, found.batch, found.repeats) == (2.0, 5.0, 2, 3)
    assert found.calls_by_kind["guided"] == Calls(4, 0.9)
    # The compilation was in the longest warm-up; a neighbour seen once was there.
    assert (found.warmup_seconds, found.foreign_processes) == (9.0, 1)
    assert Cost.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert Setting(found.to_dict()["seconds_by_phase"]) == Setting(denoise=1.0)


def test_neighbours_on_the_gpu_are_said_once_and_kept(standin, tmp_path, monkeypatch):
    own = Bench.cost
    monkeypatch.setattr(Bench, "cost", lambda *args: replace(own(*args), foreign_processes=2))
    states = []
    ldmopt.run(standin(("trials = 8", "trials = 3")), tmp_path / "run", report=states.append)
    assert sum("other processes" in note for note in states[-1].notes) == 1
    _, _, study = read_run(tmp_path / "run")
    assert all(trial.cost.foreign_processes == 2 for trial in records.finished(study))
