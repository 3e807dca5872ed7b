"""The cost model: seconds and peak memory of any setting of a space, from a few readings.

A picture's seconds have a known form: what is fixed, a decode, so many network calls of each
kind, so many steps of the sampler. Every call is timed by itself, so each part is read off any
picture, and a `Surface` carries it over to executions, sizes and batches that were not run. A
guided call is the network on twice the samples, so both kinds tell of each other. Peak memory
depends on how it runs, on size, batch and whether calls are guided, not on the steps.

A prediction comes with its deviation. `CostModel.contradicts` says when a reading does not fit
what was predicted; such a cell, and those like it, are then better measured.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Cost, Value
from ldmopt.search.demand import Demand
from ldmopt.search.surface import JUMPY, USUAL, Cell, Form, Surface

Floats = NDArray[np.float64]

SECONDS = Form({"network": 1.0, "decode": 1.0}, {"sampler": 4.0}, USUAL)
"""Network and decoder grow with the area; what samplers do between calls differs manifold."""

MEMORY = Form({"memory": 1.0}, {"size": 0.5}, JUMPY)

LEAST_SECONDS = 1e-7
"""Parts below this are as good as nothing, and their logarithms mean nothing."""

SURPRISING = 4.0
"""Deviations from the prediction beyond which a reading contradicts the model."""

MOST_ROWS = 500
"""Readings of parts that a surface keeps apart; time grows with their cube."""

UNTOLD_SPREAD, MEMORY_SPREAD = 0.03, 0.01
"""Relative deviation of a reading of seconds that tells none, and of one of memory."""


@dataclass(frozen=True)
class Unit:
    """What a picture takes some of.

    Attributes:
        quantity: ``network``, ``decode``, ``step``, ``fixed``.
        guided: whether it works on twice the samples (network), or two prompts (fixed).
        cached: whether the network call reuses deep layers.
        sampler: whose step it is.
    """

    quantity: str
    guided: bool = False
    cached: bool = False
    sampler: str = ""

    def cell(self, execution: Mapping[str, Value], pixels: int, batch: int) -> Cell:
        """Return where the unit's seconds are read; those of a network call by the sample."""
        samples = 2 if self.guided and self.quantity == "network" else 1
        prompts = self.guided if self.quantity == "fixed" else False
        values = {**execution, "sampler": self.sampler, "cached": self.cached, "prompts": prompts}
        return Cell(self.quantity, values, pixels, batch * samples)


CALLS = {
    "guided": (Unit("network", guided=True), 2), "unguided": (Unit("network"), 1),
    "cached": (Unit("network", guided=True, cached=True), 2),
    "cached_unguided": (Unit("network", cached=True), 1),
}
"""Kind of call -> its unit, and samples a picture."""


@dataclass(frozen=True)
class _Row:
    """One reading of a cell: its relative deviation, and the run it was read in."""

    cell: Cell
    value: float
    spread: float
    run: int


@dataclass(frozen=True)
class Prediction:
    """A predicted quantity: its median, and the standard deviation of its logarithm."""

    value: float
    deviation: float


@dataclass(frozen=True, eq=False)
class CostModel:
    """Learned from readings; `learn` makes one.

    Attributes:
        seconds_surface: of the parts of a picture's seconds.
        memory_surface: of peak bytes, or None where none was read.
    """

    seconds_surface: Surface
    memory_surface: Surface | None

    @classmethod
    def learn(
        cls, readings: Sequence[tuple[Demand, Cost]],
        memories: Sequence[tuple[Demand, int]] = (), knobs: Sequence[str] = (),
        like: CostModel | None = None,
    ) -> CostModel:
        """Fit both surfaces.

        Args:
            readings: at least one demand with its measured cost; a peak in it counts, too.
            memories: demands with peak bytes that were read by themselves.
            knobs: that predictions will be asked for, besides those of the readings.
            like: an earlier model whose parts' deviations are kept, which is quicker.

        Raises:
            ValueError: no reading at all.
        """
        if not readings:
            raise ValueError("a cost model needs at least one reading")
        rows = [_Row(unit.cell(demand.execution, demand.pixels, demand.batch), seconds,
                     _spread(cost), run)
                for run, (demand, cost) in enumerate(readings)
                for unit, seconds in unit_seconds(demand, cost).items()
                if seconds >= LEAST_SECONDS]
        peaks = [*memories, *((demand, cost.peak_memory_bytes) for demand, cost in readings
                              if cost.peak_memory_bytes)]
        held = [_Row(_memory_cell(demand), float(peak), MEMORY_SPREAD, run)
                for run, (demand, peak) in enumerate(peaks)]
        old = None if like is None else like.memory_surface
        memory = _fit(held, MEMORY, knobs, old) if held else None
        return cls(_fit(rows, SECONDS, knobs, None if like is None else like.seconds_surface),
                   memory)

    def units(self, demand: Demand) -> dict[Unit, float]:
        """Return how much of each unit a picture takes; what no picture ever took is left out."""
        found = {CALLS[kind][0]: float(count * CALLS[kind][1])
                 for kind, count in demand.calls.items() if count}
        found |= {Unit("step", sampler=demand.sampler): float(demand.steps), Unit("decode"): 1.0,
                  Unit("fixed", guided=demand.guided): 1.0}
        known = self.seconds_surface.quantities
        return {unit: count for unit, count in found.items()
                if count and (unit.quantity in known or unit.quantity == "network")}

    def cells(self, demand: Demand) -> list[Cell]:
        """Return where a demand's units are read, in their order."""
        return [unit.cell(demand.execution, demand.pixels, demand.batch)
                for unit in self.units(demand)]

    def seconds(self, demand: Demand) -> Prediction:
        """Predict device seconds per picture."""
        mean, covariance = self.seconds_surface.predict(self.cells(demand))
        each = np.exp(mean) * np.array(list(self.units(demand).values()))
        total = float(each.sum())
        share = each / total
        return Prediction(total, math.sqrt(max(0.0, float(share @ covariance @ share))))

    def memory(self, demand: Demand) -> Prediction | None:
        """Predict peak bytes; None where no reading had any."""
        if self.memory_surface is None:
            return None
        mean, covariance = self.memory_surface.predict([_memory_cell(demand)])
        return Prediction(float(np.exp(mean[0])), math.sqrt(max(0.0, float(covariance[0, 0]))))

    def memories(self, demands: Sequence[Demand]) -> tuple[Floats, Floats] | None:
        """Predict peak bytes of many demands, and the deviations of their logarithms, `(n,)`."""
        if self.memory_surface is None:
            return None
        mean, covariance = self.memory_surface.blocks([[_memory_cell(item)] for item in demands])
        return np.exp(mean[:, 0]), np.sqrt(np.maximum(covariance[:, 0, 0], 0.0))

    def contradicts(self, demand: Demand, cost: Cost) -> bool:
        """Tell whether a reading that the model has not seen lies far from what it predicts."""
        found, parts = self.seconds(demand), self.seconds_surface.parts
        expected = math.hypot(found.deviation, parts["noise"], parts["weather"], _spread(cost))
        return abs(math.log(cost.seconds / found.value)) > SURPRISING * expected

    def next_probe(self, candidates: Sequence[Demand], target: Sequence[Demand]) -> int:
        """Return which candidate's reading would say most about the targets for its seconds.

        Args:
            candidates: what could be run next.
            target: settings whose seconds should be known.
        """
        gains = self.gains(candidates, target)
        dear = np.array([self.seconds(demand).value * demand.batch for demand in candidates])
        return int(np.argmax(gains / np.sqrt(dear)))

    def gains(self, candidates: Sequence[Demand], target: Sequence[Demand]) -> Floats:
        """Return how much variance of the targets' log seconds, summed, each reading takes."""
        cells, shares, _ = self._shares(target)
        return self.seconds_surface.gains([self.cells(item) for item in candidates], cells, shares)

    def deviations(self, demands: Sequence[Demand]) -> Floats:
        """Return the standard deviations of the logarithms of predicted seconds, `(n,)`."""
        cells, shares, _ = self._shares(demands)
        _, covariance = self.seconds_surface.predict(cells)
        return np.asarray(np.sqrt(np.maximum(((shares @ covariance) * shares).sum(axis=1), 0.0)))

    def change(self, before: Sequence[Demand], after: Sequence[Demand]) -> Prediction:
        """Predict the ratio of seconds, after by before, as the geometric mean over demands.

        What both sides share cancels, in the deviation as well.
        """
        cells, shares, totals = self._shares([*before, *after])
        _, covariance = self.seconds_surface.predict(cells)
        return _mean_ratio(np.log(totals), shares, covariance, len(before))

    def memory_change(
        self, before: Sequence[Demand], after: Sequence[Demand]
    ) -> Prediction | None:
        """Predict the same of peak memory; None where none was read."""
        if self.memory_surface is None:
            return None
        each = [_memory_cell(demand) for demand in (*before, *after)]
        cells = {_key(cell): cell for cell in each}
        places = {key: place for place, key in enumerate(cells)}
        chosen = np.eye(len(cells))[[places[_key(cell)] for cell in each]]
        mean, covariance = self.memory_surface.predict(list(cells.values()))
        return _mean_ratio(chosen @ mean, chosen, covariance, len(before))

    def _shares(self, demands: Sequence[Demand]) -> tuple[list[Cell], Floats, Floats]:
        """Return the distinct cells of some demands, their shares of each's seconds, and those."""
        places: dict[Hashable, int] = {}
        cells: list[Cell] = []
        rows = []
        for demand in demands:
            at = []
            for cell in self.cells(demand):
                if _key(cell) not in places:
                    places[_key(cell)] = len(cells)
                    cells.append(cell)
                at.append(places[_key(cell)])
            rows.append((at, np.array(list(self.units(demand).values()))))
        mean, _ = self.seconds_surface.blocks([[cell] for cell in cells])
        shares, totals = np.zeros((len(demands), len(cells))), np.zeros(len(demands))
        for place, (at, counts) in enumerate(rows):
            each = np.exp(mean[at, 0]) * counts
            totals[place] = each.sum()
            shares[place, at] += each / each.sum()
        return cells, shares, totals

    def memory_gains(self, candidates: Sequence[Demand], target: Sequence[Demand]) -> Floats:
        """Return the same for peak memory; nothing where none was read."""
        if self.memory_surface is None:
            return np.zeros(len(candidates))
        cells = {_key(cell): cell for cell in map(_memory_cell, target)}
        return self.memory_surface.gains([[_memory_cell(item)] for item in candidates],
                                         list(cells.values()))


def _mean_ratio(logs: Floats, weights: Floats, covariance: Floats, count: int) -> Prediction:
    """Return the mean ratio of the later rows to as many first ones.

    Args:
        logs: `(2 count,)` logarithms of a cost.
        weights: `(2 count, n)` how each depends on the logarithms of cells.
        covariance: `(n, n)` of those.
        count: of rows on either side.
    """
    mean = float((logs[count:] - logs[:count]).mean())
    change = (weights[count:] - weights[:count]).mean(axis=0)
    return Prediction(math.exp(mean), math.sqrt(max(0.0, float(change @ covariance @ change))))


def parts(demand: Demand, cost: Cost) -> dict[str, float]:
    """Split a measured cost into unit seconds: of a call of each kind, a step, decode, the rest.

    A step's seconds hold all of the denoising loop that is no network call.
    """
    calls = {kind: call for kind, call in cost.calls_by_kind.items() if kind != "step"}
    found = {kind: call.seconds / call.count for kind, call in calls.items() if call.count}
    phases = cost.seconds_by_phase
    inside = sum(call.seconds for call in calls.values())
    if demand.steps:
        found["step"] = max(0.0, phases.get("denoise", inside) - inside) / demand.steps
    found["decode"] = phases.get("decode", 0.0)
    found["fixed"] = phases.get("encode", 0.0) + phases.get("other", 0.0)
    return found


def unit_seconds(demand: Demand, cost: Cost) -> dict[Unit, float]:
    """Return the seconds of each unit that a reading tells, a network's by the sample."""
    others = {"step": Unit("step", sampler=demand.sampler), "decode": Unit("decode"),
              "fixed": Unit("fixed", guided=demand.guided)}
    found = {}
    for kind, seconds in parts(demand, cost).items():
        if kind == "cached" and "cached_unguided" in demand.calls:
            if "cached" in demand.calls:
                # Calls of both kinds were booked as one.
                continue
            kind = "cached_unguided"
        unit, samples = CALLS[kind] if kind in CALLS else (others[kind], 1)
        found[unit] = seconds / samples
    return found


def _fit(
    rows: Sequence[_Row], form: Form, knobs: Sequence[str], like: Surface | None
) -> Surface:
    """Fit a surface; of very many readings, those of one cell are taken together."""
    if len(rows) > MOST_ROWS:
        rows = _pooled(rows)
    return Surface.fit([row.cell for row in rows], [row.value for row in rows],
                       [row.spread for row in rows], form, [row.run for row in rows], knobs,
                       None if like is None else like.parts)


def _pooled(rows: Sequence[_Row]) -> list[_Row]:
    """Return one row a cell: the geometric mean, in the run of the first."""
    found: dict[Hashable, list[_Row]] = {}
    for row in rows:
        found.setdefault(_key(row.cell), []).append(row)
    return [
        _Row(some[0].cell, math.exp(sum(math.log(row.value) for row in some) / len(some)),
             math.sqrt(sum(row.spread**2 for row in some)) / len(some), some[0].run)
        for some in found.values()
    ]


def _key(cell: Cell) -> Hashable:
    return cell.quantity, tuple(sorted(cell.values.items())), cell.pixels, cell.batch


def _memory_cell(demand: Demand) -> Cell:
    # Peak memory grows with all pixels that are in flight at once. And it jumps with the shape:
    # libraries keep other copies of the weights, as bf16 on a CPU takes twice the bytes at some
    # sizes. So a size is a name, too.
    values = {**demand.execution, "guided": demand.guided, "size": str(demand.pixels)}
    return Cell("memory", values, demand.pixels * demand.batch, 1)


def _spread(cost: Cost) -> float:
    """Relative standard deviation of a cost's median, from its 95 % interval."""
    if cost.seconds_low is None or cost.seconds_high is None or cost.seconds <= 0:
        return UNTOLD_SPREAD
    return max(0.002, (cost.seconds_high - cost.seconds_low) / (4 * cost.seconds))
