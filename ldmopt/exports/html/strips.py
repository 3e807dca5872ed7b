"""Pictures of one prompt and seed along a knob's values, all else as equal as it can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ldmopt.contracts import Block, Evidence, Setting, Trial, Value
from ldmopt.distillation.table import ordered, value_key
from ldmopt.exports._words import differing, untouched
from ldmopt.exports.html.story import by_prompt

MOST_VALUES = 7
LEAST_OF_BEST = 0.5
"""The share of the highest win rate that a group's best picture needs to be worth looking at."""

MOST_BLOCKS = 3
"""Prompts that a strip can be seen with."""


@dataclass(frozen=True)
class Frame:
    """One value of the strip.

    Attributes:
        value: of the knob.
        setting: whose pictures it shows.
        win_rate: in the search.
        default: whether it is the default's value.
        also: other knobs that differ from the strip's common setting.
        shown: the digest of each block's picture.
    """

    value: Value
    setting: Setting
    win_rate: float
    default: bool
    also: Mapping[str, Value]
    shown: Mapping[Block, str]


@dataclass(frozen=True)
class Strip:
    """A knob's strip.

    Attributes:
        frames: one a value.
        blocks: prompts with seeds that every frame has a picture of.
        common: the other knobs, where they stand for most frames.
    """

    frames: tuple[Frame, ...]
    blocks: tuple[Block, ...]
    common: Setting

    @property
    def alike(self) -> bool:
        """Whether the knob alone differs."""
        return not any(frame.also for frame in self.frames)


def strip(evidence: Evidence, knob: str, reference: Setting) -> Strip | None:
    """Choose a knob's strip from the search's pictures.

    Of the settings that differ in this knob alone, a group of pictures that are worth anything:
    where all are ruined, no knob shows what it does. Then the one with the most values, as far as
    there is room for them, and then the one whose win rates reach furthest. Where no two settings
    differ in it alone, for each value the setting nearest to the reference.

    Args:
        evidence: the run's.
        knob: a knob that changes the picture.
        reference: a setting that is worth looking at, such as a recommended one.

    Returns:
        None where fewer than two values have pictures of a common prompt and seed.
    """
    rows = [trial for trial in evidence.trials
            if trial.measured and knob in trial.setting and trial.pictures]
    telling = evidence.picture_knobs
    groups: dict[Setting, dict[tuple[str, object], Trial]] = {}
    for trial in rows:
        rest = _rest(trial.setting, knob, telling)
        groups.setdefault(rest, {}).setdefault(value_key(trial.setting[knob]), trial)
    worth = LEAST_OF_BEST * max(_rates(rows), default=0.0)
    pure = max(groups.items(), key=lambda item: (
        len(item[1]) > 1 and max(_rates(item[1].values()), default=0.0) >= worth,
        min(len(item[1]), MOST_VALUES), _reach(item[1].values()), -_distance(item[0], reference),
    ), default=None)
    if pure is not None and len(pure[1]) > 1:
        return _strip(evidence, knob, list(pure[1].values()), pure[0])
    nearest: dict[tuple[str, object], Trial] = {}
    for trial in sorted(rows, key=lambda trial: _distance(
            _rest(trial.setting, knob, telling), reference)):
        nearest.setdefault(value_key(trial.setting[knob]), trial)
    return _strip(evidence, knob, list(nearest.values()), None)


def _strip(
    evidence: Evidence, knob: str, trials: Sequence[Trial], common: Setting | None
) -> Strip | None:
    if len(trials) < 2:
        return None
    telling = evidence.picture_knobs
    if ordered([trial.setting for trial in trials], knob):
        trials = _spread(sorted(trials, key=lambda trial: float(trial.setting[knob])))
    else:
        first = value_key(evidence.default.get(knob))
        trials = sorted(trials, key=lambda trial: value_key(trial.setting[knob]) != first)
        trials = trials[:MOST_VALUES]
    base = common if common is not None else _usual(
        [_rest(trial.setting, knob, telling) for trial in trials])
    frames = [
        Frame(
            trial.setting[knob], trial.setting, trial.quality.win_rate,
            value_key(trial.setting[knob]) == value_key(evidence.default.get(knob)),
            differing(_rest(trial.setting, knob, telling), base),
            trial.shown,
        ) for trial in trials if trial.quality
    ]  # fmt: skip
    blocks = [block for block in frames[0].shown if all(block in f.shown for f in frames)]
    firsts = list(by_prompt(blocks))[: len({block.prompt for block in blocks})]
    chosen = firsts[:: -(-len(firsts) // MOST_BLOCKS) or 1]
    return Strip(tuple(frames), tuple(chosen), base) if chosen else None


def _rates(trials: Iterable[Trial]) -> list[float]:
    return [trial.quality.win_rate for trial in trials if trial.quality]


def _reach(trials: Iterable[Trial]) -> float:
    """The highest win rate less the lowest."""
    rates = _rates(trials)
    return round(max(rates) - min(rates), 2) if rates else 0.0


def _spread(trials: Sequence[Trial]) -> list[Trial]:
    """At most `MOST_VALUES` of them, both ends among them."""
    if len(trials) <= MOST_VALUES:
        return list(trials)
    last = len(trials) - 1
    return [trials[round(i * last / (MOST_VALUES - 1))] for i in range(MOST_VALUES)]


def _usual(settings: Iterable[Setting]) -> Setting:
    """The setting that the others differ least from."""
    rows = list(settings)
    return min(rows, key=lambda one: sum(_distance(one, other) for other in rows))


def _distance(setting: Setting, reference: Mapping[str, Value]) -> float:
    """Knobs that differ; numbers that are near each other count for less than one."""
    total = 0.0
    for name, value in setting.items():
        other = reference.get(name)
        if value_key(value) == value_key(other):
            continue
        numbers = [float(one) for one in (value, other)
                   if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(numbers) == 2 and max(map(abs, numbers)) > 0:
            total += abs(numbers[0] - numbers[1]) / max(map(abs, numbers))
        else:
            total += 1.0
    return total


def _rest(setting: Setting, knob: str, telling: frozenset[str]) -> Setting:
    """The other knobs that change the picture, without those that nobody turned."""
    return Setting({name: value for name, value in setting.only(telling).items()
                    if name != knob and not untouched(name, value)})
