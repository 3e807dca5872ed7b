"""The trials of a study as a table: distinct settings with costs, distinct pictures with wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import CostChange, Evidence, Quality, Setting, Value
from ldmopt.distillation.saddlepoint import Floats


@dataclass(frozen=True)
class Measured:
    """One distinct setting with what it cost."""

    setting: Setting
    seconds: float
    peak_memory_bytes: float | None = None


@dataclass(frozen=True, eq=False)
class Table:
    """What the search measured; failed trials are not in it.

    A setting that was raced out has its costs here, and its wins apart from those of settings
    that were seen in all blocks: it was dropped because of them, so their mean is too low.
    A table equals itself alone, so what was fitted to it can be remembered.

    Attributes:
        measured: distinct settings, the default first.
        looks: distinct settings of the picture knobs alone, without those raced out.
        wins: looks x blocks; NaN where a look was not made for a block.
        same: looks, whether all their pictures are the default's own.
        prompt_of: blocks, the index of each block's prompt.
        picture_knobs: the knobs that change the picture.
        default: the setting that wins are against.
        dropped: looks that were raced out.
        dropped_wins: dropped looks x blocks; NaN from where they were dropped.
        cost_changes: by knob and value, what the cost model says, against the knob's base.
    """

    measured: tuple[Measured, ...]
    looks: tuple[Setting, ...]
    wins: Floats
    same: NDArray[np.bool_]
    prompt_of: NDArray[np.intp]
    picture_knobs: frozenset[str]
    default: Setting
    dropped: tuple[Setting, ...] = ()
    dropped_wins: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    cost_changes: Mapping[tuple[str, tuple[str, object]], CostChange] = field(default_factory=dict)

    @cached_property
    def varied(self) -> frozenset[str]:
        """The knobs that take at least two values in what was measured."""
        return varied(item.setting for item in self.measured)

    @property
    def prompts(self) -> int:
        """Number of prompts."""
        return int(self.prompt_of.max()) + 1 if len(self.prompt_of) else 0

    def over_prompts(self, rows: Floats) -> Floats:
        """Average rows x blocks into rows x prompts, NaN where a prompt was not seen."""
        seen = ~np.isnan(rows)
        member = np.equal.outer(self.prompt_of, np.arange(self.prompts)).astype(np.float64)
        counts = seen.astype(np.float64) @ member
        sums = np.where(seen, rows, 0.0) @ member
        means = np.full(counts.shape, np.nan)
        np.divide(sums, counts, out=means, where=counts > 0)
        return means

    def knobs(self) -> list[str]:
        """Knobs that take more than one value, sorted; absent counts as a value."""
        rows = [item.setting for item in self.measured]
        names = sorted({name for row in rows for name in row})
        return [name for name in names if len({value_key(row.get(name)) for row in rows}) > 1]


def varied(settings: Iterable[Setting]) -> frozenset[str]:
    """Return the knobs that take at least two values.

    One that takes a single value wherever it acts tells nothing that others do not tell.
    """
    values: dict[str, set[tuple[str, object]]] = {}
    for setting in settings:
        for name, value in setting.items():
            values.setdefault(name, set()).add(value_key(value))
    return frozenset(name for name, found in values.items() if len(found) > 1)


def look_knobs(evidence: Evidence) -> frozenset[str]:
    """Return the picture knobs that tell the trials' pictures apart."""
    return evidence.picture_knobs & varied(trial.setting for trial in evidence.trials)


def build(evidence: Evidence) -> Table:
    """Arrange an evidence's usable trials."""
    telling = look_knobs(evidence)
    whole: dict[Setting, Quality] = {}
    dropped: dict[Setting, Quality] = {}
    costs: dict[Setting, Measured] = {}
    for trial in evidence.trials:
        if trial.failure or not trial.quality:
            continue
        if trial.cost:
            cost = Measured(trial.setting, trial.cost.seconds, trial.cost.peak_memory_bytes)
            costs.setdefault(trial.setting, cost)
        looks, look = dropped if trial.raced_out else whole, trial.setting.only(telling)
        held = looks.get(look)
        if held is None or len(trial.quality.blocks) > len(held.blocks):
            looks[look] = trial.quality
    for look in whole:
        dropped.pop(look, None)
    wins, prompt_of = _wins([*whole.values(), *dropped.values()])
    default = evidence.default
    return Table(
        tuple(sorted(costs.values(), key=lambda item: item.setting != default)),
        tuple(whole),
        wins[: len(whole)],
        np.array([quality.certain for quality in whole.values()], np.bool_),
        prompt_of,
        evidence.picture_knobs,
        default,
        tuple(dropped),
        wins[len(whole) :],
        _changes(evidence.cost_changes),
    )


def _changes(
    rows: Sequence[CostChange]
) -> dict[tuple[str, tuple[str, object]], CostChange]:
    """By knob and value; a base is no change from itself."""
    found = {(row.knob, value_key(row.value)): row for row in rows}
    for row in rows:
        nothing = (0.0, 0.0)
        found[row.knob, value_key(row.base)] = CostChange(
            row.knob, row.base, row.base, nothing, None if row.memory is None else nothing)
    return found


def _wins(rows: Sequence[Quality]) -> tuple[Floats, NDArray[np.intp]]:
    """Wins by block, over the union of all blocks."""
    columns: dict[tuple[str, int], int] = {}
    prompts: dict[str, int] = {}
    for quality in rows:
        for block in quality.blocks:
            columns.setdefault((block.prompt, block.seed), len(columns))
            prompts.setdefault(block.prompt, len(prompts))
    wins = np.full((len(rows), len(columns)), np.nan)
    for row, quality in enumerate(rows):
        for block in quality.blocks:
            wins[row, columns[block.prompt, block.seed]] = block.win
    return wins, np.array([prompts[prompt] for prompt, _ in columns], np.intp)


def value_key(value: Value | None) -> tuple[str, object]:
    """A key that keeps True, 1 and "1" apart, and 7 and 7.0 together."""
    kind = "number" if is_number(value) else type(value).__name__
    return kind, value


def is_number(value: object) -> bool:
    """Whether a value is a number, which a boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def distinct(settings: Sequence[Setting], knob: str) -> list[Value]:
    """Return the values that a knob takes, numbers in order, others as first seen."""
    found: dict[tuple[str, object], Value] = {}
    for setting in settings:
        if knob in setting:
            found.setdefault(value_key(setting[knob]), setting[knob])
    values = list(found.values())
    if all(is_number(value) for value in values):
        values.sort(key=lambda value: float(value))
    return values


def ordered(settings: Sequence[Setting], knob: str) -> bool:
    """Whether a knob's values are numbers, so that they have neighbours."""
    return all(is_number(setting[knob]) for setting in settings if knob in setting)
