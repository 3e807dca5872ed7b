"""Record what each execution setting costs on this machine: one row a (shape, setting, picture).

Random weights have true cost: a network's seconds and bytes do not depend on what it has learned.
So families are built from their published configurations (`ldmopt/shapes.py`), saved as ordinary
diffusers folders, and measured through ldmopt's own host. Rows are appended as they are measured;
running again goes on where it was.

    python benchmarks/cost_table.py --shape sd15 --out benchmarks/data/cost-sd15.csv
    python benchmarks/cost_table.py --shape sd15 --shrink --out /tmp/cost.csv   # a smoke test
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from contextlib import closing
from itertools import product
from pathlib import Path

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.shapes import SHAPES, build

COLUMNS = (
    "shape", "setting", "seconds", "encode", "denoise", "decode", "other", "guided_seconds",
    "unguided_seconds", "calls", "peak_memory_bytes", "memory_kind", "allocated_bytes",
    "reserved_bytes", "failed",
)


def settings(space, shrink: bool) -> list[Setting]:
    """Return every execution value that works here x size x guided or not."""
    side = space.context.model.native_size
    sizes = [f"{side}x{side}"] if shrink else [
        f"{side}x{side}", f"{side * 3 // 4}x{side * 3 // 4}", f"{side * 5 // 4}x{side}",
    ]
    values = {name: item.space.values for name, item in space.knobs.items()
              if not item.changes_picture}
    found = []
    for size, guidance, *chosen in product(sizes, [7.5, 1.0], *values.values()):
        raw = {**dict(zip(values, chosen, strict=True)), "size": size, "guidance": guidance,
               "steps": 4 if shrink else 12,
               "sampler": "flow_euler" if space.context.model.flow_matching else "euler"}
        setting = space.canonical(raw)
        if not space.refusal(setting) and setting not in found:
            found.append(setting)
    return found


def row(shape: str, host: ProcessHost, setting: Setting) -> dict[str, object]:
    """Measure one setting: the median of five pictures, and its memory in a fresh child."""
    try:
        costs = [cost for _, cost in host.generate(setting, [Block("a", s) for s in range(5)])]
        memory = host.memory(setting)
    except GenerationError as error:
        return {"shape": shape, "setting": setting.json(), "failed": error.kind}
    cost = sorted(costs, key=lambda item: item.seconds)[2]
    calls = cost.calls_by_kind
    each = {f"{kind}_seconds": calls[kind].seconds / calls[kind].count
            for kind in ("guided", "unguided") if kind in calls}
    return {
        "shape": shape, "setting": setting.json(), "seconds": cost.seconds,
        **cost.seconds_by_phase, **each, "calls": cost.network_evaluations,
        "peak_memory_bytes": memory.peak_memory_bytes, "memory_kind": memory.memory_kind,
        "allocated_bytes": memory.allocated_bytes, "reserved_bytes": memory.reserved_bytes,
    }


def main() -> None:
    """Record the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--shrink", action="store_true", help="a tiny model of the same make")
    parser.add_argument("--most", type=int, default=10_000, help="settings at the most")
    options = parser.parse_args()
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {line["setting"] for line in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as name:
        build(options.shape, Path(name), shrink=options.shrink)
        model = describe(name)
        packages = machine.packages()
        backends = ["torch", "onnx"] if {"onnxruntime", "optimum-onnx"} <= set(packages) else [
            "torch"]
        host = ProcessHost(model, options.device, backends=backends, log=options.out.with_suffix(
            ".log"))
        with closing(host):
            facts = host.describe()
            options.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
            space = build_space({}, {}, Context(model, facts["device"], facts["packages"]))
            wanted = settings(space, options.shrink)[: options.most]
            for number, setting in enumerate(wanted, start=1):
                if setting.json() in done:
                    continue
                began = time.perf_counter()
                found = row(options.shape, host, setting)
                fresh = not options.out.exists()
                with options.out.open("a", newline="") as file:
                    writer = csv.DictWriter(file, COLUMNS)
                    if fresh:
                        writer.writeheader()
                    writer.writerow(found)
                print(f"{number}/{len(wanted)} {setting}: {found.get('seconds', 'failed')} "
                      f"({time.perf_counter() - began:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
