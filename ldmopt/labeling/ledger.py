"""The stored answers as the labelling page sees them: read once, and then only what was added."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from ldmopt.labeling.shelf import Gone
from ldmopt.labels import LabelStore, Pair


class Ledger:
    """Every row about a pair, by rater; safe to use from several threads.

    Rows that others add to the database meanwhile (an import, a second page) are seen too.
    """

    def __init__(self, store: LabelStore) -> None:
        """Take an open store, which stays the caller's to close."""
        self._store = store
        self._lock = threading.Lock()
        self._seen = 0
        self._rows: dict[str, list[Pair]] = {}
        self._counting: dict[tuple[str, ...], Pair] = {}
        self._file = None if "://" in store.where else Path(store.where)
        self._inode = self._file.stat().st_ino if self._file else 0

    def add(self, pair: Pair) -> None:
        """Store a row; when this returns, it is on disk.

        Raises:
            Gone: the database was deleted or replaced.
            UserError: the database refused.
        """
        self._check()
        self._store.add([pair])

    def rows(self, rater: str) -> Sequence[Pair]:
        """Return a rater's rows, oldest first.

        Raises:
            Gone: the database was deleted or replaced.
            UserError: the database refused.
        """
        self._read()
        return tuple(self._rows.get(rater, ()))

    def raters(self) -> list[str]:
        """Return who has rows, by name."""
        self._read()
        return sorted(self._rows)

    def counting(self) -> tuple[Pair, ...]:
        """Return everybody's answers that count (see `LabelStore.current`)."""
        self._read()
        with self._lock:
            return tuple(self._counting.values())

    def _read(self) -> None:
        self._check()
        with self._lock:
            found, self._seen = self._store.pairs_after(self._seen)
            for pair in found:
                self._rows.setdefault(pair.rater, []).append(pair)
                if not pair.repeat:
                    self._counting.pop(pair.key, None)
                    if pair.preferred != "withdrawn":
                        self._counting[pair.key] = pair

    def _check(self) -> None:
        """Raise `Gone` where an open database would take rows that nobody will ever find.

        The file is not opened for that: closing it again would drop SQLite's locks on it
        (sqlite.org/howtocorrupt, 2.2).
        """
        if self._file is None:
            return
        try:
            same = self._file.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise Gone("the run's labels.db was deleted or replaced; "
                       "start the labelling page again")
