"""Search where nothing is known of the objectives: a process for each, hypervolume improvement.

One to three objectives, all maximised here. Candidates are the whole space where it is small, else
an even sample of it and what lies near the front. The improvement is exact for independent normal
objectives, so no draws are needed (`ldmopt.search.hypervolume`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.encoding import Encoding
from ldmopt.search.feasible import Feasibility
from ldmopt.search.hypervolume import (
    expected_improvement,
    nondominated,
    padded,
    undominated,
)
from ldmopt.search.kernel import Kernel
from ldmopt.search.likelihood import fitted, last_due
from ldmopt.search.process import Process

Floats = NDArray[np.float64]

POOL = 2048
"""Candidates whose posterior is kept."""

NEAR = 512
"""Further candidates near the front, a proposal; fewer when there are many readings."""


class Plain:
    """The state of a search; readings come in by `add`."""

    def __init__(
        self, encoding: Encoding, narrow: Sequence[Sequence[str]], seed: int, startup: int
    ) -> None:
        """Begin.

        Args:
            encoding: of all parameters.
            narrow: for each objective the parameters that it depends on.
            seed: of the candidates.
            startup: proposals that are an even design.
        """
        self.encoding = encoding
        self._columns = [[encoding.names.index(name) for name in names] for names in narrow]
        self._parts = [_part(encoding, names) for names in narrow]
        self._seed, self._startup = seed, startup
        self._rows: list[Floats] = []
        self._values: list[Floats] = []
        self._failed: list[Floats] = []
        self._keys: set[bytes] = set()
        self._design = encoding.draw(max(1, startup), np.random.default_rng([seed, 0]))
        self._processes: list[Process] = []
        self._fitted_at = 0

    def add(self, row: Floats, values: Floats | None) -> None:
        """Take a reading in.

        Args:
            row: the setting.
            values: `(objectives,)`, maximised; None where it failed.
        """
        self._keys.add(row.tobytes())
        if values is None:
            self._failed.append(row)
            if self._processes:
                self._feasible.add(self.encoding.features(row[None]), worked=False)
            return
        self._rows.append(row)
        self._values.append(values)
        if self._processes:
            self._feasible.add(self.encoding.features(row[None]), worked=True)

    def close(self, row: Floats) -> None:
        """Never propose a row again: it was tried, though another was read."""
        self._keys.add(row.tobytes())

    def propose(self, pending: Sequence[Floats], number: int) -> Floats:
        """Return the row to try next.

        Args:
            pending: rows under way, taken to turn out as predicted.
            number: of the proposal, from which what is random follows.
        """
        rng = np.random.default_rng([self._seed, 1, number])
        taken = self._keys | {row.tobytes() for row in pending}
        seen = len(self._rows) + len(self._failed) + len(pending)
        if seen < self._startup or len(self._rows) < 2:
            rest = [row for row in self._design if row.tobytes() not in taken]
            return np.asarray(rest[0] if rest else self.encoding.draw(8, rng)[0])
        self._refresh()
        values = standardised(np.array(self._values))
        for row in pending:
            values = self._believe(row, values)
        try:
            return self._best(values, [*self._rows, *pending], taken, rng)
        finally:
            for process in self._processes:
                process.shrink(len(self._rows))

    def _best(
        self, values: Floats, rows: Sequence[Floats], taken: set[bytes], rng: np.random.Generator
    ) -> Floats:
        front = values[nondominated(values)]
        reference = reference_point(values, front)
        boxes = undominated(padded(front), np.append(reference, np.zeros(3 - len(reference))))
        members = np.array(rows)[nondominated(values)]
        count = len(self._rows)
        near = self.encoding.near(members, int(np.clip(6e7 / count**2, 64, NEAR)), rng)
        means, deviations = [], []
        for index, process in enumerate(self._processes):
            here = values[:, index]
            mean, variance = process.elsewhere(
                self._parts[index].features(near[:, self._columns[index]]), here)
            means.append(np.concatenate([process.mean(here), mean]))
            deviations.append(np.sqrt(np.concatenate([process.variance, variance])))
        gains = expected_improvement(boxes, padded(np.stack(means, axis=1)),
                                     _unsure(np.stack(deviations, axis=1)))
        if self._feasible.failures:
            gains = gains * np.concatenate([np.asarray(self._feasible.chances()),
                                            self._feasible.at(self.encoding.features(near))])
        candidates = np.concatenate([self._pool, near])
        spread = sum(deviations)
        # Where nothing is expected to improve, what is least known comes first.
        gains = np.where(gains > 1e-12, gains, 1e-15 * spread)
        for index in np.argsort(-gains, kind="stable"):
            if candidates[index].tobytes() not in taken:
                return np.asarray(candidates[index])
        return np.asarray(candidates[int(rng.integers(len(candidates)))])

    def _refresh(self) -> None:
        """Bring the posteriors up to date; fit parameters anew when it is time."""
        count = len(self._rows)
        due = last_due(count, max(2, self._startup - len(self._failed)))
        if not self._processes or due > self._fitted_at:
            self._fit(due)
        rows = np.array(self._rows)
        for columns, part, process in zip(
                self._columns, self._parts, self._processes, strict=True):
            new = rows[process.count :, columns]
            process.extend(part.features(new), np.zeros(len(new)))

    def _fit(self, count: int) -> None:
        """Choose candidates and fit parameters by the first `count` readings.

        By these alone, so that a search that was stopped goes on as one that was not.
        """
        self._fitted_at = count
        values = standardised(np.array(self._values[:count]))
        self._pool = self._candidates(values)
        self._feasible = Feasibility(self.encoding.features(self._pool))
        for tried, worked in ((self._rows, True), (self._failed, False)):
            for row in tried:
                self._feasible.add(self.encoding.features(row[None]), worked)
        self._processes = []
        for index, (columns, part) in enumerate(zip(self._columns, self._parts, strict=True)):
            points = part.features(np.array(self._rows[:count])[:, columns])
            kernel = fitted(points, values[:, index], np.zeros(count), Kernel.usual(points))
            self._processes.append(Process(kernel, part.features(self._pool[:, columns])))

    def _candidates(self, values: Floats) -> Floats:
        if self.encoding.size <= POOL:
            return self.encoding.every()
        rng = np.random.default_rng([self._seed, 2, len(values)])
        front = np.array(self._rows[: len(values)])[nondominated(values)]
        return self.encoding.tidy(np.concatenate([
            self.encoding.draw(POOL // 2, rng), self.encoding.near(front, POOL // 2, rng)]))

    def _believe(self, row: Floats, values: Floats) -> Floats:
        found = []
        for index, (columns, part, process) in enumerate(
                zip(self._columns, self._parts, self._processes, strict=True)):
            point = part.features(row[None, columns])
            mean, _ = process.elsewhere(point, values[:, index])
            process.extend(point, np.zeros(1))
            found.append(mean[0])
        return np.concatenate([values, np.array(found)[None]])


def standardised(values: Floats) -> Floats:
    """Return objectives about 0 with deviation 1 each; a constant one is 0."""
    scale = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def reference_point(values: Floats, front: Floats) -> Floats:
    """Return the point from which hypervolume is counted: a little below the front's worst."""
    low = front.min(axis=0)
    spread = np.maximum(front.max(axis=0) - low, 0.1 * np.ptp(values, axis=0) + 1e-9)
    return np.asarray(low - 0.1 * spread)


def _unsure(deviations: Floats) -> Floats:
    """Return deviations of three objectives; one that does not exist is certain."""
    return np.concatenate([deviations, np.zeros((len(deviations), 3 - deviations.shape[1]))], 1)


def _part(encoding: Encoding, names: Sequence[str]) -> Encoding:
    """Return the encoding of some of the parameters."""
    return Encoding({name: encoding.space[name] for name in encoding.space if name in names},
                    encoding.jumps, encoding.ordered, encoding.conditions, encoding.canonical)
