"""One generation of a study under way, and its trials, each read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.trial import TrialState

from ldmopt.contracts import Evidence, Setting, Trial
from ldmopt.distillation.front import pareto
from ldmopt.study import records
from ldmopt.study.output import read_evidence
from ldmopt.study.session import Session


@dataclass(eq=False)
class Ledger:
    """What the trials say, one for each distinct setting, oldest first.

    Attributes:
        study: the generation.
        finished: measured in full, or failed.
        raced: dropped before all prompts were made; what they have is no final quality.
        saved_pictures: that were not made, because settings were dropped.
        saved_seconds: device seconds that these would have taken.
    """

    study: optuna.Study
    finished: dict[Setting, Trial] = field(default_factory=dict)
    raced: dict[Setting, Trial] = field(default_factory=dict)
    saved_pictures: int = 0
    saved_seconds: float = 0.0
    _open: list[int] = field(default_factory=list)
    _seen: int = 0
    _front: tuple[int, list[Trial]] = field(default_factory=lambda: (-1, []))

    def read(self) -> Ledger:
        """Take note of what has finished since."""
        trials = self.study.get_trials(deepcopy=False)
        waiting = [*self._open, *range(self._seen, len(trials))]
        self._seen = len(trials)
        self._open = [number for number in waiting if not trials[number].state.is_finished()]
        for number in waiting:
            trial = trials[number]
            if "setting" not in trial.user_attrs:
                continue
            setting = Setting(trial.user_attrs["setting"])
            if trial.state == TrialState.COMPLETE and setting not in self.finished:
                self.finished[setting] = records.read_trial(trial)
                self.raced.pop(setting, None)
            elif trial.state == TrialState.PRUNED and setting not in self.finished:
                self.raced.setdefault(setting, records.read_trial(trial))
                saved = trial.user_attrs.get("raced", {})
                self.saved_pictures += saved.get("pictures_saved", 0)
                self.saved_seconds += saved.get("device_seconds_saved", 0.0)
        return self

    def racing(self) -> dict[str, Any]:
        """Return what racing dropped and saved, as JSON data."""
        return {"dropped": len(self.raced), "finished": len(self.finished),
                "pictures_saved": self.saved_pictures,
                "device_seconds_saved": round(self.saved_seconds, 3)}

    @property
    def trials(self) -> list[Trial]:
        """The finished ones."""
        return list(self.finished.values())

    @property
    def front(self) -> list[Trial]:
        """The feasible finished ones that no other beats, best win rate first."""
        if self._front[0] != len(self.finished):
            self._front = len(self.finished), pareto(self.finished.values())
        return self._front[1]


@dataclass
class Work:
    """One generation under way.

    Attributes:
        session: the open run.
        study: the generation.
        ledger: its trials.
    """

    session: Session
    study: optuna.Study
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        """Read the trials."""
        self.ledger = Ledger(self.study).read()

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
        return setting.changes(self.session.space.default)

    def warn(self, line: str) -> None:
        """Say a line that was not said yet in this session."""
        if line and line not in self.session.state.notes:
            self.session.note(line)

    def tell(self, stage: str, doing: str) -> None:
        """Show where the study is."""
        ledger = self.ledger.read()
        self.session.tell(stage=stage, doing=doing, trials=len(ledger.finished),
                          raced=len(ledger.raced), saved_pictures=ledger.saved_pictures,
                          saved_seconds=ledger.saved_seconds, default=ledger.trials[0],
                          front=ledger.front)
