"""How much of a study's wall time is ldmopt's own, were every picture to take a second.

The stand-in host gives pictures in milliseconds, so a study of many trials takes a minute or two.
Whatever of its wall time no child was busy for is ldmopt's own: proposing, judging, writing,
reading, showing; starting and ending are told apart. The share is that time over itself and one
second a picture. No figure of the stand-in's pictures is reported.

    python benchmarks/overhead.py --trials 60 --search factored
    python benchmarks/overhead.py --trials 60 --search factored --profile 25
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from ldmopt import StudySpec, run
from ldmopt.study.folder import RunFolder
from ldmopt.study.session import State

LOOP = ("default", "probe", "search", "confirm")


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
    """Run the study; return wall, processor and device seconds, by stage, and pictures."""
    stages: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    last = ["start", time.perf_counter(), time.process_time()]

    def watch(state: State) -> None:
        now = time.perf_counter(), time.process_time()
        stages[last[0]][0] += now[0] - last[1]
        stages[last[0]][1] += now[1] - last[2]
        last[:] = [state.stage, *now]

    run(study, folder, report=watch)
    journal = RunFolder(folder).read_journal()
    pictures = sum("digest" in line or "repeat" in line for line in journal)
    busy = sum(line.get("busy_seconds", 0.0) for line in journal)
    wall, processor = (sum(stages[name][index] for name in LOOP) for index in (0, 1))
    own = wall - busy
    return {
        "search": study.search, "pictures": pictures, "busy_seconds": round(busy, 3),
        "own_seconds": round(own, 3), "own_processor_seconds": round(processor, 3),
        "own_ms_a_picture": round(1e3 * own / pictures, 2),
        "processor_ms_a_picture": round(1e3 * processor / pictures, 2),
        "share_at_one_second": round(own / (own + pictures), 5),
        "processor_share_at_one_second": round(processor / (processor + pictures), 5),
        "stages": {name: [round(value, 2) for value in pair] for name, pair in stages.items()},
    }


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
