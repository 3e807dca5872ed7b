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
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ldmopt.errors import UserError, did_you_mean
from ldmopt.labels.pictures import Found, Pictures
from ldmopt.labels.records import OUTCOMES, Keep, Label, Labels, Outcome, Pair, Rating
from ldmopt.labels.strict_csv import (
    Numbered,
    Progress,
    Row,
    a_flag,
    a_number,
    a_seed,
    a_whole,
    check_header,
    numbered,
    opened,
)

Kind: TypeAlias = Literal["ratings", "pairs"]

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


def read_csv(path: Path, pictures: Pictures, progress: Progress | None = None) -> Labels:
    """Read one CSV of ratings or of pairs; the columns tell which.

    Args:
        path: the file.
        pictures: finds the picture that a cell means.
        progress: is told the share of the file that was read.

    Raises:
        UserError: on the first thing that is wrong.
    """
    with opened(path, progress) as (header, rows):
        kind = _kind(path, header)
        return Labels.of(_labels(path, kind, header, numbered(path, header, rows), pictures))


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


def _kind(path: Path, header: list[str]) -> Kind:
    kind: Kind = "pairs" if "left" in header else "ratings"
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    layouts = f"{','.join(REQUIRED['ratings'])} or {','.join(REQUIRED['pairs'])}"
    check_header(path, header, layouts)
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
    return kind


def _labels(
    path: Path,
    kind: Kind,
    header: list[str],
    rows: Numbered,
    pictures: Pictures,
) -> Iterator[Label]:
    make = _rating if kind == "ratings" else _pair
    row = Row(path, {name: place for place, name in enumerate(header)}, NEEDED)
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
    low, high = row.read("low", a_number), row.read("high", a_number)
    if low is not None and high is not None and low >= high:
        raise row.error("low", f"must be below high, got {low:g} and {high:g}; mend the scale")
    rating = row.read("rating", a_number)
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
    repeat = row.read("repeat", a_flag, False)
    left, right = row.read("left", pictures.find), row.read("right", pictures.find)
    if left.digest == right.digest:
        raise row.error("right", f"is the same picture as left, got {row.read('right', str)!r};"
                                 " a pair needs two")
    shared = _shared(row, pictures, left, right)
    return Pair(left.digest, right.digest, preferred=preferred, repeat=repeat, **shared)


def _shared(row: Row, pictures: Pictures, *found: Found) -> dict[str, Any]:
    prompt, seed = row.text("prompt"), row.read("seed", a_seed)
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
        "simulated": row.read("simulated", a_flag, False),
        "time": row.read("time", _time, ""),
        "page": row.read("page", _page),
    }


def _page(text: str) -> int:
    page = a_whole(text, 1)
    if page >= 2**31:
        raise UserError(f"must be below {2**31}, got {text!r}; mend it or leave it empty")
    return page


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
