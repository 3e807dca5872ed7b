"""The cost part of the probe, on a host whose every cost is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from ldmopt.contracts import Block, Calls, Cost, Picture
from ldmopt.errors import GenerationError
from ldmopt.knob import Context, build_space
from ldmopt.knobs.canvas import parse_size
from ldmopt.model import describe
from ldmopt.search.demand import Counter
from ldmopt.study.bench import Bench
from ldmopt.study.folder import RunFolder
from ldmopt.study.probing import Probe, counter, heed, learn, probe_costs

SPACE = {
    "sampler": ["euler", "heun", "lms"], "steps": {"low": 4, "high": 40, "log": True},
    "guidance": {"low": 1.0, "high": 9.0, "step": 0.5}, "size": ["48x48", "64x64", "96x96"],
    "precision": ["fp32", "bf16"], "batch": [1, 2, 4, 8], "attention": ["sdpa", "eager"],
}


class FormulaHost:
    """Costs by a formula; no pictures to speak of."""

    def __init__(self, fails=lambda setting: None, slow=lambda setting: 1.0):
        self.busy_seconds, self.asked, self.fails, self.slow = 0.0, [], fails, slow

    def cost(self, setting):
        batch, steps = int(setting["batch"]), int(setting["steps"])
        width, height = parse_size(setting["size"])
        guided = float(setting["guidance"]) > 1
        pixels = width * height * batch * (2 if guided else 1)
        speed = {"fp32": 1.0, "bf16": 0.6}[setting["precision"]] * self.slow(setting)
        speed *= {"sdpa": 1.0, "eager": 1.3}[setting["attention"]]
        count = 2 * steps - 1 if setting["sampler"] == "heun" else steps
        call = speed * (0.002 + 1e-7 * pixels) / batch
        inside = count * call
        phases = {"encode": 0.001, "other": 0.001, "decode": 4e-7 * width * height * speed,
                  "denoise": inside + count * (2e-3 if setting["sampler"] == "lms" else 1e-4)}
        seconds = sum(phases.values())
        calls = {"guided" if guided else "unguided": Calls(count, inside)}
        peak = 2e8 * {"fp32": 1.0, "bf16": 0.5}[setting["precision"]] + 800.0 * pixels
        return Cost(seconds, seconds * batch, phases, calls, round(peak), batch=batch)

    def _book(self, setting, kind):
        self.asked.append((kind, setting))
        failure = self.fails(setting)
        if failure:
            raise GenerationError(failure, "on purpose")

    def generate(self, setting, blocks):
        self._book(setting, "generate")
        for block in blocks:
            cost = self.cost(setting)
            self.busy_seconds += cost.seconds
            yield Picture(np.full((8, 8, 3), block.seed, np.uint8), block), cost

    def memory(self, setting):
        self._book(setting, "memory")
        self.busy_seconds += 0.01
        return self.cost(setting)

    def close(self):
        pass


@pytest.fixture
def opened(tmp_path):
    """Opens the same run again and again, each time with a host of its own."""
    def open_run(host, **budget):
        space = build_space({"sampler": "euler", "steps": 20, "size": "64x64"}, SPACE,
                            Context(describe("miniature")))
        folder = RunFolder(tmp_path / "run")
        folder.create()
        notes = []
        session = SimpleNamespace(
            space=space, bench=Bench(host, folder, space), notes=notes, note=notes.append,
            blocks=[Block("a house", seed) for seed in range(8)], tell=lambda **_: None,
            spec=SimpleNamespace(budget=SimpleNamespace(
                device_seconds=budget.get("device_seconds"), trials=budget.get("trials", 30))))
        session.bench.cost(space.default, session.blocks)
        return session

    return open_run


def grid(space):
    pictures = [{"sampler": sampler, "steps": steps, "guidance": guidance, "size": size}
                for sampler in SPACE["sampler"] for steps in (4, 15, 40)
                for guidance in (1.0, 5.0) for size in SPACE["size"]]
    ways = [{"precision": precision, "batch": batch, "attention": attention}
            for precision in SPACE["precision"] for batch in SPACE["batch"]
            for attention in SPACE["attention"]]
    return [space.canonical({**picture, **way}) for picture in pictures for way in ways]


def test_a_few_short_runs_price_the_whole_space(opened):
    host = FormulaHost()
    session = opened(host, device_seconds=300.0)
    model = probe_costs(session)
    counts = counter(session)
    settings = grid(session.space)
    truth = [host.cost(setting) for setting in settings]
    error = [abs(model.seconds(counts.demand(setting)).value / cost.seconds - 1)
             for setting, cost in zip(settings, truth, strict=True)]
    assert np.median(error) < 0.05
    error = [abs(model.memory(counts.demand(setting)).value / cost.peak_memory_bytes - 1)
             for setting, cost in zip(settings, truth, strict=True)]
    assert np.median(error) < 0.05
    whole = sum(cost.seconds for cost in truth) * len(session.blocks)
    assert session.bench.spent_seconds < 0.1 * whole
    kinds = [kind for kind, _ in host.asked]
    assert kinds.count("generate") < 50 and kinds.count("memory") < 50
    assert all(int(setting["steps"]) <= 4 for kind, setting in host.asked[2:]
               if kind == "generate")


def test_probing_again_costs_nothing(opened):
    first = opened(FormulaHost())
    before = probe_costs(first)
    again = FormulaHost()
    session = opened(again)
    after = probe_costs(session)
    assert again.asked == []
    demand = counter(session).demand(session.space.canonical({"batch": 8, "sampler": "lms"}))
    assert after.seconds(demand).value == pytest.approx(before.seconds(demand).value)


def test_a_killed_probe_goes_on_where_it_was(opened):
    host = FormulaHost()
    session = opened(host)
    for _, _ in zip(Probe(session, 1e9).seconds(), range(4), strict=False):
        pass
    asked = len(host.asked)
    rest = FormulaHost()
    probe_costs(opened(rest))
    assert rest.asked and not {setting for _, setting in rest.asked if _ == "generate"} & {
        setting for _, setting in host.asked[:asked] if _ == "generate"}


def test_what_fails_is_booked_once_and_the_probe_goes_on(opened):
    def fails(setting):
        return "out-of-memory" if int(setting["batch"]) == 8 else None

    host = FormulaHost(fails)
    session = opened(host)
    probe_costs(session)
    failed = [setting for _, setting in host.asked if fails(setting)]
    assert failed and len(failed) == len(set(failed))
    assert set(session.bench.failures) == set(failed)
    assert set(session.bench.failures.values()) == {"out-of-memory"}
    assert sum(1 for _, setting in host.asked if not fails(setting)) > 5
    again = FormulaHost(fails)
    reopened = opened(again)
    probe_costs(reopened)
    assert again.asked == [] and set(reopened.bench.failures) == set(failed)


def test_the_budget_bounds_the_probe(opened):
    session = opened(FormulaHost(), device_seconds=20.0)
    before = session.bench.spent_seconds
    probe_costs(session, share=0.005)
    # One reading of each kind may begin before the share is spent.
    assert session.bench.spent_seconds - before < 2 * (0.1 + 0.4)


def test_a_measured_cost_that_contradicts_the_model_is_said_and_learned(opened):
    host = FormulaHost(slow=lambda setting: 3.0 if (
        setting["attention"], setting["batch"], setting["size"]) == ("eager", 4, "96x96") else 1.0)
    session = opened(host, device_seconds=300.0)
    for number, _ in enumerate(Probe(session, 1e9).seconds()):
        if number == 12:
            break
    odd = session.space.canonical({"attention": "eager", "batch": 4, "size": "96x96"})
    fair = session.space.canonical({"attention": "eager", "batch": 2, "size": "96x96"})
    model = learn(session)
    for setting in (fair, odd):
        list(host.generate(setting, session.blocks))
        cost = session.bench.cost(setting, session.blocks)
        model = heed(session, model, setting, cost)
    [note] = session.notes
    assert "batch=4" in note and "attention=eager" in note and "as predicted" in note
    demand = Counter(session.space).demand(odd)
    assert model.seconds(demand).value == pytest.approx(host.cost(odd).seconds, rel=0.1)
