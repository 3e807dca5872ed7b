"""Record what every way of running the miniature costs, at every size, guided or not.

The other half of what a search is tried against (`record_quality.py`): each execution setting is
run through ldmopt's own host on a few steps, which times every call of the network by itself, and
its peak memory is read in a fresh process; a second pass reads what each sampler's own step takes.
With the counts of calls that a setting needs, these are the seconds of every cell of the grid.

Run it on an otherwise idle machine; half an hour on two cores. Running again goes on. A machine's
speed wanders over minutes, so the cells are timed a second time in another order, and of each part
the smaller of the two medians is the table's.

    python benchmarks/record_costs.py record --journal .cache/costs.jsonl
    python benchmarks/record_costs.py again --journal .cache/costs-again.jsonl
    python benchmarks/record_costs.py pack --journal .cache/costs.jsonl .cache/costs-again.jsonl
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from record_quality import GRID, known

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Cost, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Context, Space, build_space
from ldmopt.model import describe
from ldmopt.recording import COSTS
from ldmopt.study.bench import MEMORY_FIELDS
from ldmopt.study.timing import median_cost

EXECUTION = {
    "backend": ("torch", "onnx"),
    "precision": ("fp32", "bf16"),
    "batch": (1, 2, 4, 8),
    "attention": ("sdpa", "eager", "sliced-auto", "sliced-max"),
    "vae_slicing": ("off", "on"),
}
STEPS, CALLS = 4, 12
"""Steps of a call, and calls of the pipeline that a cell's medians are of."""

STEPS_OF_SAMPLER = 12
UNITS = ("fixed", "decode", "guided", "unguided", "step")
COLUMNS = (*EXECUTION, "size", "guidance", "sampler", "steps", *UNITS,
           "calls", "seconds", "seconds_low", "seconds_high", "peak_memory_bytes", "failed")


def settings(space: Space) -> Iterator[Setting]:
    """Return what is run: every execution at every size, guided and not; every sampler's steps."""
    from search_table import product

    plain = {"sampler": "euler", "steps": STEPS}
    found: dict[Setting, None] = {}
    for way in product(EXECUTION):
        for size in GRID["size"]:
            for guidance in (7.5, 1.0):
                raw = {**space.default, **plain, **way, "size": size, "guidance": guidance}
                setting = space.canonical(raw)
                if not space.refusal(setting):
                    found[setting] = None
    for sampler in GRID["sampler"]:
        for size in GRID["size"]:
            raw = {**space.default, "sampler": sampler, "steps": STEPS_OF_SAMPLER, "size": size,
                   "guidance": 7.5}
            found[space.canonical(raw)] = None
    return iter(found)


def one(host: ProcessHost, setting: Setting, again: bool) -> dict:
    """Return a cell's line: the medians of a few calls; the first time with its peak memory."""
    batch = int(setting.get("batch", 1))
    blocks = [Block("a lighthouse at dusk", seed) for seed in range(CALLS * batch)]
    try:
        cost = median_cost([cost for _, cost in host.generate(setting, blocks)][::batch])
        memory = cost if again else host.memory(setting)
    except GenerationError as error:
        return {"setting": dict(setting), "failed": f"{error.kind}: {error.reason}"}
    cost = replace(cost, **{name: getattr(memory, name) for name in MEMORY_FIELDS})
    return {"setting": dict(setting), "cost": cost.to_dict()}


def record(journal: Path, limit: int | None, again: bool) -> None:
    """Run and note what is missing; a second time in a random order and without memory."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    model = describe("miniature")
    space = build_space({}, {}, Context(model, "cpu", machine.packages()))
    wanted, done = list(settings(space))[:limit], known(journal)
    if again:
        random.Random(0).shuffle(wanted)
    missing = [setting for setting in wanted if setting not in done]
    host = ProcessHost(model, "cpu", backends=["torch", "onnx"], picture_part=space.picture,
                       log=journal.with_suffix(".log"))
    with closing(host), journal.open("a") as file:
        began = time.monotonic()
        for number, setting in enumerate(missing, 1):
            file.write(json.dumps(one(host, setting, again), separators=(",", ":")) + "\n")
            file.flush()
            left = (time.monotonic() - began) / number * (len(missing) - number)
            print(f"\r{len(done) + number} of {len(wanted)} cells, {left / 60:.0f} minutes left  ",
                  end="", file=sys.stderr, flush=True)


def row(setting: Setting, costs: list[Cost]) -> dict:
    """Return a cell as a row: seconds of each part by itself, and what was measured whole."""
    from ldmopt.search.cost import Demand, parts

    each = [parts(Demand({}, 0, steps=int(setting["steps"])), cost) for cost in costs]
    units = {name: min(found[name] for found in each) for name in each[0]}
    cost = min(costs, key=lambda cost: cost.seconds)
    return {
        **{name: setting.get(name, "") for name in (*EXECUTION, "size", "guidance", "sampler",
                                                    "steps")},
        **{name: f"{units[name]:.4g}" for name in UNITS if name in units},
        "calls": cost.network_evaluations,
        "seconds": f"{cost.seconds:.4g}", "seconds_low": f"{cost.seconds_low or 0:.4g}",
        "seconds_high": f"{cost.seconds_high or 0:.4g}",
        "peak_memory_bytes": costs[0].peak_memory_bytes,
    }


def pack(journals: list[Path], out: Path) -> Path:
    """Write the journals as a CSV file, with the machine beside it as JSON."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / COSTS
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        first, *more = map(known, journals)
        for setting, line in first.items():
            if "failed" in line:
                writer.writerow({**{name: setting[name] for name in COLUMNS if name in setting},
                                 "failed": line["failed"]})
            else:
                lines = [line, *(other[setting] for other in more if setting in other)]
                writer.writerow(row(setting, [Cost.from_dict(item["cost"]) for item in lines]))
    facts = {"commands": [f"python benchmarks/record_costs.py {what}"
                          for what in ("record", "again")][:len(journals)],
             "model_digest": describe("miniature").digest(), "steps": STEPS, "calls": CALLS,
             "environment": machine.describe("cpu")}
    path.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    return path


def main() -> None:
    """Record, or pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "again", "pack"))
    parser.add_argument("--journal", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tables/miniature"))
    parser.add_argument("--limit", type=int, help="run only so many cells")
    options = parser.parse_args()
    if options.what != "pack":
        record(options.journal[0], options.limit, options.what == "again")
    else:
        print(pack(options.journal, options.out))


if __name__ == "__main__":
    main()
