"""How far a judge and a rater agree, with intervals over prompts: figures from plain arrays.

Accuracy is the share of decided comparisons (no ties) that a judge orders as the rater did; a
judge that cannot tell counts half. Its interval is Wilson's at the effective sample size (Dean and
Pagano 2015, Journal of Survey Statistics and Methodology 3), which comes from the jackknife over
prompts, or over pictures where there are no prompts: comparisons that share a picture are not
independent, and a pair of pictures drops out with either of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.taste.judgements import KEEPS, Comparisons, Judgements, comparisons, pairs_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CONFIDENCE = 0.95
Z90 = 1.6448536269514722


@dataclass(frozen=True)
class Figure:
    """An estimate with its 95 % interval.

    Attributes:
        value: the estimate; None where there was nothing to count.
        low: lower limit, or None.
        high: upper limit, or None.
        count: comparisons, ratings or pictures it rests on.
        units: how many prompts they are of (pictures, where there are no prompts).
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    units: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, rounded to four digits."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in (
                (name, getattr(self, name)) for name in self.__dataclass_fields__
            )
        }


def accuracy(chance: Floats, said: Comparisons) -> Figure:
    """Return the share of decided comparisons that are ordered as the rater ordered them.

    Args:
        chance: `(n,)` that left is preferred, or anything else that is above, below or at 1/2.
        said: what the rater said.
    """
    decided = said.win != 0.5
    right = np.where(chance == 0.5, 0.5, (chance > 0.5) == (said.win > 0.5))
    return share(right[decided], said.weight[decided], said.units[decided])


def share(values: Floats, weight: Floats, units: Ints) -> Figure:
    """Return the weighted mean of values in [0, 1] with its interval over units.

    Args:
        values: `(n,)`.
        weight: `(n,)`.
        units: `(n, k)`: a row drops out with any of its units.
    """
    if not len(values) or weight.sum() <= 0:
        return Figure(None, None, None, 0, 0)
    mean, jackknife, names = _jackknife(values, weight, units)
    low, high = _limits(mean, jackknife, len(values), names)
    return Figure(mean, low, high, len(values), names)


def _jackknife(values: Floats, weight: Floats, units: Ints) -> tuple[float, Floats, int]:
    """Return the weighted mean, the means without each unit, and the number of units."""
    names, inverse = np.unique(units, return_inverse=True)
    inverse = inverse.reshape(units.shape)
    total, mass = float((values * weight).sum()), float(weight.sum())
    lost, lost_mass = np.zeros(len(names)), np.zeros(len(names))
    for column in range(units.shape[1]):
        new = np.ones(len(values), bool)  # a unit named twice in a row is lost once
        for before in range(column):
            new &= inverse[:, column] != inverse[:, before]
        np.add.at(lost, inverse[new, column], (values * weight)[new])
        np.add.at(lost_mass, inverse[new, column], weight[new])
    left = mass - lost_mass
    jackknife = (total - lost)[left > 1e-9] / left[left > 1e-9]
    return total / mass, jackknife, len(names)


def _limits(mean: float, jackknife: Floats, count: int, units: int) -> tuple[float, float]:
    """Wilson's limits at the effective sample size, with Student's quantile."""
    if units < 2 or len(jackknife) < 2:
        return 0.0, 1.0
    variance = (len(jackknife) - 1) * float(jackknife.var())
    room = mean * (1.0 - mean)
    # All alike: no spread to go by, so the units themselves count, once each.
    size = min(float(count), room / variance) if variance > 1e-12 and room > 0 else float(units)
    z = _quantile(len(jackknife))
    centre = (mean + z**2 / (2.0 * size)) / (1.0 + z**2 / size)
    half = z / (1.0 + z**2 / size) * math.sqrt(room / size + z**2 / (4.0 * size**2))
    return max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean))


def _quantile(units: int) -> float:
    """Student's two-sided quantile with one degree of freedom less than there are units."""
    from scipy.stats import t

    return float(t.ppf(0.5 + CONFIDENCE / 2.0, units - 1))


def spearman(predicted: Floats, rating: Floats, fold: Ints, units: Ints) -> Figure:
    """Return Spearman's correlation within held-out folds, with its interval over units.

    Predictions of different folds come from different fits, whose means lean against the means
    of what they never saw; so folds are correlated one by one and averaged by size.

    Args:
        predicted: `(n,)`.
        rating: `(n,)`.
        fold: `(n,)`.
        units: `(n,)`.
    """
    usable = np.isfinite(predicted)
    predicted, rating = predicted[usable], rating[usable]
    fold, units = fold[usable], units[usable]
    whole = _rank_correlation(predicted, rating, fold)
    names = np.unique(units)
    if whole is None:
        return Figure(None, None, None, 0, 0)
    # At most 100 blocks of units drop out one by one: many more cost time and tell no more.
    block = np.searchsorted(names, units) % min(100, len(names))
    found = [
        _rank_correlation(predicted[block != out], rating[block != out], fold[block != out])
        for out in np.unique(block)
    ]
    jackknife = np.arctanh(np.clip([x for x in found if x is not None], -0.9999, 0.9999))
    low, high = -1.0, 1.0
    if len(jackknife) > 2:
        error = math.sqrt((len(jackknife) - 1) * float(jackknife.var()))
        half = _quantile(len(jackknife)) * error
        centre = math.atanh(min(0.9999, max(-0.9999, whole)))
        low, high = math.tanh(centre - half), math.tanh(centre + half)
    return Figure(whole, low, high, len(rating), len(names))


def _rank_correlation(predicted: Floats, rating: Floats, fold: Ints) -> float | None:
    """Spearman's correlation averaged over folds by size; None where nothing varies."""
    from scipy.stats import rankdata

    total, mass = 0.0, 0
    for number in np.unique(fold):
        first, second = rankdata(predicted[fold == number]), rankdata(rating[fold == number])
        if len(first) < 3 or np.ptp(second) == 0:
            continue
        if np.ptp(first) > 0:  # a judge that sees no difference correlates at nought
            total += len(first) * float(np.corrcoef(first, second)[0, 1])
        mass += len(first)
    return total / mass if mass else None


def coverage(rating: Floats, mean: Floats, deviation: Floats, units: Ints) -> Figure:
    """Return the share of ratings within the 90 % intervals that were foretold.

    Args:
        rating: `(n,)`.
        mean: `(n,)`.
        deviation: `(n,)`, of a rating, the rater's own noise included.
        units: `(n,)`.
    """
    inside = (np.abs(rating - mean) <= Z90 * deviation).astype(np.float64)
    usable = np.isfinite(mean)
    return share(inside[usable], np.ones(int(usable.sum())), units[usable][:, None])


def brier(chance: Floats, said: Comparisons) -> float:
    """Return the mean squared error of chances; a tie is 1/2."""
    return float((((chance - said.win) ** 2) * said.weight).sum() / said.weight.sum())


def best_recalibration(chance: Floats, said: Comparisons) -> float:
    """Return the Brier score that the best recalibration of held-out chances reaches.

    The best of: as they are; log odds times a factor, fitted to the very same comparisons; and
    isotonic regression (the reference of Dimitriadis, Gneiting and Jordan 2021, PNAS 118), fitted
    to the other folds, because fitted to the same ones it would win by chance alone.
    """
    from scipy.optimize import minimize_scalar

    odds = np.log(np.clip(chance, 1e-6, 1 - 1e-6) / np.clip(1 - chance, 1e-6, 1 - 1e-6))

    def scaled(log_factor: float) -> float:
        return brier(0.5 + 0.5 * np.tanh(0.5 * math.exp(log_factor) * odds), said)

    factor = minimize_scalar(scaled, bounds=(-6.0, 3.0), method="bounded")
    return min(brier(chance, said), float(factor.fun), brier(_isotonic(chance, said), said))


def _isotonic(chance: Floats, said: Comparisons) -> Floats:
    """Recalibrate each fold by isotonic regression on the others; both orders of a pair count."""
    from sklearn.isotonic import IsotonicRegression

    result = chance.copy()
    for number in np.unique(said.fold):
        out = said.fold == number
        if out.all():
            return result
        x, y, w = chance[~out], said.win[~out], said.weight[~out]
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
        model.fit(
            np.concatenate([x, 1 - x]), np.concatenate([y, 1 - y]), np.concatenate([w, w])
        )
        result[out] = model.predict(chance[out])
    return result


def gain(chance: Floats, over: Floats, said: Comparisons) -> Figure:
    """Return by how much one judge's accuracy is above another's on the same comparisons.

    Args:
        chance: `(n,)` of the one.
        over: `(n,)` of the other.
        said: what the rater said.
    """
    decided = said.win != 0.5
    rights = [
        np.where(x == 0.5, 0.5, (x > 0.5) == (said.win > 0.5))[decided] for x in (chance, over)
    ]
    if not decided.any():
        return Figure(None, None, None, 0, 0)
    units = said.units[decided]
    mean, jackknife, names = _jackknife(rights[0] - rights[1], said.weight[decided], units)
    if len(jackknife) < 2:
        return Figure(mean, -1.0, 1.0, int(decided.sum()), names)
    half = _quantile(len(jackknife)) * math.sqrt((len(jackknife) - 1) * float(jackknife.var()))
    return Figure(mean, mean - half, mean + half, int(decided.sum()), names)


def with_themselves(repeats: Sequence[tuple[float, float]], units: Sequence[str]) -> Figure:
    """Return a rater's agreement with their own earlier answers to the same pairs.

    Counted as a judge's accuracy is: of decided answers, those given again, a tie half.

    Args:
        repeats: first and later win of the same side.
        units: the prompt of each.
    """
    first, second = np.array(repeats, np.float64).reshape(-1, 2).T
    truth, guess = np.concatenate([first, second]), np.concatenate([second, first])
    right = np.where(guess == 0.5, 0.5, (guess > 0.5) == (truth > 0.5))
    decided = truth != 0.5
    names = np.unique(np.array(units, np.str_), return_inverse=True)[1]
    if len(np.unique(names)) < 2:  # one prompt, or none known: the pairs are the units
        names = np.arange(len(first))
    both = np.concatenate([names, names])[:, None]
    found = share(right[decided], np.full(int(decided.sum()), 0.5), both[decided])
    return Figure(found.value, found.low, found.high, len(first), found.units)


def ceiling(themselves: float) -> float:
    """Return the most accuracy that any judge can have of raters who repeat themselves so often.

    A rater who prefers the better picture with chance q answers alike with chance
    q^2 + (1 - q)^2, which is convex in q: the mean of q over pairs is at most its inverse.

    Args:
        themselves: share of answers given again.
    """
    return 0.5 + 0.5 * math.sqrt(max(0.0, 2.0 * themselves - 1.0))


def with_the_others(said: Judgements, rater: str) -> tuple[Figure, Figure]:
    """Return how far a rater agrees with all others: accuracy of their majority, and Spearman.

    Spearman's correlation is with the mean of the others' ratings, each standardised first.
    """
    every = comparisons(said, np.zeros(len(said.digests), np.int64))
    own = every.only(every.rater == rater)
    others = [name for name in np.unique(every.rater) if name != rater]
    opinion = _Opinions(said)
    wins = np.array([opinion.wins(str(name), own) for name in others])
    wins = wins.reshape(len(others), len(own))
    known = np.isfinite(wins).any(axis=0)
    chance = np.full(len(own), 0.5)
    chance[known] = np.nanmean(wins[:, known], axis=0) if len(others) else 0.5
    return accuracy(chance[known], own.only(known)), _spearman_with(said, rater)


class _Opinions:
    """What each rater would say of any two pictures, as far as they said it."""

    def __init__(self, said: Judgements) -> None:
        self._said = said
        self._pairs = pairs_of(said)

    def wins(self, rater: str, of: Comparisons) -> Floats:
        """Return `(n,)` wins of the left pictures, NaN where the rater did not judge both."""
        values = ratings_of(self._said, rater)
        wins = 0.5 + 0.5 * np.sign(values[of.left] - values[of.right])
        told = self._pairs.get(rater)
        if told:
            for row, (left, right) in enumerate(zip(of.left, of.right, strict=True)):
                found = told.get((min(left, right), max(left, right)))
                if found is not None:
                    wins[row] = found if left < right else 1.0 - found
        return np.asarray(wins)


def ratings_of(said: Judgements, rater: str) -> Floats:
    """Return a rater's ratings by picture, NaN where there is none; keeps where only those are."""
    values = np.full(len(said.digests), np.nan)
    own = said.scale == rater
    if not own.any():
        own = said.scale == rater + KEEPS
    values[said.rated[own]] = said.rating[own]
    return values


def mean_opinion(said: Judgements, without: str = "") -> Floats:
    """Return `(pictures,)` means of the raters' ratings, each standardised first.

    NaN where nobody rated. Keeps count only where there are no ratings.

    Args:
        said: the labels.
        without: a rater to leave out.
    """
    scales = [str(name) for name in np.unique(said.scale)]
    scales = [name for name in scales if not name.endswith(KEEPS)] or scales
    total, count = np.zeros(len(said.digests)), np.zeros(len(said.digests))
    for name in scales:
        own = said.scale == name
        deviation = float(said.rating[own].std())
        if deviation > 0 and name.removesuffix(KEEPS) != without:
            value = (said.rating[own] - said.rating[own].mean()) / deviation
            np.add.at(total, said.rated[own], value)
            np.add.at(count, said.rated[own], 1.0)
    return np.where(count > 0, total / np.maximum(count, 1.0), np.nan)


def _spearman_with(said: Judgements, rater: str) -> Figure:
    own, mean = ratings_of(said, rater), mean_opinion(said, rater)
    both = np.isfinite(own) & np.isfinite(mean)
    same = np.zeros(int(both.sum()), np.int64)
    return spearman(mean[both], own[both], same, said.units()[both])
