"""Labels in and out of a run or a collection."""

from __future__ import annotations

from pathlib import Path

from ldmopt.errors import UserError
from ldmopt.labels import Imported, LabelStore, export_csv, take_in
from ldmopt.labels.csv_files import read_csv
from ldmopt.labels.pictures import Pictures
from ldmopt.study.collection import Collection, Progress, open_gallery
from ldmopt.study.folder import RunFolder


def labels_import(
    where: str | Path, path: str | Path, *, progress: Progress | None = None
) -> Imported:
    """Take labels from a CSV file into a run or a collection.

    Where the folder is neither, and the CSV names picture files, a collection is made of it.

    Args:
        where: a run, a collection, or a folder that is new.
        path: the CSV file.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: no such folder, or a row that cannot be used: then none is taken.
    """
    run = RunFolder(where)
    if not run.exists():
        return Collection(where).take(path, progress)
    labels = read_csv(Path(path), Pictures(Path(path).parent, run.blocks()), progress)
    with LabelStore(run.labels) as store:
        return take_in(store, labels)


def labels_export(
    where: str | Path, path: str | Path, kind: str | None = None
) -> dict[Path, int]:
    """Write the labels of a run or a collection to CSV; return the rows of every file written.

    Args:
        where: a run or a collection.
        path: the CSV file.
        kind: the layout; without it, ratings go to `path` and pairs beside it.

    Raises:
        UserError: neither a run nor a collection, no label in it, no such layout, or the file
            cannot be written.
    """
    gallery = open_gallery(where)
    if not gallery.labels.exists():
        raise UserError(f"{str(gallery.path)!r} has no labels; bring some with:"
                        f" ldmopt labels import {gallery.path} RATINGS.csv")
    with LabelStore(gallery.labels) as store:
        return export_csv(store, path, kind)
