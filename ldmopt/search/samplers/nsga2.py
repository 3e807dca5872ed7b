"""The genetic algorithm NSGA-II."""

from __future__ import annotations

import optuna

from ldmopt.knob import Space


def make(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return Optuna's NSGA-II with a population that a small budget can renew."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
