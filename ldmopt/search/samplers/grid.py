"""Grid search: every combination of a few values of each knob, in a random order."""

from __future__ import annotations

import math

import numpy as np
import optuna

from ldmopt.contracts import Value
from ldmopt.errors import UserError
from ldmopt.knob import Choice, Domain, Number, Space

LEVELS = 5
"""Values of a range at the most, both ends among them."""

MOST = 100_000
"""Combinations at the most; ranges are made coarser until there are no more."""


def make(seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return Optuna's grid sampler over a coarse grid of the space.

    Raises:
        UserError: even with two values a range there are too many combinations.
    """
    for levels in range(LEVELS, 1, -1):
        found = {name: values(domain, levels) for name, domain in space.searched.items()}
        if math.prod(map(len, found.values())) <= MOST:
            return optuna.samplers.GridSampler(found, seed=seed)
    raise UserError(f"search = 'grid': [space] has more than {MOST} combinations even with two "
                    "values a range; name fewer values, or use search = 'factored'")


def values(domain: Domain, levels: int) -> list[Value]:
    """Return all named values, or so many of a range, evenly on its own scale and on its steps."""
    if isinstance(domain, Choice):
        return list(domain.values)
    if not isinstance(domain, Number):
        raise TypeError("a searched size is a list of sizes")
    scale = np.geomspace if domain.log else np.linspace
    spread = scale(domain.low, domain.high, levels)
    step = domain.step or (1.0 if domain.whole else None)
    if step is not None:
        most = math.floor((domain.high - domain.low) / step + 1e-9)
        spread = domain.low + np.clip(np.rint((spread - domain.low) / step), 0, most) * step
    found = [int(value) if domain.whole else float(value) for value in spread]
    return list(dict.fromkeys(found))
