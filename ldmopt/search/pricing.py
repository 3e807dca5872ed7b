"""Prices of a whole space at once: every way of running every picture setting.

What a picture setting asks for is counted once; what a unit of it costs (a call, a step, a decode)
depends on how and at what size it runs alone, so each distinct unit is predicted once and all
cells are sums of counts times units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Setting, Value
from ldmopt.knob import Space
from ldmopt.search.cost import CostModel, Unit
from ldmopt.search.demand import Counter, Demand, pixels_of
from ldmopt.search.encoding import Params
from ldmopt.search.prices import Prices

Floats = NDArray[np.float64]

LENIENT = 0.5
"""A cell is over a limit where its cost, less so many of its deviations, is."""

GROWING = ("out-of-memory", "deadline")
"""Failures that a setting which needs more must have, too."""


@dataclass(frozen=True)
class Limits:
    """What no setting may exceed; None where there is no limit."""

    latency_seconds: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predicted costs of `(m, e)` cells; NaN where a combination is refused.

    Attributes:
        seconds: device seconds a picture.
        seconds_deviation: of their logarithms.
        memory: peak bytes; NaN everywhere where none was read.
        memory_deviation: of their logarithms.
        batch: `(m, e)` pictures in a call.
    """

    seconds: Floats
    seconds_deviation: Floats
    memory: Floats
    memory_deviation: Floats
    batch: Floats


@dataclass(eq=False)
class _Ways:
    """All ways of running pictures of one look: same size, same patches of the networks.

    Attributes:
        runs: `(2, e)` whether it can be had, unguided and guided.
        batch: `(e,)` pictures in a call.
        means: `(e, u)` logarithms of units' seconds.
        covariances: `(e, u, u)`.
        memory: `(2, e, 2)` logarithm of bytes with its deviation, unguided and guided; no runs
            are NaN.
    """

    runs: NDArray[np.bool_]
    batch: Floats
    means: Floats
    covariances: Floats
    memory: Floats


@dataclass(eq=False)
class Pricing:
    """A cost model's `Prices` of a space.

    Attributes:
        model: predicts.
        space: whose default fills in what is not searched.
        counter: counts what picture settings ask for.
        pictures: that a setting is judged by.
        calls: of the pipeline that its cost is a median of at the least.
        limits: cells beyond them are NaN.
        failed: settings that were tried, with the kind of their failure; they are NaN, and so are
            those that need at least as much where that was why.
    """

    model: CostModel
    space: Space
    counter: Counter
    pictures: int
    calls: int = 1
    limits: Limits = field(default_factory=Limits)
    failed: Mapping[Setting, str] = field(default_factory=dict)
    _units: list[Unit] = field(default_factory=list)
    _ways: dict[tuple[str, ...], _Ways] = field(default_factory=dict)

    def __call__(self, pictures: Sequence[Params], executions: Sequence[Params]) -> Floats:
        """Return `(m, e, 3)`: seconds a picture, peak bytes, device seconds of an evaluation.

        NaN where a combination is refused, has failed, or is over a limit. Where no memory was
        read, bytes are 1.
        """
        found = self.predict(pictures, executions)
        memory = found.memory
        if self.model.memory_surface is None:
            memory = np.where(np.isnan(found.seconds), np.nan, 1.0)
        made = np.maximum(np.ceil(self.pictures / found.batch), self.calls) * found.batch
        table = np.stack([found.seconds, memory, found.seconds * made], axis=2)
        table[self._over(found)] = np.nan
        return table

    def nearest(self, pictures: Sequence[Params], executions: Sequence[Params]) -> tuple[
        float, float
    ]:
        """Return the least latency in seconds and the least bytes of all that can run at all.

        Limits are left aside: to be told where nothing meets them. NaN where nothing can run.
        """
        found = self.predict(pictures, executions)
        latency = found.seconds * found.batch
        return tuple(float(np.nanmin(item)) if np.isfinite(item).any() else float("nan")
                     for item in (latency, found.memory))  # type: ignore[return-value]

    def predict(
        self, pictures: Sequence[Params], executions: Sequence[Params]
    ) -> Predictions:
        """Predict every combination, limits left aside."""
        settings = [self.space.canonical(picture) for picture in pictures]
        demands = [self.counter.demand(setting) for setting in settings]
        counts = self._counts(demands)
        looks: dict[str, list[int]] = {}
        for place, setting in enumerate(settings):
            if self.space.refusal(self.space.picture(setting)) is None:
                looks.setdefault(self._look(setting).json(), []).append(place)
        shape = (len(pictures), len(executions))
        seconds, spread, memory, doubt, batch = (np.full(shape, np.nan) for _ in range(5))
        for look, places in looks.items():
            ways = self._of_look(look, settings[places[0]], executions)
            each = np.exp(ways.means)[None] * counts[places][:, None, :]
            total = each.sum(axis=2)
            share = each / total[:, :, None]
            across = np.einsum("peu,euv->pev", share, ways.covariances, optimize=True)
            guided = np.array([int(demands[place].guided) for place in places])
            seconds[places] = np.where(ways.runs[guided], total, np.nan)
            spread[places] = np.sqrt(np.maximum((across * share).sum(axis=2), 0.0))
            memory[places] = np.exp(ways.memory[guided, :, 0])
            doubt[places] = ways.memory[guided, :, 1]
            batch[places] = ways.batch
        return Predictions(seconds, spread, memory, doubt, batch)

    def _over(self, found: Predictions) -> NDArray[np.bool_]:
        over = np.zeros(found.seconds.shape, np.bool_)
        limits = self.limits
        with np.errstate(invalid="ignore"):
            if limits.latency_seconds is not None:
                least = found.seconds * np.exp(-LENIENT * found.seconds_deviation)
                over |= least * found.batch > limits.latency_seconds
            if limits.memory_bytes is not None:
                over |= (found.memory * np.exp(-LENIENT * found.memory_deviation)
                         > limits.memory_bytes)
        return over | np.isnan(found.seconds)

    def _counts(self, demands: Sequence[Demand]) -> Floats:
        """Return `(m, u)`, how much of each unit a picture takes."""
        each = [self.model.units(demand) for demand in demands]
        new = {unit: None for units in each for unit in units if unit not in self._units}
        if new:
            self._units += new
            self._ways.clear()
        counts = np.zeros((len(demands), len(self._units)))
        places = {unit: place for place, unit in enumerate(self._units)}
        for row, units in zip(counts, each, strict=True):
            for unit, count in units.items():
                row[places[unit]] = count
        return counts

    def _look(self, setting: Setting) -> Setting:
        """Return what of a picture setting decides the cost of its units."""
        knobs = self.space.knobs
        names = {name for name, item in knobs.items() if item.changes_memory}
        names |= {other for name in names for other in knobs[name].when}
        return setting.only((names - {"guidance"} | {"size"}) & self.space.picture_knobs)

    def _of_look(self, look: str, picture: Setting, executions: Sequence[Params]) -> _Ways:
        key = (look, *(Setting(way).json() for way in executions))
        if key not in self._ways:
            chosen = self.space.picture(picture)
            self._ways[key] = self._predicted([
                self.space.canonical({**chosen, **way}) for way in executions])
        return self._ways[key]

    def _predicted(self, settings: Sequence[Setting]) -> _Ways:
        rows, peaks = [], []
        for setting in settings:
            execution, pixels = self.counter.execution(setting), pixels_of(setting)
            batch = int(setting.get("batch", 1))
            rows.append([unit.cell(execution, pixels, batch) for unit in self._units])
            peaks += [Demand(execution, pixels, batch, {kind: 1})
                      for kind in ("unguided", "guided")]
        means, covariances = self.model.seconds_surface.blocks(rows)
        memory = np.full((2, len(settings), 2), np.nan)
        found = self.model.memories(peaks)
        if found is not None:
            memory[:, :, 0] = np.log(found[0]).reshape(-1, 2).T
            memory[:, :, 1] = found[1].reshape(-1, 2).T
        runs = [[self.space.refusal(setting) is None and not self._fails(setting, guided)
                 for setting in settings] for guided in (False, True)]
        batches = np.array([float(setting.get("batch", 1)) for setting in settings])
        return _Ways(np.array(runs), batches, means, covariances, memory)

    def _fails(self, setting: Setting, guided: bool) -> bool:
        """Tell whether a setting runs as one that failed, or needs more than one that did."""
        wanted = self.counter
        for failed, kind in self.failed.items():
            if wanted.guided(failed) and not guided:
                continue
            more = kind in GROWING and (
                pixels_of(failed) <= pixels_of(setting)
                and int(failed.get("batch", 1)) <= int(setting.get("batch", 1)))
            if (more or (failed.get("size"), failed.get("batch")) == (
                    setting.get("size"), setting.get("batch"))) and _alike(
                    wanted.execution(failed), wanted.execution(setting)):
                return True
        return False


def _alike(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    """Tell whether two ways of running are the same wherever a knob acts in both."""
    return all(one[name] == other[name] for name in one if name in other)


_: type[Prices] = Pricing
