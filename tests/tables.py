"""A small recorded table with invented figures, for tests of what reads tables."""

import csv
import itertools
import json

import numpy as np
from safetensors.numpy import save_file

from ldmopt.recording import COSTS, QUALITY

GRID = {"sampler": ("pndm", "euler", "heun"), "steps": (4, 8, 50), "guidance": (1.0, 7.5),
        "size": ("64x64",)}
PROMPTS, SEEDS = 6, 2
PEAK = {1: 31_000_000, 2: 33_000_000}


def write_table(folder):
    """Write the two files; the more steps the better, and pndm at 50 steps is the default."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = [dict(zip(GRID, values, strict=True))
                for values in itertools.product(*GRID.values())]
    rng = np.random.default_rng(0)
    quality = np.array([np.log(item["steps"]) + (item["guidance"] > 1) for item in settings])
    scores = quality[:, None, None] + rng.normal(0, 0.3, (len(settings), PROMPTS * SEEDS, 2))
    facts = {
        "settings": json.dumps(settings), "columns": json.dumps(["member_0", "member_1"]),
        "blocks": json.dumps([[f"prompt {n}", seed] for n in range(PROMPTS)
                              for seed in range(SEEDS)]),
        "noise": "0.5", "scorer": json.dumps({"name": "invented", "digest": "0"}),
        "environment": json.dumps({"device": "cpu", "device_name": "no machine",
                                   "device_bytes": 10**9, "packages": {}}),
    }
    save_file({"scores": scores.astype(np.float16)}, folder / QUALITY, facts)
    columns = ("backend", "batch", "size", "guidance", "sampler", "steps", "fixed", "decode",
               "guided", "unguided", "step", "calls", "seconds", "peak_memory_bytes", "failed")
    with (folder / COSTS).open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for batch, guidance in itertools.product(PEAK, (7.5, 1.0)):
            call = {"guided": 0.012 / batch} if guidance > 1 else {"unguided": 0.007 / batch}
            writer.writerow({"backend": "torch", "batch": batch, "size": "64x64",
                             "guidance": guidance, "sampler": "euler", "steps": 4, "fixed": 0.004,
                             "decode": 0.008 / batch, **call, "step": 0.0002, "calls": 4,
                             "seconds": 0, "peak_memory_bytes": PEAK[batch]})
        for sampler, calls, step in (("pndm", 13, 0.0003), ("euler", 12, 0.0002),
                                     ("heun", 23, 0.0002)):
            writer.writerow({"backend": "torch", "batch": 1, "size": "64x64", "guidance": 7.5,
                             "sampler": sampler, "steps": 12, "fixed": 0.004, "decode": 0.008,
                             "guided": 0.012, "step": step, "calls": calls, "seconds": 0,
                             "peak_memory_bytes": PEAK[1]})
    return folder
