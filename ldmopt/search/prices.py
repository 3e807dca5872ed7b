"""What settings cost, for every way of running every picture setting at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.encoding import Params

Floats = NDArray[np.float64]


class Prices(Protocol):
    """Predicts costs: those among the objectives, and what an evaluation would take."""

    def __call__(self, pictures: Sequence[Params], executions: Sequence[Params]) -> Floats:
        """Return `(pictures, executions, k + 1)`.

        The first k are the known objectives in the study's units and order, such as seconds and
        bytes; the last is the device seconds of making and measuring all the pictures that a
        setting is judged by. Infinite or NaN where a combination cannot run.
        """


def one_by_one(price: Callable[[dict[str, object]], Sequence[float]]) -> Prices:
    """Return prices from a function of one whole setting."""

    def prices(pictures: Sequence[Params], executions: Sequence[Params]) -> Floats:
        return np.array([[price({**picture, **execution}) for execution in executions]
                         for picture in pictures], np.float64)

    return prices


def cost_front(costs: Floats, most: int | None = None) -> Floats:
    """Return the undominated ways of running each picture setting.

    Args:
        costs: `(m, e, k)` maximised, k of 1 or 2; -inf where a combination cannot run.
        most: points that are kept at the most, 2 or more, evenly along the front with its ends;
            what an improvement by the others would add is little, and time grows with them.

    Returns:
        `(m, p, 2)`, best in the first objective first; unused places are -inf. Where there is
        one objective the other is 1.
    """
    first = costs[:, :, 0]
    second = costs[:, :, 1] if costs.shape[2] > 1 else np.ones_like(first)
    order = np.lexsort((-second, -first), axis=1)
    first, second = (np.take_along_axis(item, order, axis=1) for item in (first, second))
    before = np.maximum.accumulate(second, axis=1)
    before = np.concatenate([np.full((len(costs), 1), -np.inf), before[:, :-1]], axis=1)
    kept = (second > before) & np.isfinite(first)
    if most is not None:
        place, last = np.cumsum(kept, axis=1) - 1, kept.sum(axis=1, keepdims=True) - 1
        stride = np.maximum(last, 1) / (most - 1)
        kept &= (last < most) | (np.rint(np.rint(place / stride) * stride) == place)
    result = np.full((len(costs), int(max(1, kept.sum(axis=1).max(initial=1))), 2), -np.inf)
    rows, columns = np.nonzero(kept)
    slots = (np.cumsum(kept, axis=1) - 1)[rows, columns]
    result[rows, slots, 0] = first[rows, columns]
    result[rows, slots, 1] = second[rows, columns]
    return result
