"""What several workers cost a search: device seconds and elapsed seconds on the recorded table.

Each worker takes a proposal of `FactoredSampler` whenever it is free, while the others' are under
way; it is told what came of a setting only when the recorded device seconds of its pictures have
passed. Workers are simulated; quality and cost are the table's. One worker is the search as it
always is. Without races, so that a proposal takes what its pictures take.

    python benchmarks/workers.py --seeds 10 --out FILE.json
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
import warnings
from pathlib import Path

import optuna
import search_table
from optuna.distributions import IntDistribution
from search import DIRECTIONS, Bench, Predicted, factored
from search_table import Found

from ldmopt.study.probing import SHARE

WORKERS = (1, 2, 4, 8)
WANTED = (0.95, 0.98)


def one(bench: Bench, costs: Predicted, seed: int, workers: int, limit: float) -> dict:
    """Search until the share wanted is found; return device and elapsed seconds of each share.

    Args:
        bench: the table.
        costs: what the cost model predicts; its readings come first, on one device.
        seed: of the search.
        workers: that work at the same time.
        limit: device seconds at the most.
    """
    table, found = bench.table, Found(bench.table)
    study = optuna.create_study(directions=DIRECTIONS, sampler=factored(bench, costs, seed))
    study.enqueue_trial(bench.default())
    spent, clock, tried, repeats = costs.spent, costs.spent, set(), 0
    busy: list[tuple[float, int, optuna.Trial, tuple[int, int]]] = []
    reached: dict[str, list[float]] = {}
    while spent < limit and len(reached) < len(WANTED):
        while len(busy) < workers:
            trial = study.ask()
            cell = bench.cell({
                key: trial.suggest_int(key, item.low, item.high)
                if isinstance(item, IntDistribution)
                else trial.suggest_categorical(key, item.choices)
                for key, item in bench.space.items()})
            repeats += cell[0] in tried
            price = 0.0 if cell[0] in tried else float(table.price[cell])
            tried.add(cell[0])
            spent += price
            heapq.heappush(busy, (clock + price, trial.number, trial, cell))
        clock, _, trial, (picture, way) = heapq.heappop(busy)
        trial.set_constraint("failure", 0.0)
        trial.set_user_attr("evidence", (float(table.quality[picture, way]), 0.0))
        study.tell(trial, [table.quality[picture, way], table.seconds[picture, way],
                           table.memory[picture, way]])
        share = found.add(picture, costs.fronts[picture])
        for wanted in WANTED:
            if share >= wanted:
                reached.setdefault(str(wanted), [round(spent, 2), round(clock, 2)])
    return {"workers": workers, "seed": seed, "reached": reached, "settings": len(tried),
            "repeats": repeats, "share": round(found.share, 5)}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--limit", type=float, default=0.03, help="share of the picture grid")
    parser.add_argument("--quick", action="store_true", help="a small grid")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table = search_table.load(search_table.TABLE, options.quick)
    bench = Bench(table)
    limit = (1.0 if options.quick else options.limit) * table.picture_seconds
    costs = Predicted.of(table, SHARE * limit)
    runs = []
    for seed in range(options.seeds):
        for workers in options.workers:
            runs.append(one(bench, costs, seed, workers, limit))
            print(json.dumps(runs[-1]), flush=True)
    options.out.write_text(json.dumps({"schema_version": 1, "source": table.source, "limit": limit,
                                       "probe_seconds": costs.spent, "runs": runs}) + "\n")
    print(f"{table.source}; {costs.spent:.0f} device seconds of them for the cost model's readings")
    for workers in options.workers:
        own = [run for run in runs if run["workers"] == workers]
        for wanted in map(str, WANTED):
            rows = [run["reached"][wanted] for run in own if wanted in run["reached"]]
            if rows:
                device, elapsed = (statistics.median(column) for column in zip(*rows, strict=True))
                print(f"{workers} workers, {float(wanted):.0%}: {device:.0f} device seconds, "
                      f"{elapsed:.0f} elapsed (medians; {len(rows)} of {len(own)} seeds; "
                      f"{sum(run['repeats'] for run in own)} repeats)")


if __name__ == "__main__":
    main()
