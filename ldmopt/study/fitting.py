"""Labels in, a fitted regressor and its honest report out; for runs and for collections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldmopt.contracts import Picture
from ldmopt.errors import UserError
from ldmopt.labels import Labels, LabelStore, Pair
from ldmopt.scorers import Regressor, default
from ldmopt.scorers.alignment import Alignment
from ldmopt.scorers.regressor import with_report
from ldmopt.scorers.taste.crossfit import Floats
from ldmopt.scorers.taste.learning import Sight, learned, sight
from ldmopt.scorers.taste.report import honest
from ldmopt.study import records
from ldmopt.study.collection import Gallery, open_gallery
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.output import read_run
from ldmopt.study.scoring import find_regressor, load_alignment
from ldmopt.study.spec import ScorerSpec

MOST_BACKGROUND = 3000
"""Pictures without labels that are looked at, at the most, to learn how features vary."""
LEARNING = 0.15
"""Share of the progress that stands for looking at pictures and learning; the rest is testing."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class _Source:
    """What a folder says about its labels and pictures.

    Attributes:
        folder: the run or the collection.
        scorer: what judges there, and on which encoder.
        held_out: prompts whose pictures never train.
        about: how the pictures came about, a sentence each.
        aligned: what compares pictures with their captions, or None.
    """

    folder: Gallery
    scorer: ScorerSpec
    held_out: frozenset[str]
    about: tuple[str, ...]
    aligned: Alignment | None = None


def fit_run(
    where: str | Path,
    *,
    encoder: str | None = None,
    laion: str | None = None,
    progress: Progress = lambda share: None,
) -> Regressor:
    """Learn the taste behind the labels of a run or a collection, and keep it in the folder.

    ``regressor/`` gets the regressor itself, ``report.json`` and ``report.md`` that tell how well
    it knows each rater, and two pictures, ``learning.png`` and ``reliability.png``. Finished
    trials are left as they are; `rescore` judges them anew. Pictures of a run's held-out prompts
    never train, so that confirmations stay what they are.

    Args:
        where: the run or the collection.
        encoder: auto, statistics, miniature, or the folder or hub id of a CLIP; else as the run's
            study says.
        laion: file of an aesthetic head of LAION's on that CLIP, to stand beside in the report;
            else as the run's study says.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: neither a run nor a collection, no label, or none that can be used.
    """
    source = _source(open_gallery(where))
    folder = source.folder
    with folder.lock(), LabelStore(folder.labels) as store:
        labels, repeats = store.current(), store.repeats()
        if not labels:
            raise UserError(f"{str(folder.path)!r} has no labels; bring some with: "
                            f"ldmopt labels import {folder.path} RATINGS.csv")
        name = source.scorer.encoder if encoder is None else encoder
        shown, rest = _pictures(source, labels)
        seen = sight(_base(source.scorer), shown, labels, background=rest,
                     encoder=None if name in ("auto", "standin") else name,
                     aligned=source.aligned)  # fmt: skip
        others = _others(laion or source.scorer.laion, name, seen, shown)
        progress(LEARNING / 2)
        regressor = learned(seen, labels)
        progress(LEARNING)
        report = honest(
            seen, labels, regressor, repeats=_shown(repeats, seen), about=source.about,
            others=others,
            progress=lambda done, of: progress(LEARNING + (1.0 - LEARNING) * done / max(1, of)),
        )  # fmt: skip
        found = with_report(regressor, **report)
        found.save(folder.regressor)
        write_report(found, folder.regressor)
        progress(1.0)
        return found


def write_report(regressor: Regressor, folder: Path) -> None:
    """Write report.md and the two pictures beside a fitted regressor.

    Raises:
        UserError: the folder cannot be written.
    """
    from ldmopt.exports.taste_plots import learning_plot, reliability_plot
    from ldmopt.exports.taste_report import to_markdown

    drawn = []
    for name, plot in (("learning.png", learning_plot), ("reliability.png", reliability_plot)):
        drawn.append(plot(regressor.report, folder / name))
        if not drawn[-1]:
            (folder / name).unlink(missing_ok=True)
    write(folder / "report.md", to_markdown(regressor.report, *drawn).encode())


def _source(folder: Gallery) -> _Source:
    if not isinstance(folder, RunFolder):
        return _Source(folder, ScorerSpec(), frozenset(), ())
    _, spec, study = read_run(folder.path)
    folder.require_pictures()
    frozen = study.user_attrs[records.FROZEN]
    held_out = frozenset(prompt for prompt, _ in frozen["held_out"])
    prompts = len({prompt for prompt, _ in frozen["blocks"]})
    about = (f"The pictures are of the model {spec.model!r}, of {prompts} prompts that the search "
             f"uses; pictures of the {len(held_out)} prompts kept for confirmation never train.",)
    return _Source(folder, spec.scorer, held_out, about, load_alignment(spec))


def _base(scorer: ScorerSpec) -> Regressor:
    """Return the regressor whose prior to start from."""
    if scorer.regressor is None:
        return default()
    return Regressor.load(find_regressor(scorer.regressor))


def _pictures(source: _Source, labels: Labels) -> tuple[list[Picture], list[Picture]]:
    """Return the labelled pictures, and some of the others; none of a held-out prompt."""
    blocks = {digest: block for digest, block in source.folder.blocks().items()
              if block.prompt not in source.held_out}
    wanted = set(labels.digests())
    rest = sorted(set(blocks) - wanted)
    if len(rest) > MOST_BACKGROUND:
        rest = sorted(np.random.default_rng(0).choice(rest, MOST_BACKGROUND, replace=False))

    def of(digests: Iterable[str]) -> list[Picture]:
        return [source.folder.picture(str(digest), blocks[str(digest)]) for digest in digests]

    return of(sorted(wanted & set(blocks))), of(rest)


def _shown(repeats: Sequence[tuple[Pair, Pair]], seen: Sight) -> list[tuple[Pair, Pair]]:
    """Return the repeated pairs whose pictures were looked at."""
    known = set(seen.said.digests)
    return [(first, later) for first, later in repeats if {first.left, first.right} <= known]


def _others(
    laion: str | None, encoder: str, seen: Sight, shown: Sequence[Picture]
) -> dict[str, Floats]:
    """Return what further scorers say of the labelled pictures."""
    if laion is None:
        return {}
    from ldmopt.scorers.laion import Laion

    pictures = {picture.digest: picture for picture in shown}
    scorer = Laion.load(laion, encoder)
    points = scorer.points([pictures[digest] for digest in seen.said.digests])
    return {f"LAION V{scorer.head.version}": points}
