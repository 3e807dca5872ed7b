"""Which setting everything is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ldmopt.contracts import Setting, Value
from ldmopt.errors import UserError, did_you_mean
from ldmopt.intake import columns
from ldmopt.intake.columns import Kind, known_knobs


def wanted_values(given: Sequence[str], kinds: Mapping[str, Kind]) -> dict[str, Value]:
    """Read ``knob=value`` words.

    Raises:
        UserError: no such knob, or a value that means nothing.
    """
    found: dict[str, Value] = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not value:
            raise UserError(f"--default must be knob=value, got {text!r}; for example steps=30")
        if name not in kinds and name not in known_knobs():
            hint = did_you_mean(name, (*kinds, *known_knobs()))
            raise UserError(f"--default {text}: unknown knob {name!r}{hint}")
        found.update(columns.setting_of(
            {name: value}, kinds, lambda column, words: UserError(f"--default {column}: {words}"),
            with_sigmas=False,
        ))  # fmt: skip
    return found


def choose(
    settings: Sequence[Setting], counts: Mapping[Setting, int], wanted: Mapping[str, Value],
    lack: Callable[[Setting], str],
) -> tuple[Setting, str]:
    """Return the default, and in words why it is that one.

    Args:
        settings: every setting, in the order of the table.
        counts: observations of each.
        wanted: values that the default must have.
        lack: says why nothing can be compared with a setting; empty where it can.

    Raises:
        UserError: no setting has those values, or none that has them can be compared with.
    """
    fitting = [one for one in settings if all(one.get(name) == value
                                              for name, value in wanted.items())]
    said = ", ".join(f"{name}={value}" for name, value in wanted.items())
    if not fitting:
        raise UserError(f"--default {said}: no row has {_nearest(settings, wanted)}; "
                        "give a setting that was observed")
    sound = [one for one in fitting if not lack(one)]
    if not sound:
        which = f"--default {said}" if wanted else "no setting can be the default"
        raise UserError(f"{which}: {fitting[0]} {lack(fitting[0])}, so nothing can be compared "
                        "with it; give another with --default knob=value")
    most = max(counts[one] for one in sound)
    first = next(one for one in sound if counts[one] == most)
    ties = sum(counts[one] == most for one in sound)
    if len(fitting) == 1:
        return first, "given" if wanted else "the only setting"
    rows = f"observed most, {most} rows"
    if ties > 1:
        rows = f"the first of {ties} settings observed most, {most} rows each"
    return first, (f"given {said}; of several {rows}" if wanted else rows)


def _nearest(settings: Sequence[Setting], wanted: Mapping[str, Value]) -> str:
    """Say which value no row has, and which there are; or that they never come together."""
    for name, value in wanted.items():
        there = list(dict.fromkeys(str(one[name]) for one in settings if name in one))
        if str(value) not in there:
            shown = ", ".join(there[:8]) + (", ..." if len(there) > 8 else "")
            return f"{name}={value} (rows have {shown or 'no ' + name})"
    return "all of them together"
