"""Observations joined into pictures: each has one cost, however many raters looked at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from ldmopt.contracts import Cost, Setting
from ldmopt.distillation.intervals import median_interval
from ldmopt.errors import UserError
from ldmopt.intake.table import Observation

UNITS = 300.0
"""Seconds of one setting that differ by more than this factor are not in the same unit."""
UNITS_OF_MEMORY = 1e4
"""Peak memories of one table that differ by more than this factor are not in the same unit."""

Named = Callable[[Observation], str]
"""Returns what to call an observation's row in a message."""


@dataclass
class Shot:
    """One picture of a setting, or one failed attempt at it.

    Attributes:
        setting: the knobs' values.
        prompt: what it was made for; empty where unknown.
        seed: its seed, or None.
        order: its number among the setting's pictures of that prompt, from 0.
        first: the observation that it was first seen in.
        picture: digest, or empty where there is no file.
        seconds: device seconds, or None.
        peak_memory_bytes: peak memory, or None.
        warmup: whether its cost is to be left out.
        failed: why it is no usable picture; empty where it is one.
        ratings: what each rater gave it.
    """

    setting: Setting
    prompt: str
    seed: int | None
    order: int
    first: Observation
    picture: str = ""
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    warmup: bool = False
    failed: str = ""
    ratings: dict[str, float] = field(default_factory=dict)


def shots_of(observations: Iterable[Observation], name: Named) -> dict[Setting, list[Shot]]:
    """Join observations into pictures, by setting, in order of appearance.

    Args:
        observations: of one or more tables, no key twice.
        name: names a row.

    Raises:
        UserError: two rows of one picture contradict each other on what it cost.
    """
    by_id: dict[str, Setting] = {}
    found: dict[Setting, list[Shot]] = {}
    places: dict[tuple[object, ...], list[Shot]] = {}
    for one in observations:
        key = one.setting.json()
        setting = by_id.setdefault(key, one.setting)
        here = found.setdefault(setting, [])
        alike = places.setdefault((key, one.prompt, one.seed, one.repeat), [])
        shot = next((item for item in alike
                     if not (item.picture and one.picture and item.picture != one.picture)), None)
        if shot is None:
            order = sum(item.prompt == one.prompt for item in here)
            shot = Shot(setting, one.prompt, one.seed, order, one)
            alike.append(shot)
            here.append(shot)
        _join(shot, one, name)
    return found


def _join(shot: Shot, one: Observation, name: Named) -> None:
    """Add what a row says of a picture."""
    for column in ("seconds", "peak_memory_bytes"):
        before, now = getattr(shot, column), getattr(one, column)
        if before is None:
            setattr(shot, column, now)
        elif now not in (None, before):
            raise UserError(f"{name(one)}: column {column!r} says {now:g} of a picture that "
                            f"{name(shot.first)} says {before:g} of; give a picture one cost, or "
                            "number repetitions in a column 'repeat'")
    shot.picture = shot.picture or one.picture
    shot.warmup = shot.warmup or one.warmup
    shot.failed = shot.failed or one.failed
    if one.rating is not None:
        shot.ratings[one.rater] = one.rating


def check_units(shots: Mapping[Setting, Sequence[Shot]], name: Named) -> None:
    """Refuse seconds and bytes that cannot be in one unit.

    Raises:
        UserError: names the row that stands apart.
    """
    for rows in shots.values():
        timed = [(row.seconds, row) for row in rows if row.seconds is not None and not row.warmup]
        _apart(timed, "seconds", UNITS, name, "of one setting")
    sized = [(float(row.peak_memory_bytes), row) for rows in shots.values() for row in rows
             if row.peak_memory_bytes is not None]
    _apart(sized, "peak_memory_bytes", UNITS_OF_MEMORY, name, "of one table")


def _apart(
    values: Sequence[tuple[float, Shot]], column: str, factor: float, name: Named, where: str
) -> None:
    if len(values) < 2:
        return
    middle = median(value for value, _ in values)
    value, row = max(values, key=lambda pair: max(pair[0] / middle, middle / pair[0]))
    other = max(values, key=lambda pair: max(pair[0] / value, value / pair[0]))[0]
    if max(value / other, other / value) > factor:
        raise UserError(f"{name(row.first)}: column {column!r} says {value:g}, where others "
                        f"{where} say {other:g}: mixed units? write all in "
                        f"{'seconds' if column == 'seconds' else 'bytes'}, or mark a first call "
                        "with warmup 1")


def cost_of(shots: Sequence[Shot]) -> Cost:
    """Return what a setting costs: the median of its pictures' seconds, the largest memory.

    Warm-ups are left out. Where no seconds are known, `Cost.repeats` is 0.
    """
    kept = [row for row in shots if not row.warmup and not row.failed]
    seconds = [row.seconds for row in kept if row.seconds is not None]
    sizes = [row.peak_memory_bytes for row in kept if row.peak_memory_bytes is not None]
    memory = max(sizes) if sizes else None
    batch = next((int(value) for row in shots if (value := row.setting.get("batch"))), 1)
    if not seconds:
        return Cost(0.0, 0.0, peak_memory_bytes=memory, memory_kind="imported", batch=batch,
                    repeats=0)
    middle = median_interval(seconds)
    return Cost(
        middle.estimate, middle.estimate * batch, peak_memory_bytes=memory,
        memory_kind="imported", batch=batch, repeats=len(seconds),
        seconds_low=middle.low if len(seconds) > 1 else None,
        seconds_high=middle.high if len(seconds) > 1 else None,
    )  # fmt: skip
