"""A table of observations: one row a picture and a rater, read strictly.

Columns named after knobs are the setting, declared ones are further knobs, `columns.RESERVED` is
everything else that there may be; any cell may be empty, which means that it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ldmopt.contracts import Setting
from ldmopt.errors import UserError, did_you_mean
from ldmopt.intake import columns
from ldmopt.intake.columns import RESERVED, Kind, known_knobs
from ldmopt.labels.pictures import Pictures
from ldmopt.labels.strict_csv import (
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


@dataclass(frozen=True, slots=True)
class Observation:
    """What one row says of one picture; unknown is None, or empty text.

    Attributes:
        source: number of the row, for messages; 0 of what the run held before.
        setting: the knobs' values.
        prompt: what the picture was made for.
        seed: its seed.
        repeat: tells rows apart that are otherwise the same.
        seconds: device seconds of the picture.
        peak_memory_bytes: peak of the process while it was made.
        picture: digest of its file.
        rating: what the rater gave it; higher is better.
        rater: who.
        failed: why there is no usable picture.
        warmup: its cost holds the first call's extra work, and is left out.
    """

    source: int
    setting: Setting
    prompt: str = ""
    seed: int | None = None
    repeat: int | None = None
    seconds: float | None = None
    peak_memory_bytes: int | None = None
    picture: str = ""
    rating: float | None = None
    rater: str = ""
    failed: str = ""
    warmup: bool = False

    @property
    def key(self) -> tuple[object, ...]:
        """Rows with equal keys are one and the same observation."""
        return (self.setting.json(), self.prompt, self.seed, self.repeat, self.picture, self.rater)


@dataclass(frozen=True)
class Raw:
    """A table whose knob cells have not got their meaning yet.

    Attributes:
        name: of row `number`, for messages, such as ``results.csv: row 7``.
        knobs: columns that are knobs, in order.
        rows: each row's knob cells, and the rest of the row with an empty setting.
    """

    name: Callable[[int], str]
    knobs: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], Observation], ...]

    def error(self, number: int, words: str) -> UserError:
        """Return an error that names a row."""
        return UserError(f"{self.name(number)}: {words}")


def read_table(
    path: Path, pictures: Pictures, declared: Iterable[str] = (), progress: Progress | None = None
) -> Raw:
    """Read a CSV file of observations.

    Args:
        path: the file.
        pictures: finds the picture that a cell means, and takes files that are new.
        declared: names of further knobs.
        progress: is told the share of the file that was read.

    Raises:
        UserError: on the first thing that is wrong, naming row and column.
    """
    with opened(path, progress) as (header, lines):
        knobs = _knobs(path, header, declared)
        places = {name: place for place, name in enumerate(header)}
        row, rows = Row(path, places), []
        for row.number, row.values in numbered(path, header, lines):
            cells = tuple(row.text(name) for name in knobs)
            rows.append((cells, _observation(row, pictures)))
    if not rows:
        raise UserError(f"{path}: row 2: there is no observation, got nothing after the header;"
                        " add rows")
    return Raw(lambda number: f"{path}: row {number}", knobs, tuple(rows))


def _knobs(path: Path, header: Sequence[str], declared: Iterable[str]) -> tuple[str, ...]:
    """Check the header; return which of its columns are knobs."""
    known, named = known_knobs(), tuple(declared)
    check_header(path, header, f"knobs such as sampler,steps and any of {','.join(RESERVED)}")
    for name in named:
        if name in RESERVED:
            raise UserError(f"--knob {name}: the name is reserved for what is no knob; "
                            "rename that column")
        if name not in header:
            raise UserError(f"--knob {name}: {path} has no such column{did_you_mean(name, header)}")
    for name in header:
        if name not in known and name not in RESERVED and name not in named:
            hint = did_you_mean(name, (*known, *RESERVED))
            way = f"declare it as a knob with --knob {name}, " if name else ""
            raise UserError(f"{path}: row 1: unknown column {name!r}{hint}; {way}"
                            "rename or remove it")
    found = tuple(name for name in header if name not in RESERVED)
    if not found:
        raise UserError(f"{path}: row 1: no column is a knob, got {','.join(header)[:80]!r}; name "
                        "one after a knob (sampler, steps, ...), or declare one with --knob NAME")
    return found


def _observation(row: Row, pictures: Pictures) -> Observation:
    found = row.read("picture", pictures.find)
    return Observation(
        source=row.number,
        setting=EMPTY,
        prompt=row.text("prompt"),
        seed=row.read("seed", a_seed),
        repeat=row.read("repeat", _repeat),
        seconds=row.read("seconds", columns.seconds),
        peak_memory_bytes=row.read("peak_memory_bytes", columns.memory_bytes),
        picture=found.digest if found else "",
        rating=row.read("rating", a_number),
        rater=row.text("rater"),
        failed=row.read("failed", columns.failure, ""),
        warmup=row.read("warmup", a_flag, False),
    )


EMPTY = Setting()


def _repeat(text: str) -> int:
    return a_whole(text, 0)


def kinds(raw: Raw) -> dict[str, Kind]:
    """Return what each declared knob's column holds."""
    known = known_knobs()
    return {name: columns.kind_of([cells[place] for cells, _ in raw.rows if cells[place]])
            for place, name in enumerate(raw.knobs) if name not in known}


def settled(raw: Raw, known: Mapping[str, Kind], with_sigmas: bool) -> list[Observation]:
    """Return a table's observations with their settings.

    Args:
        raw: the table.
        known: of the declared knobs.
        with_sigmas: see `columns.setting_of`.

    Raises:
        UserError: a cell means nothing, or a row says what an earlier one says already.
    """
    settings: dict[tuple[str, ...], Setting] = {}
    same: dict[str, Setting] = {}
    seen: dict[tuple[object, ...], int] = {}
    found = []
    for cells, rest in raw.rows:
        setting = settings.get(cells)
        if setting is None:
            refuse = _refusing(raw, rest.source)
            made = columns.setting_of(
                dict(zip(raw.knobs, cells, strict=True)), known, refuse, with_sigmas)
            setting = settings[cells] = same.setdefault(made.json(), made)
        one = replace(rest, setting=setting)
        first = seen.setdefault((id(setting), *one.key[1:]), one.source)
        if first != one.source:
            raise raw.error(one.source, _twice(raw, one, first))
        found.append(one)
    return found


def _refusing(raw: Raw, number: int) -> columns.Refuse:
    return lambda column, words: raw.error(number, f"column {column!r} {words}")


def _twice(raw: Raw, one: Observation, first: int) -> str:
    """Word that an observation is there twice."""
    shown = ", ".join(f"{name} {value!r}" for name, value in (
        ("prompt", one.prompt), ("seed", one.seed), ("repeat", one.repeat), ("rater", one.rater),
    ) if value not in ("", None))
    return (f"repeats {raw.name(first)} (same setting{', ' if shown else ''}{shown}"
            f"{', same picture' if one.picture else ''}); keep one of them, or number repetitions "
            "in a column 'repeat'")


def any_sigmas(raws: Iterable[Raw]) -> bool:
    """Tell whether a sampler's name anywhere says which schedule."""
    for raw in raws:
        if "sampler" in raw.knobs:
            place = raw.knobs.index("sampler")
            names = {cells[place] for cells, _ in raw.rows} - {""}
            if any(columns.names_sigmas(name) for name in names):
                return True
    return False
