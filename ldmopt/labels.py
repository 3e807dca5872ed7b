"""What people said about pictures: an append-only store, and its CSV layouts.

A label is a *rating* (one picture on a stated scale), a *pair* (left against right, or a tie, or
both bad) or a *keep* (one picture kept or rejected). Nothing is ever changed or deleted: a
correction is a new row, and the newest row of the same rater about the same picture (or the same
two pictures) is the one that counts. A pair that was asked again only to see how far a rater
agrees with their own earlier answer is a *repeat*: it corrects nothing. An answer taken back
(``withdrawn``) counts nowhere.

The store is SQLite in a file unless an SQLAlchemy URL says otherwise. What `LabelStore.add` has
returned from is on disk: a process killed at any later moment loses nothing of it.

Labels of a program that plays a person are marked `simulated` and stay marked wherever they go.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ldmopt.errors import UserError, did_you_mean
from ldmopt.labels_schema import named, open_engine, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

Outcome: TypeAlias = Literal["left", "right", "tie", "both-bad", "withdrawn"]
BATCH = 10_000
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


class LabelStore:
    """The labels of one run, or of whatever shares the database."""

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Open a store, making or upgrading its tables.

        Args:
            where: path of an SQLite file, or any SQLAlchemy URL.

        Raises:
            UserError: it cannot be opened, is no label store, or was written by a newer ldmopt.
        """
        self.where = os.fspath(where)
        self._engine = open_engine(self.where)

    def add(self, labels: Iterable[Label]) -> int:
        """Append labels in one transaction; when this returns, they are on disk.

        Returns:
            How many were added.

        Raises:
            UserError: the database refused; then none of them was added.
        """
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        batch = Labels.of(labels)
        with named(self.where), self._engine.begin() as connection:
            for kind, rows in _by_kind(batch):
                insert, names = tables()[kind].insert(), _names(kind)
                read = attrgetter(*names)
                for start in range(0, len(rows), BATCH):
                    part = rows[start : start + BATCH]
                    values = [dict(zip(names, read(row), strict=True)) for row in part]
                    for value in values:
                        value["time"] = value["time"] or now
                    connection.execute(insert, values)
        return len(batch)

    def history(self) -> Labels:
        """Return every row ever added, oldest first within each kind."""
        with named(self.where), self._engine.connect() as connection:
            return Labels(**{kind: tuple(_rows(connection, kind)) for kind in KINDS})

    def current(self) -> Labels:
        """Return the labels that count: of each rater about each picture or pair the newest.

        Repeats are left out, and so is an answer that was taken back.
        """
        return counting(self.history())

    def repeats(self) -> list[tuple[Pair, Pair]]:
        """Return for every repeat the rater's answer that counts, and the repeated answer.

        The two pictures may have changed sides between them. A repeat without an answer that
        counts is left out: there is nothing to hold it against.
        """
        history = self.history()
        first = {pair.key: pair for pair in counting(history).pairs}
        return [(first[pair.key], pair) for pair in repeated(history) if pair.key in first]

    def close(self) -> None:
        """Let go of the database; calling it twice is fine."""
        self._engine.dispose()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        added: new labels, corrections included.
        corrected: those of them that replace an earlier answer of the same rater.
        unchanged: rows that say what the store already says; nothing is written for them.
        simulated: rows of simulated raters among all.
    """

    added: int = 0
    corrected: int = 0
    unchanged: int = 0
    simulated: int = 0


def import_csv(
    store: LabelStore,
    path: str | os.PathLike[str],
    known: Mapping[str, Any] | Iterable[str],
) -> Imported:
    """Add the labels of a CSV file: all of them, or none.

    One row a rating, ``picture,rater,rating``, or one row a pair, ``left,right,rater,preferred``
    (left, right, tie, both-bad). A picture is its digest, the first 8 or more characters of it,
    or the path of a PNG (relative to the CSV), which is known by its pixels. Optional columns:
    ``low`` and ``high`` (the rating scale), ``simulated`` (0 or 1), ``prompt``, ``seed``,
    ``time``. Rows that repeat what the store already holds change nothing.

    Args:
        store: where the labels go.
        path: the CSV file, UTF-8 with or without a byte-order mark.
        known: digests that may be labelled; a mapping may give each one's `contracts.Block`.

    Raises:
        UserError: names file, row, column, rule, value and the way out; nothing was written.
    """
    from ldmopt.labels_csv import read_csv

    labels = read_csv(Path(path), known)
    before: dict[tuple[str, ...], Label] = {row.key: row for row in store.current()}
    added = [row for row in labels if not _says(before.get(row.key), row)]
    store.add(added)
    corrected = sum(row.key in before for row in added)
    return Imported(len(added), corrected, len(labels) - len(added), labels.simulated)


def export_csv(
    store: LabelStore,
    path: str | os.PathLike[str],
    kind: Literal["ratings", "pairs"] | None = None,
) -> int:
    """Write the labels that count, in the layout that `import_csv` reads.

    Args:
        store: where the labels are.
        path: the file.
        kind: which kind to write. Without it, the kind that there is; where there are both,
            ratings go to `path` and pairs beside it (``labels.csv``, ``labels.pairs.csv``).

    Returns:
        The number of rows.

    Raises:
        UserError: unknown kind, or a file cannot be written.
    """
    from ldmopt.labels_csv import write_csv

    if kind not in ("ratings", "pairs", None):
        hint = did_you_mean(kind, ("ratings", "pairs"))
        raise UserError(f"labels export: kind must be ratings or pairs, not {kind!r}{hint}")
    labels, target = store.current(), Path(path)
    if kind == "pairs" or (kind is None and labels.pairs and not labels.ratings):
        return write_csv(target, "pairs", labels.pairs)
    rows = write_csv(target, "ratings", labels.ratings)
    if kind is None and labels.pairs:
        beside = target.with_name(f"{target.stem}.pairs{target.suffix}")
        rows += write_csv(beside, "pairs", labels.pairs)
    return rows


def _by_kind(labels: Labels) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the kinds that there are, each with its rows."""
    return [(kind, rows) for kind in KINDS if (rows := getattr(labels, kind))]


def _names(kind: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(KINDS[kind]))


def _rows(connection: Connection, kind: str) -> Iterator[Any]:
    """Read one table; texts that come again and again are kept once."""
    table, names, make = tables()[kind], _names(kind), KINDS[kind]
    texts: dict[str, str] = {}
    query = table.select().with_only_columns(*(table.c[name] for name in names))
    for row in connection.execute(query.order_by(table.c.id)):
        yield make(*(texts.setdefault(cell, cell) if isinstance(cell, str) else cell
                     for cell in row))


def _says(old: Label | None, new: Label) -> bool:
    """Tell whether the store already holds this answer; pairs may be the other way round."""
    if isinstance(old, Rating) and isinstance(new, Rating):
        return (old.rating, old.low, old.high) == (new.rating, new.low, new.high)
    if isinstance(old, Pair) and isinstance(new, Pair):
        same = old.win if old.left == new.left else 1.0 - old.win
        return same == new.win and (old.preferred == new.preferred or same != 0.5)
    if isinstance(old, Keep) and isinstance(new, Keep):
        return old.keep == new.keep
    return False
