"""What an imported study holds: its default, each setting's cost, quality or failure, as trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ldmopt.contracts import Block, Cost, Quality, Setting, Value
from ldmopt.domain import Choice, Domain, Number
from ldmopt.errors import GenerationError
from ldmopt.intake.columns import failure_kind, known_knobs
from ldmopt.intake.ratings import Blocks, Judged, judged, of_default
from ldmopt.intake.shots import Shot, cost_of
from ldmopt.search import distribution
from ldmopt.study import records

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Shots = Mapping[Setting, Sequence[Shot]]
Judge = Callable[[Sequence[Block], Sequence[str], Sequence[str]], Quality]
"""Compares stored pictures with others, block by block."""


@dataclass(frozen=True)
class Facts:
    """What a table says at all.

    Attributes:
        timed: seconds are known of some setting.
        rated: ratings tell at least two pictures apart.
        pictured: there are picture files.
        ratings: how many ratings there are.
        raters: how many raters gave them.
    """

    timed: bool
    rated: bool
    pictured: bool
    ratings: int
    raters: int

    @classmethod
    def of(cls, shots: Shots) -> Facts:
        """Look through all pictures."""
        every = [shot for rows in shots.values() for shot in rows]
        values = {value for shot in every for value in shot.ratings.values()}
        return cls(
            any(cost_of(rows).timed for rows in shots.values()),
            len(values) > 1,
            any(shot.picture for shot in every),
            sum(len(shot.ratings) for shot in every),
            len({rater for shot in every for rater in shot.ratings}),
        )

    def lack(self, rows: Sequence[Shot]) -> str:
        """Say why nothing can be compared with a setting; empty where it can."""
        failed = next((shot.failed for shot in rows if shot.failed), "")
        if failed:
            return f"failed ({failed})"
        if self.timed and not cost_of(rows).timed:
            return "has no seconds"
        if self.rated and not any(shot.ratings for shot in rows):
            return "has no ratings"
        if not self.rated and self.pictured and not any(shot.picture for shot in rows):
            return "has no pictures"
        return ""


@dataclass(frozen=True)
class Measured:
    """One setting with what is known of it; a failed one has a failure alone."""

    setting: Setting
    cost: Cost | None = None
    judged: Judged | None = None
    failure: GenerationError | None = None


def measured(
    shots: Shots, default: Setting, facts: Facts, judge: Judge | None,
    progress: Callable[[float], None],
) -> list[Measured]:
    """Return every setting with its cost and quality, the default first.

    Args:
        shots: by setting.
        default: what they are compared with.
        facts: what the table says at all.
        judge: compares pictures where there are no ratings, or None.
        progress: is told the share that is done.
    """
    block = Blocks(shot for rows in shots.values() for shot in rows)
    found = [Measured(default, cost_of(shots[default]), of_default(shots[default], block))]
    others = [setting for setting in shots if setting != default]
    for number, setting in enumerate(others):
        rows = shots[setting]
        if any(shot.failed for shot in rows):
            found.append(Measured(setting, failure=_failure(rows)))
            continue
        cost = cost_of(rows)
        quality = None
        if facts.rated:
            quality = judged(rows, shots[default], block)
        elif judge is not None:
            quality = _by_scorer(rows, shots[default], block, judge)
        kept = cost if cost.timed or not facts.timed else None
        found.append(Measured(setting, kept, quality))
        progress((number + 1) / len(others))
    return found


def _failure(rows: Sequence[Shot]) -> GenerationError:
    """Word a setting's failure by its first reason, and in how many pictures it was."""
    failed = [shot for shot in rows if shot.failed]
    reason = failed[0].failed
    part = "" if len(failed) == len(rows) else f" (in {len(failed)} of {len(rows)} pictures)"
    return GenerationError(failure_kind(reason), reason + part)


def _by_scorer(
    rows: Sequence[Shot], default: Sequence[Shot], block: Blocks, judge: Judge
) -> Judged | None:
    """Return what a scorer says of a setting's pictures beside the default's of the same prompt."""
    base: dict[str, list[Shot]] = {}
    for shot in default:
        if shot.picture:
            base.setdefault(shot.prompt, []).append(shot)
    pairs: dict[Block, tuple[str, str]] = {}
    bases: Counter[str] = Counter()
    for shot in rows:
        if not shot.picture or shot.prompt not in base:
            continue
        here = base[shot.prompt]
        same = [other for other in here if shot.seed is not None and other.seed == shot.seed]
        bases["same seed" if same else "different seeds"] += 1
        other = same[0] if same else here[shot.order % len(here)]
        pairs.setdefault(block(shot), (shot.picture, other.picture))
    if not pairs:
        return None
    own, against = zip(*pairs.values(), strict=True)
    return Judged(judge(list(pairs), own, against), own, dict(bases))


def picture_knobs(shots: Shots) -> frozenset[str]:
    """Return the knobs that change the picture, as far as the table can tell.

    A knob that ldmopt knows to change only what a picture costs is believed to do so where the
    table's own pictures show it: those that differ in it alone are the same, and there are some.
    """
    names = {name for setting in shots for name in setting}
    known = known_knobs()
    return frozenset(name for name in names if name not in known or known[name].changes_picture
                     or not _leaves_pictures_alone(name, shots))


def _leaves_pictures_alone(name: str, shots: Shots) -> bool:
    seen: dict[tuple[str, str, int], tuple[Value, str]] = {}
    compared = False
    for setting, rows in shots.items():
        if name not in setting:
            continue
        rest = setting.only(set(setting) - {name}).json()
        for shot in rows:
            if not shot.picture or shot.seed is None:
                continue
            value, picture = seen.setdefault((rest, shot.prompt, shot.seed),
                                             (setting[name], shot.picture))
            if value != setting[name]:
                compared = True
                if picture != shot.picture:
                    return False
    return compared


def objectives(rows: Sequence[Measured]) -> list[str]:
    """Return what trials can be told: what is known of all settings that are compared."""
    whole = [row.cost for row in rows if row.judged is not None and row.cost is not None]
    found = ["win_rate"]
    if all(cost.timed for cost in whole):
        found.append("seconds")
    if all(cost.peak_memory_bytes is not None for cost in whole):
        found.append("peak_memory_bytes")
    return found


def trials(rows: Sequence[Measured], scorer: Mapping[str, Any]) -> list[FrozenTrial]:
    """Return Optuna's trials, one a setting.

    A failed setting is told as a run tells it: finished, with the worst values and a violated
    constraint. One whose cost or quality is not known is told PRUNED, with what is known.
    """
    import optuna
    from optuna.trial import TrialState

    wanted = objectives(rows)
    domains = {name: distribution(domain) for name, domain in space(rows).items()}
    figures = [_values(row, wanted) for row in rows if row.judged and row.cost]
    worst = [0.0, *(max(column) for column in list(zip(*figures, strict=True))[1:])]
    found = []
    for row in rows:
        attributes: dict[str, Any] = {"setting": dict(row.setting)}
        values: list[float] | None = None
        if row.failure is not None:
            attributes, values = records.failure_attributes(row.setting, row.failure), worst
        elif row.cost is not None and row.judged is not None:
            attributes = records.attributes(
                row.setting, row.cost, row.judged.quality, row.judged.pictures, scorer)
            values = _values(row, wanted)
        else:
            attributes |= {} if row.cost is None else {"cost": row.cost.to_dict()}
            if row.judged is not None:
                attributes |= {"quality": row.judged.quality.to_dict(),
                               "pictures": list(row.judged.pictures), "scorer": dict(scorer)}
        found.append(optuna.create_trial(
            state=TrialState.PRUNED if values is None else TrialState.COMPLETE,
            values=values, params=dict(row.setting),
            distributions={name: domains[name] for name in row.setting},
            user_attrs=attributes,
            constraints={"failure": 0.0 if row.failure is None else 1.0},
        ))  # fmt: skip
    return found


def _values(row: Measured, wanted: Iterable[str]) -> list[float]:
    assert row.judged is not None and row.cost is not None
    known = {"win_rate": row.judged.quality.win_rate, "seconds": row.cost.seconds,
             "peak_memory_bytes": row.cost.peak_memory_bytes}
    return [float(known[name] or 0.0) for name in wanted]


def space(rows: Iterable[Measured]) -> dict[str, Domain]:
    """Return each knob's domain by the values that were observed."""
    seen: dict[str, dict[Value, None]] = {}
    for row in rows:
        for name, value in row.setting.items():
            seen.setdefault(name, {})[value] = None
    found: dict[str, Domain] = {}
    for name, values in seen.items():
        numbers = [value for value in values
                   if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(values):
            whole = all(isinstance(value, int) for value in numbers)
            found[name] = Number(min(numbers), max(numbers), whole)
        else:
            found[name] = Choice(tuple(values))
    return found
