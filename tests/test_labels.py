"""The label store and its CSV layouts."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.labels import Keep, Labels, LabelStore, Pair, Rating, export_csv, import_csv
from ldmopt.labels_csv import OPTIONAL, REQUIRED

A, B, C = "a" * 64, "b" * 64, "a" * 8 + "c" * 56
KNOWN = {A: Block("a tree", 1), B: Block("a tree", 1), C: Block("a house", 2)}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    """Give an empty store in a file."""
    with LabelStore(tmp_path / "labels.db") as opened:
        yield opened


def written(folder: Path, text: str, name: str = "labels.csv") -> Path:
    """Write a CSV file exactly as given."""
    path = folder / name
    path.write_bytes(text.encode())
    return path


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


def test_import_ratings(store: LabelStore, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufeffpicture,rater,rating,low,high,simulated\r\n"
        f'{A},ann,5,1,5,0\r\n{B[:8]},"ann, the second",2.5,,,\r\n\r\n{C[:12]},robot,1,1,5,1\r\n',
    )
    done = import_csv(store, path, KNOWN)
    assert (done.added, done.corrected, done.unchanged, done.simulated) == (3, 0, 0, 1)
    first, second, third = store.current().ratings
    assert (first.picture, first.prompt, first.seed, first.high) == (A, "a tree", 1, 5)
    assert (second.picture, second.rater, second.low) == (B, "ann, the second", None)
    assert (third.picture, third.simulated) == (C, True)
    again = import_csv(store, path, KNOWN)
    assert (again.added, again.unchanged) == (0, 3)
    changed = written(tmp_path, f"picture,rater,rating\n{A},ann,3\n")
    assert import_csv(store, changed, KNOWN).corrected == 1
    assert len(store.history()) == 4


def test_import_pairs(store: LabelStore, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"left,right,rater,preferred\n{A},{B},ann,left\n{A},{C},ann,Both bad\n{B},{C},ann,tie\n",
    )
    assert import_csv(store, path, KNOWN).added == 3
    pairs = store.current().pairs
    assert [row.preferred for row in pairs] == ["left", "both-bad", "tie"]
    assert [row.win for row in pairs] == [1.0, 0.5, 0.5]
    assert [row.prompt for row in pairs] == ["a tree", "", ""]
    turned = written(tmp_path, f"left,right,rater,preferred\n{B},{A},ann,right\n")
    assert import_csv(store, turned, KNOWN).unchanged == 1


def test_import_by_picture_file(store: LabelStore, tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(pixels).save(tmp_path / "pictures" / "one.png")
    digest = Picture(pixels, Block("", 0)).digest
    path = written(tmp_path, "picture,rater,rating\npictures/one.png,ann,3\n")
    assert import_csv(store, path, [digest]).added == 1
    assert store.current().ratings[0].picture == digest
    with pytest.raises(UserError, match="row 2: column 'picture' names a picture that is not in"):
        import_csv(store, path, KNOWN)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "row 1: column 'picture' is missing"),
        ("picture,rater\n", "row 1: column 'rating' is missing"),
        ("left,right,rater\n", "row 1: column 'preferred' is missing"),
        ("picture,rater,rating,rater\n", "column 'rater' appears twice"),
        ("picture,rater,rating,simulatd\n", "'simulatd' .did you mean 'simulated'"),
        (f"picture,rater,rating\n{A},ann\n", "row 2: has 2 cells, the header has 3"),
        (f"picture,rater,rating\n{A},ann,4\n{B},ann,good\n", "row 3: column 'rating' .*'good'"),
        (f"picture,rater,rating\n{A},ann,nan\n", "row 2: column 'rating' must be a finite"),
        (f"picture,rater,rating\n{A},,4\n", "row 2: column 'rater' must not be empty"),
        (f"picture,rater,rating,low,high\n{A},ann,6,1,5\n", "column 'rating' must be at most 5"),
        (f"picture,rater,rating,low,high\n{A},ann,0,1,5\n", "column 'rating' must be at least 1"),
        (f"picture,rater,rating,low,high\n{A},ann,0,5,1\n", "column 'low' must be below high"),
        (f"picture,rater,rating\n{'d' * 64},ann,4\n", "column 'picture' names no picture"),
        ("picture,rater,rating\nabc,ann,4\n", "column 'picture' needs at least 8 characters"),
        (f"picture,rater,rating\n{A[:8]},ann,4\n", "fits several pictures"),
        ("picture,rater,rating\nnone.png,ann,4\n", "must be a digest or the path of a PNG"),
        ("picture,rater,rating\nlabels.csv,ann,4\n", "must be a digest or the path of a PNG"),
        (f"picture,rater,rating\n{A},ann,4\n{A},ann,5\n", "row 3: .* repeats row 2"),
        (f"picture,rater,rating,simulated\n{A},ann,4,yes\n", "must be 0 or 1, got 'yes'"),
        (f"left,right,rater,preferred\n{A},{A},ann,left\n", "column 'right' is the same picture"),
        (f"left,right,rater,preferred\n{A},{B},ann,lft\n", "'lft' .did you mean 'left'"),
        (f"left,right,rater,preferred\n{A},{B},ann,tie\n{B},{A},ann,left\n", "repeats row 2"),
        (f"picture,rater,rating,time\n{A},ann,4,noon\n", "must be an ISO 8601 time"),
        ('picture,rater,rating\n"a', "not a CSV file"),
    ],
)
def test_bad_csv_is_one_line_and_writes_nothing(
    store: LabelStore, tmp_path: Path, text: str, words: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=words) as caught:
        import_csv(store, path, KNOWN)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert len(store.history()) == 0


def test_unreadable_files_are_named(store: LabelStore, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        import_csv(store, tmp_path / "none.csv", KNOWN)
    (tmp_path / "latin.csv").write_bytes(b"picture,rater,rating\n\xe4\xff,x,1\n")
    with pytest.raises(UserError, match="not UTF-8"):
        import_csv(store, tmp_path / "latin.csv", KNOWN)


def test_a_decompression_bomb_stays_closed(store: LabelStore, tmp_path: Path) -> None:
    Image.new("L", (30_000, 30_000)).save(tmp_path / "bomb.png")
    path = written(tmp_path, "picture,rater,rating\nbomb.png,ann,4\n")
    with pytest.raises(UserError, match="column 'picture'"):
        import_csv(store, path, KNOWN)


def test_export_and_import_round_trip(store: LabelStore, tmp_path: Path) -> None:
    store.add([Rating(A, "ann", 1, low=0, high=10), Rating(A, "ann", 4, low=0, high=10)])
    store.add([Rating(B, "robot", 0.1 + 0.2, simulated=True), Pair(A, B, "ann", "tie", "a tree")])
    assert export_csv(store, tmp_path / "both.csv") == 3
    assert (tmp_path / "both.pairs.csv").exists()
    assert export_csv(store, tmp_path / "ratings.csv", "ratings") == 2
    assert export_csv(store, tmp_path / "pairs.csv", "pairs") == 1
    with LabelStore(tmp_path / "other.db") as other:
        import_csv(other, tmp_path / "ratings.csv", dict.fromkeys(KNOWN))
        import_csv(other, tmp_path / "pairs.csv", dict.fromkeys(KNOWN))
        assert other.current() == store.current()
        assert other.current().digests() == (A, B)
    with pytest.raises(UserError, match="cannot be written"):
        export_csv(store, tmp_path / "none" / "ratings.csv")


def test_columns_are_the_records_fields() -> None:
    for name, record in (("ratings", Rating), ("pairs", Pair)):
        columns = {item.name for item in fields(record)} - {"page", "repeat"}
        assert columns == {*REQUIRED[name], *OPTIONAL[name]}


def test_many_rows_import_fast(store: LabelStore, tmp_path: Path) -> None:
    digests = [f"{number:064x}" for number in range(20_000)]
    rows = "".join(f"{digest[-64:]},ann,{index % 5}\n" for index, digest in enumerate(digests))
    path = written(tmp_path, "picture,rater,rating\n" + rows)
    started = time.monotonic()
    assert import_csv(store, path, digests).added == 20_000
    assert time.monotonic() - started < 20
    assert isinstance(store.current(), Labels)
