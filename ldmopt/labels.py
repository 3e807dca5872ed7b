"""What people said about pictures: an append-only store, and its CSV layouts.

A label is a *rating* (one picture on a stated scale), a *pair* (left against right, or a tie, or
both bad) or a *keep* (one picture kept or rejected). Nothing is ever changed or deleted: a
correction is a new row, and the newest row of the same rater about the same picture (or the same
two pictures) is the one that counts. A pair that was asked again only to see how far a rater
agrees with their own earlier answer is a *repeat*: it corrects nothing.

The store is SQLite in a file unless an SQLAlchemy URL says otherwise. What `LabelStore.add` has
returned from is on disk: a process killed at any later moment loses nothing of it.

Labels of a program that plays a person are marked `simulated` and stay marked wherever they go.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ldmopt.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

Outcome: TypeAlias = Literal["left", "right", "tie", "both-bad", "withdrawn"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""``withdrawn`` takes an earlier answer back (undo on the labelling page); it counts nowhere."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Labels:
    """A set of labels as scorers take them."""

    ratings: tuple[Rating, ...] = ()
    pairs: tuple[Pair, ...] = ()

    def __len__(self) -> int:
        return len(self.ratings) + len(self.pairs)

    def __iter__(self) -> Iterator[Rating | Pair]:
        """Go through the ratings, then the pairs."""
        yield from self.ratings
        yield from self.pairs

    def digests(self) -> tuple[str, ...]:
        """Return the digests of all labelled pictures, each once, in order."""
        names: dict[str, None] = {rating.picture: None for rating in self.ratings}
        for pair in self.pairs:
            names[pair.left] = names[pair.right] = None
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
    def of(cls, labels: Iterable[Rating | Pair]) -> Labels:
        """Sort labels into the two kinds, keeping their order."""
        every = list(labels)
        return cls(
            tuple(label for label in every if isinstance(label, Rating)),
            tuple(label for label in every if isinstance(label, Pair)),
        )


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


def _first_tables(connection: Connection) -> None:
    """Version 1: ratings and pairs."""
    for table in _tables().values():
        table.create(connection, checkfirst=True)


MIGRATIONS: list[Callable[[Connection], None]] = [_first_tables]
"""Each brings the store up by one version; written once, never changed afterwards."""


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
        url = self.where if "://" in self.where else f"sqlite:///{self.where}"
        with _named(self.where):
            self._engine = _engine(url)
            with self._engine.connect() as connection:
                _migrate(connection, self.where)
                connection.commit()
        self._tables = _tables()

    def add(self, labels: Iterable[Rating | Pair]) -> int:
        """Append labels in one transaction; when this returns, they are on disk.

        Returns:
            How many were added.

        Raises:
            UserError: the database refused; then none of them was added.
        """
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        batch = Labels.of(labels)
        with _named(self.where), self._engine.begin() as connection:
            for name, rows in (("ratings", batch.ratings), ("pairs", batch.pairs)):
                if rows:
                    values = [{**asdict(row), "time": row.time or now} for row in rows]
                    connection.execute(self._tables[name].insert(), values)
        return len(batch)

    def history(self) -> Labels:
        """Return every row ever added, oldest first within each kind."""
        with _named(self.where), self._engine.connect() as connection:
            return Labels(
                tuple(_rows(connection, self._tables["ratings"], Rating)),
                tuple(_rows(connection, self._tables["pairs"], Pair)),
            )

    def current(self) -> Labels:
        """Return the labels that count: of each rater about each picture or pair the newest."""
        history = self.history()
        ratings = {row.key: row for row in history.ratings}
        pairs = {row.key: row for row in history.pairs}
        return Labels(tuple(ratings.values()), tuple(pairs.values()))

    def close(self) -> None:
        """Let go of the database; calling it twice is fine."""
        self._engine.dispose()

    def __enter__(self) -> LabelStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
    before: dict[tuple[str, ...], Rating | Pair] = {row.key: row for row in store.current()}
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


@functools.cache
def _tables() -> dict[str, Table]:
    """Return the tables, made on first use because SQLAlchemy takes long to import."""
    import sqlalchemy as sa

    metadata = sa.MetaData()

    def table(name: str, *columns: sa.Column[Any]) -> Table:
        return sa.Table(
            name,
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            *columns,
            sa.Column("rater", sa.Text, nullable=False),
            sa.Column("prompt", sa.Text, nullable=False),
            sa.Column("seed", sa.BigInteger),
            sa.Column("simulated", sa.Boolean, nullable=False),
            sa.Column("time", sa.Text, nullable=False),
        )

    return {
        "ratings": table(
            "ldmopt_ratings",
            sa.Column("picture", sa.String(64), nullable=False),
            sa.Column("rating", sa.Float, nullable=False),
            sa.Column("low", sa.Float),
            sa.Column("high", sa.Float),
        ),
        "pairs": table(
            "ldmopt_pairs",
            sa.Column("left", sa.String(64), nullable=False),
            sa.Column("right", sa.String(64), nullable=False),
            sa.Column("preferred", sa.String(16), nullable=False),
        ),
    }


def _engine(url: str) -> Engine:
    import sqlalchemy as sa

    if url.startswith("sqlite"):
        engine = sa.create_engine(url, connect_args={"timeout": 30})

        @sa.event.listens_for(engine, "connect")
        def durable(connection: Any, _: object) -> None:
            connection.execute("PRAGMA synchronous=FULL")

        return engine
    return sa.create_engine(url)


def _migrate(connection: Connection, where: str) -> None:
    """Bring the tables up to date; one of several who open a new store at once does it."""
    import sqlalchemy as sa

    if _version(connection, where) == len(MIGRATIONS):
        return
    if connection.dialect.name == "sqlite":  # its driver would not lock before a CREATE TABLE
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    connection.execute(
        sa.text("CREATE TABLE IF NOT EXISTS ldmopt_labels_version (version INTEGER NOT NULL)")
    )
    version = _version(connection, where)  # again: another process may have just done it
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        migration(connection)
        connection.execute(
            sa.text("INSERT INTO ldmopt_labels_version (version) VALUES (:v)"), {"v": number}
        )


def _version(connection: Connection, where: str) -> int:
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table("ldmopt_labels_version"):
        return 0
    version: int = connection.execute(
        sa.text("SELECT coalesce(max(version), 0) FROM ldmopt_labels_version")
    ).scalar_one()
    if version > len(MIGRATIONS):
        raise UserError(
            f"{where}: written by a newer ldmopt (label store version {version}, this one knows"
            f" {len(MIGRATIONS)}); upgrade ldmopt"
        )
    return version


def _rows(connection: Connection, table: Table, kind: type[Any]) -> Iterator[Any]:
    for row in connection.execute(table.select().order_by(table.c.id)).mappings():
        yield kind(**{name: value for name, value in row.items() if name != "id"})


def _says(old: Rating | Pair | None, new: Rating | Pair) -> bool:
    """Tell whether the store already holds this answer; pairs may be the other way round."""
    if isinstance(old, Rating) and isinstance(new, Rating):
        return (old.rating, old.low, old.high) == (new.rating, new.low, new.high)
    if isinstance(old, Pair) and isinstance(new, Pair):
        same = old.win if old.left == new.left else 1.0 - old.win
        return same == new.win and (old.preferred == new.preferred or same != 0.5)
    return False


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Turn a database's complaint into one line that names the store."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ArgumentError, NoSuchModuleError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise UserError(f"label store {where}: {reason}; check the path or URL") from error
