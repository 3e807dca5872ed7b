"""Between the page and the store: what a rater is asked next, and what becomes of an answer."""

from __future__ import annotations

import threading
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ldmopt.errors import LdmoptError
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.questions import Place, Question, key, upcoming
from ldmopt.labeling.shelf import Shelf
from ldmopt.labels import Outcome, Pair

AHEAD = 5
"""Questions that a browser is given at a time, the one that it shows among them."""

SURE = 3
"""So many of them stay what they are; those after them are chosen anew by every answer."""

BACK = 20
"""Answers that a browser is given to take back."""

NAME_LENGTH = 60


class Refusal(LdmoptError):
    """A request that cannot be met: an HTTP status and one line for people."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        """Keep the status for programs."""
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What a browser sends: a row of the store, named by rater, page and step."""

    rater: str
    page: int
    step: int
    left: str
    right: str
    preferred: Outcome


class Desk:
    """Asks and stores; safe to call from several threads."""

    def __init__(
        self, ledger: Ledger, shelf: Shelf, *, wanted: int = 100, seed: int = 0
    ) -> None:
        """Take what the desk works with.

        Args:
            ledger: where answers go.
            shelf: what may be shown, and the chooser.
            wanted: answers hoped for from each rater.
            seed: of sides and repeats.
        """
        self._ledger = ledger
        self._shelf = shelf
        self._wanted = wanted
        self._seed = seed
        self._adding = threading.Lock()
        self._planning: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._planned: dict[str, list[Question]] = {}

    def raters(self) -> list[dict[str, Any]]:
        """Return who has answered here, and how much; people only."""
        self._shelf.check()
        found = ((rater, self._ledger.rows(rater)) for rater in self._ledger.raters())
        return [{"rater": rater, "answered": len(Place(rows).standing)}
                for rater, rows in found if not any(row.simulated for row in rows)]

    def queue(self, rater: str) -> dict[str, Any]:
        """Return a rater's progress, next questions and newest answers, as JSON data.

        Raises:
            Refusal: the name cannot be used, or the run is gone.
        """
        rater = checked_name(rater)
        place = self._place(rater)
        with self._planning[rater]:
            chooser, blocks = self._shelf.chooser, self._shelf.blocks
            found = upcoming(
                rater, place, chooser, count=AHEAD + len(place.reopened), seed=self._seed,
                planned=self._planned.get(rater, ()), known=blocks,
            )
            new = [question for question in found if question.page > place.last]
            self._planned[rater] = new[:SURE]
        useful = chooser.useful(list(place.counting.values()))
        return {
            **self._progress(rater, place),
            "useful": useful,
            "next": [_shown(question, question.page, question.step) for question in found],
            "past": [
                {**_shown(row, page, len(place.pages[page])), "preferred": row.preferred}
                for page, row in list(place.standing.items())[-BACK:]
            ],
        }

    def answer(self, answer: Answer) -> dict[str, Any]:
        """Store an answer, or the withdrawal of one, once; return the rater's progress.

        When this returns, the row is on disk. A row that is there already is not added again.

        Raises:
            Refusal: the row contradicts what is stored, or names pictures that may not be
                labelled; nothing was written.
        """
        rater = checked_name(answer.rater)
        with self._adding:
            place = self._place(rater)
            rows = place.pages.get(answer.page, [])
            if answer.step < len(rows):
                _same(answer, rows[answer.step])
                return self._progress(rater, place)
            pair = self._pair(answer, rater, place, rows)
            self._ledger.add(pair)
            return self._progress(rater, self._place(rater))

    def _pair(self, answer: Answer, rater: str, place: Place, rows: Sequence[Pair]) -> Pair:
        """Return the row that an answer would add."""
        if answer.step > len(rows) or (not rows and answer.page != place.last + 1):
            raise Refusal(HTTPStatus.CONFLICT, "an answer before this one is missing here; "
                                               "the page will show where you are")
        if (answer.step % 2 == 1) != (answer.preferred == "withdrawn"):
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "preferred: 'withdrawn' goes with odd "
                                                           "steps and answers go with even ones")
        if rows and (rows[0].left, rows[0].right) != (answer.left, answer.right):
            raise Refusal(HTTPStatus.CONFLICT, "that question showed other pictures; "
                                               "the page will show where you are")
        blocks = self._shelf.blocks
        block = blocks.get(answer.left)
        if block is None or answer.right not in blocks:
            raise Refusal(HTTPStatus.NOT_FOUND, "left, right: not pictures that may be labelled "
                                                "in this run")
        if blocks[answer.right] != block or answer.left == answer.right:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "left, right: must be two pictures of "
                                                           "one prompt and seed")
        if answer.preferred == "withdrawn":
            repeat = rows[-1].repeat
        else:
            repeat = key(Pair(answer.left, answer.right, rater, "tie")) in place.counting
        return Pair(answer.left, answer.right, rater, answer.preferred, block.prompt, block.seed,
                    page=answer.page, repeat=repeat)

    def _progress(self, rater: str, place: Place) -> dict[str, Any]:
        return {"rater": rater, "answered": len(place.standing), "wanted": self._wanted}

    def _place(self, rater: str) -> Place:
        self._shelf.check()
        rows = self._ledger.rows(rater)
        if any(row.simulated for row in rows):
            raise Refusal(HTTPStatus.CONFLICT, f"rater: {rater!r} is a simulated rater's name "
                                               "here; take another one")
        return Place(rows)


def checked_name(name: str) -> str:
    """Return a rater's name in one form.

    Raises:
        Refusal: empty, too long, or not printable.
    """
    found = unicodedata.normalize("NFC", " ".join(name.split()))
    if not found or len(found) > NAME_LENGTH or not found.isprintable():
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY,
                      f"rater: a name has 1 to {NAME_LENGTH} printable characters")
    return found


def _shown(pair: Pair | Question, page: int, step: int) -> dict[str, Any]:
    """Return what the browser may know of a question: not its settings, seed, nor if it repeats."""
    return {"page": page, "step": step, "left": pair.left, "right": pair.right,
            "prompt": pair.prompt}


def _same(answer: Answer, row: Pair) -> None:
    """Refuse an answer that says other than the row of its name."""
    said = (answer.left, answer.right, answer.preferred)
    if said != (row.left, row.right, row.preferred):
        raise Refusal(HTTPStatus.CONFLICT, "this question was answered in another window; "
                                           "the page will show where you are")
