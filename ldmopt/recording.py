"""A recorded table: what every setting of a grid scored and costs, to search without a device.

The idea is NAS-Bench's (Ying et al. 2019, "NAS-Bench-101"), for inference settings. A table is a
folder that `benchmarks/record_quality.py` and `benchmarks/record_costs.py` fill:

- ``quality.safetensors``: ``scores`` `(settings, blocks, columns)`, with the settings, the blocks
  and the columns' names as its metadata;
- ``costs.csv``: for each way of running, size, and guided or not, the seconds of each part by
  itself and the peak bytes; a row for each further sampler gives what its own step takes.

The seconds of a cell are put together from recorded parts: ``fixed + decode + calls x call + steps
x step`` (a call and a step were timed by themselves).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Block, Calls, Cost, Setting, Value
from ldmopt.errors import UserError

QUALITY, COSTS = "quality.safetensors", "costs.csv"
PICTURE = ("sampler", "steps", "guidance", "size")
"""Knobs of the recorded grid that change the picture; whatever else a setting has is an execution
knob of the recording, or is not looked at."""

WHOLE = ("batch",)
MEMBERS = "member_"
"""Columns that begin so are what each member of the regressor gives a picture, in logits."""


@dataclass(frozen=True)
class Parts:
    """What one way of running takes at one size, guided or not; seconds are a picture's.

    Attributes:
        fixed: seconds of reading the prompt and of what else does not grow with the steps.
        decode: seconds of turning the latent into pixels.
        call: seconds of one call of the network.
        step: seconds of the sampler's own arithmetic in one step.
        peak_memory_bytes: of a fresh process above what it held before loading.
    """

    fixed: float
    decode: float
    call: float
    step: float
    peak_memory_bytes: int


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded table.

    Attributes:
        settings: picture settings, in the order of `scores`.
        blocks: prompts with seeds that each was recorded on.
        columns: what a picture's scores are.
        scores: `(settings, blocks, columns)`.
        parts: costs by (way of running, size, guided or not).
        step_more: (sampler, size) -> seconds that its step takes beyond that of the others' rows.
        calls: sampler -> network calls at `calls_at` steps.
        calls_at: see there.
        facts: what was recorded with what: scorer, model, environment, commands.
    """

    settings: tuple[Setting, ...]
    blocks: tuple[Block, ...]
    columns: tuple[str, ...]
    scores: NDArray[np.float32]
    parts: Mapping[tuple[Setting, str, bool], Parts]
    step_more: Mapping[tuple[str, str], float]
    calls: Mapping[str, int]
    calls_at: int
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path, quality: str = QUALITY) -> Recording:
        """Read a table's two files.

        Args:
            folder: holds them.
            quality: name of the one with the scores, where a table has several sets of blocks.

        Raises:
            UserError: one is missing or is none.
        """
        folder = Path(folder)
        facts, scores = _quality(folder / quality)
        parts, step_more, calls, calls_at = _costs(folder / COSTS)
        return cls(
            tuple(Setting(item) for item in json.loads(facts.pop("settings"))),
            tuple(Block(prompt, seed) for prompt, seed in json.loads(facts.pop("blocks"))),
            tuple(json.loads(facts.pop("columns"))), scores, parts, step_more, calls, calls_at,
            {name: _json_or_text(text) for name, text in facts.items()},
        )

    @cached_property
    def row(self) -> Mapping[Setting, int]:
        """Picture setting -> its place in `scores`."""
        return {setting: row for row, setting in enumerate(self.settings)}

    @cached_property
    def members(self) -> NDArray[np.float32]:
        """What the regressor's members give, `(settings, blocks, members)` in logits."""
        chosen = [place for place, name in enumerate(self.columns) if name.startswith(MEMBERS)]
        return self.scores[:, :, chosen]

    @cached_property
    def execution_knobs(self) -> frozenset[str]:
        """Names of the recorded knobs that only change the cost, batch included."""
        return frozenset(name for way, _, _ in self.parts for name in way)

    @cached_property
    def sizes(self) -> tuple[str, ...]:
        """Sizes whose costs are recorded."""
        return tuple(dict.fromkeys(size for _, size, _ in self.parts))

    def picture(self, setting: Mapping[str, Value]) -> Setting:
        """Return what of a setting decides its picture."""
        return Setting({name: setting[name] for name in PICTURE if name in setting})

    def way(self, setting: Mapping[str, Value]) -> Setting:
        """Return what of a setting decides how it is run."""
        return Setting({name: value for name, value in setting.items()
                        if name in self.execution_knobs})

    def network_calls(self, sampler: str, steps: int) -> int:
        """Return how often the network is called: once or twice a step, and once more for some."""
        known = self.calls.get(sampler, self.calls_at)
        each = 2 if known > 1.5 * self.calls_at else 1
        return max(1, each * steps + known - each * self.calls_at)

    def part(self, setting: Mapping[str, Value]) -> Parts | None:
        """Return what a setting's way of running takes at its size; None if not recorded."""
        guided = float(setting["guidance"]) > 1.0
        return self.parts.get((self.way(setting), str(setting["size"]), guided))

    def cost(self, setting: Mapping[str, Value]) -> Cost | None:
        """Put a setting's cost together; None where its parts are not recorded."""
        found = self.part(setting)
        if found is None:
            return None
        sampler, size = str(setting["sampler"]), str(setting["size"])
        steps, batch = int(setting["steps"]), int(setting.get("batch", 1))
        calls = self.network_calls(sampler, steps)
        # A call's arithmetic is done once for all of its pictures.
        step = max(0.0, found.step + self.step_more.get((sampler, size), 0.0) / batch)
        denoise = calls * found.call + steps * step
        seconds = found.fixed + found.decode + denoise
        kind = "guided" if float(setting["guidance"]) > 1.0 else "unguided"
        return Cost(
            seconds=seconds, latency_seconds=seconds * batch,
            seconds_by_phase={"encode": 0.0, "denoise": denoise, "decode": found.decode,
                              "other": found.fixed},
            calls_by_kind={kind: Calls(calls, calls * found.call),
                           "step": Calls(steps, steps * step)},
            peak_memory_bytes=found.peak_memory_bytes, memory_kind="rss", baseline_bytes=0,
            batch=batch,
        )


def _quality(path: Path) -> tuple[dict[str, str], NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata()), file.get_tensor("scores").astype(np.float32)
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(f"recorded table: {str(path)!r} cannot be read ({error}); make it with "
                        "benchmarks/record_quality.py, or give another folder") from error


def _costs(path: Path) -> tuple[
    dict[tuple[Setting, str, bool], Parts], dict[tuple[str, str], float], dict[str, int], int
]:
    """Read rows of costs; those at the most steps are the samplers', all others ways of running."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if not row["failed"]]
        most = max(int(row["steps"]) for row in rows)
        samplers = [row for row in rows if int(row["steps"]) == most]
        ways = [row for row in rows if int(row["steps"]) != most]
        knobs = list(rows[0])[: list(rows[0]).index("size")]
        parts = {(_way(row, knobs), row["size"], float(row["guidance"]) > 1.0): _parts(row)
                 for row in ways}
        usual = {row["size"]: float(row["step"]) for row in samplers
                 if row["sampler"] == ways[0]["sampler"]}
        more = {(row["sampler"], row["size"]): float(row["step"]) - usual[row["size"]]
                for row in samplers}
        return parts, more, {row["sampler"]: int(row["calls"]) for row in samplers}, most
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise UserError(f"recorded table: {str(path)!r} cannot be read ({error!r}); make it with "
                        "benchmarks/record_costs.py, or give another folder") from error


def _way(row: Mapping[str, str], knobs: Iterable[str]) -> Setting:
    """Return a row's execution knobs; one that does not act there is empty."""
    return Setting({name: int(row[name]) if name in WHOLE else row[name]
                    for name in knobs if row[name]})


def _parts(row: Mapping[str, str]) -> Parts:
    call = row["guided"] or row["unguided"]
    return Parts(float(row["fixed"]), float(row["decode"]), float(call), float(row["step"]),
                 int(row["peak_memory_bytes"]))


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
