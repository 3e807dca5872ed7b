"""What is known of a picture setting whose quality was read, and of the ways of running it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.pool import STEPS
from ldmopt.search.prices import cost_front

Floats = NDArray[np.float64]


@dataclass(eq=False)
class Known:
    """One picture setting.

    Attributes:
        row: of the picture parameters.
        value: quality.
        variance: of the reading.
        reading: index of its newest reading.
        seconds: `(e,)` of an evaluation.
        places: `(e, k)` costs of every way of running it, measured ones in their place; ways
            that are not among the priced come behind.
        measured: which of them were measured.
        cells: `(p, 2)` those that count as found.
        untimed: `(q,)` ways on its front that were not measured.
    """

    row: Floats
    value: float
    variance: float
    reading: int
    seconds: Floats
    places: Floats
    measured: set[int] = field(default_factory=set)
    cells: Floats = field(default_factory=lambda: np.zeros((0, 2)))
    untimed: list[int] = field(default_factory=list)

    def settle(self, fill_in: bool) -> None:
        """Work out what counts as found and what is left to measure."""
        cells = three(self.places)
        front = cost_front(self.places[None])[0]
        front = front[np.isfinite(front[:, 0])]
        self.untimed = [way for way in range(len(self.seconds)) if way not in self.measured
                        and (front == cells[way]).all(axis=1).any()]
        if fill_in:
            front = cost_front(self.places[None], STEPS)[0]
            self.cells = front[np.isfinite(front[:, 0])]
        else:
            self.cells = cells[sorted(self.measured)]

    def measure(self, index: int | None, place: Floats) -> None:
        """Put measured costs in the place of predicted ones.

        Args:
            index: which way of running; None for one that is not among the priced.
            place: `(1, k)`.
        """
        self.places = (np.concatenate([self.places, place]) if index is None
                       else self.places.copy())
        at = len(self.places) - 1 if index is None else index
        self.places[at] = place[0]
        self.measured.add(at)


def three(places: Floats) -> Floats:
    """Return costs as two objectives; one that does not exist is 1."""
    return places if places.shape[1] == 2 else np.concatenate(
        [places, np.where(np.isfinite(places), 1.0, -np.inf)], axis=1)
