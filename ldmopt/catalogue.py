"""The tables of knobs in README: what they are, from their declarations, and what they bought.

The second comes from the cost tables that `benchmarks/cost_table.py` recorded: a CSV file a model
and machine, with its environment in the JSON file of the same name.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ldmopt import machine
from ldmopt.contracts import Setting
from ldmopt.domain import Above, Choice, Number
from ldmopt.knob import Context, Knob, all_knobs
from ldmopt.model import describe

MARKS = ("<!-- knobs: written by ldmopt.catalogue, held by a test -->", "<!-- /knobs -->")
"""What the table of knobs stands between."""

BOUGHT_MARKS = ("<!-- bought: written by ldmopt.catalogue, held by a test -->", "<!-- /bought -->")
"""What the table of ratios stands between."""

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


def bought_table(folder: Path) -> str:
    """Return a Markdown table of what each execution value cost, against the table's base.

    Args:
        folder: of the cost tables; rows with guidance are read, and failures are said.
    """
    rows = ["| model and machine | setting | seconds a picture | peak memory |",
            "|---|---|---|---|"]
    for path in sorted(folder.glob("*.csv")):
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.DictReader(file)
                     if json.loads(line["setting"]).get("guidance", 0) > 1]
        known = {line["changed"]: line for line in lines}
        for line in lines:
            beside = _beside(line["changed"], known)
            machine_name = f"{about['shape']}, {about['device_name']}"
            if beside is not None:
                rows.append(f"| {machine_name} | {line['changed']} | "
                            f"{_ratio(line, beside, 'seconds')} | "
                            f"{_ratio(line, beside, 'peak_memory_bytes')} |")
    return "\n".join(rows)


def _beside(changed: str, known: dict[str, dict[str, str]]) -> dict[str, str] | None:
    """Return the row that one value more turned into this one: the base, or a batch of its own."""
    parts = changed.split(", ") if changed else []
    if len(parts) < 2:
        return known[""] if parts else None
    found = [known[part] for part in parts if part in known]
    return found[0] if len(parts) == 2 and found else None


def _ratio(line: dict[str, str], beside: dict[str, str], column: str) -> str:
    if line["failed"]:
        return f"failed: {line['failed']}"
    return f"{float(line[column]) / float(beside[column]):.2f}x"


def insert(text: str, folder: Path) -> str:
    """Return a text with both tables, as they are now, between their marks.

    Args:
        text: README's.
        folder: of the cost tables.

    Raises:
        ValueError: the marks are not there.
    """
    for marks, table in ((MARKS, knob_table()), (BOUGHT_MARKS, bought_table(folder))):
        head, found, rest = text.partition(marks[0])
        _, ended, tail = rest.partition(marks[1])
        if not (found and ended):
            raise ValueError(f"no {marks[0]} ... {marks[1]} in the text")
        text = f"{head}{marks[0]}\n{table}\n{marks[1]}{tail}"
    return text


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

    for name in sys.argv[1:]:
        readme = Path(name)
        tables = readme.resolve().parent / "benchmarks" / "tables"
        readme.write_text(insert(readme.read_text(encoding="utf-8"), tables), encoding="utf-8")
