"""How long the factored search takes to propose a setting, and how much memory it needs.

A study in memory is filled with trials at random cells of the recorded table (at most 2,000
distinct picture settings); then settings are proposed and told. Printed are wall and processor
milliseconds of the sampler alone: of the first proposal, which takes all trials in, and of the rest
the median and the worst; Optuna's own ask and suggest with it; and the process's peak memory.

    OMP_NUM_THREADS=1 python benchmarks/search_speed.py --trials 1000
"""

from __future__ import annotations

import argparse
import resource
import time
import warnings

import numpy as np
import optuna
import search
import search_table
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

MOST_PICTURES = 2000


def filled(trials: int) -> tuple[search.Bench, optuna.Study]:
    """Return a study with so many trials."""
    bench = search.Bench(search_table.load())
    table, rng = bench.table, np.random.default_rng(0)
    costs = search.Predicted(table.seconds, table.memory, 0.0)
    study = optuna.create_study(directions=search.DIRECTIONS,
                                sampler=search.factored(bench, costs, 0))
    distinct = rng.permutation(len(table.pictures))[:min(MOST_PICTURES, int(0.8 * trials))]
    for number in range(trials):
        picture = distinct[number] if number < len(distinct) else rng.choice(distinct)
        way = rng.integers(len(table.executions))
        study.add_trial(create_trial(
            params=bench.params({**table.pictures[picture], **table.executions[way]}),
            distributions=bench.space, values=values(table, picture, way),
            user_attrs={"evidence": (float(table.quality[picture, way]), 0.0)}))
    return bench, study


def values(table: search_table.Table, picture: int, way: int) -> list[float]:
    """Return a cell's objectives."""
    return [table.quality[picture, way], table.seconds[picture, way], table.memory[picture, way]]


def megabytes() -> float:
    """Return the process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Fill, propose, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--proposals", type=int, default=60)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    bench, study = filled(options.trials)
    before, own, whole = megabytes(), [], []
    relative = study.sampler.sample_relative

    def timed(*arguments):
        wall, processor = time.perf_counter(), time.process_time()
        found = relative(*arguments)
        own.append((time.perf_counter() - wall, time.process_time() - processor))
        return found

    study.sampler.sample_relative = timed
    for _ in range(options.proposals):
        began = time.perf_counter()
        trial = study.ask()
        params = {name: trial.suggest_int(name, item.low, item.high)
                  if isinstance(item, IntDistribution)
                  else trial.suggest_categorical(name, item.choices)
                  for name, item in bench.space.items()}
        whole.append(time.perf_counter() - began)
        told = values(bench.table, *bench.cell(params))
        trial.set_user_attr("evidence", (float(told[0]), 0.0))
        study.tell(trial, told)
    wall, processor = 1e3 * np.array(own).T
    print(f"{options.trials} trials: first {wall[0]:.0f} ms; then median "
          f"{np.median(wall[1:]):.1f}, worst {wall[1:].max():.1f} ms (processor "
          f"{np.median(processor[1:]):.1f}, {processor[1:].max():.1f}); with ask and suggest "
          f"{1e3 * np.median(whole[1:]):.1f} ms; peak {megabytes():.0f} MB, "
          f"{before:.0f} MB before")


if __name__ == "__main__":
    main()
