"""Which pictures of a run may be held against each other: same prompt, same seed, not held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

from ldmopt.contracts import Block
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run


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
