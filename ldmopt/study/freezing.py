"""What may not change while a study runs: its file, and the space that its trials are of."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from ldmopt.errors import UserError
from ldmopt.knob import Space
from ldmopt.search import acting_under, distributions
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.session import run_name
from ldmopt.study.spec import StudySpec, parse_spec
from ldmopt.study.work import Work


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


def check_searched(space: Space) -> None:
    """Refuse a space in which nothing can be searched, before any device second is spent.

    Raises:
        UserError: no knob is named, or one that never acts under the values of the others.
    """
    if not space.searched:
        raise UserError("[space] names no knob, so nothing would be searched; name one with its "
                        "values, for example steps = {low = 4, high = 50, log = true}")
    for name in space.searched:
        for other, fits in acting_under(space, name):
            if fits and not any(fits):
                raise UserError(f"[space] {name} never acts: no searched or default value of "
                                f"{other} lets it; leave {name} out, or name other values of "
                                f"{other}")


def check_home(work: Work) -> None:
    """Refuse trials in a shared storage that another run folder makes.

    The folder's lock keeps two workers from one trial; a storage of its own has no such lock.

    Raises:
        UserError: the study in the storage was begun by another run.
    """
    spec, folder = work.session.spec, work.session.folder
    was = work.frozen.get("run")
    if spec.storage is not None and was is not None and was != run_name(folder):
        raise UserError(f"study {spec.name!r} in the storage {spec.storage!r} belongs to another "
                        f"run folder than {str(folder.path)!r}, which holds its pictures; go on "
                        "there, or give this study another name or storage")


def check_space(study: optuna.Study, space: Space, folder: RunFolder) -> None:
    """Hold the space against that of the trials so far.

    It is made anew from study, model and machine each time, so that another version of a library
    may bring or take a value; Optuna's choices may not change within a study.

    Raises:
        UserError: a knob's values are others now.
    """
    now = distributions(space)
    for trial in study.get_trials(deepcopy=False):
        for name, was in trial.distributions.items():
            if name in now and now[name] != was:
                raise UserError(
                    f"the space has changed since the study began: {name} was {_words(was)} and is "
                    f"now {_words(now[name])}; bring back what offered it, or start anew with "
                    f"another --out than {str(folder.path)!r}")


def _words(item: BaseDistribution) -> str:
    if isinstance(item, CategoricalDistribution):
        return f"one of {', '.join(map(str, item.choices))}"
    return f"{getattr(item, 'low', '')} to {getattr(item, 'high', '')}"
