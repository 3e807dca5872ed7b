"""Win rates from ratings: how often a setting's picture is rated above the default's.

Within a prompt, the best comparison that there is: the same rater's ratings of the same seed;
else the same rater's of different seeds (or of unknown ones); else those of different raters,
whose scales need not be alike. Ties are half, as is a picture held against itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from ldmopt.contracts import Block, BlockWin, Quality
from ldmopt.distillation.intervals import win_rate
from ldmopt.intake.shots import Shot

BASES = ("same rater and seed", "same rater, different seeds", "different raters")
"""What a prompt's comparison may rest on, the best first."""


@dataclass(frozen=True)
class Judged:
    """A setting's quality with what it rests on.

    Attributes:
        quality: win rate with its blocks.
        pictures: the digest of each block's picture, or empty where one has no file.
        bases: prompts by what their comparison rests on.
    """

    quality: Quality
    pictures: tuple[str, ...]
    bases: Mapping[str, int]


class Blocks:
    """Numbers pictures: by their seed where it is known, else by their order in the prompt."""

    def __init__(self, shots: Iterable[Shot]) -> None:
        """Look whether any seed is known: then numbers made up for unknown ones are negative."""
        self._any = any(shot.seed is not None for shot in shots)

    def __call__(self, shot: Shot) -> Block:
        """Return the prompt and seed that a picture counts as."""
        made_up = -1 - shot.order if self._any else shot.order
        return Block(shot.prompt, made_up if shot.seed is None else shot.seed)


def of_default(shots: Sequence[Shot], block: Callable[[Shot], Block]) -> Judged:
    """Return the default's quality: 0.5 in every block that it has a picture for."""
    first: dict[Block, Shot] = {}
    for shot in shots:
        if not shot.failed:
            first.setdefault(block(shot), shot)
    wins = [BlockWin(one.prompt, one.seed, 0.5) for one in first]
    return Judged(Quality(0.5, 0.5, 0.5, tuple(wins)), _pictures(first.values()), {})


def judged(
    shots: Sequence[Shot], default: Sequence[Shot], block: Callable[[Shot], Block]
) -> Judged | None:
    """Return a setting's win rate against the default; None where nothing can be compared.

    Args:
        shots: of the setting.
        default: of the default.
        block: numbers pictures.
    """
    base: dict[str, list[Shot]] = {}
    for shot in default:
        if shot.ratings and not shot.failed:
            base.setdefault(shot.prompt, []).append(shot)
    own: dict[str, list[Shot]] = {}
    for shot in shots:
        if shot.prompt in base and shot.ratings and not shot.failed:
            own.setdefault(shot.prompt, []).append(shot)
    wins: dict[Block, list[float]] = {}
    first: dict[Block, Shot] = {}
    bases: Counter[str] = Counter()
    others: set[Block] = set()
    for prompt, rows in own.items():
        for name, compare in zip(BASES, (_same_seed, _same_rater, _any_rater), strict=True):
            found = [(row, win) for row in rows if (win := compare(row, base[prompt])) is not None]
            if found:
                bases[name] += 1
                break
        for row, win in found:
            at = block(row)
            wins.setdefault(at, []).append(win)
            first.setdefault(at, row)
            if not row.picture or any(row.picture != other.picture for other in base[prompt]
                                      if other.seed == row.seed):
                others.add(at)
    if not wins:
        return None
    blocks = [BlockWin(one.prompt, one.seed, win, tie=win == 0.5 and one in others)
              for one, values in wins.items() for win in [mean(values)]]
    return Judged(win_rate(blocks), _pictures(first.values()), dict(bases))


def _same_seed(own: Shot, default: Sequence[Shot]) -> float | None:
    if own.seed is None:
        return None
    return _same_rater(own, [other for other in default if other.seed == own.seed])


def _same_rater(own: Shot, default: Sequence[Shot]) -> float | None:
    by_rater = [
        mean(_above(own, rating, other, other.ratings[rater]) for other in seen)
        for rater, rating in own.ratings.items()
        if (seen := [other for other in default if rater in other.ratings])
    ]
    return mean(by_rater) if by_rater else None


def _any_rater(own: Shot, default: Sequence[Shot]) -> float | None:
    return mean(_above(own, rating, other, theirs) for rating in own.ratings.values()
                for other in default for theirs in other.ratings.values())


def _above(own: Shot, rating: float, other: Shot, theirs: float) -> float:
    if rating == theirs or (own.picture and own.picture == other.picture):
        return 0.5
    return float(rating > theirs)


def _pictures(shots: Iterable[Shot]) -> tuple[str, ...]:
    """Return all digests, or none where one is missing: they go with the blocks one by one."""
    found = tuple(shot.picture for shot in shots)
    return found if all(found) else ()
