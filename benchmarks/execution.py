"""Whether ldmopt's seconds and bytes can be trusted, and what execution settings buy, as ratios.

One run measures, interleaved so that a busy machine slows both sides of each ratio alike:

- the coefficient of variation of repeated measurements of one setting;
- what the host adds over the same diffusers pipeline called by hand;
- the best execution setting over a plain fp32 call of diffusers, for one picture and for eight a
  call, with the distance of its pictures from the plain ones;
- how far two readings of one setting's memory, in hosts of their own, are apart.

    python benchmarks/execution.py --out benchmarks/data/execution.json
    python benchmarks/execution.py --quick --out /tmp/execution.json   # only to see that it works
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Cost, Picture, Setting
from ldmopt.distillation.intervals import median_interval
from ldmopt.errors import GenerationError
from ldmopt.knob import Context, Space, build_space
from ldmopt.model import describe
from ldmopt.study.equivalence import LEAST_DECIBELS, decibels
from ldmopt.study.timing import LEAST_CALLS, calls_wanted

CANDIDATES: tuple[dict[str, Any], ...] = (
    {"backend": "onnx"},
    {"precision": "bf16"},
    {"channels_last": "on"},
    {"compile": "default"},
    {"compile": "default", "channels_last": "on"},
    {"compile": "max-autotune"},
    {"precision": "bf16", "channels_last": "on"},
    {"precision": "bf16", "compile": "default"},
    {"precision": "bf16", "compile": "max-autotune"},
)
"""Execution settings that a CPU offers; each is tried, the fastest is measured anew."""

BLOCKS = [Block(f"a {thing} by a lake", seed) for seed, thing in enumerate(
    ("house", "tower", "tree", "boat", "hill", "moon", "fence", "castle"))]


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Attributes:
        steps: sampler steps of every picture.
        measurements: of one setting, each timed until a study would call its median known.
        calls: pipeline calls behind the timing of a candidate.
        pairs: interleaved pairs behind each ratio.
        candidates: execution settings tried.
        batch: pictures in the larger call.
    """

    steps: int = 20
    measurements: int = 10
    calls: int = LEAST_CALLS
    pairs: int = 15
    candidates: tuple[dict[str, Any], ...] = CANDIDATES
    batch: int = 8


QUICK = Scale(2, 2, 2, 2, CANDIDATES[:2], 2)


class Plain:
    """Diffusers by hand, in this process: what people write who have no ldmopt."""

    def __init__(self, folder: str, setting: Setting) -> None:
        """Load the pipeline in single precision."""
        import diffusers
        import torch

        diffusers.utils.logging.disable_progress_bar()
        self._torch = torch
        self._pipeline = diffusers.DiffusionPipeline.from_pretrained(
            folder, torch_dtype=torch.float32, use_safetensors=True, local_files_only=True,
            safety_checker=None, requires_safety_checker=False,
        )
        self._pipeline.scheduler = diffusers.DDIMScheduler.from_config(
            self._pipeline.scheduler.config)
        self._pipeline.set_progress_bar_config(disable=True)
        self._call = {"num_inference_steps": setting["steps"],
                      "guidance_scale": setting["guidance"]}

    def __call__(self, blocks: Sequence[Block]) -> np.ndarray:
        """Return the pictures of one call in uint8."""
        generators = [self._torch.Generator().manual_seed(block.seed) for block in blocks]
        images = self._pipeline([block.prompt for block in blocks], generator=generators,
                                output_type="np", **self._call).images
        return (images * 255).round().astype(np.uint8)


def timed(work: Any) -> tuple[float, Any]:
    """Return wall seconds of a call and what it returned."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def ratio(values: Sequence[float]) -> dict[str, float]:
    """Return the median of interleaved ratios with its 95 % interval."""
    found = median_interval(values)
    return {"ratio": found.estimate, "low": found.low, "high": found.high, "pairs": len(values)}


def repeats(host: ProcessHost, setting: Setting, scale: Scale) -> dict[str, float]:
    """Measure one setting again and again, as a study does: how far do the answers scatter?"""
    measured = [_measured(host, setting) for _ in range(scale.measurements)]

    def variation(values: list[float]) -> float:
        return statistics.stdev(values) / statistics.mean(values)

    return {"variation": variation([statistics.median(calls) for calls in measured]),
            "variation_of_single_calls": variation([one for calls in measured for one in calls]),
            "measurements": len(measured),
            "calls_each": statistics.mean(len(calls) for calls in measured)}


def _measured(host: ProcessHost, setting: Setting) -> list[float]:
    """Return the seconds of as many calls as a study makes to know their median."""
    costs: list[Cost] = []
    while wanted := calls_wanted(costs, len(costs)):
        costs += [cost for _, cost in host.generate(setting, [BLOCKS[0]] * wanted)]
    return [cost.seconds for cost in costs]


def overhead(host: ProcessHost, plain: Plain, setting: Setting, scale: Scale) -> dict[str, float]:
    """Compare wall seconds of the same pictures through the host and by hand."""
    blocks = BLOCKS[:4]
    found = []
    for _ in range(scale.pairs):
        hand = sum(timed(lambda block=block: plain([block]))[0] for block in blocks)
        through = timed(lambda: list(host.generate(setting, blocks)))[0]
        found.append(through / hand)
    return ratio(found)


def screen(host: ProcessHost, space: Space, scale: Scale, batch: int) -> list[dict[str, Any]]:
    """Try every candidate, fastest first; what is refused or fails is left out with its reason."""
    rows = []
    for values in scale.candidates:
        setting = space.canonical({**values, "batch": batch})
        row: dict[str, Any] = {"setting": {name: setting[name] for name in values}}
        rows.append(row)
        reason = space.refusal(setting)
        if reason is None:
            try:
                blocks = BLOCKS[:batch] * scale.calls
                costs = [cost for _, cost in host.generate(setting, blocks)]
                row["seconds"] = statistics.median(cost.seconds for cost in costs)
                row["warmup_seconds"] = costs[0].warmup_seconds
            except GenerationError as error:
                reason = str(error)
        row["failed"] = reason
    return sorted(rows, key=lambda row: row.get("seconds", float("inf")))


def distance(plain: np.ndarray, pictures: Sequence[Picture]) -> list[float]:
    """Return the PSNR of each picture against the plain one; equal pictures count as 99 dB."""
    return [min(99.0, decibels(left, right.pixels)) for left, right in zip(
        plain, pictures, strict=True)]


def speedup(
    host: ProcessHost, plain: Plain, space: Space, scale: Scale, batch: int
) -> dict[str, Any]:
    """Find the fastest execution setting of equal pictures, then time it against plain calls."""
    blocks = BLOCKS[:batch]
    rows = screen(host, space, scale, batch)
    for row in rows:
        if row["failed"]:
            continue
        setting = space.canonical({**row["setting"], "batch": batch})
        made = [picture for picture, _ in host.generate(setting, blocks)]
        far = distance(plain(blocks), made)
        row["decibels"] = {"worst": min(far), "median": statistics.median(far)}
        if min(far) < LEAST_DECIBELS:
            continue
        found = []
        for _ in range(scale.pairs):
            hand = timed(lambda: plain(blocks))[0]
            cost = next(iter([cost for _, cost in host.generate(setting, blocks)]))
            found.append(hand / cost.latency_seconds)
        return {"best": row["setting"], **ratio(found), "decibels": row["decibels"],
                "tried": rows}
    raise SystemExit(f"no execution setting gave equal pictures: {rows}")


def memory(space: Space, setting: Setting) -> dict[str, Any]:
    """Read one setting's peak in two hosts that share nothing."""
    peaks = []
    for backends in (["torch"], ["torch", "onnx"]):
        with closing(ProcessHost(space.context.model, "cpu", backends=backends)) as host:
            peaks.append(host.memory(setting).peak_memory_bytes)
    allowed = max(0.02 * min(peaks), 8 * 2**20)
    return {"peak_memory_bytes": peaks, "difference_bytes": abs(peaks[0] - peaks[1]),
            "allowed_bytes": allowed}


def measure(scale: Scale) -> dict[str, Any]:
    """Run everything on the miniature and return all figures."""
    model = describe("miniature")
    space = build_space({"sampler": "ddim", "steps": scale.steps, "precision": "fp32"}, {},
                        Context(model, "cpu", machine.packages()))
    default = space.default
    plain = Plain(model.folder, default)
    plain(BLOCKS[:1])
    host = ProcessHost(model, "cpu", backends=["torch", "onnx"], picture_part=space.picture)
    with closing(host):
        results = {"repeats": repeats(host, default, scale),
                   "host": overhead(host, plain, default, scale)}
        for batch in (1, scale.batch):
            plain(BLOCKS[:batch])
            results[f"batch_{batch}"] = speedup(host, plain, space, scale, batch)
        results["memory"] = memory(space, default)
        facts = host.describe()
    return {"machine": facts, "scale": {**vars(scale), "candidates": len(scale.candidates)},
            "results": results, "targets": targets(results, scale)}


def targets(results: dict[str, Any], scale: Scale) -> dict[str, dict[str, Any]]:
    """Return every figure beside what it must reach."""
    found = {
        "variation": (results["repeats"]["variation"], "<=", 0.05),
        "host over by hand": (results["host"]["ratio"], "<=", 1.03),
        "best over plain, 1 a call": (results["batch_1"]["ratio"], ">=", 1.8),
        f"best over plain, {scale.batch} a call": (
            results[f"batch_{scale.batch}"]["ratio"], ">=", 1.4),
        "memory difference, bytes": (results["memory"]["difference_bytes"], "<=",
                                     results["memory"]["allowed_bytes"]),
    }
    return {name: {"value": value, "wanted": f"{sign} {bound:g}",
                   "reached": value <= bound if sign == "<=" else value >= bound}
            for name, (value, sign, bound) in found.items()}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two steps and two of everything")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    options = parser.parse_args()
    found = {"schema_version": 1, "quick": options.quick, **measure(
        QUICK if options.quick else Scale())}
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    for batch in (1, found["scale"]["batch"]):
        row = found["results"][f"batch_{batch}"]
        print(f"best of {batch} a call: {row['best']}, PSNR {row['decibels']['worst']:.1f} dB at "
              f"worst, {row['ratio']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]")
    for name, row in found["targets"].items():
        print(f"{name:28} {row['value']:12.4g}  wanted {row['wanted']:12}  "
              f"{'reached' if row['reached'] else 'missed'}")


if __name__ == "__main__":
    main()
