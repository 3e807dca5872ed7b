"""A host that replays a recorded table: no pictures, but their scores and what they cost.

What it gives as a picture is a tag: a small image that says which of the table's pictures it stands
for, so that a run's folder, journal and resume work as ever; `ldmopt.scorers.replay` reads it.
Nothing waits: the device seconds that are booked are the recorded ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ldmopt.contracts import Block, Cost, Host, Picture, Setting
from ldmopt.errors import GenerationError
from ldmopt.recording import Recording
from ldmopt.scorers.replay import tag

HELD_OUT_SEEDS_FROM = 10_000
"""Seeds from here on are those of a confirmation; a table gives them what it has for the same seed
counted from 0, so a confirmation is on prompts that the search never saw, not on further seeds."""


class ReplayHost:
    """Answers from a table.

    Attributes:
        table: what was recorded.
        busy_seconds: recorded device seconds of what was asked for so far.
        picture_part: not used; there is no picture that could carry its settings.
    """

    def __init__(self, table: Recording) -> None:
        """Begin with no seconds booked."""
        self.table = table
        self.busy_seconds = 0.0
        self.picture_part: Callable[[Setting], Setting] = table.picture
        self._block = {block: place for place, block in enumerate(table.blocks)}

    def describe(self) -> Mapping[str, Any]:
        """Return the facts of the machine that the table was recorded on."""
        facts: Mapping[str, Any] = self.table.facts["environment"]
        return {**facts, "device_name": f"replay of {facts['device_name']}"}

    def generate(
        self, setting: Setting, blocks: Sequence[Block]
    ) -> Iterator[tuple[Picture, Cost]]:
        """Yield each block's tag with the setting's recorded cost.

        Raises:
            GenerationError: the setting, or a block, is not in the table.
        """
        row, cost = self._recorded(setting)
        for block in blocks:
            recorded = Block(block.prompt, block.seed % HELD_OUT_SEEDS_FROM)
            place = self._block.get(recorded)
            if place is None:
                raise GenerationError("refused", f"the table has no picture of {block.prompt!r} "
                                                 f"with seed {recorded.seed}")
            self.busy_seconds += cost.seconds
            yield tag(row, place, block), cost

    def memory(self, setting: Setting) -> Cost:
        """Return the recorded peak; it takes what one picture does.

        Raises:
            GenerationError: the setting is not in the table.
        """
        _, cost = self._recorded(setting)
        self.busy_seconds += cost.seconds
        return cost

    def close(self) -> None:
        """Do nothing."""

    def _recorded(self, setting: Setting) -> tuple[int, Cost]:
        row, cost = self.table.row.get(self.table.picture(setting)), self.table.cost(setting)
        if row is None or cost is None:
            missing = self.table.picture(setting) if row is None else self.table.way(setting)
            raise GenerationError("refused", f"the table has no {missing}")
        return row, cost


_: type[Host] = ReplayHost
