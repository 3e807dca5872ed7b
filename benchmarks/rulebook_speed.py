"""Seconds and peak memory of the rulebook and of the report, on simulated studies.

- distill: `distill` alone on 20,000 observations, in three shapes;
- table: `ldmopt import` and `ldmopt rulebook` on a CSV of 20,000 ratings, as a user would;
- report: `ldmopt report` on an imported run of 2,000 pictures (smooth noise, 256 x 256).

Ratings and pictures are SIMULATED. Seconds are those of the wall and of the processor; each
command is a process of its own, whose peak memory is its largest resident size.

    python benchmarks/rulebook_speed.py
    python benchmarks/rulebook_speed.py --quick      # a fiftieth of it, only to see that it works
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldmopt.contracts import Setting
from ldmopt.distillation import candidates, distill
from tests.distillation.simulate import DEFAULT, Study, cost

ROOT = Path(__file__).resolve().parent.parent
SAMPLERS = ["pndm", "ddim", "unipc", "dpmpp_2m"]
KERNELS = ["sdpa", "eager", "sliced-max"]
LDMOPT = [sys.executable, "-c", "from ldmopt.cli import main; main()"]
SHAPES = ((40, 250, 2), (400, 25, 2), (2500, 8, 1))


def proposed(count: int, rng: np.random.Generator) -> list[Setting]:
    """So many different settings as a search proposes them."""
    found: dict[Setting, None] = {}
    while len(found) < count:
        found[Setting(
            sampler=str(rng.choice(SAMPLERS)), steps=int(rng.integers(4, 51)),
            guidance=float(rng.integers(2, 25)) / 2, attention=str(rng.choice(KERNELS)),
        )] = None  # fmt: skip
    return list(found)


def told(name: str, wall: float, busy: float, peak: float) -> None:
    """Print one line."""
    print(f"{name:44} {wall:6.1f} s, {busy:6.1f} s of processor, {peak:.2f} GB", flush=True)


def one_distill(count: int, prompts: int, seeds: int) -> None:
    """Time `distill` on one shape, in this process."""
    rng = np.random.default_rng(0)
    study, settings = Study(prompts, seeds, rng), proposed(count, rng)
    confirm = candidates(study.evidence(settings), 8)
    evidence = study.evidence(settings, confirm)
    wall, busy = time.perf_counter(), time.process_time()
    distill(evidence)
    print(time.perf_counter() - wall, time.process_time() - busy)


def distilled(share: float) -> None:
    """Time `distill`, each shape in a process of its own."""
    print("distill alone: settings x prompts x seeds")
    for count, prompts, seeds in SHAPES:
        shape = [max(8, int(count * share)), prompts, seeds]
        out, _, _, peak = ran([sys.executable, __file__, "--shape", *map(str, shape)])
        wall, busy = map(float, out.split())
        told(f"{shape[0]} x {prompts} x {seeds}", wall, busy, peak)


def ran(command: list[str]) -> tuple[str, float, float, float]:
    """Run a process; return what it printed, wall and processor seconds, and peak memory in GB."""
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    out = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with exit code {child.returncode}")
    wall = time.perf_counter() - start
    return out, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def ratings(
    settings: list[Setting], prompts: int, seeds: int, folder: Path | None
) -> Iterator[dict[str, object]]:
    """One row a picture, of one rater; with a folder, each with its picture there."""
    rng = np.random.default_rng(1)
    study = Study(prompts, seeds, rng)
    for setting in [study.default, *settings]:
        for block in study.wins(setting):
            spent = cost(setting, rng)
            row: dict[str, object] = {
                **setting, "prompt": block.prompt, "seed": block.seed, "seconds": spent.seconds,
                "peak_memory_bytes": spent.peak_memory_bytes, "rater": "simulated",
                "rating": round(1 + 9 * block.win + float(rng.normal(0, 0.5)), 2),
            }  # fmt: skip
            if folder is not None:
                row["picture"] = f"{rng.integers(1 << 62):x}.png"
                coarse = rng.integers(0, 256, (16, 16, 3), np.uint8)
                picture = Image.fromarray(coarse).resize((256, 256), Image.Resampling.BICUBIC)
                picture.save(folder / str(row["picture"]), compress_level=1)
            yield row


def imported(folder: Path, settings: int, prompts: int, seeds: int, pictures: bool) -> Path:
    """Write a table of ratings and import it as a user would; return the run folder."""
    table, run = folder / "table.csv", folder / "run"
    rows = list(ratings(proposed(settings, np.random.default_rng(0)), prompts, seeds,
                        folder if pictures else None))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    default = [f"--default={knob}={value}" for knob, value in DEFAULT.items()]
    command = ["import", str(table), "--out", str(run), *default]
    told(f"ldmopt import, {len(rows)} rows", *ran([*LDMOPT, *command])[1:])
    return run


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["distill", "table", "report"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shape", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.shape:
        return one_distill(*options.shape)
    share = 0.02 if options.quick else 1.0
    if options.part in (None, "distill"):
        distilled(share)
    for part, count, prompts, seeds in (("table", 400, 25, 2), ("report", 250, 8, 1)):
        if options.part in (None, part):
            with tempfile.TemporaryDirectory() as folder:
                pictures = part == "report"
                settings = max(8, int(count * share)) - 1
                run = imported(Path(folder), settings, prompts, seeds, pictures)
                for command in ("rulebook", "report") if pictures else ("rulebook",):
                    told(f"ldmopt {command}", *ran([*LDMOPT, command, str(run)])[1:])


if __name__ == "__main__":
    main()
