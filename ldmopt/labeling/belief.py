"""What is believed of pictures before and after answers: the numbers, no files and no clock.

A picture's utility is `inputs . w`, w Gaussian. The inputs are

- what the study's scorer says, as the inverse hyperbolic sine of its difference from the
  default's picture of the same block: sides that are both ruined differ little, however far apart
  the scorer puts them, so that answers about them do not bend what holds among good ones;
- main axes of the features' differences *within* a block, for what raters see and the scorer does
  not (what parts prompts is of no use in telling settings apart, and is left out);
- one indicator a look, for what neither knows: direct evidence about a setting.

How far the latter two may go the evidence decides (MacKay 1992): a few widths of the prior are
all updated by the same answers and averaged, the narrow ones more likely beforehand, so that few
answers do not make the front worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
AXES = 16
FREEDOMS = (0.01, 0.05, 0.15, 0.4)
"""Prior deviations of the weights of the axes, in logits per deviation."""
OWN = (0.02, 0.2)
"""Prior deviations of what a look has of its own, in logits."""
SLOPE, SLOPE_DEVIATION = 0.5, 0.4
"""Of the scorer's part: people are less sure than what ladders of damage were learned from."""
RESIDUAL = 0.5
"""Variance of a difference of two pictures beyond the inputs."""
ODDS = 0.25
"""Nats by which each wider prior is less likely beforehand than the one before it."""
FARTHEST = 4.0
"""Features count as no farther from the block's mean than so many deviations."""
ROUNDS = 30


@dataclass(frozen=True, eq=False)
class Belief:
    """What is believed of pictures' utilities, in logits.

    Attributes:
        inputs: `(pictures, d)`.
        mean: `(d,)` of w.
        covariance: `(d, d)` of w.
        noise: variance of a difference of two pictures beyond the inputs.
    """

    inputs: Floats
    mean: Floats
    covariance: Floats
    noise: float = 0.0

    @property
    def slope(self) -> float:
        """What the noise leaves of a difference (MacKay 1992, equation 10)."""
        return float(1.0 / np.sqrt(1.0 + np.pi * self.noise / 8.0))


def updated(
    belief: Belief, left: Indices, right: Indices, win: Floats, sure: Floats | None = None
) -> Belief:
    """Return the belief after answers, by Newton's method from the belief before (Laplace).

    Args:
        belief: before the answers.
        left: `(n,)` pictures.
        right: `(n,)` pictures.
        win: `(n,)` 1 where left was preferred, 0 where right was, 1/2 for neither.
        sure: `(n,)` how steep each answer's rater is, 1 for the typical one.
    """
    if not len(left):
        return belief
    moved = (belief.inputs[left] - belief.inputs[right]) * belief.slope
    if sure is not None:
        moved = moved * sure[:, None]
    precision = np.linalg.inv(belief.covariance)
    weights, curvature = belief.mean.copy(), precision

    def objective(at: Floats) -> float:
        value, gone = moved @ at, at - belief.mean
        return float(np.logaddexp(0.0, value).sum() - win @ value + 0.5 * gone @ precision @ gone)

    loss = objective(weights)
    for _ in range(ROUNDS):
        chance = 1.0 / (1.0 + np.exp(-np.clip(moved @ weights, -40.0, 40.0)))
        information = np.maximum(chance * (1.0 - chance), 1e-9)
        curvature = precision + (moved * information[:, None]).T @ moved
        slope = moved.T @ (win - chance) - precision @ (weights - belief.mean)
        step = np.linalg.solve(curvature, slope)
        length = 1.0
        while (found := objective(weights + length * step)) > loss + 1e-12 and length > 1e-4:
            length /= 2.0
        weights, gained, loss = weights + length * step, loss - found, found
        if gained < 1e-7:
            break
    covariance = np.linalg.inv(curvature)
    return replace(belief, mean=weights, covariance=(covariance + covariance.T) / 2.0)


def evidence(
    before: Belief, after: Belief, left: Indices, right: Indices, win: Floats
) -> float:
    """Return the logarithm of the answers' probability under a belief (Laplace), in nats."""
    value = (before.inputs[left] - before.inputs[right]) @ after.mean * before.slope
    gone = after.mean - before.mean
    _, wide = np.linalg.slogdet(before.covariance)
    _, narrow = np.linalg.slogdet(after.covariance)
    fit = float(win @ value - np.logaddexp(0.0, value).sum())
    return fit - 0.5 * float(gone @ np.linalg.solve(before.covariance, gone)) + 0.5 * float(
        narrow - wide
    )


def learned(priors: Sequence[Belief], left: Indices, right: Indices, win: Floats) -> Belief:
    """Return what answers make of several beliefs, averaged by how well each explained them.

    The average (Hoeting, Madigan, Raftery and Volinsky 1999) is kept as one Gaussian with its mean
    and covariance. Each belief is `ODDS` less likely beforehand than the one before it.
    """
    found = [updated(prior, left, right, win) for prior in priors]
    score = np.array([
        evidence(prior, after, left, right, win) - ODDS * place
        for place, (prior, after) in enumerate(zip(priors, found, strict=True))
    ])
    share = np.exp(score - score.max())
    share /= share.sum()
    means = np.stack([after.mean for after in found])
    mean = share @ means
    covariance = np.zeros_like(found[0].covariance)
    for part, after in zip(share, found, strict=True):
        if part > 1e-9:
            gone = after.mean - mean
            covariance += part * (after.covariance + np.outer(gone, gone))
    return replace(found[0], mean=mean, covariance=covariance)


def inputs(
    values: Floats, features: Floats, block: Indices, reference: Indices, look: Indices
) -> tuple[Floats, int]:
    """Return the inputs `(pictures, 1 + axes + looks)`, and how many axes there are.

    Args:
        values: `(pictures,)` by the scorer, any unit.
        features: `(pictures, columns)` of an encoder.
        block: `(pictures,)` number of each picture's block.
        reference: `(blocks,)` the default's picture, -1 where there is none.
        look: `(pictures,)` number of each picture's look.
    """
    zero = np.where(reference >= 0, values[reference], _means(values[:, None], block)[:, 0])
    moved = values - zero[block]
    unit = np.median(np.abs(moved[moved != 0.0])) if np.any(moved != 0.0) else 1.0
    first = np.arcsinh(moved / max(float(unit), 1e-12))
    axes = main_axes(features, block)
    own = np.equal.outer(look, np.arange(int(look.max()) + 1)).astype(np.float64)
    return np.concatenate([first[:, None], axes, own], axis=1), axes.shape[1]


def main_axes(features: Floats, block: Indices, most: int = AXES) -> Floats:
    """Return the main axes of differences within blocks, `(pictures, axes)`, deviation 1 each."""
    moved = features - _means(features, block)[block]
    low, high = np.quantile(moved, [0.02, 0.98], axis=0) if len(moved) else (0.0, 0.0)
    deviation = np.sqrt((np.clip(moved, low, high) ** 2).mean(axis=0))
    kept = deviation > 1e-9
    scaled = np.clip(moved[:, kept] / deviation[kept], -FARTHEST, FARTHEST)
    values, vectors = np.linalg.eigh(scaled.T @ scaled / max(len(scaled), 1))
    order = np.argsort(-values, kind="stable")[:most]
    order = order[values[order] > 1e-9]
    return np.asarray(scaled @ vectors[:, order] / np.sqrt(values[order]))


def _means(rows: Floats, block: Indices) -> Floats:
    """Return the mean of each block's rows."""
    count = np.bincount(block)
    sums = np.zeros((len(count), rows.shape[1]))
    np.add.at(sums, block, rows)
    return np.asarray(sums / np.maximum(count, 1)[:, None])


def priors(
    values: Floats, features: Floats, block: Indices, reference: Indices, look: Indices
) -> list[Belief]:
    """Return beliefs before any answer, the narrowest first; see `inputs` for the arguments."""
    table, axes = inputs(values, features, block, reference, look)
    mean = np.zeros(table.shape[1])
    mean[0] = SLOPE
    found = []
    for free in FREEDOMS:
        for own in OWN:
            width = np.full(table.shape[1], own)
            width[0], width[1 : 1 + axes] = SLOPE_DEVIATION, free
            found.append(Belief(table, mean, np.diag(width**2), RESIDUAL))
    return found


def from_intervals(
    win_rate: Floats, low: Floats, high: Floats, look: Indices
) -> Belief:
    """Return a belief from the trials' intervals alone, for a scorer without features.

    Every look has one utility, as certain as its win rate's 95 % interval says; looks are not
    related to one another.

    Args:
        win_rate: `(looks,)`.
        low: `(looks,)` lower limits.
        high: `(looks,)` upper limits.
        look: `(pictures,)` number of each picture's look.
    """
    level, bottom, top = (_logit(part) for part in (win_rate, low, high))
    deviation = np.maximum((top - bottom) / (2.0 * 1.959964), 0.02)
    table = np.equal.outer(look, np.arange(len(win_rate))).astype(np.float64)
    return Belief(table, level, np.diag(deviation**2), RESIDUAL)


def _logit(share: Floats) -> Floats:
    inside = np.clip(share, 0.01, 0.99)
    return np.asarray(np.log(inside / (1.0 - inside)))
