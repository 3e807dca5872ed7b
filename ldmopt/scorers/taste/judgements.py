"""Labels as arrays: who said what of which picture, and which comparisons follow from it.

What a rater said is compared within one prompt only (GOTCHAS 27), and ratings of different raters
are never compared as numbers. Pictures without a prompt, and pictures that all have the same one,
are held out one by one; elsewhere whole prompts are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture
from ldmopt.labels import Keep, Labels, Pair, Rating

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.str_]

FOLDS = 5
ENOUGH_GROUPS, LARGEST_GROUP = 12, 8
"""Pictures without a prompt are learned from in so many groups at least, of so many at most."""
MANY = 40
"""Of more pictures than this each is compared with `2 * SHIFTS` others only, not with all."""
SHIFTS = 15


@dataclass(frozen=True, eq=False)
class Judgements:
    """Labels whose pictures are at hand, as arrays.

    Attributes:
        digests: the pictures, each once; indices below point here.
        prompt: `(pictures,)` number of the prompt, -1 where it is unknown.
        rated: `(n,)` index of the rated picture.
        rating: `(n,)`; a keep is 1, a rejection 0.
        scale: `(n,)` who rated on which scale: ratings of one scale can be compared.
        left: `(m,)` index of the left picture of a pair.
        right: `(m,)` of the right one.
        win: `(m,)` 1 where left was preferred, 0 where right was, 1/2 for ties and both bad.
        rater: `(m,)` who compared.
        texts: the prompts, by their numbers.
        unused: labels that nothing can be learned from here: their picture is missing or too
            small, or a pair's pictures were made for different prompts.
    """

    digests: tuple[str, ...]
    prompt: Ints
    rated: Ints
    rating: Floats
    scale: Texts
    left: Ints
    right: Ints
    win: Floats
    rater: Texts
    texts: tuple[str, ...] = ()
    unused: int = 0

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.rated) + len(self.left)

    @property
    def usable(self) -> bool:
        """Whether any two pictures of a prompt were told apart or called equal by somebody."""
        return bool(len(comparisons(self, np.zeros(len(self.digests), np.int64))))

    @property
    def raters(self) -> tuple[str, ...]:
        """Names of all who said something, in alphabetical order."""
        names = {str(scale).removesuffix(KEEPS) for scale in self.scale}
        return tuple(sorted(names | {str(name) for name in self.rater}))

    @property
    def prompts(self) -> int:
        """How many known prompts there are."""
        return int(len(np.unique(self.prompt[self.prompt >= 0])))

    @property
    def by_prompt(self) -> bool:
        """Whether whole prompts are held out, and not single pictures."""
        return self.prompts > 1

    def folds(self, seed: int = 0, number: int = FOLDS) -> Ints:
        """Return each picture's fold: prompts, or pictures without one, dealt out at random."""
        units = self.units()
        names = np.unique(units)
        number = min(number, len(names))
        order = np.random.default_rng(seed).permutation(len(names))
        dealt = np.empty(len(names), np.int64)
        dealt[order] = np.arange(len(names)) % max(1, number)
        return dealt[np.searchsorted(names, units)]

    def units(self) -> Ints:
        """Return what varies independently, a number a picture: its prompt, else itself."""
        own = np.arange(len(self.digests))
        if not self.by_prompt:
            return own
        return np.where(self.prompt >= 0, self.prompt, own + self.prompt.max() + 1)

    def groups(self) -> Ints:
        """Return what pictures may be compared within: the prompt; all those without one."""
        return self.prompt if self.by_prompt else np.zeros(len(self.digests), np.int64)

    def together(self) -> Texts:
        """Return the name of a group for each picture, within which learning compares.

        A prompt's number; pictures without one are dealt into small groups at random.
        """
        alone = np.flatnonzero(self.prompt < 0) if self.by_prompt else np.arange(len(self.digests))
        size = int(np.clip(len(alone) // ENOUGH_GROUPS, 2, LARGEST_GROUP))
        names = self.prompt.astype(np.str_).astype(object)
        names[alone] = [f"group {place // size}" for place in range(len(alone))]
        names[alone] = names[alone][np.random.default_rng(len(alone)).permutation(len(alone))]
        return names.astype(np.str_)

    def only(self, ratings: Bools, pairs: Bools) -> Judgements:
        """Return some of the labels."""
        return replace(
            self,
            rated=self.rated[ratings], rating=self.rating[ratings], scale=self.scale[ratings],
            left=self.left[pairs], right=self.right[pairs], win=self.win[pairs],
            rater=self.rater[pairs],
        )  # fmt: skip

    def none(self) -> Judgements:
        """Return the same pictures without any label."""
        return self.only(np.zeros(len(self.rated), bool), np.zeros(len(self.left), bool))

    def without(self, pictures: Bools) -> Judgements:
        """Return the labels that no picture of a mask takes part in."""
        return self.only(
            ~pictures[self.rated], ~(pictures[self.left] | pictures[self.right])
        )


def judgements(labels: Labels, pictures: Mapping[str, Picture]) -> Judgements:
    """Turn labels into arrays.

    Where no two pictures have the same prompt, labelled or not, prompts are taken for unknown:
    there is nothing else that could be compared.

    Args:
        labels: ratings, pairs and keeps.
        pictures: digest -> picture, of those that can be judged.
    """
    index = {digest: i for i, digest in enumerate(d for d in labels.digests() if d in pictures)}
    known = {digest: pictures[digest].block.prompt for digest in index}
    ratings, unused = _ratings(labels, index, known)
    told = [pair for pair in labels.pairs
            if pair.left in index and pair.right in index and pair.preferred != "withdrawn"]
    for pair in told:
        for side in (pair.left, pair.right):
            known[side] = known[side] or pair.prompt
    texts = [text for text in ({d: p.block.prompt for d, p in pictures.items()} | known).values()
             if text]
    alike = len(set(texts)) < len(texts)
    within = [pair for pair in told if not alike or known[pair.left] == known[pair.right]]
    unused += len(labels.pairs) - len(within)
    pairs = [(index[pair.left], index[pair.right], pair.win, named(pair.rater, pair.simulated))
             for pair in within]
    numbers = {text: number for number, text in enumerate(sorted(set(texts)))} if alike else {}
    return Judgements(
        tuple(index),
        np.array([numbers.get(known[digest], -1) for digest in index], np.int64),
        np.array([row[0] for row in ratings], np.int64),
        np.array([row[1] for row in ratings], np.float64),
        np.array([row[2] for row in ratings], np.str_),
        np.array([row[0] for row in pairs], np.int64),
        np.array([row[1] for row in pairs], np.int64),
        np.array([row[2] for row in pairs], np.float64),
        np.array([row[3] for row in pairs], np.str_),
        tuple(numbers),
        unused,
    )


KEEPS = ": keeps"
"""Ends the name of the scale, 0 or 1, on which a rater keeps and rejects."""


def named(rater: str, simulated: bool) -> str:
    """Return a rater's name as every report writes it: who is simulated is said to be."""
    return rater + " (simulated)" * simulated


def _ratings(
    labels: Labels, index: Mapping[str, int], known: dict[str, str]
) -> tuple[list[tuple[int, float, str]], int]:
    """Return ratings and keeps as (picture, value, scale), and how many cannot be used."""
    rows: list[tuple[int, float, str]] = []
    said: list[Rating | Keep] = [*labels.ratings, *labels.keeps]
    for row in said:
        if row.picture in index:
            known[row.picture] = known[row.picture] or row.prompt
            value, scale = (row.rating, "") if isinstance(row, Rating) else (float(row.keep), KEEPS)
            rows.append((index[row.picture], value, named(row.rater, row.simulated) + scale))
    return rows, len(said) - len(rows)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """What raters said, pair by pair of pictures; what every judge is held against.

    Attributes:
        left: `(n,)` index of a picture.
        right: `(n,)` of another one, of the same prompt.
        win: `(n,)` 1, 0, or 1/2.
        weight: `(n,)`; the many comparisons that follow from ratings weigh half a label each
            rating.
        rater: `(n,)` who.
        fold: `(n,)` in which it is held out.
        units: `(n, 2)` what varies independently: the prompt, or the two pictures.
    """

    left: Ints
    right: Ints
    win: Floats
    weight: Floats
    rater: Texts
    fold: Ints
    units: Ints

    def __len__(self) -> int:
        """Return the number of comparisons."""
        return len(self.left)

    def only(self, chosen: Bools) -> Comparisons:
        """Return some of them."""
        return Comparisons(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


def comparisons(said: Judgements, folds: Ints) -> Comparisons:
    """Return every comparison that labels make, ratings of one rater and prompt included.

    Args:
        said: the labels.
        folds: `(pictures,)`; ratings are compared within a fold. A pair belongs to the fold of
            its left picture.
    """
    rows: list[tuple[Ints, Ints, Floats, Floats, str]] = []
    groups = np.stack([said.groups(), folds], axis=1)
    for scale in np.unique(said.scale):
        own = said.scale == scale
        value = np.full(len(said.digests), np.nan)
        value[said.rated[own]] = said.rating[own]
        for group in np.unique(groups[said.rated[own]], axis=0):
            members = np.flatnonzero((groups == group).all(axis=1) & ~np.isnan(value))
            left, right = _partners(members)
            if len(left):
                win = 0.5 + 0.5 * np.sign(value[left] - value[right])
                weight = np.full(len(left), len(members) / 2.0 / len(left))
                rows.append((left, right, win, weight, str(scale)))
    return _joined(said, folds, rows)


def _joined(
    said: Judgements, folds: Ints, rows: Sequence[tuple[Ints, Ints, Floats, Floats, str]]
) -> Comparisons:
    """Put the comparisons of ratings and the pairs together."""
    left = np.concatenate([*(row[0] for row in rows), said.left])
    right = np.concatenate([*(row[1] for row in rows), said.right])
    units = said.units()
    raters: Iterable[Texts] = (np.full(len(row[0]), row[4].removesuffix(KEEPS)) for row in rows)
    return Comparisons(
        left,
        right,
        np.concatenate([*(row[2] for row in rows), said.win]),
        np.concatenate([*(row[3] for row in rows), np.ones(len(said.left))]),
        np.concatenate([*raters, said.rater.astype(np.str_)]),
        folds[left],
        np.stack([units[left], units[right]], axis=1),
    )


def _partners(members: Ints) -> tuple[Ints, Ints]:
    """Return which pictures are compared: all pairs, or of many some, as many of each."""
    count = len(members)
    if count <= MANY:
        first, second = np.triu_indices(count, 1)
        return members[first], members[second]
    mixed = members[np.random.default_rng(count).permutation(count)]
    steps = np.random.default_rng(count + 1).choice(np.arange(1, (count + 1) // 2), SHIFTS, False)
    return np.tile(mixed, SHIFTS), np.concatenate([np.roll(mixed, step) for step in steps])


def pairs_of(said: Judgements) -> dict[str, dict[tuple[int, int], float]]:
    """Return each rater's wins of compared pictures, the lower index first."""
    found: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for left, right, win, rater in zip(said.left, said.right, said.win, said.rater, strict=True):
        key, value = (int(left), int(right)), float(win)
        if left > right:
            key, value = (int(right), int(left)), 1.0 - value
        found[str(rater)][key] = value
    return dict(found)


def counted(
    labels: Labels, said: Judgements, repeats: Sequence[tuple[Pair, Pair]] = ()
) -> dict[str, Any]:
    """Return how many labels there are, of which kind, and of whom."""
    rows: dict[str, Counter[str]] = {name: Counter() for name in labels.raters}
    for kind in ("ratings", "pairs", "keeps"):
        for label in getattr(labels, kind):
            rows[named(label.rater, label.simulated)][kind] += 1
    for first, _ in repeats:
        rows.setdefault(named(first.rater, first.simulated), Counter())["repeats"] += 1
    return {
        "human": labels.human,
        "simulated": labels.simulated,
        "ratings": len(labels.ratings),
        "pairs": len(labels.pairs),
        "keeps": len(labels.keeps),
        "unused": said.unused,
        "pictures": len(said.digests),
        "prompts": said.prompts,
        "by_prompt": said.by_prompt,
        "raters": list(labels.raters),
        "by_rater": {
            name: {kind: row[kind] for kind in ("ratings", "pairs", "keeps", "repeats")}
            for name, row in rows.items()
        },
    }
