"""The records and protocols that every part of ldmopt speaks: the map of the package.

A *setting* names a value for each knob. Knobs write a *plan*; a *host* turns the plan into
*pictures* under a meter, which gives each picture's *cost*; a *scorer* judges pictures, pairwise,
into *preferences*; a study collects *trials*; distillation turns trials into a rulebook.

Units are in the names: seconds are device seconds, bytes are bytes. Unknown is ``None``.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ldmopt.model import Model

Value: TypeAlias = bool | int | float | str
Pixels: TypeAlias = NDArray[np.uint8]
FailureKind: TypeAlias = Literal[
    "crash", "deadline", "out-of-memory", "nan", "black", "refused", "error"
]


class Setting(Mapping[str, Value]):
    """A frozen, hashable, JSON-ready choice of one value for each of some knobs."""

    __slots__ = ("_items", "_json")

    def __init__(self, values: Mapping[str, Value] | None = None, **more: Value) -> None:
        """Take knob names with their values, as a mapping, as keywords, or both."""
        self._items: dict[str, Value] = dict(sorted({**(values or {}), **more}.items()))
        self._json: str | None = None

    def __getitem__(self, name: str) -> Value:
        """Return the value of one knob."""
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        """Go through the knob names in alphabetical order."""
        return iter(self._items)

    def __len__(self) -> int:
        """Return the number of knobs that are set."""
        return len(self._items)

    def __hash__(self) -> int:
        """Equal settings hash alike, whatever order they were written in."""
        return hash(self.json())

    def __eq__(self, other: object) -> bool:
        """Compare by canonical JSON, so that 7 and 7.0 differ only where JSON tells them apart."""
        if not isinstance(other, Setting):
            return isinstance(other, Mapping) and self == Setting(other)
        return self.json() == other.json()

    def __repr__(self) -> str:
        """Show the setting as ``knob=value`` pairs."""
        return f"Setting({self})"

    def __str__(self) -> str:
        """Show the setting as ``knob=value`` pairs."""
        return ", ".join(f"{name}={value}" for name, value in self._items.items())

    def changes(self, default: Setting) -> str:
        """Return in words how it differs from a default; its own knobs alone count."""
        return " ".join(f"{name}={value}" for name, value in self.items()
                        if default.get(name) != value) or "the default"

    def json(self) -> str:
        """Return the canonical JSON text: sorted keys, no spaces."""
        if self._json is None:
            self._json = json.dumps(self._items, sort_keys=True, separators=(",", ":"))
        return self._json

    def only(self, names: Sequence[str] | frozenset[str] | set[str]) -> Setting:
        """Return the part of the setting that concerns these knobs."""
        return Setting({name: value for name, value in self._items.items() if name in names})

    def replace(self, values: Mapping[str, Value]) -> Setting:
        """Return a copy with some knobs set anew."""
        return Setting({**self._items, **values})


@dataclass(frozen=True)
class Block:
    """One prompt with one seed: what settings are compared within."""

    prompt: str
    seed: int


class Picture:
    """A generated picture; it cannot be changed.

    One made by `stored` lies somewhere under its digest and is read each time its pixels or file
    are asked for, so that a thousand of them fit into memory; whoever needs the pixels more than
    once holds on to them.

    Attributes:
        pixels: height x width x 3, uint8, RGB; read-only.
        block: the prompt and seed that it was made for.
        png: the encoded file with its parameters text; empty where nothing was encoded.
        size: width and height in pixels.
        digest: sha256 of width and height (4 bytes each, little-endian) and the RGB bytes, in hex.
    """

    __slots__ = ("_block", "_digest", "_png", "_source")

    def __init__(self, pixels: Pixels, block: Block, png: bytes = b"") -> None:
        """Take a picture's pixels, what it was made for, and its file where there is one."""
        view = pixels.view()
        view.flags.writeable = False
        self._source: Pixels | Callable[[], Picture] = view
        self._block = block
        self._png = png
        self._digest: str | None = None

    @classmethod
    def from_png(cls, png: bytes, block: Block) -> Picture:
        """Decode a PNG file's bytes."""
        from PIL import Image

        with Image.open(io.BytesIO(png)) as image:
            return cls(np.asarray(image.convert("RGB")), block, png)

    @classmethod
    def stored(cls, digest: str, block: Block, load: Callable[[], Picture]) -> Picture:
        """Return a picture whose digest is known and which is read when it is needed.

        Args:
            digest: as `digest` of what `load` returns; `load` must make sure of that.
            block: the prompt and seed that it was made for.
            load: reads it; what it raises reaches whoever asks for the pixels.
        """
        picture = cls.__new__(cls)
        picture._source, picture._block = load, block
        picture._png, picture._digest = b"", digest
        return picture

    def __repr__(self) -> str:
        """Show digest and block, never the pixels."""
        return f"Picture({self.digest[:12]}, {self._block})"

    @property
    def block(self) -> Block:
        """The prompt and seed that it was made for."""
        return self._block

    @property
    def pixels(self) -> Pixels:
        """Height x width x 3, uint8, RGB; read-only."""
        return self._source().pixels if callable(self._source) else self._source

    @property
    def png(self) -> bytes:
        """The encoded file; empty where nothing was encoded."""
        return self._source().png if callable(self._source) else self._png

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.pixels.shape[:2]
        return int(width), int(height)

    @property
    def digest(self) -> str:
        """sha256 of width and height (4 bytes each, little-endian) and the RGB bytes, in hex."""
        if self._digest is None:
            width, height = self.size
            head = width.to_bytes(4, "little") + height.to_bytes(4, "little")
            whole = hashlib.sha256(head + np.ascontiguousarray(self.pixels).tobytes())
            self._digest = whole.hexdigest()
        return self._digest


@dataclass(frozen=True)
class Calls:
    """How often one kind of call was made for a picture, and the device seconds of all of them."""

    count: int
    seconds: float


@dataclass(frozen=True)
class Cost:
    """What a picture cost, or a setting: then seconds are medians over its calls.

    Every host fills the same fields; what its device cannot tell is None.

    Attributes:
        seconds: device seconds per picture: those of a pipeline call divided by its pictures.
        latency_seconds: until the pictures of the call arrive (equal to seconds at batch 1).
        seconds_by_phase: ``encode``, ``denoise``, ``decode``, ``other``; they sum to ``seconds``.
        calls_by_kind: network evaluations (``guided``, ``unguided``, or ``cached`` where deep
            layers were reused) and scheduler steps (``step``) that the picture went through:
            count, and seconds per picture.
        peak_memory_bytes: the peak above the baseline, or None where it was not read.
        memory_kind: ``rss`` (resident bytes of the process), ``nvml``, or ``allocated``.
        baseline_bytes: what the process held just before the model was loaded.
        allocated_bytes: the peak of torch's allocator on CUDA.
        reserved_bytes: the peak that torch's allocator held on CUDA.
        joules: energy per picture of the whole device, where it tells.
        batch: pictures in the pipeline call.
        warmup_seconds: wall seconds of the call made before, which compiles, tunes and pages in;
            in no other figure. None where none was needed.
        foreign_processes: other processes seen on the GPU, whose work is in these figures too;
            None where it cannot be told.
        repeats: calls that the seconds are a median of; 0 where an imported table has none: then
            ``seconds`` is no figure (0 here, null in files).
        seconds_low: lower end of the median's 95 % interval; None for a single call.
        seconds_high: upper end of it.
    """

    seconds: float
    latency_seconds: float
    seconds_by_phase: Mapping[str, float] = field(default_factory=dict)
    calls_by_kind: Mapping[str, Calls] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    memory_kind: str = "rss"
    baseline_bytes: int | None = None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    joules: float | None = None
    batch: int = 1
    warmup_seconds: float | None = None
    foreign_processes: int | None = None
    repeats: int = 1
    seconds_low: float | None = None
    seconds_high: float | None = None

    @property
    def network_evaluations(self) -> int:
        """Calls of the denoising network (NFE), whatever the step count says."""
        return sum(self.calls_by_kind[kind].count for kind in self.calls_by_kind if kind != "step")

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        unknown = {} if self.timed else {"seconds": None, "latency_seconds": None}
        return {**asdict(self), **unknown}

    @property
    def timed(self) -> bool:
        """Whether any call was timed."""
        return self.repeats > 0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cost:
        """Read what `to_dict` wrote; unknown keys of later versions are left out."""
        known = {item.name for item in fields(cls)}
        values = {key: value for key, value in data.items() if key in known}
        if values.get("repeats") == 0:
            values |= {"seconds": 0.0, "latency_seconds": 0.0}
        calls = values.get("calls_by_kind") or {}
        values["calls_by_kind"] = {kind: Calls(**call) for kind, call in calls.items()}
        return cls(**values)


@dataclass(frozen=True)
class Score:
    """A scorer's opinion of one picture.

    Attributes:
        value: higher is better; comparable only between pictures of one prompt.
        deviation: standard deviation of the scorer's own uncertainty, in the same unit.
    """

    value: float
    deviation: float


@dataclass(frozen=True)
class Preference:
    """The probability that the left picture is preferred to the right one, ties half."""

    probability: float


@dataclass(frozen=True)
class BlockWin:
    """The probability that a setting's picture is preferred to the default's, in one block.

    Attributes:
        prompt: of the block.
        seed: of the block.
        win: the probability, ties half.
        tie: that two different pictures were called equal. A win of exactly 0.5 that is no tie is
            that of one picture against itself, which is certain.
    """

    prompt: str
    seed: int
    win: float
    tie: bool = False


@dataclass(frozen=True)
class Quality:
    """A setting's win rate against the default, with its 95 % interval over prompts."""

    win_rate: float
    low: float
    high: float
    blocks: tuple[BlockWin, ...] = ()

    @property
    def certain(self) -> bool:
        """Whether the pictures are the default's own in every block."""
        return bool(self.blocks) and all(row.win == 0.5 and not row.tie for row in self.blocks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; blocks become ``[prompt, seed, win]``, ties end with ``true``."""
        rows = [[row.prompt, row.seed, row.win, *([True] if row.tie else [])]
                for row in self.blocks]
        return {"win_rate": self.win_rate, "low": self.low, "high": self.high, "blocks": rows}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Quality:
        """Read what `to_dict` wrote."""
        blocks = tuple(BlockWin(*row) for row in data.get("blocks", ()))
        return cls(data["win_rate"], data["low"], data["high"], blocks)


@dataclass(frozen=True)
class Aligned:
    """How well a setting's pictures fit their captions, beside the default's of the same blocks.

    Attributes:
        mean: mean similarity, over the seeds of a prompt, then over prompts.
        default: the default's.
        ratio: ``mean`` as a share of ``default``; None where that is not above zero.
        low: lower end of the ratio's 95 % interval over prompts; None where there is none.
        high: upper end of it.
        blocks: prompt, seed, similarity, the default's similarity.
    """

    mean: float
    default: float
    ratio: float | None
    low: float | None
    high: float | None
    blocks: tuple[tuple[str, int, float, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {**asdict(self), "blocks": [list(block) for block in self.blocks]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Aligned:
        """Read what `to_dict` wrote."""
        return cls(**{**data, "blocks": tuple(tuple(block) for block in data["blocks"])})


@dataclass(frozen=True)
class Answer:
    """What one rater said of a setting's picture against the default's, of one prompt.

    Attributes:
        prompt: the prompt.
        seed: the seed of both pictures; None where ratings of different seeds were compared.
        rater: who.
        simulated: a program answered, not a person.
        win: 1 where the setting's was preferred, 0 where the default's was, 1/2 for ties.
    """

    prompt: str
    seed: int | None
    rater: str
    simulated: bool
    win: float


@dataclass(frozen=True)
class Trial:
    """One setting whose cost was measured here and whose quality rests on its pictures.

    Attributes:
        number: the trial's number in its Optuna study.
        setting: canonical (inactive knobs left out).
        cost: medians over its pictures; None for a failed setting.
        quality: win rate against the default on the search blocks; None for a failed setting.
        pictures: digests, in the order of the blocks.
        failure: ``{"kind": ..., "reason": ...}`` or None.
        feasible: whether it met every cap of the study.
        aligned: how well its pictures fit their captions, where the study has a scorer for that.
        cross_fitted: the scorer's wins in the search blocks, each by a scorer that learned from
            no label of that block's prompt; empty where there are none.
        raced_out: it was dropped before it had seen all blocks, because of what it showed in
            them; so its win rate is no estimate of what it would win on all.
    """

    number: int
    setting: Setting
    cost: Cost | None
    quality: Quality | None
    pictures: tuple[str, ...] = ()
    failure: Mapping[str, str] | None = None
    feasible: bool = True
    aligned: Aligned | None = None
    cross_fitted: tuple[BlockWin, ...] = ()
    raced_out: bool = False

    @property
    def measured(self) -> bool:
        """Whether its pictures were made and judged in all blocks."""
        return bool(self.cost and self.quality) and not self.failure and not self.raced_out

    @property
    def shown(self) -> dict[Block, str]:
        """The digest of each block's picture; empty where there are no files."""
        return _shown(self.quality, self.pictures)


@dataclass(frozen=True)
class Confirmation:
    """A setting generated and measured again on prompts and seeds that the search never saw.

    Attributes:
        setting: canonical.
        cost: medians over its calls.
        seconds_low: lower end of the median's interval.
        seconds_high: upper end of it.
        quality: win rate against the default on the held-out blocks.
        pictures: digests, in the order of the blocks.
        aligned: how well its pictures fit their captions.
        cross_fitted: wins in the held-out blocks, as the cross-fitted scorers see them on average.
    """

    setting: Setting
    cost: Cost
    seconds_low: float
    seconds_high: float
    quality: Quality
    pictures: tuple[str, ...]
    aligned: Aligned | None = None
    cross_fitted: tuple[BlockWin, ...] = ()

    @property
    def shown(self) -> dict[Block, str]:
        """The digest of each block's picture; empty where there are no files."""
        return _shown(self.quality, self.pictures)


def _shown(quality: Quality | None, pictures: Sequence[str]) -> dict[Block, str]:
    rows = quality.blocks if quality is not None else ()
    return dict(zip((Block(row.prompt, row.seed) for row in rows), pictures, strict=False))


@dataclass(frozen=True)
class CostChange:
    """What one value of a knob does to costs, as a cost model has it of all that was timed.

    Each of the two is the mean over the settings tried of the logarithm of value / base, and its
    standard deviation.

    Attributes:
        knob: which is changed, and nothing else.
        base: its value before: the default's, where the default has one.
        value: its value after.
        seconds: of device seconds a picture.
        memory: of peak bytes; None where no memory was read.
    """

    knob: str
    base: Value
    value: Value
    seconds: tuple[float, float]
    memory: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostChange:
        """Read what `to_dict` wrote."""
        seconds, memory = data["seconds"], data["memory"]
        return cls(data["knob"], data["base"], data["value"], (seconds[0], seconds[1]),
                   None if memory is None else (memory[0], memory[1]))


@dataclass(frozen=True)
class Evidence:
    """All that distillation needs of a run: records only, no host, no scorer, no storage.

    Attributes:
        study: the study's name.
        generation: number of the scorer's generation.
        default: the setting that everything is compared with.
        trials: every finished trial, the default's first, then those that were raced out.
        confirmations: by setting, the default's included.
        picture_knobs: names of the knobs that change the picture in this study.
        scope: the ``scope`` block of rulebook.json.
        answers: what raters said of settings' pictures against the default's, by setting.
        least_alignment: the share of the default's alignment that a setting must keep, or None.
        imported: somebody else's table: settings were chosen and judged on the same prompts, since
            there are no others, and what they cost was not measured here.
        cost_changes: what the cost model says of each knob's values; nothing where there is none.
    """

    study: str
    generation: int
    default: Setting
    trials: tuple[Trial, ...]
    confirmations: Mapping[Setting, Confirmation]
    picture_knobs: frozenset[str]
    scope: Mapping[str, Any]
    answers: Mapping[Setting, tuple[Answer, ...]] = field(default_factory=dict)
    least_alignment: float | None = None
    imported: bool = False
    cost_changes: tuple[CostChange, ...] = ()


@dataclass
class Plan:
    """What a setting asks of a pipeline; knobs write it, inside the child process.

    Attributes:
        load: what decides which pipeline is loaded (``backend``, ``dtype`` ...).
        edits: context managers that change the loaded pipeline and restore it exactly on exit.
        call: keyword arguments of the pipeline's call.
        batch: pictures in one call, each with a prompt and a seed of its own.
    """

    load: dict[str, Any] = field(default_factory=dict)
    edits: list[Callable[[Any], AbstractContextManager[None]]] = field(default_factory=list)
    call: dict[str, Any] = field(default_factory=dict)
    batch: int = 1


class Host(Protocol):
    """Turns settings into pictures, under a meter."""

    def generate(
        self, setting: Setting, blocks: Sequence[Block]
    ) -> Iterator[tuple[Picture, Cost]]:
        """Yield each block's picture as it arrives, in order, as many a call as the setting says.

        Blocks are taken from the first on, so a call begins at every batch-th picture. A call
        that lacks blocks is filled up with some of its own, made again and left out: its cost is
        that of a full one.

        Raises:
            GenerationError: the setting gave no usable picture; the host can be used again.
        """
        ...

    def memory(self, setting: Setting) -> Cost:
        """Read peak memory in a fresh process; all memory fields of the answer are set."""
        ...

    def close(self) -> None:
        """End whatever runs; calling it twice is fine."""
        ...


class Engine(Protocol):
    """A module in ``ldmopt/hosts/``: what one runtime gives the child process.

    `PRELOAD` names the modules that the fork server imports beforehand; `LACKS` names parts of a
    diffusers pipeline that this runtime's pipelines do not have.
    """

    PRELOAD: tuple[str, ...]
    LACKS: frozenset[str]

    def prepare(self, model: Model, plan: Mapping[str, Any]) -> None:
        """Do once, and keep on disk, what loading needs: booked to no picture and no budget."""
        ...

    def load(self, model: Model, plan: Mapping[str, Any], device: str) -> Any:
        """Return a pipeline for the LOAD part of a plan, called as diffusers' own are."""
        ...

    def warm_libraries(self, device: str) -> None:
        """Page the libraries in with a tiny computation, before the memory baseline is held."""
        ...


class Meter(Protocol):
    """Times calls and reads memory on one kind of device."""

    def start(self) -> None:
        """Begin a call of the pipeline."""
        ...

    def timed(self, kind: str) -> AbstractContextManager[None]:
        """Book what runs inside under a kind of call; may be nested in nothing but `start`."""
        ...

    def finish(self, batch: int = 1) -> Cost:
        """End the call and return the cost per picture; memory fields stay None."""
        ...

    def hold_baseline(self) -> None:
        """Remember the memory held now, just before the model is loaded."""
        ...

    def reset_peak(self) -> None:
        """Forget the memory peak so far."""
        ...

    def peak(self) -> Mapping[str, Any]:
        """Return the memory fields of a `Cost` since the last reset."""
        ...


class Scorer(Protocol):
    """Judges pictures; values mean something only between pictures of one prompt."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and digest of what judged, for `scorer` attributes and the rulebook."""
        ...

    def score(self, pictures: Sequence[Picture]) -> list[Score | None]:
        """Return one score a picture; None where the picture cannot be judged."""
        ...

    def compare(self, left: Sequence[Picture], right: Sequence[Picture]) -> list[Preference]:
        """Return, pair by pair, the calibrated probability that left is preferred."""
        ...
