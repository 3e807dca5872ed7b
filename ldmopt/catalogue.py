"""The table of knobs in README, written from the knobs' own declarations."""

from __future__ import annotations

from ldmopt import machine
from ldmopt.contracts import Setting
from ldmopt.domain import Above, Choice, Number
from ldmopt.knob import Context, Knob, all_knobs
from ldmopt.model import describe

MARKS = ("<!-- knobs: written by ldmopt.catalogue, held by a test -->", "<!-- /knobs -->")
"""What the table stands between."""

FEW = 4
"""So many values are listed; of more, those that are left out are named where they are fewer."""


def knob_table() -> str:
    """Return a Markdown table of every knob: kind, values, where it acts, what it does."""
    rows = ["| knob | changes | values (default first) | acts | what it does |",
            "|---|---|---|---|---|"]
    knobs = all_knobs()
    for name, item in sorted(knobs.items(), key=lambda pair: (not pair[1].changes_picture, pair)):
        kind = "the picture" if item.changes_picture else "cost only"
        rows.append(f"| `{name}` | {kind} | {_values(item)} | {_acts(item, knobs)} | {item.help} |")
    return "\n".join(rows)


def insert(text: str) -> str:
    """Return a text with the table, as it is now, between its marks.

    Raises:
        ValueError: the marks are not there.
    """
    head, found, rest = text.partition(MARKS[0])
    _, ended, tail = rest.partition(MARKS[1])
    if not (found and ended):
        raise ValueError(f"no {MARKS[0]} ... {MARKS[1]} in the text")
    return f"{head}{MARKS[0]}\n{knob_table()}\n{MARKS[1]}{tail}"


def _values(item: Knob) -> str:
    default = item.default
    first = "the model's own; " if callable(default) else ""
    if isinstance(item.space, Choice):
        values = item.space.values
        if not callable(default):
            values = (default, *(value for value in values if value != default))
        return first + ", ".join(f"{value}{_needs(item, str(value))}" for value in values)
    first = first or f"{default}; "
    if isinstance(item.space, Number):
        return f"{first}{item.space.low:g} to {item.space.high:g}"
    return f"{first}width x height"


def _needs(item: Knob, value: str) -> str:
    """Say that a value needs a GPU, where a CPU that lacks no package refuses it."""
    packages = dict.fromkeys(machine.PACKAGES, "0")
    context = Context(describe("miniature"), "cpu", packages)
    reason = item.refuse(value, Setting(sampler="euler"), context) if item.refuse else None
    return " (CUDA)" if reason and ("CUDA" in reason or "CPU" in reason) else ""


def _acts(item: Knob, knobs: dict[str, Knob]) -> str:
    """Say under which other values a knob acts."""
    parts = []
    for other, ok in item.when.items():
        if callable(ok):
            said = (ok.__doc__ or "").split("\n")[0].removeprefix("Return ").rstrip(".")
            parts.append(f"at {said}")
        elif isinstance(ok, Above):
            parts.append(f"{other} above {ok.limit:g}")
        else:
            space = knobs[other].space
            known = space.values if isinstance(space, Choice) else ()
            rest = [str(value) for value in known if value not in ok]
            listed = sorted(map(str, ok))
            few = len(listed) <= max(FEW, len(rest))
            parts.append(f"{other} {', '.join(listed)}" if few else
                         f"{other} other than {', '.join(rest)}")
    return "; ".join(parts) or "always"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for name in sys.argv[1:]:
        Path(name).write_text(insert(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
