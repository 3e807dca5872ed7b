"""Rules for what to leave alone: settings shown worse than the default, and settings that fail.

A setting that was raced out was dropped because of what it showed, so the mean of what it showed
is too low. In a test, each prompt that it was not shown counts as the very win rate that is to be
excluded: its sum then is a martingale that was stopped, whose mean under the hypothesis is right
whenever it was stopped (Doob's optional stopping), and what is told is never worse than the truth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import BlockWin, Evidence, Setting, Trial, Value
from ldmopt.distillation.constants import AVOID, Constants
from ldmopt.distillation.intervals import Interval, mean_interval, mean_tests
from ldmopt.distillation.provenance import of_search, scope
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import Table, distinct, look_knobs, ordered, value_key

FEWEST_SETTINGS = 2
LARGEST_SHARE = 0.6
"""A rule that covers more of the settings than this describes the study, not a mistake."""

PURITY = 0.9
MOST_CUTS = 6
CHUNK = 256
ROUNDING = 1e-9

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """A condition on one or two knobs, with the settings that meet it."""

    when: Mapping[str, Any]
    parts: tuple[Mask, ...]

    @property
    def inside(self) -> Mask:
        """Settings that meet every part."""
        return np.asarray(np.logical_and.reduce(self.parts), np.bool_)


def avoid(evidence: Evidence, table: Table, constants: Constants) -> list[dict[str, Any]]:
    """Return rulebook.json's ``avoid``: first what loses, then what fails.

    A rule of one or two knobs is told where its settings' pooled win rate is below
    ``0.5 - margin`` after Holm's correction over all rules that were looked at, nine in ten of
    its settings are, chance would hardly gather settings that bad, and each of its conditions
    makes a difference of the margin; the default never meets one. Its interval
    allows for its having been chosen (see `interactions`).
    """
    return [*_losing(evidence, table, constants), *_failing(evidence, constants)]


def _losing(evidence: Evidence, table: Table, constants: Constants) -> list[dict[str, Any]]:
    looks = [*table.looks, *table.dropped]
    floor = 0.5 - constants.margin
    by_prompt = _at_best(table, floor)
    means = _row_means(by_prompt)
    bad = means < floor
    own = evidence.default.only(look_knobs(evidence))
    default = np.array([look == own for look in looks])
    tried = [rule for rule in candidates(looks)
             if _common_enough(rule.inside) and not (rule.inside & default).any()]
    if not tried or not by_prompt.size:
        return []
    pooled = _pooled(tried, by_prompt)
    p_values, alike = mean_tests(pooled, reference=floor)[1], _alike(tried)
    count = len(set(alike))
    shares = _shares(tried, alike)
    adjusted = _adjusted(p_values, alike, shares)
    found = [
        index
        for index, rule in enumerate(tried)
        if adjusted[index] <= constants.error(AVOID)
        and bad[rule.inside].mean() >= PURITY
        and _beyond_chance(rule.inside, _as_bad(rule.inside, means),
                           constants.error(AVOID) * shares[index])
        and _each_part_matters(rule, means, constants.margin)
    ]
    told = _cover(found, tried, bad)
    after = 1.0 - len(told) * (1.0 - constants.confidence) / count
    shown = _shown(evidence, looks)
    rows = []
    for index in told:
        values = pooled[index][~np.isnan(pooled[index])]
        rows.append(_loss(
            evidence,
            tried[index],
            mean_interval(values, after),
            [trial for trial, row in shown if tried[index].inside[row]],
            {
                "settings": int(tried[index].inside.sum()),
                "raced_out": int(tried[index].inside[len(table.looks):].sum()),
                "counted_as": floor,
                "prompts": len(values),
                "p_holm": adjusted[index],
                "rules_tried": count,
                "confidence": after,
                **of_search(evidence, len(values)),
            },
        ))  # fmt: skip
    return rows


def _alike(rules: Sequence[Rule]) -> list[int]:
    """For each rule the first one that the very same settings meet: one hypothesis, one test."""
    first: dict[bytes, int] = {}
    return [first.setdefault(rule.inside.tobytes(), at) for at, rule in enumerate(rules)]


def _shares(rules: Sequence[Rule], alike: Sequence[int]) -> list[float]:
    """How the chance of a false rule is shared out: half to conditions on one knob, half on two.

    There are few of the one and many of the other, and what is simple is asked first.
    """
    parts = [len(rules[at].parts) for at in alike]
    counts = Counter(parts[at] for at in set(alike))
    return [1.0 / (len(counts) * counts[width]) for width in parts]


def _adjusted(p_values: Floats, alike: Sequence[int], shares: Sequence[float]) -> list[float]:
    """Holm's method with shares (Holm 1979, section 3), each of the rules that are alike once."""
    ranked = sorted(set(alike), key=lambda at: p_values[at] / shares[at])
    left, running, found = 1.0, 0.0, {}
    for at in ranked:
        running = max(running, min(1.0, p_values[at] * left / shares[at]))
        found[at] = running
        left -= shares[at]
    return [found[at] for at in alike]


def _as_bad(inside: Mask, means: Floats) -> Mask:
    """The settings that are as bad as those of a rule, the one in ten left out that may be good.

    Counting these, `_beyond_chance` asks how often a rule that says nothing would meet settings
    whose worst nine in ten are all so bad: exact, whatever share of all settings is bad.
    """
    worst = np.sort(means[inside])
    return np.asarray(means <= worst[math.ceil(PURITY * len(worst) - ROUNDING) - 1], np.bool_)


def _at_best(table: Table, floor: float) -> Floats:
    """Looks x prompts, those raced out last with the floor where they were not shown."""
    dropped = table.over_prompts(table.dropped_wins) if table.dropped else np.zeros((0, 0))
    rows = [table.over_prompts(table.wins), np.where(np.isnan(dropped), floor, dropped)]
    return np.concatenate([row for row in rows if len(row)]) if any(map(len, rows)) else rows[1]


def _row_means(rows: Floats) -> Floats:
    """Mean of each row over what is known; every row knows something."""
    return np.asarray(np.nanmean(rows, axis=1) if rows.size else np.zeros(0), np.float64)


def _pooled(rules: Sequence[Rule], by_prompt: Floats) -> Floats:
    """Rules x prompts, means over the settings inside; NaN where none of them was seen."""
    seen = ~np.isnan(by_prompt)
    known, there = np.where(seen, by_prompt, 0.0), seen.astype(np.float64)
    pooled = np.full((len(rules), by_prompt.shape[1]), np.nan)
    for start in range(0, len(rules), CHUNK):
        inside = np.array([rule.inside for rule in rules[start : start + CHUNK]], np.float64)
        counts = inside @ there
        part = pooled[start : start + CHUNK]
        np.divide(inside @ known, counts, out=part, where=counts > 0)
    return pooled


def _shown(evidence: Evidence, looks: Sequence[Setting]) -> list[tuple[Trial, int]]:
    """The trials whose pictures count, each with the row of its look."""
    rows = {look.json(): row for row, look in enumerate(looks)}
    telling = look_knobs(evidence)
    return [
        (trial, rows[trial.setting.only(telling).json()])
        for trial in evidence.trials
        if trial.quality and not trial.failure
    ]


def _loss(
    evidence: Evidence,
    rule: Rule,
    test: Interval,
    meeting: Sequence[Trial],
    seen: Mapping[str, Any],
) -> dict[str, Any]:
    """An entry for settings whose pictures lose."""
    worst = worst_picture(meeting)
    dropped = seen["raced_out"]
    early = (
        f"; {dropped} of them {'was' if dropped == 1 else 'were'} dropped early, and prompts not "
        f"shown then count as {seen['counted_as']:.0%}" if dropped else ""
    )  # fmt: skip
    return {
        "when": dict(rule.when),
        "why": f"its pictures are preferred to the default's only {test.estimate:.0%} of the "
        f"time [{test.low:.0%}, {test.high:.0%}], over {seen['settings']} settings{early}",
        "win_rate": test.estimate,
        "low": test.low,
        "high": test.high,
        "picture": worst[0] if worst else None,
        "evidence": {
            **seen,
            "trials": [trial.number for trial in meeting],
            **({} if worst is None else _beside(evidence, worst[1])),
        },
    }


def _beside(evidence: Evidence, block: BlockWin) -> dict[str, Any]:
    """What the picture of an entry is of, with the default's picture of the same."""
    found: dict[str, Any] = {"prompt": block.prompt, "seed": block.seed, "win": block.win}
    default = next((t for t in evidence.trials if t.setting == evidence.default), None)
    if default and default.quality and len(default.pictures) == len(default.quality.blocks):
        for at, digest in zip(default.quality.blocks, default.pictures, strict=True):
            if (at.prompt, at.seed) == (block.prompt, block.seed):
                return {"shows": {**found, "default_picture": digest}}
    return {"shows": found}


def candidates(settings: Sequence[Setting]) -> Iterator[Rule]:
    """Yield every condition on one knob, then every pair of conditions on two."""
    singles: list[tuple[str, Any, Mask]] = []
    for knob in sorted({name for row in settings for name in row}):
        singles += [(knob, when, inside) for when, inside in _conditions(settings, knob)]
    for knob, when, inside in singles:
        yield Rule({knob: when}, (inside,))
    for one, two in combinations(singles, 2):
        if one[0] != two[0]:
            yield Rule({one[0]: one[1], two[0]: two[1]}, (one[2], two[2]))


def _conditions(settings: Sequence[Setting], knob: str) -> Iterator[tuple[Any, Mask]]:
    """Numbers: at most, or at least, up to `MOST_CUTS` values. Others: each value."""
    values = distinct(settings, knob)
    if len(values) < 2:
        return
    if not ordered(settings, knob):
        for value in values:
            key = value_key(value)
            yield value, np.array([value_key(row.get(knob)) == key for row in settings])
        return
    column = np.array([float(row[knob]) if knob in row else np.nan for row in settings])
    for value in _thinned(values[:-1]):
        yield {"max": value}, column <= float(value)
    for value in _thinned(values[1:]):
        yield {"min": value}, column >= float(value)


def _thinned(values: Sequence[Value]) -> list[Value]:
    """At most `MOST_CUTS` of the values, evenly spread, ends included."""
    if len(values) <= MOST_CUTS:
        return list(values)
    picks = np.linspace(0, len(values) - 1, MOST_CUTS).round().astype(int)
    return [values[index] for index in dict.fromkeys(picks.tolist())]


def _common_enough(inside: Mask) -> bool:
    return bool(inside.sum() >= FEWEST_SETTINGS and inside.mean() <= LARGEST_SHARE)


def _each_part_matters(rule: Rule, means: NDArray[np.float64], margin: float) -> bool:
    """Without any one of its conditions, the settings that are then let in must do better."""
    here = means[rule.inside].mean()
    for index in range(len(rule.parts)):
        others = [part for i, part in enumerate(rule.parts) if i != index]
        rest = ~rule.parts[index]
        for part in others:
            rest = rest & part
        if not rest.any() or means[rest].mean() < here + margin:
            return False
    return True


def _cover(found: Sequence[int], tried: Sequence[Rule], bad: Mask) -> list[int]:
    """Few and broad rules first: half of what each covers must be new."""
    covered = np.zeros(len(bad), np.bool_)
    kept: list[int] = []
    left = list(found)
    while left:
        gains = {i: int((tried[i].inside & bad & ~covered).sum()) for i in left}
        best = max(left, key=lambda i: (-len(tried[i].parts), gains[i]))
        left.remove(best)
        if gains[best] >= max(FEWEST_SETTINGS, tried[best].inside.sum() / 2):
            kept.append(best)
            covered |= tried[best].inside
    return kept


def worst_picture(trials: Sequence[Trial]) -> tuple[str, BlockWin] | None:
    """Return the digest of the picture with the lowest win among the trials, and its win."""
    worst: tuple[str, BlockWin] | None = None
    for trial in trials:
        if trial.quality is None or len(trial.pictures) != len(trial.quality.blocks):
            continue
        for block, digest in zip(trial.quality.blocks, trial.pictures, strict=True):
            if worst is None or block.win < worst[1].win:
                worst = (digest, block)
    return worst


def _failing(evidence: Evidence, constants: Constants) -> list[dict[str, Any]]:
    """One rule for each kind of failure that a condition explains whole, else each setting.

    A condition that so many failures would meet by chance, were they scattered over the settings,
    explains nothing; what is refused is refused by a rule, not by chance.
    """
    settings = list({trial.setting: None for trial in evidence.trials})
    entries: list[dict[str, Any]] = []
    kinds = sorted({t.failure.get("kind", "error") for t in evidence.trials if t.failure})
    for kind in kinds:
        failed = [
            t for t in evidence.trials if t.failure and t.failure.get("kind", "error") == kind
        ]
        mine = {trial.setting for trial in failed}
        inside = np.array([setting in mine for setting in settings], np.bool_)
        tried = list(candidates(settings))
        chance = 1.0 if kind == "refused" else constants.error(AVOID) / max(1, len(tried))
        whole = [r for r in tried if _explains(r, inside, chance)]
        for index in _cover(range(len(whole)), whole, inside):
            here = {s for s, flag in zip(settings, whole[index].inside, strict=True) if flag}
            meeting = [t for t in failed if t.setting in here]
            entries.append(_failure(evidence, whole[index].when, kind, meeting))
            mine -= here
        entries += [
            _failure(evidence, _unlike(s, evidence.default), kind,
                     [t for t in failed if t.setting == s])
            for s in settings
            if s in mine
        ]
    return entries


def _explains(rule: Rule, failed: Mask, chance: float) -> bool:
    """All settings that meet the rule failed, and hardly by chance (hypergeometric)."""
    enough = rule.inside.sum() >= FEWEST_SETTINGS and failed[rule.inside].all()
    return bool(enough) and _beyond_chance(rule.inside, failed, chance)


def _beyond_chance(inside: Mask, bad: Mask, chance: float) -> bool:
    """So many bad settings hardly meet a rule that says nothing of why (hypergeometric tail).

    Prompts alone do not tell: where a search scattered its settings, a few that are bad for another
    reason always share something.
    """
    count, total, all_bad = int(inside.sum()), len(bad), int(bad.sum())
    fewest, most = int(bad[inside].sum()), min(count, all_bad)
    logs = [_log_ways(all_bad, hit) + _log_ways(total - all_bad, count - hit)
            for hit in range(fewest, most + 1)]
    top = max(logs)
    ways = top + math.log(sum(math.exp(log - top) for log in logs))
    return ways <= math.log(chance) + _log_ways(total, count) + ROUNDING


def _log_ways(of: int, some: int) -> float:
    """The logarithm of a binomial coefficient, which is no float itself where settings are many."""
    if some > of:
        return -math.inf
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)


def _unlike(setting: Setting, default: Setting) -> dict[str, Value]:
    """The knobs in which a setting differs from the default."""
    differing = {k: v for k, v in setting.items() if value_key(default.get(k)) != value_key(v)}
    return differing or dict(setting)


def _failure(
    evidence: Evidence, when: Mapping[str, Any], kind: str, trials: Sequence[Trial]
) -> dict[str, Any]:
    """An entry for settings that gave no picture."""
    settings = len({trial.setting for trial in trials})
    reason = (trials[0].failure or {}).get("reason", "")
    count = "1 setting" if settings == 1 else f"all {settings} settings tried"
    return {
        "when": dict(when),
        "why": f"no usable picture ({kind}) in {count}{': ' + reason if reason else ''}",
        "win_rate": None,
        "low": None,
        "high": None,
        "picture": None,
        "evidence": {
            "failure": kind,
            "settings": settings,
            "trials": [trial.number for trial in trials],
            "held_out": False,
            "scope": scope(evidence, 0),
        },
    }
