"""Which scorers a study asks for, found and checked before any device second."""

from __future__ import annotations

from pathlib import Path

from ldmopt.contracts import Scorer
from ldmopt.errors import UserError
from ldmopt.recording import Recording
from ldmopt.scorers.alignment import Alignment
from ldmopt.study.folder import RunFolder
from ldmopt.study.spec import StudySpec


def load_scorer(spec: StudySpec, folder: RunFolder, fitted: bool) -> Scorer:
    """Return the scorer that a generation is judged by.

    Args:
        spec: names what judges.
        folder: holds the run's own fitted regressor.
        fitted: whether to take that one, or what the study names: a regressor, a head of LAION's,
            the stand-in, or else the regressor in the package.

    Raises:
        UserError: it is not there, is damaged, or was made for another encoder.
    """
    wanted = spec.scorer
    if spec.table is not None:
        from ldmopt.scorers.replay import ReplayScorer

        return ReplayScorer(Recording.read(spec.table))
    if wanted.encoder == "standin":
        from ldmopt.scorers.standin import StandInScorer

        return StandInScorer()
    if fitted:
        # Fitted in this very run, perhaps on another encoder than the study names: that was asked
        # for later than the study was written.
        return _regressor(folder.regressor, "auto")
    if wanted.laion is not None:
        from ldmopt.scorers.laion import Laion

        return Laion.load(wanted.laion, wanted.encoder)
    if wanted.regressor is not None:
        return _regressor(find_regressor(wanted.regressor), wanted.encoder)
    from ldmopt.scorers import default, encoders

    encoders.load(wanted.encoder)
    return default()


def has_own(folder: RunFolder) -> bool:
    """Tell whether a regressor was fitted in a run's folder."""
    return (folder.regressor / "regressor.json").is_file()


def load_alignment(spec: StudySpec) -> Alignment | None:
    """Return the alignment scorer of a study, or None where it has none.

    Raises:
        UserError: its CLIP cannot be used, or the study has a floor for it and no such scorer.
    """
    from ldmopt.scorers import alignment

    found = None if spec.table is not None else alignment.load_alignment(
        spec.scorer.alignment, spec.model)
    if found is None and spec.caps.alignment is not None:
        raise UserError(f"caps.alignment needs a CLIP that compares pictures of {spec.model!r} "
                        "with captions; name one as scorer.alignment (a folder or hub id)")
    return found


def check_scorers(spec: StudySpec) -> None:
    """Find everything that a new run of a study would be judged by; no network is loaded.

    Raises:
        UserError: something is not there or does not fit.
    """
    load_scorer(spec, RunFolder("."), fitted=False)
    load_alignment(spec)


def find_regressor(name: str) -> Path:
    """Return the folder of a fitted regressor.

    Args:
        name: that folder, or one of a run or of a collection that holds it.

    Raises:
        UserError: there is none.
    """
    root = Path(name).expanduser()
    for folder in (root, root / "regressor"):
        if (folder / "regressor.json").is_file():
            return folder
    if not root.is_dir():
        raise UserError(f"scorer.regressor: folder {name!r} does not exist; give the folder of a "
                        "fitted regressor, of a run, or of a collection")
    raise UserError(f"scorer.regressor: {name!r} holds no fitted regressor; make one with: "
                    f"ldmopt fit {name}")


def _regressor(folder: Path, encoder: str) -> Scorer:
    from ldmopt.scorers import Regressor, encoders

    regressor = Regressor.load(folder)
    if encoder != "auto":
        digest = encoders.load(encoder).encoder.identity["digest"]
        if digest != regressor.encoder_digest:
            raise UserError(
                f"scorer.encoder: {encoder!r} ({digest}) is not what the regressor in "
                f"{str(folder)!r} was fitted on, {regressor.encoder!r} "
                f"({regressor.encoder_digest}); name that one, or leave encoder out"
            )
    return regressor
