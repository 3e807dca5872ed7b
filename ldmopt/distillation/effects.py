"""What each step of each knob is worth, in words that many comparisons have been paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ldmopt.contracts import Evidence
from ldmopt.distillation.constants import EFFECTS, SPLITS, Constants
from ldmopt.distillation.contrasts import SAME_PICTURE, Contrast
from ldmopt.distillation.interactions import Split, splits
from ldmopt.distillation.intervals import Interval, holm
from ldmopt.distillation.provenance import of_search
from ldmopt.distillation.table import Table


def effects(
    evidence: Evidence, table: Table, contrasts: Sequence[Contrast], constants: Constants
) -> list[dict[str, Any]]:
    """Return rulebook.json's ``effects``.

    All tests, of win rates and of seconds, are corrected together by Holm's method; those of
    interactions are another family.

    Args:
        evidence: what is repeated in each entry comes from here.
        table: what was compared.
        contrasts: the comparisons.
        constants: what counts as a difference.
    """
    intervals = [c.interval(constants.confidence) for c in contrasts]
    tested = [_seconds_p(c) if c.basis == SAME_PICTURE else interval.p
              for c, interval in zip(contrasts, intervals, strict=True)]
    adjusted = holm(tested)
    parting = splits(table, contrasts, constants.confidence, constants.error(SPLITS))
    rows = []
    for index, (contrast, interval) in enumerate(zip(contrasts, intervals, strict=True)):
        split = parting.get(index)
        seen = {
            **_seen(contrast), "p": tested[index], "p_holm": adjusted[index],
            "comparisons": len(tested), **of_search(evidence, _prompts(contrast)),
        }  # fmt: skip
        if split is not None:
            seen["depends_on" if split.turns else "varies_with"] = split.to_dict()
        if contrast.basis == SAME_PICTURE:
            verdict = cost_verdict(contrast, adjusted[index], constants)
        else:
            verdict = verdict_of(contrast, interval, adjusted[index], constants, split)
        rows.append(_row(contrast, interval, verdict, seen))
    return rows


def verdict_of(
    contrast: Contrast,
    interval: Interval,
    adjusted: float,
    constants: Constants,
    split: Split | None = None,
) -> str:
    """Return the verdict on a change of the picture.

    ``worth it`` and ``harmful`` want a change of at least ``worth`` that holds after Holm's
    correction; ``depends``, that it helps or harms under some condition and does not do the same
    under the other. ``not worth it``: it costs more, and a gain of ``margin`` or more is excluded,
    or the gain that is shown is under ``worth``.
    """
    if split is not None and split.turns:
        return "depends"
    shown = adjusted <= constants.error(EFFECTS)
    if shown and interval.estimate >= 0.5 + constants.worth and interval.low > 0.5:
        return "worth it"
    if shown and interval.estimate <= 0.5 - constants.worth and interval.high < 0.5:
        return "harmful"
    dearer = any(_sign(cost.ratio, constants) > 0
                 for cost in (contrast.seconds, contrast.memory) if cost)
    if dearer and (shown or interval.high < 0.5 + constants.margin):
        return "not worth it"
    return "no difference shown"


def cost_verdict(contrast: Contrast, adjusted: float, constants: Constants) -> str:
    """Return the verdict on a change that leaves the picture as it is: seconds and memory.

    Seconds that go the other way than memory, but were not shown to, leave nothing to conclude.
    """
    shown = contrast.seconds is not None and adjusted <= constants.error(EFFECTS)
    seconds = _sign(contrast.seconds.ratio, constants) if contrast.seconds else 0
    memory = _sign(contrast.memory.ratio, constants) if contrast.memory else 0
    if seconds * memory < 0:
        return "depends" if shown else "no difference shown"
    signs = {seconds if shown else 0, memory} - {0}
    if not signs:
        return "no difference shown"
    return "worth it" if signs == {-1} else "not worth it"


def _sign(ratio: float, constants: Constants) -> int:
    """-1 where a cost noticeably falls, 1 where it noticeably rises."""
    least = 1.0 - constants.noticeable
    return -1 if ratio <= least else int(ratio >= 1.0 / least)


def _seconds_p(contrast: Contrast) -> float:
    return contrast.seconds.p if contrast.seconds else 1.0


def _prompts(contrast: Contrast) -> int:
    return 0 if contrast.basis == SAME_PICTURE else len(contrast.differences())


def _seen(contrast: Contrast) -> dict[str, Any]:
    """What a comparison rests on."""
    pairs = contrast.seconds.pairs if contrast.seconds else 0
    same = contrast.basis == SAME_PICTURE
    return {
        "basis": contrast.basis,
        "pairs": pairs if same else len(contrast.contexts),
        "cost_pairs": pairs,
        "cost_basis": contrast.seconds.basis if contrast.seconds else None,
        "prompts": _prompts(contrast),
        **told_groups(contrast),
    }


def told_groups(contrast: Contrast) -> dict[str, Any]:
    """Say which numbers were compared as a group, where any were."""
    found = {str(value): list(ends) for value, ends in contrast.grouped.items()}
    return {"grouped": found} if found else {}


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
