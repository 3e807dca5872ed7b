"""What a study would do: what is searched, what was dropped and why, and what it would take."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from ldmopt import forecast
from ldmopt.knob import Choice, Fitting, Number, Space, refused
from ldmopt.search import samples
from ldmopt.search.demand import Counter
from ldmopt.study import equivalence
from ldmopt.study.confirming import CONFIRMED_SETTINGS
from ldmopt.study.scoring import check_scorers
from ldmopt.study.session import early_space, open_host
from ldmopt.study.spec import StudySpec, prompts_of, read_spec
from ldmopt.study.stopping import LARGEST_RESERVE
from ldmopt.study.timing import LEAST_CALLS


def plan(study: StudySpec | str | Path, *, probe: bool = True) -> dict[str, Any]:
    """Return what a study would do.

    Args:
        study: a study file's path, or a spec made in Python.
        probe: run the default twice for a few steps, and read its memory twice, to predict device
            minutes and what cannot fit the memory cap. Without it no device second is spent, and
            ``forecast`` is None.

    Returns:
        JSON data: ``default``; ``searched`` with each knob's ``kind`` (picture or execution) and
        ``values``; ``dropped`` with reasons; ``pictures``; ``budget``; ``caps``; ``forecast``.

    Raises:
        UserError: the study, model, scorer or machine cannot be used.
    """
    spec = study if isinstance(study, StudySpec) else read_spec(study)
    search, confirm = prompts_of(spec)
    check_scorers(spec)
    space = early_space(spec)
    model = space.context.model
    cases = list(equivalence.cases(space))
    pictures = {
        "default": len(search) * spec.seeds,
        "probe": len(cases) * min(equivalence.BLOCKS, len(search) * spec.seeds),
        "per_trial": len(search) * spec.seeds,
        "held_out_per_recommendation": len(confirm) * spec.seeds,
    }
    return {
        "study": spec.name,
        "model": f"{spec.model} ({model.pipeline}, native {model.native_size} px)",
        "device": space.context.device,
        "search": spec.search,
        "default": dict(space.default),
        "searched": {name: _searched(space, name) for name in space.searched},
        "dropped": dropped(spec.space, space),
        "pictures": pictures,
        "budget": spec.budget.model_dump(exclude_none=True),
        "caps": spec.caps.model_dump(exclude_none=True),
        "forecast": _forecast(spec, pictures) if probe else None,
    }


def _searched(space: Space, name: str) -> dict[str, Any]:
    item, acting = space.knobs[name], space.acting(name)
    return {
        "kind": "picture" if item.changes_picture else "execution",
        "values": _domain(space, name),
        "acts": acting is not None,
        "acts_with": _conditions(item.when) if acting else {},
    }


def _domain(space: Space, name: str) -> list[Any] | str:
    domain = space.searched[name]
    if isinstance(domain, Choice):
        return list(domain.values)
    if isinstance(domain, Number):
        step = f" in steps of {domain.step:g}" if domain.step else ""
        return f"{domain.low:g} to {domain.high:g}{step}{' (log)' if domain.log else ''}"
    return "any size"


def _conditions(when: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return in JSON what a knob needs of others; of an open range, its example."""
    return {name: sorted(fitting, key=str) for name, fitting in when.items()
            if not callable(fitting)}


def dropped(wanted: Mapping[str, Any], space: Space) -> list[dict[str, Any]]:
    """Return what a study names or means that is not searched, each with the reason.

    Args:
        wanted: the study's ``[space]`` table, in which ``"all"`` leaves out what is refused here.
        space: what became of it.
    """
    rows: list[dict[str, Any]] = []
    for name in space.searched:
        item = space.knobs[name]
        if wanted[name] == "all" and isinstance(item.space, Choice):
            reasons = {value: refused(item, value, space) for value in item.space.values}
            rows += [{"knob": name, "value": value, "reason": reason}
                     for value, reason in reasons.items() if reason]
        if space.acting(name) is None:
            needs = "; ".join(_words(other, fitting) for other, fitting in item.when.items()
                              if not callable(fitting))
            rows.append({"knob": name, "value": None, "reason": f"acts only where {needs}, which "
                         "this study never has"})
    return rows


def _words(name: str, fitting: Fitting) -> str:
    return f"{name} is {' or '.join(sorted(map(str, fitting)))}"


def _forecast(spec: StudySpec, pictures: Mapping[str, int]) -> dict[str, Any]:
    """Run the two probes and predict."""
    host, _, space = open_host(spec, Path(os.devnull))
    with closing(host):
        form, counter, default_seconds = forecast.probe(host, space)
        before = host.busy_seconds
        line, kind = forecast.memory_line(host, space)
        memory_seconds = (host.busy_seconds - before) / 2
    drawn = samples(space)
    typical = statistics.mean(forecast.predicted_seconds(form, counter, one) for one in drawn)
    cells = len({(space.memory(one), one["size"], counter.guided(one)) for one in drawn})
    cap = spec.caps.memory_gb
    rows = forecast.memory_rows(line, space, None if cap is None else cap * 1e9)
    made = max(pictures["per_trial"], LEAST_CALLS)
    seconds = {
        "default": made * default_seconds + memory_seconds,
        "probe": pictures["probe"] * default_seconds,
        "confirm": pictures["held_out_per_recommendation"]
        * (default_seconds + CONFIRMED_SETTINGS * typical),
    }
    trials, seconds["search"] = _search_seconds(spec, seconds, made * typical,
                                                memory_seconds, cells)
    return {
        "predicted": "from two short runs and two memory readings of the default's execution; "
                     "loading and compiling left out",
        "default_seconds": default_seconds,
        "seconds_form": {
            "fixed_seconds": form.fixed_seconds, "decode_seconds": form.decode_seconds,
            "call_seconds": dict(sorted(form.call_seconds.items())), "pixels": form.pixels,
        },
        "typical_seconds": typical,
        "slower_than_cap": _too_slow(spec, drawn, form, counter),
        "trials": trials,
        "device_minutes": {name: seconds[name] / 60
                           for name in ("default", "probe", "search", "confirm")}
        | {"total": sum(seconds.values()) / 60},
        "memory_kind": kind,
        "memory": rows,
        "cannot_fit": [row for row in rows if row["fits"] is False],
    }


def _search_seconds(
    spec: StudySpec, others: Mapping[str, float], trial_seconds: float, memory_seconds: float,
    cells: int,
) -> tuple[int, float]:
    """Predict how many trials the budget holds, and their device seconds.

    Memory is read once for each of a number of cells; the search ends where the confirmation
    must begin.
    """
    def of(trials: int) -> float:
        return trials * trial_seconds + min(trials, cells) * memory_seconds

    trials = spec.budget.trials - 1 if spec.budget.trials is not None else None
    if spec.budget.device_seconds is not None:
        reserve = min(others["confirm"], LARGEST_RESERVE * spec.budget.device_seconds)
        left = spec.budget.device_seconds - others["default"] - others["probe"] - reserve
        fitting = math.ceil(max(0.0, left) / (trial_seconds + memory_seconds))
        if fitting > cells:
            fitting = math.ceil((left - cells * memory_seconds) / trial_seconds)
        trials = fitting if trials is None else min(trials, fitting)
    return trials or 0, of(trials or 0)


def _too_slow(
    spec: StudySpec, drawn: list[Any], form: forecast.CostForm, counter: Counter
) -> float | None:
    """Return the share of the space that is predicted to be slower than the cap, if there is one.

    The cap is on latency, until all pictures of a call arrive.
    """
    if spec.caps.seconds is None:
        return None
    cap = spec.caps.seconds
    slow = [forecast.predicted_seconds(form, counter, one) * int(one.get("batch", 1)) > cap
            for one in drawn]
    return sum(slow) / len(slow)
