"""Every judge on labels that it never learned from: cross-fitting, and the learning curve.

Whole prompts are held out, or single pictures where there are no prompts to hold out: then the
right picture of a held-out pair may have been seen in another pair, the left one never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.taste.agreement import accuracy
from ldmopt.scorers.taste.judgements import Comparisons, Judgements, comparisons

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SIZES = (10, 20, 40, 80, 160, 320, 640, 1280)
"""Numbers of labels of a learning curve."""
CURVE_FOLDS = 3
LARGEST_SHARE = 0.6
"""Sizes go up to this share of the labels; two thirds of them are there to be drawn from."""
ROUNDS = ((400, 4),)
"""Up to so many labels, so many rounds; beyond, 2."""


class Model(Protocol):
    """What learned from some of the labels; arguments are indices of pictures."""

    def utility(self, pictures: Ints) -> Floats:
        """Return utilities, of which only order and differences count."""
        ...

    def chances(self, left: Ints, right: Ints) -> Floats:
        """Return the chance that each left picture is preferred to the right one beside it."""
        ...

    def ratings(self, pictures: Ints, scale: str) -> tuple[Floats, Floats]:
        """Return mean and deviation of what a rater would rate; NaN where that is unknown."""
        ...


Learner = Callable[[Judgements], Model]
"""Learns from labels; no labels at all must do, too."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a judge said of labels that it had not seen.

    Attributes:
        chance: `(comparisons,)` that left is preferred.
        utility: `(pictures,)` of each picture when its fold was held out.
        mean: `(ratings,)` foretold mean of each rating, NaN where none was.
        deviation: `(ratings,)` of it, the rater's noise included.
        chances: whether `chance` is meant as a probability, and not only as an order.
    """

    chance: Floats
    utility: Floats
    mean: Floats
    deviation: Floats
    chances: bool = True


def held_out(learner: Learner, said: Judgements, against: Comparisons, folds: Ints,
             step: Callable[[], None] = lambda: None) -> HeldOut:  # fmt: skip
    """Judge each fold by what was learned from the others."""
    chance = np.full(len(against), 0.5)
    utility = np.zeros(len(said.digests))
    mean, deviation = (np.full(len(said.rated), np.nan) for _ in range(2))
    for number in np.unique(folds):
        out = folds == number
        model = learner(said.without(out))
        tested = against.fold == number
        chance[tested] = model.chances(against.left[tested], against.right[tested])
        utility[out] = model.utility(np.flatnonzero(out))
        for scale in np.unique(said.scale):
            rows = np.flatnonzero(out[said.rated] & (said.scale == scale))
            mean[rows], deviation[rows] = model.ratings(said.rated[rows], str(scale))
        step()
    return HeldOut(chance, utility, mean, deviation)


def fixed(values: Floats, said: Judgements, against: Comparisons) -> HeldOut:
    """Judge by values that learned nothing from these labels, such as another scorer's.

    Args:
        values: `(pictures,)`, higher is better.
        said: the labels.
        against: their comparisons.
    """
    gap = values[against.left] - values[against.right]
    nothing = np.full(len(said.rated), np.nan)
    return HeldOut(0.5 + 0.5 * np.sign(gap), values, nothing, nothing, chances=False)


@dataclass(frozen=True)
class Plan:
    """How a learning curve is made.

    Attributes:
        rounds: in each, every prompt is held out once, and labels are drawn anew.
        sizes: numbers of labels to learn from.
    """

    rounds: int
    sizes: tuple[int, ...]

    @property
    def fits(self) -> int:
        """How many fits it takes."""
        return self.rounds * CURVE_FOLDS * len(self.sizes)


def plan(said: Judgements) -> Plan:
    """Return how the learning curve of some labels is made; too few give no sizes."""
    rounds = next((number for most, number in ROUNDS if len(said) <= most), 2)
    folds = said.folds(number=CURVE_FOLDS)
    decided = comparisons(said, folds).win != 0.5
    enough = len(np.unique(folds)) == CURVE_FOLDS and decided.any()
    most = LARGEST_SHARE * len(said) if enough else 0.0
    return Plan(rounds, tuple(size for size in SIZES if size <= most))


def learning_curve(
    learner: Learner, said: Judgements, planned: Plan, step: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return held-out accuracy against the number of labels learned from.

    In every round the prompts are dealt into three parts; each is judged by what was learned from
    growing random parts of the labels of the others.

    Args:
        learner: learns from labels.
        said: all labels.
        planned: what `plan` gave for them.
        step: called after each fit.

    Returns:
        ``points``, each with ``labels``, and the ``accuracy`` over all held-out comparisons in
        every round; ``prior``, the mean accuracy of what learned from none, on the same; and the
        number of ``rounds``.
    """
    found: dict[int, list[float]] = {size: [] for size in planned.sizes}
    prior: list[float] = []
    for number in range(planned.rounds if found else 0):
        folds = said.folds(1000 + number, CURVE_FOLDS)
        against = comparisons(said, folds)
        before = learner(said.none()).chances(against.left, against.right)
        prior.append(accuracy(before, against).value or 0.5)
        chance = {size: np.full(len(against), 0.5) for size in found}
        for fold in range(CURVE_FOLDS):
            rest, tested = said.without(folds == fold), against.fold == fold
            order = np.random.default_rng([number, fold]).permutation(len(rest))
            for size in found:
                model = learner(_first(rest, order, size))
                chance[size][tested] = model.chances(against.left[tested], against.right[tested])
                step()
        for size, values in found.items():
            value = accuracy(chance[size], against).value
            values.append(0.5 if value is None else round(value, 4))
    return {
        "rounds": planned.rounds,
        "prior": round(float(np.mean(prior)), 4) if prior else None,
        "points": [{"labels": size, "accuracy": values} for size, values in found.items()],
    }


def _first(said: Judgements, order: Ints, count: int) -> Judgements:
    chosen = np.zeros(len(said), bool)
    chosen[order[:count]] = True
    return said.only(chosen[: len(said.rated)], chosen[len(said.rated) :])
