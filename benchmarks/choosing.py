"""Labels needed for an accurate front: pairs chosen by `FrontChooser` against random pairs.

SIMULATED raters (`raters.py`) of published noise and strong taste of their own answer pairs of 53
settings' pictures, made for 48 prompts. Both ways of choosing draw from the same pool, both get
the same rater, and both are judged by the same estimate: the chooser's belief after the answers,
which starts from the regressor in the package (damage only, no label).

**Error of the front**, averaged over time budgets spread evenly in log seconds: what the setting
that is believed best within a budget truly wins less than the truly best one (the hypervolume
that the chosen front lacks, two objectives, normalised), plus by how much its believed win rate
is off. Unit: win rate. True win rates are the rater's own chances against the default, on the
labelled prompts; the same on 48 held-out prompts stands beside. With `--fit` the same answers
are also given to what `ldmopt fit` uses (`PreferenceRegressor`, all of it chosen by
cross-validation), and its win rates are judged alike. The target is .05, the margin of
the rulebook; where only one way reaches it, the other's labels are "more than" the most tried.

    python benchmarks/choosing.py [--raters 60] [--labels 400] [--fit] [--json FILE] [--plot FILE]

Raters of seeds 0 to 23 were used while the chooser was built; here come those from 100 on. Exit
code 1 when random pairs need less than twice the labels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from raters import CACHE, PictureSet, Rater, picture_set, raters

from ldmopt.contracts import BlockWin, Cost, Setting, Trial
from ldmopt.distillation.intervals import win_rate
from ldmopt.labeling import belief as beliefs
from ldmopt.labeling import design
from ldmopt.labeling.choose import Chooser, Offer, RandomChooser
from ldmopt.labeling.front import FrontChooser
from ldmopt.labeling.pool import Front, Pool, front_of
from ldmopt.labels import Pair

Floats = NDArray[np.float64]
FIRST_SEED = 100
AT_ONCE = 10
TARGET = 0.05
NEEDED = 2.0
NEAR = 0.03
FITTED_AT = (50, 100, 200, 400)
FIGURES = {
    "error": "error of the front",
    "loss": "lost by the choice",
    "promise": "stated win rate off by",
    "near": "win rates on or near the front, RMSE",
    "held_out_loss": "lost by the choice, held-out prompts",
    "held_out_promise": "stated win rate off by, held-out prompts",
}


@dataclass(frozen=True, eq=False)
class World:
    """What is the same for all raters.

    Attributes:
        pictures: the set.
        front: settings, pictures, costs.
        pool: what may be asked.
        priors: beliefs before any answer.
        features: `(pictures, columns)` of the front's pictures: the regressor's value, statistics.
        allowed: budgets x settings.
        weights: of the budgets.
    """

    pictures: PictureSet
    front: Front
    pool: Pool
    priors: list[beliefs.Belief]
    features: Floats
    allowed: NDArray[np.bool_]
    weights: Floats


def world(pictures: PictureSet) -> World:
    """Look at the pictures of the search prompts; what the regressor sees is cached."""
    columns = np.flatnonzero(~pictures.held_out)
    rows = [[row[column] for column in columns] for row in pictures.pictures]
    blocks = [picture.block for picture in rows[0]]
    values, features = _seen(pictures, rows)
    chances = 1.0 / (1.0 + np.exp(np.clip(values[:1] - values, -40, 40)))
    trials = [
        Trial(
            number,
            Setting({"take": str(take)}),
            Cost(float(seconds), float(seconds)),
            win_rate([BlockWin(block.prompt, block.seed, float(win))
                      for block, win in zip(blocks, chances[number], strict=True)]),
            tuple(str(pictures.digests[number, column]) for column in columns),
        )
        for number, (take, seconds) in enumerate(
            zip(pictures.takes, pictures.seconds, strict=True)
        )
    ]
    front = front_of(trials, blocks, range(len(blocks)))
    assert front is not None and len(front.layout.pictures) == len(trials)
    place = {digest: pictures.place[digest] for digest in front.digests}
    at = [(setting, int(np.searchsorted(columns, prompt))) for setting, prompt in place.values()]
    flat = np.array([setting * len(columns) + column for setting, column in at])
    priors = beliefs.priors(
        values.ravel()[flat], features[flat], front.block, front.layout.pictures[0], front.look
    )
    pool = Pool({block: tuple(dict.fromkeys(str(pictures.digests[row, column])
                                            for row in range(len(rows))))
                 for block, column in zip(blocks, columns, strict=True)})
    table = np.concatenate([values.ravel()[flat][:, None], features[flat]], axis=1)
    return World(pictures, front, pool, priors, table, *design.budgets(front.layout))


def _seen(pictures: PictureSet, rows: list[list[Any]]) -> tuple[Floats, Floats]:
    """Return the regressor's values, settings x prompts, and statistics, pictures x columns."""
    from ldmopt.scorers import default, encoders

    regressor, encoder = default(), encoders.load("statistics")
    key = f"{regressor.digest} {encoder.encoder.identity['digest']} {pictures.digests.tolist()}"
    path = CACHE / f"seen-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    if not path.exists():
        flat = [picture for row in rows for picture in row]
        scores = [score.value if score else np.nan for score in regressor.score(flat)]
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=np.array(scores).reshape(len(rows), -1),
                 features=encoder.features(flat))
    with np.load(path, allow_pickle=False) as stored:
        return stored["values"].astype(np.float64), stored["features"].astype(np.float64)


def judged(world: World, rater: Rater, believed: Floats) -> dict[str, float]:
    """Return the figures of one estimate of all settings' win rates."""
    own = rater.utility(world.pictures)
    chance = rater.chance(own - own[:1])
    held_out = world.pictures.held_out
    true, other = chance[:, ~held_out].mean(axis=1), chance[:, held_out].mean(axis=1)
    choice = np.where(world.allowed, believed, -np.inf).argmax(axis=1)
    best = np.where(world.allowed, true, -np.inf).max(axis=1)
    reach = np.array([best[column].min() for column in world.allowed.T])
    near = true >= reach - NEAR
    found = {
        "loss": float(world.weights @ (best - true[choice])),
        "promise": float(world.weights @ np.abs(believed[choice] - true[choice])),
        "near": float(np.sqrt(np.mean((believed - true)[near] ** 2))),
        "held_out_loss": float(world.weights @ (
            np.where(world.allowed, other, -np.inf).max(axis=1) - other[choice])),
        "held_out_promise": float(world.weights @ np.abs(believed[choice] - other[choice])),
    }
    return {"error": found["loss"] + found["promise"], **found}


def fitted(world: World, answers: list[Pair]) -> Floats:
    """Return each setting's win rate by what `ldmopt fit` learns from these answers."""
    from ldmopt.scorers.preference.estimator import Pairs, PreferenceRegressor

    rows = {digest: row for row, digest in enumerate(world.front.digests)}
    left, right = ([rows[getattr(pair, side)] for pair in answers] for side in ("left", "right"))
    pairs = Pairs(world.features[left], world.features[right],
                  np.array([pair.win for pair in answers]), group=[pair.prompt for pair in answers])
    found = PreferenceRegressor(base=True).fit(None, pairs=pairs, background=world.features[::4])
    looks = world.front.layout.pictures
    against = world.features[looks[0]]
    return np.array([found.preference(world.features[row], against).mean() for row in looks])


def asked(
    world: World, rater: Rater, way: str, labels: int, fit: bool = False
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Ask one simulated rater, ten pairs at a time.

    Returns:
        The figures of the chooser's own belief after each ten, and those of `fitted` at
        `FITTED_AT` where they are wanted.
    """
    judge = FrontChooser(world.pool, world.front, world.priors, seed=rater.seed)
    chooser: Chooser = judge if way == "chosen" else RandomChooser(world.pool, rater.seed)
    answers: list[Pair] = []
    found, of_fit = [judged(world, rater, judge.win_rates())], []
    while len(answers) < labels:
        offers = chooser.offers(AT_ONCE, answers)
        answers += rater.choose(world.pictures, [_where(world, offer) for offer in offers])
        found.append(judged(world, rater, judge.win_rates(answers)))
        if fit and len(answers) in FITTED_AT:
            of_fit.append(judged(world, rater, fitted(world, answers)))
    return found, of_fit


def _where(world: World, offer: Offer) -> tuple[tuple[int, int], tuple[int, int]]:
    return world.pictures.place[offer.left], world.pictures.place[offer.right]


def reached(curve: Floats, target: float) -> int | None:
    """Return after how many labels a curve is at the target and stays there, or None."""
    above = np.flatnonzero(curve > target)
    first = int(above[-1]) + 1 if len(above) else 0
    return first * AT_ONCE if first < len(curve) else None


def quartiles(runs: Floats) -> dict[str, list[float]]:
    """Return quartiles, median and mean over raters, `(raters, labels)`."""
    found = {name: np.quantile(runs, level, axis=0).round(5).tolist()
             for name, level in (("low", 0.25), ("median", 0.5), ("high", 0.75))}
    return {**found, "mean": runs.mean(axis=0).round(5).tolist()}


def summary(curves: dict[str, dict[str, Floats]], target: float) -> dict[str, Any]:
    """Return medians with quartiles, the labels to the target, and to random's own accuracy."""
    figures: dict[str, Any] = {}
    for name in FIGURES:
        figures[name] = {way: quartiles(found[name]) for way, found in curves.items()}
    medians = {way: np.median(found["error"], axis=0) for way, found in curves.items()}
    figures["labels_to_target"] = {way: reached(curve, target) for way, curve in medians.items()}
    figures["labels_to_target_of_mean"] = {
        way: reached(found["error"].mean(axis=0), target) for way, found in curves.items()
    }
    figures["ratio"] = ratios(curves, target)
    figures["as_good_as_random"] = [
        {"random": count, "error": float(medians["random"][count // AT_ONCE:].max()),
         "chosen": reached(medians["chosen"], float(medians["random"][count // AT_ONCE:].max()))}
        for count in (50, 100, 200, 300, 400) if count < AT_ONCE * len(medians["random"])
    ]
    return figures


def ratios(curves: dict[str, dict[str, Floats]], target: float) -> dict[str, dict[str, float]]:
    """Return how many times the labels random pairs need, over resampled raters (bootstrap).

    A way that never gets there counts as needing all the labels that were tried, so a ratio is
    the least that it can be. For the median and the mean error: share of resamples with at least
    `NEEDED`, and the 5, 50 and 95 % points.
    """
    rng = np.random.default_rng(0)
    people, steps = curves["random"]["error"].shape
    found: dict[str, list[float]] = {"median": [], "mean": []}
    for _ in range(1000):
        drawn = rng.integers(0, people, people)
        for name, middle in (("median", np.median), ("mean", np.mean)):
            counts = [reached(middle(curves[way]["error"][drawn], axis=0), target)
                      for way in ("random", "chosen")]
            random, chosen = ((steps - 1) * AT_ONCE if n is None else max(n, AT_ONCE)
                              for n in counts)
            found[name].append(random / chosen)
    return {
        name: {"share": float(np.mean(np.array(values) >= NEEDED)),
               **{f"p{q}": float(np.quantile(values, q / 100)) for q in (5, 50, 95)}}
        for name, values in found.items()
    }


def plot(figures: dict[str, Any], target: float, path: Path) -> None:
    """Draw the error, and its two parts, against the number of labels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    for axis, name in zip(axes, ("error", "loss", "promise"), strict=True):
        for way, colour in (("random", "#b45f06"), ("chosen", "#1f5fa8")):
            row = figures[name][way]
            labels = AT_ONCE * np.arange(len(row["median"]))
            axis.fill_between(labels, row["low"], row["high"], color=colour, alpha=0.15, lw=0)
            axis.plot(labels, row["median"], color=colour, lw=2,
                      label="random pairs" if way == "random" else "chosen pairs")
            axis.plot(labels, row["mean"], color=colour, lw=1, ls=":")
        axis.set_xlabel("labels (pairs answered)")
        axis.set_ylabel("win rate")
        axis.set_title(FIGURES[name], fontsize=11)
        axis.set_ylim(bottom=0)
        axis.set_xlim(0, labels[-1])
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].axhline(target, color="0.35", lw=1, ls="--", label=f"target {target:g}")
    axes[0].legend(frameon=False)
    figure.suptitle(f"{figures['raters']} SIMULATED raters of published noise and strong taste; "
                    "median and quartiles, dotted: mean", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Ask, print, and return 0 when chosen pairs need at most half the labels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--raters", type=int, default=60)
    parser.add_argument("--labels", type=int, default=400)
    parser.add_argument("--ordinary", action="store_true", help="raters of ordinary taste")
    parser.add_argument("--fit", action="store_true", help="judge by ldmopt fit's estimator too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    chosen = parser.parse_args()
    place = world(picture_set())
    started = time.monotonic()
    people = [raters(1, FIRST_SEED + n, not chosen.ordinary)[0] for n in range(chosen.raters)]
    curves: dict[str, dict[str, Floats]] = {}
    of_fit: dict[str, dict[str, Any]] = {}
    for way in ("random", "chosen"):
        runs = [asked(place, rater, way, chosen.labels, chosen.fit) for rater in people]
        curves[way], of_fit[way] = (
            {name: np.array([[at[name] for at in run[kind]] for run in runs]) for name in FIGURES}
            for kind in (0, 1)
        )
    figures = summary(curves, TARGET)
    if chosen.fit:
        figures["ldmopt_fit"] = {
            "labels": [n for n in FITTED_AT if n <= chosen.labels],
            **{way: {name: quartiles(found) for name, found in rows.items()}
               for way, rows in of_fit.items()},
        }
    figures |= {"simulated": True, "raters": chosen.raters, "labels": chosen.labels,
                "target": TARGET, "pairs_in_pool": len(place.pool)}
    show(figures, time.monotonic() - started)
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    if chosen.plot:
        plot(figures, TARGET, chosen.plot)
    needed = figures["labels_to_target"]
    random = needed["random"] if needed["random"] is not None else chosen.labels
    return 0 if needed["chosen"] is not None and random >= NEEDED * needed["chosen"] else 1


def show(figures: dict[str, Any], seconds: float) -> None:
    """Print the curves and the verdict."""
    steps = [n for n in (0, 20, 50, 100, 200, 300, 400) if n <= figures["labels"]]
    print(f"{figures['raters']} SIMULATED raters, {figures['pairs_in_pool']} pairs in the pool, "
          f"{seconds:.0f} s. Median (quartiles; mean) after so many labels:")
    for name, words in FIGURES.items():
        print(words)
        for way in ("random", "chosen"):
            row = figures[name][way]
            cells = [f"{n}: {row['median'][n // AT_ONCE]:.3f} ({row['low'][n // AT_ONCE]:.3f} "
                     f"{row['high'][n // AT_ONCE]:.3f}; {row['mean'][n // AT_ONCE]:.3f})"
                     for n in steps]
            print(f"  {way:7s} " + "  ".join(cells))
    needed = figures["labels_to_target"]
    words = {way: f"more than {figures['labels']}" if n is None else str(n)
             for way, n in needed.items()}
    print(f"labels until the median error is {figures['target']:g} and stays there: "
          f"chosen {words['chosen']}, random {words['random']}")
    of_mean = {way: f"more than {figures['labels']}" if n is None else str(n)
               for way, n in figures["labels_to_target_of_mean"].items()}
    print(f"  the mean error: chosen {of_mean['chosen']}, random {of_mean['random']}")
    for name, row in figures["ratio"].items():
        print(f"  ratio by the {name}, raters resampled: {row['p50']:.1f} ({row['p5']:.1f} to "
              f"{row['p95']:.1f}), at least {NEEDED:g} in {row['share']:.0%}")
    for row in figures["as_good_as_random"]:
        print(f"  as good as {row['random']} random labels (error {row['error']:.3f}): "
              f"{row['chosen']} chosen")
    for name in ("error", "loss", "promise") if "ldmopt_fit" in figures else ():
        for way in ("random", "chosen"):
            row = figures["ldmopt_fit"][way][name]
            cells = [f"{n}: {a:.3f} ({b:.3f} {c:.3f}; {d:.3f})" for n, a, b, c, d in zip(
                figures["ldmopt_fit"]["labels"], row["median"], row["low"], row["high"],
                row["mean"], strict=True)]
            print(f"by ldmopt fit's estimator, {FIGURES[name]}: {way:7s} " + "  ".join(cells))


if __name__ == "__main__":
    sys.exit(main())
