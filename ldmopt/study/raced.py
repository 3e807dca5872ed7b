"""Racing in a run: a setting's pictures are made prompt by prompt while it may be worth them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Block, BlockWin, Cost, Quality, Setting, Trial
from ldmopt.distillation.differences import paired_differences
from ldmopt.distillation.intervals import prompt_means, win_rate
from ldmopt.search.pricing import Pricing
from ldmopt.search.racing import Race, rivals
from ldmopt.study.proposing import picture_params, way_params
from ldmopt.study.timing import median_cost
from ldmopt.study.work import Work

Floats = NDArray[np.float64]

RIVALS = 2
"""Front members that a setting races against at the most."""


@dataclass(frozen=True)
class Run:
    """How far a setting came.

    Attributes:
        quality: over the blocks seen, in the order of the search's blocks.
        pictures: their digests.
        saved: pictures that were not made, because it was dropped; 0 where it finished.
        cost: of the calls so far, without memory; None where its pictures were there already.
    """

    quality: Quality
    pictures: list[str]
    saved: int = 0
    cost: Cost | None = None

    @property
    def saved_seconds(self) -> float:
        """Device seconds that the pictures not made would have taken, by those that were."""
        return self.saved * (0.0 if self.cost is None else self.cost.seconds)


@dataclass
class Racer:
    """Races settings against the front.

    Attributes:
        work: the generation.
        prices: predicts what rivals would cost run in the same way; None: as they were run.
        race: its rules.
    """

    work: Work
    prices: Pricing | None = None
    race: Race = field(default_factory=Race)

    def run(self, setting: Setting) -> Run:
        """Make a setting's pictures, prompt by prompt, until it is dropped or has them all.

        Raises:
            GenerationError: the setting gives no usable picture.
        """
        session = self.work.session
        total = len({block.prompt for block in session.blocks})
        wins: dict[Block, BlockWin] = {}
        digests: dict[Block, str] = {}
        against: list[Quality] | None = None
        for some in looks(session.blocks, setting, session.spec.seed):
            quality, pictures = session.quality(setting, some)
            wins.update(zip(some, quality.blocks, strict=True))
            digests.update(zip(some, pictures, strict=True))
            if len(wins) == len(session.blocks) or (
                    len({block.prompt for block in wins}) < self.race.least):
                continue
            if against is None:
                against = self.rivals(setting, list(wins))
            if self._dropped(list(wins.values()), against, total):
                break
        seen = [block for block in session.blocks if block in wins]
        calls = session.bench.costs(setting, seen)
        return Run(win_rate([wins[block] for block in seen]), [digests[block] for block in seen],
                   len(session.blocks) - len(seen), median_cost(calls) if calls else None)

    def _dropped(self, wins: list[BlockWin], against: Sequence[Quality], total: int) -> bool:
        own = Quality(math.nan, 0.0, 1.0, tuple(wins))
        differences = [np.array(list(paired_differences(own, rival).values()))
                       for rival in against]
        rooms = [1.0 - min(prompt_means(rival.blocks).values()) for rival in against]
        return self.race.decide(differences, total, rooms) == "drop"

    def rivals(self, setting: Setting, seen: Sequence[Block]) -> list[Quality]:
        """Return the win rates of the best finished settings that cost no more, run alike."""
        others = [trial for trial in self.work.ledger.trials
                  if trial.feasible and trial.quality is not None and trial.cost is not None]
        cost, costs = self._costs(setting, others, seen)
        found = [trial.quality for trial in others if trial.quality is not None]
        quality = np.array([item.win_rate for item in found])
        return [found[index] for index in rivals(cost, costs, quality, RIVALS)]

    def _costs(
        self, setting: Setting, others: Sequence[Trial], seen: Sequence[Block]
    ) -> tuple[list[float], Floats]:
        """Return seconds and bytes of a setting and, `(n, 2)`, of others."""
        space = self.work.session.space
        if self.prices is not None:
            pictures = [picture_params(space, trial.setting) for trial in others]
            table = self.prices([*pictures, picture_params(space, setting)],
                                [way_params(space, setting)])[:, 0, :2]
            if np.isfinite(table[-1]).all():
                return table[-1].tolist(), np.nan_to_num(table[:-1], nan=math.inf)
        calls = self.work.session.bench.costs(setting, seen)
        own = median_cost(calls).seconds if calls else 0.0
        # Memory is not read yet: only those that run alike and need no more are known to.
        rows = [[trial.cost.seconds if trial.cost else math.inf,
                 0.0 if space.needs_memory_of(trial.setting, setting) else math.inf]
                for trial in others]
        return [own, 0.0], np.array(rows, np.float64).reshape(-1, 2)


def looks(blocks: Sequence[Block], setting: Setting, seed: int) -> Iterator[list[Block]]:
    """Yield the blocks a prompt at a time, all its seeds together, in the setting's own order.

    A call of several pictures takes as many prompts as fill it.
    """
    prompts = list(dict.fromkeys(block.prompt for block in blocks))
    key = hashlib.sha256(setting.json().encode()).digest()
    order = np.random.default_rng([seed, *key]).permutation(len(prompts))
    seeds = max(1, len(blocks) // len(prompts))
    together = max(1, math.ceil(int(setting.get("batch", 1)) / seeds))
    for first in range(0, len(prompts), together):
        chosen = {prompts[index] for index in order[first : first + together]}
        yield [block for block in blocks if block.prompt in chosen]
