"""One utility from ratings and pairs: MAP weights with a Laplace posterior.

The model, with `u = w . phi` in logits:

- a rating of rater j for prompt p is `offset_j + scale_j (u + effect_p) + noise_j e`, `e` standard
  normal, `effect_p` normal with a variance that is learned;
- an answer to a pair follows Davidson (1970) in `reliability_j (u_left - u_right)`, flattened by
  what is known to be uncertain of that difference;
- `w` is normal around the base with one variance for each part of phi, learned from the
  number of well-determined weights (MacKay 1992, "Bayesian interpolation", section 4);
- `log scale_j` is normal around a pooled one, `noise_j` is shrunk to the pooled one,
  `log reliability_j` is normal around 0 with a mean (by answers) of exactly 0, which fixes the
  unit of u. Where there are only ratings, the unit is fixed by their noise: it is what makes two
  pictures compared by their ratings follow a logistic function.

Weights are found by Newton's method with step halving; everything else is updated in turn, with
the posterior's own uncertainty counted (so that a rater is not believed because the weights have
bent to the answers).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers import davidson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BASE_DEVIATION = 0.5
"""Prior deviation of the base's weight around 1."""
LEAST_BASE = 0.05
"""What a base that may only become more or less sure keeps of its weight at least."""
WIDTH = 1.0
"""What a part of phi is expected to move a utility by, in logits, before labels are seen."""
WIDTH_STRENGTH = 2.0
"""How many well-determined weights that expectation is worth."""
RELIABILITY_DEVIATION = 0.6
SCALE_DEVIATION = 0.4
"""Prior deviations of a rater's log reliability and log scale."""
NOISE_STRENGTH = 4.0
"""How many ratings the pooled noise is worth for one rater."""
RATING_NOISE = np.pi / np.sqrt(6.0)
"""A rating's noise in logits: two of them make a logistic's deviation, pi / sqrt(3)."""
UNIT_DEVIATION = 0.5
"""Prior deviation of the log of that, where pairs tell the unit as well."""
TIES = 0.2
TIES_DEVIATION = 1.5
"""Prior of the tie parameter: its centre, and the deviation of its log."""
LEAST_NOISE = 1e-3
"""Least noise of a rating, in deviations of all ratings."""
SWEEPS = 40
ROUNDS = 50
"""Newton steps for given hyperparameters at most; between two updates of them one is enough."""
TOLERANCE = 1e-3


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


def fitted(
    evidence: Evidence, start: Posterior | None = None, *, frozen: bool = False
) -> Posterior:
    """Return the posterior.

    Args:
        evidence: the labels.
        start: where to start from, for speed.
        frozen: the weights stay at their prior's centre; only the raters are learned.
    """
    state = start if start is not None else _start(evidence)

    def turned(state: Posterior, rounds: int) -> Posterior:
        return state if frozen else _weights(evidence, state, rounds)

    for sweep in range(SWEEPS):
        before = state
        state = turned(state, 1 if sweep else ROUNDS)
        utility, moved = _seen(evidence, state)
        state = _widths(evidence, state)
        if len(evidence.answers.win):
            state = _of_pairs(evidence, state, *moved)
        if len(evidence.ratings.value):
            state = _of_ratings(evidence, state, *utility)
        if sweep and _still(before, state):
            break
    return replace(turned(state, ROUNDS), sweeps=sweep + 1)


def _start(evidence: Evidence) -> Posterior:
    width, raters = evidence.width, evidence.raters
    weights = np.zeros(width)
    if evidence.base:
        weights[0] = 1.0
    count = np.bincount(evidence.ratings.rater, minlength=raters)
    total = np.bincount(evidence.ratings.rater, evidence.ratings.value, raters)
    ones = np.ones(raters)
    return Posterior(
        weights=weights,
        covariance=np.zeros((width, width)),
        precision=np.full(len(evidence.parts), WIDTH**-2),
        nu=TIES,
        reliability=ones,
        offset=total / np.maximum(count, 1),
        scale=0.7 * ones / RATING_NOISE,
        noise=0.7 * ones,
        effect=0.25 if evidence.effects else 0.0,
    )


def _count(part: slice) -> int:
    return int(part.stop - part.start)


def _prior(evidence: Evidence, state: Posterior) -> tuple[Floats, Floats]:
    """Return centre and precision of the weights' prior."""
    centre, precision = np.zeros(evidence.width), np.zeros(evidence.width)
    if evidence.base:
        centre[0], precision[0] = 1.0, BASE_DEVIATION**-2
    for part, value in zip(evidence.parts, state.precision, strict=True):
        precision[part] = value
    return centre, precision


def _weights(evidence: Evidence, state: Posterior, rounds: int) -> Posterior:
    """Return the state with weights at their mode, and the Laplace covariance, by Newton."""
    centre, precision = _prior(evidence, state)
    matrix, vector = _normal_equations(evidence, state)
    answers = evidence.answers
    steepness = davidson.flattened(state.reliability[answers.rater], _spread(evidence, state))
    turned = answers.moved * steepness[:, None]

    def loss(weights: Floats, difference: Floats) -> float:
        quadratic = 0.5 * weights @ matrix @ weights - vector @ weights
        prior = 0.5 * (precision * (weights - centre) ** 2).sum()
        pairs = (answers.weight * davidson.surprise(difference, answers.win, state.nu)).sum()
        return float(quadratic + prior + pairs)

    weights = state.weights
    difference = turned @ weights
    now = loss(weights, difference)
    for _ in range(rounds):
        slope, curvature = davidson.slopes(difference, answers.win, state.nu)
        gradient = vector - matrix @ weights - precision * (weights - centre)
        gradient += turned.T @ (answers.weight * slope)
        hessian = matrix + (turned * (answers.weight * curvature)[:, None]).T @ turned
        hessian[np.diag_indices_from(hessian)] += precision
        step = np.linalg.solve(hessian, gradient)
        gain, share = float(step @ gradient), 1.0
        if gain < 1e-9 * max(1.0, abs(now)):
            break
        while share > 1e-6:
            further = weights + share * step
            difference = turned @ further
            then = loss(further, difference)
            if then <= now - 1e-4 * share * gain:
                break
            share *= 0.5
        else:
            break
        weights, now = further, then
        if gain < 1e-5:
            break
    if evidence.base and not evidence.parts:
        weights = np.maximum(weights, LEAST_BASE)
    covariance = np.linalg.inv(hessian)
    return replace(state, weights=weights, covariance=0.5 * (covariance + covariance.T))


def _spread(evidence: Evidence, state: Posterior) -> Floats:
    """Return the variance that the base's own uncertainty gives each difference."""
    return evidence.answers.spread * (state.weights[0] ** 2 if evidence.base else 1.0)


def _normal_equations(evidence: Evidence, state: Posterior) -> tuple[Floats, Floats]:
    """Return matrix and vector of the ratings' quadratic form, prompts' effects integrated out."""
    ratings = evidence.ratings
    scale = state.scale[ratings.rater]
    information = (scale / state.noise[ratings.rater]) ** 2
    target = (ratings.value - state.offset[ratings.rater]) / scale
    weighted = ratings.phi * information[:, None]
    matrix, vector = weighted.T @ ratings.phi, weighted.T @ target
    if state.effect > 0 and len(target):
        sums, total = _by_group(ratings.group, weighted), np.bincount(ratings.group, information)
        kept = 1.0 / (1.0 / state.effect + total)
        matrix -= (sums * kept[:, None]).T @ sums
        vector -= sums.T @ (kept * np.bincount(ratings.group, information * target))
    return matrix, vector


def _by_group(group: Ints, rows: Floats) -> Floats:
    """Return the sums of rows by group, `(groups, columns)`."""
    from scipy.sparse import csr_matrix

    members = csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))))
    return np.asarray(members @ rows)


def _seen(
    evidence: Evidence, state: Posterior
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return mean and variance of each rated picture's utility and of each pair's difference."""
    phi, moved = evidence.ratings.phi, evidence.answers.moved
    return (
        (phi @ state.weights, state.variance(phi)),
        (moved @ state.weights, state.variance(moved)),
    )


def _widths(evidence: Evidence, state: Posterior) -> Posterior:
    """Update the prior precision of each part: MacKay's fixed point with a hyperprior."""
    precision = state.precision.copy()
    for number, part in enumerate(evidence.parts):
        trace = float(np.diag(state.covariance)[part].sum())
        determined = min(max(_count(part) - precision[number] * trace, 0.0), _count(part))
        size = float(np.square(state.weights[part]).sum())
        expected = WIDTH_STRENGTH * WIDTH**2
        precision[number] = (determined + WIDTH_STRENGTH) / (size + expected)
    return replace(state, precision=precision)


def _of_pairs(evidence: Evidence, state: Posterior, mean: Floats, variance: Floats) -> Posterior:
    """Update the tie parameter and the raters' reliabilities, one Newton step each."""
    answers = evidence.answers
    spread = _spread(evidence, state)
    reliability = state.reliability[answers.rater]
    difference = reliability * davidson.flattened(mean, spread + reliability**2 * variance)
    weight = answers.weight
    tie = davidson.outcomes(difference, state.nu)[2]
    slope = (weight * ((answers.win == 0.5) - tie)).sum()
    slope -= np.log(state.nu / TIES) / TIES_DEVIATION**2
    curvature = (weight * tie * (1.0 - tie)).sum() + TIES_DEVIATION**-2
    nu = float(state.nu * np.exp(np.clip(slope / curvature, -1.0, 1.0)))
    counts = np.bincount(answers.rater, weight, evidence.raters)
    if (counts > 0).sum() < 2:
        return replace(state, nu=nu)
    log = np.log(state.reliability)
    first, second = davidson.slopes(difference, answers.win, nu)
    told = np.bincount(answers.rater, weight * first * difference, evidence.raters)
    slopes = told - log / RELIABILITY_DEVIATION**2
    curves = np.bincount(answers.rater, weight * second * difference**2, evidence.raters)
    log = log + np.clip(slopes / (curves + RELIABILITY_DEVIATION**-2), -0.5, 0.5)
    log -= (counts * log).sum() / counts.sum()
    return replace(state, nu=nu, reliability=np.where(counts > 0, np.exp(log), 1.0))


def _of_ratings(evidence: Evidence, state: Posterior, mean: Floats, variance: Floats) -> Posterior:
    """Update the prompts' effects and the raters' offsets, scales and noises."""
    ratings = evidence.ratings
    rater, count = ratings.rater, np.bincount(ratings.rater, minlength=evidence.raters)
    effect, state, spare = _effects(evidence, state, mean)
    level, variance = mean + effect, variance + spare

    def per_rater(values: Floats) -> Floats:
        return np.asarray(np.bincount(rater, values, evidence.raters), np.float64)

    offset = _offsets(state, count, per_rater(ratings.value - state.scale[rater] * level))
    rest = ratings.value - offset[rater]
    precision = state.noise**-2
    squares, products = per_rater(level**2), per_rater(level * rest)
    squares = squares + per_rater(variance)
    judged = count > 0
    noise = _pooled(state.noise, count)
    centre = np.log(noise / RATING_NOISE)
    log = np.log(state.scale)
    if len(evidence.answers.win):
        strength = judged.sum() / SCALE_DEVIATION**2
        centre = (strength * log[judged].mean() + centre / UNIT_DEVIATION**2) / (
            strength + UNIT_DEVIATION**-2
        )
    for _ in range(3):
        scale = np.exp(log)
        slope = precision * scale * (products - scale * squares)
        slope -= (log - centre) / SCALE_DEVIATION**2
        curve = precision * scale**2 * squares + SCALE_DEVIATION**-2
        log = log + np.clip(slope / curve, -0.5, 0.5)
    if not len(evidence.answers.win):
        log = log - (count * log).sum() / count.sum() + np.log(noise / RATING_NOISE)
    scale = np.where(judged, np.exp(log), np.exp(centre))
    left = (rest - scale[rater] * level) ** 2 + scale[rater] ** 2 * variance
    pooled = float(left.mean())
    square = (per_rater(left) + NOISE_STRENGTH * pooled) / (count + NOISE_STRENGTH)
    offset = np.where(judged, offset, offset[judged].mean())
    noises = np.sqrt(np.maximum(square, LEAST_NOISE**2))
    return replace(state, offset=offset, scale=scale, noise=noises)


def _pooled(noise: Floats, count: Ints) -> float:
    """Return the raters' noise together."""
    return float(np.sqrt((noise**2 * count).sum() / count.sum()))


def _offsets(state: Posterior, count: Ints, total: Floats) -> Floats:
    """Return the raters' offsets, shrunk a little to their mean."""
    judged = count > 0
    middle = float((total[judged] / count[judged]).mean())
    between = np.var(state.offset[judged]) + 0.05
    keep = state.noise**2 / between
    return np.asarray((total + keep * middle) / (count + keep))


def _effects(
    evidence: Evidence, state: Posterior, mean: Floats
) -> tuple[Floats, Posterior, Floats]:
    """Return each rating's prompt effect, the state with their variance, and what is unsure."""
    ratings = evidence.ratings
    if not evidence.effects:
        return np.zeros(len(mean)), state, np.zeros(len(mean))
    scale = state.scale[ratings.rater]
    information = (scale / state.noise[ratings.rater]) ** 2
    left = (ratings.value - state.offset[ratings.rater]) / scale - mean
    kept = 1.0 / (1.0 / state.effect + np.bincount(ratings.group, information))
    effect = kept * np.bincount(ratings.group, information * left)
    known = np.bincount(ratings.group) > 0
    variance = (np.square(effect[known]) + kept[known]).sum() + 0.1
    moved = replace(state, effect=float(variance / (known.sum() + 1.0)))
    return np.asarray(effect[ratings.group]), moved, np.asarray(kept[ratings.group])


def _still(before: Posterior, after: Posterior) -> bool:
    """Tell whether a sweep changed nothing worth another one."""

    def settled(first: Floats, second: Floats) -> bool:
        return bool(np.all(np.abs(np.log(first / second)) < 10 * TOLERANCE))

    moved = np.abs(after.weights - before.weights).max(initial=0.0)
    size = np.abs(after.weights).max(initial=0.0)
    return bool(
        moved <= TOLERANCE * (size + TOLERANCE)
        and settled(before.precision, after.precision)
        and settled(before.reliability, after.reliability)
        and settled(before.noise, after.noise)
        and settled(before.scale, after.scale)
    )


def losses(evidence: Evidence, state: Posterior) -> Floats:
    """Return the negative log likelihood of each prompt's labels, `(groups,)`, in nats.

    Ratings of one prompt share its unknown effect. The weights' uncertainty counts for each
    label by itself.
    """
    (utility, unsure), (mean, variance) = _seen(evidence, state)
    answers, ratings = evidence.answers, evidence.ratings
    result = np.zeros(evidence.groups)
    if len(answers.win):
        reliability = state.reliability[answers.rater]
        spread = _spread(evidence, state)
        difference = reliability * davidson.flattened(mean, spread + reliability**2 * variance)
        lost = answers.weight * davidson.surprise(difference, answers.win, state.nu)
        result += np.bincount(answers.group, lost, evidence.groups)
    if len(ratings.value):
        scale = state.scale[ratings.rater]
        own = unsure + (state.noise[ratings.rater] / scale) ** 2
        left = (ratings.value - state.offset[ratings.rater]) / scale - utility
        lost = 0.5 * (np.log(2 * np.pi * own * scale**2) + left**2 / own)
        result += np.bincount(ratings.group, lost, evidence.groups)
        if state.effect > 0:
            total = np.bincount(ratings.group, 1.0 / own, evidence.groups)
            pull = np.bincount(ratings.group, left / own, evidence.groups)
            result += 0.5 * np.log1p(state.effect * total)
            result -= 0.5 * pull**2 / (1.0 / state.effect + total)
    return result


def folds(groups: int, number: int, seed: int, labelled: Ints) -> Sequence[NDArray[np.bool_]]:
    """Return what is held out, `(groups,)` each, whole prompts at a time.

    Args:
        groups: how many prompts there are.
        number: how many folds at most.
        seed: decides which prompts go together.
        labelled: `(groups,)` labels of each prompt; folds are of about equal size.

    Returns:
        Nothing with fewer than two prompts.
    """
    number = min(number, groups)
    if number < 2:
        return []
    order = np.random.default_rng(seed).permutation(groups)
    order = order[np.argsort(-labelled[order], kind="stable")]
    place = np.arange(groups) % (2 * number)
    place = np.where(place < number, place, 2 * number - 1 - place)
    fold = np.empty(groups, np.int64)
    fold[order] = place
    return [fold == index for index in range(number)]
