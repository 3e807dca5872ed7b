"""The two CSV layouts of labels, read strictly: every complaint names file, row and column."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError, did_you_mean
from ldmopt.labels import OUTCOMES, Labels, Outcome, Pair, Rating

REQUIRED = {
    "ratings": ("picture", "rater", "rating"),
    "pairs": ("left", "right", "rater", "preferred"),
}
OPTIONAL = {
    "ratings": ("low", "high", "simulated", "prompt", "seed", "time"),
    "pairs": ("simulated", "prompt", "seed", "time"),
}
PREFIX = 8
PICTURE_BYTES = 64 * 2**20
PICTURE_PIXELS = 64 * 2**20


def read_csv(path: Path, known: Mapping[str, Any] | Iterable[str]) -> Labels:
    """Read one CSV of ratings or of pairs; the columns tell which.

    Raises:
        UserError: on the first thing that is wrong.
    """
    blocks: dict[str, Any] = dict(known) if isinstance(known, Mapping) else dict.fromkeys(known)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip() for name in next(rows, [])]
            kind = _kind(path, header)
            pictures = _Pictures(path.parent, blocks)
            return Labels.of(_labels(path, kind, header, rows, pictures))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file: {error}") from error


def write_csv(path: Path, kind: Literal["ratings", "pairs"], rows: Sequence[Any]) -> int:
    """Write labels with all columns; the file appears whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    columns = (*REQUIRED[kind], *OPTIONAL[kind])
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=path.parent, suffix=".part", delete=False
        ) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([_cell(getattr(row, name)) for name in columns] for row in rows)
        os.replace(file.name, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def _kind(path: Path, header: list[str]) -> Literal["ratings", "pairs"]:
    kind: Literal["ratings", "pairs"] = "pairs" if "left" in header else "ratings"
    known = (*REQUIRED[kind], *OPTIONAL[kind])
    for name in REQUIRED[kind]:
        if name not in header:
            raise UserError(
                f"{path}: row 1: column {name!r} is missing; a file has the columns"
                f" {','.join(REQUIRED['ratings'])} or {','.join(REQUIRED['pairs'])}"
            )
    for name in header:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UserError(f"{path}: row 1: unknown column {name!r}{hint}; rename or remove it")
        if header.count(name) > 1:
            raise UserError(f"{path}: row 1: column {name!r} appears twice; keep one")
    return kind


class _Cells:
    """One row; reading a cell names it in whatever goes wrong."""

    def __init__(self, path: Path, row: int, values: Mapping[str, str]) -> None:
        self.path = path
        self.row = row
        self.values = values

    def read(self, column: str, parse: Callable[[str], Any], default: Any = None) -> Any:
        text = self.values.get(column, "").strip()
        if not text and column in REQUIRED["ratings"] + REQUIRED["pairs"]:
            raise self.error(column, "must not be empty; fill it in or remove the row")
        try:
            return parse(text) if text else default
        except (UserError, ValueError) as error:
            raise self.error(column, str(error)) from error

    def error(self, column: str, words: str) -> UserError:
        return UserError(f"{self.path}: row {self.row}: column {column!r} {words}")


def _labels(
    path: Path,
    kind: str,
    header: list[str],
    rows: Iterator[list[str]],
    pictures: _Pictures,
) -> Iterator[Rating | Pair]:
    make = _rating if kind == "ratings" else _pair
    seen: dict[tuple[str, ...], int] = {}
    for number, values in zip(itertools.count(2), rows, strict=False):
        if not any(value.strip() for value in values):
            continue
        if len(values) != len(header):
            raise UserError(
                f"{path}: row {number}: has {len(values)} cells, the header has {len(header)};"
                " quote cells that hold commas"
            )
        cells = _Cells(path, number, dict(zip(header, values, strict=True)))
        label = make(cells, pictures)
        first = seen.setdefault(label.key, number)
        if first != number:
            column = "picture" if kind == "ratings" else "left"
            raise cells.error(
                column, f"repeats row {first} (same rater, same pictures); keep one of them"
            )
        yield label


def _rating(cells: _Cells, pictures: _Pictures) -> Rating:
    digest, block = cells.read("picture", pictures.find)
    low, high = cells.read("low", _number), cells.read("high", _number)
    if low is not None and high is not None and low >= high:
        raise cells.error("low", f"must be below high, got {low:g} and {high:g}")

    def value(text: str) -> float:
        rating = _number(text)
        if low is not None and rating < low:
            raise UserError(f"must be at least {low:g} (the scale's low), got {text}")
        if high is not None and rating > high:
            raise UserError(f"must be at most {high:g} (the scale's high), got {text}")
        return rating

    rating = cells.read("rating", value)
    return Rating(digest, low=low, high=high, rating=rating, **_shared(cells, block))


def _pair(cells: _Cells, pictures: _Pictures) -> Pair:
    left, block = cells.read("left", pictures.find)
    right, other = cells.read("right", pictures.find)
    if left == right:
        raise cells.error("right", "is the same picture as left; a pair needs two")
    prompt = block.prompt if block.prompt == other.prompt else ""
    seed = block.seed if block.seed == other.seed else None
    both = _Known(prompt, seed)
    preferred = cells.read("preferred", _outcome)
    return Pair(left, right, preferred=preferred, **_shared(cells, both))


def _shared(cells: _Cells, block: _Known) -> dict[str, Any]:
    return {
        "rater": cells.read("rater", str),
        "prompt": block.prompt or cells.read("prompt", str, ""),
        "seed": block.seed if block.seed is not None else cells.read("seed", int),
        "simulated": cells.read("simulated", _flag, False),
        "time": cells.read("time", _time, ""),
    }


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise UserError(f"must be a number, got {text!r}") from None
    if not math.isfinite(number):
        raise UserError(f"must be a finite number, got {text!r}")
    return number


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise UserError(f"must be 0 or 1, got {text!r}")
    return text == "1"


def _time(text: str) -> str:
    from datetime import datetime

    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"must be an ISO 8601 time, got {text!r}") from None
    return text


def _outcome(text: str) -> Outcome:
    name = text.lower().replace(" ", "-").replace("_", "-")
    for outcome in OUTCOMES:
        if name == outcome:
            return outcome
    hint = did_you_mean(name, OUTCOMES)
    raise UserError(f"must be one of {', '.join(OUTCOMES)}, got {text!r}{hint}")


@dataclass(frozen=True)
class _Known:
    prompt: str
    seed: int | None


class _Pictures:
    """Finds the picture that a cell means, among those that may be labelled."""

    def __init__(self, folder: Path, blocks: Mapping[str, Any]) -> None:
        self.folder = folder
        self.blocks = blocks
        self.digests = sorted(blocks)
        self.files: dict[str, str] = {}

    def find(self, text: str) -> tuple[str, _Known]:
        digest = self._digest(text)
        block = self.blocks[digest]
        if isinstance(block, Block):
            return digest, _Known(block.prompt, block.seed)
        return digest, _Known(block if isinstance(block, str) else "", None)

    def _digest(self, text: str) -> str:
        name = text.lower()
        if name in self.blocks:
            return name
        if set(name) <= set("0123456789abcdef"):
            return self._completed(name)
        if text not in self.files:
            self.files[text] = self._of_file(text)
        return self.files[text]

    def _completed(self, prefix: str) -> str:
        if len(prefix) < PREFIX:
            raise UserError(f"needs at least {PREFIX} characters of a digest, got {prefix!r}")
        start = bisect.bisect_left(self.digests, prefix)
        found = [name for name in self.digests[start : start + 2] if name.startswith(prefix)]
        if not found:
            raise UserError(f"names no picture of this run, got {prefix!r}; check the digest")
        if len(found) > 1:
            raise UserError(f"fits several pictures, got {prefix!r}; give more characters")
        return found[0]

    def _of_file(self, text: str) -> str:
        from PIL.Image import DecompressionBombError

        path = self.folder / text
        try:
            if path.stat().st_size > PICTURE_BYTES:
                raise UserError(f"must be a PNG of at most 64 MiB, got {text!r}")
            digest = _pixels_of(path).digest
        except (OSError, ValueError, SyntaxError, DecompressionBombError) as error:
            raise UserError(
                f"must be a digest or the path of a PNG, got {text!r} ({error})"
            ) from error
        if digest not in self.blocks:
            raise UserError(
                f"names a picture that is not in this run, got {text!r} (digest {digest[:12]})"
            )
        return digest


def _pixels_of(path: Path) -> Picture:
    """Decode a file after a look at its size, so that a decompression bomb stays closed."""
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        width, height = image.size
    if width * height > PICTURE_PIXELS:
        raise UserError(f"must have at most 64 million pixels, got {path.name!r} {image.size}")
    return Picture.from_png(path.read_bytes(), Block("", 0))
