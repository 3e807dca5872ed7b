"""The search stage: what is proposed is measured until the budget ends or nothing is left."""

from __future__ import annotations

from collections import Counter

import optuna
from optuna.trial import TrialState

from ldmopt.errors import UserError
from ldmopt.study import alarm, records
from ldmopt.study.proposing import GAIN, Proposer
from ldmopt.study.raced import Racer
from ldmopt.study.stopping import why_it_ends
from ldmopt.study.trying import try_setting
from ldmopt.study.work import Work

REPEATS_BEFORE_END = 40
"""After so many proposals in a row that were measured already, or that cannot run and so cost
nothing of the budget, the space counts as searched."""


def search(work: Work, proposer: Proposer, kept: int = 0) -> str:
    """Measure what is proposed until the budget ends; return in words why it ended.

    Args:
        work: the generation.
        proposer: proposes.
        kept: trials that are kept for what comes later.

    Raises:
        UserError: no setting meets the caps, as far as costs are predicted.
    """
    revive(work.study)
    gains = _gains(work.study)
    repeats, why = 0, ""
    while repeats < REPEATS_BEFORE_END and not (why := why_it_ends(work, gains, kept)):
        asked = proposer.ask()
        for index, (trial, setting) in enumerate(asked):
            if index and why_it_ends(work, gains, kept):
                _give_back(work.study, [trial for trial, _ in asked[index:]])
                break
            gains.append(trial.user_attrs.get(GAIN))
            ledger, space = work.ledger, work.session.space
            fresh = setting not in ledger.finished and setting not in ledger.raced
            repeats = 0 if fresh and space.refusal(setting) is None else repeats + 1
            if not repeats:
                work.tell("search", work.changes(setting))
            racer = Racer(work, proposer.prices) if work.session.spec.races else None
            proposer.heed(setting, try_setting(work, trial, setting, racer))
            _look(work, fresh)
        if proposer.used_up:
            break
    return why or "nothing new was proposed"


def revive(study: optuna.Study) -> None:
    """End trials whose worker is gone, and queue their settings again.

    The caller holds the run folder's lock, so whatever is still running belongs to nobody.
    """
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        if trial.params:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=TrialState.FAIL)


def _give_back(study: optuna.Study, trials: list[optuna.Trial]) -> None:
    for trial in trials:
        study.tell(trial, state=TrialState.FAIL)


def _gains(study: optuna.Study) -> list[float | None]:
    return [trial.user_attrs.get(GAIN) for trial in study.get_trials(deepcopy=False)
            if trial.state.is_finished() and "setting" in trial.user_attrs][1:]


def _look(work: Work, fresh: bool) -> None:
    """Ask for a second opinion now and then."""
    trials = work.ledger.read().trials
    if fresh and len(trials) % alarm.EVERY == 0:
        work.warn(alarm.look_at_search(work.study, work.session.judges, trials,
                                       alarm.INTERIM_ALPHA))


def sum_up(work: Work) -> None:
    """Say what racing saved, and whatever the user should know of the search as a whole.

    Raises:
        UserError: nothing that was tried meets the caps.
    """
    ledger = work.ledger.read()
    if not any(trial.feasible for trial in ledger.trials):
        raise UserError(_nothing_met(work))
    work.warn(alarm.look_at_search(work.study, work.session.judges, ledger.trials))
    if work.session.spec.races:
        work.study.set_user_attr(records.RACING, ledger.racing())
    if ledger.raced:
        work.session.note(
            f"racing dropped {len(ledger.raced)} of {len(ledger.raced) + len(ledger.finished) - 1} "
            f"settings early and saved {ledger.saved_pictures} pictures, about "
            f"{ledger.saved_seconds:.0f} device seconds")
    work.warn(_odd(work))


def _nothing_met(work: Work) -> str:
    """Word that no setting tried meets the caps, and what the nearest took."""
    caps, parts = work.session.spec.caps, []
    measured = [trial for trial in work.ledger.trials if trial.cost is not None]
    for key, cap, what, unit, values in (
        ("seconds", caps.seconds, "the fastest took", " s",
         [(trial.cost.latency_seconds, trial) for trial in measured if trial.cost]),
        ("memory_gb", caps.memory_gb, "the smallest took", " GB",
         [(trial.cost.peak_memory_bytes / 1e9, trial) for trial in measured
          if trial.cost and trial.cost.peak_memory_bytes]),
        ("alignment", caps.alignment, "the nearest kept", " of the default's",
         [(-trial.aligned.ratio, trial) for trial in measured
          if trial.aligned is not None and trial.aligned.ratio is not None]),
    ):
        if cap is None:
            continue
        nearest = ""
        if values:
            value, trial = min(values, key=lambda pair: pair[0])
            nearest = f" ({what} {abs(value):.3g}{unit}: {work.changes(trial.setting)})"
        parts.append(f"caps.{key} = {cap:g}{nearest}")
    return (f"none of the {len(work.ledger.finished)} settings tried meets {' and '.join(parts)}; "
            "change the caps, or offer other values in [space], with another --out; what was "
            f"measured stays in {str(work.session.folder.path)!r}")


def _odd(work: Work) -> str:
    """Return in one line what is odd about all trials, with what to do; mostly nothing."""
    ledger, space = work.ledger, work.session.space
    others = ledger.trials[1:]
    if not others and not ledger.raced:
        if not space.searched:
            return ("nothing was searched: [space] names no knob of which two values are left; "
                    "name further values")
        return "the budget was spent on the default alone; raise it to search"
    failures = Counter((trial.failure["kind"], trial.failure["reason"]) for trial in others
                       if trial.failure is not None)
    if others and sum(failures.values()) == len(others) and not ledger.raced:
        (kind, reason), count = failures.most_common(1)[0]
        return (f"none of the {len(others)} settings tried gave a usable picture, {count} of them "
                f"for this reason: {kind}: {reason}; change [space], or look into "
                f"{work.session.folder.log}")
    judged = [trial.quality for trial in others if trial.quality is not None]
    looks = {space.look(trial.setting) for trial in ledger.trials if trial.quality is not None}
    if len(looks) > 1 and all(win.win == 0.5 for quality in judged for win in quality.blocks):
        return (f"the scorer calls the pictures of all {len(looks)} settings, the default's among "
                "them, alike (win rate exactly 0.5): use another [scorer], or values in [space] "
                "that lie further apart")
    return ""
