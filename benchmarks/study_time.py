"""Where a study's time goes: wall seconds of each stage, and what they were spent on.

python benchmarks/study_time.py studies/quickstart.toml [--out RUN]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import ldmopt
from ldmopt.study.folder import RunFolder
from ldmopt.study.session import State


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, help="run folder; a temporary one by default")
    options = parser.parse_args()
    began = last = time.perf_counter()
    stage, stages = "start", defaultdict(float)

    def report(state: State) -> None:
        nonlocal last, stage
        now = time.perf_counter()
        stages[stage] += now - last
        last, stage = now, state.stage

    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary) / "run"
        ldmopt.run(options.study, out, report=report)
        wall = time.perf_counter() - began
        rows = RunFolder(out).read_journal()
    pictures = [row for row in rows if "digest" in row]
    metered = sum(row["cost"]["seconds"] for row in pictures)
    memory = sum(row["busy_seconds"] for row in rows if "memory" in row)
    busy = sum(row["busy_seconds"] for row in rows)
    print(f"{wall:8.1f} s  wall in all, {len(pictures)} pictures")
    for name, seconds in stages.items():
        print(f"{seconds:8.1f} s  stage {name}")
    print(f"{metered:8.1f} s  pictures under the meter")
    print(f"{memory:8.1f} s  memory readings in fresh processes")
    print(f"{busy - metered - memory:8.1f} s  loading, warm-up, PNG encoding")
    print(f"{wall - busy:8.1f} s  the rest: imports, ONNX export, scoring, storage, distillation")


if __name__ == "__main__":
    main()
