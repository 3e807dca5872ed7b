"""CSV files read strictly: every complaint names file, row and column, and the way out."""

from __future__ import annotations

import csv
import io
import itertools
import math
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

from ldmopt.errors import UserError

Progress: TypeAlias = Callable[[float], None]
"""Is told the share that is done, 0 to 1."""

Numbered: TypeAlias = Iterator[tuple[int, list[str]]]
"""Rows with their numbers, as a spreadsheet has them."""

TOLD_EVERY = 2_000
MOST = 2**63 - 1


@contextmanager
def opened(
    path: Path, progress: Progress | None = None
) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Open a CSV file; give its header, and its further rows one by one.

    Args:
        path: the file, UTF-8 with or without a byte-order mark.
        progress: is told the share of the file that was read.

    Raises:
        UserError: it cannot be read, is not UTF-8 text, or no CSV.
    """
    rows = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            yield header, _told(rows, file, progress)
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


def check_header(path: Path, header: Sequence[str], layouts: str) -> None:
    """Refuse a header that is empty, is not parted by commas, or names a column twice.

    Args:
        path: the file, for the message.
        header: its first row.
        layouts: which columns there may be, in words.

    Raises:
        UserError: what is wrong with it.
    """
    if not any(header):
        raise UserError(f"{path}: row 1: the file is empty; it begins with the columns {layouts}")
    if len(header) == 1 and (found := re.search("[;\t]", header[0])):
        raise UserError(f"{path}: row 1: cells are parted by {found[0]!r}; save it with commas")
    for name in header:
        if header.count(name) > 1:
            raise UserError(f"{path}: row 1: column {name!r} appears twice; keep one")


def numbered(path: Path, header: Sequence[str], rows: Iterator[list[str]]) -> Numbered:
    """Number the rows as a spreadsheet does, leaving out empty ones.

    Raises:
        UserError: a row has more or fewer cells than the header.
    """
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

    __slots__ = ("_columns", "_needed", "_path", "_texts", "number", "values")

    def __init__(
        self, path: Path, columns: Mapping[str, int], needed: Collection[str] = ()
    ) -> None:
        """Take the file, where each of its columns is, and which cells may not be empty."""
        self._path = path
        self._columns = columns
        self._needed = needed
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
            if column in self._needed:
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


def a_number(text: str) -> float:
    """Read a finite number.

    Raises:
        UserError: it is none; the words lack row and column, which `Row.read` adds.
    """
    found: float | None = None
    try:
        found = None if "_" in text else float(text)
    except ValueError:
        pass
    if found is None:
        hint = "; write 3.5, not 3,5" if "," in text else "; write a number or remove the row"
        raise UserError(f"must be a number, got {text!r}{hint}")
    if not math.isfinite(found):
        raise UserError(f"must be a finite number, got {text!r}; remove the row if it is unknown")
    return found


def a_whole(text: str, low: int) -> int:
    """Read a whole number from `low` on that a database can hold.

    Raises:
        UserError: it is none.
    """
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not low <= int(text) <= MOST:
        raise UserError(f"must be a whole number from {low} to {MOST}, got {text!r};"
                        " mend it or leave it empty")
    return int(text)


def a_seed(text: str) -> int:
    """Read a seed; raises as `a_whole` does."""
    return a_whole(text, -MOST)


def a_flag(text: str) -> bool:
    """Read 0 or 1.

    Raises:
        UserError: it is neither.
    """
    if text not in ("0", "1"):
        raise UserError(f"must be 0 or 1, got {text!r}; write one of them or leave it empty")
    return text == "1"


def _told(
    rows: Iterator[list[str]], file: io.TextIOWrapper, progress: Progress | None
) -> Iterator[list[str]]:
    """Pass rows on, telling now and then how far the file was read."""
    if progress is None:
        yield from rows
        return
    size, raw = max(1, os.fstat(file.fileno()).st_size), cast(io.BufferedReader, file.buffer)
    for count, row in enumerate(rows):
        if count % TOLD_EVERY == 0:
            progress(raw.tell() / size)
        yield row
    progress(1.0)


def _not_text(path: Path) -> str:
    """Find the first row that is not UTF-8, for the one line that says so."""
    way_out = "save it as CSV UTF-8"
    with path.open("rb") as file:
        for count, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad = line[error.start : error.start + 1].hex()
                column = line[: error.start].count(b",") + 1
                return (f"{path}: line {count}: cell {column} is not UTF-8 text (byte 0x{bad});"
                        f" {way_out}")
    return f"{path}: not UTF-8 text; {way_out}"
