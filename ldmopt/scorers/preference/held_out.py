"""Labels as they are predicted without their prompt: what honest reports are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.preference import choice, davidson
from ldmopt.scorers.preference.choice import Candidate
from ldmopt.scorers.preference.evidence import Answers, Posterior

Floats = NDArray[np.float64]
Names = NDArray[np.str_]
ENOUGH_PAIRS = 30
"""With fewer answers, ratings of one rater and prompt also tell how steep chances are."""


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """Every label as it was predicted by a fit, a choice and a calibration without its prompt.

    Pairs that nobody was asked about, but that two ratings of one rater and prompt amount to, are
    among the pairs, marked `of_ratings`; all those of one rater and prompt weigh n/2.

    Attributes:
        win: `(m,)` 1 where left was preferred, 0 where right was, 1/2 for ties.
        chance: `(m,)` calibrated chance that this rater prefers left, ties half.
        mean: `(m,)` difference of utilities in logits, before calibration.
        variance: `(m,)` of that difference.
        base: `(m,)` difference of the base's utilities; 0 without a base.
        weight: `(m,)`.
        pair_rater: `(m,)` names.
        pair_group: `(m,)` prompts.
        of_ratings: `(m,)` whether it is made of two ratings.
        rating: `(n,)` ratings.
        expected: `(n,)` what that rater was expected to say.
        deviation: `(n,)` of that expectation, the rating's noise included.
        utility: `(n,)` in logits.
        rating_rater: `(n,)` names.
        rating_group: `(n,)` prompts.
        folds: how many folds there were; 0 with a single prompt: every label was seen.
        chosen: name of the candidate that judged each fold.
    """

    win: Floats
    chance: Floats
    mean: Floats
    variance: Floats
    base: Floats
    weight: Floats
    pair_rater: Names
    pair_group: Names
    of_ratings: NDArray[np.bool_]
    rating: Floats
    expected: Floats
    deviation: Floats
    utility: Floats
    rating_rater: Names
    rating_group: Names
    folds: int
    chosen: tuple[str, ...]

    def misordered_by_base(self) -> Floats:
        """Return the weight of each prompt's pairs that the base orders otherwise, ties half."""
        wrong = self.weight * (0.5 - 0.5 * np.sign(self.base) * (2.0 * self.win - 1.0))
        _, prompt = np.unique(self.pair_group, return_inverse=True)
        return np.bincount(prompt, wrong).astype(np.float64)


def cross_validated(
    candidates: Sequence[Candidate],
    chosen: int,
    held: Sequence[NDArray[np.bool_]],
    names: Names,
    prompts: Names,
) -> tuple[CrossValidated, float, float]:
    """Return the predictions, and the final temperature and widening.

    Args:
        candidates: from simple to rich.
        chosen: number of the one that all labels chose.
        held: what each fold holds out.
        names: of the raters.
        prompts: of the groups.
    """
    first = candidates[chosen].evidence
    numbers, posteriors, fold_of = judges(candidates, chosen, held)
    answered = first.answers
    made = choice.compared(first.ratings)
    both = _joined(answered, made)
    of_ratings = np.arange(len(both.win)) >= len(answered.win)
    mean, variance, reliability = (np.zeros(len(both.win)) for _ in range(3))
    utility, expected, deviation = (np.zeros(len(first.ratings.value)) for _ in range(3))
    for fold, (number, state) in enumerate(zip(numbers, posteriors, strict=True)):
        evidence = candidates[number].evidence
        pairs = (
            both
            if number == chosen
            else _joined(evidence.answers, choice.compared(evidence.ratings))
        )
        rows = fold_of[pairs.group] == fold
        here = pairs.rows(rows)
        mean[rows] = here.moved @ state.weights
        spread = here.spread * (state.weights[0] ** 2 if evidence.base else 1.0)
        variance[rows] = state.variance(here.moved) + spread
        reliability[rows] = state.reliability[here.rater]
        inside = fold_of[evidence.ratings.group] == fold
        ratings = evidence.ratings.rows(inside)
        scale = state.scale[ratings.rater]
        utility[inside] = ratings.phi @ state.weights
        expected[inside] = state.offset[ratings.rater] + scale * utility[inside]
        unsure = state.variance(ratings.phi) + state.effect
        deviation[inside] = np.sqrt(scale**2 * unsure + state.noise[ratings.rater] ** 2)
    nu = candidates[chosen].whole.nu
    told = ~of_ratings if (~of_ratings).sum() >= ENOUGH_PAIRS else np.ones(len(mean), bool)
    turned, unsure = reliability * mean, reliability**2 * variance
    error = (first.ratings.value - expected) / deviation
    chance = np.zeros(len(mean))

    def calibration(
        pair_fold: NDArray[np.bool_], rating_fold: NDArray[np.bool_]
    ) -> tuple[float, float]:
        use = told & pair_fold
        return (
            choice.temperature(turned[use], unsure[use], both.win[use], both.weight[use], nu),
            choice.widening(error[rating_fold]),
        )

    for fold in range(len(numbers)):
        rows, inside = fold_of[both.group] == fold, fold_of[first.ratings.group] == fold
        sharp, wide = calibration(~rows, ~inside) if len(held) else (1.0, 1.0)
        steady = davidson.flattened(turned[rows], unsure[rows])
        chance[rows] = davidson.expected_win(sharp * steady, nu)
        deviation[inside] *= wide
    everything = np.ones(len(mean), bool), np.ones(len(error), bool)
    sharp, wide = calibration(*everything) if len(held) else (1.0, 1.0)
    base = both.moved[:, 0] if first.base else np.zeros(len(mean))
    return (
        CrossValidated(
            both.win, chance, mean, variance, base, both.weight, names[both.rater],
            prompts[both.group], of_ratings, first.ratings.value, expected, deviation, utility,
            names[first.ratings.rater], prompts[first.ratings.group], len(held),
            tuple(candidates[number].name for number in numbers),
        ),
        sharp,
        wide,
    )  # fmt: skip


def judges(
    candidates: Sequence[Candidate], chosen: int, held: Sequence[NDArray[np.bool_]]
) -> tuple[list[int], list[Posterior], NDArray[np.int64]]:
    """Return who judges each fold, chosen without looking at it, and each prompt's fold."""
    first = candidates[chosen].evidence
    if not held:
        return [chosen], [candidates[chosen].whole], np.zeros(first.groups, np.int64)
    numbers = [choice.best(candidates, ~out, base=first.base) for out in held]
    posteriors = [candidates[number].parts[fold] for fold, number in enumerate(numbers)]
    return numbers, posteriors, np.argmax(np.array(held), axis=0)


def _joined(first: Answers, second: Answers) -> Answers:
    return Answers(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("moved", "win", "rater", "group", "spread", "weight")
        )
    )
