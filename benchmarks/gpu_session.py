"""A whole session on a lent GPU, in the order of use: one command, so that it costs no thought.

Trains the miniature on (resumable), runs the tests that need CUDA, records the cost tables. Each
part is bounded in time, goes on where an earlier session stopped, and leaves its log in the
output folder; a part that fails does not stop the others.

    python benchmarks/gpu_session.py --out OUT            # on the GPU
    python benchmarks/gpu_session.py --out OUT --smoke    # the same in miniature, on a CPU
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable


def parts(out: Path, smoke: bool) -> dict[str, tuple[list[str], float]]:
    """Return each part's command and its bound in seconds."""
    small = ["--shrink", "--most", "2"] if smoke else []
    tables = {
        f"cost-{shape}": ([PYTHON, "benchmarks/cost_table.py", "--shape", shape, "--out",
                           str(out / f"cost-{shape}.csv"), *small], 600.0)
        for shape in ("sd15", "sdxl")
    }
    train = [PYTHON, "-m", "ldmopt.miniature.train", "--out", str(out / "miniature")]
    tests = [PYTHON, "-m", "pytest", "tests/meters", *([] if smoke else ["tests/knobs"])]
    return {
        "train": (train + (["--smoke"] if smoke else []), 540.0),
        "tests": (tests, 300.0),
        **tables,
    }


def main() -> None:
    """Run every part, or those named, and print how each ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="the same in miniature")
    parser.add_argument("--only", nargs="*", help="parts by name")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ended = {}
    for name, (command, bound) in parts(options.out.resolve(), options.smoke).items():
        if options.only and name not in options.only:
            continue
        began = time.perf_counter()
        with (options.out / f"{name}.log").open("ab") as log:
            try:
                code: object = subprocess.run(
                    command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=bound,
                    env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                code = "out of time"
        ended[name] = {"code": code, "seconds": round(time.perf_counter() - began, 1)}
        print(name, ended[name], flush=True)
    (options.out / "session.json").write_text(json.dumps(ended, indent=1) + "\n")
    sys.exit(any(item["code"] not in (0, "out of time") for item in ended.values()))


if __name__ == "__main__":
    main()
