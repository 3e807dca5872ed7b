"""Where going on gains nothing, and which values cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ldmopt.contracts import Evidence, Value
from ldmopt.distillation.additive import Additive, Level, levels
from ldmopt.distillation.constants import EFFECTS, Constants
from ldmopt.distillation.contrasts import Contrast, additive_contrast, contrast, well_matched
from ldmopt.distillation.costs import ADDED, Ratio, cost_ratios
from ldmopt.distillation.effects import told_groups
from ldmopt.distillation.intervals import holm
from ldmopt.distillation.provenance import of_search
from ldmopt.distillation.table import Table, distinct, ordered, value_key


def plateaus(evidence: Evidence, table: Table, constants: Constants) -> list[dict[str, Any]]:
    """Return rulebook.json's ``plateaus``: at most one for each numeric picture knob.

    From the largest value downwards, each value is compared with the largest one; the plateau
    begins at the last value from which the way up changes the win rate by less than the margin,
    either way. Testing stops at the first value that fails, so the order itself pays for the many
    tests.
    """
    found = []
    model = Additive.of(table)
    for knob in _numeric(table):
        last: Contrast | None = None
        steps = levels(table.looks, knob)
        for step in reversed(steps[:-1]):
            to_top = _compare(table, model, knob, (step, steps[-1]), constants.margin)
            if to_top is None or not _excludes(to_top, constants.margin, constants):
                break
            last = to_top
        if last is not None and last.seconds and last.seconds.ratio > 1.0 + constants.noticeable:
            found.append(_plateau(evidence, last, constants))
    return found


def _excludes(found: Contrast, size: float, constants: Constants) -> bool:
    """Whether a change of this size or more, either way, is excluded."""
    interval = found.interval(constants.confidence)
    return interval.low > 0.5 - size and interval.high < 0.5 + size


def _plateau(evidence: Evidence, found: Contrast, constants: Constants) -> dict[str, Any]:
    interval = found.interval(constants.confidence)
    return {
        "knob": found.knob,
        "beyond": found.start,
        "given": found.given(),
        "win_rate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "seconds_ratio": found.seconds.ratio if found.seconds else None,
        "evidence": {
            "to": found.end, "basis": found.basis, "pairs": len(found.contexts),
            **told_groups(found), "prompts": (prompts := len(found.differences())),
            **of_search(evidence, prompts),
        },
    }


def _numeric(table: Table) -> list[str]:
    return [k for k in table.knobs() if k in table.picture_knobs and ordered(table.looks, k)]


def _compare(
    table: Table, model: Additive | None, knob: str, ends: tuple[Level, Level], size: float
) -> Contrast | None:
    """Matched where single values are and enough settings fit, else by the additive model.

    A few pairs that are there by chance say nothing of values as such. Nor does a pair whose win
    rates are so near 0 or 1 that a difference of this size would not fit in.
    """
    start, end = ends
    single = len(start.members) == len(end.members) == 1
    matched = contrast(table, knob, start.label, end.label) if single else None
    if matched is not None:
        levels = matched.marginals.level
        matched = matched.where((levels > size / 2) & (levels < 1.0 - size / 2))
        if matched.contexts and well_matched(table, matched):
            return matched
    return additive_contrast(table, model, knob, start, end)


def equivalent(
    evidence: Evidence, table: Table, constants: Constants
) -> list[dict[str, Any]]:
    """Return rulebook.json's ``equivalent``: values that cannot be told apart pairwise.

    For knobs of the picture: no pair differs after Holm's correction, and every difference of
    ``close`` or more is excluded, else nothing is claimed. Knobs that leave the picture as it is
    are equivalent in it by what the study's probe found.
    """
    model = Additive.of(table)
    found = []
    for knob in table.knobs():
        if knob in table.picture_knobs:
            if not ordered(table.looks, knob):
                found += _groups(evidence, table, model, knob, constants)
        else:
            rows = [item.setting for item in table.measured]
            values = distinct(rows, knob)
            if len(values) > 1:
                told = {"basis": "the pictures are the same within the probe's tolerance",
                        **of_search(evidence, table.prompts)}
                found.append(_entry(table, knob, values, told, constants))
    return found


def _groups(
    evidence: Evidence, table: Table, model: Additive | None, knob: str, constants: Constants
) -> list[dict[str, Any]]:
    """Disjoint groups, grown from the best value downwards."""
    steps = levels(table.looks, knob)
    pairs = [(a, b) for i, a in enumerate(steps) for b in steps[i + 1 :]]
    told = [(a, b, c) for a, b in pairs
            if (c := _compare(table, model, knob, (a, b), constants.close))]
    adjusted = holm([c.interval(constants.confidence).p for _, _, c in told])
    close: dict[frozenset[tuple[str, object]], Contrast] = {}
    for (a, b, found), p in zip(told, adjusted, strict=True):
        if p > constants.error(EFFECTS) and _excludes(found, constants.close, constants):
            close[frozenset((value_key(a.label), value_key(b.label)))] = found
    entries, left = [], sorted((step.label for step in steps), key=_liking(table, knob))
    while left:
        group = [left.pop(0)]
        for value in list(left):
            if all(frozenset((value_key(value), value_key(v))) in close for v in group):
                group.append(value)
                left.remove(value)
        if len(group) > 1:
            seen = {**_group_evidence(group, close, constants),
                    **of_search(evidence, table.prompts)}
            entries.append(_entry(table, knob, group, seen, constants))
    return entries


def _liking(table: Table, knob: str) -> Callable[[Value], float]:
    """Return a key that sorts a knob's values by the mean win rate of their settings, best first.

    It only decides which group a value joins that fits into several.
    """
    means = np.nanmean(table.over_prompts(table.wins), axis=1)
    rows: dict[tuple[str, object], list[float]] = {}
    for look, mean in zip(table.looks, means.tolist(), strict=True):
        if knob in look:
            rows.setdefault(value_key(look[knob]), []).append(mean)
    return lambda value: -sum(rows[value_key(value)]) / len(rows[value_key(value)])


def _group_evidence(
    group: Sequence[Value],
    close: dict[frozenset[tuple[str, object]], Contrast],
    constants: Constants,
) -> dict[str, Any]:
    """The widest limits of any two values in the group, and the fewest pairs of settings."""
    keys = {value_key(value) for value in group}
    inside = [c for pair, c in close.items() if pair <= keys]
    limits = [c.interval(constants.confidence) for c in inside]
    least = min(inside, key=lambda c: len(c.contexts))
    return {
        "basis": least.basis,
        "low": min(i.low for i in limits),
        "high": max(i.high for i in limits),
        "pairs": len(least.contexts),
    }


def _entry(
    table: Table, knob: str, values: Sequence[Value], evidence: dict[str, Any],
    constants: Constants,
) -> dict[str, Any]:
    """Name the value that costs the fewest seconds, each compared with the first.

    Differences that are not noticeable are none; the first of those is named then. What an
    additive model says by chance alone is not told. Memory is told where it differs.
    """
    both = [cost_ratios(table, knob, [values[0]], [value]) for value in values[1:]]
    cheapest, same, told = _least(values, [seconds for seconds, _ in both], constants)
    smallest, alike, sizes = _least(values, [memory for _, memory in both], constants)
    memory = {"memory_ratio_to_first": sizes, "smallest": smallest}
    return {
        "knob": knob,
        "values": list(values),
        "cheapest": cheapest,
        "given": {},
        "evidence": {**evidence, "seconds_ratio_to_first": told, "same_seconds": same,
                     **(memory if len(sizes) == len(values) and not alike else {})},
    }


def _least(
    values: Sequence[Value], changes: Sequence[Ratio | None], constants: Constants
) -> tuple[Value, bool, dict[str, float]]:
    """Return the value that costs least, whether all cost the same, and ratios to the first."""
    ratios = [1.0]
    for change in changes:
        by_chance = change and change.basis == ADDED and change.p > constants.error(EFFECTS)
        ratios.append(change.ratio if change and not by_chance else float("inf"))
    nearly = min(ratios) / (1.0 - constants.noticeable)
    least = next(v for v, ratio in zip(values, ratios, strict=True) if ratio <= nearly)
    told = {str(v): r for v, r in zip(values, ratios, strict=True) if np.isfinite(r)}
    return least, len(told) == len(values) and max(ratios) <= nearly, told
