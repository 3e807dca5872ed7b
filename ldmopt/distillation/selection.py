"""What choosing did to figures: those of the search beside those of prompts that it never saw.

Whoever takes the best of many settings by figures that carry luck takes much of the luck with it
(the winner's curse; GOTCHAS 42): measured again, the chosen fall back. How far, and whether by
more than chance, is said of every recommendation and of all chosen settings together. The two
means are of different prompts, so their limits are joined as Zou and Donner (2008, Statistics in
Medicine 27) join those of a difference: distances from the estimates add in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ldmopt.contracts import Confirmation, Evidence, Quality, Trial
from ldmopt.distillation.confirmed import Confirmed
from ldmopt.distillation.intervals import Interval, mean_interval, prompt_means
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.distillation.table import look_knobs


def held_out(evidence: Evidence, found: Confirmation) -> bool:
    """Whether no prompt of a confirmation was one of the search's."""
    seen = _search_prompts(evidence)
    return not any(block.prompt in seen for block in found.quality.blocks)


def in_search(
    evidence: Evidence, found: Confirmation, confidence: float
) -> dict[str, Any] | None:
    """Return a setting's figure in the search, and how the held-out one differs from it.

    None for the default, for what the search did not judge, and where prompts are not held out.
    """
    trial = _trial(evidence, found)
    if found.setting == evidence.default or trial is None or not held_out(evidence, found):
        return None
    before, after = _means(trial.quality), _means(found.quality)
    first = mean_interval(before, confidence)
    return {
        "win_rate": first.estimate, "low": first.low, "high": first.high, "prompts": len(before),
        "change": _change(first, mean_interval(after, confidence)),
    }  # fmt: skip


def curse(
    evidence: Evidence, rows: Sequence[Confirmed], confidence: float
) -> dict[str, Any] | None:
    """Return how all chosen settings together fared in the search and on held-out prompts.

    None where nothing but the default was chosen, or prompts are not held out.
    """
    pairs = [
        (_row(trial.quality), _row(row.quality))
        for row in rows
        if row.setting != evidence.default and held_out(evidence, row.found)
        and (trial := _trial(evidence, row.found)) is not None
    ]
    if not pairs:
        return None
    first, second = (
        mean_interval(_average([pair[side] for pair in pairs]), confidence) for side in (0, 1)
    )
    telling = look_knobs(evidence)
    tried = {t.setting.only(telling) for t in evidence.trials if t.quality and not t.failure}
    return {
        "searched": len(tried), "chosen": len(pairs),
        "search": _figures(first), "held_out": _figures(second), "change": _change(first, second),
    }  # fmt: skip


def _change(first: Interval, second: Interval) -> dict[str, Any]:
    """Second minus first, with limits, and whether chance alone would do it."""
    change = second.estimate - first.estimate
    low = change - math.hypot(second.estimate - second.low, first.high - first.estimate)
    high = change + math.hypot(second.high - second.estimate, first.estimate - first.low)
    return {"win_rate": change, "low": low, "high": high, "beyond_chance": low > 0 or high < 0}


def _figures(found: Interval) -> dict[str, float]:
    return {"win_rate": found.estimate, "low": found.low, "high": found.high}


def _search_prompts(evidence: Evidence) -> set[str]:
    return {block.prompt for trial in evidence.trials if trial.quality
            for block in trial.quality.blocks}  # fmt: skip


def _trial(evidence: Evidence, found: Confirmation) -> Trial | None:
    """The search's trial of the same pictures."""
    telling = look_knobs(evidence)
    look = found.setting.only(telling)
    return next((t for t in evidence.trials
                 if t.measured and t.setting.only(telling) == look), None)  # fmt: skip


def _row(quality: Quality | None) -> dict[str, float]:
    return prompt_means(quality.blocks) if quality else {}


def _means(quality: Quality | None) -> Floats:
    return np.array(list(_row(quality).values()), np.float64)


def _average(rows: Sequence[dict[str, float]]) -> Floats:
    """Mean of each prompt over the settings that were seen on it."""
    prompts = dict.fromkeys(prompt for row in rows for prompt in row)
    return np.array(
        [np.mean([row[prompt] for row in rows if prompt in row]) for prompt in prompts], np.float64
    )
