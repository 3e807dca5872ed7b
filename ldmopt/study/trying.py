"""One proposal: it is raced, measured and judged, and its trial is told what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from ldmopt.contracts import Cost, Setting, Trial
from ldmopt.errors import GenerationError
from ldmopt.study import records
from ldmopt.study.beginning import worst
from ldmopt.study.raced import Racer, Run
from ldmopt.study.session import Session
from ldmopt.study.work import Work


@dataclass(frozen=True)
class Outcome:
    """What is told of a trial.

    Attributes:
        attributes: of the trial.
        constraints: above 0 is violated.
        values: the objectives; None for a setting that was raced out.
        cost: as measured; None where it was not, or not now.
    """

    attributes: dict[str, Any]
    constraints: dict[str, float]
    values: list[float] | None
    cost: Cost | None = None


def try_setting(
    work: Work, trial: optuna.Trial, setting: Setting, racer: Racer | None
) -> Cost | None:
    """Measure one proposal and tell its trial; return its cost where it was measured now.

    A failure is told as a violated constraint; a setting that was raced out as pruned.
    """
    ledger = work.ledger.read()
    known = ledger.finished.get(setting)
    if known is None:
        known = ledger.raced.get(setting)
    found = _measured(work, setting, racer) if known is None else again(work, known)
    tell(work, trial, found)
    return found.cost


def tell(work: Work, trial: optuna.Trial, found: Outcome) -> None:
    """Write an outcome into its trial."""
    for name, value in found.constraints.items():
        trial.set_constraint(name, value)
    for name, value in found.attributes.items():
        trial.set_user_attr(name, value)
    if found.values is None:
        work.study.tell(trial, state=TrialState.PRUNED)
        return
    try:
        work.study.tell(trial, found.values)
    except RuntimeError:
        # Optuna's grid asks its loop to stop once every combination was tried; this is none.
        if not isinstance(work.study.sampler, optuna.samplers.GridSampler):
            raise


def _measured(work: Work, setting: Setting, racer: Racer | None) -> Outcome:
    session = work.session
    try:
        reason = session.space.refusal(setting)
        if reason:
            raise GenerationError("refused", reason)
        _refuse_hopeless(work, setting)
        if racer is not None and not session.bench.has(setting, session.blocks):
            run = _raced(session, setting, racer)
            if run.saved:
                return _raced_out(session, setting, run)
        cost, quality, pictures = session.measure(setting)
    except GenerationError as error:
        return failed(session, setting, error)
    further = session.further(setting, session.blocks, pictures)
    return Outcome(
        records.attributes(setting, cost, quality, pictures, session.scorer.identity, **further),
        records.constraints(cost, session.spec, further["aligned"]),
        records.objectives(quality, cost), cost)


def _raced(session: Session, setting: Setting, racer: Racer) -> Run:
    try:
        return racer.run(setting)
    except GenerationError as error:
        session.bench.book_failure(setting, error)
        raise


def _raced_out(session: Session, setting: Setting, run: Run) -> Outcome:
    identity = session.scorer.identity
    return Outcome(records.raced_attributes(setting, run.cost, run.quality, run.pictures, identity,
                                            run.saved, run.saved_seconds), {"failure": 0.0}, None)


def failed(session: Session, setting: Setting, error: GenerationError) -> Outcome:
    """Return what is told of a setting that gave no usable picture."""
    return Outcome(records.failure_attributes(setting, error),
                   records.constraints(None, session.spec), worst(session))


def again(work: Work, known: Trial) -> Outcome:
    """Return what is told of a setting that was tried before."""
    session = work.session
    if known.failure is not None:
        return failed(session, known.setting, GenerationError(
            known.failure.get("kind", "error"), known.failure.get("reason", "")))
    assert known.quality is not None
    identity, pictures = session.scorer.identity, list(known.pictures)
    if known.setting in work.ledger.raced:
        return Outcome(records.raced_attributes(known.setting, known.cost, known.quality, pictures,
                                                identity, 0, 0.0), {"failure": 0.0}, None)
    assert known.cost is not None
    cost, quality = known.cost, known.quality
    return Outcome(
        records.attributes(known.setting, cost, quality, pictures, identity, known.aligned,
                           known.cross_fitted),
        records.constraints(cost, session.spec, known.aligned),
        records.objectives(quality, cost))


def _refuse_hopeless(work: Work, setting: Setting) -> None:
    """Spend nothing on a setting that needs at least the memory that another did not get.

    Raises:
        GenerationError: one that runs alike, is no larger and no more guided ran out of memory.
    """
    space = work.session.space
    for trial in work.ledger.trials:
        if (trial.failure is not None and trial.failure["kind"] == "out-of-memory"
                and space.needs_memory_of(trial.setting, setting)):
            raise GenerationError("out-of-memory", f"not tried: trial {trial.number} "
                                  f"({work.changes(trial.setting)}) needs no more and failed")
