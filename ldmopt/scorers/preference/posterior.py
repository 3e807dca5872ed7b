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
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.preference import davidson, speech
from ldmopt.scorers.preference.evidence import Evidence, Floats, Ints, Posterior
from ldmopt.scorers.preference.maps import group_sums

BASE_DEVIATION = 0.5
"""Prior deviation of the base's weight around 1."""
LEAST_BASE = 0.01
"""What a base that may only become more or less sure keeps of its weight at least."""
WIDTH = 1.0
"""What a part of phi is expected to move a utility by, in logits, before labels are seen."""
WIDTH_STRENGTH = 2.0
"""How many well-determined weights that expectation is worth."""
OUTLIER = 3.0
TEMPERATURES = np.exp(np.linspace(-2.0, 1.0, 13))
SWEEPS = 40
ROUNDS = 50
"""Newton steps for given hyperparameters at most; between two updates of them one is enough."""
TOLERANCE = 1e-3


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
            state = speech.of_pairs(evidence, state, *moved)
        if len(evidence.ratings.value):
            state = speech.of_ratings(evidence, state, *utility)
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
        nu=speech.TIES,
        reliability=ones,
        offset=total / np.maximum(count, 1),
        scale=0.7 * ones / speech.RATING_NOISE,
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
    steepness = davidson.flattened(state.reliability[answers.rater], evidence.spread(state.weights))
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
        root = turned * np.sqrt(answers.weight * curvature)[:, None]
        hessian = matrix + root.T @ root
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


def _normal_equations(evidence: Evidence, state: Posterior) -> tuple[Floats, Floats]:
    """Return matrix and vector of the ratings' quadratic form, prompts' effects integrated out."""
    ratings = evidence.ratings
    scale = state.scale[ratings.rater]
    information = (scale / state.noise[ratings.rater]) ** 2
    target = (ratings.value - state.offset[ratings.rater]) / scale
    weighted = ratings.phi * information[:, None]
    matrix, vector = weighted.T @ ratings.phi, weighted.T @ target
    if state.effect > 0 and len(target):
        sums, total = group_sums(ratings.group, weighted), np.bincount(ratings.group, information)
        kept = 1.0 / (1.0 / state.effect + total)
        matrix -= (sums * kept[:, None]).T @ sums
        vector -= sums.T @ (kept * np.bincount(ratings.group, information * target))
    return matrix, vector


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
    """Return the negative log likelihood of each prompt's labels in nats.

    Ratings of one prompt share its unknown effect. The weights' uncertainty counts for each
    label by itself. A rating further off than `OUTLIER` deviations counts as if it were just as
    far: one contrary rater must not decide what is believed of all others.

    Returns:
        `(temperatures, groups)`, for differences of pairs multiplied by each of `TEMPERATURES`.
    """
    (utility, unsure), (mean, variance) = _seen(evidence, state)
    answers, ratings = evidence.answers, evidence.ratings
    result = np.zeros((len(TEMPERATURES), evidence.groups))
    if len(answers.win):
        reliability = state.reliability[answers.rater]
        spread = evidence.spread(state.weights)
        difference = reliability * davidson.flattened(mean, spread + reliability**2 * variance)
        for row, sharp in zip(result, TEMPERATURES, strict=True):
            lost = answers.weight * davidson.surprise(sharp * difference, answers.win, state.nu)
            row += np.bincount(answers.group, lost, evidence.groups)
    if len(ratings.value):
        scale = state.scale[ratings.rater]
        own = unsure + (state.noise[ratings.rater] / scale) ** 2
        left = (ratings.value - state.offset[ratings.rater]) / scale - utility
        most = OUTLIER * np.sqrt(own + state.effect)
        left = np.clip(left, -most, most)
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
