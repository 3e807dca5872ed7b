"""The append-only store of labels.

It is SQLite in a file unless an SQLAlchemy URL says otherwise. What `LabelStore.add` has returned
from is on disk: a process killed at any later moment loses nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from ldmopt.labels.records import KINDS, Label, Labels, Pair, counting, repeated
from ldmopt.labels.schema import named, open_engine, tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

BATCH = 10_000


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

    def history(self, kinds: Iterable[str] = tuple(KINDS)) -> Labels:
        """Return every row ever added, or those of some kinds, oldest first within each kind."""
        with named(self.where), self._engine.connect() as connection:
            return Labels(**{kind: tuple(_rows(connection, kind)) for kind in kinds})

    def pairs_after(self, number: int) -> tuple[list[Pair], int]:
        """Return the pairs' rows that were added after a row, and the number of the last one.

        Args:
            number: what an earlier call returned, or 0 for all rows. Rows are numbered in the
                order in which they were added, which SQLite, with one writer at a time, keeps.
        """
        table = tables()["pairs"]
        with named(self.where), self._engine.connect() as connection:
            query = table.select().where(table.c.id > number).order_by(table.c.id)
            rows = connection.execute(query).mappings().all()
        names = _names("pairs")
        return ([Pair(**{name: row[name] for name in names}) for row in rows],
                rows[-1]["id"] if rows else number)

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
