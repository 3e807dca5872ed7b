"""The cost part of the probe: short runs, chosen by what they say, until costs are predicted well.

Everything that was timed before counts: the default, the pictures of the equivalence probe, trials
of earlier sessions. Then come short runs of the settings of the space whose reading takes most of
the doubt about its other settings for its device seconds (`CostModel.gains`), and readings of peak
memory. All of it is in the journal, so that a killed probe goes on where it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ldmopt.contracts import Cost, Setting
from ldmopt.errors import GenerationError
from ldmopt.search import samples
from ldmopt.search.cost import CostModel
from ldmopt.search.demand import Counter, Demand, pixels_of
from ldmopt.search.likelihood import last_due
from ldmopt.study.session import Session
from ldmopt.study.timing import median_cost

STEPS, CALLS = 4, 3
"""Sampler steps and calls of a short run: a network call is then timed a dozen times."""

LONG = 2.0
"""Device seconds of a call beyond which one has to do."""

TOLERANCE = 0.05
"""The relative deviation of predicted costs, on average over the space, at which it ends."""

SHARE = 0.1
"""Of the budget, for readings of seconds and of memory each."""

MOST = 60
"""Readings of either kind at the most."""

WANTED, CHOSEN = 64, 48
"""Settings that stand for the space, and how many candidates are weighed at a time."""

FIRST_FIT = 4
"""Readings from which the model's parts are fitted."""


def probe_costs(session: Session, share: float = SHARE) -> CostModel:
    """Read seconds and memory here and there until the model is sure of the space.

    Args:
        session: whose space is frozen and whose default was measured.
        share: of the budget that readings of seconds, and of memory, may take each.

    Raises:
        ValueError: nothing was measured yet.
    """
    probe = Probe(session, share * budget_seconds(session))
    for _ in itertools.chain(probe.seconds(), probe.memory()):
        pass
    return learn(session)


def budget_seconds(session: Session) -> float:
    """Return the study's budget; of one in trials, what so many of the default's would take."""
    budget = session.spec.budget
    if budget.device_seconds is not None:
        return budget.device_seconds
    cost = median_cost(session.bench.readings()[session.space.default])
    return (budget.trials or 1) * len(session.blocks) * cost.seconds


def counter(session: Session) -> Counter:
    """Return what counts calls, as far as readings tell."""
    found = Counter(session.space)
    for setting, costs in session.bench.readings().items():
        found.learn(setting, costs[0])
    return found


def learn(session: Session, like: CostModel | None = None) -> CostModel:
    """Return the cost model of all that was read so far.

    Args:
        session: whose journal holds it.
        like: a model whose parts' deviations are kept, which is quicker.

    Raises:
        ValueError: nothing was measured yet.
    """
    counts = counter(session)
    readings = [(counts.demand(setting), median_cost(costs))
                for setting, costs in session.bench.readings().items()]
    memories = [(_memory_demand(counts, cell), peak) for cell, peak in session.bench.memories()]
    knobs = [name for name, item in session.space.knobs.items()
             if item.changes_memory and name != "batch"]
    return CostModel.learn(readings, memories, knobs, like)


def heed(session: Session, model: CostModel, setting: Setting, cost: Cost) -> CostModel:
    """Hold a measured cost against the model, and let the model learn it.

    Args:
        session: told in one line where the two contradict each other.
        model: that had not seen the reading.
        setting: what was measured.
        cost: what it cost.
    """
    demand = counter(session).demand(setting)
    contradicted = model.contradicts(demand, cost)
    if contradicted:
        session.note(f"cost model: {setting.changes(session.space.default)} takes "
                     f"{cost.seconds:.3g} s a picture, not {model.seconds(demand).value:.3g} s as "
                     "predicted; what was measured counts, and the model has learned it")
    return learn(session, None if contradicted else model)


def _memory_demand(counts: Counter, cell: Setting) -> Demand:
    """Return what a cell of the bench's memory readings asks for."""
    guided = cell["guided"] if "guided" in cell else counts.guided(cell)
    kind = "guided" if guided else "unguided"
    return Demand(counts.execution(cell), pixels_of(cell), int(cell.get("batch", 1)), {kind: 1})


@dataclass(eq=False)
class Probe:
    """One probe under way; each step of its two iterators is one reading more.

    Attributes:
        session: measures.
        limit: device seconds that each kind of reading may take.
        tolerance: the mean relative deviation at which there are enough.
        most: readings of either kind at the most.
    """

    session: Session
    limit: float
    tolerance: float = TOLERANCE
    most: int = MOST

    def __post_init__(self) -> None:
        """Draw the settings that stand for the space."""
        self.targets = samples(self.session.space)
        self.rng = np.random.default_rng(0)

    def seconds(self) -> Iterator[CostModel]:
        """Time short runs until seconds are predicted well enough; yield the model so far."""
        bench, candidates = self.session.bench, self._short()
        began, model = bench.spent_seconds, None
        for _ in range(self.most):
            done = {*bench.readings(), *bench.failures}
            counts, model = counter(self.session), self._model(model, len(done))
            wanted = [counts.demand(one) for one in self.targets[:WANTED]]
            doubt = float(model.deviations(wanted).mean())
            yield model
            candidates = [one for one in candidates if one not in done]
            spent = bench.spent_seconds - began
            if not candidates or doubt <= self.tolerance or spent >= self.limit:
                return
            some = self._some(candidates)
            demands = [counts.demand(one) for one in some]
            place = model.next_probe(demands, wanted)
            self.session.tell(doing=self._doing("seconds", doubt, some[place]))
            self._time(some[place], model.seconds(demands[place]).value)

    def memory(self) -> Iterator[CostModel]:
        """Read peak memory until it is predicted well enough; yield the model so far."""
        bench = self.session.bench
        # A peak is reached within a step or two.
        candidates = list({bench.memory_cell(one): one for one in self._short()}.values())
        began, model = bench.spent_seconds, None
        for _ in range(self.most):
            counts, model = counter(self.session), self._model(model, len(bench.memories()))
            wanted = [counts.demand(one) for one in self.targets[:WANTED]]
            found = model.memories(wanted)
            doubt = math.inf if found is None else float(found[1].mean())
            yield model
            done = {cell for cell, _ in bench.memories()}
            candidates = [one for one in candidates if one not in bench.failures
                          and bench.memory_cell(one) not in done]
            spent = bench.spent_seconds - began
            if not candidates or doubt <= self.tolerance or spent >= self.limit:
                return
            some = self._some(candidates)
            gains = model.memory_gains([counts.demand(one) for one in some], wanted)
            chosen = some[int(np.argmax(gains))]
            self.session.tell(doing=self._doing("memory", doubt, chosen))
            try:
                bench.memory(chosen)
            except GenerationError as error:
                bench.book_failure(chosen, error)

    def _short(self) -> list[Setting]:
        """Return the targets as short runs, each once."""
        space = self.session.space
        short = dict.fromkeys(
            space.canonical({**target, "steps": STEPS, "guidance_end": 1.0})
            for target in self.targets)
        return [one for one in short if not space.refusal(one)]

    def _time(self, setting: Setting, expected: float) -> None:
        """Time a short run; a failure is booked and left at that."""
        calls = CALLS if expected * int(setting.get("batch", 1)) < LONG else 1
        try:
            self.session.bench.time(setting, self.session.blocks[0], calls)
        except GenerationError as error:
            self.session.bench.book_failure(setting, error)

    def _model(self, before: CostModel | None, count: int) -> CostModel:
        due = before is None or last_due(count, FIRST_FIT) == count
        return learn(self.session, None if due else before)

    def _some(self, candidates: Sequence[Setting]) -> list[Setting]:
        places = self.rng.permutation(len(candidates))[:CHOSEN]
        return [candidates[place] for place in sorted(places)]

    def _doing(self, what: str, doubt: float, setting: Setting) -> str:
        known = f"{what} known to {doubt:.0%}; " if math.isfinite(doubt) else f"{what}: "
        return known + setting.changes(self.session.space.default)
