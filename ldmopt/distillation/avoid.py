"""Rules for what to leave alone: settings shown worse than the default, and settings that fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Evidence, Setting, Trial, Value
from ldmopt.distillation.contrasts import column_means
from ldmopt.distillation.effects import Rules
from ldmopt.distillation.intervals import Interval, holm, mean_interval, mean_test
from ldmopt.distillation.table import Table, distinct, look_knobs, ordered, value_key

FEWEST_SETTINGS = 2
LARGEST_SHARE = 0.6
"""A rule that covers more of the settings than this describes the study, not a mistake."""

PURITY = 0.9
MOST_CUTS = 6

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


def avoid(
    evidence: Evidence, table: Table, rules: Rules, judged_by: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return rulebook.json's ``avoid``: first what loses, then what fails.

    A rule of one or two knobs is told where its settings' pooled win rate is below
    ``0.5 - margin`` after Holm's correction over all rules that were looked at, nine in ten of
    its settings are, and each of its conditions makes a difference of the margin.
    """
    return [*_losing(evidence, table, rules, judged_by), *_failing(evidence)]


def _losing(
    evidence: Evidence, table: Table, rules: Rules, judged_by: Mapping[str, Any]
) -> list[dict[str, Any]]:
    by_prompt = table.over_prompts(table.wins)
    means = np.nanmean(by_prompt, axis=1) if by_prompt.size else np.zeros(0)
    bad = means < 0.5 - rules.margin
    tried = [rule for rule in candidates(table.looks) if _common_enough(rule.inside)]
    pooled = [column_means(by_prompt[rule.inside]) for rule in tried]
    floor = 0.5 - rules.margin
    adjusted = holm([mean_test(values, reference=floor)[1] for values in pooled])
    found = [
        index
        for index, rule in enumerate(tried)
        if adjusted[index] <= rules.alpha
        and bad[rule.inside].mean() >= PURITY
        and _each_part_matters(rule, means, rules.margin)
    ]
    rows = {look.json(): row for row, look in enumerate(table.looks)}
    telling = look_knobs(evidence)
    shown = [
        (trial, rows[trial.setting.only(telling).json()])
        for trial in evidence.trials
        if trial.quality and trial.cost and not trial.failure
    ]
    return [
        _loss(
            tried[index],
            mean_interval(pooled[index], rules.confidence),
            [trial for trial, row in shown if tried[index].inside[row]],
            {
                "prompts": len(pooled[index]),
                "p_holm": adjusted[index],
                "rules_tried": len(tried),
                "held_out": False,
                **judged_by,
            },
        )
        for index in _cover(found, tried, bad)
    ]


def _loss(
    rule: Rule, test: Interval, meeting: Sequence[Trial], evidence: Mapping[str, Any]
) -> dict[str, Any]:
    """An entry for settings whose pictures lose."""
    settings = int(rule.inside.sum())
    return {
        "when": dict(rule.when),
        "why": f"its pictures are preferred to the default's only {test.estimate:.0%} of the "
        f"time [{test.low:.0%}, {test.high:.0%}], over {settings} settings",
        "win_rate": test.estimate,
        "low": test.low,
        "high": test.high,
        "picture": worst_picture(meeting),
        "evidence": {
            "settings": settings,
            "trials": [trial.number for trial in meeting],
            **evidence,
        },
    }


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


def worst_picture(trials: Sequence[Trial]) -> str | None:
    """Return the digest of the picture with the lowest win among the trials."""
    worst: tuple[float, str] | None = None
    for trial in trials:
        if trial.quality is None:
            continue
        if len(trial.pictures) != len(trial.quality.blocks):
            continue
        for block, digest in zip(trial.quality.blocks, trial.pictures, strict=True):
            if worst is None or block.win < worst[0]:
                worst = (block.win, digest)
    return worst[1] if worst else None


def _failing(evidence: Evidence) -> list[dict[str, Any]]:
    """One rule for each kind of failure that a condition explains whole, else each setting."""
    settings = list({trial.setting: None for trial in evidence.trials})
    entries: list[dict[str, Any]] = []
    kinds = sorted({t.failure.get("kind", "error") for t in evidence.trials if t.failure})
    for kind in kinds:
        failed = [
            t for t in evidence.trials if t.failure and t.failure.get("kind", "error") == kind
        ]
        mine = {trial.setting for trial in failed}
        inside = np.array([setting in mine for setting in settings], np.bool_)
        whole = [r for r in candidates(settings) if _explains(r, inside)]
        for index in _cover(range(len(whole)), whole, inside):
            here = {s for s, flag in zip(settings, whole[index].inside, strict=True) if flag}
            entries.append(
                _failure(whole[index].when, kind, [t for t in failed if t.setting in here])
            )
            mine -= here
        entries += [
            _failure(_unlike(s, evidence.default), kind, [t for t in failed if t.setting == s])
            for s in settings
            if s in mine
        ]
    return entries


def _explains(rule: Rule, failed: Mask) -> bool:
    """All settings that meet the rule failed, and there are enough of them."""
    return bool(rule.inside.sum() >= FEWEST_SETTINGS and failed[rule.inside].all())


def _unlike(setting: Setting, default: Setting) -> dict[str, Value]:
    """The knobs in which a setting differs from the default."""
    differing = {k: v for k, v in setting.items() if value_key(default.get(k)) != value_key(v)}
    return differing or dict(setting)


def _failure(when: Mapping[str, Any], kind: str, trials: Sequence[Trial]) -> dict[str, Any]:
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
        },
    }
