"""What a cell means: a knob's value in whichever program's words, seconds, bytes, a failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal, TypeAlias

from ldmopt.contracts import FailureKind, Setting, Value
from ldmopt.domain import Number, Size
from ldmopt.errors import UserError
from ldmopt.knob import Knob, all_knobs
from ldmopt.knobs.sampling import SAMPLERS, SIGMAS
from ldmopt.labels.strict_csv import a_number

Kind: TypeAlias = Literal["number", "text"]
"""Of a declared knob: its values are numbers, or names."""

Refuse: TypeAlias = Callable[[str, str], UserError]
"""Returns the error for a column, given the words."""

RESERVED = (
    "prompt", "seed", "repeat", "seconds", "peak_memory_bytes", "picture", "rating", "rater",
    "failed", "warmup",
)  # fmt: skip
"""Columns that are no knobs."""

_SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0, "ms": 1e-3, "min": 60.0, "m": 60.0}
_BYTES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20,
          "gib": 2.0**30, "bytes": 1.0}  # fmt: skip
_FAILURES: Mapping[FailureKind, str] = {
    "out-of-memory": r"\boom\b|out.?of.?memory|memory.?error|enough memory",
    "deadline": r"deadline|time.?out|timed.?out|hang|hung",
    "nan": r"\bnan\b",
    "black": r"\bblack\b",
    "crash": r"crash|seg.?fault|killed|abort",
    "refused": r"refused|unsupported|not supported",
}
"""Words by which a reason tells its kind; any other is an ``error``."""


@cache
def known_knobs() -> dict[str, Knob]:
    """Return ldmopt's own knobs by name."""
    return all_knobs()


def knob_values(name: str, text: str) -> dict[str, Value]:
    """Return the knob values that a cell of a known knob means: usually one, sometimes two.

    Names of A1111 and diffusers are made ldmopt's. What ldmopt never heard of is kept as it is
    written, because another program may well have it; only numbers must be numbers.

    Raises:
        UserError: no number, or no size, where one must be; the words lack row and column.
    """
    item = known_knobs()[name]
    try:
        return item.parse(text)
    except UserError:
        if isinstance(item.space, Number):
            return {name: _foreign_number(item.space, text)}
        if isinstance(item.space, Size):
            return {name: _foreign_size(text)}
    return _foreign_sampler(text) if name == "sampler" else {name: text}


def _foreign_number(space: Number, text: str) -> Value:
    """Read a number beyond what ldmopt itself would try."""
    found = a_number(text)
    if space.whole and found != int(found):
        raise UserError(f"must be a whole number, got {text!r}; mend it, or leave it empty")
    return int(found) if space.whole else found


def _foreign_size(text: str) -> Value:
    match = re.fullmatch(r"(\d+)\s*[x×]\s*(\d+)", text.lower())
    if not match or not int(match[1]) * int(match[2]):
        raise UserError(f"must look like 512x512 (width x height), got {text!r}; mend it")
    return f"{int(match[1])}x{int(match[2])}"


def _foreign_sampler(text: str) -> dict[str, Value]:
    """Keep an unknown sampler's name, without the schedule that may stand behind it."""
    name, _, last = text.rpartition(" ")
    if name and last.lower() in SIGMAS:
        return {"sampler": name.strip(), "sigmas": last.lower()}
    return {"sampler": text}


def kind_of(cells: Sequence[str]) -> Kind:
    """Return what a declared knob's column holds, by its cells that are not empty."""
    for cell in cells:
        try:
            a_number(cell)
        except UserError:
            return "text"
    return "number"


def setting_of(
    cells: Mapping[str, str], kinds: Mapping[str, Kind], refuse: Refuse, with_sigmas: bool
) -> Setting:
    """Return the setting of a row's knob cells; an empty one means that the knob does not act.

    Args:
        cells: column -> text.
        kinds: of the declared knobs; the others are known.
        refuse: makes the error for a column.
        with_sigmas: some sampler of the table names a schedule, so those without one have the
            default schedule, unless they are known to have no other.

    Raises:
        UserError: a cell means nothing, or two of them contradict each other.
    """
    values: dict[str, Value] = {}
    for name, text in cells.items():
        if not text:
            continue
        try:
            found = _declared(text, kinds[name], name) if name in kinds else knob_values(name, text)
        except UserError as error:
            raise refuse(name, str(error)) from error
        for key, value in found.items():
            if values.setdefault(key, value) != value:
                raise refuse(name, f"means {key}={value}, but {key}={values[key]} is given too, "
                                   f"got {text!r}; leave one out")
    if with_sigmas and "sigmas" not in values and "sampler" in values:
        foreign = values["sampler"] not in SAMPLERS
        if foreign or known_knobs()["sigmas"].active(values):
            values["sigmas"] = "default"
    return Setting(values)


def _declared(text: str, kind: Kind, name: str) -> dict[str, Value]:
    if kind == "text":
        return {name: text}
    found = a_number(text)
    return {name: int(found) if found == int(found) else found}


def names_sigmas(text: str) -> bool:
    """Tell whether a sampler's name says which schedule."""
    return "sigmas" in knob_values("sampler", text)


def seconds(text: str) -> float:
    """Read seconds.

    Raises:
        UserError: no number above 0; the words lack row and column.
    """
    return _measured(text, "seconds", _SECONDS)


def memory_bytes(text: str) -> int:
    """Read bytes.

    Raises:
        UserError: no number above 0; the words lack row and column.
    """
    return round(_measured(text, "bytes", _BYTES))


def _measured(text: str, what: str, units: Mapping[str, float]) -> float:
    match = re.fullmatch(r"([0-9.,]+(?:e[+-]?\d+)?)\s*([a-z]+)", text.lower())
    if match and match[2] in units:
        try:
            value = a_number(match[1]) * units[match[2]]
        except UserError:
            value = None
        hint = "" if value is None else f"; write {value:.15g}"
        raise UserError(f"must be a plain number of {what}, got {text!r}{hint}")
    found = a_number(text)
    if found <= 0:
        raise UserError(f"must be above 0 {what}, got {text!r}; leave it empty where it is unknown")
    return found


def failure(text: str) -> str:
    """Read a reason; ``0`` and the like mean that nothing failed.

    Raises:
        UserError: never; it reads as a cell's parser does.
    """
    if text.lower() in ("0", "no", "false"):
        return ""
    return "the table gives no reason" if text.lower() in ("1", "yes", "true") else text


def failure_kind(reason: str) -> FailureKind:
    """Return the kind of failure that a reason speaks of."""
    lower = reason.lower()
    return next((kind for kind, words in _FAILURES.items() if re.search(words, lower)), "error")
