"""Which entries of two rulebooks are about the same thing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ldmopt.contracts import Setting

Row = Mapping[str, Any]


def measured(book: Row) -> dict[Setting, Row]:
    """Return every setting with held-out figures, recommendations first, each once."""
    found: dict[Setting, Row] = {}
    for row in (*book["recommendations"], *book["front"]):
        found.setdefault(Setting(row["setting"]), row)
    for item in book["recommendations"]:
        if item["runner_up"]:
            found.setdefault(Setting(item["runner_up"]["setting"]), item["runner_up"])
    return found


def effect_key(row: Row) -> tuple[str, ...]:
    """Return what an effect is of, whichever way round it is told."""
    ends = sorted([json.dumps(row["from"]), json.dumps(row["to"])])
    return (row["knob"], *ends, json.dumps(row["given"], sort_keys=True))


def same_way(row: Row, like: Row) -> Row:
    """Return an effect told from the same value to the same value as another one."""
    if row["from"] == like["from"]:
        return row
    def over(ratio: float | None) -> float | None:
        return 1 / ratio if ratio else None

    return {
        **row, "from": row["to"], "to": row["from"], "win_rate": 1 - row["win_rate"],
        "low": 1 - row["high"], "high": 1 - row["low"],
        "seconds_ratio": over(row["seconds_ratio"]), "memory_ratio": over(row["memory_ratio"]),
        "verdict": {"worth it": "harmful", "harmful": "worth it"}.get(row["verdict"],
                                                                      row["verdict"]),
    }


def changed(one: Row, other: Row) -> dict[str, list[Any]]:
    """Return the knobs in which two settings differ, each with both values; None is not acting."""
    names = [*one, *(name for name in other if name not in one)]
    return {name: [one.get(name), other.get(name)] for name in names
            if one.get(name) != other.get(name)}


def ratio(one: float | None, other: float | None) -> float | None:
    """Return the second as a multiple of the first, where both are known."""
    return other / one if one and other is not None else None
