"""What each value of each knob does to seconds and memory, told by the cost model.

A search seldom tries two settings that differ in one knob alone, our own least of all: it runs
each picture setting one way. The cost model has learned from every call that was timed, so it can
be asked what a single change does to the settings that were tried; the rulebook's effects rest on
that. It is kept in ``costs.json`` of the run folder, for whoever distills again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from ldmopt.contracts import CostChange, Setting, Value
from ldmopt.distillation.table import distinct, value_key, varied
from ldmopt.knob import Space
from ldmopt.search.cost import CostModel, Prediction
from ldmopt.search.demand import Counter, Demand
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.probing import counter, learn
from ldmopt.study.session import Session

SETTINGS = 48
"""Tried settings that a change is averaged over, evenly chosen, at the most."""


def write_changes(session: Session, tried: Sequence[Setting]) -> None:
    """Learn a cost model from all that was timed and write what it says of each knob's values.

    Args:
        session: whose journal holds the readings.
        tried: settings that gave pictures.
    """
    rows = changes(session, learn(session), tried)
    data = {"schema_version": 1, "changes": [row.to_dict() for row in rows]}
    write(session.folder.costs, (json.dumps(data, indent=1) + "\n").encode())


def read_changes(folder: RunFolder) -> tuple[CostChange, ...]:
    """Return what `write_changes` wrote; nothing of a run that has no such file."""
    if not folder.costs.is_file():
        return ()
    data = json.loads(folder.costs.read_text(encoding="utf-8"))
    return tuple(CostChange.from_dict(row) for row in data["changes"])


def changes(session: Session, model: CostModel, tried: Sequence[Setting]) -> list[CostChange]:
    """Return what changing each knob alone, from its base to each value tried, does to costs."""
    space, counts = session.space, counter(session)
    places = np.linspace(0, len(tried) - 1, min(SETTINGS, len(tried))).round().astype(int)
    some = [tried[place] for place in places]
    found = []
    for knob in sorted(varied(tried)):
        values = distinct(tried, knob)
        base = space.default.get(knob, values[0])
        before = [_demand(space, counts, one, knob, base) for one in some]
        for value in values:
            if value_key(value) == value_key(base):
                continue
            after = [_demand(space, counts, one, knob, value) for one in some]
            both = [(old, new) for old, new in zip(before, after, strict=True) if old and new]
            if both:
                seconds, memory = _ratios(model, both)
                found.append(CostChange(knob, base, value, seconds, memory))
    return found


def _ratios(
    model: CostModel, both: Sequence[tuple[Demand, Demand]]
) -> tuple[tuple[float, float], tuple[float, float] | None]:
    """Return the logarithms of both ratios, each with its deviation."""
    before, after = zip(*both, strict=True)
    memory = model.memory_change(before, after)
    return _log(model.change(before, after)), None if memory is None else _log(memory)


def _demand(
    space: Space, counts: Counter, setting: Setting, knob: str, value: Value
) -> Demand | None:
    """Return what a setting with another value asks for.

    None where the knob then does not act, or the value is refused.
    """
    found = space.canonical({**setting, knob: value})
    return None if knob not in found or space.refusal(found) else counts.demand(found)


def _log(found: Prediction) -> tuple[float, float]:
    return math.log(found.value), found.deviation
