"""What the miniature can do: every figure that its model card quotes, measured again.

    python benchmarks/miniature.py [--json FILE] [--out FOLDER] [--part NAME ...] [--prompts N]

Pictures come from plain `StableDiffusionPipeline`. They are judged by the classifier (trained on
renders only: are the caption's factors in the picture?), by the CLIP towers (alignment: cosine
with the caption; retrieval: does a picture find its caption among 100?) and by their distance
to renders of the same captions (kernel distance of the classifier's maps, Binkowski et al. 2018;
less is better). Captions are of the ``test`` split: sentence patterns, phrases and combinations
of factors that training never showed. Intervals are 95 %, from resampled prompts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from judges import Bench, Picture, Prompts, interval, sheet
from numpy.typing import NDArray

from ldmopt.miniature import classifier, folder
from ldmopt.miniature.scenes import FACTORS, captions
from ldmopt.miniature.styles import render

STEPS = (2, 3, 4, 6, 8, 12, 25, 40)
TABLE_SAMPLERS = (
    "ddim",
    "euler",
    "euler_a",
    "heun",
    "dpmpp_2m",
    "unipc",
    "deis",
    "pndm",
    "lms",
    "dpmpp_2m karras",
)
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 12.0, 15.0)
SIZES = (32, 48, 64, 80, 96)


def cell(bench: Bench, prompts: Prompts, **how: Any) -> dict[str, Any]:
    """Generate with one setting and return its three figures, with values per prompt kept."""
    pictures = bench.generate(prompts, **how)
    right, alignment = bench.right(pictures, prompts), bench.alignment(pictures, prompts)
    return {
        **how,
        "attributes": float(right.mean()),
        "alignment": float(alignment.mean()),
        "distance": bench.distance(pictures, prompts),
        "per_prompt": {"attributes": right.mean(axis=1), "alignment": alignment},
    }


def verdict(name: str, holds: bool, evidence: str) -> dict[str, Any]:
    """Print one line of what must hold and return it."""
    print(f"{'HOLDS ' if holds else 'FAILS '} {name}: {evidence}", flush=True)
    return {"name": name, "holds": bool(holds), "evidence": evidence}


def part_sizes(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """Bytes of every part of the package."""
    root: Path = args.model
    parts = {
        p.name: sum(f.stat().st_size for f in p.rglob("*") if f.is_file())
        for p in sorted(root.iterdir())
        if p.is_dir()
    }
    total = sum(f.stat().st_size for f in root.rglob("*") if f.is_file())
    for name, size in parts.items():
        print(f"  {name:13} {size / 1e6:6.2f} MB")
    report["bytes"] = {**parts, "total": total}
    report["holds"].append(verdict("at most 16 MB", total <= 16e6, f"{total / 1e6:.2f} MB"))


def part_judges(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """How good the judges themselves are, on renders; and the ceiling the autoencoder sets."""
    rng = random.Random(7)
    seen, new = captions(1000, 11, "search"), captions(200, 11, "test")
    for name, prompts in (("known wording", seen), ("new wording and combinations", new)):
        pictures = [render(scene) for _, scene in prompts]
        right = bench.right(pictures, prompts)
        index = sorted(rng.sample(range(len(prompts)), 200))
        chosen = [prompts[i] for i in index]
        found = retrieval(bench, [pictures[i] for i in index], chosen)
        print(f"  renders, {name}: attributes {right.mean():.3f}, retrieval among 100 {found:.3f}")
        report["judges"][name] = {"attributes": float(right.mean()), "retrieval": found}
    noise = list(np.random.default_rng(0).integers(0, 256, (200, 64, 64, 3), dtype=np.uint8))
    chance = float(bench.right(noise, new).mean())
    pictures = [render(scene) for _, scene in new]
    with torch.no_grad():
        batch = classifier.as_tensor(np.stack(pictures), torch.device("cpu"))
        made = bench.pipe.vae(batch).sample.clamp(-1, 1)
    psnr = float((10 * torch.log10(4 / (made - batch).square().mean(dim=(1, 2, 3)))).mean())
    decoded = list(((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    through = bench.right(decoded, new)
    print(f"  pure noise: attributes {chance:.3f}")
    print(
        f"  autoencoder: PSNR {psnr:.2f} dB; attributes after it {through.mean():.3f}, by factor "
        + _by_factor(through)
        + f", distance {bench.distance(decoded, new):.2f}"
    )
    report["judges"] |= {
        "noise": chance,
        "psnr": psnr,
        "attributes_after_vae": float(through.mean()),
    }


def _by_factor(right: NDArray[np.float64]) -> str:
    return ", ".join(f"{n} {v:.3f}" for n, v in zip(FACTORS, right.mean(axis=0), strict=True))


def retrieval(bench: Bench, pictures: Sequence[Picture], prompts: Prompts) -> float:
    """Return how often a picture is nearest to its own caption among 100."""
    hits = []
    for start in range(0, len(prompts) - 99, 100):
        part = slice(start, start + 100)
        text = bench.towers.embed_captions([t for t, _ in prompts[part]])
        near = (bench.towers.embed_pictures(pictures[part]) @ text.T).argmax(axis=1)
        hits += [float(n == i) for i, n in enumerate(near)]
    return float(np.mean(hits))


def part_guidance(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """Quality against guidance, DPM++ 2M, 25 steps."""
    prompts = captions(args.prompts, 2, "search")
    rows = [cell(bench, prompts, guidance=g, steps=25) for g in GUIDANCES]
    _table("guidance", [f"{g:g}" for g in GUIDANCES], rows)
    report["guidance"] = _plain(rows)
    report["best_guidance"] = best = GUIDANCES[int(np.argmax([_sum(r) for r in rows]))]
    for measure, sign in (("attributes", 1), ("alignment", 1), ("distance", -1)):
        top = int(np.argmax([sign * r[measure] for r in rows]))
        inner = 0 < top < len(rows) - 1
        report["holds"].append(
            verdict(
                f"guidance has an inner optimum ({measure})",
                inner,
                f"best at {GUIDANCES[top]:g}: {rows[top][measure]:.3f}, at {GUIDANCES[0]:g} "
                f"{rows[0][measure]:.3f}, at {GUIDANCES[-1]:g} {rows[-1][measure]:.3f}",
            )
        )
    print(f"  best guidance by attributes + alignment: {best:g}")


def _sum(row: dict[str, Any]) -> float:
    return float(row["attributes"] + row["alignment"])


def part_captions(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """The main figure: 200 captions, wording and combinations unseen; 25 steps, best guidance."""
    guidance = report.get("best_guidance", 3.0)
    for split, name in (("test", "new wording and combinations"), ("search", "known wording")):
        prompts = captions(200, 3, split)
        pictures = bench.generate(prompts, guidance=guidance)
        right, found = bench.right(pictures, prompts), retrieval(bench, pictures, prompts)
        low, high = interval(right.mean(axis=1))
        text = f"{right.mean():.3f} [{low:.3f}, {high:.3f}] ({_by_factor(right)})"
        report["captions"][split] = {
            "guidance": guidance,
            "attributes": float(right.mean()),
            "low": low,
            "high": high,
            "by_factor": dict(zip(FACTORS, right.mean(axis=0).tolist(), strict=True)),
            "retrieval": found,
            "alignment": float(bench.alignment(pictures, prompts).mean()),
            "distance": bench.distance(pictures, prompts),
        }
        if split == "search":
            print(f"  for comparison, {name}: attributes {text}, retrieval {found:.3f}")
            continue
        report["holds"] += [
            verdict("attributes >= 90 % on 200 captions", right.mean() >= 0.9, text),
            verdict("every attribute >= 80 %", right.mean(axis=0).min() >= 0.8, _by_factor(right)),
            verdict("retrieval among 100 >= 60 %", found >= 0.6, f"{found:.3f}"),
        ]
        sheet([p for p in pictures[:64]], args.out / "miniature-grid.png")
        lines = [f"{i // 8 + 1}.{i % 8 + 1} {t}" for i, (t, _) in enumerate(prompts[:64])]
        (args.out / "miniature-grid.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        worst = np.argsort(right.mean(axis=1))[:16]
        report["captions"]["weakest"] = [prompts[i][0] for i in worst]


def part_steps(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """Quality against steps for every sampler, at guidance 5."""
    prompts = captions(args.prompts, 4, "search")
    table: dict[str, list[dict[str, Any]]] = {}
    for sampler in TABLE_SAMPLERS:
        rows = [cell(bench, prompts, sampler=sampler, steps=s, guidance=5.0) for s in STEPS]
        table[sampler] = rows
        _table(sampler, [str(s) for s in STEPS], rows)
    report["steps"] = {name: _plain(rows) for name, rows in table.items()}
    _judge_steps(table, report["holds"])


def _judge_steps(table: dict[str, list[dict[str, Any]]], holds: list[dict[str, Any]]) -> None:
    """Read the table: it rises, then saturates; past 8 steps something still improves."""
    at = {s: i for i, s in enumerate(STEPS)}
    flat, text = [], []
    for name, rows in table.items():
        score = [r["alignment"] for r in rows]
        rise, rest = max(score) - score[0], abs(score[at[40]] - score[at[25]])
        gain = score[at[25]] - score[0]
        flat.append(rise > 0.02 and gain > 0.02 and rest < 0.25 * rise)
        text.append(f"{name} +{gain:.3f}, then {score[at[40]] - score[at[25]]:+.3f}")
    holds.append(
        verdict(
            "rises with steps and saturates for every sampler (alignment, 2 to 25, then 25 to 40)",
            all(flat),
            "; ".join(text),
        )
    )
    better = []
    for name, rows in table.items():
        for measure, sign in (("attributes", 1), ("alignment", 1)):
            gap = sign * (rows[at[25]]["per_prompt"][measure] - rows[at[8]]["per_prompt"][measure])
            low, high = interval(gap)
            if low > 0:
                better.append(f"{name} {measure} {gap.mean():+.4f} [{low:+.4f}, {high:+.4f}]")
        closer = rows[at[8]]["distance"] - rows[at[25]]["distance"]
        if closer > 0.1 * rows[at[8]]["distance"]:
            better.append(f"{name} distance {-closer:+.2f} of {rows[at[8]]['distance']:.2f}")
    holds.append(
        verdict(
            "something still improves from 8 to 25 steps at guidance 5",
            bool(better),
            "; ".join(better) or "nothing beyond chance",
        )
    )


def part_few(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """Few steps: the fast samplers against DDIM, at the best guidance and (to know) at 5.

    A sampler beats DDIM when its alignment is higher on average over 2 to 6 steps, beyond chance,
    its pictures are nearer to the renders, and it is worse beyond chance at none of the steps.
    """
    prompts = captions(args.prompts, 4, "search")
    steps = (2, 3, 4, 5, 6)
    for guidance in (report.get("best_guidance", 3.0), 5.0):
        rows = {
            name: [cell(bench, prompts, sampler=name, steps=s, guidance=guidance) for s in steps]
            for name in ("ddim", "dpmpp_2m", "unipc")
        }
        report["few"].append(_plain([row for part in rows.values() for row in part]))
        for name in ("dpmpp_2m", "unipc"):
            beats, text = _beats(rows[name], rows["ddim"], steps)
            title = f"{name} beats DDIM over 2 to 6 steps, guidance {guidance:g}"
            if guidance == 5.0:
                print(f"  to know: {title}: {'yes' if beats else 'no'}: {text}")
            else:
                report["holds"].append(verdict(title, beats, text))


def _beats(
    new: list[dict[str, Any]], old: list[dict[str, Any]], steps: Sequence[int]
) -> tuple[bool, str]:
    """Compare two samplers prompt by prompt; see `part_few` for what counts."""
    gaps = np.array(
        [
            a["per_prompt"]["alignment"] - b["per_prompt"]["alignment"]
            for a, b in zip(new, old, strict=True)
        ]
    )
    closer = float(np.mean([a["distance"] - b["distance"] for a, b in zip(new, old, strict=True)]))
    low, high = interval(gaps.mean(axis=0))
    ranges = [interval(row) for row in gaps]
    lines = [
        f"{s} steps {row.mean():+.3f} [{least:+.3f}, {most:+.3f}]"
        for s, row, (least, most) in zip(steps, gaps, ranges, strict=True)
    ]
    text = (
        f"alignment {gaps.mean():+.3f} [{low:+.3f}, {high:+.3f}], distance {closer:+.1f}; "
        + "; ".join(lines)
    )
    return low > 0 and closer < 0 and all(most >= 0 for _, most in ranges), text


def part_canvas(bench: Bench, report: dict[str, Any], args: argparse.Namespace) -> None:
    """Quality against picture size, DPM++ 2M, 25 steps."""
    prompts = captions(args.prompts, 5, "search")
    guidance = report.get("best_guidance", 3.0)
    rows = [cell(bench, prompts, size=s, guidance=guidance) for s in SIZES]
    _table("size", [str(s) for s in SIZES], rows)
    report["sizes"] = _plain(rows)
    native = rows[SIZES.index(64)]
    for measure, sign in (("attributes", 1), ("alignment", 1), ("distance", -1)):
        others = {s: rows[SIZES.index(s)][measure] for s in (32, 96)}
        holds = all(sign * native[measure] > sign * value for value in others.values())
        text = f"64: {native[measure]:.3f}, 32: {others[32]:.3f}, 96: {others[96]:.3f}"
        report["holds"].append(verdict(f"native size beats 0.5x and 1.5x ({measure})", holds, text))


def _table(name: str, columns: list[str], rows: list[dict[str, Any]]) -> None:
    print(f"  {name:16}" + "".join(f"{c:>8}" for c in columns))
    for measure, form in (("attributes", ".3f"), ("alignment", ".3f"), ("distance", ".1f")):
        print(
            f"    {measure:14}" + "".join(f"{format(r[measure], form):>8}" for r in rows),
            flush=True,
        )


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "per_prompt"} for row in rows]


PARTS: dict[str, Callable[[Bench, dict[str, Any], argparse.Namespace], None]] = {
    "bytes": part_sizes,
    "judges": part_judges,
    "guidance": part_guidance,
    "captions": part_captions,
    "steps": part_steps,
    "few": part_few,
    "sizes": part_canvas,
}


def main() -> int:
    """Run the parts asked for; exit code 1 when a line that must hold fails."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=folder(), help="model folder")
    parser.add_argument("--out", type=Path, default=Path(".cache/miniature/benchmark"))
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="only these parts")
    parser.add_argument("--prompts", type=int, default=48, help="prompts of the tables")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.model)
    report: dict[str, Any] = {
        "holds": [],
        "judges": {},
        "captions": {},
        "few": [],
        "prompts": args.prompts,
    }
    for name, part in PARTS.items():
        if args.part and name not in args.part:
            continue
        began = time.monotonic()
        print(f"{name}: {part.__doc__}", flush=True)
        part(bench, report, args)
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
    failed = [line["name"] for line in report["holds"] if not line["holds"]]
    print(
        f"{len(report['holds']) - len(failed)} of {len(report['holds'])} lines hold"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
