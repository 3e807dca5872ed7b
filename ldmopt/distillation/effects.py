"""What each step of each knob is worth, in words that many comparisons have been paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.distillation.contrasts import SAME_PICTURE, Contrast
from ldmopt.distillation.interactions import Split, splits
from ldmopt.distillation.intervals import Interval, holm

WORTH = 0.02
"""The gain in win rate from which a change is worth it, and the loss from which it is harmful."""

NOTICEABLE = 0.05
"""The change in seconds or memory, as a share, that counts as one."""


@dataclass(frozen=True)
class Rules:
    """The constants that verdicts rest on.

    Attributes:
        confidence: of intervals.
        margin: of "not worse".
        alpha: chance of any false verdict among all effects together; half of it for ``depends``.
    """

    confidence: float
    margin: float
    alpha: float


def effects(
    contrasts: Sequence[Contrast], rules: Rules, judged_by: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return rulebook.json's ``effects``.

    All tests of one kind (win rates; seconds) are corrected together by Holm's method.

    Args:
        contrasts: what was compared.
        rules: the constants.
        judged_by: what the win rates rest on, repeated in each entry's evidence.
    """
    intervals = [c.interval(rules.confidence) for c in contrasts]
    looks = [i for i, c in enumerate(contrasts) if c.basis != SAME_PICTURE]
    costs = [i for i, c in enumerate(contrasts) if c.basis == SAME_PICTURE]
    adjusted = dict(zip(looks, holm([intervals[i].p for i in looks]), strict=True))
    adjusted |= dict(zip(costs, holm([_seconds_p(contrasts[i]) for i in costs]), strict=True))
    parting = splits([contrasts[i] for i in looks], rules.confidence, rules.alpha / 2.0)
    rows = []
    for index, (contrast, interval) in enumerate(zip(contrasts, intervals, strict=True)):
        family = len(looks) if index in looks else len(costs)
        split = parting.get(looks.index(index)) if index in looks else None
        evidence = _evidence(contrast, interval, adjusted[index], family, judged_by)
        if contrast.basis == SAME_PICTURE:
            verdict = cost_verdict(contrast, adjusted[index], rules.alpha)
        else:
            verdict = verdict_of(contrast, interval, adjusted[index], rules, split)
        if split is not None and verdict == "depends":
            evidence["depends_on"] = split.to_dict()
        rows.append(_row(contrast, interval, verdict, evidence))
    return rows


def verdict_of(
    contrast: Contrast, interval: Interval, adjusted: float, rules: Rules, split: Split | None
) -> str:
    """Return the verdict on a change of the picture.

    ``worth it`` and ``harmful`` want a change of at least `WORTH` that holds after Holm's
    correction. ``not worth it``: it costs more, and a gain of ``margin`` or more is excluded, or
    the gain that is shown is under `WORTH`.
    """
    if split is not None:
        return "depends"
    shown = adjusted <= rules.alpha
    if shown and interval.estimate >= 0.5 + WORTH and interval.low > 0.5:
        return "worth it"
    if shown and interval.estimate <= 0.5 - WORTH and interval.high < 0.5:
        return "harmful"
    if _dearer(contrast) and (shown or interval.high < 0.5 + rules.margin):
        return "not worth it"
    return "no difference shown"


def cost_verdict(contrast: Contrast, adjusted: float, alpha: float) -> str:
    """Return the verdict on a change that leaves the picture as it is: seconds and memory."""
    seconds = contrast.seconds.ratio if contrast.seconds and adjusted <= alpha else 1.0
    memory = contrast.memory.ratio if contrast.memory else 1.0
    signs = {_sign(seconds), _sign(memory)} - {0}
    if len(signs) == 2:
        return "depends"
    if not signs:
        return "no difference shown"
    return "worth it" if signs == {-1} else "not worth it"


def _sign(ratio: float) -> int:
    """-1 where a cost noticeably falls, 1 where it noticeably rises."""
    if ratio <= 1.0 - NOTICEABLE:
        return -1
    return int(ratio >= 1.0 / (1.0 - NOTICEABLE))


def _dearer(contrast: Contrast) -> bool:
    """Whether seconds or memory noticeably rise."""
    return any(_sign(cost.ratio) > 0 for cost in (contrast.seconds, contrast.memory) if cost)


def _seconds_p(contrast: Contrast) -> float:
    return contrast.seconds.p if contrast.seconds else 1.0


def _evidence(
    contrast: Contrast,
    interval: Interval,
    adjusted: float,
    family: int,
    judged_by: Mapping[str, Any],
) -> dict[str, Any]:
    """What a sceptic asks for."""
    same = contrast.basis == SAME_PICTURE
    pairs = contrast.seconds.pairs if contrast.seconds else 0
    return {
        "basis": contrast.basis,
        "pairs": pairs if same else len(contrast.contexts),
        "cost_pairs": pairs,
        "prompts": 0 if same else len(contrast.differences()),
        "p": _seconds_p(contrast) if same else interval.p,
        "p_holm": adjusted,
        "comparisons": family,
        "held_out": False,
        **judged_by,
    }


def _row(
    contrast: Contrast, interval: Interval, verdict: str, evidence: Mapping[str, Any]
) -> dict[str, Any]:
    """One entry of ``effects``."""
    return {
        "knob": contrast.knob,
        "from": contrast.start,
        "to": contrast.end,
        "given": contrast.given(),
        "win_rate": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "seconds_ratio": contrast.seconds.ratio if contrast.seconds else None,
        "memory_ratio": contrast.memory.ratio if contrast.memory else None,
        "verdict": verdict,
        "evidence": dict(evidence),
    }
