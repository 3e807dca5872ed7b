"""The candidates of a priced search: picture settings, with what each way of running them costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.encoding import Encoding, Features
from ldmopt.search.prices import Prices, cost_front

Floats = NDArray[np.float64]

MOST = 4096
"""Picture settings whose posterior is kept; a larger space is sampled."""

MOST_WAYS = 256
"""Ways of running that are priced; of more, a sample."""

STEPS = 6
"""Points of a candidate's front of costs that count at the most."""

LEAST_COST = 1e-300
"""Logarithms of costs begin here."""


class Pool:
    """Candidates and their prices.

    Attributes:
        ways: `(e, ...)` rows of the execution parameters.
        way_index: row as bytes -> its index.
        rows: `(m, ...)` rows of the picture parameters.
        index: row as bytes -> its index.
        features: of the rows.
        seconds: `(m, e)` device seconds of an evaluation; infinite where it cannot run.
        least: `(m,)` the fewest of them.
        places: `(m, e, k)` costs from the reference, 0, to the cheapest, 1.
        steps: `(m, p, 2)` front of the costs, see `cost_front`.
    """

    def __init__(
        self, pictures: Encoding, executions: Encoding, prices: Prices,
        limits: Sequence[float | None], reference: Sequence[float] | None, seed: int,
    ) -> None:
        """Price the space.

        Args:
            pictures: parameters that change the picture.
            executions: those that only change what it costs.
            prices: predicts costs.
            limits: for each known objective what it may not exceed, or None.
            reference: for each known objective what is worth nothing; 1.1 times the dearest that
                is allowed when None.
            seed: of what is sampled.

        Raises:
            ValueError: nothing can be run within the limits.
        """
        self.pictures, self.executions = pictures, executions
        self._prices, self._limits, self._reference = prices, limits, reference
        rng = np.random.default_rng([seed, 0])
        self.ways = (executions.every() if executions.size <= MOST_WAYS
                     else executions.draw(MOST_WAYS, rng))
        self._ways_params = [executions.params(way) for way in self.ways]
        self.way_index = {way.tobytes(): index for index, way in enumerate(self.ways)}
        self._scale: tuple[Floats, Floats] | None = None
        self.fill([], rng)

    @property
    def sampled(self) -> bool:
        """Whether the space is too large to hold all of it."""
        return self.pictures.size > MOST

    def fill(self, best: Sequence[Floats], rng: np.random.Generator) -> None:
        """Choose candidates: all, or an even sample and what is near the best.

        Raises:
            ValueError: nothing can be run within the limits.
        """
        rows = self._sample(best, rng) if self.sampled else self.pictures.every()
        seconds, places = self.price(rows)
        runs = np.isfinite(seconds).any(axis=1)
        if not runs.any():
            raise ValueError("no setting can be run within the limits")
        self.rows, self.seconds, self.places = rows[runs], seconds[runs], places[runs]
        self.steps, self.least = cost_front(self.places, STEPS), self.seconds.min(axis=1)
        self.features = self.pictures.features(self.rows)
        self.index = {row.tobytes(): index for index, row in enumerate(self.rows)}

    def price(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return evaluation seconds `(n, e)` and places of costs `(n, e, k)` of picture settings.

        Infinite, and -inf, where a setting cannot run within the limits.
        """
        table = np.asarray(self._prices([self.pictures.params(row) for row in rows],
                                        self._ways_params), np.float64)
        costs, seconds = table[:, :, :-1], table[:, :, -1]
        runs = np.isfinite(table).all(axis=2) & (seconds > 0)
        for index, limit in enumerate(self._limits):
            if limit is not None:
                runs &= costs[:, :, index] <= limit
        if self._scale is None and runs.any():
            allowed = np.maximum(costs[runs], LEAST_COST)
            top = (1.1 * allowed.max(axis=0) if self._reference is None
                   else np.asarray(self._reference, np.float64))
            self._scale = np.log(allowed.min(axis=0)), np.log(top)
        return (np.where(runs, seconds, np.inf),
                np.where(runs[:, :, None], self.placed(costs), -np.inf))

    def placed(self, costs: Floats) -> Floats:
        """Return where costs lie from the reference, 0, to the cheapest, 1."""
        if self._scale is None:
            return np.full(costs.shape, -np.inf)
        low, top = self._scale
        with np.errstate(invalid="ignore"):
            return np.asarray((top - np.log(np.maximum(costs, LEAST_COST))) / (top - low))

    def whole(self, rows: Floats, ways: Floats) -> Features:
        """Return features of whole settings."""
        one, other = self.pictures.features(rows), self.executions.features(ways)
        return Features(np.concatenate([one.coordinates, other.coordinates], axis=1),
                        np.concatenate([one.flags, other.flags], axis=1),
                        np.concatenate([one.groups, other.groups + one.group_count]))

    def _sample(self, best: Sequence[Floats], rng: np.random.Generator) -> Floats:
        parts = [self.pictures.draw(MOST // 2 if best else MOST, rng)]
        if best:
            parts.append(self.pictures.near(np.array(best), MOST // 2, rng))
        return self.pictures.tidy(np.concatenate(parts))
