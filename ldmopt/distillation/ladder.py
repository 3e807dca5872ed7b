"""Named recommendations for a ladder of budgets, from settings measured on held-out prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.contracts import Aligned, Cost, Evidence, Setting
from ldmopt.distillation.confirmed import Confirmed
from ldmopt.distillation.front import nondominated
from ldmopt.distillation.intervals import paired_win_rate, prompt_means

CAPS_GB = (4.0, 6.0, 8.0, 12.0, 16.0, 24.0)
MOST_BUDGETS = 3
LEAST_WIN_RATE = 0.3
"""A budget is listed only where something within it wins at least this often."""

SAME_COST = 0.02
"""Costs within this share of each other count as equal: readings repeat to about that."""

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


def front_of(rows: Sequence[Confirmed]) -> list[Confirmed]:
    """Return the confirmed settings that no other one beats, cheapest first."""
    kept = [rows[index] for index in nondominated([row.point for row in rows])]
    return sorted(kept, key=lambda row: row.point.seconds)


def choices(rows: Sequence[Confirmed]) -> list[Choice]:
    """Return the ladder: wishes first, then the budgets that the data itself suggests.

    Args:
        rows: the confirmed settings, the default first.
    """
    sound = [row for row in rows if row.not_worse]
    timed = all(row.found.cost.timed for row in rows)
    found = [_best(rows), _pick("balanced", sound, _balance(sound))]
    if timed:
        found.append(_fastest(sound))
    if len({row.point.peak_memory_bytes for row in rows} - {None}) > 1:
        found.append(_smallest(sound))
    return [*found, *(_time_budgets(rows) if timed else ()), *_memory_budgets(rows)]


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


def _time_budgets(rows: Sequence[Confirmed]) -> list[Choice]:
    """Budgets in seconds from 1, 2, 5 x 10^k at which another setting becomes the best one."""
    times = sorted(row.point.latency_seconds for row in rows)
    limits = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(times[0])), math.ceil(math.log10(times[-1])) + 1)
        for digit in (1.0, 2.0, 5.0)
    ]
    found = []
    for limit in _changing(rows, limits, lambda row: row.point.latency_seconds):
        fitting = [row for row in rows if row.point.latency_seconds <= limit]
        choice = _pick(f"under-{limit:.6g}s", fitting, _highest)
        found.append(Choice(choice.id, choice.chosen, choice.runner_up, max_seconds=limit))
    return found


def _memory_budgets(rows: Sequence[Confirmed]) -> list[Choice]:
    """Budgets in GB: what cards have, or 1, 2, 5 x 10^k below the smallest of those."""
    sizes = sorted(_memory(row) for row in rows if row.point.peak_memory_bytes)
    if not sizes:
        return []
    steps = [d * 10.0**p for p in range(-3, 1) for d in (1.0, 2.0, 5.0)]
    limits = [step * 1e9 for step in [*(s for s in steps if s < CAPS_GB[0]), *CAPS_GB]]
    found = []
    for limit in _changing(rows, limits, _memory):
        fitting = [row for row in rows if _memory(row) <= limit]
        choice = _pick(f"under-{limit / 1e9:.6g}gb", fitting, _highest)
        found.append(Choice(choice.id, choice.chosen, choice.runner_up, max_memory_bytes=limit))
    return found


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


def to_dict(choice: Choice, evidence: Evidence, count: int, confidence: float) -> dict[str, Any]:
    """Return one entry of rulebook.json's ``recommendations``.

    Args:
        choice: what was chosen.
        evidence: where trial numbers and the scope come from.
        count: how many settings were confirmed, for the record of how many were compared.
        confidence: of the intervals.
    """
    row = choice.chosen
    is_default = row.setting == evidence.default
    return {
        "id": choice.id,
        "when": {
            "max_seconds": choice.max_seconds,
            "max_memory_bytes": choice.max_memory_bytes,
            "min_win_rate": None,
        },
        **point_to_dict(row, evidence.imported),
        "runner_up": _runner_up(choice, confidence, evidence.imported),
        "evidence": {
            "trials": [t.number for t in evidence.trials if t.setting == row.setting],
            "prompts": len(prompt_means(row.quality.blocks)),
            "pictures": len(row.found.pictures),
            "human_labels": int(evidence.scope.get("human_labels", 0)),
            "held_out": not evidence.imported,
            "is_default": is_default,
            "settings_confirmed": count,
            "shown_better": row.better,
            "shown_not_worse": row.not_worse,
            "p_not_worse_holm": row.p_not_worse,
        },
    }


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
