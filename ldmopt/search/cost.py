"""The cost model: seconds and peak memory of any setting of a space, from a few readings.

A picture's seconds have a known form: what is fixed, a decode, so many network calls of each
kind, so many steps of the sampler. Every call is timed by itself, so each part is read off any
picture, and a `Surface` carries it over to executions, sizes and batches that were not run. Peak
memory depends on how it runs, on size, batch and whether calls are guided, not on the steps.

A prediction comes with its deviation. `CostModel.contradicts` says when a reading does not fit
what was predicted; such a cell, and those like it, are then better measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ldmopt.contracts import Cost, Value
from ldmopt.search.surface import JUMPY, Cell, Surface

GROWTH = {"guided": 1.0, "unguided": 1.0, "cached": 1.0, "decode": 1.0, "fixed": 0.0, "step": 0.0}
"""How each part is expected to grow with the picture's area, as an exponent."""

LEAST_SECONDS = 1e-7
"""Parts below this are as good as nothing, and their logarithms mean nothing."""

SURPRISING = 4.0
"""Deviations from the prediction beyond which a reading contradicts the model."""


@dataclass(frozen=True)
class Demand:
    """What a setting asks of the machine.

    Attributes:
        execution: execution knob -> value, batch left out.
        pixels: the picture's area.
        batch: pictures in a call.
        calls: kind of network call -> how many a picture goes through.
        steps: sampler steps a picture goes through.
        sampler: whose own arithmetic differs.
    """

    execution: Mapping[str, Value]
    pixels: int
    batch: int = 1
    calls: Mapping[str, int] = field(default_factory=dict)
    steps: int = 0
    sampler: str = ""

    @property
    def guided(self) -> bool:
        """Whether any call is guided, which decides memory."""
        return self.calls.get("guided", 0) > 0


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
    def learn(cls, readings: Sequence[tuple[Demand, Cost]]) -> CostModel:
        """Fit both surfaces.

        Args:
            readings: at least one demand with its measured cost.

        Raises:
            ValueError: no reading at all.
        """
        if not readings:
            raise ValueError("a cost model needs at least one reading")
        cells: list[Cell] = []
        values: list[float] = []
        deviations: list[float] = []
        for demand, cost in readings:
            spread = _spread(cost)
            for quantity, seconds in parts(demand, cost).items():
                if seconds >= LEAST_SECONDS:
                    cells.append(_cell(quantity, demand))
                    values.append(seconds)
                    deviations.append(spread)
        held = [(demand, cost.peak_memory_bytes) for demand, cost in readings
                if cost.peak_memory_bytes]
        memory = None
        if held:
            memory = Surface.fit([_memory_cell(demand) for demand, _ in held],
                                 [float(peak) for _, peak in held], [0.01] * len(held),
                                 {"memory": 1.0}, JUMPY)
        return cls(Surface.fit(cells, values, deviations, GROWTH), memory)

    def seconds(self, demand: Demand) -> Prediction:
        """Predict device seconds per picture."""
        counts = {kind: float(count) for kind, count in demand.calls.items() if count}
        counts |= {"step": float(demand.steps), "decode": 1.0, "fixed": 1.0}
        known = {cell.quantity for cell in self.seconds_surface.cells}
        counts = {name: count for name, count in counts.items()
                  if name in known or name in demand.calls}
        mean, covariance = self.seconds_surface.predict(
            [_cell(quantity, demand) for quantity in counts])
        each = np.exp(mean) * np.array(list(counts.values()))
        total = float(each.sum())
        share = each / total
        return Prediction(total, math.sqrt(max(0.0, float(share @ covariance @ share))))

    def memory(self, demand: Demand) -> Prediction | None:
        """Predict peak bytes; None where no reading had any."""
        if self.memory_surface is None:
            return None
        mean, covariance = self.memory_surface.predict([_memory_cell(demand)])
        return Prediction(float(np.exp(mean[0])), math.sqrt(max(0.0, float(covariance[0, 0]))))

    def contradicts(self, demand: Demand, cost: Cost) -> bool:
        """Tell whether a reading that the model has not seen lies far from what it predicts."""
        found = self.seconds(demand)
        noise = self.seconds_surface.parts["noise"]
        expected = math.hypot(found.deviation, noise, _spread(cost))
        return abs(math.log(cost.seconds / found.value)) > SURPRISING * expected

    def next_probe(self, candidates: Sequence[Demand], target: Sequence[Demand]) -> int:
        """Return which candidate's reading would say most about the targets for its seconds.

        Args:
            candidates: what could be run next.
            target: settings whose seconds should be known.
        """
        aims = _distinct([_cell(kind, demand) for demand in target for kind in demand.calls])
        cells = [_cell(kind, demand) for demand in candidates for kind in demand.calls]
        owner = np.repeat(np.arange(len(candidates)), [len(d.calls) for d in candidates])
        gains = np.zeros(len(candidates))
        np.maximum.at(gains, owner, self.seconds_surface.gains(cells, aims))
        dear = np.array([self.seconds(demand).value for demand in candidates])
        return int(np.argmax(gains / np.sqrt(dear)))


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


def _cell(quantity: str, demand: Demand) -> Cell:
    """The sampler tells only in the seconds of a step."""
    sampler = demand.sampler if quantity == "step" else ""
    return Cell(quantity, {**demand.execution, "sampler": sampler}, demand.pixels, demand.batch)


def _memory_cell(demand: Demand) -> Cell:
    # Peak memory grows with all pixels that are in flight at once.
    return Cell("memory", {**demand.execution, "guided": demand.guided},
                demand.pixels * demand.batch, 1)


def _spread(cost: Cost) -> float:
    """Relative standard deviation of a cost's median, from its 95 % interval."""
    if cost.seconds_low is None or cost.seconds_high is None or cost.seconds <= 0:
        return 0.03
    return max(0.002, (cost.seconds_high - cost.seconds_low) / (4 * cost.seconds))


def _distinct(cells: Sequence[Cell]) -> list[Cell]:
    found = {(cell.quantity, tuple(sorted(cell.values.items(), key=str)), cell.pixels,
              cell.batch): cell for cell in cells}
    return list(found.values())
