"""All pictures of a run judged anew by its fitted regressor, as a new generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ldmopt.contracts import Block, Confirmation, Cost, Setting
from ldmopt.errors import UserError
from ldmopt.rulebook import Rulebook
from ldmopt.study import alarm, records
from ldmopt.study.exam import sit_exam
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import Judges
from ldmopt.study.output import read_evidence, read_run, write_outputs
from ldmopt.study.scoring import has_own, load_alignment, load_scorer
from ldmopt.study.spec import StudySpec


def rescore(run: str | Path) -> Rulebook:
    """Judge all stored pictures anew, as a new generation, without making any.

    By the regressor that was fitted in the run; without one, by the regressor or LAION's head that
    the study names, whose file may be another one by now.

    Raises:
        UserError: no run folder, nothing to judge by, or what there is fails its exam: then no
            generation is made.
    """
    folder, spec, _ = read_run(run)
    folder.require_pictures()
    if not has_own(folder) and spec.scorer.regressor is None and spec.scorer.laion is None:
        raise UserError(f"run {str(folder.path)!r} has no fitted regressor; make one with: "
                        f"ldmopt fit {folder.path}")
    with folder.lock(), records.storage_errors(folder):
        records.forget_unfinished(records.open_storage(folder, spec), spec.name)
        _, _, study = read_run(run)
        scorer = load_scorer(spec, folder, fitted=has_own(folder))
        judges = Judges(folder, scorer, load_alignment(spec))
        judged = _Judged(judges, spec, study.user_attrs[records.FROZEN])
        newest = _next_generation(folder, spec, study, judged)
        alarm.look_at_search(newest, judged.judges, records.finished(newest))
        alarm.look_at_confirmed(newest, judged.judges)
        return write_outputs(folder, newest, read_evidence(folder, spec, newest))


class _Judged:
    """Judges stored pictures anew, against the default's."""

    def __init__(self, judges: Judges, spec: StudySpec, frozen: Mapping[str, Any]) -> None:
        self.judges = judges
        self.spec = spec
        self.blocks = [Block(*row) for row in frozen["blocks"]]
        self.held_out = [Block(*row) for row in frozen["held_out"]]

    def examined(self, against: list[str]) -> dict[str, Any]:
        """Return what the new generation freezes of its judges, once they passed their exam."""
        judges = self.judges
        exam = sit_exam(judges, self.spec, self.blocks, against)
        if not exam.alignment_passed:
            self.judges = replace(judges, alignment=None)
        found = self.judges.alignment
        return {"scorer": dict(judges.scorer.identity), "exam": exam.data,
                "alignment": None if found is None else dict(found.identity)}

    def trial(self, trial: FrozenTrial, against: Mapping[Block, str]) -> FrozenTrial:
        """Return a copy of a trial with its quality judged anew.

        A trial that was raced out keeps its state and is judged on the blocks that it has; one
        that failed stays as it is. Limits are reckoned anew only where there is a quality.
        """
        attributes, values = dict(trial.user_attrs), list(trial.values or ())
        limits = dict(trial.constraints)
        state = trial.state
        shown = {block: digest for block, digest in records.read_trial(trial).shown.items()
                 if block in against}
        if "quality" in attributes and not shown:
            # An imported setting without picture files: what raters said is no word of a scorer's.
            del attributes["quality"]
            state, values = TrialState.PRUNED, []
        if "quality" in attributes:
            blocks, own = list(shown), list(shown.values())
            default = [against[block] for block in blocks]
            attributes["pictures"] = own
            quality = self.judges.quality(blocks, own, default)
            further = self.judges.further(blocks, own, default)
            for name in ("alignment", "cross_fitted"):
                attributes.pop(name, None)
            attributes |= {"quality": quality.to_dict(),
                           "scorer": dict(self.judges.scorer.identity),
                           **records.further_attributes(**further)}
            values[:1] = [quality.win_rate] if values else []
            if "cost" in attributes:
                cost = Cost.from_dict(attributes["cost"])
                limits |= records.constraints(cost, self.spec, further["aligned"])
        return optuna.create_trial(
            state=state, values=values or None, params=trial.params,
            distributions=trial.distributions, user_attrs=attributes, constraints=limits,
        )

    def confirmation(self, item: Confirmation, against: tuple[str, ...]) -> dict[str, Any]:
        quality = self.judges.quality(self.held_out, item.pictures, against)
        further = self.judges.further(self.held_out, item.pictures, against)
        return records.confirmation_to_dict(replace(item, quality=quality, **further))


def _next_generation(
    folder: RunFolder, spec: StudySpec, study: optuna.Study, judged: _Judged
) -> optuna.Study:
    storage = records.open_storage(folder, spec)
    number = records.generations(storage, spec.name)[-1] + 1
    states = [TrialState.COMPLETE, TrialState.PRUNED]
    trials = [trial for trial in study.get_trials(deepcopy=False, states=states)
              if "setting" in trial.user_attrs]
    confirmations = records.read_confirmations(study)
    first = trials[0].user_attrs["pictures"]
    if not first:
        raise UserError(f"run {str(folder.path)!r} has no pictures of its default: nothing can be "
                        "judged anew; import a table that names picture files")
    against = dict(zip(judged.blocks, first, strict=True))
    frozen = {**study.user_attrs[records.FROZEN], **judged.examined(list(first))}
    rejudged = [judged.trial(trial, against) for trial in trials]
    default = Setting(frozen["default"])
    rows = [judged.confirmation(item, confirmations[default].pictures)
            for item in confirmations.values()]
    return records.create_whole_generation(storage, spec.name, number, frozen, rejudged, rows,
                                           study.metric_names or tuple(records.OBJECTIVES))
