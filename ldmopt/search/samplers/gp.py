"""A Gaussian process with expected hypervolume improvement."""

from __future__ import annotations

import optuna

from ldmopt.errors import UserError
from ldmopt.knob import Space
from ldmopt.search import conditional


def make(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return Optuna's GP sampler.

    Raises:
        UserError: a searched knob is conditional: it would be proposed at random (GOTCHAS 30).
    """
    found = conditional(space)
    if found:
        name, other = next(iter(found.items()))
        raise UserError(f"search = 'gp' cannot search {name}, which acts only under some values of "
                        f"{other}; leave one of the two out of [space], or use search = 'factored' "
                        "or 'tpe'")
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=8)
