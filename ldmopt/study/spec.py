"""What a study is asked to do: a TOML file, read and checked before any device second."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ldmopt import registry
from ldmopt.errors import UserError, did_you_mean

ENCODERS = ("auto", "statistics", "miniature", "standin")
ALIGNMENTS = ("auto", "none", "miniature")
REPLAY = "replay:"
"""Begins the device that is a recorded table: nothing is generated, scores are looked up."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Prompts(_Table):
    """Which prompts, and how many for searching and for confirming.

    Attributes:
        source: ``"scenes"``, a text file with one prompt a line, or a list.
        search: prompts that settings are compared on.
        confirm: further prompts, that only recommended settings are measured on.
    """

    source: str | list[str] = "scenes"
    search: int = Field(default=12, ge=1)
    confirm: int = Field(default=12, ge=1)


class Caps(_Table):
    """Limits that a recommended setting must meet.

    Attributes:
        seconds: latency.
        memory_gb: peak memory in 10^9 bytes.
        alignment: the least share of the default's mean alignment (the similarity of pictures
            with their captions) that is left.
    """

    seconds: float | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0)
    alignment: float | None = Field(default=None, gt=0, le=1.5)


class Budget(_Table):
    """When the search ends: by whichever of the three comes first.

    Attributes:
        device_seconds: that it may take, confirmation included.
        trials: settings measured, the default included.
        gain: share of the hypervolume found so far; it ends when the last proposals are each
            expected to add less (where the search tells), or added less together.
        patience: how many proposals in a row must promise less than `gain`.
    """

    device_seconds: float | None = Field(default=None, gt=0)
    trials: int | None = Field(default=None, ge=1)
    gain: float | None = Field(default=None, gt=0, lt=1)
    patience: int = Field(default=10, ge=1)


class ScorerSpec(_Table):
    """Which scorer judges.

    Attributes:
        encoder: what it sees of a picture: ``auto``, ``statistics``, ``miniature``, the folder or
            hub id of a CLIP; or ``standin``, which is no scorer but a program for tests.
        regressor: folder of a fitted regressor, of a run, or of a collection of rated pictures;
            the one in the package where None.
        laion: file of an aesthetic head of LAION's, on the CLIP that ``encoder`` names.
        alignment: CLIP that compares pictures with captions: ``auto`` (the miniature's own for
            the miniature, else none), ``none``, or a folder or hub id.
    """

    encoder: str = "auto"
    regressor: str | None = None
    laion: str | None = None
    alignment: str = "auto"

    @field_validator("encoder", "alignment")
    @classmethod
    def _some_clip(cls, name: str, info: ValidationInfo) -> str:
        """Refuse what is no folder and no hub id; whether it is there, the study's start tells."""
        known = ENCODERS if info.field_name == "encoder" else ALIGNMENTS
        if name in known or "/" in name:
            return name
        # A name without a slash is most likely a slip, and a study must read alike everywhere.
        raise ValueError(f"must be {', '.join(known)}, a hub id (org/name), or a folder "
                         f"(with a slash, such as ./name){did_you_mean(name, known)}")

    @model_validator(mode="after")
    def _one_judge(self) -> ScorerSpec:
        if self.regressor is not None and self.laion is not None:
            raise ValueError("regressor and laion are two judges; leave one of them out")
        for key in ("regressor", "laion"):
            if self.encoder == "standin" and getattr(self, key) is not None:
                raise ValueError(f"{key} needs another encoder than the stand-in")
        if self.laion is not None and self.encoder in ("auto", "statistics"):
            raise ValueError("laion judges embeddings of a CLIP; name it, for example "
                             'encoder = "openai/clip-vit-large-patch14"')
        return self


class ImportedSpec(_Table):
    """Somebody else's measurements instead of a model: nothing can be generated here.

    Attributes:
        source: name of the table or folder that they came from.
        knobs: declared knobs and what their values are: ``number`` or ``text``.
    """

    source: str
    knobs: dict[str, Literal["number", "text"]] = {}


class RulebookSpec(_Table):
    """The constants of the rulebook; see `ldmopt.distillation.constants.Constants`.

    Attributes:
        confidence: of all intervals, and of all verdicts together.
        margin: a win rate lower by less than this still counts as not worse.
        worth: the gain in win rate from which a change is worth it.
        noticeable: the change in seconds or memory, as a share, that counts as one.
        close: values are called equivalent only where a difference of this size is excluded.
    """

    confidence: float = Field(default=0.95, ge=0.5, le=0.99)
    margin: float = Field(default=0.05, gt=0, lt=0.5)
    worth: float = Field(default=0.02, ge=0, lt=0.5)
    noticeable: float = Field(default=0.05, gt=0, lt=0.5)
    close: float = Field(default=0.1, gt=0, lt=0.5)


class StudySpec(_Table):
    """One study, as its TOML says it.

    Attributes:
        search: name of a sampler in ``ldmopt/search/samplers/``.
        share: whether settings with equal pictures share them, and those that need the same memory
            its reading; without it every setting is made and measured by itself.
        race: whether a setting that loses to a cheaper one is dropped before all its prompts were
            made; None: where the search is ``factored`` and shares.
        warm_start: folders of earlier runs to begin with.
        imported: there only where a table made the run.
    """

    name: str
    model: str = "miniature"
    device: str = "auto"
    prompts: Prompts = Prompts()
    seeds: int = Field(default=2, ge=1)
    search: str = "factored"
    seed: int = Field(default=0, ge=0)
    share: bool = True
    race: bool | None = None
    warm_start: list[str] = []
    plugins: list[str] = []
    storage: str | None = None
    deadline_seconds: float = Field(default=600.0, gt=0)
    default: dict[str, Any] = {}
    space: dict[str, Any] = {}
    caps: Caps = Caps()
    budget: Budget = Budget(trials=30)
    scorer: ScorerSpec = ScorerSpec()
    imported: ImportedSpec | None = None
    rulebook: RulebookSpec = RulebookSpec()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError("may hold letters, digits, '.', '_' and '-' only")
        return name

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(rf"auto|cpu|cuda(:\d+)?|{REPLAY}.+", device):
            raise ValueError(f"must be auto, cpu, cuda, cuda:N, or {REPLAY} and the folder of a "
                             "recorded table")
        return device

    @property
    def table(self) -> str | None:
        """Folder of the recorded table that is searched in place of a device, or None."""
        return self.device.removeprefix(REPLAY) if self.device.startswith(REPLAY) else None

    @field_validator("search")
    @classmethod
    def _known_search(cls, search: str) -> str:
        known = registry.names("ldmopt.search.samplers")
        if search not in known:
            raise ValueError(f"is unknown{did_you_mean(search, known)}")
        return search

    @model_validator(mode="before")
    @classmethod
    def _short_prompts(cls, data: Any) -> Any:
        """Let ``prompts`` be the source alone."""
        if isinstance(data, dict) and isinstance(data.get("prompts"), str | list):
            return {**data, "prompts": {"source": data["prompts"]}}
        return data

    @model_validator(mode="after")
    def _some_budget(self) -> StudySpec:
        budget = self.budget
        if budget.device_seconds is None and budget.trials is None and budget.gain is None:
            raise ValueError("budget needs device_seconds, trials or gain; without one the search "
                             "would never end: write for example trials = 60")
        return self

    @model_validator(mode="after")
    def _fair_race(self) -> StudySpec:
        if self.race and not self.share:
            raise ValueError("race = true needs share = true: in a plain search every setting is "
                             "measured in full; leave race out")
        return self

    @property
    def races(self) -> bool:
        """Whether settings are raced."""
        return self.share and (self.search == "factored" if self.race is None else self.race)

    @model_validator(mode="after")
    def _some_alignment(self) -> StudySpec:
        if self.caps.alignment is not None and self.scorer.alignment == "none":
            raise ValueError("caps.alignment needs a scorer.alignment")
        return self


def read_spec(path: str | Path) -> StudySpec:
    """Read and check a study file.

    Raises:
        UserError: the file is missing, is no TOML, or holds what a study cannot be; or it is the
            frozen copy of an imported run, which cannot be run.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"study file {str(path)!r} cannot be read: {reason}; "
                        "give the path of a study's TOML") from error
    spec = parse_spec(text, str(path))
    if spec.imported is not None:
        raise UserError(f"{str(path)!r} is of a run that was imported from "
                        f"{spec.imported.source!r}: there is no model to make pictures with; give "
                        "a study of your own, or go on with ldmopt rulebook, label or fit")
    return spec


def parse_spec(text: str, where: str = "study") -> StudySpec:
    """Check a study's TOML text.

    Raises:
        UserError: one line for the first thing that is wrong.
    """
    try:
        return StudySpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise UserError(f"{where}: {_first_line(error)}") from error


def _first_line(error: ValidationError) -> str:
    """Word pydantic's first complaint: key, rule, value, way out."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "study"
    value = first.get("input")
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{did_you_mean(first['loc'][-1], _keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"key {key!r} is missing; write for example {key} = \"sd15-8gb\""
    rule = first["msg"].removeprefix("Value error, ")
    rule = rule[0].lower() + rule[1:]
    shown = "" if isinstance(value, dict) else f", got {value!r}"
    return f"{key}: {rule}{shown}"


def _keys(table: tuple[int | str, ...]) -> list[str]:
    model: Any = StudySpec
    for part in table:
        model = model.model_fields[str(part)].annotation if part in model.model_fields else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
    return list(model.model_fields)


def prompts_of(spec: StudySpec) -> tuple[list[str], list[str]]:
    """Return the prompts to search on and the prompts to confirm on; none is in both.

    Raises:
        UserError: the source is unknown, cannot be read, or holds too few prompts.
    """
    wanted = spec.prompts
    need = wanted.search + wanted.confirm
    if isinstance(wanted.source, list):
        found = wanted.source
    elif wanted.source == "scenes":
        from ldmopt.miniature.scenes import captions

        found = [caption for caption, _ in captions(need)]
    elif Path(wanted.source).is_file():
        lines = Path(wanted.source).read_text(encoding="utf-8").splitlines()
        found = [line.strip() for line in lines if line.strip()]
    else:
        raise UserError(f"prompts: {wanted.source!r} is neither 'scenes' nor a file; "
                        "give a text file with one prompt a line, or a list")
    distinct = list(dict.fromkeys(found))
    if len(distinct) < need:
        raise UserError(
            f"prompts: {len(distinct)} distinct prompts are fewer than search + confirm = {need}; "
            "give more, or lower prompts.search and prompts.confirm"
        )
    return distinct[: wanted.search], distinct[wanted.search : need]
