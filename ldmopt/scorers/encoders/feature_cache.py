"""Features of pictures on disk, so that no picture is ever encoded twice on one machine.

One SQLite file in the user's cache folder, a row for each picture and encoder. A row's key holds
the digests of both, and the row a checksum over key and features, so nothing can be taken for
another picture's or encoder's. The file is a cache and nothing more: when it is damaged it is
made anew, when it cannot be written the features are computed, and past its largest size the rows
that were not used for longest go. Several processes may use it at once.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ldmopt import machine

Row = NDArray[np.float32]
LARGEST_BYTES = 2_000_000_000
"""Rows go when the file holds more; then a fifth of it is emptied."""
KEYS_AT_ONCE = 500
PATIENCE_SECONDS = 10.0
SCHEMA = """
create table if not exists features (
    encoder text not null, picture text not null, used integer not null,
    checksum blob not null, row blob not null,
    primary key (encoder, picture)
)
"""


def default_path() -> Path:
    """Return the file in the user's cache folder."""
    return machine.cache_folder("features") / "features-1.db"


class FeatureCache:
    """The rows of one encoder."""

    def __init__(
        self, encoder: str, path: Path | None = None, largest_bytes: int = LARGEST_BYTES
    ) -> None:
        """Name an encoder's rows; nothing is opened yet.

        Args:
            encoder: digest of everything that decides a feature.
            path: the file; the user's own where None.
            largest_bytes: what the file may hold.
        """
        self.encoder = encoder
        self.path = path or default_path()
        self.largest_bytes = largest_bytes

    def read(self, digests: Sequence[str]) -> dict[str, Row]:
        """Return the features that are there, by picture digest."""
        found: dict[str, Row] = {}
        if digests and self.path.exists():
            self._use(lambda database: self._read(database, digests, found))
        return found

    def _read(
        self, database: sqlite3.Connection, digests: Sequence[str], found: dict[str, Row]
    ) -> None:
        today, stale = _today(), []
        for start in range(0, len(digests), KEYS_AT_ONCE):
            part = digests[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(part))
            for picture, used, checksum, row in database.execute(
                "select picture, used, checksum, row from features "
                f"where encoder = ? and picture in ({marks})", (self.encoder, *part),
            ):
                if checksum == self._checksum(picture, row):
                    found[picture] = np.frombuffer(row, np.float32)
                    stale += [(today, self.encoder, picture)] * (used != today)
        if stale:
            with database:
                database.executemany(
                    "update features set used = ? where encoder = ? and picture = ?", stale
                )

    def write(self, rows: Mapping[str, Row]) -> None:
        """Keep features; where that cannot be done, nothing is kept and nothing is said."""
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._use(lambda database: self._write(database, rows))

    def _write(self, database: sqlite3.Connection, rows: Mapping[str, Row]) -> None:
        today = _today()
        data = {picture: np.ascontiguousarray(row, np.float32).tobytes()
                for picture, row in rows.items()}
        with database:
            database.executemany(
                "insert or replace into features values (?, ?, ?, ?, ?)",
                [(self.encoder, picture, today, self._checksum(picture, row), row)
                 for picture, row in data.items()],
            )
        self._shrink(database)

    def _shrink(self, database: sqlite3.Connection) -> None:
        """Remove the rows that were not used for longest, where the file holds too much."""
        held = self._held(database)
        if held <= self.largest_bytes:
            return
        (count,) = database.execute("select count(*) from features").fetchone()
        kept = int(count * 0.8 * self.largest_bytes / held)
        with database:
            database.execute(
                "delete from features where (encoder, picture) in (select encoder, picture "
                "from features order by used, encoder, picture limit ?)", (count - kept,),
            )
        # The pages that are free now are filled first, so the file grows no further.

    @staticmethod
    def _held(database: sqlite3.Connection) -> int:
        pages, free, size = (
            database.execute(f"pragma {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _checksum(self, picture: str, row: bytes) -> bytes:
        key = f"{self.encoder}\0{picture}\0".encode()
        return hashlib.blake2b(key + row, digest_size=8).digest()

    def _use(self, action: Callable[[sqlite3.Connection], None]) -> None:
        """Do something with the file, as far as that can be done.

        A damaged file is removed: it is made anew with the next write.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE_SECONDS)) as database:
                # A kill loses nothing that the system was given; after a power cut the
                # checksums tell.
                database.execute("pragma synchronous = off")
                database.execute(SCHEMA)
                action(database)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorname", "") in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
                for name in (f"{self.path.name}-journal", self.path.name):
                    with suppress(OSError):
                        self.path.with_name(name).unlink(missing_ok=True)


def _today() -> int:
    return int(time.time() // 86_400)
