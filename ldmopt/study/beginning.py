"""How a study begins: the default is measured, scorers are examined, the space is frozen."""

from __future__ import annotations

from typing import Any

import optuna

from ldmopt.contracts import Setting
from ldmopt.errors import GenerationError, UserError
from ldmopt.search import distributions, inside
from ldmopt.study import records
from ldmopt.study.equivalence import Finding, probe
from ldmopt.study.exam import sit_exam
from ldmopt.study.session import Session, run_name
from ldmopt.study.work import Work


def begin(session: Session, storage: optuna.storages.RDBStorage) -> None:
    """Measure the default, examine the scorers, test which knobs change the picture, freeze.

    Raises:
        UserError: the default gives no usable picture, or the scorer fails its exam.
    """
    default = session.space.default
    session.tell(stage="default", doing=str(default))
    try:
        cost, quality, pictures = session.measure(default)
    except GenerationError as error:
        raise UserError(f"the default setting ({default}) gives no picture: {error}; change "
                        f"[default] (the libraries' output is in {session.folder.log})") from error
    exam = sit_exam(session.judges, session.spec, session.blocks, pictures)
    if exam.doubt:
        session.note(exam.doubt)
    if not exam.alignment_passed:
        session.note(exam.alignment_refusal)
        session.alignment = None
    session.tell(stage="probe", doing="")
    found = probe(session)
    changing = {item.knob for item in found if item.changes_picture}
    dropped = [(item.knob, item.value) for item in found if item.dropped]
    session.freeze(session.space.picture_knobs | changing, dropped)
    study = records.create_generation(storage, session.spec.name, 1, {
        "schema_version": 1,
        "run": run_name(session.folder),
        "default": dict(default),
        "picture_knobs": sorted(session.space.picture_knobs),
        "dropped": dropped,
        "equivalence": [item.to_dict() for item in found],
        "blocks": [[block.prompt, block.seed] for block in session.blocks],
        "held_out": [[block.prompt, block.seed] for block in session.held_out],
        "scorer": dict(session.scorer.identity),
        "alignment": None if session.alignment is None else dict(session.alignment.identity),
        "exam": exam.data,
    })
    further = session.further(default, session.blocks, pictures)
    study.add_trial(optuna.create_trial(
        values=records.objectives(quality, cost),
        **parameters(session, default),
        user_attrs=records.attributes(default, cost, quality, pictures, session.scorer.identity,
                                      **further),
        constraints=records.constraints(cost, session.spec, further["aligned"]),
    ))


def examine_older(work: Work) -> None:
    """Examine the scorer of a generation that was begun before there were exams.

    Raises:
        UserError: it fails.
    """
    session, trials = work.session, work.ledger.trials
    if "exam" not in work.frozen and trials and trials[0].pictures:
        sit_exam(session.judges, session.spec, session.blocks, trials[0].pictures)


def tell_failures(work: Work) -> None:
    """Tell the values that gave no picture in the probe, where they are not told yet."""
    session = work.session
    for row in work.frozen["equivalence"]:
        item = Finding.from_dict(row)
        if item.failure is None or item.setting in work.ledger.finished:
            continue
        error = GenerationError(item.failure["kind"], item.failure["reason"])
        work.study.add_trial(optuna.create_trial(
            values=worst(session),
            **parameters(session, item.setting),
            user_attrs=records.failure_attributes(item.setting, error),
            constraints=records.constraints(None, session.spec),
        ))


def parameters(session: Session, setting: Setting) -> dict[str, Any]:
    """Return a setting's parameters where all its searched knobs lie in the searched space."""
    if not inside(session.space, setting):
        return {"params": {}, "distributions": {}}
    found = {name: item for name, item in distributions(session.space).items() if name in setting}
    return {"params": {name: setting[name] for name in found}, "distributions": found}


def worst(session: Session) -> list[float]:
    """Return the objectives of a failed setting: no win, the deadline, the whole device."""
    caps = session.spec.caps
    memory = caps.memory_gb * 1e9 if caps.memory_gb else session.facts.get("device_bytes") or 0
    return [0.0, caps.seconds or session.spec.deadline_seconds, float(memory)]
