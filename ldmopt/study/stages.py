"""The stages of a study: default, probe, search, confirm, distill; each resumes where it was."""

from __future__ import annotations

from pathlib import Path

from ldmopt.rulebook import Rulebook
from ldmopt.study import earlier, records
from ldmopt.study.beginning import begin, examine_older, tell_failures
from ldmopt.study.confirming import confirm
from ldmopt.study.cost_changes import write_changes
from ldmopt.study.filling import fill
from ldmopt.study.folder import RunFolder
from ldmopt.study.freezing import check_home, check_searched, check_space, freeze_spec
from ldmopt.study.judging import check_judges
from ldmopt.study.output import write_outputs
from ldmopt.study.proposing import Proposer
from ldmopt.study.scoring import has_own, load_alignment, load_scorer
from ldmopt.study.searching import search, sum_up
from ldmopt.study.session import Report, open_session
from ldmopt.study.spec import StudySpec, read_spec
from ldmopt.study.work import Work


def run(
    study: StudySpec | str | Path,
    out: str | Path | None = None,
    *,
    trials: int | None = None,
    budget_seconds: float | None = None,
    report: Report = lambda state: None,
) -> Rulebook:
    """Run a study, or go on with one, until its rulebook is written.

    Args:
        study: a study file's path, or a spec made in Python.
        out: run folder; ``runs/<study name>`` when None.
        trials: overrides the study's budget: end the search after so many trials.
        budget_seconds: overrides it: end after so many device seconds.
        report: called whenever something a progress display shows has changed.

    Returns:
        The rulebook, also written to the run folder with Markdown and pictures.

    Raises:
        UserError: the study, model, machine or run folder cannot be used. What was finished is
            kept; running again goes on from there.
    """
    spec = study if isinstance(study, StudySpec) else read_spec(study)
    folder = RunFolder(out if out is not None else Path("runs") / spec.name)
    if trials is not None or budget_seconds is not None:
        budget = {"trials": trials, "device_seconds": budget_seconds}
        spec = StudySpec.model_validate({**spec.model_dump(), "budget": budget})
    folder.create()
    with folder.lock():
        freeze_spec(folder, spec, None if isinstance(study, StudySpec) else Path(study))
        with records.storage_errors(folder):
            return _run(spec, folder, report)


def _run(spec: StudySpec, folder: RunFolder, report: Report) -> Rulebook:
    storage = records.open_storage(folder, spec)
    records.forget_unfinished(storage, spec.name)
    numbers = records.generations(storage, spec.name)
    fitted = len(numbers) > 1 and has_own(folder)
    scorer, alignment = load_scorer(spec, folder, fitted), load_alignment(spec)
    session = open_session(spec, folder, scorer, report, alignment)
    try:
        session.state.trials_wanted = spec.budget.trials
        session.state.budget_seconds = spec.budget.device_seconds
        if not numbers:
            check_searched(session.space)
            begin(session, storage)
        number = numbers[-1] if numbers else 1
        work = Work(session, records.open_generation(storage, spec.name, number))
        check_home(work)
        session.alignment = check_judges(work.frozen, session.scorer, session.alignment)
        examine_older(work)
        dropped = [(knob, value) for knob, value in work.frozen["dropped"]]
        session.freeze(frozenset(work.frozen["picture_knobs"]), dropped)
        check_space(work.study, session.space, folder)
        tell_failures(work)
        if session.space.searched:
            known = earlier.warm_start(session, work.frozen)
            earlier.queue(session, work.study, known)
            proposer = Proposer(work, earlier.as_evidence(session, known))
            work.tell("search", "")
            search(work, proposer, kept=proposer.kept)
            fill(work, proposer)
            # What was kept for filling and was not needed.
            why = search(work, proposer)
            work.tell("search", f"ended: {why}")
        sum_up(work)
        confirm(work)
        work.tell("distill", "writing the rulebook")
        write_changes(session, [trial.setting for trial in work.ledger.read().trials])
        rulebook = write_outputs(folder, work.study, work.evidence())
        work.tell("done", "")
        return rulebook
    finally:
        session.host.close()
