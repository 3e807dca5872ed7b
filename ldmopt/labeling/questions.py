"""Who is asked what: a rater's place, the side of each picture, and the pairs asked again.

Everything here follows from the rater's stored rows, a seed and the chooser, so a page that is
killed and started again goes on where its raters were.

A rater's questions are numbered from 1; the number is stored as `Pair.page`. The rows of one
number are, in order, an answer, its withdrawal (undo), another answer, and so on, so a row's place
among them, the *step*, says which of these it is: even steps answer, odd ones withdraw. Rater,
number and step together name a row for good, which makes sending one twice harmless.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ldmopt.labeling.choose import Chooser, Offer
from ldmopt.labels import Pair

REPEAT_EVERY = 10
"""One question in so many is a pair that the rater has answered before."""

REPEAT_AFTER = 8
"""A pair comes back no sooner than so many questions later."""

APART = 2
"""A picture stays away for so many questions, where the chooser has others to offer."""

SPARE = 12
"""So many offers more than needed are asked for, to find others among them."""


@dataclass(frozen=True)
class Question:
    """One pair as it is shown to one rater.

    Attributes:
        page: the question's number, from 1.
        step: how many rows of this number are stored already; always even.
        left: digest of the picture on the left.
        right: digest of the picture on the right.
        prompt: what both were made for.
        seed: the seed of both.
        repeat: the pair was asked before; the rater is not told.
    """

    page: int
    step: int
    left: str
    right: str
    prompt: str
    seed: int
    repeat: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """The same for both orders of the two pictures."""
        return key(self)


def key(pair: Pair | Offer | Question) -> tuple[str, str]:
    """Return the two digests in alphabetical order."""
    first, second = sorted((pair.left, pair.right))
    return first, second


class Place:
    """Where one rater is, read from that rater's rows, oldest first."""

    def __init__(self, rows: Sequence[Pair]) -> None:
        """Take the rows of one rater."""
        self.pages: dict[int, list[Pair]] = {}
        counting: dict[tuple[str, str], Pair] = {}
        for row in rows:
            if row.page is not None:
                self.pages.setdefault(row.page, []).append(row)
            if not row.repeat:
                counting.pop(key(row), None)
                if row.preferred != "withdrawn":
                    counting[key(row)] = row
        self.counting: Mapping[tuple[str, str], Pair] = counting
        """The answers that count, by their pictures, in the order in which they came to count."""

    @property
    def last(self) -> int:
        """The highest number that was ever answered; 0 before the first."""
        return max(self.pages, default=0)

    @property
    def standing(self) -> dict[int, Pair]:
        """The answers that were not taken back, repeats among them, by number."""
        return {page: rows[-1] for page, rows in sorted(self.pages.items())
                if rows[-1].preferred != "withdrawn"}

    @property
    def reopened(self) -> dict[int, Pair]:
        """The withdrawals that wait for another answer, by number."""
        return {page: rows[-1] for page, rows in sorted(self.pages.items())
                if rows[-1].preferred == "withdrawn"}


def upcoming(
    rater: str, place: Place, chooser: Chooser, *, count: int, seed: int = 0,
    planned: Sequence[Question] = (), known: Collection[str] | None = None,
) -> list[Question]:
    """Return the next questions of a rater, soonest first.

    What was taken back comes first, then what was planned before and still holds, then offers of
    the chooser, with one question in `REPEAT_EVERY` a pair from before.

    Args:
        rater: the name.
        place: where the rater is.
        chooser: names the pairs.
        count: how many at most.
        seed: of sides and repeats.
        planned: what was returned last time; the browser may hold it already.
        known: digests that can be shown; None for all.
    """
    found = [Question(page, len(place.pages[page]), row.left, row.right, row.prompt, row.seed or 0,
                      row.repeat) for page, row in place.reopened.items()]
    taken = set(place.counting) | {question.key for question in found}
    last = place.last
    for question in planned:
        if question.page == last + 1 and _shown(question, known) and (
            question.repeat or question.key not in taken
        ):
            found.append(question)
            taken.add(question.key)
            last += 1
    new = count - len(found)
    if new <= 0:
        return found[:count]
    answered = list(place.counting.values())
    offers = [offer for offer in chooser.offers(new + len(found) + SPARE, answered, rater)
              if offer.key not in taken and _shown(offer, known)]
    before = sorted(place.pages.items())[-APART:]
    shown: list[Pair | Question] = [*(rows[-1] for _, rows in before), *found]
    while offers and len(found) < count:
        last += 1
        again = _repeat(rater, place, last, seed, known, {question.key for question in found})
        offer = again or _apart(offers, shown[-APART:])
        offers = [other for other in offers if other.key != offer.key]
        found.append(_sided(rater, last, seed, offer, again is not None))
        shown.append(found[-1])
    return found


def _shown(pair: Offer | Question | Pair, known: Collection[str] | None) -> bool:
    return known is None or (pair.left in known and pair.right in known)


def _apart(offers: Sequence[Offer], before: Sequence[Pair | Question]) -> Offer:
    """Return the first offer without a picture that was just on the page, else the first."""
    pictures = {picture for pair in before for picture in (pair.left, pair.right)}
    new = (offer for offer in offers if pictures.isdisjoint((offer.left, offer.right)))
    return next(new, offers[0])


def _sided(rater: str, page: int, seed: int, offer: Offer, repeat: bool) -> Question:
    """Draw the sides of a question."""
    sides = sorted((offer.left, offer.right))
    if random.Random(f"{seed}/side/{rater}/{page}").random() < 0.5:
        sides.reverse()
    return Question(page, 0, sides[0], sides[1], offer.prompt, offer.seed, repeat)


def _repeat(
    rater: str, place: Place, page: int, seed: int, known: Collection[str] | None,
    near: Collection[tuple[str, str]],
) -> Offer | None:
    """Return an earlier pair if this number asks one again: one number drawn from every ten."""
    group, position = divmod(page - 1, REPEAT_EVERY)
    rng = random.Random(f"{seed}/repeat/{rater}/{group}")
    if position != rng.randrange(REPEAT_EVERY):
        return None
    standing = place.standing
    before = {key(row) for row in standing.values() if row.repeat}
    fit = [row for number, row in standing.items()
           if number <= page - REPEAT_AFTER and not row.repeat and row.seed is not None
           and key(row) not in before and key(row) not in near and _shown(row, known)]
    if not fit:
        return None
    row = rng.choice(fit)
    return Offer(row.left, row.right, row.prompt, row.seed or 0)
