"""Whether a rulebook can be believed: intervals, verdicts and speed on simulated studies.

Everything here is SIMULATED: wins are drawn with known truth, no picture is made and nobody is
asked. Parts:

- coverage: how often intervals of a win rate, and of a difference of two, hold the truth;
- verdicts: how often a study has any false "worth it", "harmful", "depends" or avoid rule;
- found: how often planted effects, interactions and things to avoid are found;
- speed: seconds and memory of `distill` on so many observations.

    python benchmarks/rulebook.py                    # all, a few minutes
    python benchmarks/rulebook.py --part coverage --intervals 20000
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldmopt.contracts import Setting
from ldmopt.distillation import Constants, avoid, candidates, distill, effects, table
from ldmopt.distillation.contrasts import all_contrasts
from ldmopt.distillation.intervals import mean_limits
from tests.distillation.simulate import Study, grid

PROMPTS = (8, 24, 60)
RATES = (0.5, 0.75, 0.95)
PAIRS = ((0.5, 0.5), (0.75, 0.65), (0.95, 0.95), (0.95, 0.85))
CHUNK = 2000

Draw = Callable[[np.random.Generator, float, tuple[int, int]], np.ndarray]


def coins(seeds: int, precision: float) -> Draw:
    """Wins of 0 and 1 of so many seeds; prompts differ in their chance (inf: they do not)."""

    def draw(rng, rate, shape):
        chance = rate if math.isinf(precision) else rng.beta(
            precision * rate, precision * (1 - rate), shape)
        return rng.binomial(seeds, chance, shape) / seeds

    return draw


def chances(precision: float) -> Draw:
    """Predicted chances, two seeds: their prompt's chance, blurred a little."""

    def draw(rng, rate, shape):
        chance = rng.beta(precision * rate, precision * (1 - rate), shape)
        return rng.beta(40 * chance + 1e-3, 40 * (1 - chance) + 1e-3, (2, *shape)).mean(axis=0)

    return draw


def rare(rng, rate, shape):
    """Nearly 1 on most prompts and nearly 0 on a few, two seeds: as skewed as can be."""
    good = rng.random(shape) < (rate - 0.02) / 0.96
    wins = rng.beta(49, 1, (2, *shape))
    return np.where(good, wins, 1 - wins).mean(axis=0)


def logits(rng, rate, shape):
    """Logistic of a normal prompt's taste of deviation 2, and of a seed's of 0.6."""
    middle = logit_middle(rate)
    taste = rng.normal(middle, 2.0, shape)
    return (1 / (1 + np.exp(-taste - rng.normal(0, 0.6, (2, *shape))))).mean(axis=0)


def logit_middle(rate: float) -> float:
    """The middle at which the mean of `logits` is the rate, by bisection."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = weights @ (1 / (1 + np.exp(-middle - math.hypot(2.0, 0.6) * nodes)))
        low, high = (middle, high) if mean < rate else (low, middle)
    return (low + high) / 2


DRAWS: dict[str, Draw] = {
    "0/1, one seed": coins(1, math.inf), "0/1, two seeds, prompts alike": coins(2, math.inf),
    "0/1, two seeds, prompts differ": coins(2, 3.0), "chances, prompts differ much": chances(2.0),
    "chances, prompts alike": chances(20.0), "mostly 1, rarely 0": rare,
    "logistic, wide": logits,
}  # fmt: skip


def covered(draw: Draw, rate: float, prompts: int, intervals: int, seed: int) -> float:
    """Return the share of intervals that hold the rate."""
    rng, held = np.random.default_rng(seed), 0
    for start in range(0, intervals, CHUNK):
        low, high = mean_limits(draw(rng, rate, (min(CHUNK, intervals - start), prompts)))
        held += int(((low <= rate) & (rate <= high)).sum())
    return held / intervals


def covered_difference(
    draw: Draw, rates: tuple[float, float], prompts: int, intervals: int, seed: int
) -> float:
    """Return the share of intervals of a paired difference that hold it.

    Prompts do the same to both settings: their wins are drawn so that ranks correlate.
    """
    rng, held = np.random.default_rng(seed), 0
    for start in range(0, intervals, CHUNK):
        shape = (min(CHUNK, intervals - start), prompts)
        left, right = (np.sort(draw(rng, rate, shape), axis=1) for rate in rates)
        order = rng.random(shape).argsort(axis=1)
        left = np.take_along_axis(left, order, axis=1)
        right = _half_alike(rng, right, order)
        level = (left + right).mean(axis=1) / 2
        spread = np.clip(8 * level * (1 - level), 1e-6, 1.0)
        low, high = mean_limits(left - right, 0.95, (-1.0, 1.0), spread)
        truth = rates[0] - rates[1]
        held += int(((low <= truth) & (truth <= high)).sum())
    return held / intervals


def _half_alike(rng, sorted_wins, order):
    """Half of the prompts in the same order as the other setting's, the others shuffled."""
    ranks = order.copy()
    half = order.shape[1] // 2
    ranks[:, :half] = np.take_along_axis(
        ranks[:, :half], rng.random((len(ranks), half)).argsort(axis=1), axis=1)
    return np.take_along_axis(sorted_wins, ranks, axis=1)


def coverage(intervals: int) -> None:
    """Print the coverage of every cell."""
    print(f"coverage of 95 % intervals, {intervals} a cell, SIMULATED wins; win rate / prompts")
    cells = [(rate, prompts) for prompts in PROMPTS for rate in RATES]
    print(f"{'':32}" + "".join(f"{rate:g}/{prompts}".rjust(9) for rate, prompts in cells))
    for name, draw in DRAWS.items():
        row = [covered(draw, rate, prompts, intervals, 1) for rate, prompts in cells]
        print(f"{name:32}" + "".join(f"{share:9.3f}" for share in row), flush=True)
    cells = [(rates, prompts) for prompts in PROMPTS for rates in PAIRS]
    print("paired differences of two win rates / prompts")
    print(f"{'':32}" + "".join(f"{a:g}-{b:g}/{n}".rjust(13) for (a, b), n in cells))
    for name, draw in DRAWS.items():
        row = [covered_difference(draw, rates, n, intervals, 2) for rates, n in cells]
        print(f"{name:32}" + "".join(f"{share:13.3f}" for share in row), flush=True)


SAMPLERS = ["pndm", "ddim", "unipc", "dpmpp_2m"]
KINDS: dict[str, dict[str, Any]] = {
    "chances": {}, "0/1": {"binary": True}, "rarely ruined": {"rare": 0.08},
}  # fmt: skip


def small_grid(rng: np.random.Generator) -> list[Setting]:
    """48 settings, every one of a grid."""
    return grid(SAMPLERS, [8, 16, 30, 50], [3.0, 5.0, 7.5])


def scattered(rng: np.random.Generator) -> list[Setting]:
    """48 settings as a search proposes them: no two alike in all but one knob, or hardly any."""
    return [
        Setting(sampler=str(rng.choice(SAMPLERS)), steps=int(rng.integers(4, 51)),
                guidance=round(float(rng.uniform(1, 12)), 2), attention="sdpa")
        for _ in range(48)
    ]  # fmt: skip


DESIGNS = {"grid": small_grid, "scattered": scattered}


def nothing(setting: Setting) -> float:
    """All settings are alike."""
    return 0.0


def steps_alone(setting: Setting) -> float:
    """Only steps count, and few of them do harm."""
    return -4.0 * math.exp(-float(setting["steps"]) / 8.0)


def all_a_little_worse(setting: Setting) -> float:
    """Every setting but the default loses as much as may still be called not worse."""
    return 0.0 if setting["steps"] == 50 and setting["sampler"] == "pndm" else -0.14


TRUTHS = {"nothing": nothing, "steps alone": steps_alone, "all .05 worse": all_a_little_worse}


def rules_of(
    study: Study, settings: Sequence[Setting]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a study's effects and avoid rules."""
    evidence = study.evidence(settings)
    made, constants = table.build(evidence), Constants()
    found = effects.effects(evidence, made, all_contrasts(made), constants)
    return found, avoid.avoid(evidence, made, constants)


def false_verdicts(
    truth: str, found: Sequence[dict[str, Any]], avoided: Sequence[dict[str, Any]]
) -> bool:
    """Whether any verdict is of something that is not there."""
    if truth == "steps alone":
        found = [row for row in found if row["knob"] != "steps"]
        avoided = [row for row in avoided if "steps" not in row["when"]]
    if truth == "all .05 worse":  # against the default there is a difference, a small one
        found = [row for row in found if "pndm" not in (row["from"], row["to"])
                 and 50 not in (row["from"], row["to"])]
    return bool(avoided) or any(
        row["verdict"] in ("worth it", "harmful", "depends") for row in found)


def verdicts(studies: int) -> None:
    """Print the share of studies with any false verdict."""
    print(f"studies with any false verdict, SIMULATED, {studies} a cell, 2 seeds; 95 % upper limit")
    for truth, of in TRUTHS.items():
        for design, settings in DESIGNS.items():
            for kind, more in KINDS.items():
                if of is all_a_little_worse and "rare" in more:
                    continue  # ruined pictures make it more than a little
                for prompts in (8, 24):
                    wrong = 0
                    for number in range(studies):
                        rng = np.random.default_rng([number, prompts])
                        study = Study(prompts, 2, rng, of, **more)
                        wrong += false_verdicts(truth, *rules_of(study, settings(rng)))
                    print(f"{truth:15} {design:10} {kind:14} {prompts:3} prompts: "
                          f"{wrong / studies:.3f} (up to {upper(wrong, studies):.3f})", flush=True)


def upper(hits: int, count: int) -> float:
    """The one-sided 95 % limit of a share (Clopper and Pearson)."""
    from scipy.stats import beta

    return 1.0 if hits == count else float(beta.ppf(0.95, hits + 1, count - hits))


def ten_points(setting: Setting) -> float:
    """A gain of ten points, of one sampler over the other."""
    return 0.29 * (setting["sampler"] == "ddim")


def turning(setting: Setting) -> float:
    """More guidance helps one sampler and harms the other, by about ten points."""
    sign = 1.0 if setting["sampler"] == "ddim" else -1.0
    return sign * 0.29 * float(setting["guidance"] > 4)


def bad_corner(setting: Setting) -> float:
    """One sampler at few steps loses."""
    return -1.5 * float(setting["sampler"] == "ddim" and setting["steps"] <= 12)


def found_planted(studies: int) -> None:
    """Print how often what was planted is found: 60 prompts, 2 seeds, 40 pairs of settings."""
    print(f"planted and found, SIMULATED, {studies} studies a cell, 60 prompts x 2 seeds")
    pairs = grid(["pndm", "ddim"], range(5, 45, 5), [1.0, 3.0, 5.0, 7.0, 9.0])
    for kind, more in KINDS.items():
        hits = dict.fromkeys(("ten points", "interaction, grid", "interaction, scattered",
                              "bad corner"), 0)
        for number in range(studies):
            rng = np.random.default_rng([7, number])
            effect = [row for row in rules_of(Study(60, 2, rng, ten_points, **more), pairs)[0]
                      if row["knob"] == "sampler"]
            hits["ten points"] += effect[0]["verdict"] == "worth it"
            for name, settings in (("grid", pairs), ("scattered", two_samplers(rng))):
                rows, _ = rules_of(Study(60, 2, rng, turning, **more), settings)
                hits[f"interaction, {name}"] += any(interacts(row) for row in rows)
            _, avoided = rules_of(Study(60, 2, rng, bad_corner, **more), pairs)
            hits["bad corner"] += any(
                row["when"].get("sampler") == "ddim" and "steps" in row["when"] for row in avoided)
        told = ", ".join(f"{name} {count / studies:.2f}" for name, count in hits.items())
        print(f"{kind:14} {told}", flush=True)


def two_samplers(rng: np.random.Generator) -> list[Setting]:
    """Scattered settings of two samplers."""
    rows = scattered(rng) + scattered(rng)
    return [row.replace({"sampler": str(rng.choice(["pndm", "ddim"]))}) for row in rows]


def interacts(row: dict[str, Any]) -> bool:
    """Whether an effect is said to depend on the other knob of the planted interaction."""
    split = row["evidence"].get("depends_on")
    return bool(split) and {row["knob"], split["knob"]} == {"sampler", "guidance"}


SHAPES = {"40 settings x 250 prompts x 2": (40, 250, 2), "400 x 25 x 2": (400, 25, 2),
          "2500 x 8 x 1": (2500, 8, 1)}


def speed() -> None:
    """Print how long `distill` takes on 20,000 observations, and the process's peak memory."""
    print("distill on 20,000 SIMULATED observations (settings x prompts x seeds)")
    for name, (count, prompts, seeds) in SHAPES.items():
        rng = np.random.default_rng(0)
        study = Study(prompts, seeds, rng)
        settings = list(dict.fromkeys(
            Setting(sampler=str(rng.choice(SAMPLERS)), steps=int(rng.integers(4, 51)),
                    guidance=float(rng.integers(2, 25)) / 2,
                    attention=str(rng.choice(["sdpa", "eager", "sliced-max"])))
            for _ in range(count)))  # fmt: skip
        searched = study.evidence(settings)
        evidence = study.evidence(settings, candidates(searched, 8))
        wall, busy = time.perf_counter(), time.process_time()
        distill(evidence)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{name:32} {wall:6.1f} s, {busy:6.1f} s of processor, {peak:.2f} GB", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["coverage", "verdicts", "found", "speed"])
    parser.add_argument("--intervals", type=int, default=4000)
    parser.add_argument("--studies", type=int, default=200)
    options = parser.parse_args()
    parts = {"coverage": lambda: coverage(options.intervals),
             "verdicts": lambda: verdicts(options.studies),
             "found": lambda: found_planted(options.studies), "speed": speed}
    for name, part in parts.items():
        if options.part in (None, name):
            part()


if __name__ == "__main__":
    main()
