"""A whole session on a lent GPU, in the order of use: one command, so that it costs no thought.

Runs the tests that need CUDA, measures every execution knob on SD 1.5's and SDXL's shapes at their
native sizes, and, where asked to, trains the miniature on. Each part is bounded in time, goes on
where an earlier session stopped, and leaves its log in the output folder; a part that fails does
not stop the others. Tables with their environment land in ``benchmarks/tables``, to be committed.

    python benchmarks/gpu_session.py --out OUT                        # on the GPU
    python benchmarks/gpu_session.py --out OUT --tables OUT/tables    # where only OUT comes back
    python benchmarks/gpu_session.py --out OUT --smoke                # in miniature, on a CPU
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
SHAPES = ("sd15", "sdxl")


def parts(out: Path, tables: Path, smoke: bool) -> dict[str, tuple[list[str], float]]:
    """Return each part's command and its bound in seconds; ``train`` runs where asked for."""
    small = ["--shrink", "--most", "1"] if smoke else []
    measure = {
        f"cost-{shape}": ([PYTHON, "benchmarks/cost_table.py", "--shape", shape, "--out",
                           str(tables), "--log", str(out / f"host-{shape}.log"), *small], 900.0)
        for shape in SHAPES
    }
    tests = ["tests/meters/test_cuda.py"] if smoke else ["tests/meters", "tests/knobs",
                                                         "tests/child"]
    train = [PYTHON, "-m", "ldmopt.miniature.train", "--out", str(out / "miniature")]
    return {
        "tests": ([PYTHON, "-m", "pytest", "-rs", *tests], 300.0),
        **measure,
        "train": (train + (["--smoke"] if smoke else []), 540.0),
    }


def run(name: str, command: list[str], bound: float, out: Path) -> dict[str, object]:
    """Run one part, its output in a log; return how it ended."""
    began = time.perf_counter()
    with (out / f"{name}.log").open("ab") as log:
        try:
            code: object = subprocess.run(
                command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=bound,
                env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            code = "out of time"
    return {"code": code, "seconds": round(time.perf_counter() - began, 1)}


def over_floor(tables: Path) -> Iterator[str]:
    """Yield, for each shape and guidance, what the base and the fastest setting take."""
    for path in sorted(tables.glob("*.csv")):
        with path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["over_floor"]]
        for guided in (True, False):
            found = [row for row in rows
                     if (float(json.loads(row["setting"])["guidance"]) > 1) is guided]
            for row in _base_and_fastest(found):
                yield (f"{path.stem} {'guided' if guided else 'unguided'} "
                       f"{row['changed'] or 'base'}: {float(row['seconds']):.4g} s, "
                       f"{float(row['over_floor']):.2f} times the floor of "
                       f"{float(row['floor_seconds']):.4g} s ({float(row['flops']):.4g} FLOPs)")


def _base_and_fastest(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    if not rows:
        return []
    base = [row for row in rows if not row["changed"]]
    fastest = min(rows, key=lambda row: float(row["seconds"]))
    return [*base, *([fastest] if fastest not in base else [])]


def main() -> None:
    """Run every part, or those named, and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for logs and the model")
    parser.add_argument("--tables", type=Path, help="folder for tables; benchmarks/tables")
    parser.add_argument("--smoke", action="store_true", help="the same in miniature")
    parser.add_argument("--train", action="store_true", help="train the miniature on, at the end")
    parser.add_argument("--only", nargs="*", help="parts by name")
    options = parser.parse_args()
    out = options.out.resolve()
    tables = out / "tables" if options.smoke else ROOT / "benchmarks" / "tables"
    tables = options.tables.resolve() if options.tables else tables
    out.mkdir(parents=True, exist_ok=True)
    known = parts(out, tables, options.smoke)
    chosen = options.only or [name for name in known if name != "train" or options.train]
    ended = {}
    for name in chosen:
        ended[name] = run(name, *known[name], out)
        print(name, ended[name], flush=True)
    for line in over_floor(tables):
        print(line)
    (out / "session.json").write_text(json.dumps(ended, indent=1) + "\n")
    sys.exit(any(item["code"] not in (0, "out of time") for item in ended.values()))


if __name__ == "__main__":
    main()
