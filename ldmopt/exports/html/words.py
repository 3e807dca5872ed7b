"""Text of the page: figures in words, and the little Markdown of shared sentences as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup, escape

from ldmopt.exports._sentences import WISHES
from ldmopt.exports._words import (
    alignment_text,
    bytes_text,
    condition_text,
    human_text,
    seconds_text,
    speed_text,
    win_text,
)
from ldmopt.exports.html.story import Entry

_MARKS = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*"), r"<b>\1</b>"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*]*?)\*(?![\w*])"), r"<em>\1</em>"),
)


def inline(text: object) -> Markup:
    """Return a line of Markdown (bold, emphasis, code; no links) as HTML, all else escaped."""
    found = str(escape(str(text))).replace("\\|", "|")
    for pattern, html in _MARKS:
        found = pattern.sub(html, found)
    return Markup(found)  # noqa: S704 - escaped above, and the marks bring fixed tags alone


def sentence(text: str) -> Markup:
    """Return a line of Markdown as HTML that begins with a capital letter."""
    return inline(re.sub(r"^(\W*)(\w)", lambda found: found[1] + found[2].upper(), text))


def wish(name: str) -> str:
    """Return what a recommendation's name asks for."""
    if name.startswith("under-"):
        return f"the highest win rate within {_amount(name.removeprefix('under-'))}"
    return WISHES.get(name, "")


def _amount(text: str) -> str:
    """``0.05s`` and ``8gb`` as people write them."""
    number = text.rstrip("sgb")
    return f"{number}\N{NO-BREAK SPACE}{'GB' if text.endswith('gb') else 's'}"


def figures(entry: Entry, default: Mapping[str, Any]) -> dict[str, str]:
    """Return an entry's figures in words.

    Args:
        entry: a setting.
        default: the default's cost.
    """
    cost, quality = entry.cost, entry.quality
    own = entry.place == 0
    found = {
        "win": "0.50" if quality is None else f"{quality['win_rate']:.2f}",
        "interval": "by definition" if quality is None else win_text(quality).split(" ", 1)[1],
        "seconds": seconds_text(cost["latency_seconds"]),
        "spread": "",
        "speed": "" if own else speed_text(cost["latency_seconds"], default["latency_seconds"]),
        "memory": bytes_text(cost["peak_memory_bytes"]),
        "size": "" if own else more_text(cost["peak_memory_bytes"], default["peak_memory_bytes"]),
        "human": "", "joined": "", "alignment": "",
    }  # fmt: skip
    alone = cost["seconds"] == cost["latency_seconds"]
    if alone and cost["low"] is not None and cost["high"] is not None:
        found["spread"] = f"[{cost['low']:.3g}, {cost['high']:.3g}]"
    if cost["batch"] > 1 and cost["seconds"] is not None:
        found["spread"] = f"{cost['batch']} pictures at once, {seconds_text(cost['seconds'])} each"
    if quality is not None:
        found["human"] = human_text(quality) if quality.get("human") else ""
        found["joined"] = human_text(quality, "joined") if quality.get("human") else ""
        found["alignment"] = alignment_text(quality)
    return found


def more_text(size: float | None, default: float | None) -> str:
    """How much more or less than the default."""
    if not size or not default:
        return ""
    share = size / default - 1.0
    if abs(share) <= 0.02:
        return "the same"
    return f"{abs(share):.0%} {'more' if share > 0 else 'less'}"


def sum_up(entry: Entry, default: Mapping[str, Any]) -> str:
    """Return an entry in one line, for those who do not see the plot."""
    told = figures(entry, default)
    name = " ".join(part for part in (entry.letter, ", ".join(entry.names) or entry.title) if part)
    changed = change_text(entry.changes) if entry.place else ""
    parts = [f"win rate {told['win']} {told['interval']}", told["seconds"], told["memory"], changed]
    return f"{name}: " + ", ".join(part for part in parts if part and part != "not measured")


def change_text(rows: Iterable[tuple[str, Any, Any]]) -> str:
    """``steps 50 to 8``, knob by knob."""
    return ", ".join(
        f"{name} {value}" if before is None else f"{name} {before} to {value}"
        for name, before, value in rows
    )


def given_text(when: Mapping[str, Any]) -> str:
    """The condition of a rule in words; empty where there is none."""
    return condition_text(when) if when else ""
