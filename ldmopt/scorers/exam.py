"""The exam: a scorer that is to drive a study must put canaries below honest pictures.

Honest pictures are those that the study's default made; each canary is made from one of them and
held against it alone, under its prompt. One scorer gave 0.99 to pictures that were 80 % noise
(GOTCHAS 28): what fails here is refused before a search spends anything on it.

Rule, for each kind of canary: averaged over prompts, it is put above its honest picture in at
most `MOST_BEATEN` of them (a tie is half), and its mean chance of being preferred is below 1/2.
For an alignment scorer the canary *another prompt* is the picture of another prompt under this
one's caption; since two prompts may ask for much the same, it passes with at most `MOST_MIXED_UP`,
or where the interval over prompts lies below 1/2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Scorer
from ldmopt.distillation.intervals import mean_interval
from ldmopt.scorers.canaries import CANARIES, EMPTY

Floats = NDArray[np.float64]
MOST_BEATEN = 0.2
MOST_MIXED_UP = 0.25
ANOTHER_PROMPT = "another prompt"
OTHERS = 3
"""Pictures of other prompts that each caption is tried with, at the most."""
STANDIN = "standin"


class Similarity(Protocol):
    """What compares pictures with their captions."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and digest."""
        ...

    def similarity(self, pictures: Sequence[Picture]) -> Sequence[float | None]:
        """Return one similarity a picture, with its own prompt; None where there is none."""
        ...


@dataclass(frozen=True)
class Result:
    """How one kind of canary did.

    Attributes:
        kind: its name.
        win: mean chance that it is preferred, over prompts; an alignment scorer has none.
        beaten: share of honest pictures that it is put above, ties half; mean over prompts.
        low: lower end of the 95 % interval of ``beaten`` over prompts.
        high: upper end of it.
        passed: whether the scorer did what an honest one does.
        chances: for each honest picture, as ``win``, or 1, 1/2 and 0 of an alignment scorer.
    """

    kind: str
    win: float | None
    beaten: float
    low: float
    high: float
    passed: bool
    chances: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, the single chances left out."""
        return {"kind": self.kind, "win": self.win, "beaten": self.beaten, "low": self.low,
                "high": self.high, "passed": self.passed}  # fmt: skip


@dataclass(frozen=True)
class Exam:
    """A scorer's exam.

    Attributes:
        scorer: identity of what was examined.
        pictures: how many honest pictures there were, each of another prompt.
        results: one for each kind of canary.
        exempt: why nothing was examined, or nothing.
    """

    scorer: Mapping[str, Any]
    pictures: int
    results: tuple[Result, ...] = ()
    exempt: str = ""

    @property
    def failed(self) -> tuple[Result, ...]:
        """The kinds that it failed on."""
        return tuple(result for result in self.results if not result.passed)

    @property
    def passed(self) -> bool:
        """Whether the scorer may judge; one that is exempt may."""
        return not self.failed

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        data: dict[str, Any] = {
            "scorer": dict(self.scorer), "passed": self.passed, "pictures": self.pictures,
            "canaries": [result.to_dict() for result in self.results],
        }  # fmt: skip
        return {**data, "exempt": self.exempt} if self.exempt else data


def examine(scorer: Scorer, honest: Sequence[Picture]) -> Exam:
    """Hold a scorer's canaries against the honest pictures that they were made from.

    The stand-in is exempt by name: it judges nothing, says so, and drives nothing but tests.

    Args:
        scorer: what is to judge.
        honest: pictures of the default, one or several a prompt.
    """
    if scorer.identity.get("name") == STANDIN:
        return Exam(scorer.identity, 0, (), "the stand-in judges nothing and drives only tests")
    results = []
    for kind, ruin in CANARIES.items():
        made = [Picture(ruin(picture.pixels), picture.block) for picture in honest]
        chances = np.array([win.probability for win in scorer.compare(made, honest)], np.float64)
        results.append(_damage(kind, chances, honest))
    return Exam(scorer.identity, len(honest), tuple(results))


def examine_alignment(alignment: Similarity, honest: Sequence[Picture]) -> Exam:
    """Hold pictures of other prompts, and empty ones, against those made for a caption.

    Args:
        alignment: what compares pictures with captions.
        honest: pictures of the default, each of another prompt.
    """
    own = _similarities(alignment, honest)
    results = []
    if len(honest) > 1:
        shares = np.zeros(len(honest))
        shifts = range(1, min(OTHERS, len(honest) - 1) + 1)
        for shift in shifts:
            other = [Picture(honest[(index + shift) % len(honest)].pixels, picture.block)
                     for index, picture in enumerate(honest)]
            shares += _above(_similarities(alignment, other), own) / len(shifts)
        results.append(_mixed_up(shares, honest))
    for kind in EMPTY:
        made = [Picture(CANARIES[kind](picture.pixels), picture.block) for picture in honest]
        beaten = _above(_similarities(alignment, made), own)
        results.append(_damage(kind, beaten, honest, chances_meant=False))
    return Exam(alignment.identity, len(honest), tuple(results))


def _similarities(alignment: Similarity, pictures: Sequence[Picture]) -> Floats:
    found = alignment.similarity(pictures)
    return np.array([np.nan if value is None else value for value in found], np.float64)


def _above(canary: Floats, honest: Floats) -> Floats:
    """1 where the canary is above, 0 below, 1/2 for ties and where nothing can be compared."""
    return np.where(np.isnan(canary - honest), 0.5, 0.5 + 0.5 * np.sign(canary - honest))


def _damage(
    kind: str, chances: Floats, honest: Sequence[Picture], *, chances_meant: bool = True
) -> Result:
    """Decide about a kind of damage."""
    beaten = _over_prompts(0.5 + 0.5 * np.sign(chances - 0.5), honest)
    win = float(_over_prompts(chances, honest).mean())
    mean = float(beaten.mean())
    interval = mean_interval(beaten)
    return Result(kind, win if chances_meant else None, mean, interval.low, interval.high,
                  mean <= MOST_BEATEN and win < 0.5, tuple(chances.tolist()))


def _mixed_up(shares: Floats, honest: Sequence[Picture]) -> Result:
    """Decide about pictures of other prompts."""
    beaten = _over_prompts(shares, honest)
    mean, interval = float(beaten.mean()), mean_interval(beaten)
    return Result(ANOTHER_PROMPT, None, mean, interval.low, interval.high,
                  mean <= MOST_MIXED_UP or interval.high < 0.5, tuple(shares.tolist()))


def _over_prompts(values: Floats, honest: Sequence[Picture]) -> Floats:
    """Average over the pictures of each prompt."""
    by_prompt: dict[str, list[float]] = {}
    for value, picture in zip(values.tolist(), honest, strict=True):
        by_prompt.setdefault(picture.block.prompt, []).append(value)
    return np.array([sum(found) / len(found) for found in by_prompt.values()], np.float64)
