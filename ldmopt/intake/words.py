"""What an import has to say: what judges, what was taken for what, what cannot be concluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ldmopt.contracts import Setting
from ldmopt.intake.ratings import BASES
from ldmopt.intake.shots import Shot
from ldmopt.intake.study import Facts, Measured

FEW_PROMPTS = 8
"""Below so many prompts, a user is told what that means."""


def raters(facts: Facts) -> str:
    """Say who rated."""
    if not facts.ratings:
        return "nobody rated these pictures"
    who = "1 rater" if facts.raters == 1 else f"{facts.raters} raters"
    return f"{facts.ratings} ratings by {who}, as the imported table has them"


def judge(scorer: Mapping[str, Any]) -> str:
    """Say what judges."""
    return f"{scorer['name']} {scorer['digest']}" + (f": {scorer['is']}" if "is" in scorer else "")


def notes(
    facts: Facts, rows: Sequence[Measured], shots: Mapping[Setting, Sequence[Shot]],
    objectives: Sequence[str], by_regressor: bool,
) -> list[str]:
    """Return a line for everything that a reader of the rulebook should know."""
    return [*_quality(facts, rows, by_regressor), *_single(rows), *_left_out(rows),
            *_costs(facts, objectives), *_prompts(rows, shots)]


def _quality(facts: Facts, rows: Sequence[Measured], by_regressor: bool) -> Iterator[str]:
    if facts.ratings and not facts.rated:
        yield (f"all {facts.ratings} ratings are equal, so they tell no two pictures apart: nothing"
               " can be concluded on quality")
    elif not facts.ratings and not by_regressor:
        yield ("there are no ratings and no pictures: nothing can be concluded on quality, only on "
               "what settings cost")
    elif by_regressor:
        yield ("no human rated these pictures: the win rates are the opinion of the regressor in "
               "the package, which may never have seen pictures of this kind")
    bases = Counter[str]()
    for row in rows:
        bases.update(row.judged.bases if row.judged else {})
    lesser = [f"{bases[name]} of {bases.total()} comparisons of a prompt rest on {name}"
              for name in (*BASES[1:], "different seeds") if bases[name]]
    if lesser:
        yield ("; ".join(lesser) + ", because the table has nothing better: seeds and raters then "
               "add to the noise")
    if len(rows) == 1:
        yield "there is one setting only: nothing can be compared with it"


def _single(rows: Sequence[Measured]) -> Iterator[str]:
    """Knobs that stand alike in all settings."""
    if len(rows) == 1:
        return
    names = dict.fromkeys(name for row in rows for name in row.setting)
    values = {name: {row.setting.get(name) for row in rows} for name in names}
    alike = [f"{name} ({one})" for name, found in values.items() if len(found) == 1
             for one in found]
    if alike:
        yield (f"all settings have the same {' and '.join(alike)}: nothing can be concluded on "
               f"{'it' if len(alike) == 1 else 'them'}")


def _left_out(rows: Sequence[Measured]) -> Iterator[str]:
    kept = [row for row in rows if row.failure is None]
    untimed = sum(row.cost is None for row in kept)
    unjudged = sum(row.judged is None for row in kept)
    if untimed:
        yield (f"{untimed} of {len(rows)} settings have no seconds where others have: they are "
               "left out of every recommendation")
    if unjudged and unjudged < len(rows) - 1:
        yield (f"{unjudged} of {len(rows)} settings share no judged prompt with the default: they "
               "are left out of every recommendation")


def _costs(facts: Facts, objectives: Sequence[str]) -> Iterator[str]:
    if not facts.timed:
        yield "there are no seconds: nothing can be concluded on speed"
    if "peak_memory_bytes" not in objectives:
        yield ("peak memory is not known of every setting: it is no objective"
               + (", and win rate is weighed against seconds alone" if facts.timed else ""))


def _prompts(rows: Sequence[Measured], shots: Mapping[Setting, Sequence[Shot]]) -> Iterator[str]:
    quality = rows[0].judged.quality if rows[0].judged else None
    prompts = {block.prompt for block in quality.blocks} if quality else set()
    every = [shot.prompt for found in shots.values() for shot in found]
    if not any(every):
        yield ("no row names a prompt: all count as of one prompt, and how results vary over "
               "prompts is not known")
    elif len(prompts) == 1:
        yield ("the default has one prompt only: how results vary over prompts is not known, so "
               "intervals are as wide as they can be")
    elif not all(every):
        yield ("rows without a prompt are compared with one another alone")
    if 1 < len(prompts) < FEW_PROMPTS:
        yield f"there are {len(prompts)} prompts: intervals are wide, and little can be shown"
