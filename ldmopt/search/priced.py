"""Search where costs are predicted: quality alone is learned, each candidate is a picture setting.

One evaluation of a picture setting serves every way of running it, so what it promises is what the
whole front of its costs would add to the hypervolume; that is divided by a power of the device
seconds that it takes (gain per cost, Snoek et al. 2012; the power below 1 is the cooled form of Lee
et al. 2020, without which cheap settings come first for too long).

Quality is maximised and counts from 0; costs are logarithms between the cheapest and 1.1 times the
dearest that is allowed, fixed when the search begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.encoding import Encoding
from ldmopt.search.feasible import NOISE, Feasibility
from ldmopt.search.hypervolume import (
    hypervolume,
    nondominated,
    shared_areas,
    staircase_improvement,
    undominated,
)
from ldmopt.search.kernel import Kernel
from ldmopt.search.known import Known, three
from ldmopt.search.likelihood import fitted, last_due
from ldmopt.search.pool import STEPS, Pool
from ldmopt.search.prices import Prices, cost_front
from ldmopt.search.process import Process, refinement

Floats = NDArray[np.float64]
Cell = tuple[Floats, Floats]
"""Rows of the picture and of the execution parameters: a whole setting."""

FIRST_FIT = 6
"""Readings from which parameters are fitted."""

MOST = 2000
"""Readings that a posterior rests on; of more, the best and the newest."""

NEAR_BEST = 64
"""Picture settings near which a large space is sampled more densely."""

SHORTLIST = 24
"""Candidates whose ways of running are looked at one by one, once anything failed."""

LIKELY = 0.3
"""A way of running that works with a smaller chance promises nothing."""

DESIGN = 6
"""First proposals that are spread over the space, so that no corner is forgotten for its price."""

DESIGN_PRICE = 0.5
"""Share of the candidates, the cheapest, that they are taken from."""

NOTHING = np.zeros(3)


@dataclass(frozen=True)
class Rules:
    """How a priced search decides.

    Attributes:
        limits: for each known objective what it may not exceed, or None.
        reference: for each known objective what hypervolume is counted from; 1.1 times the
            dearest that is allowed when None.
        exponent: power of the device seconds by which a gain is divided.
        timing_share: device seconds of measuring a setting whose pictures exist, over those of
            making them.
        fill_in: whether a picture setting's predicted ways of running count as found; else each
            has to be proposed and measured.
        prior: mean and deviation of quality that are expected beforehand; in these it is modelled.
    """

    limits: Sequence[float | None] = ()
    reference: Sequence[float] | None = None
    exponent: float = 0.5
    timing_share: float = 0.1
    fill_in: bool = True
    prior: tuple[float, float] = (0.4, 0.25)


class Priced:
    """The state of a search; readings come in by `add` and `failed`."""

    def __init__(
        self, pictures: Encoding, executions: Encoding, prices: Prices, rules: Rules, seed: int,
        spent: Callable[[], float] | None = None,
    ) -> None:
        """Price the space.

        Args:
            pictures: parameters that change the picture.
            executions: those that only change what it costs.
            prices: predicts costs.
            rules: how it decides.
            seed: of what is sampled.
            spent: returns the share of the budget that is spent; None where there is none.

        Raises:
            ValueError: nothing can be run within the limits.
        """
        self.rules, self._seed, self._spent = rules, seed, spent
        self.expected_gain: float | None = None
        self.pool = Pool(pictures, executions, prices, rules.limits, rules.reference, seed)
        self._known: dict[bytes, Known] = {}
        self._points: list[Floats] = []
        self._values: list[float] = []
        self._variances: list[float] = []
        self._gone: dict[tuple[bytes, bytes], Cell] = {}
        self._feasibility: tuple[Feasibility, Feasibility] | None = None
        self._process = Process(Kernel.usual(self.pool.features), self.pool.features)
        self._used: list[int] = []
        self._fitted_at = 0
        self._noise_scale = rules.prior[1]
        self._closed: set[bytes] = set()
        self._areas: tuple[bytes, Floats, Floats] | None = None
        self._design: list[Cell] = [
            (self.pool.rows[index], self.pool.ways[int(np.argmin(self.pool.seconds[index]))])
            for index in self._designed()]

    def add(
        self, picture: Floats, way: Floats, quality: float, variance: float,
        costs: Sequence[float] | None,
    ) -> None:
        """Take a reading in.

        Args:
            picture: row of the picture parameters.
            way: row of the execution parameters.
            quality: what was read.
            variance: of the reading, as far as known.
            costs: measured known objectives; None where only quality was read.
        """
        known = self._known.get(picture.tobytes())
        if known is None:
            seconds, places = self.pool.price(picture[None])
            known = Known(picture, quality, variance, self._read(picture, quality, variance),
                           seconds[0], places[0])
            self._known[picture.tobytes()] = known
        elif variance < known.variance:
            more = refinement((known.value, known.variance), (quality, variance))
            known.reading = self._read(picture, *(more or (quality, variance)))
            known.value, known.variance = quality, variance
        elif quality != known.value and variance == 0.0:
            known.reading = self._read(picture, quality, variance)
            known.value = float(np.mean([
                value for point, value in zip(self._points, self._values, strict=True)
                if np.array_equal(point, picture, equal_nan=True)]))
        if costs is not None:
            known.measure(self.pool.way_index.get(way.tobytes()),
                          self.pool.placed(np.asarray(costs, np.float64)[None]))
        known.settle(self.rules.fill_in)
        self._learn((picture, way), worked=True)

    def believe(self, picture: Floats, quality: float, variance: float) -> None:
        """Learn from what another study read; the setting is still to be tried here."""
        self._read(picture, quality, variance)

    def close(self, picture: Floats, way: Floats) -> None:
        """Never propose a setting again: it was tried, though another was read."""
        self._closed.add(picture.tobytes())

    def failed(self, picture: Floats, way: Floats) -> None:
        """Learn that a setting does not work, or broke a constraint."""
        self._gone[picture.tobytes(), way.tobytes()] = picture, way
        if self._feasibility is None:
            self._learn_failures()
        else:
            self._learn((picture, way), worked=False)

    def propose(self, pending: Sequence[Cell], number: int) -> Cell:
        """Return the setting to try next.

        Args:
            pending: settings under way, taken to turn out as predicted.
            number: of the proposal, from which what is random follows.
        """
        self.expected_gain = None
        if len(self._known) + len(self._gone) + len(pending) < DESIGN:
            tried = {*self._known, *self._closed, *(key for key, _ in self._gone),
                     *(picture.tobytes() for picture, _ in pending)}
            for picture, way in self._design:
                if picture.tobytes() not in tried:
                    return picture, way
        self._refresh()
        center, scale = self._standard()
        count = len(self._used)
        values = (np.array(self._values)[np.array(self._used, np.intp)] - center) / scale
        believed: dict[bytes, tuple[Floats, float]] = {}
        try:
            for picture, _ in pending:
                key = picture.tobytes()
                if key not in self._known and key not in believed:
                    point = self.pool.pictures.features(picture[None])
                    mean, _ = self._process.elsewhere(point, values)
                    self._process.extend(point, np.zeros(1))
                    values = np.append(values, mean[0])
                    believed[key] = picture, float(mean[0] * scale + center)
            mean = self._process.mean(values) * scale + center
            deviation = np.sqrt(self._process.variance) * scale
        finally:
            self._process.shrink(count)
        taken = {(picture.tobytes(), way.tobytes()) for picture, way in pending}
        return self._choose(mean, deviation, self._front(believed), {*taken, *self._gone},
                            set(believed), number)

    def _designed(self) -> list[int]:
        """Return an even design of the candidates, the dearer ones left out."""
        pool = self.pool
        cheap = np.flatnonzero(pool.least <= np.quantile(pool.least, DESIGN_PRICE))
        rng = np.random.default_rng([self._seed, 3])
        process = Process(Kernel.usual(pool.features), pool.features)
        found: list[int] = []
        for row in pool.pictures.draw(DESIGN, rng):
            # The nearest that is cheap and not much like another of the design.
            near = process.kernel.alike(pool.pictures.features(row[None]), pool.features[cheap])[0]
            best = int(cheap[np.argmax(near * process.variance[cheap])])
            found.append(best)
            process.extend(pool.features[[best]], np.zeros(1))
        return found

    def _choose(
        self, mean: Floats, deviation: Floats, front: Floats, taken: set[tuple[bytes, bytes]],
        believed: set[bytes], number: int,
    ) -> Cell:
        pool = self.pool
        known = [pool.index[key] for key in {*self._known, *believed, *self._closed}
                 if key in pool.index]
        is_open = np.ones(len(pool.rows), bool)
        is_open[known] = False
        gains = staircase_improvement(*self._shared(front, is_open), mean, deviation)
        if not (gains[is_open] > 1e-12).any():
            # Nothing is expected to improve: what is least known comes first.
            gains = 1e-15 * deviation
        if self._feasibility is not None:
            gains = gains * np.asarray(self._feasibility[0].chances())
        score = np.where(is_open, gains / pool.least**self._exponent(), -np.inf)
        best = int(np.argmax(score))
        found = hypervolume(front, NOTHING) if len(front) else 0.0
        self.expected_gain = float(gains[best]) / found if found > 0 else None
        timing = None if self.rules.fill_in else self._timing(front, taken)
        if timing is not None and timing[0] > score[best]:
            return timing[1]
        if score[best] == -np.inf:
            return self._anything(taken, number)
        if self._feasibility is None:
            return pool.rows[best], pool.ways[int(np.argmin(pool.seconds[best]))]
        return self._shortlisted(score, front, mean, deviation, taken)

    def _exponent(self) -> float:
        """Return the power of the device seconds: it fades once half of the budget is spent.

        Lee et al. 2020, section 3.2: what little is left is best spent on what gains most.
        """
        left = 1.0 if self._spent is None else 1.0 - self._spent()
        return min(self.rules.exponent, max(0.0, left))

    def _shortlisted(
        self, score: Floats, front: Floats, mean: Floats, deviation: Floats,
        taken: set[tuple[bytes, bytes]],
    ) -> Cell:
        """Look at the best candidates' ways one by one, those likely to fail left out."""
        pool = self.pool
        short = np.argsort(-score, kind="stable")[:SHORTLIST]
        short = short[score[short] > -np.inf]
        seconds = pool.seconds[short]
        at, ways = np.nonzero(np.isfinite(seconds))
        chance = np.zeros(seconds.shape)
        chance[at, ways] = self._chances(pool.rows[short[at]], pool.ways[ways])
        for place, way in zip(at, ways, strict=True):
            if (pool.rows[short[place]].tobytes(), pool.ways[way].tobytes()) in taken:
                chance[place, way] = 0.0
        places = np.where((chance > LIKELY)[:, :, None], pool.places[short], -np.inf)
        levels, areas = shared_areas(undominated(front, NOTHING), cost_front(places, STEPS))
        gains = staircase_improvement(levels, areas, mean[short], deviation[short])
        each = (gains[:, None] + 1e-15) * chance / seconds**self._exponent()
        row, way = np.unravel_index(int(np.argmax(each)), each.shape)
        return pool.rows[short[row]], pool.ways[way]

    def _timing(
        self, front: Floats, taken: set[tuple[bytes, bytes]]
    ) -> tuple[float, Cell] | None:
        """Return the best setting whose pictures exist and whose cost was not measured yet."""
        ways = self.pool.ways
        cells = [(known, way) for known in self._known.values() for way in known.untimed
                 if (known.row.tobytes(), ways[way].tobytes()) not in taken]
        if not cells:
            return None
        steps = np.array([three(known.places[way][None]) for known, way in cells])
        value = np.array([known.value for known, _ in cells])
        gains = staircase_improvement(*shared_areas(undominated(front, NOTHING), steps), value,
                                      np.zeros(len(cells)))
        seconds = self.rules.timing_share * np.array([known.seconds[way] for known, way in cells])
        score = gains / seconds**self._exponent()
        if self._feasibility is not None:
            score = score * self._chances(np.array([known.row for known, _ in cells]),
                                          ways[[way for _, way in cells]])
        best = int(np.argmax(score))
        known, way = cells[best]
        return (float(score[best]), (known.row, ways[way])) if score[best] > 0 else None

    def _anything(self, taken: set[tuple[bytes, bytes]], number: int) -> Cell:
        """Every candidate is known: try whatever was not tried, or else repeat something."""
        rng = np.random.default_rng([self._seed, 1, number])
        for _ in range(50):
            picture = self.pool.pictures.draw(1, rng)[0]
            way = self.pool.ways[rng.integers(len(self.pool.ways))]
            if (picture.tobytes(), way.tobytes()) not in taken:
                break
        return picture, way

    def _front(self, believed: dict[bytes, tuple[Floats, float]]) -> Floats:
        """Return the undominated cells of all known pictures, `(n, 3)`."""
        every = list(self._known.values())
        values = [known.value for known in every]
        if any(known.variance > 0 for known in every):
            center, scale = self._standard()
            read = (np.array(self._values)[self._used] - center) / scale
            smooth = self._process.smoothed(read) * scale + center
            at = dict(zip(self._used, smooth.tolist(), strict=True))
            values = [at.get(known.reading, known.value) for known in every]
        cells = [known.cells for known in every]
        for row, value in believed.values():
            _, places = self.pool.price(row[None])
            steps = cost_front(places, STEPS)[0]
            cells.append(steps[np.isfinite(steps[:, 0])])
            values.append(value)
        if not cells:
            return np.zeros((0, 3))
        found = np.concatenate(cells)
        owners = np.repeat(values, [len(item) for item in cells])
        found = np.concatenate([owners[:, None], found], axis=1)
        return found[nondominated(found)]

    def _shared(self, front: Floats, is_open: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Return levels and areas of the open candidates, kept while the front stays."""
        key = front.tobytes()
        if self._areas is None or self._areas[0] != key:
            levels, found = shared_areas(undominated(front, NOTHING), self.pool.steps[is_open])
            areas = np.zeros((len(is_open), len(levels)))
            areas[is_open] = found
            self._areas = key, levels, areas
        return self._areas[1:]

    def _read(self, picture: Floats, value: float, variance: float) -> int:
        self._points.append(picture)
        self._values.append(value)
        self._variances.append(variance)
        return len(self._points) - 1

    def _standard(self, count: int | None = None) -> tuple[float, float]:
        """Return what quality is centred and scaled by.

        Not by what was read alone: after cheap settings only, all good ones would seem far off.
        """
        mean, deviation = self.rules.prior
        values = np.array(self._values[:count])
        return mean, max(deviation, float(values.std()) if len(values) else 0.0)

    def _refresh(self) -> None:
        """Bring the posterior up to date; fit parameters anew when it is time."""
        count = len(self._points)
        due = last_due(count, FIRST_FIT)
        if due >= FIRST_FIT and due > self._fitted_at:
            self._fit(due)
        self._extend(range(self._used[-1] + 1 if self._used else 0, count))

    def _fit(self, count: int) -> None:
        """Choose candidates and fit parameters by the first `count` readings.

        By these alone, so that a search that was stopped goes on as one that was not.
        """
        self._fitted_at = count
        order = np.argsort(-np.array(self._values[:count]), kind="stable")
        if self.pool.sampled:
            self.pool.fill([self._points[index] for index in order[:NEAR_BEST]],
                           np.random.default_rng([self._seed, 2, count]))
            self._areas = None
            if self._gone:
                self._learn_failures()
        center, scale = self._standard(count)
        kept = np.arange(count)
        if count > MOST:
            kept = np.union1d(order[: MOST // 2], np.arange(count - MOST // 2, count))
        points = self.pool.pictures.features(np.array([self._points[index] for index in kept]))
        values = (np.array(self._values)[kept] - center) / scale
        noise = np.array(self._variances)[kept] / scale**2
        self._noise_scale = scale
        self._process = Process(fitted(points, values, noise, Kernel.usual(points)),
                                self.pool.features)
        self._used = []
        self._extend(kept.tolist())

    def _extend(self, new: Sequence[int]) -> None:
        if not len(new):
            return
        points = self.pool.pictures.features(np.array([self._points[index] for index in new]))
        variances = np.array([self._variances[index] for index in new])
        self._process.extend(points, variances / self._noise_scale**2)
        self._used.extend(new)

    def _learn(self, cell: Cell, worked: bool) -> None:
        """Tell what is known of failures, once there is one, of another setting.

        A picture setting that failed may have failed for how it was run, so that says less.
        """
        if self._feasibility is None:
            return
        picture, way = cell
        self._feasibility[0].add(self.pool.pictures.features(picture[None]), worked,
                                 4 * NOISE if worked else 1.0)
        self._feasibility[1].add(self.pool.whole(picture[None], way[None]), worked)

    def _learn_failures(self) -> None:
        pool = self.pool
        self._feasibility = (Feasibility(pool.features),
                             Feasibility(pool.whole(pool.rows[:1], pool.ways[:1])))
        for known in self._known.values():
            for index in sorted(known.measured):
                if index < len(pool.ways):
                    self._learn((known.row, pool.ways[index]), worked=True)
        for cell in self._gone.values():
            self._learn(cell, worked=False)

    def _chances(self, rows: Floats, ways: Floats) -> Floats:
        if self._feasibility is None:
            return np.ones(len(rows))
        return self._feasibility[1].at(self.pool.whole(rows, ways))
