"""How much of a study's wall time is ldmopt's own, were every picture to take a second.

The stand-in host gives pictures in milliseconds, so a study of many trials takes a minute or two.
Whatever of its wall time no child was busy for is ldmopt's own: proposing, judging, writing,
reading, showing; starting and ending are told apart. The share is that time over itself and one
second a picture. No figure of the stand-in's pictures is reported.

On a machine that does other work, too, wall time holds the wait for a processor. Linux tells how
long a thread stood in that queue (/proc/thread-self/schedstat): ``undisturbed`` is wall time
without it, so processor time and waits for the disk are in it and other programs are not.

    python benchmarks/overhead.py --trials 60 --search factored
    python benchmarks/overhead.py --trials 60 --search factored --profile 25
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import json
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ldmopt import StudySpec, run
from ldmopt.child.host import ProcessHost
from ldmopt.study import beginning
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import Judges
from ldmopt.study.proposing import Proposer
from ldmopt.study.session import State

LOOP = ("default", "probe", "search", "confirm")
DEVICE = "device"
PARTS = {
    DEVICE: [(ProcessHost, "_answer")],
    "proposing": [(Proposer, "ask"), (Proposer, "heed")],
    "scoring": [(Judges, "quality"), (Judges, "further"), (beginning, "sit_exam")],
    "pictures": [(RunFolder, "keep")],
    "journal": [(RunFolder, "append")],
}
"""What is timed apart: the device, and parts of ldmopt's own."""


def clocks() -> np.ndarray:
    """Return wall, processor and queueing seconds so far; the last of this thread alone."""
    queue = Path("/proc/thread-self/schedstat")
    waited = int(queue.read_text().split()[1]) / 1e9 if queue.exists() else 0.0
    return np.array([time.perf_counter(), time.process_time(), waited])


@contextmanager
def timed() -> Iterator[dict[str, np.ndarray]]:
    """Time `PARTS` while it is open; what is within another part counts for the outer one."""
    spent: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    inside: list[str] = []

    def wrapped(function: Callable, part: str) -> Callable:
        @functools.wraps(function)
        def call(*values: object, **named: object) -> object:
            began = clocks()
            inside.append(part)
            try:
                return function(*values, **named)
            finally:
                inside.pop()
                took = clocks() - began
                spent[part] += took
                if inside:
                    spent[inside[-1]] -= took

        return call

    before = [(owner, name, getattr(owner, name))
              for rows in PARTS.values() for owner, name in rows]
    for part, rows in PARTS.items():
        for owner, name in rows:
            setattr(owner, name, wrapped(getattr(owner, name), part))
    try:
        yield spent
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def spec(search: str, trials: int, encoder: str) -> StudySpec:
    """Return a study of the stand-in."""
    return StudySpec.model_validate({
        "name": "overhead", "model": "standin", "prompts": {"search": 12, "confirm": 12},
        "seeds": 1, "search": search, "default": {"steps": 30},
        "space": {"sampler": ["ddim", "dpmpp_2m", "lms"], "precision": ["fp32", "bf16"],
                  "steps": {"low": 2, "high": 30, "log": True}, "size": ["64x64", "96x64"],
                  "guidance": {"low": 1.0, "high": 12.0, "step": 0.5}},
        "budget": {"trials": trials}, "scorer": {"encoder": encoder},
    })


def measure(study: StudySpec, folder: Path) -> dict:
    """Run the study; return pictures, and own seconds of each clock, by part and by stage."""
    stages: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    last: list = ["start", clocks(), np.zeros(3)]

    with timed() as spent:
        def watch(state: State) -> None:
            now, device = clocks(), spent[DEVICE].copy()
            stages[last[0]] += now - last[1] - (device - last[2])
            last[:] = [state.stage, now, device]

        run(study, folder, report=watch)
    journal = RunFolder(folder).read_journal()
    pictures = sum("digest" in line or "repeat" in line for line in journal)
    own = sum(stages[name] for name in LOOP)
    parts = {name: told(value, pictures) for name, value in spent.items() if name != DEVICE}
    rest = own - sum(value for name, value in spent.items() if name != DEVICE)
    return {
        "search": study.search, "judge": study.scorer.encoder, "pictures": pictures,
        "settings": len({json.dumps(line["setting"]) for line in journal if "digest" in line}),
        "own": told(own, pictures), "own_without_scoring": told(own - spent["scoring"], pictures),
        "parts": {**parts, "the rest (storage, reading, showing)": told(rest, pictures)},
        "stages": {name: told(value, pictures)["undisturbed_seconds"]
                   for name, value in stages.items()},
    }


def told(spent: np.ndarray, pictures: int) -> dict[str, float]:
    """Return seconds of each clock, and their share at one second a picture."""
    wall, processor, queued = spent.tolist()
    kinds = {"wall": wall, "undisturbed": wall - queued, "processor": processor}
    return {**{f"{name}_seconds": round(value, 3) for name, value in kinds.items()},
            **{f"{name}_share": round(value / (value + pictures), 5)
               for name, value in kinds.items()}}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--search", default="factored")
    parser.add_argument("--encoder", default="auto", help="what judges; standin for none")
    parser.add_argument("--profile", type=int, default=0, help="show so many slowest functions")
    options = parser.parse_args()
    study = spec(options.search, options.trials, options.encoder)
    with tempfile.TemporaryDirectory() as folder:
        profile = cProfile.Profile()
        if options.profile:
            profile.enable()
        found = measure(study, Path(folder) / "run")
        profile.disable()
    print(json.dumps(found, indent=1))
    if options.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(options.profile)


if __name__ == "__main__":
    main()
