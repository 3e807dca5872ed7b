"""The recorded table as what a search is tried on, and how much of its front is found.

`ldmopt.recording` reads it; here are its cells as arrays: picture settings by ways of running.
Quality is the win rate against the default over the table's 16 prompts x 2 seeds, as the package's
regressor compares; seconds and bytes are put together from recorded parts, so that every search
sees the same exactly comparable device seconds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from record_costs import EXECUTION
from record_quality import GRID

from ldmopt.contracts import Setting
from ldmopt.recording import Recording
from ldmopt.scorers.taste.chances import preference, spread
from ldmopt.search.hypervolume import hypervolume, nondominated

Floats = NDArray[np.float64]

TABLE = Path(__file__).parent / "tables" / "miniature"
TIMED = 6
"""Calls that are timed where a setting's pictures exist already: what a study takes, too."""

DEFAULT = {"sampler": "pndm", "steps": 50, "guidance": 7.5, "size": "64x64", "backend": "torch",
           "precision": "fp32", "batch": 1, "attention": "sdpa", "vae_slicing": "off"}
QUICK = {"sampler": ("ddim", "dpmpp_2m", "pndm"), "steps": (3, 5, 8, 16, 50),
         "guidance": (1.0, 3.0, 7.5), "size": ("48x48", "64x64")}


@dataclass(frozen=True, eq=False)
class Table:
    """All that a search may find; cells are `(m, e)`, picture settings by ways of running.

    Attributes:
        recording: where it is from.
        pictures: `(m,)` picture settings.
        executions: `(e,)` ways of running; every combination of `levels`, of which some are the
            same setting, since a knob that does not act changes nothing.
        wins: `(m, prompts)` win rates against the default by prompt.
        quality: `(m, e)` win rates; the same along a row unless shuffled.
        seconds: `(m, e)` device seconds a picture.
        memory: `(m, e)` bytes.
        factors: whether quality depends on the picture setting alone.
        source: in words.
    """

    recording: Recording
    pictures: list[dict]
    executions: list[dict]
    wins: Floats
    quality: Floats
    seconds: Floats
    memory: Floats
    factors: bool
    source: str

    @cached_property
    def places(self) -> Floats:
        """All cells `(m, e, 3)` as maximised objectives between the reference and the best."""
        costs = []
        for values in (self.seconds, self.memory):
            low, top = math.log(values.min()), math.log(1.1 * values.max())
            costs.append((top - np.log(values)) / (top - low))
        return np.stack([self.quality, *costs], axis=2)

    @property
    def blocks(self) -> int:
        """Pictures that a setting is judged by."""
        return len(self.recording.blocks)

    @cached_property
    def price(self) -> Floats:
        """Device seconds `(m, e)` of making all blocks' pictures."""
        return self.blocks * self.seconds

    @cached_property
    def whole_seconds(self) -> float:
        """Device seconds of the whole grid: every distinct cell with all its blocks."""
        return float(self.price[:, self.distinct].sum())

    @cached_property
    def picture_seconds(self) -> float:
        """Device seconds of every picture setting's pictures, run as the default is.

        What a user would pay who shares pictures and knows costs; shares of it are the stricter.
        """
        default = {name: DEFAULT[name] for name in self.executions[0]}
        return float(self.price[:, self.executions.index(default)].sum())

    @cached_property
    def acting(self) -> list[Setting]:
        """What of each way of running acts, `(e,)`."""
        return [canonical(way) for way in self.executions]

    @cached_property
    def distinct(self) -> list[int]:
        """One place of each distinct way of running."""
        return sorted({way: place for place, way in
                       reversed(list(enumerate(self.acting)))}.values())


class Found:
    """How much of a table's hypervolume a search has found."""

    def __init__(self, table: Table) -> None:
        """Begin with nothing."""
        self._places = table.places
        every = self._places.reshape(-1, 3)
        self.whole = hypervolume(every[nondominated(every)], np.zeros(3))
        self._front = np.zeros((0, 3))
        self.share = 0.0

    def add(self, picture: int, ways: list[int]) -> float:
        """Take cells in; return the share that is found now."""
        new = self._places[picture, ways]
        both = np.concatenate([self._front, new])
        front = both[nondominated(both)]
        if len(front) != len(self._front) or not np.array_equal(front, self._front):
            self._front = front
            self.share = hypervolume(front, np.zeros(3)) / self.whole
        return self.share


def load(folder: Path = TABLE, quick: bool = False, shuffle: int | None = None) -> Table:
    """Return a table.

    Args:
        folder: the recording.
        quick: only a small part of its grid.
        shuffle: with this seed, quality dealt anew over all cells so that nothing factors.
    """
    recording = Recording.read(folder)
    pictures = [item for item in product(QUICK if quick else GRID)
                if Setting(item) in recording.row]
    ways = {name: values[:2] for name, values in EXECUTION.items()} if quick else EXECUTION
    executions = product(ways)
    wins = win_rates(recording)[[recording.row[Setting(item)] for item in pictures]]
    quality = np.repeat(wins.mean(axis=1)[:, None], len(executions), axis=1)
    source = (f"recorded table: {len(pictures)} picture x {len(set(map(canonical, executions)))} "
              f"execution settings, {len(recording.blocks)} pictures each")
    if shuffle is not None:
        quality = np.random.default_rng(shuffle).permuted(quality.ravel()).reshape(quality.shape)
        source += "; quality dealt anew over all cells"
    seconds, memory = cells(recording, pictures, executions)
    return Table(recording, pictures, executions, wins, quality, seconds, memory,
                 shuffle is None, source)


def product(values: dict[str, tuple]) -> list[dict]:
    """Return every combination of knobs' values."""
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def canonical(way: dict) -> Setting:
    """Return a way of running without the knobs that do not act in it, as it was recorded."""
    kept = dict(way)
    if way["backend"] == "onnx":
        # ONNX Runtime brings its own kernels, and the export here is in single precision.
        kept = {"backend": "onnx", "precision": "fp32", "batch": way["batch"]}
    elif way["batch"] == 1:
        kept.pop("vae_slicing")
    return Setting(kept)


def win_rates(recording: Recording) -> Floats:
    """Return `(settings, prompts)` win rates against the default, averaged over seeds."""
    base = recording.members[recording.row[recording.picture(DEFAULT)]]
    moved = np.moveaxis(recording.members.astype(np.float64) - base, 2, 0)
    chances = preference(moved.mean(axis=0), spread(moved.reshape(len(moved), -1)).reshape(
        moved.shape[1:]) + float(recording.facts["noise"]))
    prompts = list(dict.fromkeys(block.prompt for block in recording.blocks))
    return np.stack([chances[:, [block.prompt == prompt for block in recording.blocks]].mean(axis=1)
                     for prompt in prompts], axis=1)


def cells(recording: Recording, pictures: list[dict], executions: list[dict]) -> tuple[
    Floats, Floats
]:
    """Return `(m, e)` device seconds and bytes."""
    shape = (len(pictures), len(executions))
    seconds, memory = np.empty(shape), np.empty(shape)
    for column, way in enumerate(map(canonical, executions)):
        for row, picture in enumerate(pictures):
            cost = recording.cost({**picture, **way})
            if cost is None:
                raise SystemExit(f"the table has no costs of {way} at {picture}")
            seconds[row, column], memory[row, column] = cost.seconds, cost.peak_memory_bytes
    return seconds, memory
