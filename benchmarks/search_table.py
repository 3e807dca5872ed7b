"""A table of quality and cost to search against, and how much of its front is found.

Quality of a picture setting is recorded (`record_quality.py`) or, without a recording, an invented
landscape of the same grid. Costs are always composed here: the fixed parts, the seconds of a call
and the peak of each execution are those of the committed cost table, read one knob at a time at
64x64; their product over knobs and the growth with size are assumptions. So a figure from this
table says how searches compare, not what a machine does.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ldmopt.search.hypervolume import hypervolume, nondominated

Floats = NDArray[np.float64]

PICTURE = {
    "sampler": ("ddim", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "pndm", "lms"),
    "steps": (2, 3, 4, 5, 6, 8, 11, 16, 27, 50),
    "guidance": (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 12.0),
    "size": ("48x48", "64x64", "96x64", "96x96"),
}
EXECUTION = {
    "backend": ("torch", "onnx"),
    "precision": ("fp32", "bf16"),
    "batch": (1, 2, 4),
    "attention": ("sdpa", "eager", "sliced-auto", "sliced-max"),
    "compile": ("off", "default"),
}
BLOCKS, TIMED = 32, 3
"""Pictures that a setting is judged by, and those that its cost alone takes."""

DEFAULT = {"sampler": "pndm", "steps": 50, "guidance": 7.5, "size": "64x64", "backend": "torch",
           "precision": "fp32", "batch": 1, "attention": "sdpa", "compile": "off"}
COSTS = Path(__file__).parent / "tables" / "miniature-amd-epyc-2-cores.csv"
QUICK = {"sampler": ("ddim", "dpmpp_2m", "pndm"), "steps": (3, 5, 8, 16, 50),
         "guidance": (1.0, 3.0, 7.5), "size": ("48x48", "64x64")}


@dataclass(frozen=True, eq=False)
class Table:
    """All that a search may find.

    Attributes:
        pictures: `(m,)` picture settings, executions `(e,)`.
        executions: see above.
        quality: `(m, e)` win rates; the same along a row unless shuffled.
        seconds: `(m, e)` device seconds a picture.
        memory: `(m, e)` bytes.
        factors: whether quality depends on the picture setting alone.
        source: in words, what is recorded and what is invented.
    """

    pictures: list[dict]
    executions: list[dict]
    quality: Floats
    seconds: Floats
    memory: Floats
    factors: bool
    source: str

    @property
    def places(self) -> Floats:
        """All cells `(m, e, 3)` as maximised objectives between the reference and the best."""
        costs = []
        for values in (self.seconds, self.memory):
            low, top = math.log(values.min()), math.log(1.1 * values.max())
            costs.append((top - np.log(values)) / (top - low))
        return np.stack([self.quality, *costs], axis=2)

    @property
    def price(self) -> Floats:
        """Device seconds `(m, e)` of making and measuring all blocks."""
        return BLOCKS * self.seconds

    @property
    def whole_seconds(self) -> float:
        """Device seconds of the whole grid, each picture made once by its fastest execution."""
        return float(self.price.min(axis=1).sum() + TIMED * self.seconds.sum())


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


def load(quality: Path | None, quick: bool, shuffle: int | None = None) -> Table:
    """Return a table.

    Args:
        quality: a journal of `record_quality.py`; None for the invented landscape.
        quick: only a small part of the grid.
        shuffle: with this seed, quality dealt anew over all cells so that nothing factors.
    """
    grid = QUICK if quick else PICTURE
    pictures = product(grid)
    ways = {name: values[:2] for name, values in EXECUTION.items()} if quick else EXECUTION
    executions = product(ways)
    if quality is None:
        win = invented(pictures)
        source = "quality invented"
    else:
        known = recorded(quality)
        pictures = [item for item in pictures if tuple(item.values()) in known]
        win = np.array([known[tuple(item.values())] for item in pictures])
        source = f"quality recorded for {len(pictures)} of {math.prod(map(len, grid.values()))}"
    seconds, memory = composed(pictures, executions)
    table = np.repeat(win[:, None], len(executions), axis=1)
    if shuffle is not None:
        table = np.random.default_rng(shuffle).permuted(
            np.repeat(win[:, None], len(executions), axis=1).ravel()).reshape(table.shape)
        source += ", dealt anew over all cells"
    source += ("; costs composed of readings at 64x64, one knob at a time; "
               f"{len(pictures)} picture x {len(executions)} execution settings")
    return Table(pictures, executions, table, seconds, memory, shuffle is None, source)


def product(values: dict[str, tuple]) -> list[dict]:
    """Return every combination of knobs' values."""
    return [dict(zip(values, row, strict=True)) for row in itertools.product(*values.values())]


def recorded(path: Path) -> dict[tuple, float]:
    """Return picture setting -> win rate against the default, as the regressor compares."""
    from ldmopt.scorers.regressor import default

    lines = [json.loads(text) for text in path.read_text().splitlines() if text.endswith("}")]
    found = {tuple(line["setting"][name] for name in PICTURE): np.array(line["scores"])[:, :4]
             for line in lines if "scores" in line}
    base, noise = found[tuple(DEFAULT[name] for name in PICTURE)], default().noise

    def win_rate(scores: Floats) -> float:
        # As the regressor compares: a logistic, flattened by the members' variance and the noise.
        difference = scores - base
        variance = difference.var(axis=1, ddof=1) + noise
        flat = difference.mean(axis=1) / np.sqrt(1.0 + np.pi * variance / 8.0)
        return float(np.mean(0.5 + 0.5 * np.tanh(0.5 * flat)))

    return {key: win_rate(scores) for key, scores in found.items()}


def invented(pictures: list[dict], seed: int = 0) -> Floats:
    """Return win rates of an invented landscape with the shape that samplers are known for."""
    rng = np.random.default_rng(seed)
    need = {"ddim": 9, "euler": 8, "euler_a": 10, "heun": 4, "dpmpp_2m": 4, "unipc": 3.5,
            "pndm": 8, "lms": 9}
    best = {"ddim": 0.2, "euler": 0.15, "euler_a": 0.35, "heun": 0.3, "dpmpp_2m": 0.3,
            "unipc": 0.25, "pndm": 0.1, "lms": 0.0}
    logits = []
    for item in pictures:
        name, steps, guidance = item["sampler"], item["steps"], item["guidance"]
        width, height = map(int, item["size"].split("x"))
        logit = 0.3 + best[name] - 2.5 * (need[name] / steps) ** 1.5
        logit -= 0.9 * (math.log(guidance / 4.0)) ** 2 if guidance > 1.0 else 1.3
        logit -= 1.1 * abs(math.log(width * height / 4096.0))
        logit -= 2.0 * (name == "lms" and steps < 8) + 0.1 * max(0.0, guidance - 5.0) * (8 > steps)
        logits.append(logit + rng.normal(0.0, 0.12))
    return 1.0 / (1.0 + np.exp(-np.array(logits)))


def composed(pictures: list[dict], executions: list[dict]) -> tuple[Floats, Floats]:
    """Return device seconds and bytes of every cell, from the cost table's readings."""
    rows = {}
    with COSTS.open(newline="") as file:
        for row in csv.DictReader(file):
            guided = json.loads(row["setting"])["guidance"] > 1.0
            rows[row["changed"], guided] = row
    base = {guided: rows["", guided] for guided in (True, False)}

    def call(row: dict, guided: bool) -> float:
        return float(row["guided_seconds" if guided else "unguided_seconds"])

    def factor(way: dict, guided: bool, read) -> float:
        total = 1.0
        for name, value in way.items():
            row = rows.get((f"{name}={value}", guided))
            total *= read(row) / read(base[guided]) if row else 1.0
        return total

    per: dict[bool, Floats] = {}
    fixed: dict[bool, Floats] = {}
    peak: dict[bool, Floats] = {}
    for guided in (True, False):
        per[guided] = np.array([
            call(base[guided], guided) * factor(way, guided, lambda row, g=guided: call(row, g))
            for way in executions])
        fixed[guided] = np.array([
            sum(float(base[guided][part]) for part in ("encode", "decode", "other"))
            * factor(way, guided, lambda row: float(row["decode"])) for way in executions])
        peak[guided] = np.array([
            float(base[guided]["peak_memory_bytes"])
            * factor(way, guided, lambda row: float(row["peak_memory_bytes"]))
            for way in executions])
    seconds, memory = [], []
    for item in pictures:
        guided = item["guidance"] > 1.0
        width, height = map(int, item["size"].split("x"))
        area = width * height / 4096.0
        steps = item["steps"]
        calls = {"heun": 2 * steps - 1, "pndm": steps + 1}.get(item["sampler"], steps)
        step = 0.0024 if item["sampler"] == "lms" else 0.0002
        seconds.append(fixed[guided] * (0.4 + 0.6 * area) + calls * per[guided]
                       * (0.25 + 0.75 * area) + steps * step)
        memory.append(peak[guided] * (0.7 + 0.3 * area))
    return np.array(seconds), np.array(memory)
