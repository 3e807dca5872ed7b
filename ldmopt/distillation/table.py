"""The trials of a study as a table: distinct settings with costs, distinct pictures with wins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Evidence, Setting, Trial, Value
from ldmopt.distillation.front import Point
from ldmopt.distillation.saddlepoint import Floats


@dataclass(frozen=True)
class Measured:
    """One distinct setting with its cost and its win rate on the search blocks."""

    setting: Setting
    point: Point
    trials: tuple[int, ...]
    feasible: bool


@dataclass(frozen=True, eq=False)
class Table:
    """What the search measured; failed trials are not in it.

    A table equals itself alone, so what was fitted to it can be remembered.

    Attributes:
        measured: distinct settings, the default first.
        looks: distinct settings of the picture knobs alone.
        wins: looks x blocks; NaN where a look was not made for a block.
        prompt_of: blocks, the index of each block's prompt.
        picture_knobs: the knobs that change the picture.
        default: the setting that wins are against.
    """

    measured: tuple[Measured, ...]
    looks: tuple[Setting, ...]
    wins: Floats
    prompt_of: NDArray[np.intp]
    picture_knobs: frozenset[str]
    default: Setting

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
    usable = [t for t in evidence.trials if not t.failure and t.cost and t.quality]
    looks: dict[Setting, Trial] = {}
    groups: dict[Setting, list[Trial]] = {}
    for trial in usable:
        look = trial.setting.only(telling)
        held = looks.get(look)
        if held is None or _blocks(trial) > _blocks(held):
            looks[look] = trial
        groups.setdefault(trial.setting, []).append(trial)
    wins, prompt_of = _wins(list(looks.values()))
    default = evidence.default
    order = sorted(groups, key=lambda setting: setting != default)
    return Table(
        tuple(_measured(groups[setting]) for setting in order),
        tuple(looks),
        wins,
        prompt_of,
        evidence.picture_knobs,
        default,
    )


def _blocks(trial: Trial) -> int:
    return len(trial.quality.blocks) if trial.quality else 0


def _measured(trials: Sequence[Trial]) -> Measured:
    """Join trials of one setting: the first one's figures, everyone's numbers."""
    first = trials[0]
    if first.cost is None or first.quality is None:
        raise ValueError(f"trial {first.number} has no cost or no quality")
    point = Point.of(first.cost, first.quality.win_rate)
    return Measured(
        first.setting, point, tuple(t.number for t in trials), all(t.feasible for t in trials)
    )


def _wins(trials: Sequence[Trial]) -> tuple[Floats, NDArray[np.intp]]:
    """Wins by block, over the union of all blocks."""
    columns: dict[tuple[str, int], int] = {}
    prompts: dict[str, int] = {}
    for trial in trials:
        for block in trial.quality.blocks if trial.quality else ():
            columns.setdefault((block.prompt, block.seed), len(columns))
            prompts.setdefault(block.prompt, len(prompts))
    wins = np.full((len(trials), len(columns)), np.nan)
    for row, trial in enumerate(trials):
        for block in trial.quality.blocks if trial.quality else ():
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
