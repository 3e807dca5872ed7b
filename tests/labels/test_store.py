"""The label store."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ldmopt.errors import UserError
from ldmopt.labels import Keep, Labels, LabelStore, Pair, Rating, schema

A, B, C = "a" * 64, "b" * 64, "a" * 8 + "c" * 56


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    """Give an empty store in a file."""
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def test_labels_come_back_as_they_went_in(store: LabelStore) -> None:
    rating = Rating(A, "ann", 4.5, "a tree", 1, 1, 5, simulated=True)
    pair = Pair(A, B, "bob", "both-bad", "a tree", 1, page=7)
    keep = Keep(C, "bob", False, page=8)
    assert store.add([rating, pair, keep]) == 3
    back = store.current()
    assert back.ratings[0].time and back.pairs[0].time
    assert replace(back.ratings[0], time="") == rating
    assert replace(back.pairs[0], time="") == pair
    assert replace(back.keeps[0], time="") == keep
    assert (len(back), back.human, back.simulated) == (3, 2, 1)
    assert back.digests() == (A, B, C)
    assert [type(label) for label in back] == [Rating, Pair, Keep]
    assert back.raters == ("ann (simulated)", "bob")


def test_a_correction_is_a_new_row(store: LabelStore) -> None:
    store.add([Rating(A, "ann", 1), Pair(A, B, "ann", "left"), Rating(A, "bob", 2)])
    store.add([Rating(A, "ann", 5), Pair(B, A, "ann", "left")])
    assert {(row.rater, row.rating) for row in store.current().ratings} == {("ann", 5), ("bob", 2)}
    assert [(row.left, row.preferred) for row in store.current().pairs] == [(B, "left")]
    assert len(store.history()) == 5


def test_an_answer_taken_back_counts_nowhere(store: LabelStore) -> None:
    store.add([Pair(A, B, "ann", "left", page=1), Pair(A, B, "bob", "left", page=1)])
    store.add([Pair(B, A, "ann", "withdrawn", page=1)])
    assert [row.rater for row in store.current().pairs] == ["bob"]
    store.add([Pair(A, B, "ann", "right", page=1)])
    assert [row.preferred for row in store.current().pairs] == ["right", "left"]
    assert len(store.history()) == 4


def test_repeats_correct_nothing_and_are_held_against_the_answer(store: LabelStore) -> None:
    first = Pair(A, B, "ann", "left", page=1)
    again = Pair(B, A, "ann", "left", page=9, repeat=True)
    store.add([first, again, Pair(A, B, "bob", "tie", repeat=True)])  # bob never answered it
    assert [row.preferred for row in store.current().pairs] == ["left"]
    [(kept, repeated)] = store.repeats()
    assert (replace(kept, time=""), replace(repeated, time="")) == (first, again)
    # Undone, and asked once more: the withdrawal is of the repeat, not of the answer.
    store.add([Pair(B, A, "ann", "withdrawn", page=9, repeat=True)])
    assert store.repeats() == []
    assert len(store.current().pairs) == 1
    store.add([replace(again, preferred="right"), replace(again, preferred="tie")])
    assert [row.preferred for _, row in store.repeats()] == ["tie"]  # one page, one answer
    store.add([Pair(A, B, "ann", "withdrawn", page=1)])
    assert store.repeats() == []


VERSION_1 = """
CREATE TABLE ldmopt_labels_version (version INTEGER NOT NULL);
INSERT INTO ldmopt_labels_version VALUES (1);
CREATE TABLE ldmopt_ratings (
    id INTEGER NOT NULL, picture VARCHAR(64) NOT NULL, rating FLOAT NOT NULL, low FLOAT,
    high FLOAT, rater TEXT NOT NULL, prompt TEXT NOT NULL, seed BIGINT,
    simulated BOOLEAN NOT NULL, time TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO ldmopt_ratings VALUES
    (1, 'aa', 4.5, 1, 5, 'ann', 'a tree', 3, 0, '2026-11-01T00:00:00+00:00');
CREATE TABLE ldmopt_pairs (
    id INTEGER NOT NULL, "left" VARCHAR(64) NOT NULL, "right" VARCHAR(64) NOT NULL,
    preferred VARCHAR(16) NOT NULL, rater TEXT NOT NULL, prompt TEXT NOT NULL, seed BIGINT,
    simulated BOOLEAN NOT NULL, time TEXT NOT NULL, PRIMARY KEY (id));
INSERT INTO ldmopt_pairs VALUES
    (1, 'aa', 'bb', 'tie', 'robot', '', NULL, 1, '2026-11-01T00:00:01+00:00');
"""


def test_a_store_of_version_1_opens_and_keeps_its_rows(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "labels.db") as connection:
        connection.executescript(VERSION_1)
    connection.close()
    for _ in range(2):
        with LabelStore(tmp_path / "labels.db") as store:
            assert store.current() == Labels(
                (Rating("aa", "ann", 4.5, "a tree", 3, 1, 5, time="2026-11-01T00:00:00+00:00"),),
                (Pair("aa", "bb", "robot", "tie", simulated=True,
                      time="2026-11-01T00:00:01+00:00"),),
            )
    with LabelStore(tmp_path / "labels.db") as store:
        store.add([Keep("aa", "ann", True), Pair("aa", "bb", "robot", "left", page=3)])
        assert store.current().pairs[0].page == 3
        assert store.current().keeps[0].keep is True


def test_stores_can_be_opened_again_and_by_url(tmp_path: Path) -> None:
    with LabelStore(tmp_path / "labels.db") as first:
        first.add([Rating(A, "ann", 1)])
    with LabelStore(f"sqlite:///{tmp_path / 'labels.db'}") as second:
        assert len(second.current()) == 1


def test_a_newer_store_and_a_broken_one_are_refused(tmp_path: Path) -> None:
    LabelStore(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as connection:
        connection.execute("INSERT INTO ldmopt_labels_version VALUES (99)")
    connection.close()
    with pytest.raises(UserError, match="newer ldmopt"):
        LabelStore(tmp_path / "new.db")
    (tmp_path / "broken.db").write_bytes(b"this is not a database" * 100)
    for place in ("broken.db", "missing/labels.db"):
        with pytest.raises(UserError, match="check the path"):
            LabelStore(tmp_path / place)
    with pytest.raises(UserError, match="label store"):
        LabelStore("nosuchdatabase://somewhere")


def test_a_killed_writer_loses_nothing_confirmed(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        from ldmopt.labels import LabelStore, Rating
        store = LabelStore({str(tmp_path / "labels.db")!r})
        for number in range(100_000):
            store.add([Rating(f"{{number:064x}}", "robot", number, simulated=True)])
            print(number, flush=True)
    """)
    writer = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) >= 20:
            break
    time.sleep(0.013)
    os.kill(writer.pid, signal.SIGKILL)
    confirmed = 20 + len(writer.stdout.read().split("\n")) - 1
    writer.stdout.close()
    writer.wait()
    with LabelStore(tmp_path / "labels.db") as store:
        kept = [row.rating for row in store.current().ratings]
        assert kept == list(range(len(kept)))
        assert len(kept) > confirmed
        store.add([Rating(A, "ann", 1)])


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from ldmopt.labels import LabelStore, Rating
        for fresh in range(40):  # both open new stores at the same moment
            LabelStore(f"{tmp_path}/{{fresh}}.db").close()
        store = LabelStore({str(tmp_path / "labels.db")!r})
        for number in range(30):
            store.add([Rating(f"{{number:064x}}", sys.argv[1], number, simulated=True)])
    """)
    names = ("one", "two")
    writers = [subprocess.Popen([sys.executable, "-c", program, name]) for name in names]
    assert [writer.wait() for writer in writers] == [0, 0]
    with LabelStore(tmp_path / "labels.db") as store:
        assert len(store.current()) == 60


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.08, 0.2])
def test_a_batch_that_is_killed_is_there_whole_or_not_at_all(tmp_path: Path, delay: float) -> None:
    count = 60_000
    program = textwrap.dedent(f"""
        from ldmopt.labels import LabelStore, Rating
        store = LabelStore({str(tmp_path / "labels.db")!r})
        rows = [Rating(f"{{number:064x}}", "robot", number, simulated=True)
                for number in range({count})]
        print("begin", flush=True)
        store.add(rows)
        print("done", flush=True)
    """)
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "begin\n"
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    confirmed = "done" in writer.stdout.read()
    writer.stdout.close()
    writer.wait()
    with LabelStore(tmp_path / "labels.db") as store:
        kept = len(store.history())
        assert kept in ((count,) if confirmed else (0, count))
        store.add([Rating(A, "ann", 1)])
        assert len(store.history()) == kept + 1


def test_stores_of_version_1_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "labels.db") as connection:
        connection.executescript(VERSION_1)
    connection.close()
    program = textwrap.dedent(f"""
        from ldmopt.labels import LabelStore, Keep
        with LabelStore({str(tmp_path / "labels.db")!r}) as store:
            store.add([Keep("aa", "robot", True, simulated=True)])
    """)
    openers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(4)]
    assert [opener.wait() for opener in openers] == [0] * 4
    with LabelStore(tmp_path / "labels.db") as store:
        assert len(store.history()) == 6


@pytest.mark.parametrize("name", ["postgresql", "mysql", "mssql"])
def test_other_databases_get_words_quoted_and_types_of_their_own(name: str) -> None:
    """No such server is at hand; what SQLAlchemy would send one can still be read."""
    import sqlalchemy as sa
    from sqlalchemy.schema import CreateColumn, CreateTable

    dialect = sa.create_mock_engine(f"{name}://", lambda *_: None).dialect
    for table in schema.tables().values():
        assert "rater" in str(CreateTable(table).compile(dialect=dialect))
        assert str(table.insert().compile(dialect=dialect)).startswith("INSERT INTO")
    repeat = str(CreateColumn(schema.tables()["pairs"].c.repeat).compile(dialect=dialect))
    assert "DEFAULT" in repeat and "NOT NULL" in repeat
    assert "`repeat`" in repeat or name != "mysql"  # a reserved word there
