"""Whether a rulebook can be believed: intervals, verdicts and speed on simulated studies.

Everything here is SIMULATED: wins are drawn with known truth, no picture is made and nobody is
asked. Parts:

- coverage: how often intervals of a win rate, and of a difference of two, hold the truth;
- verdicts: how often a study has any false "worth it", "harmful", "depends" or avoid rule;
- found: how often planted effects, interactions and things to avoid are found;
- speed: seconds and memory of `distill` on so many observations.

    python benchmarks/rulebook.py                    # all, a few minutes
    python benchmarks/rulebook.py --part coverage --intervals 20000
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldmopt.contracts import Evidence, Setting
from ldmopt.distillation import Constants, avoid, distill, effects, table
from ldmopt.distillation.contrasts import all_contrasts
from ldmopt.distillation.intervals import mean_limits
from tests.distillation.simulate import Study, grid

PROMPTS = (8, 24, 60)
RATES = (0.5, 0.75, 0.95)
PAIRS = ((0.5, 0.5), (0.75, 0.65), (0.95, 0.95), (0.95, 0.85))
CHUNK = 2000

Draw = Callable[[np.random.Generator, float, tuple[int, int]], np.ndarray]


def coins(seeds: int, precision: float) -> Draw:
    """Wins of 0 and 1 of so many seeds; prompts differ in their chance (inf: they do not)."""

    def draw(rng, rate, shape):
        chance = rate if math.isinf(precision) else rng.beta(
            precision * rate, precision * (1 - rate), shape)
        return rng.binomial(seeds, chance, shape) / seeds

    return draw


def chances(precision: float) -> Draw:
    """Predicted chances, two seeds: their prompt's chance, blurred a little."""

    def draw(rng, rate, shape):
        chance = rng.beta(precision * rate, precision * (1 - rate), shape)
        return rng.beta(40 * chance + 1e-3, 40 * (1 - chance) + 1e-3, (2, *shape)).mean(axis=0)

    return draw


def rare(rng, rate, shape):
    """Nearly 1 on most prompts and nearly 0 on a few, two seeds: as skewed as can be."""
    good = rng.random(shape) < (rate - 0.02) / 0.96
    wins = rng.beta(49, 1, (2, *shape))
    return np.where(good, wins, 1 - wins).mean(axis=0)


def logits(rng, rate, shape):
    """Logistic of a normal prompt's taste of deviation 2, and of a seed's of 0.6."""
    middle = logit_middle(rate)
    taste = rng.normal(middle, 2.0, shape)
    return (1 / (1 + np.exp(-taste - rng.normal(0, 0.6, (2, *shape))))).mean(axis=0)


def logit_middle(rate: float) -> float:
    """The middle at which the mean of `logits` is the rate, by bisection."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = weights @ (1 / (1 + np.exp(-middle - math.hypot(2.0, 0.6) * nodes)))
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2


DRAWS: dict[str, Draw] = {
    "0/1, one seed": coins(1, math.inf), "0/1, two seeds, prompts alike": coins(2, math.inf),
    "0/1, two seeds, prompts differ": coins(2, 3.0), "chances, prompts differ much": chances(2.0),
    "chances, prompts alike": chances(20.0), "mostly 1, rarely 0": rare,
    "logistic, wide": logits,
}  # fmt: skip


def covered(draw: Draw, rate: float, prompts: int, intervals: int, seed: int) -> tuple[float, int]:
    """Return the share of intervals that hold the rate, and how many there were."""
    rng, held = np.random.default_rng(seed), 0
    for start in range(0, intervals, CHUNK):
        low, high = mean_limits(draw(rng, rate, (min(CHUNK, intervals - start), prompts)))
        held += int(((low <= rate) & (rate <= high)).sum())
    return held / intervals, intervals


def covered_difference(
    draw: Draw, rates: tuple[float, float], prompts: int, intervals: int, seed: int
) -> float:
    """Return the share of intervals of a paired difference that hold it.

    Prompts do the same to both settings: their wins are drawn so that ranks correlate.
    """
    rng, held = np.random.default_rng(seed), 0
    for start in range(0, intervals, CHUNK):
        shape = (min(CHUNK, intervals - start), prompts)
        left, right = (np.sort(draw(rng, rate, shape), axis=1) for rate in rates)
        order = rng.random(shape).argsort(axis=1)
        left = np.take_along_axis(left, order, axis=1)
        right = _half_alike(rng, right, order)
        level = (left + right).mean(axis=1) / 2
        spread = np.clip(8 * level * (1 - level), 1e-6, 1.0)
        low, high = mean_limits(left - right, 0.95, (-1.0, 1.0), spread)
        truth = rates[0] - rates[1]
        held += int(((low <= truth) & (truth <= high)).sum())
    return held / intervals


def _half_alike(rng, sorted_wins, order):
    """Half of the prompts in the same order as the other setting's, the others shuffled."""
    ranks = order.copy()
    half = order.shape[1] // 2
    ranks[:, :half] = np.take_along_axis(
        ranks[:, :half], rng.random((len(ranks), half)).argsort(axis=1), axis=1)
    return np.take_along_axis(sorted_wins, ranks, axis=1)
