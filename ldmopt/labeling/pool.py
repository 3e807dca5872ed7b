"""Which pictures of a run may be held against each other: same prompt, same seed, not held out.

`Pool` is all that may be asked. `Front` is the part of it that belongs to finished trials of the
search, with what they cost: what a chooser needs that asks about the front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np

from ldmopt.contracts import Block, Trial
from ldmopt.labeling.belief import Floats, Indices
from ldmopt.labeling.design import Layout
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run

LOOKS = 64
"""How many looks are followed at the most; what is far from the front need not be known."""


@dataclass(frozen=True)
class Pool:
    """Different pictures of one prompt and seed, block by block.

    Attributes:
        blocks: for every prompt and seed the digests of its pictures, at least two of them.
    """

    blocks: Mapping[Block, Sequence[str]]

    def __len__(self) -> int:
        """Return how many pairs there are, whichever side a picture is on."""
        return sum(comb(len(digests), 2) for digests in self.blocks.values())

    def pictures(self) -> dict[str, Block]:
        """Return the prompt and seed of every picture, by digest."""
        return {digest: block for block, digests in self.blocks.items() for digest in digests}


@dataclass(frozen=True, eq=False)
class Front:
    """The search's settings with their pictures and costs.

    Settings with the same pictures share a *look*; there are at most `LOOKS` of these, those whose
    win rate comes nearest to the best within their cost.

    Attributes:
        digests: of every picture.
        block: `(pictures,)` number of its block.
        look: `(pictures,)` number of the first look that gave it; the default's is 0.
        blocks: the blocks.
        layout: settings x blocks with costs, the default first.
        win_rate: `(looks,)` with `low` and `high`, the trials' 95 % intervals.
        low: `(looks,)`.
        high: `(looks,)`.
    """

    digests: tuple[str, ...]
    block: Indices
    look: Indices
    blocks: tuple[Block, ...]
    layout: Layout
    win_rate: Floats
    low: Floats
    high: Floats



def read_front(folder: RunFolder) -> Front | None:
    """Return a run's settings as far as they are measured, or None with fewer than two looks.

    Raises:
        UserError: no run folder, or nothing measured in it yet.
    """
    _, _, study = read_run(folder.path)
    frozen = study.user_attrs[records.FROZEN]
    held_out = {prompt for prompt, _ in frozen["held_out"]}
    blocks = [Block(*row) for row in frozen["blocks"]]
    kept = [place for place, block in enumerate(blocks) if block.prompt not in held_out]
    # Of an imported table, some settings may lack pictures that the default has.
    trials = [trial for trial in records.finished(study)
              if list(trial.shown) == blocks[: len(trial.shown)]]
    return front_of(trials, blocks, kept)


def front_of(
    trials: Sequence[Trial], blocks: Sequence[Block], kept: Sequence[int]
) -> Front | None:
    """Arrange trials, the default's first.

    Args:
        trials: finished ones; failed and infeasible ones are left out.
        blocks: what their pictures were made for, in order.
        kept: numbers of the blocks that may be asked about.
    """
    usable = [
        trial for place, trial in enumerate(trials)
        if trial.cost and trial.quality and not trial.failure and trial.pictures
        and (trial.feasible or place == 0)
    ]
    if not usable or not kept or usable[0] is not trials[0]:
        return None
    names = [tuple(trial.pictures[place] for place in kept if place < len(trial.pictures))
             for trial in usable]
    numbers = _nearest(usable, names)
    if len(numbers) < 2:
        return None
    rows = [row for row, name in enumerate(names) if name in numbers]
    first = {numbers[names[row]]: usable[row] for row in reversed(rows)}
    quality = [first[number].quality for number in range(len(numbers))]
    index: dict[tuple[str, int], int] = {}  # looks that gave the same picture share it
    look: list[int] = []
    pictures = np.full((len(rows), len(kept)), -1)
    for place, row in enumerate(rows):
        for column, digest in enumerate(names[row]):
            if (digest, column) not in index:
                index[digest, column] = len(index)
                look.append(numbers[names[row]])
            pictures[place, column] = index[digest, column]
    prompts = list(dict.fromkeys(blocks[place].prompt for place in kept))
    prompt = np.array([prompts.index(blocks[place].prompt) for place in kept])
    wins, low, high = (np.array([getattr(one, name) for one in quality])
                       for name in ("win_rate", "low", "high"))
    return Front(
        tuple(digest for digest, _ in index),
        np.array([column for _, column in index]),
        np.array(look),
        tuple(blocks[place] for place in kept),
        Layout(pictures, prompt, _costs([usable[row] for row in rows])),
        wins, low, high,
    )


def _nearest(
    trials: Sequence[Trial], names: Sequence[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Number the looks that come nearest to the front; the default's is 0."""
    gaps: dict[tuple[str, ...], float] = {}
    points = [(trial.cost.latency_seconds, trial.quality.win_rate)
              for trial in trials if trial.cost and trial.quality]
    for name, (seconds, wins) in zip(names, points, strict=True):
        best = max(other for cost, other in points if cost <= seconds)
        gaps[name] = min(gaps.get(name, 1.0), best - wins)
    gaps[names[0]] = -1.0
    chosen = sorted(gaps, key=lambda name: gaps[name])[:LOOKS]
    return {name: number for number, name in enumerate(chosen)}


def _costs(trials: Sequence[Trial]) -> Floats:
    """Return latency, and memory where all of it is known, each above 0."""
    seconds = [trial.cost.latency_seconds for trial in trials if trial.cost]
    memory = [trial.cost.peak_memory_bytes for trial in trials if trial.cost]
    columns = [seconds] if not all(memory) else [seconds, memory]
    return np.maximum(np.array(columns, np.float64).T, 1e-9)


def read_pool(folder: RunFolder) -> Pool:
    """Return what a run's stored pictures offer; it may be growing while it is read.

    Prompts that are kept for confirmation are left out: no label about them may train a scorer.

    Raises:
        UserError: no run folder, or nothing measured in it yet.
    """
    _, _, study = read_run(folder.path)
    held_out = {prompt for prompt, _ in study.user_attrs[records.FROZEN]["held_out"]}
    blocks: dict[Block, dict[str, None]] = {}
    for digest, block in folder.blocks().items():
        if block.prompt not in held_out and folder.picture_path(digest).is_file():
            blocks.setdefault(block, {})[digest] = None
    return Pool({block: tuple(found) for block, found in blocks.items() if len(found) > 1})
