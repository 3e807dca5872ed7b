"""Device seconds that each search needs to find most of a table's front.

Nothing is generated: quality and cost come from a table (`search_table.py` says what in it is
recorded and what is not), so device seconds are exactly comparable and the true front is known.
Each search proposes settings through Optuna's ask and tell and starts with the default. Modes:

- plain: nothing is shared; a proposal costs all its pictures, and only what was run is found;
- shared: pictures made once serve every way of running them, which then costs a few timings; and
  every way of running a known picture setting counts as found, as the cost model fills it in.
  Searches in this mode pay for the cost model's readings first.

With a journal that is not complete, only `factored` knows which settings are recorded, so nothing
can be compared; it shows that a table is read.

`factored` predicts costs with an error of 5 % (standard deviation of the logarithm) and is
compared in shared mode, and as `factored-measured` where only what was run counts.

    python benchmarks/search.py --seeds 20 --out benchmarks/figures      # hours
    python benchmarks/search.py --quick --out FOLDER                     # seconds
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import search_table
from optuna.distributions import CategoricalDistribution, IntDistribution
from search_table import BLOCKS, DEFAULT, TIMED, Found, Table

from ldmopt import machine
from ldmopt.search.factored import FactoredSampler
from ldmopt.search.priced import Rules

SHARES = (0.90, 0.95, 0.98, 0.99)
DIRECTIONS = ["maximize", "minimize", "minimize"]
ERROR = 0.05
MOST_TRIALS = 1500
MODES = {"factored": "shared", "factored-measured": "measured", "tpe": "plain",
         "tpe-shared": "shared", "nsga2": "plain", "nsga2-shared": "shared", "random": "plain",
         "random-shared": "shared", "grid": "plain", "grid-shared": "shared"}


def space(table: Table) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the space; steps and guidance are told by their place, so that all see the order."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for name, values in levels(table).items():
        if name in ("steps", "guidance"):
            found[name] = IntDistribution(0, len(values) - 1)
        else:
            found[name] = CategoricalDistribution(values)
    return found


def levels(table: Table) -> dict[str, list]:
    """Return each knob's values in the table, in order of first sight."""
    every = [*table.pictures[:1], *table.executions[:1]]
    names = [name for item in every for name in item]
    rows = {name: table.pictures if name in table.pictures[0] else table.executions
            for name in names}
    found = {name: list(dict.fromkeys(item[name] for item in rows[name])) for name in names}
    return {name: sorted(values) if name in ("steps", "guidance") else values
            for name, values in found.items()}


class Bench:
    """A table behind Optuna's ask and tell."""

    def __init__(self, table: Table) -> None:
        """Index the table."""
        self.table, self.levels, self.space = table, levels(table), space(table)
        self.picture_names = list(table.pictures[0])
        self._pictures = {tuple(item.values()): i for i, item in enumerate(table.pictures)}
        self._ways = {tuple(item.values()): i for i, item in enumerate(table.executions)}

    def cell(self, params: dict) -> tuple[int | None, int]:
        """Return the indices of a setting; None for a picture setting that is not recorded."""
        whole = {name: self.levels[name][value] if name in ("steps", "guidance") else value
                 for name, value in params.items()}
        picture = tuple(whole[name] for name in self.picture_names)
        way = tuple(value for name, value in whole.items() if name not in self.picture_names)
        return self._pictures.get(picture), self._ways[way]

    def params(self, whole: dict) -> dict:
        """Return a setting's parameters."""
        return {name: self.levels[name].index(whole[name]) if name in ("steps", "guidance")
                else whole[name] for name in self.space}

    def prices(self, seed: int) -> Callable:
        """Return predicted costs, wrong by a few per cent."""
        table = self.table
        rng = np.random.default_rng([seed, 7])
        wrong = np.exp(rng.normal(0.0, ERROR, (2, *table.seconds.shape)))
        seconds, memory = table.seconds * wrong[0], table.memory * wrong[1]

        def prices(pictures, executions):
            result = np.full((len(pictures), len(executions), 3), np.nan)
            if not self.table.factors:
                cells = [[self.cell({**picture, **way}) for way in executions]
                         for picture in pictures]
                rows = np.array([[row for row, _ in line] for line in cells])
                ways = np.array([[way for _, way in line] for line in cells])
            else:
                rows = [self.cell({**picture, **executions[0]})[0] for picture in pictures]
                rows = np.array([-1 if row is None else row for row in rows])[:, None]
                ways = np.array([self.cell({**pictures[0], **way})[1] for way in executions])
            result[:, :, 0] = seconds[rows, ways]
            result[:, :, 1] = memory[rows, ways]
            result[:, :, 2] = BLOCKS * result[:, :, 0]
            return np.where((rows >= 0)[:, :, None], result, np.nan)

        return prices

    def probe_seconds(self) -> float:
        """Return device seconds of reading every execution's call, guided and not, once."""
        rows = [self.cell(self.params({**DEFAULT, "steps": 8, **self.table.executions[0],
                                       "guidance": guidance}))[0] for guidance in (7.5, 1.0)]
        return float(sum(TIMED * self.table.seconds[row].sum() for row in rows if row is not None))


def sampler(name: str, bench: Bench, seed: int) -> optuna.samplers.BaseSampler:
    """Return a seeded sampler, each with the arguments that suit it."""
    kind = name.split("-")[0]
    if kind == "factored":
        picture = bench.picture_names if bench.table.factors else None
        return FactoredSampler(
            seed=seed, picture=picture, prices=bench.prices(seed), space=bench.space,
            rules=Rules(fill_in=name == "factored" and bench.table.factors,
                        timing_share=TIMED / BLOCKS),
            jumps={"guidance": 0.0},
            ordered={"size": lambda size: math.log(math.prod(map(int, size.split("x"))))})
    if kind == "tpe":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True,
                                          constant_liar=False)
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=20)
    if kind == "grid":
        coarse = {name: values[:: max(1, len(values) // 3)] if name in bench.picture_names
                  else values[:2] for name, values in bench.levels.items()}
        coarse = {name: [bench.levels[name].index(value) for value in values]
                  if name in ("steps", "guidance") else values for name, values in coarse.items()}
        return optuna.samplers.GridSampler(coarse, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)


def one(name: str, bench: Bench, seed: int, limit: float) -> dict:
    """Run one search until it has found 99 %, or the device seconds or trials are spent."""
    table, mode = bench.table, MODES[name]
    if not table.factors and mode == "shared":
        mode = "measured"
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler(name, bench, seed))
    study.enqueue_trial(bench.params({**DEFAULT, **{
        key: values[-1] for key, values in bench.levels.items() if DEFAULT[key] not in values}}))
    found, made, timed = Found(table), set(), set()
    spent = bench.probe_seconds() if mode == "shared" or "factored" in name else 0.0
    curve, proposing = [(spent, 0.0)], []
    every = list(range(len(table.executions)))
    for _ in range(MOST_TRIALS):
        began = time.perf_counter()
        trial = study.ask()
        params = {key: (trial.suggest_int(key, item.low, item.high)
                        if isinstance(item, IntDistribution)
                        else trial.suggest_categorical(key, item.choices))
                  for key, item in bench.space.items()}
        proposing.append(time.perf_counter() - began)
        picture, way = bench.cell(params)
        if picture is None:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        pair = picture, way
        known = picture if table.factors else pair
        if mode == "plain" or known not in made:
            spent += float(table.price[pair])
        elif pair not in timed:
            spent += TIMED * float(table.seconds[pair])
        made.add(known)
        timed.add(pair)
        trial.set_constraint("failure", 0.0)
        study.tell(trial, [table.quality[pair], table.seconds[pair], table.memory[pair]])
        share = found.add(picture, every if mode == "shared" else [way])
        curve.append((spent, share))
        if share >= SHARES[-1] or spent >= limit:
            break
    reached = {str(share): next((round(at, 3) for at, had in curve if had >= share), None)
               for share in SHARES}
    return {"search": name, "seed": seed, "reached": reached, "trials": len(curve) - 1,
            "spent": round(spent, 3), "share": round(found.share, 5),
            "proposing_ms": [round(1e3 * float(np.median(proposing)), 2),
                             round(1e3 * max(proposing), 2)],
            "curve": [(round(a, 2), round(b, 4)) for a, b in thinned(curve)]}


def thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return only where the share rises, and the end."""
    kept = [curve[0]]
    for point in curve[1:]:
        if point[1] > kept[-1][1] + 1e-4:
            kept.append(point)
    return [*kept, (curve[-1][0], kept[-1][1])]


def summary(runs: list[dict]) -> dict:
    """Return search -> share -> quartiles of device seconds; None where it was not reached."""
    found: dict[str, dict] = {}
    for name in dict.fromkeys(run["search"] for run in runs):
        own = [run for run in runs if run["search"] == name]
        found[name] = {}
        for share in map(str, SHARES):
            reached = np.array([np.inf if run["reached"][share] is None else run["reached"][share]
                                for run in own])
            quartiles = np.quantile(reached, [0.25, 0.5, 0.75], method="inverted_cdf")
            found[name][share] = [float(q) if math.isfinite(q) else None for q in quartiles]
        found[name]["proposing_ms"] = [float(np.median([run["proposing_ms"][0] for run in own])),
                                       max(run["proposing_ms"][1] for run in own)]
    return found


def text(table: Table, runs: list[dict], facts: dict) -> str:
    """Return the summary as lines."""
    lines = [facts["source"], f"the whole grid: {facts['grid_seconds']:.0f} device seconds; "
             f"seeds: {facts['seeds']}; a dash: not reached in {facts['limit']:.0f} device seconds",
             f"{'search':20}" + "".join(f"{float(s):>22.0%}" for s in map(str, SHARES))
             + "   proposing, ms"]
    for name, row in facts["summary"].items():
        cells = []
        for share in map(str, SHARES):
            low, middle, high = ("-" if v is None else f"{v:.0f}" for v in row[share])
            cells.append(f"{middle:>8} ({low} - {high})".rjust(22))
        lines.append(f"{name:20}{''.join(cells)}   {row['proposing_ms'][0]:.0f}")
    return "\n".join(lines) + "\n"


def plot(runs: list[dict], facts: dict, path: Path) -> None:
    """Draw the median share found over device seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    start = min(run["curve"][1][0] for run in runs if len(run["curve"]) > 1)
    grid = np.geomspace(start, facts["limit"], 300)
    colors = {"factored": "C3", "tpe": "C0", "nsga2": "C1", "random": "C7", "grid": "C2"}
    for name in dict.fromkeys(run["search"] for run in runs):
        curves = []
        for run in (run for run in runs if run["search"] == name):
            seconds, shares = zip(*run["curve"], strict=True)
            at = np.searchsorted(seconds, grid, side="right") - 1
            curves.append(np.where(at >= 0, np.array(shares)[np.maximum(at, 0)], 0.0))
        low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
        color, style = colors[name.split("-")[0]], "-" if MODES[name] == "shared" else "--"
        axes.plot(grid, middle, style, color=color, label=name)
        axes.fill_between(grid, low, high, color=color, alpha=0.12, linewidth=0)
    axes.set(xscale="log", ylim=(0.4, 1.005), xlabel="device seconds (from the table)",
             ylabel="share of the true hypervolume", xlim=(start, facts["limit"]))
    axes.set_title(facts["source"], fontsize=8, wrap=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quality", type=Path, help="a journal of record_quality.py")
    parser.add_argument("--shuffle", type=int, help="deal quality anew with this seed")
    parser.add_argument("--searches", nargs="+", choices=list(MODES), default=list(MODES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--limit", type=float, default=0.05, help="share of the grid's seconds")
    parser.add_argument("--quick", action="store_true", help="a small grid, two seeds")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    table = search_table.load(options.quality, options.quick, options.shuffle)
    bench = Bench(table)
    limit = (0.5 if options.quick else options.limit) * table.whole_seconds
    seeds = 2 if options.quick else options.seeds
    runs = []
    for name in options.searches:
        runs += [one(name, bench, seed, limit) for seed in range(seeds)]
        print(name, runs[-1]["reached"], runs[-1]["trials"], "trials", flush=True)
    facts = {"schema_version": 1, "source": table.source, "seeds": seeds, "limit": limit,
             "grid_seconds": table.whole_seconds, "summary": summary(runs),
             "environment": machine.describe("cpu")}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "search.json").write_text(json.dumps({**facts, "runs": runs}) + "\n")
    (options.out / "search.txt").write_text(text(table, runs, facts))
    plot(runs, facts, options.out / "search.png")
    print(text(table, runs, facts), end="")


if __name__ == "__main__":
    main()
