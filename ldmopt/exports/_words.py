"""Figures and settings in the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from ldmopt.knob import all_knobs
from ldmopt.rulebook import memory_text


def win_text(figures: Mapping[str, Any]) -> str:
    """``0.58 [0.52, 0.64]``."""
    return f"{figures['win_rate']:.2f} [{figures['low']:.2f}, {figures['high']:.2f}]"


def human_text(quality: Mapping[str, Any], part: str = "") -> str:
    """What raters said, or it joined with the predictions; simulated raters are called so."""
    human = quality["human"]
    figures = human.get(part) if human and part else human
    if not figures:
        return ""
    if part:
        return win_text(figures)
    who = "simulated " if human["simulated"] else ""
    return f"{win_text(figures)}, {human['labels']} {who}labels of {human['prompts']} prompts"


def alignment_text(quality: Mapping[str, Any]) -> str:
    """``0.99 [0.97, 1.01]``: similarity with the captions as a share of the default's."""
    found = quality.get("alignment")
    if not found or found["ratio"] is None:
        return ""
    limits = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
    return f"{found['ratio']:.2f}{limits}"


OF_THE_DEFAULT = {
    "win rate": "0.50", "scorer": "0.50", "human": "", "joined": "", "alignment": "1.00",
}  # fmt: skip
"""What stands in the default's row of each column of `judged_columns`."""


def judged_columns(
    items: Sequence[Mapping[str, Any]]
) -> dict[str, Callable[[Mapping[str, Any]], str]]:
    """The columns on quality, each with its words.

    The win rate; where there are labels the scorer's, people's, and both joined instead; and
    alignment where there is a scorer for it.
    """
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {"win rate": win_text}
    if any(item["quality"]["human"] for item in items):
        columns = {
            "scorer": win_text, "human": human_text,
            "joined": lambda quality: human_text(quality, "joined"),
        }  # fmt: skip
    if any(item["quality"].get("alignment") for item in items):
        columns["alignment"] = alignment_text
    return columns


def seconds_text(seconds: float | None) -> str:
    """Three figures and the unit."""
    return "not measured" if seconds is None else f"{_figures(seconds)} s"


def bytes_text(size: float | None) -> str:
    """GB or MB, or that it is unknown."""
    return "not measured" if size is None else memory_text(size)


def times_text(ratio: float | None) -> str:
    """``x0.29``: a cost relative to another."""
    return "" if ratio is None else f"×{ratio:.2f}"


def speed_text(seconds: float | None, default: float | None) -> str:
    """How much faster or slower than the default."""
    if not seconds or not default:
        return ""
    ratio = default / seconds
    if 0.98 <= ratio <= 1.02:
        return "as fast"
    return f"{ratio:.1f}× faster" if ratio > 1 else f"{1 / ratio:.1f}× slower"


def setting_text(setting: Mapping[str, Any], default: Mapping[str, Any] | None = None) -> str:
    """``sampler unipc, steps 8``; with a default, only what differs from it."""
    shown = differing(setting, default) if default is not None else dict(setting)
    return ", ".join(f"{name} {value}" for name, value in shown.items()) or "as the default"


def differing(setting: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The knobs in which a setting differs from the default; those that do not act are left out.

    So is a knob that nobody turned and that does not act in the default: a sampler with a choice of
    sigmas that leaves them as they always are says nothing beside one without.
    """
    return {
        name: value for name, value in setting.items()
        if default.get(name) != value and (name in default or not untouched(name, value))
    }


def untouched(name: str, value: object) -> bool:
    """Whether a knob stands where it does without anybody turning it, whatever the model."""
    return name in _standing() and _standing()[name] == value


@cache
def _standing() -> dict[str, object]:
    """Where the package's knobs stand by themselves; those that ask the model are not in it."""
    return {name: knob.default for name, knob in all_knobs().items() if not callable(knob.default)}


def telling(default: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The default's knobs that people want to read: without those that nobody turned.

    A knob stays when another setting changes it, or when it does not stand where it always does.
    """
    changed = {name for other in others for name in differing(other, default)}
    return {name: value for name, value in default.items()
            if name in changed or not untouched(name, value)}


def condition_text(when: Mapping[str, Any]) -> str:
    """``sampler lms, steps up to 8``."""
    return ", ".join(f"{name} {_condition(value)}" for name, value in when.items())


def _condition(value: object) -> str:
    if isinstance(value, Mapping):
        low, high = value.get("min"), value.get("max")
        if low is None:
            return f"up to {high}"
        return f"from {low}" if high is None else f"{low} to {high}"
    if isinstance(value, list):
        return " or ".join(map(str, value))
    return str(value)


def _figures(value: float) -> str:
    """Three significant figures without an exponent."""
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e" in text and value > 1 else text
