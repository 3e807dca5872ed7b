"""How well the cost model predicts what it has not read: on a recorded table, on published timings.

``--recorded``: a study's own probe (`ldmopt.study.probing`) runs on a replay of the recorded table,
which books what each reading would have taken: its calls, loading left out as everywhere. After
each reading all cells of the grid are predicted, picture settings x ways of running, and held
against the table. A share of the grid is what was spent over the device seconds of all its cells,
32 pictures each; the stricter one is over those of the picture settings run as the default is.
``--again`` is a journal of the same cells recorded once more: what the table itself is worth.

``--published``: for each GPU of a table a share of its cells is read, chosen one after the other
by what they say most about the rest; the others are predicted. What is printed is the median and
the 90 % quantile of the relative error, and how many of the predictions' 95 % intervals hold.
Cells that ran out of memory are left out. The tables are those of lambda-diffusers (seconds and
memory over precision, xformers, batch), as CSV; nothing of ldmopt depends on them. Memory is held
against batches up to 16 only: from 32 on the published peaks fall below those of smaller batches
on every GPU, so something else was changed there.

    python benchmarks/cost_model.py --recorded benchmarks/tables/miniature
    python benchmarks/cost_model.py --published ../shared/tables [--json FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from record_costs import EXECUTION, known
from record_quality import GRID
from search_table import cells, product

from ldmopt import machine
from ldmopt.contracts import Cost, Setting
from ldmopt.hosts.replay import ReplayHost
from ldmopt.knob import Context, Space, build_space
from ldmopt.model import describe
from ldmopt.recording import Recording
from ldmopt.search import samples
from ldmopt.search.cost import CostModel
from ldmopt.search.pricing import Pricing
from ldmopt.search.surface import JUMPY, USUAL, Cell, Form, Surface
from ldmopt.study.bench import Bench
from ldmopt.study.folder import RunFolder
from ldmopt.study.probing import CALLS, MOST, TOLERANCE, Probe, counter

NATIVE = 512 * 512
FORMS = {"picture": Form({"picture": 1.0}, {}, USUAL), "memory": Form({"memory": 1.0}, {}, JUMPY)}
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


def chosen(cells: Sequence[Cell], values: Sequence[float], count: int) -> list[int]:
    """Return which cells to read: the first, then each time the one that says most."""
    order = [0]
    while len(order) < count:
        surface = Surface.fit([cells[i] for i in order], [values[i] for i in order],
                              [0.01] * len(order), FORMS[cells[0].quantity])
        left = [i for i in range(len(cells)) if i not in order]
        gains = surface.gains([[cells[i]] for i in left], [cells[i] for i in left])
        order.append(left[int(np.argmax(gains))])
    return order


def errors(cells: Sequence[Cell], values: Sequence[float], read: Sequence[int]) -> tuple[
    np.ndarray, np.ndarray
]:
    """Return relative errors of the cells that were not read, and their standard scores."""
    surface = Surface.fit([cells[i] for i in read], [values[i] for i in read],
                          [0.01] * len(read), FORMS[cells[0].quantity])
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


@contextmanager
def session_of(recording: Recording) -> Iterator[Any]:
    """Give what a study's probe works on: a replay of a table whose default was just read."""
    space = build_space({}, {**EXECUTION, **GRID},
                        Context(describe("miniature"), "cpu", machine.packages()))
    with tempfile.TemporaryDirectory() as path:
        host, folder = ReplayHost(recording), RunFolder(path)
        folder.create()
        session = SimpleNamespace(
            space=space, bench=Bench(host, folder, space), blocks=recording.blocks,
            tell=lambda **_: None, note=print)
        session.bench.time(space.default, recording.blocks[0], CALLS)
        session.bench.memory(space.default)
        yield session


def replayed(folder: Path, tolerance: float, most: int, draws: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each reading of a probe that runs on a recorded table."""
    recording = Recording.read(folder)
    with session_of(recording) as session:
        space, pictures = session.space, product(GRID)
        ways = distinct(space)
        seconds, memory = cells(recording, pictures, ways)
        made = len(recording.blocks)
        plain = [space.canonical(way) for way in ways].index(space.default)
        whole, strict = made * seconds.sum(), made * seconds[:, plain].sum()
        probe = Probe(session, whole, tolerance, most)
        for seed in range(1, draws):
            probe.targets += samples(space, seed)
        for kind, truth in (("seconds", seconds), ("memory", memory)):
            models = enumerate(getattr(probe, kind)())
            for number, model in models:
                row = {"kind": kind, "readings": number, "spent": session.bench.spent_seconds,
                       "share": session.bench.spent_seconds / whole,
                       "strict_share": session.bench.spent_seconds / strict}
                if number & (number - 1) == 0 or number % 50 == 0:
                    yield row | held(model, session, kind, pictures, ways, truth)
                    row = {}
            if row:
                yield row | held(model, session, kind, pictures, ways, truth)


def distinct(space: Space) -> list[dict[str, Any]]:
    """Return each way of running once, among those that can be had."""
    found: dict[Setting, dict[str, Any]] = {}
    for way in product(EXECUTION):
        setting = space.canonical(way)
        if not space.refusal(setting):
            found.setdefault(setting, way)
    return list(found.values())


def held(
    model: CostModel, session: Any, kind: str, pictures: Sequence[dict[str, Any]],
    ways: Sequence[dict[str, Any]], truth: np.ndarray,
) -> dict[str, float]:
    """Hold the predictions of all cells against the table."""
    began = time.perf_counter()
    pricing = Pricing(model, session.space, counter(session), len(session.blocks))
    found = pricing.predict(pictures, ways)
    value = found.seconds if kind == "seconds" else found.memory
    spread = found.seconds_deviation if kind == "seconds" else found.memory_deviation
    surface = model.seconds_surface if kind == "seconds" else model.memory_surface
    noise = math.hypot(surface.parts["noise"], surface.parts["weather"])
    error = np.abs(value / truth - 1.0)
    unread = ~read_cells(session, kind, pictures, ways)
    return {"median_error": float(np.median(error)), "error_90": float(np.quantile(error, 0.9)),
            "median_error_unread": float(np.median(error[unread])) if unread.any() else 0.0,
            "unread": float(unread.mean()),
            "held_by_95": float((np.abs(np.log(truth / value)) < 1.96 * np.hypot(
                spread, noise)).mean()),
            "seconds_of_predicting": time.perf_counter() - began}


def read_cells(
    session: Any, kind: str, pictures: Sequence[dict[str, Any]], ways: Sequence[dict[str, Any]]
) -> np.ndarray:
    """Return `(m, e)`, of which cells the way of running was read at their size and guidance."""
    def key(setting: Setting, guided: bool) -> tuple[str, str, bool]:
        way = {name: value for name, value in setting.items() if name in EXECUTION}
        return Setting(way).json(), str(setting["size"]), guided

    known = ({key(one, float(one["guidance"]) > 1) for one in session.bench.readings()}
             if kind == "seconds" else
             {key(one, bool(one["guided"])) for one, _ in session.bench.memories()})
    looks = {(size, guided): [key(session.space.canonical({**way, "size": size}), guided) in known
                              for way in ways]
             for size in GRID["size"] for guided in (True, False)}
    return np.array([looks[item["size"], item["guidance"] > 1.0] for item in pictures])


def noise(journals: Sequence[Path]) -> str:
    """Say how far two recordings of the same cells lie apart."""
    first, second = map(known, journals)
    both = [(Cost.from_dict(line["cost"]), Cost.from_dict(second[setting]["cost"]))
            for setting, line in first.items()
            if setting in second and "cost" in line and "cost" in second[setting]]
    apart = np.abs(np.log([one.seconds / other.seconds for one, other in both]))
    return (f"{len(both)} cells recorded twice: seconds differ by {np.median(apart):.1%} in the "
            f"median, 90 % by less than {np.quantile(apart, 0.9):.1%}")


def show_replayed(row: dict[str, Any]) -> None:
    """Print a row of a replayed probe."""
    print(f"{row['kind']:8} {row['readings']:3d} readings, {row['spent']:7.2f} s spent, "
          f"{row['share']:.4%} of the grid ({row['strict_share']:.3%} of its pictures once): "
          f"median error {row['median_error']:.1%}, 90 % below {row['error_90']:.1%}, of the "
          f"{row['unread']:.0%} not read {row['median_error_unread']:.1%}; 95 % intervals hold "
          f"{row['held_by_95']:.0%}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, help="folder of the published tables")
    parser.add_argument("--recorded", type=Path, help="folder of a recorded table")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE,
                        help="mean deviation at which the probe ends")
    parser.add_argument("--most", type=int, default=MOST, help="readings of a kind at the most")
    parser.add_argument("--draws", type=int, default=1,
                        help="draws of 200 settings that readings are chosen among")
    parser.add_argument("--again", type=Path, nargs=2, metavar="JOURNAL",
                        help="two journals of record_costs.py of the same cells")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.again:
        print(noise(options.again))
    if options.recorded:
        for row in replayed(options.recorded, options.tolerance, options.most,
                            options.draws):
            show_replayed(row)
            rows.append(row)
    if options.published:
        rows += measure(options.published)
    for row in rows:
        if "quantity" in row:
            print(f"{row['quantity']:8} {row['read']:3d} of {row['cells']} cells read: median "
                  f"error {row['median_error']:.1%}, 90 % below {row['error_90']:.1%}, 95 % "
                  f"intervals hold {row['held_by_95']:.0%}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
