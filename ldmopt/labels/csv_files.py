"""The two CSV layouts of labels, read strictly: every complaint names file, row and column.

Ratings, one row a rating: ``picture,rater,rating``. A row whose ``kind`` is ``keep`` says whether a
picture was kept (rating 1) or rejected (0); without that column all rows are ratings.
Pairs, one row a pair: ``left,right,rater,preferred`` (left, right, tie, both-bad). A row whose
``repeat`` is 1 was asked again and corrects nothing.

Both may have ``simulated`` (0 or 1), ``prompt``, ``seed``, ``time`` (ISO 8601) and ``page`` (the
question's number on the labelling page), ratings also ``low`` and ``high``, the scale.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from ldmopt.errors import UserError, did_you_mean
from ldmopt.labels.pictures import Found, Pictures
from ldmopt.labels.records import OUTCOMES, Keep, Label, Labels, Outcome, Pair, Rating

Kind: TypeAlias = Literal["ratings", "pairs"]
Progress: TypeAlias = Callable[[float], None]
"""Is told the share that is done, 0 to 1."""

REQUIRED = {
    "ratings": ("picture", "rater", "rating"),
    "pairs": ("left", "right", "rater", "preferred"),
}
OPTIONAL = {
    "ratings": ("kind", "low", "high", "simulated", "prompt", "seed", "time", "page"),
    "pairs": ("simulated", "prompt", "seed", "time", "page", "repeat"),
}
NEEDED = frozenset(REQUIRED["ratings"] + REQUIRED["pairs"])
ANSWERS = tuple(outcome for outcome in OUTCOMES if outcome != "withdrawn")
TOLD_EVERY = 2_000
MOST = 2**63 - 1


def read_csv(path: Path, pictures: Pictures, progress: Progress | None = None) -> Labels:
    """Read one CSV of ratings or of pairs; the columns tell which.

    Args:
        path: the file.
        pictures: finds the picture that a cell means.
        progress: is told the share of the file that was read.

    Raises:
        UserError: on the first thing that is wrong.
    """
    rows = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            kind = _kind(path, header)
            numbered = _numbered(path, header, _told(rows, file, progress))
            return Labels.of(_labels(path, kind, header, numbered, pictures))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read: {error.strerror or error}; give a CSV file"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(_not_text(path)) from error
    except csv.Error as error:
        line = rows.line_num if rows else 1
        raise UserError(
            f"{path}: line {line}: not a CSV file: {error}; mend that line, or save it anew as CSV"
        ) from error


def write_csv(path: Path, kind: Kind, rows: Sequence[Any]) -> int:
    """Write labels with all columns; the file appears whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    columns = (*REQUIRED[kind], *OPTIONAL[kind])
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with half.open("w", encoding="utf-8", newline="") as file:
                plain = csv.writer(file, lineterminator="\n")
                # The plain one would leave a carriage return bare, which ends a line on reading.
                careful = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
                plain.writerow(columns)
                for row in rows:
                    cells = [_cell(row, name) for name in columns]
                    (careful if "\r" in "".join(cells) else plain).writerow(cells)
            os.replace(half, path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written: {error.strerror or error}; give another file"
        ) from error
    return len(rows)


def _cell(label: Label, column: str) -> str:
    if isinstance(label, Keep) and column in ("kind", "rating", "low", "high"):
        return {"kind": "keep", "rating": str(int(label.keep))}.get(column, "")
    value = "rating" if column == "kind" else getattr(label, column)
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _not_text(path: Path) -> str:
    """Find the first row that is not UTF-8, for the one line that says so."""
    way_out = "save it as CSV UTF-8"
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start : error.start + 1].hex()
                column = line[: error.start].count(b",") + 1
                return (f"{path}: line {number}: cell {column} is not UTF-8 text (byte 0x{bad});"
                        f" {way_out}")
    return f"{path}: not UTF-8 text; {way_out}"


def _kind(path: Path, header: list[str]) -> Kind:
    kind: Kind = "pairs" if "left" in header else "ratings"
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    layouts = f"{','.join(REQUIRED['ratings'])} or {','.join(REQUIRED['pairs'])}"
    if not header:
        raise UserError(f"{path}: row 1: the file is empty; it begins with the columns {layouts}")
    if len(header) == 1 and (found := re.search("[;\t]", header[0])):
        raise UserError(f"{path}: row 1: cells are parted by {found[0]!r}; save it with commas")
    for name in REQUIRED[kind]:
        if name not in header:
            raise UserError(
                f"{path}: row 1: column {name!r} is missing, got {','.join(header)[:80]!r}; a file"
                f" has the columns {layouts}"
            )
    for name in header:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{path}: row 1: unknown column {name!r}{hint}; rename or remove it")
        if header.count(name) > 1:
            raise UserError(f"{path}: row 1: column {name!r} appears twice; keep one")
    return kind


def _told(
    rows: Iterator[list[str]], file: io.TextIOWrapper, progress: Progress | None
) -> Iterator[list[str]]:
    """Pass rows on, telling now and then how far the file was read."""
    if progress is None:
        yield from rows
        return
    whole, raw = max(1, os.fstat(file.fileno()).st_size), cast(io.BufferedReader, file.buffer)
    for number, row in enumerate(rows):
        if number % TOLD_EVERY == 0:
            progress(raw.tell() / whole)
        yield row
    progress(1.0)


def _numbered(
    path: Path, header: list[str], rows: Iterator[list[str]]
) -> Iterator[tuple[int, list[str]]]:
    """Number the rows as a spreadsheet does, leaving out empty ones."""
    width = len(header)
    for number, values in zip(itertools.count(2), rows, strict=False):
        if not any(values) or not any(value.strip() for value in values):
            continue
        if len(values) != width:
            raise UserError(
                f"{path}: row {number}: has {len(values)} cells, the header has {width};"
                " quote cells that hold commas"
            )
        yield number, values


class Row:
    """One row; reading a cell names it in whatever goes wrong."""

    __slots__ = ("_columns", "_path", "_texts", "number", "values")

    def __init__(self, path: Path, columns: Mapping[str, int]) -> None:
        """Take the file and where each of its columns is."""
        self._path = path
        self._columns = columns
        self._texts: dict[str, str] = {}
        self.number = 1
        self.values: list[str] = []

    def read(self, column: str, parse: Callable[[str], Any], default: Any = None) -> Any:
        """Parse a cell.

        Raises:
            UserError: it is empty and must not be, or `parse` refuses it.
        """
        place = self._columns.get(column)
        if place is None:
            return default
        text = self.values[place].strip()
        if not text:
            if column in NEEDED:
                raise self.error(column, "must not be empty, got ''; fill it in or remove the row")
            return default
        try:
            return parse(text)
        except UserError as error:
            raise self.error(column, str(error)) from error

    def text(self, column: str) -> str:
        """Return a cell's text; equal ones are one object, because there may be a million."""
        text: str = self.read(column, str, "")
        return self._texts.setdefault(text, text)

    def error(self, column: str, words: str) -> UserError:
        """Return an error that names file, row and column."""
        return UserError(f"{self._path}: row {self.number}: column {column!r} {words}")


def _labels(
    path: Path,
    kind: Kind,
    header: list[str],
    rows: Iterator[tuple[int, list[str]]],
    pictures: Pictures,
) -> Iterator[Label]:
    make = _rating if kind == "ratings" else _pair
    row = Row(path, {name: place for place, name in enumerate(header)})
    seen: dict[tuple[object, ...], int] = {}
    for row.number, row.values in rows:
        label = make(row, pictures)
        first = seen.setdefault(_once(label, row.number), row.number)
        if first != row.number:
            column = "picture" if kind == "ratings" else "left"
            raise row.error(
                column,
                f"repeats row {first} (same rater {label.rater!r}, same pictures), got"
                f" {row.read(column, str)!r}; keep one of them",
            )
        yield label


def _once(label: Label, number: int) -> tuple[object, ...]:
    """Return what may be there once in a file: a repeat may be there again on another page."""
    if isinstance(label, Pair) and label.repeat:
        return (*label.key, label.page if label.page is not None else -number)
    return (*label.key, "keep") if isinstance(label, Keep) else label.key


def _rating(row: Row, pictures: Pictures) -> Rating | Keep:
    if row.read("kind", _label_kind, "rating") == "keep":
        for column in ("low", "high"):
            if row.read(column, str):
                raise row.error(column, "is of ratings only, got one in a keep; leave it empty")
        keep = row.read("rating", _verdict)
        found = row.read("picture", pictures.find)
        return Keep(found.digest, keep=keep, **_shared(row, pictures, found))
    low, high = row.read("low", _number), row.read("high", _number)
    if low is not None and high is not None and low >= high:
        raise row.error("low", f"must be below high, got {low:g} and {high:g}; mend the scale")
    rating = row.read("rating", _number)
    if low is not None and rating < low:
        raise row.error("rating", f"must be at least {low:g} (the scale's low), got {rating:g};"
                                  " mend the rating or the scale")
    if high is not None and rating > high:
        raise row.error("rating", f"must be at most {high:g} (the scale's high), got {rating:g};"
                                  " mend the rating or the scale")
    found = row.read("picture", pictures.find)
    shared = _shared(row, pictures, found)
    return Rating(found.digest, low=low, high=high, rating=rating, **shared)


def _pair(row: Row, pictures: Pictures) -> Pair:
    preferred = row.read("preferred", _outcome)
    repeat = row.read("repeat", _flag, False)
    left, right = row.read("left", pictures.find), row.read("right", pictures.find)
    if left.digest == right.digest:
        raise row.error("right", f"is the same picture as left, got {row.read('right', str)!r};"
                                 " a pair needs two")
    shared = _shared(row, pictures, left, right)
    return Pair(left.digest, right.digest, preferred=preferred, repeat=repeat, **shared)


def _shared(row: Row, pictures: Pictures, *found: Found) -> dict[str, Any]:
    prompt, seed = row.text("prompt"), row.read("seed", _seed)
    for column, value in (("prompt", prompt or None), ("seed", seed)):
        if value is not None:
            try:
                pictures.say(found, column, value)
            except UserError as error:
                raise row.error(column, str(error)) from error
    prompts, seeds = {item.prompt for item in found}, {item.seed for item in found}
    return {
        "rater": row.text("rater"),
        "prompt": (prompts.pop() if len(prompts) == 1 else "") or prompt,
        "seed": known if len(seeds) == 1 and (known := seeds.pop()) is not None else seed,
        "simulated": row.read("simulated", _flag, False),
        "time": row.read("time", _time, ""),
        "page": row.read("page", _page),
    }


def _number(text: str) -> float:
    number: float | None = None
    try:
        number = None if "_" in text else float(text)
    except ValueError:
        pass
    if number is None:
        hint = "; write 3.5, not 3,5" if "," in text else "; write a number or remove the row"
        raise UserError(f"must be a number, got {text!r}{hint}")
    if not math.isfinite(number):
        raise UserError(f"must be a finite number, got {text!r}; remove the row if it is unknown")
    return number


def _whole(text: str, low: int) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not low <= int(text) <= MOST:
        raise UserError(f"must be a whole number from {low} to {MOST}, got {text!r};"
                        " mend it or leave it empty")
    return int(text)


def _seed(text: str) -> int:
    return _whole(text, -MOST)


def _page(text: str) -> int:
    page = _whole(text, 1)
    if page >= 2**31:
        raise UserError(f"must be below {2**31}, got {text!r}; mend it or leave it empty")
    return page


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise UserError(f"must be 0 or 1, got {text!r}; write one of them or leave it empty")
    return text == "1"


def _verdict(text: str) -> bool:
    if text not in ("0", "1"):
        raise UserError(f"of a keep must be 1 (kept) or 0 (rejected), got {text!r};"
                        " write one of them or remove the row")
    return text == "1"


def _label_kind(text: str) -> str:
    if text not in ("rating", "keep"):
        hint = did_you_mean(text, ("rating", "keep"))
        raise UserError(f"must be rating or keep, got {text!r}{hint}; write one of them")
    return text


def _time(text: str) -> str:
    from datetime import datetime

    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise UserError(
            f"must be an ISO 8601 time, got {text!r}; write 2026-11-24T10:00:00+00:00 or leave it"
            " empty"
        ) from None
    return text


def _outcome(text: str) -> Outcome:
    name = text.lower().replace(" ", "-").replace("_", "-")
    for outcome in ANSWERS:
        if name == outcome:
            return outcome
    hint = did_you_mean(name, ANSWERS)
    raise UserError(f"must be one of {', '.join(ANSWERS)}, got {text!r}{hint}; write one of them")
