"""The bench: makes and measures what a study asks for, once, and remembers it in the journal.

A picture depends on the picture knobs alone, so one made under any execution serves all; a cost
belongs to the whole setting; peak memory belongs to (execution, size, guided or not).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ldmopt.contracts import Block, Calls, Cost, Host, Picture, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Space
from ldmopt.study.folder import RunFolder

COST_PICTURES = 4
"""Pictures that a setting's cost is read on at least."""

MEMORY_FIELDS = (
    "peak_memory_bytes", "memory_kind", "baseline_bytes", "allocated_bytes", "reserved_bytes",
)


class BusyHost(Host, Protocol):
    """A host that counts the seconds its device was kept busy."""

    busy_seconds: float


class Bench:
    """Generates what is missing; answers the rest from the journal.

    Attributes:
        spent_seconds: device seconds so far, those of earlier sessions included.
    """

    def __init__(
        self,
        host: BusyHost,
        folder: RunFolder,
        space: Space,
        on_picture: Callable[[], None] = lambda: None,
    ) -> None:
        """Read the journal.

        Args:
            host: makes pictures.
            folder: keeps them.
            space: tells picture knobs from execution knobs.
            on_picture: called after each picture, for progress.
        """
        self._host = host
        self._folder = folder
        self._space = space
        self._on_picture = on_picture
        self._shared: dict[tuple[str, Block], str] = {}
        self._own: dict[tuple[str, Block], tuple[str, Cost]] = {}
        self._memory: dict[str, Cost] = {}
        self.spent_seconds = 0.0
        self._seen_seconds = host.busy_seconds
        for line in folder.read_journal():
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        self.spent_seconds += line.get("busy_seconds", 0.0)
        if "memory" in line:
            self._memory[line["memory"]] = Cost.from_dict(line["cost"])
        elif "digest" in line:
            setting, block = Setting(line["setting"]), Block(line["prompt"], line["seed"])
            self._shared.setdefault((self._space.picture(setting).json(), block), line["digest"])
            self._own[setting.json(), block] = line["digest"], Cost.from_dict(line["cost"])

    def _append(self, line: dict[str, Any]) -> None:
        busy = self._host.busy_seconds
        line["busy_seconds"] = busy - self._seen_seconds
        self._seen_seconds = busy
        self._folder.append(line)
        self._take(line)

    def book_failure(self, setting: Setting, error: GenerationError) -> None:
        """Journal the device seconds that a failed setting took."""
        self._append({"failed": error.kind, "setting": dict(setting)})

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
        whole, part = setting.json(), self._space.picture(setting).json()

        def found(block: Block) -> str | None:
            own = self._own.get((whole, block))
            if own is not None:
                return own[0]
            return None if anew else self._shared.get((part, block))

        self._generate(setting, [block for block in blocks if found(block) is None])
        return [digest for digest in map(found, blocks) if digest is not None]

    def _generate(self, setting: Setting, blocks: Sequence[Block]) -> None:
        if not blocks:
            return
        for picture, cost in self._host.generate(setting, blocks):
            digest = self._folder.keep(picture)
            self._append({
                "setting": dict(setting),
                "prompt": picture.block.prompt,
                "seed": picture.block.seed,
                "digest": digest,
                "cost": cost.to_dict(),
            })
            self._on_picture()

    def cost(self, setting: Setting, blocks: Sequence[Block]) -> Cost:
        """Return the setting's cost: medians over its own pictures, with its memory reading.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        own = self.costs(setting, blocks)
        if len(own) < min(COST_PICTURES, len(blocks)):
            self.pictures(setting, blocks[:COST_PICTURES], anew=True)
            own = self.costs(setting, blocks)
        return self.with_memory(setting, median_cost(own))

    def with_memory(self, setting: Setting, cost: Cost) -> Cost:
        """Return the cost with the setting's memory reading filled in.

        Raises:
            GenerationError: the reading was missing and the setting gives no usable picture.
        """
        memory = self.memory(setting)
        return replace(cost, **{name: getattr(memory, name) for name in MEMORY_FIELDS})

    def costs(self, setting: Setting, blocks: Sequence[Block]) -> list[Cost]:
        """Return the costs of the pictures that this very setting made in these blocks."""
        found = (self._own.get((setting.json(), block)) for block in blocks)
        return [own[1] for own in found if own is not None]

    def memory(self, setting: Setting) -> Cost:
        """Return the memory reading of (execution, size, guided or not).

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        cell = Setting(
            self._space.execution(setting),
            size=setting.get("size", ""),
            guided=float(setting.get("guidance", 0)) > 1,
        ).json()
        if cell not in self._memory:
            cost = self._host.memory(setting)
            self._append({"memory": cell, "cost": cost.to_dict()})
        return self._memory[cell]

    def picture(self, digest: str, block: Block) -> Picture:
        """Read a stored picture."""
        return self._folder.picture(digest, block)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the cost whose every figure is the median over pictures; memory is left out."""

    def middle(values: Sequence[float]) -> float:
        return float(statistics.median(values))

    phases = {
        phase: middle([cost.seconds_by_phase.get(phase, 0.0) for cost in costs])
        for phase in costs[0].seconds_by_phase
    }
    calls = {
        kind: Calls(call.count, middle([cost.calls_by_kind[kind].seconds for cost in costs
                                        if kind in cost.calls_by_kind]))
        for kind, call in costs[0].calls_by_kind.items()
    }
    return Cost(
        middle([cost.seconds for cost in costs]),
        middle([cost.latency_seconds for cost in costs]),
        phases,
        calls,
    )
