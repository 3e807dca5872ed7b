"""Which pair next.

A *chooser* names pairs worth asking about, best first; it never sees a side or the page. The page
draws sides, mixes in repeats and keeps each rater's place. `RandomChooser` takes any pair;
`ldmopt.labeling.front.FrontChooser` those that tell most about the front.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ldmopt.labeling.pool import Pool
from ldmopt.labels import Pair


@dataclass(frozen=True)
class Offer:
    """Two pictures of one prompt and seed that may be asked about; sides are not yet drawn.

    Attributes:
        left: digest of one picture.
        right: digest of the other.
        prompt: what both were made for.
        seed: the seed of both.
    """

    left: str
    right: str
    prompt: str
    seed: int

    @property
    def key(self) -> tuple[str, str]:
        """The same for both orders of the two pictures."""
        first, second = sorted((self.left, self.right))
        return first, second


class Chooser(Protocol):
    """Names the pairs to be asked next.

    The answer depends on the arguments alone (and on how the chooser was made), so that a page
    that is killed and started again goes on as it would have.
    """

    def offers(self, count: int, answered: Sequence[Pair], rater: str = "") -> list[Offer]:
        """Return at most `count` pairs, the one most worth asking first.

        Args:
            count: how many at most; fewer come back when there are no more.
            answered: one rater's answers that count, oldest first. None of these pairs may be
                offered again, in either order.
            rater: who is asked, so that several who come at once are not all asked the same.
        """
        ...

    def useful(self, answered: Sequence[Pair]) -> int:
        """Return how many more answers of this rater would be worth having; 0 ends the asking."""
        ...


class RandomChooser:
    """Pairs drawn evenly from all that can be compared."""

    def __init__(self, pool: Pool, seed: int = 0) -> None:
        """Take the pool; equal seeds give equal pairs in equal order."""
        self._pool = pool
        self._seed = seed
        self._blocks = list(pool.blocks.items())
        self._weights = [len(digests) * (len(digests) - 1) for _, digests in self._blocks]

    def offers(self, count: int, answered: Sequence[Pair], rater: str = "") -> list[Offer]:
        """Return at most `count` pairs that were not answered, other ones for each rater."""
        seen = {(min(pair.left, pair.right), max(pair.left, pair.right)) for pair in answered}
        rng = random.Random(f"{self._seed}/{rater}/{len(seen)}")
        found: dict[tuple[str, str], Offer] = {}
        count = min(count, self.useful(answered))
        # Drawing and throwing back is quick until few are left; then all of those are listed.
        for _ in range(20 * count):
            if len(found) == count:
                return list(found.values())
            (block, digests), = rng.choices(self._blocks, self._weights)
            left, right = rng.sample(digests, 2)
            offer = Offer(left, right, block.prompt, block.seed)
            if offer.key not in seen:
                found.setdefault(offer.key, offer)
        rest = [Offer(left, right, block.prompt, block.seed)
                for block, digests in self._blocks
                for place, left in enumerate(digests) for right in digests[place + 1:]]
        rest = [offer for offer in rest if offer.key not in seen and offer.key not in found]
        rng.shuffle(rest)
        return [*found.values(), *rest][:count]

    def useful(self, answered: Sequence[Pair]) -> int:
        """Return how many pairs of the pool were not answered."""
        known = self._pool.pictures()
        seen = {(min(pair.left, pair.right), max(pair.left, pair.right)) for pair in answered
                if pair.left in known and known[pair.left] == known.get(pair.right)}
        return len(self._pool) - len(seen)


_: type[Chooser] = RandomChooser
