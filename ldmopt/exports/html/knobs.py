"""What the rulebook says of each knob, and how far each one reaches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.exports._sentences import depending, equivalent, plateau, same_picture, seen_in
from ldmopt.knob import all_knobs

SHOWN = ("worth it", "harmful", "depends", "not worth it")
"""Verdicts that rest on something that was shown."""


@dataclass(frozen=True)
class Reach:
    """How far a knob moved things between two of its values that were compared.

    Attributes:
        shown: range of win rates over its values, by the steps whose verdict rests on a shown
            difference.
        seen: the same by all steps, chance included.
        seconds: most seconds of a value over the least; None where no cost tells.
        memory: the same of memory.
    """

    shown: float
    seen: float
    seconds: float | None
    memory: float | None


@dataclass(frozen=True)
class KnobView:
    """One knob's card.

    Attributes:
        name: the knob.
        help: what it does, in a sentence.
        effects: rows of the rulebook's ``effects``, with ``same`` and ``seen`` in words.
        notes: plateaus, values that cannot be told apart, and what an effect depends on.
        reach: how far it reaches.
    """

    name: str
    help: str
    effects: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    reach: Reach

    @property
    def keeps_picture(self) -> bool:
        """Whether it changes only what a picture costs."""
        return bool(self.effects) and all(row["same"] for row in self.effects)


def knob_views(data: Mapping[str, Any]) -> list[KnobView]:
    """Return a card for each knob that the rulebook says anything of, farthest reach first."""
    help = {name: knob.help for name, knob in all_knobs().items()}
    named = dict.fromkeys(
        row["knob"] for part in ("effects", "plateaus", "equivalent") for row in data[part]
    )
    found = []
    for name in named:
        rows = [row for row in data["effects"] if row["knob"] == name]
        notes = [line for row in rows if (line := depending(row))]
        notes += [plateau(row) for row in data["plateaus"] if row["knob"] == name]
        notes += [equivalent(row) for row in data["equivalent"] if row["knob"] == name]
        told = tuple({**row, "same": same_picture(row), "seen": seen_in(row)} for row in rows)
        found.append(KnobView(name, help.get(name, ""), told, tuple(notes), reach(rows)))
    return sorted(found, key=lambda view: (-view.reach.shown, -view.reach.seen, view.name))


def reach(rows: Sequence[Mapping[str, Any]]) -> Reach:
    """Return how far a knob reaches, from its effects.

    Steps that share a value are added up: 4 to 6 and 6 to 8 make 4 to 8. Values that no chain of
    steps joins, or that were compared under other conditions, are not compared here.
    """
    gains = [(row, row["win_rate"] - 0.5) for row in rows if not same_picture(row)]
    shown = [(row, gain if row["verdict"] in SHOWN[:3] or _off(row) else 0.0)
             for row, gain in gains]
    return Reach(
        _span(shown), _span(gains),
        _ratio((row, row["seconds_ratio"]) for row in rows),
        _ratio((row, row["memory_ratio"]) for row in rows),
    )  # fmt: skip


def _off(row: Mapping[str, Any]) -> bool:
    """Whether a difference was shown though it is not worth its cost."""
    holm = row["evidence"].get("p_holm")
    return row["verdict"] == "not worth it" and holm is not None and holm <= 0.05


def _span(steps: Iterable[tuple[Mapping[str, Any], float]]) -> float:
    """The widest range of sums over values that steps join."""
    widest = 0.0
    for places in _chains(steps):
        widest = max(widest, max(places.values()) - min(places.values()))
    return min(1.0, widest)


def _ratio(steps: Iterable[tuple[Mapping[str, Any], float | None]]) -> float | None:
    """The widest ratio over values that steps join."""
    known = [(row, math.log(ratio)) for row, ratio in steps if ratio]
    spans = [max(places.values()) - min(places.values()) for places in _chains(known)]
    return math.exp(max(spans)) if spans else None


def _chains(
    steps: Iterable[tuple[Mapping[str, Any], float]]
) -> list[dict[tuple[str, object], float]]:
    """Give every value a place, so that each step's ends lie its amount apart.

    Steps under different conditions make chains of their own, as do values that no step joins.
    """
    chains: list[dict[tuple[str, object], float]] = []
    for row, amount in steps:
        given = repr(sorted(row["given"].items(), key=lambda item: item[0]))
        start, end = ((given, repr(row[side])) for side in ("from", "to"))
        for chain in chains:
            if start in chain and end not in chain:
                chain[end] = chain[start] + amount
                break
            if end in chain and start not in chain:
                chain[start] = chain[end] - amount
                break
        else:
            chains.append({start: 0.0, end: amount})
    return chains
