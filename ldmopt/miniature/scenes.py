"""The miniature's world: scenes of five factors, which pictures show and captions name.

A `Scene` is one combination of factors and a seed for everything the factors leave open
(positions, shapes, shades, clouds). A tenth of all combinations is held out: no training
picture or caption ever shows one, so tests can ask for something new.

Three splits of prompts:

- ``train``: training wording, training combinations;
- ``search``: the built-in prompt set "scenes": training wording that names every factor, every
  tenth prompt on a held-out combination;
- ``test``: sentence patterns and phrases never used in training, held-out combinations only.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ldmopt.errors import UserError, did_you_mean

FACTORS: dict[str, tuple[str, ...]] = {
    "time": ("dawn", "day", "sunset", "night"),
    "terrain": ("mountains", "sea", "desert", "hills", "city"),
    "light": (
        "none",
        "sun left",
        "sun middle",
        "sun right",
        "moon left",
        "moon middle",
        "moon right",
    ),
    "thing": ("tree", "house", "lighthouse", "tent"),
    "style": ("flat", "watercolor", "pixel", "ink"),
}
SPLITS = ("train", "search", "test")
Combination = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Scene:
    """One combination of factors; `seed` decides all that the factors leave open."""

    time: str
    terrain: str
    light: str
    thing: str
    style: str
    seed: int = 0

    @property
    def factors(self) -> dict[str, str]:
        """Factor name -> value, in the order of `FACTORS`."""
        return {name: getattr(self, name) for name in FACTORS}

    @property
    def combination(self) -> Combination:
        """The five values, without the seed."""
        return (self.time, self.terrain, self.light, self.thing, self.style)

    @property
    def held_out(self) -> bool:
        """Whether training never showed this combination."""
        return self.combination in held_out_combinations()

    @property
    def labels(self) -> list[int]:
        """Index of each value within its factor, in the order of `FACTORS`."""
        return [FACTORS[name].index(value) for name, value in self.factors.items()]


@cache
def _combinations() -> tuple[list[Combination], frozenset[Combination]]:
    """Return the training combinations in a fixed shuffled order, and the held-out tenth."""
    every: list[Combination] = list(itertools.product(*FACTORS.values()))  # type: ignore[arg-type]
    random.Random(20261122).shuffle(every)
    tenth = len(every) // 10
    return every[tenth:], frozenset(every[:tenth])


def training_combinations() -> list[Combination]:
    """Return the nine tenths of combinations that training may show."""
    return list(_combinations()[0])


def held_out_combinations() -> frozenset[Combination]:
    """Return the tenth of combinations that training never shows."""
    return _combinations()[1]


def _cycle(pool: list[Combination], rng: random.Random) -> Iterator[Combination]:
    """Yield every combination once in random order, then again in another order."""
    while True:
        yield from rng.sample(pool, len(pool))


def sample_scenes(count: int, seed: int = 0, split: str = "train") -> list[Scene]:
    """Return `count` scenes, balanced over the combinations of the split, in a fixed order."""
    if split not in SPLITS:
        raise UserError(
            f"split: must be one of {', '.join(SPLITS)}; got {split!r}{did_you_mean(split, SPLITS)}"
        )
    rng = random.Random(f"scenes {split} {seed}")
    seen = _cycle(_combinations()[0], rng)
    held = _cycle(sorted(_combinations()[1]), rng)
    scenes = []
    for index in range(count):
        new = split == "test" or (split == "search" and index % 10 == 9)
        scenes.append(Scene(*next(held if new else seen), seed=rng.getrandbits(48)))
    return scenes


def captions(count: int, seed: int = 0, split: str = "search") -> list[tuple[str, Scene]]:
    """Return `count` distinct captions, each naming every factor of the scene beside it.

    The order is fixed, and the first captions of a longer list are those of a shorter one.

    Args:
        count: how many; up to some thousands.
        seed: another seed gives other captions.
        split: ``train``, ``search`` or ``test`` (see the module's text).

    Raises:
        UserError: when the split is unknown.
    """
    from ldmopt.miniature.wording import caption

    scenes = sample_scenes(count, seed, split)
    rng = random.Random(f"captions {split} {seed}")
    found: list[tuple[str, Scene]] = []
    texts: set[str] = set()
    for scene in scenes:
        text = caption(scene, rng, held_out=split == "test")
        while text in texts:
            text = caption(scene, rng, held_out=split == "test")
        texts.add(text)
        found.append((text, scene))
    return found
