"""The stages of a study: default, probe, search, confirm, distill; each resumes where it was."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from ldmopt.contracts import Confirmation, Evidence, Setting, Trial
from ldmopt.distillation import candidates
from ldmopt.distillation.front import pareto
from ldmopt.distillation.intervals import median_interval
from ldmopt.errors import GenerationError, UserError
from ldmopt.rulebook import Rulebook
from ldmopt.search import asking_order, distribution, make_sampler, suggest
from ldmopt.study import alarm, records
from ldmopt.study.equivalence import Finding, probe
from ldmopt.study.exam import sit_exam
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.judging import check_judges
from ldmopt.study.output import read_evidence, write_outputs
from ldmopt.study.scoring import has_own, load_alignment, load_scorer
from ldmopt.study.session import Report, Session, open_session
from ldmopt.study.spec import StudySpec, parse_spec, read_spec

CONFIRMED_SETTINGS = 6
"""How many settings, the default not counted, are measured again on held-out blocks."""

LARGEST_RESERVE = 0.4
"""Share of the budget in device seconds that is kept for the confirmation at the most."""

REPEATS_BEFORE_END = 40
"""After so many proposals in a row that were measured already, or that cannot run and so cost
nothing of the budget, the space counts as searched."""


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


def freeze_spec(folder: RunFolder, spec: StudySpec, source: Path | None) -> None:
    """Copy the study into the run folder, or hold it against the copy that is there.

    Raises:
        UserError: the folder holds another study, or this one with other keys.
    """
    if not folder.exists():
        if source is not None:
            text = source.read_text(encoding="utf-8")
        else:
            import tomli_w

            text = tomli_w.dumps(spec.model_dump(exclude_none=True))
        write(folder.spec, text.encode())
        return
    kept = parse_spec(folder.spec.read_text(encoding="utf-8"), str(folder.spec))
    if kept.name != spec.name:
        raise UserError(f"run folder {str(folder.path)!r} holds the study {kept.name!r}, not "
                        f"{spec.name!r}; give another --out")
    old, new = (item.model_dump(exclude={"budget"}) for item in (kept, spec))
    changed = sorted(key for key in new if old[key] != new[key])
    if changed:
        raise UserError(
            f"study {spec.name!r} has changed since its run folder was made ({', '.join(changed)}"
            f"); only the budget may: give another --out or the study as in {str(folder.spec)!r}"
        )


@dataclass
class Work:
    """One generation under way."""

    session: Session
    study: optuna.Study

    @property
    def frozen(self) -> Mapping[str, Any]:
        """What may not change within the generation."""
        attributes: Mapping[str, Any] = self.study.user_attrs[records.FROZEN]
        return attributes

    def evidence(self) -> Evidence:
        """Return all that distillation needs."""
        return read_evidence(self.session.folder, self.session.spec, self.study)

    def changes(self, setting: Setting) -> str:
        """Return in words how a setting differs from the default."""
        default = self.session.space.default
        changed = (f"{name}={value}" for name, value in setting.items()
                   if default.get(name) != value)
        return " ".join(changed) or "the default"

    def warn(self, line: str) -> None:
        """Say an alarm that was not said yet in this session."""
        if line and line not in self.session.state.notes:
            self.session.note(line)

    def tell(self, stage: str, doing: str) -> list[Trial]:
        """Show where the study is."""
        trials = records.finished(self.study)
        self.session.tell(stage=stage, doing=doing, trials=len(trials), default=trials[0],
                          front=pareto(trials))
        return trials


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
            begin(session, storage)
        number = numbers[-1] if numbers else 1
        # A sampler that starts from the same seed after a resume would propose the same again.
        done = len(records.open_generation(storage, spec.name, number).get_trials(deepcopy=False))
        sampler = make_sampler(spec.search, spec.seed + done)
        work = Work(session, records.open_generation(storage, spec.name, number, sampler))
        session.alignment = check_judges(work.frozen, session.scorer, session.alignment)
        _examine_older(work)
        dropped = [(knob, value) for knob, value in work.frozen["dropped"]]
        session.freeze(frozenset(work.frozen["picture_knobs"]), dropped)
        tell_failures(work)
        search(work)
        confirm(work)
        work.tell("distill", "writing the rulebook")
        rulebook = write_outputs(folder, work.study, work.evidence())
        work.tell("done", "")
        return rulebook
    finally:
        session.host.close()


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
    values = [quality.win_rate, cost.seconds, float(cost.peak_memory_bytes or 0)]
    study.add_trial(optuna.create_trial(
        values=values,
        **_parameters(session, default),
        user_attrs=records.attributes(default, cost, quality, pictures, session.scorer.identity,
                                      **further),
        constraints=records.constraints(cost, session.spec, further["aligned"]),
    ))


def _examine_older(work: Work) -> None:
    """Examine the scorer of a generation that was begun before there were exams.

    Raises:
        UserError: it fails.
    """
    session, trials = work.session, records.finished(work.study)
    if "exam" not in work.frozen and trials and trials[0].pictures:
        sit_exam(session.judges, session.spec, session.blocks, trials[0].pictures)


def tell_failures(work: Work) -> None:
    """Tell the values that gave no picture in the probe, where they are not told yet."""
    session = work.session
    known = {trial.setting for trial in records.finished(work.study)}
    for row in work.frozen["equivalence"]:
        item = Finding.from_dict(row)
        if item.failure is None or item.setting in known:
            continue
        error = GenerationError(item.failure["kind"], item.failure["reason"])
        work.study.add_trial(optuna.create_trial(
            values=_worst(session),
            **_parameters(session, item.setting),
            user_attrs=records.failure_attributes(item.setting, error),
            constraints=records.constraints(None, session.spec),
        ))


def _parameters(session: Session, setting: Setting) -> dict[str, Any]:
    """Return a setting's parameters where all its searched knobs lie in the searched space."""
    distributions = {name: distribution(session.space.searched[name])
                     for name in asking_order(session.space) if name in setting}
    inside = all(
        item._contains(item.to_internal_repr(setting[name])) if not isinstance(
            item, optuna.distributions.CategoricalDistribution) else setting[name] in item.choices
        for name, item in distributions.items()
    )
    if not inside:
        return {"params": {}, "distributions": {}}
    return {"params": {name: setting[name] for name in distributions},
            "distributions": distributions}


def search(work: Work) -> None:
    """Measure what the sampler proposes until the budget ends."""
    if not work.session.space.searched:
        return
    revive(work.study)
    repeats = 0
    known = {trial.setting: trial for trial in work.tell("search", "")}
    while repeats < REPEATS_BEFORE_END and not budget_ends(work, list(known.values())):
        trial = work.study.ask()
        setting = work.session.space.canonical(suggest(trial, work.session.space))
        nothing_new = setting in known or work.session.space.refusal(setting) is not None
        repeats = repeats + 1 if nothing_new else 0
        if not nothing_new:
            work.tell("search", work.changes(setting))
        try_setting(work, trial, setting, known.get(setting))
        fresh = setting not in known
        known = {trial.setting: trial for trial in records.finished(work.study)}
        if fresh and len(known) % alarm.EVERY == 0:
            work.warn(alarm.look_at_search(work.study, work.session.judges, list(known.values()),
                                           alarm.INTERIM_ALPHA))
    work.warn(alarm.look_at_search(work.study, work.session.judges, list(known.values())))
    work.tell("search", "" if len(known) > 1 else
              "the budget was spent on the default alone; raise it to search")


def revive(study: optuna.Study) -> None:
    """End trials whose worker is gone, and queue their settings again.

    The caller holds the run folder's lock, so whatever is still running belongs to nobody.
    """
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if trial.params:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def budget_ends(work: Work, trials: list[Trial]) -> bool:
    """Tell whether the search must stop so that the confirmation still fits into the budget."""
    budget = work.session.spec.budget
    tried = [trial for trial in trials if (trial.failure or {}).get("kind") != "refused"]
    if budget.trials is not None and len(tried) >= budget.trials:
        return True
    if budget.device_seconds is None:
        return False
    costs = [trial.cost.seconds for trial in trials if trial.cost is not None]
    # Until others are known, a recommended setting is taken to cost a third of the default.
    typical = statistics.median(costs[1:] or [costs[0] / 3])
    reserve = len(work.session.held_out) * (costs[0] + CONFIRMED_SETTINGS * typical)
    reserve = min(reserve, LARGEST_RESERVE * budget.device_seconds)
    return work.session.bench.spent_seconds + reserve >= budget.device_seconds


def try_setting(
    work: Work, trial: optuna.Trial, setting: Setting, known: Trial | None
) -> None:
    """Measure one proposal and tell its trial; a failure is told as a violated constraint."""
    session = work.session
    try:
        if known is not None and known.cost is not None and known.quality is not None:
            cost, quality, pictures = known.cost, known.quality, list(known.pictures)
        elif known is not None:
            failure = known.failure or {}
            raise GenerationError(failure.get("kind", "error"), failure.get("reason", ""))
        else:
            reason = session.space.refusal(setting)
            if reason:
                raise GenerationError("refused", reason)
            _refuse_hopeless(work, setting)
            cost, quality, pictures = session.measure(setting)
    except GenerationError as error:
        found = records.failure_attributes(setting, error)
        limits = records.constraints(None, session.spec)
        values = _worst(session)
    else:
        identity = session.scorer.identity
        further = session.further(setting, session.blocks, pictures)
        found = records.attributes(setting, cost, quality, pictures, identity, **further)
        limits = records.constraints(cost, session.spec, further["aligned"])
        values = [quality.win_rate, cost.seconds, float(cost.peak_memory_bytes or 0)]
    for name, value in limits.items():
        trial.set_constraint(name, value)
    for name, value in found.items():
        trial.set_user_attr(name, value)
    work.study.tell(trial, values)


def _refuse_hopeless(work: Work, setting: Setting) -> None:
    """Spend nothing on a setting that needs at least the memory that another did not get.

    Raises:
        GenerationError: one that runs alike, is no larger and no more guided ran out of memory.
    """
    space = work.session.space
    for trial in records.finished(work.study):
        if (trial.failure is not None and trial.failure["kind"] == "out-of-memory"
                and space.needs_memory_of(trial.setting, setting)):
            raise GenerationError("out-of-memory", f"not tried: trial {trial.number} "
                                  f"({work.changes(trial.setting)}) needs no more and failed")


def _worst(session: Session) -> list[float]:
    """Return the objectives of a failed setting: no win, the deadline, the whole device."""
    caps = session.spec.caps
    memory = caps.memory_gb * 1e9 if caps.memory_gb else session.facts.get("device_bytes") or 0
    return [0.0, caps.seconds or session.spec.deadline_seconds, float(memory)]


def confirm(work: Work) -> None:
    """Generate and measure the front again, on prompts and seeds that the search never saw."""
    session = work.session
    done = records.read_confirmations(work.study)
    wanted = candidates(work.evidence(), 1 + CONFIRMED_SETTINGS)
    for setting in [session.space.default, *(s for s in wanted if s != session.space.default)]:
        if setting in done:
            continue
        work.tell("confirm", work.changes(setting))
        try:
            done[setting] = confirmed(session, setting)
        except GenerationError as error:
            session.bench.book_failure(setting, error)
            continue
        rows = [records.confirmation_to_dict(item) for item in done.values()]
        work.study.set_user_attr(records.CONFIRMATIONS, rows)
    work.warn(alarm.look_at_confirmed(work.study, session.judges))


def confirmed(session: Session, setting: Setting) -> Confirmation:
    """Measure one setting on the held-out blocks.

    Raises:
        GenerationError: the setting gives no usable picture.
    """
    quality, pictures = session.quality(setting, session.held_out, anew=True)
    cost = session.bench.cost(setting, session.held_out)
    calls = session.bench.costs(setting, session.held_out)
    seconds = median_interval([call.seconds for call in calls])
    return Confirmation(setting, cost, seconds.low, seconds.high, quality, tuple(pictures),
                        **session.further(setting, session.held_out, pictures))
