"""Warm start: what earlier runs know of the same knobs, taken in once and kept in the run folder.

An earlier win rate counts as evidence where it means the same: the same model, the same default,
the same judge. On the same prompts it is as good as one read here but for a little; on others it
has the error of its prompts and of the change. Where any of the three differs, a win rate says
nothing here: only the earlier front is proposed first. Costs are always measured here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldmopt.contracts import Setting, Trial
from ldmopt.distillation.front import pareto
from ldmopt.errors import UserError
from ldmopt.search import inside
from ldmopt.search.factored import Earlier
from ldmopt.study import records
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.output import read_run
from ldmopt.study.proposing import reading
from ldmopt.study.session import Session

FILE = "warm_start.json"
VERSION = 1

SAME_PROMPTS, OTHER_PROMPTS = 0.02, 0.05
"""Standard deviation that an earlier win rate has here beyond that of its prompts."""

FIRST = 4
"""Settings of an earlier front that are proposed first."""


@dataclass
class Known:
    """What earlier runs know.

    Attributes:
        evidence: setting with its win rate and variance.
        first: settings to try first.
    """

    evidence: list[tuple[Setting, float, float]] = field(default_factory=list)
    first: list[Setting] = field(default_factory=list)


def warm_start(session: Session, frozen: Mapping[str, Any]) -> Known:
    """Return what the study's earlier runs know; it is read once and then kept.

    Raises:
        UserError: an earlier run cannot be read, or is this one.
    """
    if not session.spec.warm_start:
        return Known()
    path = session.folder.path / FILE
    if not path.exists():
        found = Known()
        for name in session.spec.warm_start:
            _take_in(found, session, frozen, name)
        write(path, (json.dumps({
            "schema_version": VERSION,
            "runs": session.spec.warm_start,
            "evidence": [[dict(setting), value, variance]
                         for setting, value, variance in found.evidence],
            "first": [dict(setting) for setting in found.first],
        }, indent=1) + "\n").encode())
        session.note(f"warm start from {', '.join(session.spec.warm_start)}: "
                     f"{len(found.evidence)} settings count as evidence, {len(found.first)} are "
                     "tried first")
    data = json.loads(path.read_text(encoding="utf-8"))
    return Known([(Setting(row[0]), row[1], row[2]) for row in data["evidence"]],
                 [Setting(row) for row in data["first"]])


def as_evidence(session: Session, known: Known) -> list[Earlier]:
    """Return what the search takes in beforehand."""
    space = session.space
    return [Earlier({name: setting[name] for name in space.searched
                     if name in setting and name in space.picture_knobs}, value, variance)
            for setting, value, variance in known.evidence]


def queue(session: Session, study: Any, known: Known) -> None:
    """Queue the settings to try first, once."""
    if known.first and not study.user_attrs.get("warm_started"):
        for setting in known.first:
            study.enqueue_trial({name: setting[name] for name in session.space.searched
                                 if name in setting}, skip_if_exists=True)
        study.set_user_attr("warm_started", True)


def _take_in(found: Known, session: Session, frozen: Mapping[str, Any], name: str) -> None:
    if Path(name).resolve() == session.folder.path.resolve():
        raise UserError(f"warm_start: {name!r} is this study's own run folder; name another run")
    try:
        folder, _, study = read_run(name)
    except UserError as error:
        raise UserError(f"warm_start: {error}") from error
    trials = [trial for trial in records.finished(study) if _inside(session, trial.setting)]
    before = study.user_attrs[records.FROZEN]
    if alike(session, folder, frozen, before):
        same = before["blocks"] == frozen["blocks"]
        prompts = len({prompt for prompt, _ in before["blocks"]})
        for trial in distinct(session, trials):
            if trial.quality is not None:
                value, variance = reading(trial.quality, prompts if same else 10**9)
                extra = SAME_PROMPTS if same else OTHER_PROMPTS
                found.evidence.append((trial.setting, value, variance + extra**2))
    found.first += [trial.setting for trial in pareto(trials)[:FIRST]
                    if trial.setting not in found.first]


def alike(
    session: Session, folder: RunFolder, frozen: Mapping[str, Any], before: Mapping[str, Any]
) -> bool:
    """Tell whether a win rate means the same in both runs: same model, default and judge."""
    facts = [json.loads(one.environment.read_text(encoding="utf-8")).get("model_digest")
             if one.environment.exists() else None for one in (folder, session.folder)]
    judges = [data.get("scorer", {}).get("digest") for data in (before, frozen)]
    space = session.space
    looks = [space.picture(Setting(data["default"])) for data in (before, frozen)]
    return facts[0] == facts[1] and judges[0] == judges[1] and looks[0] == looks[1]


def distinct(session: Session, trials: Sequence[Trial]) -> list[Trial]:
    """Return one trial for each picture setting; quality is the same in all of them."""
    found: dict[Setting, Trial] = {}
    for trial in trials:
        found.setdefault(session.space.look(trial.setting), trial)
    return list(found.values())


def _inside(session: Session, setting: Setting) -> bool:
    """Tell whether a setting lies in the searched space and is as the default elsewhere."""
    space = session.space
    if any(name not in space.knobs for name in setting):
        return False
    if not inside(space, setting):
        return False
    searched = {name: value for name, value in setting.items() if name in space.searched}
    return space.canonical({**space.default, **searched}) == space.canonical(setting)
