"""How well the cost model predicts what it has not read, on timings that others published.

For each GPU of a table a share of its cells is read, chosen one after the other by what they say
most about the rest; the others are predicted. What is printed is the median and the 90 % quantile
of the relative error, and how many of the predictions' 95 % intervals hold. Cells that ran out of
memory are left out. The tables are those of lambda-diffusers (seconds and memory over precision,
xformers, batch), as CSV; nothing of ldmopt depends on them. Memory is held against batches up to
16 only: from 32 on the published peaks fall below those of smaller batches on every GPU, so
something else was changed there.

    python benchmarks/cost_model.py --published FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ldmopt.search.surface import JUMPY, USUAL, Cell, Surface

NATIVE = 512 * 512
GROWTH = {"picture": 1.0, "memory": 1.0}
LARGEST_BATCH = 16
SHARES = (0.2, 0.35, 0.5)


def published(folder: Path) -> dict[str, list[tuple[Cell, float, float]]]:
    """Return GPU -> (cell, seconds a picture, bytes) of the published table."""
    found: dict[str, dict[Any, tuple[Cell, float, float]]] = defaultdict(dict)
    for path in sorted((folder / "lambda-diffusers").glob("benchmark*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                seconds, memory = float(row["latency"]), float(row["memory"])
                if seconds <= 0 or memory <= 0:
                    continue
                batch = int(row["n_samples"])
                values = {name: row[name].strip().lower()
                          for name in ("precision", "autocast", "xformers", "runtime")}
                cell = Cell("picture", values, NATIVE, batch)
                key = (*sorted(values.items()), batch)
                found[row["device"].strip()].setdefault(key, (cell, seconds / batch, memory * 1e9))
    return {name: list(rows.values()) for name, rows in found.items() if len(rows) >= 12}


def memory_cells(
    table: Sequence[tuple[Cell, float, float]]
) -> list[tuple[Cell, float, float]]:
    """Return the cells as the model sees memory: all pixels in flight at once."""
    return [(Cell("memory", cell.values, cell.pixels * cell.batch, 1), seconds, peak)
            for cell, seconds, peak in table if cell.batch <= LARGEST_BATCH]


def usual(cells: Sequence[Cell]) -> Mapping[str, float]:
    """Return what the model takes for usual of these cells."""
    return JUMPY if cells[0].quantity == "memory" else USUAL


def chosen(cells: Sequence[Cell], values: Sequence[float], count: int) -> list[int]:
    """Return which cells to read: the first, then each time the one that says most."""
    order = [0]
    while len(order) < count:
        surface = Surface.fit([cells[i] for i in order], [values[i] for i in order],
                              [0.01] * len(order), GROWTH, usual(cells))
        left = [i for i in range(len(cells)) if i not in order]
        gains = surface.gains([cells[i] for i in left], [cells[i] for i in left])
        order.append(left[int(np.argmax(gains))])
    return order


def errors(cells: Sequence[Cell], values: Sequence[float], read: Sequence[int]) -> tuple[
    np.ndarray, np.ndarray
]:
    """Return relative errors of the cells that were not read, and their standard scores."""
    surface = Surface.fit([cells[i] for i in read], [values[i] for i in read],
                          [0.01] * len(read), GROWTH, usual(cells))
    left = [i for i in range(len(cells)) if i not in read]
    mean, covariance = surface.predict([cells[i] for i in left])
    truth = np.log([values[i] for i in left])
    spread = np.sqrt(np.diag(covariance) + surface.parts["noise"] ** 2)
    return np.abs(np.exp(mean - truth) - 1.0), (truth - mean) / spread


def measure(folder: Path) -> list[dict[str, Any]]:
    """Return one row for each quantity and share of cells read."""
    rows = []
    for column, quantity in ((1, "seconds"), (2, "memory")):
        for share in SHARES:
            every, scores, cells_read, cells_all = [], [], 0, 0
            for table in published(folder).values():
                if quantity == "memory":
                    table = memory_cells(table)
                cells, values = [row[0] for row in table], [row[column] for row in table]
                read = chosen(cells, values, max(4, round(share * len(cells))))
                error, score = errors(cells, values, read)
                every.append(error)
                scores.append(score)
                cells_read, cells_all = cells_read + len(read), cells_all + len(cells)
            error, score = np.concatenate(every), np.concatenate(scores)
            rows.append({
                "quantity": quantity, "read": cells_read, "cells": cells_all,
                "median_error": float(np.median(error)),
                "error_90": float(np.quantile(error, 0.9)),
                "held_by_95": float((np.abs(score) < 1.96).mean()),
            })
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    rows = measure(options.published)
    for row in rows:
        print(f"{row['quantity']:8} {row['read']:3d} of {row['cells']} cells read: median error "
              f"{row['median_error']:.1%}, 90 % below {row['error_90']:.1%}, 95 % intervals hold "
              f"{row['held_by_95']:.0%}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
