"""Trials and confirmations in, a rulebook out: pure functions on records, no input or output."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ldmopt.contracts import Evidence
from ldmopt.distillation import avoid, effects, ladder, plateaus, table
from ldmopt.distillation.confirmed import Confirmed, confirmed
from ldmopt.distillation.constants import Constants
from ldmopt.distillation.contrasts import all_contrasts
from ldmopt.distillation.selection import curse
from ldmopt.distillation.shortlist import candidates
from ldmopt.errors import UserError
from ldmopt.rulebook import SCHEMA_VERSION, Rulebook

__all__ = ["Constants", "candidates", "distill"]

_SCOPE: dict[str, Any] = {
    "model": "", "model_digest": "", "device": "", "versions": {}, "prompts": 0, "seeds": 0,
    "pictures": 0, "human_labels": 0, "scorer": "",
}  # fmt: skip


def distill(
    evidence: Evidence, constants: Constants | None = None, created: datetime | None = None
) -> Rulebook:
    """Turn a study's evidence into its rulebook.

    Recommendations and the front hold only settings that were generated and measured again on
    held-out prompts and seeds. Effects, plateaus, equivalent values and what to avoid rest on the
    search's trials; the chance of any false verdict among effects and avoid rules together is
    held to 1 - confidence.

    Args:
        evidence: the records of a run.
        constants: margin, confidence and the like; the usual ones when None.
        created: time stamp; now when None.

    Raises:
        UserError: the default was not confirmed, so that nothing can be compared with it.
    """
    constants = constants or Constants()
    if evidence.default not in evidence.confirmations:
        raise UserError(
            f"study {evidence.study!r} has not measured its default on held-out prompts yet: "
            "run it again to finish the confirmation"
        )
    rows = confirmed(evidence, constants)
    fit = [row for row in rows if not row.against]
    return Rulebook.from_data({
        **_head(evidence, constants, created or datetime.now(UTC), rows),
        "default": _default(evidence),
        "recommendations": [
            ladder.to_dict(choice, evidence, rows, constants)
            for choice in ladder.choices(fit, constants)
        ],
        "front": [ladder.point_to_dict(row, evidence.imported)
                  for row in ladder.front_of(fit)],
        **_rules(evidence, constants),
    })  # fmt: skip


def _head(
    evidence: Evidence, constants: Constants, created: datetime, rows: Sequence[Confirmed]
) -> dict[str, Any]:
    """What the rulebook is and what it was seen on."""
    further: dict[str, Any] = {}
    left_out = [{"setting": dict(row.setting), "why": row.against} for row in rows if row.against]
    if left_out:
        further["left_out"] = left_out
    raced_out = sum(trial.raced_out for trial in evidence.trials)
    if raced_out:
        further["raced_out"] = raced_out
    selection = curse(evidence, rows, constants.confidence)
    if selection:
        further["selection"] = selection
    return {
        "schema_version": SCHEMA_VERSION,
        "ldmopt_version": _version(),
        "study": evidence.study,
        "generation": evidence.generation,
        "created": created.isoformat(timespec="seconds"),
        "confidence": constants.confidence,
        "margin": constants.margin,
        "constants": constants.to_dict(),
        "scope": {**_SCOPE, **evidence.scope, **further},
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


def _rules(evidence: Evidence, constants: Constants) -> dict[str, Any]:
    """What the search's trials say about knobs."""
    measured = table.build(evidence)
    return {
        "effects": effects.effects(evidence, measured, all_contrasts(measured), constants),
        "plateaus": plateaus.plateaus(evidence, measured, constants),
        "equivalent": plateaus.equivalent(evidence, measured, constants),
        "avoid": avoid.avoid(evidence, measured, constants),
    }


def _version() -> str:
    """The installed version, or nothing when run from a folder."""
    try:
        return importlib.metadata.version("ldmopt")
    except importlib.metadata.PackageNotFoundError:
        return ""
