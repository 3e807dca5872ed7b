"""Named recommendations for a ladder of budgets, from settings measured on held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.contracts import Aligned, Cost, Evidence, Setting
from ldmopt.distillation.confirmed import Confirmed
from ldmopt.distillation.constants import Constants
from ldmopt.distillation.differences import paired_win_rate
from ldmopt.distillation.front import nondominated
from ldmopt.distillation.intervals import holm, prompt_means
from ldmopt.distillation.provenance import judged_by, scope
from ldmopt.distillation.selection import held_out, in_search

CAPS_GB = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
MOST_BUDGETS = 3
LEAST_WIN_RATE = 0.3
"""A budget is listed only where something within it wins at least this often."""

SAME_COST = 0.02
"""Costs within this share of each other count as equal: readings repeat to about that."""

LEAST_BEND = 0.1
"""How far a knee lies from the straight line, of the unit square that the front fills."""

REACH_SECONDS, REACH_MEMORY, REACH_WINS = 2.0, 1.25, 0.1
"""Least ranges over which `balanced` weighs its axes, so that noise is not blown up."""


@dataclass(frozen=True)
class Choice:
    """A named recommendation before it is written down."""

    id: str
    chosen: Confirmed
    runner_up: Confirmed | None
    max_seconds: float | None = None
    max_memory_bytes: float | None = None
    is_knee: bool = False


def front_of(rows: Sequence[Confirmed]) -> list[Confirmed]:
    """Return the confirmed settings that no other one beats, cheapest first."""
    kept = [rows[index] for index in nondominated([row.point for row in rows])]
    return sorted(kept, key=lambda row: row.point.seconds)


def choices(rows: Sequence[Confirmed], constants: Constants) -> list[Choice]:
    """Return the ladder: wishes first, then the budgets that the data itself suggests.

    Args:
        rows: the confirmed settings, the default first.
        constants: what counts as a difference.
    """
    sound = [row for row in rows if row.not_worse]
    timed = all(row.found.cost.timed for row in rows)
    found = [_best(rows), _pick("balanced", sound, _balance(sound))]
    if timed:
        found.append(_fastest(sound))
    if len({row.point.peak_memory_bytes for row in rows} - {None}) > 1:
        found.append(_smallest(sound))
    times = _time_budgets(rows, constants) if timed else []
    return [*found, *times, *_memory_budgets(rows, constants)]


def _best(rows: Sequence[Confirmed]) -> Choice:
    """The highest win rate among those that won (see `Confirmed.won`); none such, the default.

    Whether that also holds after allowing for all settings compared is in ``shown_better``.
    """
    ranked = sorted(rows, key=lambda row: -row.quality.win_rate)
    winners = [row for row in ranked if row.won] or [rows[0]]
    rest = [row for row in ranked if row is not winners[0]]
    return Choice("best", winners[0], rest[0] if rest else None)


def _pick(
    id: str, rows: Sequence[Confirmed], key: Callable[[Confirmed], tuple[float, ...]]
) -> Choice:
    """The least by a key, with the second least as runner-up."""
    ranked = sorted(rows, key=key)
    return Choice(id, ranked[0], ranked[1] if len(ranked) > 1 else None)


def _fastest(rows: Sequence[Confirmed]) -> Choice:
    """Fewest seconds; among those as cheap within `SAME_COST`, the higher win rate."""
    least = min(row.point.seconds for row in rows)
    return _pick(
        "fastest-not-worse",
        rows,
        lambda row: (
            _tier(row.point.seconds, least),
            -row.quality.win_rate,
            row.point.seconds,
        ),
    )


def _smallest(rows: Sequence[Confirmed]) -> Choice:
    """Least memory; among those as small within `SAME_COST`, the fewer seconds."""
    known = [row for row in rows if row.point.peak_memory_bytes is not None]
    least = min(_memory(row) for row in known)
    return _pick(
        "smallest",
        known,
        lambda row: (_tier(_memory(row), least), row.point.seconds, -row.quality.win_rate),
    )


def _tier(value: float, least: float) -> float:
    """The least and what equals it share one tier; above that the value itself counts."""
    return least if value <= least * (1.0 + SAME_COST) else value


def _memory(row: Confirmed) -> float:
    size = row.point.peak_memory_bytes
    return math.inf if size is None else size


def _balance(rows: Sequence[Confirmed]) -> Callable[[Confirmed], tuple[float, ...]]:
    """Win rate, log seconds and log memory, each over the range of the rows, weigh the same."""
    wins = [row.quality.win_rate for row in rows]
    times = [row.point.seconds for row in rows]
    seconds = [math.log(time) for time in times] if all(times) else []
    sizes = [math.log(size) for row in rows if (size := row.point.peak_memory_bytes)]
    whole = len(sizes) == len(rows)

    def score(row: Confirmed) -> tuple[float, ...]:
        gain = (row.quality.win_rate - min(wins)) / max(max(wins) - min(wins), REACH_WINS)
        if seconds:
            time_range = max(max(seconds) - min(seconds), math.log(REACH_SECONDS))
            gain += (max(seconds) - math.log(row.point.seconds)) / time_range
        if whole:
            size_range = max(max(sizes) - min(sizes), math.log(REACH_MEMORY))
            gain += (max(sizes) - math.log(_memory(row))) / size_range
        return (-gain, row.point.seconds)

    return score


def _time_budgets(rows: Sequence[Confirmed], constants: Constants) -> list[Choice]:
    """Budgets in seconds: 1, 2, 5 x 10^k where another setting becomes the best, and a knee."""
    times = sorted(row.point.latency_seconds for row in rows)
    limits = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(times[0])), math.ceil(math.log10(times[-1])) + 1)
        for digit in (1.0, 2.0, 5.0)
    ]
    found = _budgets(rows, limits, lambda row: row.point.latency_seconds, constants)
    return [
        Choice(f"under-{limit:.6g}s", *choice, max_seconds=limit, is_knee=bent)
        for limit, choice, bent in found
    ]


def _memory_budgets(rows: Sequence[Confirmed], constants: Constants) -> list[Choice]:
    """Budgets in GB: what cards have, or 1, 2, 5 x 10^k below the smallest of those; a knee."""
    if not any(row.point.peak_memory_bytes for row in rows):
        return []
    steps = [d * 10.0**p for p in range(-3, 1) for d in (1.0, 2.0, 5.0)]
    limits = [step * 1e9 for step in [*(s for s in steps if s < CAPS_GB[0]), *CAPS_GB]]
    return [
        Choice(f"under-{limit / 1e9:.6g}gb", *choice, max_memory_bytes=limit, is_knee=bent)
        for limit, choice, bent in _budgets(rows, limits, _memory, constants)
    ]


def _budgets(
    rows: Sequence[Confirmed],
    limits: Sequence[float],
    cost: Callable[[Confirmed], float],
    constants: Constants,
) -> list[tuple[float, tuple[Confirmed, Confirmed | None], bool]]:
    """Each budget with the best within it and its runner-up, and whether it is the front's knee.

    A knee whose setting has a round budget already needs none of its own.
    """
    bend = knee(rows, cost, constants)
    wanted = _changing(rows, limits, cost)
    found = {}
    for limit in wanted:
        found[limit] = _best_two([row for row in rows if cost(row) <= limit])
    bent = {limit for limit, (best, _) in found.items() if bend and best.setting == bend.setting}
    if bend is not None and not bent:
        limit = _two_figures_up(cost(bend))
        found[limit] = _best_two([row for row in rows if cost(row) <= limit])
        bent = {limit}
    return [(limit, found[limit], limit in bent) for limit in sorted(found)]


def _best_two(rows: Sequence[Confirmed]) -> tuple[Confirmed, Confirmed | None]:
    ranked = sorted(rows, key=_highest)
    return ranked[0], ranked[1] if len(ranked) > 1 else None


def _two_figures_up(value: float) -> float:
    """The least number of two significant figures that is not below a value."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(round(value / unit, 6)) * unit:.6g}")


def knee(
    rows: Sequence[Confirmed], cost: Callable[[Confirmed], float], constants: Constants
) -> Confirmed | None:
    """Return the setting after which the front of win rate against log cost rises far less.

    It is the point of the front that lies farthest above the straight line between its ends, both
    axes scaled to [0, 1] (Satopää et al. 2011, "Finding a Kneedle in a Haystack"); None without a
    bend of `LEAST_BEND`, or where the win rate along the front differs by less than the margin.
    """
    front: list[Confirmed] = []
    for row in sorted(rows, key=lambda row: (cost(row), -row.quality.win_rate)):
        known = math.isfinite(cost(row)) and row.quality.win_rate >= LEAST_WIN_RATE
        if known and (not front or row.quality.win_rate > front[-1].quality.win_rate):
            front.append(row)
    if len(front) < 3:
        return None
    wins = [row.quality.win_rate for row in front]
    logs = [math.log(cost(row)) for row in front]
    if wins[-1] - wins[0] < constants.margin or logs[-1] - logs[0] < math.log(1 + SAME_COST):
        return None
    bends = [
        (win - wins[0]) / (wins[-1] - wins[0]) - (log - logs[0]) / (logs[-1] - logs[0])
        for win, log in zip(wins, logs, strict=True)
    ]
    most = max(range(len(front)), key=bends.__getitem__)
    return front[most] if bends[most] / math.sqrt(2.0) >= LEAST_BEND else None


def _highest(row: Confirmed) -> tuple[float, ...]:
    """Highest win rate first; ties by memory, then seconds."""
    return (-row.quality.win_rate, _memory(row), row.point.seconds)


def _changing(
    rows: Sequence[Confirmed], limits: Sequence[float], cost: Callable[[Confirmed], float]
) -> list[float]:
    """The limits under which something fits, not everything, and the best changes.

    Of limits with the same best setting the tightest stays; at most `MOST_BUDGETS`, spread out.
    """
    first: dict[Setting, float] = {}
    for limit in sorted(limits):
        fitting = [row for row in rows if cost(row) <= limit]
        best = min(fitting, key=_highest, default=None)
        if best and len(fitting) < len(rows) and best.quality.win_rate >= LEAST_WIN_RATE:
            first.setdefault(best.setting, limit)
    kept = list(first.values())
    if len(kept) <= MOST_BUDGETS:
        return kept
    return [kept[round(i * (len(kept) - 1) / (MOST_BUDGETS - 1))] for i in range(MOST_BUDGETS)]


def to_dict(
    choice: Choice, evidence: Evidence, rows: Sequence[Confirmed], constants: Constants
) -> dict[str, Any]:
    """Return one entry of rulebook.json's ``recommendations``.

    Args:
        choice: what was chosen.
        evidence: where trial numbers and the scope come from.
        rows: all that was confirmed.
        constants: how sure intervals are.
    """
    row = choice.chosen
    prompts = len(prompt_means(row.quality.blocks))
    known: dict[str, Any] = {
        "trials": [t.number for t in evidence.trials if t.setting == row.setting],
        "prompts": prompts,
        "pictures": len(row.found.pictures),
        "human_labels": int(evidence.scope.get("human_labels", 0)),
        "held_out": held_out(evidence, row.found),
        "is_default": row.setting == evidence.default,
        "settings_confirmed": len(rows),
        "shown_better": row.better,
        "shown_not_worse": row.not_worse,
        "p_not_worse_holm": row.p_not_worse,
        "in_search": in_search(evidence, row.found, constants.confidence),
        "judged_by": judged_by(evidence),
        "scope": scope(evidence, prompts),
    }
    if choice.is_knee:
        known["knee"] = True
    if choice.id == "best":
        known["tied"] = _tied(row, [r for r in rows[1:] if not r.against], constants)
    return {
        "id": choice.id,
        "when": {
            "max_seconds": choice.max_seconds,
            "max_memory_bytes": choice.max_memory_bytes,
            "min_win_rate": None,
        },
        **point_to_dict(row, evidence.imported),
        "runner_up": _runner_up(choice, constants.confidence, evidence.imported),
        "evidence": known,
    }


def _tied(
    best: Confirmed, others: Sequence[Confirmed], constants: Constants
) -> list[dict[str, Any]]:
    """The settings that cannot be told from the best one, after Holm's correction, cheapest first.

    Where there are some, the data name no winner.
    """
    rest = [row for row in others if row.setting != best.setting]
    if len(rest) == len(others):
        return []  # the default itself is best: what ties with it is not better than it
    gaps = [paired_win_rate(best.quality, row.quality, constants.confidence) for row in rest]
    adjusted = holm([gap.p for gap in gaps])
    tied = [
        (row, gap) for row, gap, p in zip(rest, gaps, adjusted, strict=True)
        if p > 1.0 - constants.confidence
    ]  # fmt: skip
    return [
        {
            "setting": dict(row.setting),
            "seconds": row.point.seconds if row.found.cost.timed else None,
            "difference": {"win_rate": gap.estimate, "low": gap.low, "high": gap.high},
        }
        for row, gap in sorted(tied, key=lambda pair: pair[0].point.seconds)
    ]  # fmt: skip


def _runner_up(choice: Choice, confidence: float, imported: bool) -> dict[str, Any]:
    """The second choice, and whether the first one can be told from it."""
    other = choice.runner_up
    if other is None:
        return {}
    gap = paired_win_rate(choice.chosen.quality, other.quality, confidence)
    return {
        **point_to_dict(other, imported),
        "difference": {"win_rate": gap.estimate, "low": gap.low, "high": gap.high},
        "tie": gap.low <= 0.5 <= gap.high,
    }


def point_to_dict(row: Confirmed, imported: bool = False) -> dict[str, Any]:
    """Return setting, quality and cost as the front has them."""
    found, quality = row.found, row.quality
    figures = {"win_rate": quality.win_rate, "low": quality.low, "high": quality.high}
    fitting = {} if found.aligned is None else {"alignment": alignment_to_dict(found.aligned)}
    return {
        "setting": dict(found.setting),
        "quality": {
            **figures,
            "scorer": {**figures, "prompts": len(prompt_means(quality.blocks))},
            "human": row.human,
            **fitting,
        },
        "cost": cost_to_dict(
            found.cost, found.seconds_low, found.seconds_high, found.setting, imported
        ),
    }


def alignment_to_dict(found: Aligned) -> dict[str, Any]:
    """Return how well pictures fit their captions, as the rulebook has it."""
    return {"similarity": found.mean, "ratio": found.ratio, "low": found.low, "high": found.high}


def cost_to_dict(
    cost: Cost, low: float, high: float, setting: Setting, imported: bool = False
) -> dict[str, Any]:
    """Return a measured cost as the rulebook has it."""
    return {
        "seconds": cost.seconds if cost.timed else None,
        "low": low if cost.timed else None,
        "high": high if cost.timed else None,
        "latency_seconds": cost.latency_seconds if cost.timed else None,
        "batch": int(setting.get("batch", 1)),
        "peak_memory_bytes": cost.peak_memory_bytes,
        "memory_kind": cost.memory_kind,
        "source": "imported" if imported else "measured",
    }
