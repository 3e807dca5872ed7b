"""Tree-structured Parzen estimators, multivariate, with conditional knobs in groups."""

from __future__ import annotations

import optuna

from ldmopt.knob import Space


def make(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return Optuna's TPE as several objectives and conditional knobs need it (GOTCHAS 30)."""
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, group=True, n_startup_trials=8, constant_liar=False
    )
