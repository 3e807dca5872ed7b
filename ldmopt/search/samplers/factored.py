"""Our own search: Gaussian processes and the exact expected improvement of the hypervolume."""

from __future__ import annotations

import math
from typing import Any

import optuna

from ldmopt.knob import Space
from ldmopt.search import distributions
from ldmopt.search.factored import FactoredSampler


def make(seed: int, space: Space, **known: Any) -> optuna.samplers.BaseSampler:
    """Return the factored search of a space.

    Args:
        seed: of the study; proposals follow from the trials, so a resumed search takes the same.
        space: what is searched.
        known: further arguments of `FactoredSampler`, such as ``prices``; without them every
            objective is learned.
    """
    return FactoredSampler(
        seed=seed, startup=8, space=distributions(space), jumps={"guidance": 1.0},
        picture=[name for name in space.searched if name in space.picture_knobs],
        ordered={"size": log_area} if "size" in space.searched else {},
        canonical=lambda params: {
            name: value for name, value in space.canonical({**space.default, **params}).items()
            if name in space.searched}, **known)


def log_area(size: str) -> float:
    """Return the logarithm of a size's area, on which sizes are ordered."""
    return math.log(math.prod(map(int, size.split("x"))))
