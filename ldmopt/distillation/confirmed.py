"""Confirmed settings with their tests, and with what people and captions say of them.

A recommendation rests on the scorer's held-out figures. What else is known can only speak against
one: a setting that the scorer calls not worse than the default is left out where people were
shown to prefer the default's pictures, and one below the study's floor for alignment in any case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ldmopt.contracts import Confirmation, Evidence, Quality, Setting
from ldmopt.distillation.constants import Constants
from ldmopt.distillation.front import Point
from ldmopt.distillation.human import human_quality
from ldmopt.distillation.intervals import holm, mean_tests, prompt_means
from ldmopt.distillation.saddlepoint import Floats


@dataclass(frozen=True)
class Confirmed:
    """A setting with its held-out figures.

    Attributes:
        found: the confirmation.
        point: its figures for comparing.
        not_worse: the interval excludes losing to the default by the margin or more.
        better: shown to win against the default, after Holm's correction over all confirmed.
        p_not_worse: p value of "worse by the margin or more", Holm-corrected.
        won: may be called best: its interval lies above 0.5.
        human: what people said of it, as rulebook.json has it, or None.
        against: why it may not be recommended; empty where it may.
    """

    found: Confirmation
    point: Point
    not_worse: bool
    better: bool
    p_not_worse: float
    won: bool
    human: dict[str, Any] | None = None
    against: str = ""

    @property
    def setting(self) -> Setting:
        """The setting."""
        return self.found.setting

    @property
    def quality(self) -> Quality:
        """The held-out win rate."""
        return self.found.quality


def confirmed(evidence: Evidence, constants: Constants) -> list[Confirmed]:
    """Return every confirmed setting with its tests, the default first.

    Superiority and non-inferiority are each tested one-sided at (1 - confidence) / 2. Settings of
    an imported table were not chosen before they were judged, so what is claimed of one of them
    has to hold after Holm's correction over all.
    """
    confidence, floor = constants.confidence, 0.5 - constants.margin
    rows = sorted(evidence.confirmations.values(), key=lambda c: c.setting != evidence.default)
    alpha = (1.0 - confidence) / 2.0
    values = [_prompt_values(row.quality)[None, :] for row in rows]
    better = [float(mean_tests(row, reference=0.5)[0][0]) for row in values]
    not_worse = [float(mean_tests(row, reference=floor)[0][0]) for row in values]
    others = [i for i, row in enumerate(rows) if row.setting != evidence.default]
    better_p = dict(zip(others, holm([better[i] for i in others]), strict=True))
    worse_p = dict(zip(others, holm([not_worse[i] for i in others]), strict=True))
    found = []
    for i, row in enumerate(rows):
        is_default = row.setting == evidence.default
        shown = better_p.get(i, 1.0) <= alpha
        not_worse_here = is_default or row.quality.low > floor
        if evidence.imported and not is_default:
            not_worse_here = not_worse_here and worse_p[i] <= alpha
        human = None if is_default else human_of(evidence, row, confidence)
        against = "" if is_default else _against(evidence, row, human, not_worse_here)
        found.append(Confirmed(
            row,
            Point.of(row.cost, row.quality.win_rate),
            not_worse_here,
            shown,
            worse_p.get(i, 0.0),
            row.quality.low > 0.5 and (shown or not evidence.imported),
            human,
            against,
        ))  # fmt: skip
    return found


def human_of(
    evidence: Evidence, found: Confirmation, confidence: float
) -> dict[str, Any] | None:
    """Return what people said of a confirmed setting, joined with cross-fitted predictions."""
    answers = evidence.answers.get(found.setting, ())
    searched = next((trial.cross_fitted for trial in evidence.trials
                     if trial.setting == found.setting), ())
    return human_quality(answers, searched, found.cross_fitted, confidence)


def _against(
    evidence: Evidence, found: Confirmation, human: dict[str, Any] | None, not_worse: bool
) -> str:
    """Return what forbids recommending a setting."""
    floor = evidence.least_alignment
    if floor is not None:
        ratio = found.aligned.ratio if found.aligned is not None else None
        if ratio is None:
            return "its alignment with the captions could not be measured"
        if ratio < floor:
            return (f"its pictures keep {ratio:.3f} of the default's alignment with the captions, "
                    f"the study asks for {floor:g}")
    said = human and (human["joined"] or human)
    if said and not_worse and said["high"] < 0.5:
        who = "simulated raters" if human and human["simulated"] else "people"
        return (f"the scorer calls it not worse, but {who} prefer the default's pictures (win rate "
                f"{said['win_rate']:.2f} [{said['low']:.2f}, {said['high']:.2f}])")
    return ""


def _prompt_values(quality: Quality) -> Floats:
    return np.array(list(prompt_means(quality.blocks).values()), np.float64)
