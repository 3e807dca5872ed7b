"""Random search: the baseline that any other must beat."""

from __future__ import annotations

import optuna


def make(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's random sampler."""
    return optuna.samplers.RandomSampler(seed=seed)
