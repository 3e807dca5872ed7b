"""The CSV layouts of labels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.labels import (
    OUTCOMES,
    Keep,
    Label,
    Labels,
    LabelStore,
    Pair,
    Rating,
    export_csv,
    import_csv,
)
from ldmopt.labels.csv_files import OPTIONAL, REQUIRED
from ldmopt.labels.picture_files import read_pixels

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
        ("", "row 1: the file is empty"),
        ("\ufeff", "row 1: the file is empty"),
        ("picture,rater\n", "row 1: column 'rating' is missing, got 'picture,rater'"),
        ("picture;rater;rating\n", "row 1: cells are parted by ';'; save it with commas"),
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
        ("picture,rater,rating\nnone.png,ann,4\n", "got 'none.png': there is no such file; mend"),
        ("picture,rater,rating\nlabels.csv,ann,4\n", "'labels.csv': it is no PNG, JPEG or WebP"),
        (f"picture,rater,rating\n{A},ann,4\n{A},ann,5\n", "row 3: .* repeats row 2"),
        (f"picture,rater,rating,simulated\n{A},ann,4,yes\n", "must be 0 or 1, got 'yes'"),
        (f"left,right,rater,preferred\n{A},{A},ann,left\n", "column 'right' is the same picture"),
        (f"left,right,rater,preferred\n{A},{B},ann,lft\n", "'lft' .did you mean 'left'"),
        (f"left,right,rater,preferred\n{A},{B},ann,tie\n{B},{A},ann,left\n", "repeats row 2"),
        (f"picture,rater,rating,time\n{A},ann,4,noon\n", "must be an ISO 8601 time"),
        (f"left,right,rater,preferred\n{A},{B},ann,withdrawn\n", "of left, right, tie, both-bad,"),
        (f"left,right,rater,preferred,repeat\n{A},{B},ann,tie,no\n", "'repeat' must be 0 or 1"),
        (f"picture,rater,rating,kind\n{A},ann,2,keep\n", "'rating' of a keep must be 1 .kept."),
        (f"picture,rater,rating,kind\n{A},ann,1,keeps\n", "'keeps' .did you mean 'keep'"),
        (f"picture,rater,rating,kind,low\n{A},ann,1,keep,0\n", "'low' is of ratings only"),
        (f"picture,rater,rating,page\n{A},ann,4,0\n", "'page' must be a whole number from 1 to"),
        (f"picture,rater,rating,page\n{A},ann,4,9999999999\n", "'page' must be below 2147483648"),
        (f"picture,rater,rating,seed\n{A},ann,4,1_0\n", "'seed' must be a whole number"),
        (f"picture,rater,rating\n{A},ann,1_0\n", "'rating' must be a number, got '1_0'"),
        (f'picture,rater,rating\n{A},ann,"3,5"\n', "got '3,5'; write 3.5, not 3,5"),
        (f"picture,rater,rating\n{A},ann,{'9' * 200_000}\n", "line 2: .*field larger than"),
        ("picture,rater,rating\n.,ann,4\n", "got '.': it is no file"),
        ("picture,rater,rating\na\0b,ann,4\n", "column 'picture' must be a digest or the path"),
        ('picture,rater,rating\n"a', "line 2: not a CSV file"),
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
    with pytest.raises(UserError, match="line 2: cell 1 is not UTF-8 text .byte 0xe4.; save it"):
        import_csv(store, tmp_path / "latin.csv", KNOWN)


def bomb(path: Path, side: int) -> None:
    """Write a PNG of `side` x `side` black pixels, as small as it can be."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    row = b"\0" + bytes((side + 7) // 8)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                     + chunk(b"IDAT", zlib.compress(row * side, 1)) + chunk(b"IEND", b""))


def test_a_decompression_bomb_stays_closed(store: LabelStore, tmp_path: Path) -> None:
    for side in (9_000, 12_000, 30_000):  # over ours, and where Pillow warns and raises
        bomb(tmp_path / "bomb.png", side)
        path = written(tmp_path, "picture,rater,rating\nbomb.png,ann,4\n")
        with pytest.raises(UserError, match="column 'picture' .*more than 64 million"):
            import_csv(store, path, KNOWN)


def test_export_and_import_round_trip(store: LabelStore, tmp_path: Path) -> None:
    store.add([Rating(A, "ann", 1, low=0, high=10), Rating(A, "ann", 4, low=0, high=10)])
    store.add([Rating(B, "robot", 0.1 + 0.2, simulated=True), Pair(A, B, "ann", "tie", "a tree")])
    both = {tmp_path / "both.csv": 2, tmp_path / "both.pairs.csv": 1}
    assert export_csv(store, tmp_path / "both.csv") == both
    assert export_csv(store, tmp_path / "ratings.csv", "ratings") == {tmp_path / "ratings.csv": 2}
    assert export_csv(store, tmp_path / "pairs.csv", "pairs") == {tmp_path / "pairs.csv": 1}
    with LabelStore(tmp_path / "other.db") as other:
        import_csv(other, tmp_path / "ratings.csv", dict.fromkeys(KNOWN))
        import_csv(other, tmp_path / "pairs.csv", dict.fromkeys(KNOWN))
        assert other.current() == store.current()
        assert other.current().digests() == (A, B)
    with pytest.raises(UserError, match="cannot be written"):
        export_csv(store, tmp_path / "none" / "ratings.csv")


def test_columns_are_the_records_fields() -> None:
    ratings, pairs = ({*REQUIRED[kind], *OPTIONAL[kind]} for kind in ("ratings", "pairs"))
    assert {item.name for item in fields(Rating)} == ratings - {"kind"}
    assert {item.name for item in fields(Keep)} - {"keep"} <= ratings
    assert {item.name for item in fields(Pair)} == pairs


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9).map(str.strip)
shared = {
    "rater": texts.filter(bool), "prompt": texts, "simulated": st.booleans(),
    "seed": st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    "page": st.none() | st.integers(1, 2**31 - 1),
    "time": st.datetimes(timezones=st.just(UTC)).map(lambda time: time.isoformat()),
}  # fmt: skip
values = st.floats(allow_nan=False, allow_infinity=False)
ratings = st.builds(Rating, picture=st.sampled_from([A, B, C]), rating=values, low=st.none(),
                    high=st.none(), **shared)
scaled = st.builds(lambda row, ends: replace(row, low=min(ends), high=max(ends),
                                             rating=sorted(ends)[1]),
                   ratings, st.tuples(values, values, values).filter(lambda v: min(v) < max(v)))
keeps = st.builds(Keep, picture=st.sampled_from([A, B, C]), keep=st.booleans(), **shared)
pairs = st.builds(
    lambda two, **rest: Pair(*two, **rest),
    st.permutations([A, B, C]).map(lambda three: three[:2]),
    preferred=st.sampled_from(OUTCOMES), repeat=st.booleans(), **shared,
)


@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(ratings | scaled | keeps | pairs, max_size=12))
def test_whatever_counts_survives_export_and_import(tmp_path: Path, labels: list[Label]) -> None:
    with LabelStore("sqlite://") as store, LabelStore("sqlite://") as other:
        store.add(labels)
        for kind in ("ratings", "pairs"):
            export_csv(store, tmp_path / f"{kind}.csv", kind)
            import_csv(other, tmp_path / f"{kind}.csv", [A, B, C])
        assert other.current() == store.current()
        assert other.repeats() == store.repeats()
        for kind in ("ratings", "pairs"):  # and once more changes nothing
            assert import_csv(other, tmp_path / f"{kind}.csv", [A, B, C]).added == 0


cells = st.one_of(
    st.sampled_from([A, B, C[:12], "ann", "0", "1", "5", "-1", "left", "tie", "keep", "", " ", "\r",
                     "1e999", "x.png", ".", "/", "\0", '"', "2026-11-24", "9" * 40, "\u0661"]),
    st.text(max_size=5),
)
columns = st.sampled_from(sorted({name for kind in ("ratings", "pairs")
                                  for name in (*REQUIRED[kind], *OPTIONAL[kind])}))
HEADERS = [list(REQUIRED[kind]) for kind in ("ratings", "pairs")]


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.binary(max_size=60),
    st.tuples(st.sampled_from(HEADERS), st.lists(columns, max_size=3, unique=True),
              st.lists(st.lists(cells, min_size=3, max_size=8), max_size=3)).map(
        lambda file: "\n".join(",".join(row) for row in (file[0] + file[1], *file[2])).encode(
            errors="ignore")),
))
def test_no_file_brings_more_than_a_line_of_complaint(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "any.csv").write_bytes(data)
    with LabelStore("sqlite://") as store:
        try:
            import_csv(store, tmp_path / "any.csv", KNOWN)
        except UserError as error:
            assert str(error).startswith(str(tmp_path / "any.csv"))
            assert len(store.history()) == 0


@settings(max_examples=120, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP"]), cut=st.none() | st.floats(0, 1),
       wrong=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4))
def test_no_damaged_picture_brings_more_than_a_line(
    tmp_path: Path, kind: str, cut: float | None, wrong: list[tuple[float, int]]
) -> None:
    image = Image.fromarray(np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "any", kind, exif=exif)
    data = bytearray((tmp_path / "any").read_bytes())
    for place, value in wrong:
        data[int(place * len(data))] = value
    (tmp_path / "any").write_bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        pixels = read_pixels(tmp_path / "any")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


def test_who_is_simulated_can_be_set_right(store: LabelStore, tmp_path: Path) -> None:
    import_csv(store, written(tmp_path, f"picture,rater,rating\n{A},robot,4\n"), KNOWN)
    text = f"picture,rater,rating,simulated\n{A},robot,4,1\n"
    assert import_csv(store, written(tmp_path, text), KNOWN).corrected == 1
    assert store.current().human == 0


def test_an_import_tells_how_far_it_is(store: LabelStore, tmp_path: Path) -> None:
    digests = [f"{number:064x}" for number in range(5_000)]
    rows = "".join(f"{digest},ann,{index % 5}\n" for index, digest in enumerate(digests))
    path = written(tmp_path, "picture,rater,rating\n" + rows)
    told: list[float] = []
    assert import_csv(store, path, digests, told.append).added == 5_000
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 2
    assert isinstance(store.current(), Labels)


def test_a_failing_batch_adds_none_of_its_rows(store: LabelStore) -> None:
    good = [Rating(f"{number:064x}", "ann", 1) for number in range(20_000)]
    with pytest.raises(UserError, match="label store"):
        store.add([*good, Rating(A, "ann", None)])  # type: ignore[arg-type]
    assert len(store.history()) == 0
