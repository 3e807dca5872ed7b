"""Between Optuna's storage and ldmopt's records: one Optuna study is one generation of a study."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from ldmopt.contracts import (
    Aligned,
    BlockWin,
    Confirmation,
    Cost,
    Quality,
    Setting,
    Trial,
)
from ldmopt.errors import GenerationError, UserError
from ldmopt.study.folder import RunFolder
from ldmopt.study.spec import StudySpec

OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {
    "win_rate": "maximize", "seconds": "minimize", "peak_memory_bytes": "minimize",
}  # fmt: skip
"""What trials are told; an imported study leaves out what its table does not have."""

FROZEN = "ldmopt"
"""Study attribute that holds what may not change within a generation."""

CONFIRMATIONS = "confirmations"

RACING = "racing"
"""Study attribute: what racing dropped and saved."""

HALF_MADE = "half_made"
"""Study attribute of a generation that is just being made of another one's trials."""

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@contextmanager
def storage_errors(folder: RunFolder) -> Iterator[None]:
    """Turn what a damaged or unwritable database raises into one line for the user."""
    try:
        yield
    except (sqlalchemy.exc.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        if "full" in reason:
            raise UserError(f"the disk is full while writing {str(folder.database)!r}; free some "
                            "space and run again: what was finished is kept") from error
        raise UserError(
            f"study database {str(folder.database)!r} cannot be used ({reason}); move it away and "
            "run again: the pictures and costs in blocks.jsonl are not made anew"
        ) from error


def open_storage(folder: RunFolder, spec: StudySpec) -> RDBStorage:
    """Open the run's storage: SQLite in the folder, or the URL that the study names."""
    storage = RDBStorage(spec.storage or f"sqlite:///{folder.database}")
    if storage.engine.dialect.name == "sqlite":
        # A commit then costs a millisecond instead of a tenth of a second, and is as safe
        # against a killed process; see SQLite's documentation on write-ahead logging.
        sqlalchemy.event.listen(storage.engine, "connect", _quick_commits)
        storage.engine.dispose()
    return storage


def _quick_commits(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def generations(storage: RDBStorage, name: str) -> list[int]:
    """Return the numbers of the generations that exist, oldest first; half-made ones do not."""
    return sorted(number for number, whole in _generations(storage, name).items() if whole)


def _generations(storage: RDBStorage, name: str) -> dict[int, bool]:
    """Return every generation's number, and whether it is frozen, with its first trials in it."""
    prefix, found = f"{name}/g", {}
    for row in optuna.get_all_study_summaries(storage, include_best_trial=False):
        number = row.study_name.removeprefix(prefix)
        if row.study_name.startswith(prefix) and number.isdigit():
            known = row.user_attrs
            whole = FROZEN in known and not known.get(HALF_MADE) and row.n_trials > 0
            found[int(number)] = whole
    return found


def forget_unfinished(storage: RDBStorage, name: str) -> None:
    """Delete what a kill left half made: a generation without trials, or with a part of them."""
    for number, whole in _generations(storage, name).items():
        if not whole:
            optuna.delete_study(study_name=f"{name}/g{number}", storage=storage)


def create_generation(
    storage: RDBStorage, name: str, number: int, frozen: Mapping[str, Any]
) -> optuna.Study:
    """Begin a generation and freeze what may not change within it.

    It counts as there once it holds a trial.
    """
    study = optuna.create_study(
        storage=storage, study_name=f"{name}/g{number}", directions=list(OBJECTIVES.values())
    )
    study.set_metric_names(list(OBJECTIVES))
    study.set_user_attr(FROZEN, dict(frozen))
    return study


def create_whole_generation(
    storage: RDBStorage,
    name: str,
    number: int,
    frozen: Mapping[str, Any],
    trials: Sequence[FrozenTrial],
    confirmations: Sequence[Mapping[str, Any]],
    objectives: Sequence[str] = tuple(OBJECTIVES),
) -> optuna.Study:
    """Make a generation of finished trials: all of it, or, after a kill, none."""
    study = optuna.create_study(
        storage=storage, study_name=f"{name}/g{number}",
        directions=[OBJECTIVES[objective] for objective in objectives],
    )
    study.set_user_attr(HALF_MADE, True)
    study.set_metric_names(list(objectives))
    study.set_user_attr(FROZEN, dict(frozen))
    study.add_trials(trials)
    study.set_user_attr(CONFIRMATIONS, list(confirmations))
    study.set_user_attr(HALF_MADE, False)
    return study


def open_generation(
    storage: RDBStorage, name: str, number: int,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> optuna.Study:
    """Open an existing generation."""
    return optuna.load_study(study_name=f"{name}/g{number}", storage=storage, sampler=sampler)


def attributes(
    setting: Setting, cost: Cost, quality: Quality, pictures: Sequence[str],
    scorer: Mapping[str, Any], aligned: Aligned | None = None,
    cross_fitted: Sequence[BlockWin] = (),
) -> dict[str, Any]:
    """Return a measured trial's attributes; the last two only where there is such a thing."""
    return {
        "setting": dict(setting),
        "cost": cost.to_dict(),
        "quality": quality.to_dict(),
        "pictures": list(pictures),
        "scorer": dict(scorer),
        **further_attributes(aligned, cross_fitted),
    }


def further_attributes(
    aligned: Aligned | None, cross_fitted: Sequence[BlockWin]
) -> dict[str, Any]:
    """Return ``alignment`` and ``cross_fitted``, each where there is one."""
    found: dict[str, Any] = {} if aligned is None else {"alignment": aligned.to_dict()}
    if cross_fitted:
        found["cross_fitted"] = [[item.prompt, item.seed, item.win] for item in cross_fitted]
    return found


def failure_attributes(setting: Setting, error: GenerationError) -> dict[str, Any]:
    """Return a failed trial's attributes."""
    return {"setting": dict(setting), "failure": {"kind": error.kind, "reason": error.reason}}


def raced_attributes(
    setting: Setting, cost: Cost | None, quality: Quality, pictures: Sequence[str],
    scorer: Mapping[str, Any], saved_pictures: int, saved_seconds: float,
) -> dict[str, Any]:
    """Return the attributes of a trial that was raced out, with what that saved."""
    return {
        "setting": dict(setting),
        **({} if cost is None else {"cost": cost.to_dict()}),
        "quality": quality.to_dict(),
        "pictures": list(pictures),
        "scorer": dict(scorer),
        "raced": {"pictures_saved": saved_pictures, "device_seconds_saved": saved_seconds},
    }


def objectives(quality: Quality, cost: Cost) -> list[float]:
    """Return what a measured setting's trial is told, in the order of `OBJECTIVES`."""
    return [quality.win_rate, cost.seconds, float(cost.peak_memory_bytes or 0)]


def constraints(
    cost: Cost | None, spec: StudySpec, aligned: Aligned | None = None
) -> dict[str, float]:
    """Return each constraint's value; above 0 is violated. None stands for a failed setting."""
    found = {"failure": 1.0 if cost is None else 0.0}
    caps = spec.caps
    if caps.seconds is not None:
        found["seconds"] = 1.0 if cost is None else cost.latency_seconds - caps.seconds
    if caps.memory_gb is not None:
        bytes_used = None if cost is None else cost.peak_memory_bytes
        found["memory"] = 1.0 if bytes_used is None else bytes_used / 1e9 - caps.memory_gb
    if caps.alignment is not None:
        ratio = None if aligned is None else aligned.ratio
        found["alignment"] = 1.0 if ratio is None else caps.alignment - ratio
    return found


def read_trial(trial: FrozenTrial) -> Trial:
    """Return the record of a finished Optuna trial."""
    attrs = trial.user_attrs
    return Trial(
        number=trial.number,
        setting=Setting(attrs["setting"]),
        cost=Cost.from_dict(attrs["cost"]) if "cost" in attrs else None,
        quality=Quality.from_dict(attrs["quality"]) if "quality" in attrs else None,
        pictures=tuple(attrs.get("pictures", ())),
        failure=attrs.get("failure"),
        feasible=all(value <= 0 for value in trial.constraints.values()),
        raced_out=trial.state == TrialState.PRUNED,
        **_further(attrs),
    )


def _further(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Read what `further_attributes` wrote."""
    aligned = Aligned.from_dict(attrs["alignment"]) if "alignment" in attrs else None
    crossed = tuple(BlockWin(*row) for row in attrs.get("cross_fitted", ()))
    return {"aligned": aligned, "cross_fitted": crossed}


def finished(study: optuna.Study) -> list[Trial]:
    """Return the finished trials, one for each distinct setting, oldest first."""
    found: dict[Setting, Trial] = {}
    for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
        if "setting" in trial.user_attrs:
            found.setdefault(Setting(trial.user_attrs["setting"]), read_trial(trial))
    return list(found.values())


def raced_out(study: optuna.Study, done: Collection[Setting]) -> list[Trial]:
    """Return the trials that were dropped early, one for each setting that is not done."""
    found: dict[Setting, Trial] = {}
    for trial in study.get_trials(deepcopy=False, states=[TrialState.PRUNED]):
        if "quality" in trial.user_attrs:
            record = read_trial(trial)
            if record.setting not in done:
                found.setdefault(record.setting, record)
    return list(found.values())


def confirmation_to_dict(item: Confirmation) -> dict[str, Any]:
    """Return plain JSON data of a confirmation."""
    return {
        "setting": dict(item.setting),
        "cost": item.cost.to_dict(),
        "seconds": [item.seconds_low, item.seconds_high],
        "quality": item.quality.to_dict(),
        "pictures": list(item.pictures),
        **further_attributes(item.aligned, item.cross_fitted),
    }


def taken_as_confirmed(trials: Iterable[Trial]) -> dict[Setting, Confirmation]:
    """Return an imported table's settings as what there is to recommend: nothing is held out."""
    found = {}
    for trial in trials:
        if trial.feasible and not trial.failure and trial.cost and trial.quality:
            cost = trial.cost
            low, high = ((cost.seconds if limit is None else limit)
                         for limit in (cost.seconds_low, cost.seconds_high))
            found[trial.setting] = Confirmation(
                trial.setting, cost, low, high, trial.quality, trial.pictures, trial.aligned,
                trial.cross_fitted,
            )
    return found


def read_confirmations(study: optuna.Study) -> dict[Setting, Confirmation]:
    """Return the confirmations of a generation, by setting."""
    found = {}
    for data in study.user_attrs.get(CONFIRMATIONS, []):
        setting = Setting(data["setting"])
        low, high = data["seconds"]
        found[setting] = Confirmation(
            setting, Cost.from_dict(data["cost"]), low, high,
            Quality.from_dict(data["quality"]), tuple(data["pictures"]), **_further(data),
        )
    return found
