"""Which comparison teaches most about the front: the numbers, no files and no clock.

A picture's utility is `inputs . w` plus a residual of its own; w is Gaussian, as a Laplace
posterior leaves it. A setting's *win rate* is the mean over prompts of the chance that its picture
beats the default's. Whoever has a budget takes the setting with the highest expected win rate
within it, and loses what another one within it would have won more. That loss, averaged over
budgets spread evenly in the logarithm of seconds (and of bytes), is what the hypervolume of the
chosen front lacks; its expectation is what an answer should lower.

The rulebook also states the win rate of what it recommends, and is off by as much as that is.

For a leader `a` and a challenger `b` with difference d ~ N(m, v) of win rates, m = E b - E a <= 0,
the expected loss is E max(0, d), and its derivative by v is phi(m / sqrt v) / (2 sqrt v) (the
linear loss of Raiffa and Schlaifer 1961, 5.3; the knowledge gradient of Frazier, Powell and
Dayanik 2009 is built on it). The expected error of the stated win rate, E |W - E W|, has the
derivative 1 / sqrt(2 pi v). So the *targets* are differences between leaders and challengers, and
the leaders' own win rates, weighted by these derivatives, summed over the budgets they concern;
win rates that decide nothing weigh nothing.

An answer to the comparison x = inputs(left) - inputs(right) has Fisher information h = p (1 - p)
and changes the covariance C by -C x x'C h / (1 + h x'Cx), so it lowers the variance of a target g
by (g'Cx)^2 h / (1 + h x'Cx): an A-optimal design for these targets (Chaloner and Verdinelli 1995,
Statistical Science 10, section 2). A batch is chosen one by one with the covariance that the
former ones will leave (greedy; their answers need not be known for that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ldmopt.labeling.belief import Belief, Floats, Indices

TARGETS = 48
"""How many are followed at the most; the rest weigh next to nothing."""
LEAST_SHARE = 1e-4
"""Targets below this share of the heaviest one are left out."""
PROMISE = 3.0
"""What an error of a stated win rate counts beside a loss by a wrong choice. With 1 fewer labels
went to what both rest on, the leaders' level, and both came down more slowly (choosing.py)."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Which picture belongs to which setting and block.

    Attributes:
        pictures: `(settings, blocks)` row of `Belief.inputs`, -1 where there is none.
        prompt: `(blocks,)` number of each block's prompt.
        costs: `(settings, costs)`, seconds first, bytes where they are known; all above 0.
        default: the setting that win rates are against.
        feasible: `(settings,)` whether it may be recommended.
    """

    pictures: Indices
    prompt: Indices
    costs: Floats
    default: int = 0
    feasible: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class WinRates:
    """Win rates of settings as far as they are known.

    Attributes:
        mean: `(settings,)`; 1/2 where nothing could be compared.
        gradient: `(settings, d)`, by w.
        prompts: `(settings, prompts)` wins by prompt, NaN where a prompt is missing.
    """

    mean: Floats
    gradient: Floats
    prompts: Floats


@dataclass(frozen=True, eq=False)
class Targets:
    """Differences of win rates that decide what is recommended.

    Attributes:
        gradient: `(targets, d)`.
        weight: `(targets,)`, expected loss per variance.
        pairs: `(targets, 2)` leader and challenger; the challenger of a leader's own win rate is
            the default.
    """

    gradient: Floats
    weight: Floats
    pairs: Indices


def win_rates(belief: Belief, layout: Layout) -> WinRates:
    """Return expected win rates against the default and how they move with w.

    A block's win is the logistic of the difference, flattened by its variance; prompts count
    alike, whatever the number of their seeds.
    """
    there = (layout.pictures >= 0) & (layout.pictures[layout.default] >= 0)
    rows = np.where(layout.pictures >= 0, layout.pictures, 0)
    utility = belief.inputs @ belief.mean
    # Variances of differences within a block, from products that serve all of them.
    spread = belief.inputs @ belief.covariance
    own = np.einsum("nd,nd->n", spread, belief.inputs)
    base = rows[layout.default]
    shared = np.einsum("sbd,bd->sb", spread[rows], belief.inputs[base])
    variance = np.maximum(own[rows] + own[base] - 2.0 * shared, 0.0) + belief.noise
    flat = 1.0 / np.sqrt(1.0 + np.pi * variance / 8.0)
    wins = 0.5 + 0.5 * np.tanh(0.5 * flat * (utility[rows] - utility[base]))
    steep = wins * (1.0 - wins) * flat
    weight = _block_weights(there, layout.prompt)
    pull = np.where(there, weight * steep, 0.0)
    gradient = np.einsum("sb,sbd->sd", pull, belief.inputs[rows])
    gradient -= pull @ belief.inputs[base]
    seen = there.any(axis=1)
    mean = np.where(seen, (weight * wins).sum(axis=1), 0.5)
    mean[layout.default], gradient[layout.default] = 0.5, 0.0
    return WinRates(mean, gradient, _by_prompt(wins, there, layout.prompt))


def _block_weights(there: NDArray[np.bool_], prompt: Indices) -> Floats:
    """Return each block's share in a setting's win rate; rows sum to 1 where a block is there."""
    member = np.equal.outer(prompt, np.arange(int(prompt.max()) + 1)).astype(np.float64)
    counts = there @ member
    share = np.where(there, 1.0 / np.maximum(counts @ member.T, 1.0), 0.0)
    return np.asarray(share / np.maximum((counts > 0).sum(axis=1), 1)[:, None])


def _by_prompt(wins: Floats, there: NDArray[np.bool_], prompt: Indices) -> Floats:
    member = np.equal.outer(prompt, np.arange(int(prompt.max()) + 1)).astype(np.float64)
    counts = there @ member
    sums = np.where(there, wins, 0.0) @ member
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)


def sampling_variance(prompts: Floats, left: Indices, right: Indices) -> Floats:
    """Return the variance of differences of win rates that the choice of prompts leaves.

    No answer lowers it. One prompt tells nothing of it: then the largest that there can be.

    Args:
        prompts: `(settings, prompts)` wins.
        left: `(n,)` settings.
        right: `(n,)` settings.
    """
    gaps = prompts[left] - prompts[right]
    known = ~np.isnan(gaps)
    count = known.sum(axis=1)
    kept = np.where(known, gaps, 0.0)
    middle = kept.sum(axis=1) / np.maximum(count, 1)
    squares = (np.where(known, gaps - middle[:, None], 0.0) ** 2).sum(axis=1)
    found = squares / (np.maximum(count - 1, 1) * np.maximum(count, 1))
    return np.where(count > 1, found, 0.25)


def budgets(layout: Layout) -> tuple[NDArray[np.bool_], Floats]:
    """Return the budgets that differ in what they allow, `(budgets, settings)`, and their weight.

    Between two neighbouring costs every budget allows the same; its weight is that stretch of the
    logarithm, the last one reaching to 1.1 x the largest cost (the hypervolume's reference).
    """
    feasible = np.ones(len(layout.costs), bool) if layout.feasible is None else layout.feasible
    allowed, weights = np.ones((1, len(feasible)), bool), np.ones(1)
    for cost in layout.costs.T:
        steps = np.unique(cost[feasible]) if feasible.any() else np.unique(cost)
        if len(steps) > 40:  # enough to tell budgets apart; more would only cost time
            steps = np.unique(np.quantile(steps, np.linspace(0.0, 1.0, 40)))
        width = np.diff(np.log(np.append(steps, 1.1 * steps[-1])))
        within = cost[None, :] <= steps[:, None] * (1.0 + 1e-12)
        allowed = (allowed[:, None, :] & within[None]).reshape(-1, len(feasible))
        weights = np.outer(weights, width / width.sum()).ravel()
    allowed = allowed & feasible
    some = allowed.any(axis=1)
    return allowed[some], weights[some]


def targets(belief: Belief, layout: Layout, rates: WinRates) -> Targets:
    """Return the differences of win rates whose uncertainty costs most, over all budgets."""
    allowed, weights = budgets(layout)
    seen = ~np.isnan(rates.prompts).all(axis=1)
    allowed = allowed & seen
    some = allowed.any(axis=1)
    allowed, weights = allowed[some], weights[some]
    leading = np.where(allowed, rates.mean, -np.inf).argmax(axis=1)
    leaders, place = np.unique(leading, return_inverse=True)
    meets = np.zeros((len(leaders), len(rates.mean)))
    np.add.at(meets, place, weights[:, None] * allowed)
    meets[np.arange(len(leaders)), leaders] = 0.0
    row, other = np.nonzero(meets)
    share = meets[row, other]
    lead = leaders[row]
    level = np.bincount(place, weights, len(leaders))
    gradient = rates.gradient[other] - rates.gradient[lead]
    lowered, deviation = _known(belief, rates, gradient, lead, other)
    apart = (rates.mean[other] - rates.mean[lead]) / deviation
    weight = share * np.exp(-0.5 * apart**2) / (2.0 * np.sqrt(2.0 * np.pi) * deviation)
    own = rates.gradient[leaders]
    nothing = np.full(len(leaders), layout.default)
    lowered_own, deviation_own = _known(belief, rates, own, leaders, nothing)
    weight_own = PROMISE * level / (np.sqrt(2.0 * np.pi) * deviation_own)
    gradient = np.concatenate([gradient, own])
    weight = np.concatenate([weight, weight_own])
    gain = weight * np.concatenate([lowered, lowered_own])
    pairs = np.stack([np.append(lead, leaders), np.append(other, nothing)], axis=1)
    order = np.argsort(-gain, kind="stable")[:TARGETS]
    order = order[gain[order] > LEAST_SHARE * gain.max(initial=0.0)]
    return Targets(gradient[order], weight[order], pairs[order])


def _known(
    belief: Belief, rates: WinRates, gradient: Floats, left: Indices, right: Indices
) -> tuple[Floats, Floats]:
    """Return the variance of differences that answers can lower, and the whole deviation."""
    lowered = np.einsum("td,de,te->t", gradient, belief.covariance, gradient)
    variance = lowered + sampling_variance(rates.prompts, left, right)
    return lowered, np.sqrt(np.maximum(variance, 1e-9))


def best_pairs(
    belief: Belief,
    wanted: Targets,
    left: Indices,
    right: Indices,
    count: int,
    *,
    taken: Sequence[int] = (),
) -> tuple[list[int], Floats]:
    """Return the comparisons that lower the targets' weighted variance most, the best first.

    Args:
        belief: as it is now.
        wanted: what is to become known.
        left: `(candidates,)` pictures.
        right: `(candidates,)` pictures.
        count: how many to return at the most; none is returned twice.
        taken: candidates that were offered to somebody else and count as answered.

    Returns:
        Candidates, and what each lowers by.
    """
    moved = (belief.inputs[left] - belief.inputs[right]) * belief.slope
    pulled = moved @ belief.covariance
    variance = np.einsum("md,md->m", pulled, moved)
    mean = moved @ belief.mean
    flat = mean / np.sqrt(1.0 + np.pi * variance / 8.0)
    information = 0.25 / np.cosh(0.5 * np.clip(flat, -40.0, 40.0)) ** 2
    reach = pulled @ wanted.gradient.T
    open_ = np.ones(len(left), bool)
    chosen: list[int] = []
    gains: list[float] = []
    queue = list(taken)
    while len(chosen) < min(count, len(left)):
        gain = (reach**2 @ wanted.weight) * information / (1.0 + information * variance)
        gain[~open_] = -1.0
        best = queue.pop(0) if queue else int(gain.argmax())
        if not open_[best]:
            if queue:
                continue
            break
        open_[best] = False
        if best not in taken:
            chosen.append(best)
            gains.append(float(gain[best]))
        # The rank-one change that this answer will make, whatever it is.
        shrink = information[best] / (1.0 + information[best] * variance[best])
        towards = moved @ pulled[best]
        reach -= shrink * np.outer(towards, reach[best])
        variance = np.maximum(variance - shrink * towards**2, 0.0)
        pulled = pulled - shrink * np.outer(towards, pulled[best])
    return chosen, np.array(gains)


def front_chances(
    belief: Belief, layout: Layout, rates: WinRates, rng: np.random.Generator, draws: int = 256
) -> Floats:
    """Return each setting's chance to be on the front, over draws of the win rates.

    Draws are of w (linearised) and of the prompts (Bayesian bootstrap, Rubin 1981).
    """
    root = np.linalg.cholesky(belief.covariance + 1e-12 * np.eye(len(belief.mean)))
    moved = rng.standard_normal((draws, len(belief.mean))) @ root.T @ rates.gradient.T
    share = rng.exponential(size=(draws, rates.prompts.shape[1]))
    known = ~np.isnan(rates.prompts)
    sums = share @ np.where(known, rates.prompts, 0.0).T
    counts = share @ known.T.astype(np.float64)
    level = np.where(counts > 0, sums / np.maximum(counts, 1e-12), 0.5)
    wins = level + moved
    allowed, _ = budgets(layout)
    found = np.zeros((draws, len(rates.mean)), bool)
    for row in allowed:
        inside = np.flatnonzero(row)
        found[np.arange(draws), inside[wins[:, inside].argmax(axis=1)]] = True
    return np.asarray(found.mean(axis=0))
