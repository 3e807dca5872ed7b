"""Record what each execution setting costs on this machine: one row a (shape, setting).

Random weights have true cost: a network's seconds and bytes do not depend on what it has learned.
So families are built from their published configurations (`ldmopt/shapes.py`), saved as ordinary
diffusers folders, and measured through ldmopt's own host. Every execution value is measured by
itself, guided and not, against the half-precision default; ``--product`` measures every
combination, at three sizes. Rows are appended as they are measured; running again goes on.

    python benchmarks/cost_table.py --shape sd15 --out benchmarks/tables
    python benchmarks/cost_table.py --shape miniature --out benchmarks/tables
    python benchmarks/cost_table.py --shape sd15 --shrink --out /tmp/cost.csv   # a smoke test
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
import time
from contextlib import closing
from itertools import product
from pathlib import Path

import floor

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Choice, Context, Space, build_space
from ldmopt.knobs.canvas import parse_size
from ldmopt.model import describe
from ldmopt.shapes import SHAPES, build
from ldmopt.study.timing import median_cost

COLUMNS = (
    "shape", "changed", "setting", "seconds", "seconds_low", "seconds_high", "latency_seconds",
    "encode", "denoise", "decode", "other", "guided_seconds", "unguided_seconds", "calls",
    "peak_memory_bytes", "memory_kind", "allocated_bytes", "reserved_bytes", "joules",
    "warmup_seconds", "foreign_processes", "flops", "floor_seconds", "over_floor", "failed",
)
CALLS = 6
"""Calls of the pipeline that a row's seconds are the median of: the fewest with an interval."""

BATCHES = (1, 4)
MINIATURE = "miniature"


def base(space: Space, shrink: bool, **values: object) -> Setting:
    """Return what all rows are compared with: the default, in half precision where that runs."""
    raw = {"steps": 4 if shrink else 12, "batch": 1,
           "sampler": "flow_euler" if space.context.model.flow_matching else "euler", **values}
    half = space.canonical({**raw, "precision": "fp16"})
    return space.canonical(raw) if space.refusal(half) else half


def execution_values(space: Space) -> dict[str, tuple[object, ...]]:
    """Return each execution knob's values."""
    return {name: item.space.values if isinstance(item.space, Choice) else BATCHES
            for name, item in space.knobs.items() if not item.changes_picture}


def settings(space: Space, shrink: bool, every: bool = False) -> dict[Setting, str]:
    """Return the settings to measure, each with what it changes of the base.

    Args:
        space: knobs that work here.
        shrink: native size only.
        every: all combinations of execution values, at three sizes, not one value at a time.
    """
    side = space.context.model.native_size
    sizes = [f"{side}x{side}"] if shrink or not every else [
        f"{side}x{side}", f"{side * 3 // 4}x{side * 3 // 4}", f"{side * 5 // 4}x{side}",
    ]
    known = execution_values(space)
    if every:
        tried = [dict(zip(known, chosen, strict=True)) for chosen in product(*known.values())]
    else:
        tried = [{}, *({name: value} for name, listed in known.items() for value in listed)]
    found: dict[Setting, str] = {}
    # The base comes first, so that a session cut short has what all else is compared with.
    for values, size, guidance in product(tried, sizes, (7.5, 1.0)):
        start = base(space, shrink, size=size, guidance=guidance)
        needed = {} if every else {
            other: value for name in values
            for other, value in space.knobs[name].enabling(start).items()
        }
        setting = space.canonical({**start, **needed, **values})
        if not space.refusal(setting):
            changed = {
                name: value for name, value in setting.items()
                if start.get(name, space.knobs[name].default_for(space.context.model)) != value
            }
            found.setdefault(setting, str(Setting(changed)))
    return found


def row(shape: str, host: ProcessHost, setting: Setting, least: dict[str, float]) -> dict[
    str, object
]:
    """Measure one setting: the median over a few calls, and its memory in a fresh child.

    Args:
        shape: family.
        host: of its random-weight model.
        setting: what to measure.
        least: FLOPs of each kind of call, with ``rate`` in FLOPs a second; may be empty.
    """
    batch = int(setting.get("batch", 1))
    blocks = [Block("a", seed) for seed in range(CALLS * batch)]
    head = {"shape": shape, "setting": setting.json()}
    try:
        costs = [cost for _, cost in host.generate(setting, blocks)]
        memory = host.memory(setting)
    except GenerationError as error:
        return {**head, "failed": error.kind}
    cost = median_cost(costs[::batch])
    calls = cost.calls_by_kind
    each = {f"{kind}_seconds": calls[kind].seconds / calls[kind].count
            for kind in ("guided", "unguided") if kind in calls}
    found = {
        **head, "seconds": cost.seconds, "seconds_low": cost.seconds_low,
        "seconds_high": cost.seconds_high, "latency_seconds": cost.latency_seconds,
        **cost.seconds_by_phase, **each, "calls": cost.network_evaluations,
        "peak_memory_bytes": memory.peak_memory_bytes, "memory_kind": memory.memory_kind,
        "allocated_bytes": memory.allocated_bytes, "reserved_bytes": memory.reserved_bytes,
        "joules": cost.joules, "warmup_seconds": cost.warmup_seconds,
        "foreign_processes": cost.foreign_processes,
    }
    if least:
        needed = least["decode"] + sum(least[kind] * calls[kind].count
                                       for kind in ("guided", "unguided") if kind in calls)
        floor_seconds = needed / least["rate"]
        found |= {"flops": needed, "floor_seconds": floor_seconds,
                  "over_floor": cost.seconds / floor_seconds}
    return found


def measured(path: Path) -> set[str]:
    """Return the settings that a table holds already."""
    if not path.exists():
        return set()
    with path.open(newline="") as file:
        return {line["setting"] for line in csv.DictReader(file)}


def table_path(out: Path, shape: str, device_name: str) -> Path:
    """Return the CSV file: `out` itself, or in that folder one named by shape and device."""
    if out.suffix != ".csv":
        slug = re.sub(r"[^a-z0-9]+", "-", device_name.lower()).strip("-")
        out = out / f"{shape}-{slug}.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    return out


def record(shape: str, host: ProcessHost, options: argparse.Namespace, model) -> None:
    """Measure what a table does not hold yet, row by row."""
    facts = host.describe()
    path = table_path(options.out, shape, facts["device_name"])
    side = 256 if options.shrink else 8192 if facts["device"].startswith("cuda") else 2048
    rates = floor.rates(facts["device"], side)
    about = {**facts, "shape": shape, "matmul_side": side, "matmul_flops_per_second": rates}
    path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
    space = build_space({}, {}, Context(model, facts["device"], facts["packages"]))
    wanted = list(settings(space, options.shrink, options.product).items())[: options.most]
    done = measured(path)
    for number, (setting, changed) in enumerate(wanted, start=1):
        if setting.json() in done:
            continue
        began = time.perf_counter()
        needed = floor.flops(model, *parse_size(str(setting["size"])))
        rate = rates.get(str(setting["precision"]))
        found = row(shape, host, setting, {**needed, "rate": rate} if needed and rate else {})
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow({**found, "changed": changed})
        took = time.perf_counter() - began
        print(f"{number}/{len(wanted)} {changed or 'the base'} guidance={setting['guidance']}: "
              f"{found.get('seconds', found.get('failed'))} s, {found.get('over_floor')} times "
              f"the floor ({took:.1f} s)", flush=True)


def main() -> None:
    """Record the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*sorted(SHAPES), MINIATURE], required=True,
                        help="a family, or the embedded model itself")
    parser.add_argument("--out", type=Path, required=True, help="a .csv file, or a folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--shrink", action="store_true", help="a tiny model of the same make")
    parser.add_argument("--product", action="store_true", help="all combinations, three sizes")
    parser.add_argument("--most", type=int, default=10_000, help="settings at the most")
    parser.add_argument("--log", type=Path, help="file for what the libraries print")
    options = parser.parse_args()
    packages = machine.packages()
    with tempfile.TemporaryDirectory() as name:
        if options.shape != MINIATURE:
            build(options.shape, Path(name), shrink=options.shrink)
        model = describe(MINIATURE if options.shape == MINIATURE else name)
        onnx = {"onnxruntime", "optimum-onnx"} <= set(packages)
        host = ProcessHost(model, options.device, log=options.log,
                           backends=["torch", "onnx"] if onnx else ["torch"])
        with closing(host):
            record(options.shape, host, options, model)


if __name__ == "__main__":
    main()
