"""The bench: makes and measures what a study asks for, once, and remembers it in the journal.

A picture depends on the picture knobs alone, so one made under any execution serves all; a cost
belongs to the whole setting; peak memory belongs to (how it runs, size, guided or not).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ldmopt.contracts import Block, Cost, Host, Picture, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Space
from ldmopt.study.folder import RunFolder
from ldmopt.study.timing import calls_wanted, median_cost

MEMORY_FIELDS = (
    "peak_memory_bytes", "memory_kind", "baseline_bytes", "allocated_bytes", "reserved_bytes",
)


class BusyHost(Host, Protocol):
    """A host that counts the seconds its device was kept busy."""

    busy_seconds: float


@dataclass(frozen=True)
class _Made:
    """A picture that a setting made itself.

    Pictures of one call share one timing, so it counts at the first of them (``place`` 0) alone.
    """

    digest: str
    cost: Cost
    place: int


class Bench:
    """Generates what is missing; answers the rest from the journal.

    Attributes:
        spent_seconds: device seconds so far, those of earlier sessions included.
        failures: settings that failed, with the kind of their last failure.
        lines: of the journal.
    """

    def __init__(
        self,
        host: BusyHost,
        folder: RunFolder,
        space: Space,
        on_picture: Callable[[], None] = lambda: None,
        share: bool = True,
        upto: int | None = None,
    ) -> None:
        """Read the journal.

        Args:
            host: makes pictures.
            folder: keeps them.
            space: tells picture knobs from execution knobs.
            on_picture: called after each picture, for progress.
            share: whether a picture serves every setting that gives an equal one, and a memory
                reading all that need as much; without it each setting has its own.
            upto: lines of the journal that are read; all when None.
        """
        self._host = host
        self._folder = folder
        self._space = space
        self._on_picture = on_picture
        self._share = share
        self._shared: dict[tuple[str, Block], str] = {}
        self._own: dict[tuple[str, Block], _Made] = {}
        self._repeats: dict[tuple[str, Block], list[Cost]] = defaultdict(list)
        self._memory: dict[str, Cost] = {}
        self.failures: dict[Setting, str] = {}
        self.spent_seconds = 0.0
        self.lines = 0
        self._seen_seconds = host.busy_seconds
        for line in folder.read_journal()[:upto]:
            self._take(line)

    def as_of(self, lines: int) -> Bench:
        """Return what was known after so many lines of the journal; to be read from only."""
        return Bench(self._host, self._folder, self._space, share=self._share, upto=lines)

    def _take(self, line: dict[str, Any]) -> None:
        self.lines += 1
        self.spent_seconds += line.get("busy_seconds", 0.0)
        if "memory" in line:
            self._memory[line["memory"]] = Cost.from_dict(line["cost"])
        elif "failed" in line:
            self.failures[Setting(line["setting"])] = line["failed"]
        elif "cost" in line:
            setting, block = Setting(line["setting"]), Block(line["prompt"], line["seed"])
            cost, key = Cost.from_dict(line["cost"]), (setting.json(), block)
            if "repeat" in line:
                self._repeats[key].append(cost)
                return
            self._shared.setdefault((self._space.look(setting).json(), block), line["digest"])
            self._own[key] = _Made(line["digest"], cost, line.get("place", 0))

    def _append(self, line: dict[str, Any]) -> None:
        busy = self._host.busy_seconds
        line["busy_seconds"] = busy - self._seen_seconds
        self._seen_seconds = busy
        self._folder.append(line)
        self._take(line)

    def book_failure(self, setting: Setting, error: GenerationError) -> None:
        """Journal the device seconds that a failed setting took."""
        self._append({"failed": error.kind, "setting": dict(setting)})

    def has(self, setting: Setting, blocks: Sequence[Block]) -> bool:
        """Tell whether a setting's pictures of these blocks are all there."""
        found = self._finder(setting)
        return all(found(block) is not None for block in blocks)

    def _finder(self, setting: Setting, anew: bool = False) -> Callable[[Block], str | None]:
        whole, part = setting.json(), self._space.look(setting).json()

        def found(block: Block) -> str | None:
            own = self._own.get((whole, block))
            if own is not None:
                return own.digest
            return self._shared.get((part, block)) if self._share and not anew else None

        return found

    def pictures(
        self, setting: Setting, blocks: Sequence[Block], *, anew: bool = False
    ) -> list[str]:
        """Return the digests of the setting's pictures, generating those that are missing.

        Args:
            setting: canonical.
            blocks: prompts with seeds.
            anew: take only pictures that this very setting made, not an equal picture setting's:
                then every block has a cost of its own.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        found = self._finder(setting, anew)
        self._generate(setting, [block for block in blocks if found(block) is None])
        return [digest for digest in map(found, blocks) if digest is not None]

    def _generate(self, setting: Setting, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        for number, (picture, cost) in enumerate(self._host.generate(setting, blocks)):
            digest = self._folder.keep(picture)
            self._append({
                "setting": dict(setting),
                "prompt": picture.block.prompt,
                "seed": picture.block.seed,
                "digest": digest,
                "place": number % cost.batch,
                "cost": cost.to_dict(),
            })
            self._on_picture()

    def time(self, setting: Setting, block: Block, calls: int) -> None:
        """Make one block's picture in so many calls of the setting for what they cost alone.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        self._time_again(setting, [block] * calls * int(setting.get("batch", 1)))

    def readings(self) -> dict[Setting, list[Cost]]:
        """Return the cost of every call that was made so far, by setting."""
        found: dict[Setting, list[Cost]] = defaultdict(list)
        for (setting, _), made in self._own.items():
            if made.place == 0:
                found[Setting(json.loads(setting))].append(made.cost)
        for (setting, _), costs in self._repeats.items():
            found[Setting(json.loads(setting))] += costs
        return found

    def memories(self) -> list[tuple[Setting, int]]:
        """Return what memory was read of: what decides it, ``size`` and ``guided``; and bytes."""
        return [(Setting(json.loads(cell)), cost.peak_memory_bytes)
                for cell, cost in self._memory.items() if cost.peak_memory_bytes]

    def _time_again(self, setting: Setting, blocks: Sequence[Block]) -> None:
        """Make pictures that are there already, for what they cost alone."""
        for number, (picture, cost) in enumerate(self._host.generate(setting, blocks)):
            if number % cost.batch == 0:
                block = {"prompt": picture.block.prompt, "seed": picture.block.seed}
                self._append({"setting": dict(setting), **block, "repeat": True,
                              "cost": cost.to_dict()})

    def cost(self, setting: Setting, blocks: Sequence[Block]) -> Cost:
        """Return the setting's cost: medians over its own calls, with its memory reading.

        Where the calls that made its pictures are too few, or too far apart, it is timed on: on
        blocks that it has no picture of its own for, then on those it has.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        batch = int(setting.get("batch", 1))
        while True:
            own = [self._own.get((setting.json(), block)) for block in blocks]
            made = sum(1 for one in own if one is not None and one.place == 0)
            timed = self.costs(setting, blocks)
            wanted = calls_wanted(timed, made) * batch
            if not wanted:
                break
            missing = [block for block, one in zip(blocks, own, strict=True) if one is None]
            if missing:
                self._generate(setting, missing[:wanted])
            else:
                self._time_again(setting, [blocks[n % len(blocks)] for n in range(wanted)])
        memory = self.memory(setting)
        return replace(median_cost(timed),
                       **{name: getattr(memory, name) for name in MEMORY_FIELDS})

    def costs(self, setting: Setting, blocks: Sequence[Block]) -> list[Cost]:
        """Return the cost of each call that this very setting made for these blocks."""
        keys = [(setting.json(), block) for block in blocks]
        first = [self._own[key].cost for key in keys
                 if key in self._own and self._own[key].place == 0]
        return first + [cost for key in keys for cost in self._repeats.get(key, ())]

    def memory(self, setting: Setting) -> Cost:
        """Return the memory reading of (what decides memory, size, guided or not).

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        cell = self.memory_cell(setting).json()
        if cell not in self._memory:
            cost = self._host.memory(setting)
            self._append({"memory": cell, "cost": cost.to_dict()})
        return self._memory[cell]

    def memory_cell(self, setting: Setting) -> Setting:
        """Return what a setting's peak memory is read for: what decides it, size and ``guided``.

        Where nothing is shared it is the setting itself.
        """
        if not self._share:
            return setting
        return Setting(self._space.memory(setting), size=setting.get("size", ""),
                       guided=float(setting.get("guidance", 0)) > 1)

    def picture(self, digest: str, block: Block) -> Picture:
        """Read a stored picture."""
        return self._folder.picture(digest, block)
