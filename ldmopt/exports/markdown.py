"""The rulebook as Markdown: what to use, what each knob is worth, what to avoid, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ldmopt.exports._sentences import (
    commands,
    depending,
    doubts,
    effects_reading,
    equivalent,
    grouped,
    in_short,
    named,
    notes,
    nothing_to_avoid,
    plateau,
    reading,
    safe,
    same_picture,
    scope_rows,
    seen_in,
    ties,
)
from ldmopt.exports._words import (
    OF_THE_DEFAULT,
    bytes_text,
    condition_text,
    judged_columns,
    seconds_text,
    setting_text,
    speed_text,
    telling,
    times_text,
    win_text,
)
from ldmopt.rulebook import Rulebook


def to_markdown(rulebook: Rulebook) -> str:
    """Return rulebook.md's text."""
    data = rulebook.data
    parts = [
        _title(data),
        _headline(data),
        (f"- {line}" for line in ties(data)),
        _listed("What to know of this table first", notes(data)),
        _listed("How to read this", reading(data)),
        _effects(data),
        _listed("Where quality stays the same", _flat(data)),
        _listed("Avoid", [*map(_avoid, data["avoid"]), *nothing_to_avoid(data)]),
        _scope(data),
        ["## Reproduce", "", "```", *commands(data), "```"],
    ]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def _title(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"# Rulebook: {safe(data['study'])}"


def _headline(data: Mapping[str, Any]) -> Iterator[str]:
    """A sentence, then default and recommendations in one table."""
    default, items = data["default"], data["recommendations"]
    yield f"In short: {in_short(data)}"
    yield ""
    columns = judged_columns(items)
    heads = ["use", *columns, "seconds", "against default", "peak memory"]
    yield f"| {' | '.join([*heads, 'change from the default'])} |"
    yield "|" + "---|" * (len(heads) + 1)
    whole = setting_text(telling(default["setting"], [item["setting"] for item in items]))
    plain = [OF_THE_DEFAULT[name] for name in columns]
    yield _row("default", plain, default["cost"], default["cost"], whole)
    for ids, item in grouped(items):
        if item["setting"] == default["setting"]:
            change = "none: the default itself"
        else:
            change = setting_text(item["setting"], default["setting"])
        name = ", ".join(f"**{id}**" for id in ids)
        judged = [text(item["quality"]) for text in columns.values()]
        yield _row(name, judged, item["cost"], default["cost"], change)


def _row(
    name: str, judged: Sequence[str], cost: Mapping[str, Any], base: Mapping[str, Any],
    change: str,
) -> str:
    """One setting of the headline table."""
    seconds = seconds_text(cost["seconds"])
    if cost["low"] is not None and cost["high"] is not None:
        seconds += f" [{cost['low']:.3g}, {cost['high']:.3g}]"
    speed = "" if cost is base else speed_text(cost["seconds"], base["seconds"])
    memory = bytes_text(cost["peak_memory_bytes"])
    return f"| {' | '.join([name, *judged, seconds, speed, memory, safe(change)])} |"


def _verdict(verdict: str) -> str:
    return f"**{verdict}**" if verdict in ("worth it", "harmful") else verdict

def _listed(heading: str, lines: Iterable[str]) -> Iterator[str]:
    """A heading with a list beneath it; nothing where the list is empty."""
    found = list(lines)
    if found:
        yield f"## {heading}"
        yield ""
    yield from (f"- {line}" for line in found)


def _effects(data: Mapping[str, Any]) -> Iterator[str]:
    """One table; beneath it, what `depends` depends on."""
    rows = data["effects"]
    if not rows:
        return
    yield "## What each knob is worth"
    yield ""
    yield effects_reading(data)
    yield ""
    yield "| knob | from → to | verdict | win rate | seconds | memory | seen in |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        wins = "same picture" if same_picture(row) else win_text(row)
        step = f"{named(row, row['from'])} → {named(row, row['to'])}"
        yield (
            f"| {row['knob']} | {step} | {_verdict(row['verdict'])} | {wins} "
            f"| {times_text(row['seconds_ratio'])} | {times_text(row['memory_ratio'])} "
            f"| {safe(seen_in(row))} |"
        )
    depends = [line for row in rows if (line := depending(row))]
    if depends:
        yield ""
    yield from (f"- {line}" for line in depends)


def _flat(data: Mapping[str, Any]) -> list[str]:
    """Plateaus and values that cannot be told apart."""
    return [*map(plateau, data["plateaus"]), *map(equivalent, data["equivalent"])]


def _avoid(row: Mapping[str, Any]) -> str:
    picture = f" Worst picture: `{row['picture'][:12]}`." if row["picture"] else ""
    return f"**{safe(condition_text(row['when']))}**: {safe(row['why'])}.{picture}"


def _scope(data: Mapping[str, Any]) -> Iterator[str]:
    yield "## Where this holds, and on what evidence"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {text} |" for name, text in scope_rows(data).items())
    for line in doubts(data):
        yield ""
        yield line
