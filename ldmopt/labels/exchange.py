"""Labels in and out of a store as CSV."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmopt.errors import UserError, did_you_mean
from ldmopt.labels.csv_files import read_csv, write_csv
from ldmopt.labels.pictures import Pictures
from ldmopt.labels.records import KINDS, Keep, Label, Labels, Pair, Rating, counting, repeated
from ldmopt.labels.store import LabelStore
from ldmopt.labels.strict_csv import Progress


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        added: new labels, corrections included.
        corrected: those of them that replace an earlier answer of the same rater.
        unchanged: rows that say what the store already says; nothing is written for them.
        simulated: rows of simulated raters among all.
        pictures: picture files that were taken in; a run takes none.
        without_prompt: labelled pictures of the file of which no prompt is known.
    """

    added: int = 0
    corrected: int = 0
    unchanged: int = 0
    simulated: int = 0
    pictures: int = 0
    without_prompt: int = 0


def import_csv(
    store: LabelStore,
    path: str | os.PathLike[str],
    known: Mapping[str, Any] | Iterable[str],
    progress: Progress | None = None,
) -> Imported:
    """Add the labels of a CSV file (`labels.csv_files` has the layouts): all of them, or none.

    A picture is its digest, the first 8 or more characters of it, or the path of a PNG, JPEG or
    WebP file (relative to the CSV), which is known by its pixels. Rows that repeat what the store
    already holds change nothing.

    Args:
        store: where the labels go.
        path: the CSV file, UTF-8 with or without a byte-order mark.
        known: digests that may be labelled; a mapping may give each one's `contracts.Block`.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: names file, row, column, rule, value and the way out; nothing was written.
    """
    return take_in(store, read_csv(Path(path), Pictures(Path(path).parent, known), progress))


def take_in(store: LabelStore, labels: Labels) -> Imported:
    """Add the labels that the store does not hold yet, in one transaction.

    Raises:
        UserError: the database refused; then none of them was added.
    """
    history = store.history(kind for kind in KINDS if getattr(labels, kind))
    before = {_key(row): row for row in counting(history)}
    repeats: dict[tuple[str, ...], list[Pair]] = {}
    for pair in repeated(history):
        repeats.setdefault(pair.key, []).append(pair)
    del history
    added = [
        row for row in labels
        if not (_repeated(repeats.get(row.key, ()), row) if isinstance(row, Pair) and row.repeat
                else _says(before.get(_key(row)), row))
    ]  # fmt: skip
    corrected = sum(
        _key(row) in before for row in added if not (isinstance(row, Pair) and row.repeat)
    )
    store.add(added)
    return Imported(len(added), corrected, len(labels) - len(added), labels.simulated)


def export_csv(
    store: LabelStore,
    path: str | os.PathLike[str],
    kind: str | None = None,
) -> dict[Path, int]:
    """Write the labels that count, and repeats, in the layouts that `import_csv` reads.

    Args:
        store: where the labels are.
        path: the file.
        kind: which layout to write: ratings holds keeps too. Without it, the one that there are
            labels for; where there are for both, ratings go to `path` and pairs beside it
            (``labels.csv``, ``labels.pairs.csv``).

    Returns:
        The number of rows of every file written.

    Raises:
        UserError: unknown kind, or a file cannot be written.
    """
    if kind not in ("ratings", "pairs", None):
        hint = did_you_mean(kind, ("ratings", "pairs"))
        raise UserError(f"labels export: kind must be ratings or pairs, not {kind!r}{hint}")
    history, target = store.history(), Path(path)
    labels = counting(history)
    singles = (*labels.ratings, *labels.keeps)
    pairs = (*labels.pairs, *repeated(history))
    if kind == "pairs" or (kind is None and pairs and not singles):
        return {target: write_csv(target, "pairs", pairs)}
    written = {target: write_csv(target, "ratings", singles)}
    if kind is None and pairs:
        beside = target.with_name(f"{target.stem}.pairs{target.suffix}")
        written[beside] = write_csv(beside, "pairs", pairs)
    return written


def _key(label: Label) -> tuple[object, ...]:
    return (type(label), *label.key)


def _repeated(old: Iterable[Pair], new: Pair) -> bool:
    """Tell whether the store already holds this repeat; without a page, any alike is the one."""
    return any(_says(row, new) and new.page in (None, row.page) for row in old)


def _says(old: Label | None, new: Label) -> bool:
    """Tell whether the store already holds this answer; pairs may be the other way round."""
    if old is None or old.simulated != new.simulated:
        return False
    if isinstance(old, Rating) and isinstance(new, Rating):
        return (old.rating, old.low, old.high) == (new.rating, new.low, new.high)
    if isinstance(old, Pair) and isinstance(new, Pair):
        same = old.win if old.left == new.left else 1.0 - old.win
        return same == new.win and (old.preferred == new.preferred or same != 0.5)
    return isinstance(old, Keep) and isinstance(new, Keep) and old.keep == new.keep
