"""Tables of the label store, how they came to be, and the database behind them.

A step in `MIGRATIONS` is written once and never changed afterwards: a store of any earlier version
goes through the steps that it lacks, and its rows stay. SQL is left to SQLAlchemy, so that any
database it speaks to will do.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ldmopt.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import Column, Connection, Engine, Table

WAIT_SECONDS = 120
VERSIONS = "ldmopt_labels_version"


def open_engine(where: str) -> Engine:
    """Return an engine whose tables are up to date.

    Args:
        where: path of an SQLite file, or any SQLAlchemy URL.

    Raises:
        UserError: it cannot be opened, is no label store, or was written by a newer ldmopt.
    """
    from sqlalchemy.exc import DBAPIError

    with named(where):
        engine = _engine(where if "://" in where else f"sqlite:///{where}")
        for attempt in range(5):
            try:
                with engine.connect() as connection:
                    _migrate(connection, where)
                    connection.commit()
                break
            except DBAPIError:  # on some databases of two who make the tables at once one fails
                if attempt == 4 or engine.dialect.name == "sqlite":
                    raise
                time.sleep(0.2 * 2**attempt)
        return engine


@contextmanager
def named(where: str) -> Iterator[None]:
    """Turn a database's complaint into one line that names the store."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ArgumentError, NoSuchModuleError, ImportError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise UserError(f"label store {where}: {reason}; check the path or URL") from error


@functools.cache
def tables() -> dict[str, Table]:
    """Return the tables as they are now, by the kind of label; made on first use."""
    import sqlalchemy as sa

    metadata = sa.MetaData()

    def table(name: str, *columns: Column[Any]) -> Table:
        return sa.Table(name, metadata, *columns, *_who_and_when(),
                        sa.Column("page", sa.Integer))

    return {
        "ratings": table("ldmopt_ratings", *_rating()),
        "pairs": table("ldmopt_pairs", *_pair(), _repeat()),
        "keeps": table("ldmopt_keeps", *_keep()),
    }


def _who_and_when() -> list[Column[Any]]:
    import sqlalchemy as sa

    return [
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("rater", sa.Text, nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("time", sa.Text, nullable=False),
    ]


def _rating() -> list[Column[Any]]:
    import sqlalchemy as sa

    return [
        sa.Column("picture", sa.String(64), nullable=False),
        sa.Column("rating", sa.Double, nullable=False),
        sa.Column("low", sa.Double),
        sa.Column("high", sa.Double),
    ]


def _pair() -> list[Column[Any]]:
    import sqlalchemy as sa

    return [
        sa.Column("left", sa.String(64), nullable=False),
        sa.Column("right", sa.String(64), nullable=False),
        sa.Column("preferred", sa.String(16), nullable=False),
    ]


def _keep() -> list[Column[Any]]:
    import sqlalchemy as sa

    return [
        sa.Column("picture", sa.String(64), nullable=False),
        sa.Column("keep", sa.Boolean, nullable=False),
    ]


def _repeat() -> Column[Any]:
    import sqlalchemy as sa

    return sa.Column("repeat", sa.Boolean, nullable=False, server_default=sa.false())


def _ratings_and_pairs(connection: Connection) -> None:
    """Version 1."""
    import sqlalchemy as sa

    for name, columns in (("ldmopt_ratings", _rating()), ("ldmopt_pairs", _pair())):
        table = sa.Table(name, sa.MetaData(), *columns, *_who_and_when())
        table.create(connection, checkfirst=True)


def _pages_repeats_and_keeps(connection: Connection) -> None:
    """Version 2: where on the labelling page, what was asked again, and keep or reject."""
    import sqlalchemy as sa

    for name in ("ldmopt_ratings", "ldmopt_pairs"):
        _add_column(connection, name, sa.Column("page", sa.Integer))
    _add_column(connection, "ldmopt_pairs", _repeat())
    table = sa.Table("ldmopt_keeps", sa.MetaData(), *_keep(), *_who_and_when(),
                     sa.Column("page", sa.Integer))
    table.create(connection, checkfirst=True)


MIGRATIONS: list[Callable[[Connection], None]] = [_ratings_and_pairs, _pages_repeats_and_keeps]
"""Each brings the store up by one version; written once, never changed afterwards."""


def _add_column(connection: Connection, table: str, column: Column[Any]) -> None:
    """Add a column unless it is there (databases without transactional DDL may stop halfway)."""
    import sqlalchemy as sa
    from sqlalchemy.schema import CreateColumn

    if column.name in {found["name"] for found in sa.inspect(connection).get_columns(table)}:
        return
    text = CreateColumn(column).compile(dialect=connection.dialect)
    name = connection.dialect.identifier_preparer.quote(table)
    connection.exec_driver_sql(f"ALTER TABLE {name} ADD {text}")


def _engine(url: str) -> Engine:
    import sqlalchemy as sa

    if not url.startswith("sqlite"):
        return sa.create_engine(url)
    engine = sa.create_engine(url, connect_args={"timeout": WAIT_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def durable(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _migrate(connection: Connection, where: str) -> None:
    """Bring the tables up to date; one of several who open a new store at once does it."""
    import sqlalchemy as sa

    if _version(connection, where) == len(MIGRATIONS):
        return
    if connection.dialect.name == "sqlite":  # its driver would not lock before a CREATE TABLE
        connection.rollback()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    versions = sa.Table(VERSIONS, sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))
    versions.create(connection, checkfirst=True)
    version = _version(connection, where)  # again: another process may have just done it
    for number, migration in enumerate(MIGRATIONS[version:], version + 1):
        migration(connection)
        connection.execute(versions.insert(), {"version": number})


def _version(connection: Connection, where: str) -> int:
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table(VERSIONS):
        return 0
    column = sa.column("version", sa.Integer)
    newest = sa.select(sa.func.max(column)).select_from(sa.table(VERSIONS))
    version = connection.execute(newest).scalar_one() or 0
    if version > len(MIGRATIONS):
        raise UserError(
            f"{where}: written by a newer ldmopt (label store version {version}, this one knows"
            f" {len(MIGRATIONS)}); upgrade ldmopt"
        )
    return int(version)
