"""How well taste is learned from SIMULATED raters, and how fast.

    python benchmarks/taste.py [--part NAME ...] [--seeds 30] [--json FILE] [--out FOLDER]

- ``speed``: 10,000 pairs on 5,000 made-up pictures of 512 features, cross-validation and choice
  of the map included; wall and processor seconds and the peak memory of a process that does
  nothing else.
- ``ratings``: `PreferenceRegressor` against scikit-learn's ridge (standardised features, penalty
  by cross-validation over prompts) on the same features of rated miniature pictures, in
  cross-validation by prompt: ratings as that rater's (rank correlation, error), and pairs of
  ratings of one rater and prompt. Also with the rater unknown, where the raters' habits, which a
  ridge cannot see, are of no use. Intervals are 95 %, from resampled prompts.
- ``reach``: 100 pairs bring the held-out pairwise accuracy to within 3 points of the ceiling.
  Raters are those of `benchmarks/raters.py` (one against the mean of the rest .58). The ceiling is
  the accuracy of the true utility on the same held-out, noisy answers. Three questions: *panel*,
  22 raters answer in turn, and the truth is what they have in common: it is held against the 3
  points. Nothing is asked of the others: *own*, one rater answers, and the truth is that rater's
  own lasting utility, private likings included; *strong*, as own, by a rater who also likes
  pictures brighter or darker, more or less colourful than others of a prompt. Pairs are of one
  prompt and two settings at random; ties are left out of accuracies. Prompts of training and test
  are disjoint. Three lines: from the package's *prior*; from *prior + caption*, the prior and the
  similarity of picture and caption (the miniature's CLIP towers, which no label trained), one
  deviation of each (unit weights, Dawes 1979); and *as fit does*, with captions unless the labels
  are in better order without (`ldmopt.scorers.taste.learning`); without labels the prior.

Every rater here is simulated; the raters' truth is a stated function of what a classifier sees
of the caption and of measured damage, and no column of it is given to the regressor.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.preference.choice import surely_less
from ldmopt.scorers.preference.estimator import Pairs, PreferenceRegressor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
COUNTS = (10, 25, 50, 100, 200, 400)
ASKED = 100
WITHIN_POINTS = 3.0
TESTED = 4000
RATERS = 22
PARTS = ("speed", "ratings", "reach")
COLOURS = ("#b3541e", "#8aa9cc", "#1f5fa8")
FIT = "as fit does"
QUESTIONS = ("own", "panel", "strong")


def part_speed(report: dict[str, Any], args: argparse.Namespace) -> None:
    """10,000 pairs, 5,000 pictures, 512 features, in a process of its own."""
    command = [sys.executable, __file__, "--part", "speed-alone"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report["speed"] = found = json.loads(done.stdout)
    print(
        f"speed: 10,000 pairs on 5,000 pictures of 512 features in {found['seconds']:.1f} s"
        f" ({found['processor_seconds']:.1f} s of processor), chose {found['chosen']}"
    )
    verdict(report, "under 30 s", found["seconds"] < 30, f"{found['seconds']:.1f} s")
    gib = found["peak_bytes"] / 2**30
    verdict(report, "under 2 GiB", gib < 2, f"{gib:.2f} GiB")


def speed_alone(rated: int = 5000, pairs: int = 10_000, columns: int = 512) -> dict[str, Any]:
    """Fit once and return the figures."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(rated, 40))
    features = hidden @ rng.normal(size=(40, columns)) + rng.normal(size=(rated, columns))
    features = features.astype(np.float32)
    utility = hidden[:, 0] + hidden[:, 1] * hidden[:, 2] + np.sin(2 * hidden[:, 3])
    left = rng.integers(0, rated, pairs)
    right = left // 25 * 25 + rng.integers(0, 25, pairs)
    chance = 1 / (1 + np.exp(utility[right] - utility[left]))
    win = (rng.random(pairs) < chance).astype(float)
    win[rng.random(pairs) < 0.1] = 0.5
    names = [f"simulated-{number % 5}" for number in range(pairs)]
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    known = PreferenceRegressor().fit(
        None, pairs=Pairs(features[left], features[right], win, names, left // 25)
    )
    seconds, now = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "processor_seconds": now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        "peak_bytes": now.ru_maxrss * 1024,
        "chosen": known.chosen_,
    }


@dataclass(frozen=True, eq=False)
class World:
    """Pictures of the simulated raters' set, flattened: setting by setting, prompt by prompt.

    Attributes:
        set_: the set of `raters.picture_set`.
        prompt: `(n,)`.
        held: `(n,)` pictures of prompts that nothing is learned from.
        truth: `(n,)` what the raters have in common.
        members: `(members, n)` the package's regressor's values.
        noise: variance of a difference beyond the members' spread.
        axes: `(n, k)` the regressor's main axes.
        statistics: `(n, d)`.
        similarity: `(n,)` of picture and caption.
    """

    set_: Any
    prompt: Ints
    held: NDArray[np.bool_]
    truth: Floats
    members: Floats
    noise: float
    axes: Floats
    statistics: Floats
    similarity: Floats

    @property
    def settings(self) -> int:
        """The number of settings."""
        return len(self.set_.takes)

    @property
    def prior(self) -> Floats:
        """The day-zero value of each picture, in logits."""
        return np.asarray(self.members.mean(axis=0))

    @property
    def bases(self) -> dict[str, Floats]:
        """What a taste may start from, in logits."""
        unit = self.prior.std()
        moved = unit * (self.similarity - self.similarity.mean()) / self.similarity.std()
        return {"prior": self.prior, "prior + caption": self.prior + moved}

    def pairs(self, rng: np.random.Generator, count: int, *, held: bool) -> tuple[Ints, Ints]:
        """Draw pairs of one prompt and two settings."""
        prompts = np.flatnonzero(self.set_.held_out == held)
        prompt, settings = rng.choice(prompts, count), self.settings
        left = rng.integers(0, settings, count)
        right = (left + rng.integers(1, settings, count)) % settings
        return left * len(self.set_.held_out) + prompt, right * len(self.set_.held_out) + prompt

    def spread(self, left: Ints, right: Ints) -> Floats:
        """Return what the prior does not know of each difference."""
        moved = self.members[:, left] - self.members[:, right]
        return np.asarray(moved.var(axis=0, ddof=1) + self.noise)


def world() -> World:
    """Return the set with the features that the package's regressor works with."""
    from raters import picture_set

    from ldmopt.scorers import default, encoders
    from ldmopt.scorers.alignment import load_alignment

    pictures, regressor = picture_set(), default()
    aligned = load_alignment("auto", "miniature")
    assert aligned is not None
    flat = [picture for row in pictures.pictures for picture in row]
    statistics = encoders.load("statistics").features(flat)
    settings, prompts = pictures.truth.shape
    prompt = np.tile(np.arange(prompts), settings)
    return World(
        pictures,
        prompt,
        pictures.held_out[prompt],
        pictures.truth.ravel(),
        regressor.prior(statistics),
        regressor.noise,
        regressor.space(statistics),
        statistics.astype(np.float64),
        np.array(aligned.similarity(flat), np.float64),
    )


class Panel:
    """Simulated raters who answer in turn; or one, who answers alone."""

    def __init__(self, seen: World, seed: int, *, alone: bool, strong: bool = False) -> None:
        """Draw them."""
        from raters import BOTH_BAD, TIE, raters

        people = raters(RATERS, seed, strong)
        self.people = people[:1] if alone else people
        self.names = np.array([person.name for person in self.people])
        self.lasting = np.array([person.utility(seen.set_).ravel() for person in self.people])
        self.noise = np.array([person.noise for person in self.people])
        self.truth = self.lasting[0] if alone else seen.truth
        self.tie, self.bad = TIE, BOTH_BAD

    def answers(
        self, rng: np.random.Generator, left: Ints, right: Ints
    ) -> tuple[Floats, NDArray[np.str_]]:
        """Return wins of left, ties half, and who said so."""
        who = rng.integers(0, len(self.people), len(left))
        moment = rng.normal(size=(2, len(left))) * self.noise[who]
        a, b = self.lasting[who, left] + moment[0], self.lasting[who, right] + moment[1]
        tied = (np.abs(a - b) < self.tie) | (np.maximum(a, b) < self.bad)
        return np.where(tied, 0.5, (a > b).astype(float)), self.names[who]


def accuracy(utility: Floats, left: Ints, right: Ints, win: Floats) -> float:
    """Return how often a utility orders decided pairs as they were answered; equal is half."""
    decided = win != 0.5
    gap = np.sign(utility[left] - utility[right])[decided]
    return float(np.mean(0.5 + 0.5 * gap * (2 * win[decided] - 1)))


def part_ratings(report: dict[str, Any], args: argparse.Namespace) -> None:
    """The estimator against a ridge on the same features, in cross-validation by prompt."""
    seen = world()
    columns = {
        "statistics": (seen.statistics, False),
        "prior and axes": (np.column_stack([seen.prior, seen.axes]), True),
    }
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in columns}
    for seed in range(min(args.seeds, 10)):
        rated = ratings(seen, seed)
        for name, (features, base) in columns.items():
            tables[name].append(cross_validated(rated, features, seen.prompt, base=base))
    report["ratings"] = {}
    for name, rows in tables.items():
        report["ratings"][name] = told = compared(rows)
        print(f"\nratings, {name}: {len(rows)} draws of {len(rows[0]['rating'])} ratings")
        for measure, each in told.items():
            print(
                f"  {measure:24s} ridge {each['ridge']:.4f}, fitted {each['fitted']:.4f}, better by"
                f" {each['better']:.4f} [{each['low']:.4f}, {each['high']:.4f}]"
            )
            if "unknown" not in measure:
                evidence = f"{each['better']:.4f} [{each['low']:.4f}, {each['high']:.4f}]"
                verdict(report, f"{name}: beats ridge, {measure}", each["low"] > 0, evidence)
        inside = float(np.mean(np.concatenate([row["inside"] for row in rows])))
        rule = f"{name}: 90 % intervals hold 85 to 95 %"
        verdict(report, rule, 0.85 <= inside <= 0.95, f"{100 * inside:.1f} %")


def ratings(seen: World, seed: int, pictures: int = 4, each: int = 3) -> dict[str, Any]:
    """Let simulated raters rate pictures of every prompt, each prompt judged by some of them.

    Args:
        seen: the pictures.
        seed: of raters and pictures.
        pictures: how many of each prompt.
        each: raters of each prompt.
    """
    from raters import HIGH, LOW, raters

    rng, people = np.random.default_rng([19, seed]), raters(RATERS, seed)
    prompts = len(seen.set_.held_out)
    where = np.concatenate([
        rng.choice(seen.settings, pictures, replace=False) * prompts + prompt
        for prompt in range(prompts)
    ])  # fmt: skip
    rows = np.repeat(where, each)
    of_prompt = [rng.choice(RATERS, each, replace=False) for _ in range(prompts)]
    who = np.concatenate([who for who in of_prompt for _ in range(pictures)])
    lasting = np.array([person.utility(seen.set_).ravel() for person in people])
    noise = np.array([person.noise for person in people])
    drawn = [person._drawn for person in people]
    offset = np.array([each["offset"] for each in drawn])
    scale = np.array([each["scale"] for each in drawn])
    felt = lasting[who, rows] + rng.normal(size=len(rows)) * noise[who]
    value = np.clip(np.round(offset[who] + scale[who] * felt), LOW, HIGH)
    return {"row": rows, "rating": value, "rater": np.array([people[j].name for j in who])}


def cross_validated(
    rated: dict[str, Any], features: Floats, prompt: Ints, *, base: bool
) -> dict[str, Any]:
    """Return ratings as both models predict them without their prompt."""
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, rater = features[rated["row"]], rated["rating"], rated["rater"]
    group = prompt[rated["row"]]
    found = {name: np.zeros(len(y)) for name in ("ridge", "fitted", "known", "deviation")}
    for train, test in GroupKFold(5, shuffle=True, random_state=0).split(x, y, group):
        plain = make_pipeline(StandardScaler(), Ridge())
        grid = {"ridge__alpha": np.logspace(0, 5, 16)}
        model = GridSearchCV(plain, grid, cv=GroupKFold(5), scoring="neg_mean_squared_error")
        found["ridge"][test] = model.fit(x[train], y[train], groups=group[train]).predict(x[test])
        known = PreferenceRegressor(base=base).fit(
            x[train], y[train], raters=rater[train], groups=group[train], background=features
        )
        found["fitted"][test] = known.predict(x[test])
        for name in np.unique(rater[test]):
            own = test[rater[test] == name]
            found["known"][own], found["deviation"][own] = known.predict_rating(
                x[own], name, return_std=True
            )
    inside = np.abs(y - found["known"]) < 1.6448536 * found["deviation"]
    return {**found, "rating": y, "rater": rater, "group": group, "inside": inside}


def compared(rows: list[dict[str, Any]], resamples: int = 300) -> dict[str, dict[str, float]]:
    """Return each measure of both models, and by how much ours is better, over prompts."""
    rng = np.random.default_rng(0)
    groups = np.unique(rows[0]["group"])
    draws = [groups, *(rng.choice(groups, len(groups)) for _ in range(resamples))]
    result = {}
    for name, measure, sign, ours in (
        ("spearman", spearman, 1.0, "known"),
        ("rmse", rmse, -1.0, "known"),
        ("pairs of a prompt", within_prompts, 1.0, "fitted"),
        ("spearman, rater unknown", spearman, 1.0, "fitted"),
        ("rmse, rater unknown", rmse, -1.0, "fitted"),
    ):
        values = np.array([
            [np.mean([measure(row[model], row, draw) for row in rows]) for model in ("ridge", ours)]
            for draw in draws
        ])  # fmt: skip
        better = sign * (values[:, 1] - values[:, 0])
        low, high = np.quantile(better[1:], [0.025, 0.975])
        result[name] = {
            "ridge": float(values[0, 0]),
            "fitted": float(values[0, 1]),
            "better": float(better[0]),
            "low": float(low),
            "high": float(high),
        }
    return result


def _drawn(row: dict[str, Any], draw: Ints) -> Ints:
    """Return how often each rating counts when these prompts were drawn."""
    return np.bincount(draw, minlength=row["group"].max() + 1)[row["group"]]


def spearman(predicted: Floats, row: dict[str, Any], draw: Ints) -> float:
    """Return the rank correlation with the ratings."""
    from scipy.stats import rankdata

    times = _drawn(row, draw)
    first, second = np.repeat(predicted, times), np.repeat(row["rating"], times)
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def rmse(predicted: Floats, row: dict[str, Any], draw: Ints) -> float:
    """Return the root of the mean squared error."""
    times = _drawn(row, draw)
    return float(np.sqrt((times * (predicted - row["rating"]) ** 2).sum() / times.sum()))


def within_prompts(predicted: Floats, row: dict[str, Any], draw: Ints) -> float:
    """Return how often two ratings of one rater and prompt are ordered as they were given."""
    _, rater = np.unique(row["rater"], return_inverse=True)
    key = row["group"] * (rater.max() + 1) + rater
    order = np.argsort(key, kind="stable")
    counts, right, total = _drawn(row, draw), 0.0, 0.0
    for shift in range(1, np.bincount(key).max()):
        first, second = order[:-shift], order[shift:]
        gap = row["rating"][first] - row["rating"][second]
        times = counts[first] * ((key[first] == key[second]) & (gap != 0))
        seen = np.sign(predicted[first] - predicted[second])
        right += (times * (0.5 + 0.5 * seen * np.sign(gap))).sum()
        total += times.sum()
    return float(right / total)


def part_reach(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Accuracy on held-out prompts against labels, and the must-reach."""
    seen = world()
    report["reach"] = {}
    for question in args.question:
        rows = [reached(seen, question, seed) for seed in range(args.seeds)]
        report["reach"][question] = told = {
            start: summary([row[start] for row in rows]) for start in (*seen.bases, FIT)
        }
        for start, each in told.items():
            _print_reach(f"{question}, from {start}", each)
            gap = each["gap"][str(ASKED)]
            if start != FIT or question != "panel":
                continue
            verdict(
                report,
                f"{question}, from {start}: {ASKED} pairs within {WITHIN_POINTS:g} points",
                gap["mean"] <= WITHIN_POINTS,
                f"{gap['mean']:.2f} [{gap['low']:.2f}, {gap['high']:.2f}], {args.seeds} seeds;"
                f" no labels {each['gap']['0']['mean']:.2f}",
            )
    args.out.mkdir(parents=True, exist_ok=True)
    plot(report["reach"], args.out / "taste-reach.png")


def reached(seen: World, question: str, seed: int) -> dict[str, dict[str, Any]]:
    """Return one draw's accuracies: of the ceiling, no labels, and every number of labels."""
    rng = np.random.default_rng([17, seed])
    panel = Panel(seen, seed, alone=question != "panel", strong=question == "strong")
    left, right = seen.pairs(rng, max(COUNTS), held=False)
    win, names = panel.answers(rng, left, right)
    test = seen.pairs(rng, TESTED, held=True)
    said, _ = panel.answers(rng, *test)
    ridges = {
        f"ridge {n}": accuracy(
            ridge_of_pairs(seen.statistics, left[:n], right[:n], win[:n]), *test, said
        )
        for n in COUNTS
    }
    rows: dict[str, dict[str, Any]] = {}
    wrong: dict[int, list[Floats]] = {count: [] for count in COUNTS}
    for start, base in seen.bases.items():
        table = np.column_stack([base, seen.axes])
        rows[start] = row = {
            "ceiling": accuracy(panel.truth, *test, said),
            "prior": accuracy(base, *test, said),
            **ridges,
        }
        for count in COUNTS:
            a, b = left[:count], right[:count]
            known = PreferenceRegressor(base=True).fit(
                None,
                pairs=Pairs(
                    table[a], table[b], win[:count], names[:count], seen.prompt[a],
                    seen.spread(a, b),
                ),
                background=table,
            )  # fmt: skip
            row[f"fitted {count}"] = accuracy(known.utility(table), *test, said)
            row[f"chosen {count}"] = known.chosen_
            wrong[count].append(known.cross_validated_.misordered_by_base())
    rows[FIT] = fit = dict(rows["prior"])
    for count, (alone, captioned) in wrong.items():
        start = "prior" if surely_less(alone, captioned) else "prior + caption"
        fit[f"fitted {count}"] = rows[start][f"fitted {count}"]
        fit[f"chosen {count}"] = f"{start}: {rows[start][f'chosen {count}']}"
    return rows


def ridge_of_pairs(features: Floats, left: Ints, right: Ints, win: Floats) -> Floats:
    """Return the utility of a plain ridge on the differences of statistics, for comparison."""
    from sklearn.linear_model import RidgeCV

    scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    model = RidgeCV(np.logspace(0, 6, 13), fit_intercept=False)
    return np.asarray(scaled @ model.fit(scaled[left] - scaled[right], win - 0.5).coef_)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean accuracies, gaps to the ceiling in points with intervals, and choices."""
    mean = {
        name: float(np.mean([row[name] for row in rows])) for name in rows[0]
        if not name.startswith("chosen")
    }  # fmt: skip
    gaps = {}
    for count in (0, *COUNTS):
        name = f"fitted {count}" if count else "prior"
        points = np.array([100 * (row["ceiling"] - row[name]) for row in rows])
        error = 1.96 * points.std(ddof=1) / np.sqrt(len(points)) if len(points) > 1 else np.nan
        gaps[str(count)] = {
            "mean": float(points.mean()),
            "low": float(points.mean() - error),
            "high": float(points.mean() + error),
        }
    chosen = {str(count): dict(Counter(row[f"chosen {count}"] for row in rows)) for count in COUNTS}
    return {"seeds": len(rows), "accuracy": mean, "gap": gaps, "chosen": chosen}


def _print_reach(question: str, told: dict[str, Any]) -> None:
    mean = told["accuracy"]
    print(f"\n{question}: ceiling {mean['ceiling']:.4f}, no labels {mean['prior']:.4f}")
    print(f"{'pairs':>6s} {'fitted':>7s} {'gap in points':>22s} {'ridge':>7s}  chosen")
    for count in COUNTS:
        gap = told["gap"][str(count)]
        print(
            f"{count:6d} {mean[f'fitted {count}']:7.4f}"
            f" {gap['mean']:7.2f} [{gap['low']:5.2f}, {gap['high']:5.2f}]"
            f" {mean[f'ridge {count}']:7.4f}  {told['chosen'][str(count)]}",
            flush=True,
        )


def plot(told: dict[str, Any], path: Path) -> None:
    """Draw accuracy against labels."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panes = pyplot.subplots(
        1, len(told), figsize=(4 + 3 * len(told), 4.4), sharey=True, squeeze=False
    )
    titles = {
        "own": "One simulated rater",
        "panel": "22 simulated raters, in common",
        "strong": "One of strong taste",
    }
    place = np.arange(1 + len(COUNTS))
    for pane, (question, starts) in zip(panes[0], told.items(), strict=True):
        ceiling = 100 * next(iter(starts.values()))["accuracy"]["ceiling"]
        pane.axhspan(ceiling - WITHIN_POINTS, ceiling, color="#e3edf7", label="within 3 points")
        pane.axhline(ceiling, color="#222222", lw=1.2, label="ceiling: the true utility")
        for (start, part), colour in zip(starts.items(), COLOURS, strict=True):
            gaps = [part["gap"][str(count)] for count in (0, *COUNTS)]
            fitted = np.array([ceiling - gap["mean"] for gap in gaps])
            reach = np.array([(gap["high"] - gap["low"]) / 2 for gap in gaps])
            name = start if start == FIT else f"from {start}"
            if start != FIT:
                pane.axhline(fitted[0], color=colour, ls="--", lw=1, label=f"{start}, no labels")
            pane.errorbar(place, fitted, reach, color=colour, marker="o", ms=4, capsize=3,
                          label=name, lw=2.2 if start == FIT else 1.2)  # fmt: skip
            mean = part["accuracy"]
        ridge = [100 * mean[f"ridge {count}"] for count in COUNTS]
        pane.plot(place[1:], ridge, color="#6b7f3a", marker="s", ms=4, label="ridge on statistics")
        pane.set_xticks(place, [str(count) for count in (0, *COUNTS)])
        pane.set_xlabel("pairs answered")
        pane.set_title(titles[question], fontsize=11)
        pane.spines[["top", "right"]].set_visible(False)
    panes[0][0].set_ylabel("held-out pairs ordered as answered, %")
    handles, labels = panes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.11, 1, 1))
    figure.savefig(path, dpi=140)
    pyplot.close(figure)


def verdict(report: dict[str, Any], name: str, holds: bool, evidence: str) -> None:
    """Print one line of what must hold and keep it."""
    print(f"{'HOLDS ' if holds else 'FAILS '} {name}: {evidence}", flush=True)
    report["holds"].append({"name": name, "holds": bool(holds), "evidence": evidence})


def main() -> int:
    """Run the parts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--part", nargs="+", default=PARTS, choices=[*PARTS, "speed-alone"])
    parser.add_argument("--question", nargs="+", default=QUESTIONS, choices=QUESTIONS)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "figures")
    args = parser.parse_args()
    if "speed-alone" in args.part:
        print(json.dumps(speed_alone()))
        return 0
    report: dict[str, Any] = {"simulated": True, "holds": []}
    for part in args.part:
        {"speed": part_speed, "ratings": part_ratings, "reach": part_reach}[part](report, args)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["holds"] for row in report["holds"]) else 1


if __name__ == "__main__":
    sys.exit(main())
