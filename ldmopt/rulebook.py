"""The rulebook: what a study found, as one JSON file that programs read and `recommend` asks.

The file's shape is ``rulebook.schema.json``, shipped beside this module. Nothing heavy is imported
here: `Rulebook.read(path).recommend(...)` answers in a fraction of a second.

What ``schema_version`` promises, for readers other than this one too:

- While it stays, every key keeps its name, type, unit and meaning. New may be: keys in the objects
  that the schema leaves open (``scope``, ``evidence``, ``quality.scorer``, ``quality.human``,
  ``runner_up``), ids of recommendations, knobs and values in settings, and words in texts.
- Anything else raises it by one: a key in a closed object, a verdict, a removed or changed key.
  So a file that a reader accepts holds nothing that the reader would misread.
- ldmopt reads its own number and the two before it: `UPGRADES` has one function a step. Older
  files, and newer ones, are refused in words that say which of the two is older.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldmopt.errors import UserError, did_you_mean
from ldmopt.schema import first_fault

if TYPE_CHECKING:
    from ldmopt.contracts import Setting

SCHEMA_VERSION = 1
FILE_NAME = "rulebook.json"
GB = 1e9

WAY_OUT = "write it again from its run with `ldmopt rulebook RUN`, or take a whole copy"

UNKNOWN_MODEL = "unknown model"
"""The model in the scope of an imported table that does not say what made its pictures."""

UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a schema version to the next: what makes a file of the one into a file of the other."""


class NothingFits(UserError):
    """No setting of the front meets the limits; the message names the nearest that exists."""


@dataclass(frozen=True)
class Recommendation:
    """One setting to use, as rulebook.json holds it.

    Attributes:
        id: ``best``, ``balanced``, ...; for an entry of the front, the name of the recommendation
            with the same setting, else ``front``.
        data: the entry itself; ``setting``, ``quality`` and ``cost`` at least.
        scope: what the rulebook holds for: model, device and so on; may be empty.
    """

    id: str
    data: Mapping[str, Any]
    scope: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str | None:
        """The model that it was measured with, as the study named it, or None where unknown."""
        found = self.scope.get("model")
        return None if found in (None, UNKNOWN_MODEL) else str(found)

    @property
    def setting(self) -> Setting:
        """The knobs' values."""
        from ldmopt.contracts import Setting

        return Setting(self.data["setting"])

    @property
    def win_rate(self) -> float:
        """How often its picture is preferred to the default's, ties half."""
        return float(self.data["quality"]["win_rate"])

    @property
    def seconds(self) -> float | None:
        """Device seconds per picture."""
        return _number(self.data["cost"]["seconds"])

    @property
    def latency_seconds(self) -> float | None:
        """Seconds until the pictures of one call arrive."""
        return _number(self.data["cost"]["latency_seconds"])

    @property
    def peak_memory_bytes(self) -> float | None:
        """Peak memory, or None where it was not measured."""
        return _number(self.data["cost"]["peak_memory_bytes"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data with the id first."""
        return {"id": self.id, **{key: self.data[key] for key in self.data if key != "id"}}


@dataclass(frozen=True)
class Rulebook:
    """A rulebook whose data has been checked against the schema.

    Attributes:
        data: the JSON data of the whole file; not to be changed.
    """

    data: Mapping[str, Any]

    @classmethod
    def from_data(cls, data: object, name: str = "the rulebook") -> Rulebook:
        """Check JSON data and wrap it.

        Raises:
            UserError: it is not a rulebook of this version; ``name`` begins the message.
        """
        data = _current(data, name)
        fault = first_fault(data, schema())
        if fault:
            raise UserError(f"{name} is not a valid rulebook: {fault}; {WAY_OUT}")
        if not isinstance(data, Mapping):
            raise UserError(f"{name} is not a valid rulebook: it is not an object; {WAY_OUT}")
        ids = [item["id"] for item in data["recommendations"]]
        twice = sorted({item for item in ids if ids.count(item) > 1})
        if twice:
            raise UserError(f"{name} is not a valid rulebook: the id {twice[0]!r} is there twice; "
                            f"{WAY_OUT}")
        return cls(data)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Rulebook:
        """Read a rulebook.json, or the one of a run folder.

        Raises:
            UserError: it is missing, unreadable, truncated, malformed, or of another version.
        """
        file = Path(path)
        if file.is_dir():
            file = file / FILE_NAME
        return cls.from_data(_load(file), str(file))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file whole or not at all: a temporary file beside it, then a rename.

        Raises:
            UserError: the folder cannot be written; what was there before is untouched.
        """
        file = Path(path)
        text = json.dumps(self.data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        replace_file(file, text.encode())

    @property
    def recommendations(self) -> list[Recommendation]:
        """The named recommendations, in the order of the file."""
        scope = self.data["scope"]
        return [Recommendation(item["id"], item, scope) for item in self.data["recommendations"]]

    @property
    def front(self) -> list[Recommendation]:
        """Measured settings that no other one beats."""
        names: dict[str, str] = {}
        for item in self.data["recommendations"]:
            names.setdefault(_key(item["setting"]), item["id"])
        return [
            Recommendation(names.get(_key(item["setting"]), "front"), item, self.data["scope"])
            for item in self.data["front"]
        ]

    def find(self, id: str) -> Recommendation:
        """Return the recommendation of that id.

        Raises:
            UserError: there is none; the nearest id is suggested.
        """
        for item in self.recommendations:
            if item.id == id:
                return item
        known = [item.id for item in self.recommendations]
        if not known:
            raise UserError("the rulebook recommends nothing: it has no measured setting; let its "
                            "run go on with ldmopt run")
        raise UserError(f"the rulebook has no recommendation {id!r}{did_you_mean(id, known)}")

    def recommend(
        self,
        max_seconds: float | None = None,
        max_memory_bytes: float | None = None,
        min_win_rate: float | None = None,
    ) -> Recommendation:
        """Choose from the front.

        Without ``min_win_rate`` the highest win rate within the limits; with it the cheapest in
        seconds. Ties go to the smaller memory, then to the other figure.

        Args:
            max_seconds: limit on latency, in seconds.
            max_memory_bytes: limit on peak memory; settings of unknown memory do not meet it.
            min_win_rate: what the win rate must be at least.

        Raises:
            NothingFits: no setting meets all limits.
            UserError: a limit is not a positive number, or a win rate not within 0 and 1.
        """
        _check_limits(max_seconds, max_memory_bytes, min_win_rate)
        fitting = [
            item
            for item in self.front
            if _within(item.latency_seconds, max_seconds)
            and _within(item.peak_memory_bytes, max_memory_bytes)
            and (min_win_rate is None or item.win_rate >= min_win_rate)
        ]
        if not fitting:
            raise NothingFits(
                _nothing_fits(self.front, max_seconds, max_memory_bytes, min_win_rate)
            )
        if min_win_rate is None:
            return min(fitting, key=lambda item: (-item.win_rate, *_costs(item)[::-1]))
        return min(fitting, key=lambda item: (*_costs(item), -item.win_rate))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of rulebook.json."""
    file = Path(__file__).with_name("rulebook.schema.json")
    data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return data


def validate(path: str | os.PathLike[str]) -> None:
    """Check a rulebook file.

    Raises:
        UserError: what is wrong with it, in one line.
    """
    Rulebook.read(path)


def replace_file(file: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary file beside it, then a rename.

    Raises:
        UserError: it cannot be written; an older file stays as it was.
    """
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, file)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}; give a folder that is "
                        "there and that you may write to") from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _load(file: Path) -> object:
    """Parse a JSON file; NaN and infinity are not JSON."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no rulebook at {file}; give a {FILE_NAME}, or the folder of a "
                        "run that has one") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a rulebook: byte {error.start} is no UTF-8 text; "
                        f"{WAY_OUT}") from error
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}; give a {FILE_NAME} that "
                        "you may read") from error
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        cut = "it ends too early" if error.pos >= len(text.rstrip()) - 1 else error.msg
        raise UserError(
            f"{file} is not JSON: {cut} (line {error.lineno}, column {error.colno}); {WAY_OUT}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}; {WAY_OUT}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON knows")


def _current(data: object, name: str) -> object:
    """Bring a file of an older schema to this one; refuse it where that cannot be done."""
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(version, int) or isinstance(version, bool):
        raise UserError(f"{name} is not a rulebook: it has no whole number as schema_version; "
                        f"{WAY_OUT}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{name} comes from a newer ldmopt (schema {version}, this one reads "
            f"{SCHEMA_VERSION}): upgrade ldmopt to read it"
        )
    found = dict(data)
    while version < SCHEMA_VERSION:
        if version not in UPGRADES:
            raise UserError(
                f"{name} is an older rulebook (schema {data['schema_version']}, this ldmopt reads "
                f"{min(UPGRADES, default=SCHEMA_VERSION)} and later): write it again from its run "
                "with `ldmopt rulebook RUN`"
            )
        try:
            found = {**UPGRADES[version](found), "schema_version": version + 1}
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{name} is not a valid rulebook of schema {version}: {error!r}; "
                            f"{WAY_OUT}") from error
        version += 1
    return found


def _check_limits(
    seconds: float | None, memory_bytes: float | None, win_rate: float | None
) -> None:
    """Limits are positive and finite, win rates within 0 and 1."""
    for name, value in (("max_seconds", seconds), ("max_memory_bytes", memory_bytes)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UserError(f"{name} must be a number above 0, got {value}")
    if win_rate is not None and not 0.0 <= win_rate <= 1.0:
        raise UserError(f"min_win_rate must be within 0 and 1, got {win_rate}")


def _nothing_fits(
    front: list[Recommendation],
    max_seconds: float | None,
    max_memory_bytes: float | None,
    min_win_rate: float | None,
) -> str:
    """Name what was asked, and the nearest that exists."""
    if not front:
        return "nothing fits: this rulebook has no measured setting"
    asked, nearest = [], []
    if max_seconds is not None:
        asked.append(f"within {max_seconds:g} s")
        nearest.append(("fastest", "needs", [(x.latency_seconds, f"{{:.{3}g}} s") for x in front]))
    if max_memory_bytes is not None:
        asked.append(f"within {memory_text(max_memory_bytes)}")
        nearest.append(("smallest", "needs", [(x.peak_memory_bytes, "") for x in front]))
    told = [_told(name, verb, values) for name, verb, values in nearest]
    if min_win_rate is not None:
        asked.append(f"with a win rate of {min_win_rate:g}")
        told.append(f"the best that exists wins {max(item.win_rate for item in front):.2f}")
    return f"nothing fits {' and '.join(asked)}: {', '.join(told)}"


def _told(name: str, verb: str, values: list[tuple[float | None, str]]) -> str:
    """The least value that is known, in words."""
    known = [(value, form) for value, form in values if value is not None]
    if not known:
        return f"what the {name} that exists {verb} was not measured"
    value, form = min(known)
    return f"the {name} that exists {verb} {form.format(value) if form else memory_text(value)}"


def memory_text(size: float) -> str:
    """Bytes for people: GB (10^9 bytes) from 1 GB on, else MB."""
    return f"{size / GB:.3g} GB" if size >= GB else f"{size / 1e6:.3g} MB"


def _within(value: float | None, limit: float | None) -> bool:
    return limit is None or (value is not None and value <= limit)


def _costs(item: Recommendation) -> tuple[float, float]:
    """Seconds and memory, unknown ones last."""
    seconds, memory = item.seconds, item.peak_memory_bytes
    return (math.inf if seconds is None else seconds, math.inf if memory is None else memory)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _key(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)
