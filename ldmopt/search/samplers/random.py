"""Random search: the baseline that any other must beat."""

from __future__ import annotations

import optuna

from ldmopt.knob import Space


def make(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return Optuna's random sampler."""
    return optuna.samplers.RandomSampler(seed=seed)
