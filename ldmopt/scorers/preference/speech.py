"""How raters speak of a utility: ties, reliabilities, offsets, scales, noises, prompts' effects.

One update of each, given the weights' posterior; `preference.posterior` says what of.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ldmopt.scorers.preference import davidson
from ldmopt.scorers.preference.evidence import Evidence, Floats, Ints, Posterior

RELIABILITY_DEVIATION = 0.6
SCALE_DEVIATION = 0.6
"""Prior deviations of a rater's log reliability and log scale."""
NOISE_STRENGTH = 4.0
"""How many ratings the pooled noise is worth for one rater."""
RATING_NOISE = np.pi / np.sqrt(6.0)
"""A rating's noise in logits: two of them make a logistic's deviation, pi / sqrt(3)."""
UNIT_DEVIATION = 0.5
"""Prior deviation of the log of that, where pairs or a base tell the unit as well."""
TIES = 0.2
TIES_DEVIATION = 1.5
"""Prior of the tie parameter: its centre, and the deviation of its log."""
LEAST_NOISE = 1e-3
"""Least noise of a rating, in deviations of all ratings."""


def of_pairs(evidence: Evidence, state: Posterior, mean: Floats, variance: Floats) -> Posterior:
    """Update the tie parameter and the raters' reliabilities, one Newton step each."""
    answers = evidence.answers
    spread = evidence.spread(state.weights)
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


def of_ratings(evidence: Evidence, state: Posterior, mean: Floats, variance: Floats) -> Posterior:
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
    told = evidence.base or len(evidence.answers.win) > 0
    if told:
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
    if not told:
        log = log - (count * log).sum() / count.sum() + np.log(noise / RATING_NOISE)
    scale = np.where(judged, np.exp(log), np.exp(centre))
    left = (rest - scale[rater] * level) ** 2 + scale[rater] ** 2 * variance
    square = (per_rater(left) + NOISE_STRENGTH * noise**2) / (count + NOISE_STRENGTH)
    offset = np.where(judged, offset, offset[judged].mean())
    noises = np.sqrt(np.maximum(square, LEAST_NOISE**2))
    return replace(state, offset=offset, scale=scale, noise=noises)


def _pooled(noise: Floats, count: Ints) -> float:
    """Return the raters' noise together: a geometric mean, so that one spammer moves it little."""
    return float(np.exp((np.log(noise) * count).sum() / count.sum()))


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
