"""What the model of taste is fitted to, and what comes out: plain records of arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings in a unit of about their own deviation.

    Attributes:
        phi: `(n, width)`.
        value: `(n,)`.
        rater: `(n,)` number of the rater.
        group: `(n,)` number of the prompt.
    """

    phi: Floats
    value: Floats
    rater: Ints
    group: Ints

    def rows(self, chosen: NDArray[np.bool_]) -> Ratings:
        """Return some of them."""
        return Ratings(self.phi[chosen], self.value[chosen], self.rater[chosen], self.group[chosen])


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to pairs.

    Attributes:
        moved: `(m, width)` phi of the left picture less that of the right one.
        win: `(m,)` 1, 0 or 1/2.
        rater: `(m,)` number of the rater.
        group: `(m,)` number of the prompt.
        spread: `(m,)` variance of the base's difference.
        weight: `(m,)` how many answers each counts for.
    """

    moved: Floats
    win: Floats
    rater: Ints
    group: Ints
    spread: Floats
    weight: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> Answers:
        """Return some of them."""
        return Answers(
            self.moved[chosen],
            self.win[chosen],
            self.rater[chosen],
            self.group[chosen],
            self.spread[chosen],
            self.weight[chosen],
        )


@dataclass(frozen=True, eq=False)
class Evidence:
    """All labels of one fit.

    Attributes:
        ratings: the ratings, perhaps none.
        answers: the answers to pairs, perhaps none.
        parts: where phi's parts stand; the base, if any, is column 0 and in none of them.
        base: whether column 0 is a base.
        raters: how many raters there are.
        groups: how many prompts there are.
        effects: whether prompts move ratings.
    """

    ratings: Ratings
    answers: Answers
    parts: tuple[slice, ...]
    base: bool
    raters: int
    groups: int
    effects: bool

    def rows(self, held: NDArray[np.bool_], *, out: bool) -> Evidence:
        """Return the labels of some prompts (`held`, by number), or of the others."""
        chosen = held if out else ~held
        return replace(
            self,
            ratings=self.ratings.rows(chosen[self.ratings.group]),
            answers=self.answers.rows(chosen[self.answers.group]),
        )

    @property
    def width(self) -> int:
        """The number of columns of phi."""
        return int(self.answers.moved.shape[1])

    def spread(self, weights: Floats) -> Floats:
        """Return the variance that the base's own uncertainty gives each answer's difference."""
        return self.answers.spread * (weights[0] ** 2 if self.base else 1.0)


@dataclass(frozen=True, eq=False)
class Posterior:
    """What was learned.

    Attributes:
        weights: `(width,)` MAP.
        covariance: `(width, width)` Laplace.
        precision: `(parts,)` prior precision of each part's weights.
        nu: Davidson's tie parameter.
        reliability: `(raters,)`.
        offset: `(raters,)`, in the unit of `Ratings.value`, as are the next two.
        scale: `(raters,)` per logit.
        noise: `(raters,)` deviation.
        effect: variance of the prompts' effects, squared logits.
        sweeps: how many were needed.
    """

    weights: Floats
    covariance: Floats
    precision: Floats
    nu: float
    reliability: Floats
    offset: Floats
    scale: Floats
    noise: Floats
    effect: float
    sweeps: int = 0

    def variance(self, phi: Floats) -> Floats:
        """Return the variance of `phi @ weights`."""
        return np.asarray(np.maximum(((phi @ self.covariance) * phi).sum(axis=1), 0.0))
