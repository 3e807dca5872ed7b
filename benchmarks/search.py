"""Device seconds that each search needs to find most of the recorded table's front.

Nothing is generated: quality and cost come from the table (`search_table.py`), so device seconds
are exactly comparable and the true front is known. Each search proposes settings through Optuna's
ask and tell and starts with the default. Modes:

- plain: nothing is shared; a proposal costs all its pictures, and only what was run is found;
- shared: pictures made once serve every way of running them, which then costs a few timings, and
  of a known picture setting every way on the cost model's predicted front counts as found, beside
  those that were run;
- factored: ldmopt's own search with all of that, and racing: a setting gets more prompts only
  while it may still be on the front. Shared and factored pay for the cost model's readings first.

Where quality is dealt anew over all cells (``--shuffle``) nothing factors: then every search has
each cell as a setting of its own, and `factored` only knows what a cell costs.

A line a run is kept in OUT/runs.jsonl; running again goes on.

    python benchmarks/search.py --seeds 20 --out benchmarks/figures/search
    python benchmarks/search.py --seeds 20 --shuffle 0 --out benchmarks/figures/search-shuffled
    python benchmarks/search.py --quick --out FOLDER                     # seconds, a small grid
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
import search_outcome
import search_table
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState
from search_table import DEFAULT, TIMED, Found, Table

from ldmopt import machine
from ldmopt.search.factored import FactoredSampler
from ldmopt.search.priced import Rules
from ldmopt.search.racing import Race, partial_mean, rivals
from ldmopt.study.probing import SHARE
from ldmopt.study.raced import RIVALS

SHARES = (0.90, 0.95, 0.98, 0.99)
DIRECTIONS = ["maximize", "minimize", "minimize"]
MOST_TRIALS = {"gp": 300, "gp-log": 300, "qlognehvi": 60}
"""Trials at the most of searches that take seconds to propose one; of the others 2,000."""

LOGARITHMS = ("gp-log", "qlognehvi")
"""Told logarithms of costs, in which hypervolume counts; `gp` is told what a study tells."""

PROPOSED = (50, 100, 150, 200, 300, 500, 1000, 2000)
"""Numbers of trials at which the time of a proposal is noted."""

ORDERED = ("steps", "guidance", "batch")
"""Knobs that are told by their place, so that all samplers see the order."""

OTHERS = ("tpe", "nsga2", "gp", "gp-log", "qlognehvi", "random", "grid")
MODES = {"factored": "factored", **{name: "plain" for name in OTHERS},
         **{f"{name}-shared": "shared" for name in OTHERS}}
BUDGETS = 8

class Bench:
    """A table behind Optuna's ask and tell."""

    def __init__(self, table: Table) -> None:
        """Index the table."""
        self.table, self.levels = table, levels(table)
        self.picture_names = list(table.pictures[0])
        self.space: dict[str, optuna.distributions.BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1) if name in ORDERED
            else CategoricalDistribution(values) for name, values in self.levels.items()}
        self._pictures = {tuple(item.values()): i for i, item in enumerate(table.pictures)}
        self._ways = {tuple(item.values()): i for i, item in enumerate(table.executions)}

    def cell(self, params: dict) -> tuple[int, int]:
        """Return the indices of a setting."""
        whole = {name: self.levels[name][value] if name in ORDERED else value
                 for name, value in params.items()}
        picture = tuple(whole[name] for name in self.picture_names)
        return self._pictures[picture], self._ways[
            tuple(value for name, value in whole.items() if name not in self.picture_names)]

    def params(self, whole: dict) -> dict:
        """Return a setting's parameters."""
        return {name: self.levels[name].index(whole[name]) if name in ORDERED else whole[name]
                for name in self.space}

    def default(self) -> dict:
        """Return the default's parameters; in a smaller grid, what comes closest."""
        return self.params({name: DEFAULT[name] if DEFAULT[name] in values else values[-1]
                            for name, values in self.levels.items()})

    def rows(self, pictures: list, executions: list) -> tuple[np.ndarray, np.ndarray]:
        """Return indices that broadcast to `(pictures, executions)`."""
        if not self.table.factors:
            pairs = np.array([[self.cell({**picture, **way}) for way in executions]
                              for picture in pictures])
            return pairs[:, :, 0], pairs[:, :, 1]
        rows = np.array([self.cell({**item, **executions[0]})[0] for item in pictures])
        ways = np.array([self.cell({**pictures[0], **way})[1] for way in executions])
        return rows[:, None], ways[None, :]


def levels(table: Table) -> dict[str, list]:
    """Return each knob's values in the table, in order of first sight."""
    found: dict[str, list] = {}
    for rows in (table.pictures, table.executions):
        for name in rows[0]:
            values = list(dict.fromkeys(item[name] for item in rows))
            found[name] = sorted(values) if name in ORDERED else values
    return found


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a cost model says of the table after its probes.

    Attributes:
        seconds: `(m, e)` a picture.
        memory: `(m, e)` bytes.
        spent: device seconds of the probes.
        fronts: for each picture setting, the ways of running on its predicted front.
    """

    seconds: np.ndarray
    memory: np.ndarray
    spent: float
    fronts: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, table: Table, limit: float) -> Predicted:
        """Probe the table."""
        seconds, memory, spent = search_outcome.predicted(table, limit)
        fronts = [search_outcome.front(row, held) for row, held in
                  zip(seconds, memory, strict=True)]
        return cls(seconds, memory, spent, fronts)


def sampler(name: str, bench: Bench, costs: Predicted, seed: int) -> optuna.samplers.BaseSampler:
    """Return a seeded sampler, each with the arguments that suit it."""
    kind = name.removesuffix("-shared")
    if kind == "factored":
        return factored(bench, costs, seed)
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True,
                                          constant_liar=False)
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
    if kind in ("gp", "gp-log"):
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=10)
    if kind == "qlognehvi":
        from search_botorch import make

        return make(seed)
    if kind == "grid":
        coarse = {name: values[:: max(1, len(values) // 3)] if name in bench.picture_names
                  else values[:2] for name, values in bench.levels.items()}
        return optuna.samplers.GridSampler(
            {name: [bench.levels[name].index(value) for value in values] if name in ORDERED
             else values for name, values in coarse.items()}, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def factored(bench: Bench, costs: Predicted, seed: int) -> FactoredSampler:
    """Return our own search, told of prices and of what changes the picture."""
    table = bench.table

    def prices(pictures: list, executions: list) -> np.ndarray:
        rows, ways = bench.rows(pictures, executions)
        seconds = costs.seconds[rows, ways]
        return np.stack([seconds, costs.memory[rows, ways], table.blocks * seconds], axis=2)

    return FactoredSampler(
        seed=seed, picture=bench.picture_names if table.factors else None, prices=prices,
        space=bench.space, jumps={"guidance": 0.0},
        rules=Rules(fill_in=table.factors, timing_share=TIMED / table.blocks),
        evidence=lambda trial: trial.user_attrs.get("evidence"),
        ordered={"size": lambda size: math.log(math.prod(map(int, size.split("x"))))})


class Racing:
    """Judges settings prompt by prompt, and drops those that cannot be on the front any more."""

    def __init__(self, table: Table, costs: Predicted, seed: int) -> None:
        """Race by predicted costs, on prompts in an order that is drawn for each setting."""
        self._wins, self._costs, self._seed, self._race = table.wins, costs, seed, Race()
        self._done: list[int] = []

    def judge(self, picture: int, way: int) -> tuple[float, float, float]:
        """Return the share of prompts seen, and the mean win rate with its variance."""
        total = self._wins.shape[1]
        costs = np.stack([self._costs.seconds[:, way], self._costs.memory[:, way]], axis=1)
        done = np.array(self._done, np.intp)
        chosen = done[rivals(costs[picture], costs[done], self._wins[done].mean(axis=1), RIVALS)]
        order = np.random.default_rng([self._seed, picture]).permutation(total)
        gaps = [self._wins[picture, order] - self._wins[rival, order] for rival in chosen]
        rooms = [1.0 - float(self._wins[rival].min()) for rival in chosen]
        for seen in range(self._race.least, total):
            if self._race.decide([gap[:seen] for gap in gaps], total, rooms) == "drop":
                return seen / total, *partial_mean(self._wins[picture, order[:seen]], total)
        self._done.append(picture)
        return 1.0, float(self._wins[picture].mean()), 0.0


def one(name: str, bench: Bench, costs: Predicted, seed: int, limit: float) -> dict:
    """Run one search until it has found 99 %, or the device seconds or trials are spent."""
    table = bench.table
    mode = MODES[name] if table.factors or MODES[name] == "plain" else "cells"
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler(name, bench, costs, seed))
    study.enqueue_trial(bench.default())
    race = Racing(table, costs, seed) if mode == "factored" else None
    found, whole, timed = Found(table), set(), set()
    spent = 0.0 if mode == "plain" else costs.spent
    curve, proposing, saved = [(spent, 0.0)], [], 0.0
    kind = name.removesuffix("-shared")
    for _ in range(MOST_TRIALS.get(kind, 2000)):
        began = time.perf_counter()
        trial = study.ask()
        params = {key: (trial.suggest_int(key, item.low, item.high)
                        if isinstance(item, IntDistribution)
                        else trial.suggest_categorical(key, item.choices))
                  for key, item in bench.space.items()}
        proposing.append(time.perf_counter() - began)
        pair = picture, way = bench.cell(params)
        unit = picture if table.factors else pair
        trial.set_constraint("failure", 0.0)
        if mode == "plain" or unit not in whole:
            price = float(table.price[pair])
            if race is not None:
                share, value, variance = race.judge(picture, way)
                trial.set_user_attr("evidence", (value, variance))
                spent, saved = spent + share * price, saved + (1 - share) * price
                if share < 1:
                    study.tell(trial, state=TrialState.PRUNED)
                    continue
            else:
                spent += price
        elif pair not in timed:
            spent += TIMED * float(table.seconds[pair])
        whole.add(unit)
        timed.add(pair)
        if mode == "factored" or (mode == "cells" and name == "factored"):
            trial.set_user_attr("evidence", (float(table.quality[pair]), 0.0))
        costs_told = np.array([table.seconds[pair], table.memory[pair]])
        study.tell(trial, [table.quality[pair],
                           *(np.log(costs_told) if kind in LOGARITHMS else costs_told)])
        known = costs.fronts[picture] if mode in ("shared", "factored") else []
        share = found.add(picture, sorted({*known, way}))
        curve.append((spent, share))
        if spent >= limit or (share >= SHARES[-1] and mode != "factored"):
            break
    reached = {str(share): next((round(at, 3) for at, had in curve if had >= share), None)
               for share in SHARES}
    pictures = sorted(whole) if mode in ("shared", "factored") else []
    return {"search": name, "seed": seed, "reached": reached, "trials": len(proposing),
            "spent": round(spent, 3), "saved_by_racing": round(saved, 3),
            "share": round(found.share, 5),
            "recommended": search_outcome.recommended(table, pictures, BUDGETS),
            "proposing_ms": [round(1e3 * float(np.median(proposing)), 2),
                             round(1e3 * max(proposing), 2)],
            "proposing_ms_at": {at: round(1e3 * float(np.median(proposing[at - 10 : at])), 2)
                                for at in PROPOSED if at <= len(proposing)},
            "curve": [(round(a, 2), round(b, 4)) for a, b in thinned(curve)]}


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return only where the share rises, and the end."""
    kept = [curve[0]]
    for point in curve[1:]:
        if point[1] > kept[-1][1] + 1e-4:
            kept.append(point)
    return [*kept, (curve[-1][0], kept[-1][1])]


def missing(options: argparse.Namespace, runs: list[dict]) -> Iterator[tuple[str, int]]:
    """Yield searches and seeds that have no run yet, seed by seed."""
    done = {(run["search"], run["seed"]) for run in runs}
    for seed in range(2 if options.quick else options.seeds):
        for name in options.searches:
            if (name, seed) not in done:
                yield name, seed


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=search_table.TABLE)
    parser.add_argument("--shuffle", type=int, help="deal quality anew with this seed")
    parser.add_argument("--searches", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--limit", type=float, default=0.03, help="share of the grid's seconds "
                        "for factored; the others, and where nothing factors all, may spend ten "
                        "times as much")
    parser.add_argument("--quick", action="store_true", help="a small grid, two seeds")
    parser.add_argument("--only-tell", action="store_true", help="no runs, the summary alone")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table = search_table.load(options.table, options.quick, options.shuffle)
    bench = Bench(table)
    limit = (0.5 if options.quick else options.limit) * table.picture_seconds
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "runs.jsonl"
    runs = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    costs = None
    for name, seed in [] if options.only_tell else missing(options, runs):
        costs = costs or Predicted.of(table, SHARE * limit)
        run = one(name, bench, costs, seed,
                  limit * (1 if name == "factored" and table.factors else 10))
        runs.append(run)
        with kept.open("a") as file:
            file.write(json.dumps(run) + "\n")
        print(name, seed, run["reached"], run["trials"], "trials", flush=True)
    facts = {"schema_version": 1, "source": table.source, "limit": limit,
             "picture_grid_seconds": table.picture_seconds, "grid_seconds": table.whole_seconds,
             "most_trials": MOST_TRIALS, "environment": machine.describe("cpu")}
    search_outcome.tell(table, runs, facts, options.out, options.table)


if __name__ == "__main__":
    main()
