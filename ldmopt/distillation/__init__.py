"""Trials and confirmations in, a rulebook out: pure functions on records, no input or output."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ldmopt.contracts import Evidence
from ldmopt.distillation import avoid, effects, ladder, plateaus, table
from ldmopt.distillation.confirmed import Confirmed, confirmed
from ldmopt.distillation.contrasts import all_contrasts
from ldmopt.distillation.shortlist import candidates
from ldmopt.errors import UserError
from ldmopt.rulebook import SCHEMA_VERSION, Rulebook

__all__ = ["candidates", "distill"]

MARGIN = 0.05
CONFIDENCE = 0.95

_SCOPE: dict[str, Any] = {
    "model": "", "model_digest": "", "device": "", "versions": {}, "prompts": 0, "seeds": 0,
    "pictures": 0, "human_labels": 0, "scorer": "",
}  # fmt: skip


def distill(
    evidence: Evidence,
    margin: float = MARGIN,
    confidence: float = CONFIDENCE,
    created: datetime | None = None,
) -> Rulebook:
    """Turn a study's evidence into its rulebook.

    Recommendations and the front hold only settings that were generated and measured again on
    held-out prompts and seeds. Effects, plateaus, equivalent values and what to avoid rest on the
    search's trials; the chance of any false verdict among effects and avoid rules together is
    held to 1 - confidence, half for each.

    Args:
        evidence: the records of a run.
        margin: how much lower a win rate may be and still count as not worse.
        confidence: of all intervals.
        created: time stamp; now when None.

    Raises:
        UserError: the default was not confirmed, so that nothing can be compared with it; or
            margin or confidence is out of range.
    """
    if not 0.0 < margin < 0.5:
        raise UserError(f"margin must be above 0 and below 0.5, got {margin}")
    if not 0.5 <= confidence <= 0.99:
        raise UserError(f"confidence must be within 0.5 and 0.99, got {confidence}")
    if evidence.default not in evidence.confirmations:
        raise UserError(
            f"study {evidence.study!r} has not measured its default on held-out prompts yet: "
            "run it again to finish the confirmation"
        )
    rows = confirmed(evidence, margin, confidence)
    fit = [row for row in rows if not row.against]
    return Rulebook.from_data({
        **_head(evidence, margin, confidence, created or datetime.now(UTC), rows),
        "default": _default(evidence),
        "recommendations": [
            ladder.to_dict(choice, evidence, len(rows), confidence)
            for choice in ladder.choices(fit)
        ],
        "front": [ladder.point_to_dict(row, evidence.imported)
                  for row in ladder.front_of(fit)],
        **_rules(evidence, effects.Rules(confidence, margin, (1.0 - confidence) / 2.0)),
    })  # fmt: skip


def _head(
    evidence: Evidence, margin: float, confidence: float, created: datetime,
    rows: Sequence[Confirmed],
) -> dict[str, Any]:
    """What the rulebook is and what it was seen on."""
    left_out = [{"setting": dict(row.setting), "why": row.against} for row in rows if row.against]
    return {
        "schema_version": SCHEMA_VERSION,
        "ldmopt_version": _version(),
        "study": evidence.study,
        "generation": evidence.generation,
        "created": created.isoformat(timespec="seconds"),
        "confidence": confidence,
        "margin": margin,
        "scope": {**_SCOPE, **evidence.scope, **({"left_out": left_out} if left_out else {})},
    }


def _default(evidence: Evidence) -> dict[str, Any]:
    """The setting that everything is compared with, with its held-out cost."""
    found = evidence.confirmations[evidence.default]
    return {
        "setting": dict(evidence.default),
        "cost": ladder.cost_to_dict(
            found.cost, found.seconds_low, found.seconds_high, evidence.default, evidence.imported
        ),
        "picture": found.pictures[0] if found.pictures else None,
    }


def _rules(evidence: Evidence, rules: effects.Rules) -> dict[str, Any]:
    """What the search's trials say about knobs."""
    measured = table.build(evidence)
    labels = int(evidence.scope.get("human_labels", 0))
    judged_by = {"judged_by": "the regressor alone", "human_labels": labels}
    if labels:
        judged_by["judged_by"] = evidence.scope.get(
            "judged_by", "the regressor, which learned from human labels too")
    return {
        "effects": effects.effects(all_contrasts(measured), rules, judged_by),
        "plateaus": plateaus.plateaus(measured, rules),
        "equivalent": plateaus.equivalent(measured, rules),
        "avoid": avoid.avoid(evidence, measured, rules, judged_by),
    }


def _version() -> str:
    """The installed version, or nothing when run from a folder."""
    try:
        return importlib.metadata.version("ldmopt")
    except importlib.metadata.PackageNotFoundError:
        return ""
