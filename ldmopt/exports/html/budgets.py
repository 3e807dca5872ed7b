"""The limits that the budget sliders go through, and what the page's script chooses from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ldmopt.contracts import Setting
from ldmopt.exports._words import bytes_text, seconds_text
from ldmopt.exports.html.story import Entry

STEPS = 60
"""Limits of a slider, about; the last further one is no limit at all."""


def choices(front: Sequence[Mapping[str, Any]], known: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the front as the page's script reads it, in the rulebook's order."""
    places = {entry.setting: entry.place for entry in known}
    return [
        {
            "entry": places[Setting(row["setting"])],
            "win_rate": row["quality"]["win_rate"],
            "seconds": row["cost"]["seconds"],
            "latency_seconds": row["cost"]["latency_seconds"],
            "peak_memory_bytes": row["cost"]["peak_memory_bytes"],
        }
        for row in front
    ]


def limits(front: Sequence[Mapping[str, Any]], figure: str) -> list[tuple[float | None, str]]:
    """Return a slider's limits with their words, the tightest first and none at all last.

    They run on a logarithmic scale from below the least figure of the front to above the most,
    through that figure of every setting, rounded up to three significant figures.

    Args:
        front: the rulebook's front.
        figure: ``latency_seconds`` or ``peak_memory_bytes``.

    Returns:
        Nothing where the figure is known of no setting or the same of all.
    """
    known = sorted({float(row["cost"][figure]) for row in front if row["cost"][figure]})
    if len(known) < 2:
        return []
    low, high = known[0] / 1.15, known[-1] * 1.15
    even = [low * (high / low) ** (step / STEPS) for step in range(STEPS + 1)]
    values = sorted({rounded_up(value) for value in (*even, *known)})
    told: Callable[[float | None], str] = (
        seconds_text if figure == "latency_seconds" else bytes_text)
    return [*((value, told(value)) for value in values), (None, "no limit")]


def rounded_up(value: float) -> float:
    """Round up to three significant figures."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    steps = math.ceil(value / unit - 1e-9)
    found = float(f"{steps * unit:.3g}")
    return found if found >= value else float(f"{(steps + 1) * unit:.3g}")


def least(front: Sequence[Mapping[str, Any]], figure: str) -> str:
    """Return the least of a figure in words; empty where it is not known."""
    known = [row["cost"][figure] for row in front if row["cost"][figure] is not None]
    if not known:
        return ""
    return (seconds_text if figure == "latency_seconds" else bytes_text)(min(known))
