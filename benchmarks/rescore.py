"""How long `rescore` takes on a run of many small pictures whose features are on disk.

python benchmarks/rescore.py [--pictures 10000] [--encoder statistics] [--profile]

The run is made up: a study of the stand-in, then trials with noisy copies of the default's
pictures, labelled by a simulated rater who dislikes grain. Timed are a first `rescore`, which
encodes every picture, and one in a fresh process that finds the features on disk, imports
included. Nothing of it says anything about pictures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna

import ldmopt
from ldmopt.child.png import encode
from ldmopt.contracts import Block, Picture, Setting
from ldmopt.labels import LabelStore, Rating
from ldmopt.study import records
from ldmopt.study.output import read_run
from ldmopt.study.spec import StudySpec

PROMPTS, SEEDS = 12, 2
RATED = 200
TIMED = """
import cProfile, ldmopt, pstats, sys
if "--profile" in sys.argv:
    profile = cProfile.Profile()
    profile.runcall(ldmopt.rescore, sys.argv[1])
    pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(60)
else:
    ldmopt.rescore(sys.argv[1])
"""


def main() -> None:
    """Make the run up, rescore it twice, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--encoder", default="statistics")
    parser.add_argument("--profile", action="store_true", help="say where the second went")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        run = Path(temporary) / "run"
        count = make_up(run, options.pictures, options.encoder)
        began = time.perf_counter()
        ldmopt.fit(run)
        print(f"{time.perf_counter() - began:8.2f} s  fit to {RATED} ratings of a simulated rater")
        for what in ("pictures encoded", "pictures' features on disk"):
            wall, busy = rescored(run)
            print(f"{wall:8.2f} s  rescore, {count} {what}; {busy:.2f} s of processor time")
        if options.profile:
            rescored(run, "--profile")


def rescored(run: Path, *more: str) -> tuple[float, float]:
    """Return the wall and processor seconds of a fresh process for it, its imports included."""
    began, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", TIMED, str(run), *more], check=True)
    after = os.times()
    busy = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - began, busy


def make_up(run: Path, pictures: int, encoder: str) -> int:
    """Make a run of about so many pictures; return how many there are."""
    spec = StudySpec.model_validate({
        "name": "made-up", "model": "standin", "seeds": SEEDS,
        "prompts": {"search": PROMPTS, "confirm": PROMPTS}, "default": {"steps": 30},
        "space": {"steps": {"low": 2, "high": 30}, "guidance": {"low": 1.0, "high": 12.0},
                  "sampler": ["ddim", "dpmpp_2m", "unipc"]},
        "budget": {"trials": 6}, "scorer": {"encoder": encoder},
    })
    ldmopt.run(spec, run)
    folder, _, study = read_run(run)
    first = study.get_trials(deepcopy=False)[0]
    blocks = [Block(*row) for row in study.user_attrs[records.FROZEN]["blocks"]]
    clean = [folder.picture(digest, block).pixels
             for digest, block in zip(first.user_attrs["pictures"], blocks, strict=True)]
    rng = np.random.default_rng(0)
    rows, ratings = [], []
    for _ in range(pictures // len(blocks)):
        setting = Setting(first.user_attrs["setting"]).replace(
            {"steps": int(rng.integers(2, 31)), "guidance": round(float(rng.uniform(1, 12)), 3)})
        noise = float(rng.uniform(0, 25))
        digests = []
        for block, pixels in zip(blocks, clean, strict=True):
            noisy = np.clip(pixels + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
            digests.append(folder.keep(Picture(noisy, block, encode(noisy, ""))))
            folder.append({"setting": dict(setting), "prompt": block.prompt, "seed": block.seed,
                           "digest": digests[-1], "place": 0,
                           "cost": first.user_attrs["cost"], "busy_seconds": 0.0})
            if len(ratings) < RATED:
                ratings.append(Rating(digests[-1], "simulated-smooth", -noise, simulated=True))
        rows.append(optuna.create_trial(
            values=[0.5, *first.values[1:]], params=first.params,
            distributions=first.distributions, constraints=first.constraints,
            user_attrs={**first.user_attrs, "setting": dict(setting), "pictures": digests},
        ))
    study.add_trials(rows)
    with LabelStore(folder.labels) as store:
        store.add(ratings)
    return sum(1 for _ in (run / "pictures").glob("*/*.png"))


if __name__ == "__main__":
    main()
