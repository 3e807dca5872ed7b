"""The factored search where nothing is known: discrete DTLZ and ZDT against multivariate TPE.

Six whole-numbered parameters of eleven levels, all of them picture parameters, no costs. What is
printed is the median share of the true front's hypervolume after 100 and 200 trials (reference
point: 1.1 times the true front's worst, in its own range). ZDT with two objectives, the others
with three (Deb et al. 2005; Zitzler, Deb and Thiele 2000).

    python benchmarks/search_spaces.py --seeds 20 [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import IntDistribution

from ldmopt.search.factored import FactoredSampler
from ldmopt.search.hypervolume import hypervolume, nondominated

LEVELS, PARAMETERS, TRIALS = 11, 6, (100, 200)
Floats = NDArray[np.float64]
Problem = Callable[[Floats], tuple[float, ...]]


def dtlz1(x: Floats) -> tuple[float, ...]:
    """Return a linear front behind many local ones."""
    z = x[2:] - 0.5
    g = 1 + 100 * (len(z) + np.sum(z**2 - np.cos(20 * np.pi * z)))
    return 0.5 * x[0] * x[1] * g, 0.5 * x[0] * (1 - x[1]) * g, 0.5 * (1 - x[0]) * g


def dtlz2(x: Floats) -> tuple[float, ...]:
    """Return an eighth of a sphere."""
    g = 1 + np.sum((x[2:] - 0.5) ** 2)
    a, b = x[0] * np.pi / 2, x[1] * np.pi / 2
    return g * np.cos(a) * np.cos(b), g * np.cos(a) * np.sin(b), g * np.sin(a)


def dtlz5(x: Floats) -> tuple[float, ...]:
    """Return a curve on the sphere."""
    g = np.sum((x[2:] - 0.5) ** 2)
    a, b = x[0] * np.pi / 2, np.pi / (4 * (1 + g)) * (1 + 2 * g * x[1])
    return tuple((1 + g) * np.array([np.cos(a) * np.cos(b), np.cos(a) * np.sin(b), np.sin(a)]))


def dtlz7(x: Floats) -> tuple[float, ...]:
    """Return a front in four pieces."""
    g = 1 + 9 * x[2:].mean()
    h = 3 - sum(v / (1 + g) * (1 + np.sin(3 * np.pi * v)) for v in x[:2])
    return x[0], x[1], (1 + g) * h


def zdt1(x: Floats) -> tuple[float, ...]:
    """Return a convex front."""
    g = 1 + 9 * x[1:].mean()
    return x[0], g * (1 - np.sqrt(x[0] / g))


def zdt2(x: Floats) -> tuple[float, ...]:
    """Return a concave front."""
    g = 1 + 9 * x[1:].mean()
    return x[0], g * (1 - (x[0] / g) ** 2)


PROBLEMS: dict[str, tuple[Problem, int, float]] = {
    "dtlz1": (dtlz1, 2, 0.5), "dtlz2": (dtlz2, 2, 0.5), "dtlz5": (dtlz5, 2, 0.5),
    "dtlz7": (dtlz7, 2, 0.0), "zdt1": (zdt1, 1, 0.0), "zdt2": (zdt2, 1, 0.0),
}
"""Problem, how many parameters tell the place on the front, and where the others are best."""


def share(values: Floats, front: Floats) -> float:
    """Return the share of the true hypervolume, both minimised."""
    low, high = front.min(axis=0), front.max(axis=0)
    volumes = [hypervolume(1.1 - (points - low) / (high - low), np.zeros(len(low)))
               for points in (values, front)]
    return volumes[0] / volumes[1]


def run(name: str, sampler: optuna.samplers.BaseSampler) -> list[float]:
    """Return what one search has found after each number of trials."""
    problem, places, best = PROBLEMS[name]
    grid = itertools.product(np.linspace(0, 1, LEVELS), repeat=places)
    front = np.array([problem(np.array([*place, *[best] * (PARAMETERS - places)]))
                      for place in grid])
    front = front[nondominated(-front)]
    study = optuna.create_study(directions=["minimize"] * front.shape[1], sampler=sampler)
    study.optimize(lambda trial: problem(np.array(
        [trial.suggest_int(f"x{i}", 0, LEVELS - 1) / (LEVELS - 1) for i in range(PARAMETERS)])),
        n_trials=max(TRIALS))
    values = np.array([trial.values for trial in study.trials])
    return [share(values[:count], front) for count in TRIALS]


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    space = {f"x{i}": IntDistribution(0, LEVELS - 1) for i in range(PARAMETERS)}
    found = {}
    for name in options.problems:
        rows = {"factored": [run(name, FactoredSampler(seed=seed, space=space))
                             for seed in range(options.seeds)],
                "tpe": [run(name, optuna.samplers.TPESampler(
                    seed=seed, multivariate=True, group=True)) for seed in range(options.seeds)]}
        found[name] = rows
        for search, values in rows.items():
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
            cells = (f"{m:6.3f} ({lo:.3f} - {hi:.3f})"
                     for lo, m, hi in zip(low, middle, high, strict=True))
            print(f"{name:6} {search:9} " + "   ".join(cells), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
