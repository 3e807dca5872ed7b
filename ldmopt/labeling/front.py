"""Asking about the front: the next pair is the one expected to make it known best.

What is known starts from the study's own scorer and the trials; every answer of every rater
updates it at once, in milliseconds (`ldmopt.labeling.belief`), without waiting for `ldmopt fit`.
How much a pair would teach is reckoned in `ldmopt.labeling.design`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from ldmopt.errors import UserError
from ldmopt.labeling import belief as beliefs
from ldmopt.labeling import design
from ldmopt.labeling.belief import Belief, Floats, Indices
from ldmopt.labeling.choose import Chooser, Offer, RandomChooser
from ldmopt.labeling.pool import Front, Pool, read_front
from ldmopt.labels import Pair
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run
from ldmopt.study.scoring import load_scorer

CANDIDATES = 4000
"""So many pairs are looked at for one answer to `offers`, drawn anew each time."""
REMEMBERED = 8
"""Beliefs kept, so that several raters' pages need not work theirs out again."""

Others = Callable[[], Sequence[Pair]]


def nobody() -> Sequence[Pair]:
    """Return no answers."""
    return ()


class FrontChooser:
    """Pairs that are expected to change the front most; see the module's text."""

    def __init__(
        self,
        pool: Pool,
        front: Front,
        priors: Sequence[Belief],
        others: Others = nobody,
        seed: int = 0,
    ) -> None:
        """Take what may be asked and what is believed before any answer.

        Args:
            pool: all that may be asked; what is left when the front's pairs are used up.
            front: settings, pictures and costs.
            priors: one belief or several, over the front's pictures (`beliefs.priors`).
            others: gives the answers of all raters that count, of this rater too if it likes.
            seed: equal seeds give equal offers for equal answers.
        """
        self._front, self._priors, self._others, self._seed = front, list(priors), others, seed
        self._random = RandomChooser(pool, seed)
        # Rows of one digest in several blocks are alike; the first stands for them.
        self._rows = {digest: row for row, digest in reversed(list(enumerate(front.digests)))}
        self._left, self._right = _pairs(pool, front)
        self._known: dict[bytes, Belief] = {}
        self._lock = threading.Lock()

    def offers(self, count: int, answered: Sequence[Pair], rater: str = "") -> list[Offer]:
        """Return at most `count` pairs, the one that teaches most first.

        Of all pairs at most half are considered for a rater at a time, other ones for each, so
        that raters who come at once are not asked the same.

        Args:
            count: how many at most.
            answered: this rater's answers that count; none of these pairs is offered again.
            rater: who is asked.
        """
        chosen: list[Offer] = []
        candidates = self._candidates(answered, rater)
        if len(candidates):
            known = self.belief(answered)
            rates = design.win_rates(known, self._front.layout)
            wanted = design.targets(known, self._front.layout, rates)
            left, right = self._left[candidates], self._right[candidates]
            best, _ = design.best_pairs(known, wanted, left, right, count)
            chosen = [self._offer(int(left[at]), int(right[at])) for at in best]
        if len(chosen) < count:
            keys = {offer.key for offer in chosen}
            more = self._random.offers(count, [*answered, *map(_asked, chosen)])
            chosen += [offer for offer in more if offer.key not in keys]
        return chosen[:count]

    def useful(self, answered: Sequence[Pair]) -> int:
        """Return how many pairs of the pool were not answered."""
        return self._random.useful(answered)

    def believe(self, priors: Sequence[Belief]) -> None:
        """Start from other beliefs from now on."""
        with self._lock:
            self._priors = list(priors)
            self._known.clear()

    def belief(self, answered: Sequence[Pair] = ()) -> Belief:
        """Return what is believed after these answers and the others'."""
        left, right, win = self._table(answered)
        key = left.tobytes() + right.tobytes() + win.tobytes()
        with self._lock:
            found, priors = self._known.get(key), self._priors
        if found is None:
            found = beliefs.learned(priors, left, right, win)
            with self._lock:
                if priors is not self._priors:
                    return found
                while len(self._known) >= REMEMBERED:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = found
        return found

    def win_rates(self, answered: Sequence[Pair] = ()) -> Floats:
        """Return each setting's expected win rate after these answers and the others'."""
        return design.win_rates(self.belief(answered), self._front.layout).mean

    def chances(self, answered: Sequence[Pair] = ()) -> Floats:
        """Return each setting's chance to be on the front after these answers and the others'."""
        known = self.belief(answered)
        rates = design.win_rates(known, self._front.layout)
        rng = np.random.default_rng(self._seed)
        return design.front_chances(known, self._front.layout, rates, rng)

    def _table(self, answered: Sequence[Pair]) -> tuple[Indices, Indices, Floats]:
        """Return the answers that concern the front as arrays, each answer once, in fixed order."""
        rows: dict[tuple[str, ...], Pair] = {}
        for pair in (*self._others(), *answered):
            if pair.left in self._rows and pair.right in self._rows and not pair.repeat:
                rows[pair.key] = pair
        counting = [rows[key] for key in sorted(rows) if rows[key].preferred != "withdrawn"]
        return (
            np.array([self._rows[pair.left] for pair in counting], np.intp),
            np.array([self._rows[pair.right] for pair in counting], np.intp),
            np.array([pair.win for pair in counting], np.float64),
        )

    def _candidates(self, answered: Sequence[Pair], rater: str) -> Indices:
        """Draw pairs that were not answered, at most half of all where there are others left."""
        total, width = len(self._left), len(self._front.digests)
        seen = [sorted((self._rows[pair.left], self._rows[pair.right])) for pair in answered
                if pair.left in self._rows and pair.right in self._rows]
        fresh = np.flatnonzero(~np.isin(
            self._left * width + self._right, [low * width + high for low, high in seen]
        ))
        if not len(fresh):
            return fresh
        text = f"{self._seed}/{rater}/{len(seen)}".encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text).digest()[:8], "big"))
        wanted = min(CANDIDATES, max(1, total // 2), len(fresh))
        return fresh[rng.choice(len(fresh), wanted, replace=False)]

    def _offer(self, left: int, right: int) -> Offer:
        block = self._front.blocks[self._front.block[left]]
        return Offer(self._front.digests[left], self._front.digests[right], block.prompt,
                     block.seed)


_: type[Chooser] = FrontChooser


def chooser_of(folder: RunFolder, labels: Others = nobody, seed: int = 0) -> Callable[
    [Pool], Chooser
]:
    """Return what makes the chooser of a run over its pool, anew whenever a study has added to it.

    Until the pictures have been looked at, which takes seconds where their features are not kept,
    the chooser goes by the trials' intervals alone; so it does for good with a scorer that has no
    features (the stand-in) or cannot be loaded. With fewer than two looks pairs are random.

    Args:
        folder: the run.
        labels: gives the answers of all raters that count.
        seed: of the choice.
    """
    looking, newest = threading.Lock(), [0]

    def choose(pool: Pool) -> Chooser:
        front = read_front(folder)
        if front is None:
            return RandomChooser(pool, seed)
        start = beliefs.from_intervals(front.win_rate, front.low, front.high, front.look)
        chooser = FrontChooser(pool, front, [start], labels, seed)
        newest[0] += 1
        threading.Thread(target=look, args=(newest[0], front, chooser), daemon=True).start()
        return chooser

    def look(number: int, front: Front, chooser: FrontChooser) -> None:
        with looking:
            if number != newest[0]:
                return
            try:
                found = scorer_priors(folder, front)
            except UserError:  # the study itself says what is wrong with its scorer
                return
            if found is not None:
                chooser.believe(found)

    return choose


def scorer_priors(folder: RunFolder, front: Front) -> list[Belief] | None:
    """Return beliefs before any answer by the study's scorer, or None for one without features.

    It is the scorer that the study names, not the run's own fitted one: that one has learned from
    the same answers that are going to be counted here.

    Raises:
        UserError: the scorer or a picture cannot be used.
    """
    spec = read_run(folder.path)[1]
    if spec.scorer.encoder == "standin":
        return None
    from ldmopt.scorers import encoders

    scorer = load_scorer(spec, folder, fitted=False)
    pictures = [folder.picture(digest, front.blocks[column])
                for digest, column in zip(front.digests, front.block, strict=True)]
    scores = scorer.score(pictures)
    least = min((score.value for score in scores if score), default=0.0)
    values = np.array([score.value if score else least for score in scores])
    cached = encoders.load(spec.scorer.encoder)
    fit = cached.judgeable(pictures)
    rows = cached.features([one for one, can in zip(pictures, fit, strict=True) if can])
    features = np.zeros((len(pictures), rows.shape[1]))
    features[np.array(fit, bool)] = rows
    reference = front.layout.pictures[front.layout.default]
    return beliefs.priors(values, features, front.block, reference, front.look)


def _asked(offer: Offer) -> Pair:
    return Pair(offer.left, offer.right, "", "tie", offer.prompt, offer.seed)


def _pairs(pool: Pool, front: Front) -> tuple[Indices, Indices]:
    """Return every pair of different pictures of one block of the front that the pool allows."""
    allowed = {block: set(digests) for block, digests in pool.blocks.items()}
    left: list[int] = []
    right: list[int] = []
    for number, block in enumerate(front.blocks):
        inside: dict[str, int] = {}
        for row in np.flatnonzero(front.block == number):
            digest = front.digests[row]
            if digest in allowed.get(block, ()):
                inside.setdefault(digest, int(row))
        rows = sorted(inside.values())
        first, second = np.triu_indices(len(rows), 1)
        left.extend(rows[at] for at in first)
        right.extend(rows[at] for at in second)
    return np.array(left, np.intp), np.array(right, np.intp)
