"""Whether a rulebook can be believed: intervals and verdicts on simulated studies.

Everything here is SIMULATED: wins are drawn with known truth, no picture is made and nobody is
asked. Parts:

- coverage: how often intervals of a win rate, and of a difference of two, hold the truth;
- verdicts: how often a study has any false "worth it", "harmful", "depends" or avoid rule;
- found: how often planted effects, interactions and things to avoid are found.

`benchmarks/rulebook_speed.py` times it.

    python benchmarks/rulebook.py                    # all, about an hour of one core
    python benchmarks/rulebook.py --quick            # a minute, only to see that it works
    python benchmarks/rulebook.py --part coverage --intervals 100000 --seed 7
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldmopt.contracts import Setting
from ldmopt.distillation import Constants, avoid, effects, table
from ldmopt.distillation.contrasts import all_contrasts
from ldmopt.distillation.intervals import Marginals, mean_limits
from tests.distillation.simulate import Study, Utility, grid

PROMPTS = (8, 24, 60)
RATES = (0.5, 0.75, 0.95)
BETWEEN, SHARES = (12, 16, 40), (0.0, 0.5, 0.9)
PAIRS = ((0.5, 0.5), (0.75, 0.65), (0.95, 0.95), (0.95, 0.85))
CHUNK = 2000
LEAST, MOST = 0.93, 0.98
"""What is wanted of 95 % intervals; of 8 prompts' only the least."""
POPULATION = 100_000
"""Prompts that there could be, of which those of paired differences are drawn."""


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


Cell = tuple[float, float, float]
"""The share of intervals that hold the truth, their mean width, the share of samples all alike."""


def covered(draw: Draw, rate: float, prompts: int, intervals: int, seed: int) -> Cell:
    """Return what intervals of a win rate do."""
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, intervals, CHUNK):
        wins = draw(rng, rate, (min(CHUNK, intervals - start), prompts))
        parts.append(judged(wins, *mean_limits(wins), rate))
    return summed(parts)


def covered_difference(
    draw: Draw, rates: tuple[float, float], prompts: int, intervals: int, seed: int,
    share: float = 0.5,
) -> Cell:  # fmt: skip
    """Return what intervals of a paired difference do.

    This share of the prompts does the same to both settings: there the two wins stand at the same
    rank of what each setting can be; at the others they have nothing to do with each other.
    """
    rng = np.random.default_rng(seed)
    each = [population(draw, rate) for rate in rates]
    truth = each[0].mean() - each[1].mean()
    parts = []
    for start in range(0, intervals, CHUNK):
        shape = (min(CHUNK, intervals - start), prompts)
        ranks = rng.integers(0, POPULATION, (2, *shape))
        ranks[1] = np.where(rng.random(shape) < share, ranks[0], ranks[1])
        left, right = (wins[rank] for wins, rank in zip(each, ranks, strict=True))
        limits = mean_limits(left - right, 0.95, (-1.0, 1.0), Marginals.of(left, right))
        parts.append(judged(left - right, *limits, truth))
    return summed(parts)


def judged(values: np.ndarray, low: np.ndarray, high: np.ndarray, truth: float) -> np.ndarray:
    """Return rows x (held, width, all alike)."""
    held = (low <= truth) & (truth <= high)
    return np.column_stack([held, high - low, np.ptp(values, axis=1) == 0])


def summed(parts: list[np.ndarray]) -> Cell:
    """Return the means over all rows."""
    held, width, alike = np.concatenate(parts).mean(axis=0).tolist()
    return held, width, alike


@cache
def population(draw: Draw, rate: float) -> np.ndarray:
    """Return what a setting of this win rate does at every prompt that there could be, sorted."""
    return np.sort(draw(np.random.default_rng(3), rate, (POPULATION,)))


def coverage(intervals: int, seed: int) -> None:
    """Print the coverage of every cell, then mean widths and how often all prompts are alike."""
    print(f"95 % intervals, {intervals} a cell, SIMULATED wins, seed {seed}; a star: not "
          f"{LEAST:g} to {MOST:g} (with {min(PROMPTS)} prompts: at least {LEAST:g})")
    for what, of, truths in (("win rate", covered, RATES),
                             ("paired difference of two win rates", covered_difference, PAIRS)):
        cells = [(truth, prompts) for prompts in PROMPTS for truth in truths]
        found = {name: [of(draw, truth, prompts, intervals, seed) for truth, prompts in cells]
                 for name, draw in DRAWS.items()}
        heads = [f"{'-'.join(f'{x:g}' for x in np.atleast_1d(truth))}/{prompts}"
                 for truth, prompts in cells]
        for index, told in enumerate(("coverage", "mean width", "share of samples all alike")):
            print(f"{what} / prompts: {told}\n{'':32}" + "".join(f"{h:>14}" for h in heads))
            for name, row in found.items():
                print(f"{name:32}" + "".join(
                    f"{cell[index]:13.3f}" + ("*" if index == 0 and outside(cell[0], prompts)
                                              else " ")
                    for cell, (_, prompts) in zip(row, cells, strict=True)), flush=True)
        for prompts in PROMPTS:
            held = [cell[0] for row in found.values()
                    for cell, (_, count) in zip(row, cells, strict=True) if count == prompts]
            stray = sum(outside(share, prompts) for share in held)
            print(f"{prompts:4} prompts: {min(held):.3f} to {max(held):.3f}, "
                  f"{stray} of {len(held)} cells outside", flush=True)
    elsewhere(intervals // 5, seed)


def elsewhere(intervals: int, seed: int) -> None:
    """Print how differences do at numbers of prompts, and shares alike, that are not asked for.

    The share is that of the prompts which do the same to both settings.
    """
    print(f"paired differences elsewhere, {intervals} a cell: coverage")
    for share in SHARES:
        for prompts in sorted({*PROMPTS, *BETWEEN}):
            if share == 0.5 and prompts in PROMPTS:
                continue
            found = [(covered_difference(draw, rates, prompts, intervals, seed, share)[0],
                      name, rates) for name, draw in DRAWS.items() for rates in PAIRS]
            held = [row[0] for row in found]
            below = sum(coverage < LEAST for coverage in held)
            print(f"{share:4g} alike, {prompts:3} prompts: {min(held):.3f} to {max(held):.3f}, "
                  f"mean {np.mean(held):.3f}, {below} of {len(held)} cells below {LEAST:g}; "
                  f"least: {min(found)[1]}, {min(found)[2]}", flush=True)


def outside(share: float, prompts: int) -> bool:
    """Whether a coverage is not what is wanted."""
    return share < LEAST or (share > MOST and prompts > min(PROMPTS))


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
    truth: str, study: Study, settings: Sequence[Setting],
    found: Sequence[dict[str, Any]], avoided: Sequence[dict[str, Any]],
) -> list[str]:  # fmt: skip
    """Return the verdicts of what is not there, in words; a study with any counts once.

    Where steps alone count, more of them never harm, whatever the other knobs: ``harmful`` and
    ``depends`` are false of steps too. A rule to avoid is false that names any knob which does
    not count, or whose settings, pooled, lose less than the margin in truth.
    """
    knobs, of_steps = ("sampler", "guidance", "steps"), truth == "steps alone"
    false = dict.fromkeys(knobs, ("worth it", "harmful", "depends"))
    if of_steps:
        false["steps"] = ("harmful", "depends")
    if truth == "all .05 worse":  # against the default there is a difference, a small one
        found = [row for row in found if "pndm" not in (row["from"], row["to"])
                 and 50 not in (row["from"], row["to"])]
    wrong = [f"{row['knob']} {row['from']} -> {row['to']}: {row['verdict']}"
             for row in found if row["verdict"] in false[row["knob"]]]
    return wrong + [f"avoid {row['when']}" for row in avoided
                    if not (of_steps and loses(study, settings, row["when"]))]


def loses(study: Study, settings: Sequence[Setting], when: dict[str, Any]) -> bool:
    """Whether steps alone are named, and the settings that meet this lose in truth."""
    if set(when) != {"steps"}:
        return False
    steps = when["steps"]
    inside = [study.expected(setting) for setting in settings
              if steps.get("min", 0) <= setting["steps"] <= steps.get("max", 99)]
    return float(np.mean(inside)) < 0.5 - Constants().margin


def verdicts(studies: int) -> None:
    """Print the share of studies with any false verdict, in every cell."""
    print(f"studies with any false verdict, SIMULATED, {studies} a cell, 2 seeds; 95 % interval")
    for truth, of in TRUTHS.items():
        for design, settings in DESIGNS.items():
            for kind, more in KINDS.items():
                if of is all_a_little_worse and "rare" in more:
                    continue  # ruined pictures make it more than a little
                for prompts in (8, 24):
                    wrong = [any_false(truth, of, settings, more, prompts, number)
                             for number in range(studies)]
                    hits = sum(map(bool, wrong))
                    low, high = limits_of_share(hits, studies)
                    print(f"{truth:15} {design:10} {kind:14} {prompts:3} prompts: "
                          f"{hits / studies:.3f} [{low:.3f}, {high:.3f}]", flush=True)


def any_false(
    truth: str, of: Utility, design: Callable[[np.random.Generator], list[Setting]],
    more: dict[str, Any], prompts: int, number: int,
) -> list[str]:  # fmt: skip
    """Draw a study and return its false verdicts."""
    rng = np.random.default_rng([number, prompts])
    study, settings = Study(prompts, 2, rng, of, **more), design(rng)
    return false_verdicts(truth, study, settings, *rules_of(study, settings))


def limits_of_share(hits: int, count: int) -> tuple[float, float]:
    """The 95 % limits of a share (Clopper and Pearson)."""
    from scipy.stats import beta

    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, count - hits + 1))
    return low, 1.0 if hits == count else float(beta.ppf(0.975, hits + 1, count - hits))


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


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["coverage", "verdicts", "found"])
    parser.add_argument("--intervals", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1, help="of the intervals' samples")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--quick", action="store_true",
                        help="100 intervals and 1 study a cell, only to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.intervals, options.studies = 100, 1
    parts = {"coverage": lambda: coverage(options.intervals, options.seed),
             "verdicts": lambda: verdicts(options.studies),
             "found": lambda: found_planted(options.studies)}
    for name, part in parts.items():
        if options.part in (None, name):
            part()


if __name__ == "__main__":
    main()
