"""What people said about pictures: ratings, pairs, keeps, and sets of them.

A label is a *rating* (one picture on a stated scale), a *pair* (left against right, or a tie, or
both bad) or a *keep* (one picture kept or rejected). Nothing is ever changed or deleted: a
correction is a new row, and the newest row of the same rater about the same picture (or the same
two pictures) is the one that counts. A pair that was asked again only to see how far a rater
agrees with their own earlier answer is a *repeat*: it corrects nothing. An answer taken back
(``withdrawn``) counts nowhere.

Labels of a program that plays a person are marked `simulated` and stay marked wherever they go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Outcome: TypeAlias = Literal["left", "right", "tie", "both-bad", "withdrawn"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""``withdrawn`` takes an earlier answer back (undo on the labelling page); it counts nowhere."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One person's rating of one picture.

    Attributes:
        picture: the picture's digest.
        rater: who; ratings of different raters are never compared as numbers.
        rating: higher is better.
        prompt: what the picture was made for; empty where unknown.
        seed: the picture's seed, or None.
        low: lowest value of the scale, or None where nobody stated it.
        high: highest value of the scale, or None.
        simulated: a program answered, not a person.
        time: ISO 8601 in UTC; set when the label is stored.
        page: which question of its rater on the labelling page it answers, from 1; None where it
            came another way.
    """

    picture: str
    rater: str
    rating: float
    prompt: str = ""
    seed: int | None = None
    low: float | None = None
    high: float | None = None
    simulated: bool = False
    time: str = ""
    page: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Labels with equal keys correct each other."""
        return (self.rater, self.picture)


@dataclass(frozen=True, slots=True)
class Pair:
    """One person's choice between two pictures; `both-bad` counts half, as a tie does.

    Attributes:
        left: digest of the picture on the left.
        right: digest of the picture on the right.
        rater: who.
        preferred: ``left``, ``right``, ``tie``, ``both-bad``, or ``withdrawn``.
        prompt: what both were made for; empty where unknown or different.
        seed: the seed of both, or None where unknown or different.
        simulated: a program answered, not a person.
        time: ISO 8601 in UTC; set when the label is stored.
        page: which question of its rater on the labelling page it answers, from 1.
        repeat: the pair was asked again, to hold the answer against the rater's earlier one.
    """

    left: str
    right: str
    rater: str
    preferred: Outcome
    prompt: str = ""
    seed: int | None = None
    simulated: bool = False
    time: str = ""
    page: int | None = None
    repeat: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """Labels with equal keys correct each other, whichever side a picture was on."""
        return (self.rater, *sorted((self.left, self.right)))

    @property
    def win(self) -> float:
        """1 where left was preferred, 0 where right was, 1/2 for a tie and for both bad."""
        return {"left": 1.0, "right": 0.0}.get(self.preferred, 0.5)


@dataclass(frozen=True, slots=True)
class Keep:
    """One person's verdict on one picture: kept or rejected.

    Attributes:
        picture: the picture's digest.
        rater: who.
        keep: kept, or rejected.
        prompt: what the picture was made for; empty where unknown.
        seed: the picture's seed, or None.
        simulated: a program answered, not a person.
        time: ISO 8601 in UTC; set when the label is stored.
        page: which question of its rater on the labelling page it answers, from 1.
    """

    picture: str
    rater: str
    keep: bool
    prompt: str = ""
    seed: int | None = None
    simulated: bool = False
    time: str = ""
    page: int | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Labels with equal keys correct each other."""
        return (self.rater, self.picture)


Label: TypeAlias = Rating | Pair | Keep
KINDS: Mapping[str, type[Any]] = {"ratings": Rating, "pairs": Pair, "keeps": Keep}


@dataclass(frozen=True)
class Labels:
    """A set of labels as scorers take them."""

    ratings: tuple[Rating, ...] = ()
    pairs: tuple[Pair, ...] = ()
    keeps: tuple[Keep, ...] = ()

    def __len__(self) -> int:
        return len(self.ratings) + len(self.pairs) + len(self.keeps)

    def __iter__(self) -> Iterator[Label]:
        """Go through the ratings, then the pairs, then the keeps."""
        yield from self.ratings
        yield from self.pairs
        yield from self.keeps

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all labelled pictures, each once, in order."""
        names: dict[str, None] = {rating.picture: None for rating in self.ratings}
        for pair in self.pairs:
            names[pair.left] = names[pair.right] = None
        names.update((keep.picture, None) for keep in self.keeps)
        return tuple(names)

    @property
    def human(self) -> int:
        """How many labels come from people."""
        return sum(not label.simulated for label in self)

    @property
    def simulated(self) -> int:
        """How many labels come from simulated raters."""
        return len(self) - self.human

    @property
    def raters(self) -> tuple[str, ...]:
        """Names in alphabetical order; simulated raters carry `` (simulated)``."""
        return tuple(sorted({label.rater + " (simulated)" * label.simulated for label in self}))

    @classmethod
    def of(cls, labels: Iterable[Label]) -> Labels:
        """Sort labels into the three kinds, keeping their order."""
        every = list(labels)
        return cls(
            tuple(label for label in every if isinstance(label, Rating)),
            tuple(label for label in every if isinstance(label, Pair)),
            tuple(label for label in every if isinstance(label, Keep)),
        )


def counting(history: Labels) -> Labels:
    """Return those of a history's labels that count (see `LabelStore.current`)."""
    ratings = {row.key: row for row in history.ratings}
    pairs = {row.key: row for row in history.pairs if not row.repeat}
    keeps = {row.key: row for row in history.keeps}
    answered = (row for row in pairs.values() if row.preferred != "withdrawn")
    return Labels(tuple(ratings.values()), tuple(answered), tuple(keeps.values()))


def repeated(history: Labels) -> tuple[Pair, ...]:
    """Return the repeats that stand.

    A repeat of the same rater, pictures and page corrects the one before; a withdrawal that is
    marked as a repeat takes back the one of its page, or else the last one.
    """
    stand: dict[tuple[str, ...], list[Pair]] = {}
    for pair in history.pairs:
        if not pair.repeat:
            continue
        given = stand.setdefault(pair.key, [])
        same = [place for place, old in enumerate(given)
                if old.page is not None and old.page == pair.page]
        if pair.preferred == "withdrawn":
            if given:
                del given[same[-1] if same else -1]
        elif same:
            given[same[-1]] = pair
        else:
            given.append(pair)
    return tuple(pair for given in stand.values() for pair in given)
