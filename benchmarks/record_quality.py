"""Record how good every picture setting of the miniature is: the whole grid, scores a picture.

A search can then be run against the table instead of a device (the idea of NAS-Bench, Ying et al.
2019, for inference settings), exactly repeatable and against the true optimum. Pictures are made
by ldmopt's own host, eight a call on ONNX Runtime, whose pictures equal PyTorch's (89 dB and more,
`benchmarks/execution.py`); they are scored and thrown away. A picture's scores are what each
member of the package's regressor gives it, in logits (so any two pictures can be compared as the
regressor compares them), its similarity with its caption, and the share of the caption's factors
that the classifier of renders finds.

    python benchmarks/record_quality.py record --journal .cache/quality.jsonl   # hours; resumes
    python benchmarks/record_quality.py pack --journal .cache/quality.jsonl

What searches recommended (`search.py`) is then made for 64 prompts that no search saw, and so are
the default and what exhaustive search on the 16 would have chosen:

    python benchmarks/record_quality.py record --held-out FOLDER --journal .cache/held-out.jsonl
    python benchmarks/record_quality.py pack --held-out FOLDER --journal .cache/held-out.jsonl

Settings come in a random order, so an unfinished journal is a fair sample of the grid.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Picture, Setting
from ldmopt.errors import GenerationError
from ldmopt.knob import Context, Space, build_space
from ldmopt.miniature.scenes import captions
from ldmopt.model import describe
from ldmopt.recording import QUALITY

GRID: dict[str, tuple[Any, ...]] = {
    "sampler": ("ddim", "euler", "euler_a", "heun", "dpmpp_2m", "unipc", "pndm", "lms"),
    "steps": (2, 3, 4, 5, 6, 8, 11, 16, 27, 50),
    "guidance": (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.5, 12.0),
    "size": ("48x48", "64x64", "96x64", "96x96"),
}
PROMPTS, HELD_OUT, SEEDS, BATCH = 16, 64, 2, 8
COLUMNS = ("member_0", "member_1", "member_2", "member_3", "alignment", "attributes")


def settings() -> list[Setting]:
    """Return every setting of the grid, in a fixed random order; the default comes first."""
    every = [Setting(dict(zip(GRID, values, strict=True)))
             for values in itertools.product(*GRID.values())]
    random.Random(0).shuffle(every)
    default = Setting(sampler="pndm", steps=50, guidance=7.5, size="64x64")
    return sorted(every, key=lambda setting: setting != default)


def picked(folder: Path) -> list[Setting]:
    """Return the default, and what runs of `search.py` in a folder chose or should have chosen."""
    lines = (folder / "runs.jsonl").read_text().splitlines()
    told = [item for line in lines for item in json.loads(line)["recommended"]]
    found = [item[name] for item in told for name in ("picture", "best") if item[name]]
    return list(dict.fromkeys([settings()[0], *map(Setting, found)]))


def blocks(held_out: bool = False) -> list[tuple[Block, Any]]:
    """Return prompts with seeds, each with its scene; the held-out ones are others."""
    every = captions(PROMPTS + HELD_OUT)
    chosen = every[PROMPTS:] if held_out else every[:PROMPTS]
    return [(Block(text, seed), scene) for text, scene in chosen for seed in range(SEEDS)]


class Judges:
    """What scores a picture: the regressor's members, the towers, the classifier."""

    def __init__(self, judged: list[tuple[Block, Any]]) -> None:
        """Open all three, for pictures of these blocks."""
        from ldmopt.miniature import classifier, towers
        from ldmopt.scorers import default

        self.regressor, self.towers = default(), towers.load()
        self.classifier = classifier.load()
        self.blocks = judged
        self.texts = self.towers.embed_captions([block.prompt for block, _ in self.blocks])

    def __call__(self, pictures: list[Picture]) -> list[list[float]]:
        """Return a row of `COLUMNS` for each block's picture."""
        pixels = [picture.pixels for picture in pictures]
        members = self.regressor.prior(self.regressor.features(pictures))
        alignment = (self.towers.embed_pictures(pixels) * self.texts).sum(axis=1)
        truth = [scene.factors for _, scene in self.blocks]
        attributes = [float(np.mean([read[name] == scene[name] for name in scene]))
                      for read, scene in zip(self.classifier(pixels), truth, strict=True)]
        table = np.concatenate([members.T, alignment[:, None], np.array(attributes)[:, None]], 1)
        return [[round(float(value), 4) for value in row] for row in table]


def known(journal: Path) -> dict[Setting, dict[str, Any]]:
    """Return the journal's lines by setting; a line torn by a kill is left out."""
    found = {}
    for text in journal.read_text().splitlines() if journal.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[Setting(line["setting"])] = line
    return found


def record(journal: Path, limit: int | None, held_out: Path | None) -> None:
    """Make, score and note what is missing."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    done = known(journal)
    wanted = settings() if held_out is None else picked(held_out)
    missing = [setting for setting in wanted[:limit] if setting not in done]
    model = describe("miniature")
    space = build_space({"backend": "onnx", "batch": BATCH}, {},
                        Context(model, "cpu", machine.packages()))
    judges = Judges(blocks(held_out is not None))
    host = ProcessHost(model, "cpu", backends=["onnx"], picture_part=space.picture,
                       log=journal.with_suffix(".log"))
    with closing(host), journal.open("a") as file:
        began = time.monotonic()
        for number, setting in enumerate(missing, 1):
            line = one(host, space, setting, judges)
            file.write(json.dumps(line, separators=(",", ":")) + "\n")
            file.flush()
            left = (time.monotonic() - began) / number * (len(missing) - number)
            print(f"\r{len(done) + number} settings, {left / 60:.0f} minutes left   ",
                  end="", file=sys.stderr, flush=True)


def one(host: ProcessHost, space: Space, setting: Setting, judges: Judges) -> dict[str, Any]:
    """Return a setting's line: a row of scores a block, or why there is none."""
    whole = space.canonical({**space.default, **setting})
    try:
        pictures = [picture for picture, _ in host.generate(whole, [b for b, _ in judges.blocks])]
    except GenerationError as error:
        return {"setting": dict(setting), "failed": f"{error.kind}: {error.reason}"}
    return {"setting": dict(setting), "scores": judges(pictures)}


def pack(journal: Path, out: Path, held_out: Path | None) -> Path:
    """Write the journal as one table: `(settings, blocks, columns)`."""
    from safetensors.numpy import save_file

    from ldmopt.scorers import default

    regressor = default()
    done = known(journal)
    wanted = settings() if held_out is None else picked(held_out)
    judged = blocks(held_out is not None)
    rows = [setting for setting in wanted if "scores" in done.get(setting, {})]
    table = np.array([done[setting]["scores"] for setting in rows], np.float32)
    facts = {
        "schema_version": "1",
        "command": "python benchmarks/record_quality.py record",
        "columns": json.dumps(COLUMNS),
        "settings": json.dumps([dict(setting) for setting in rows]),
        "failed": json.dumps([line for line in done.values() if "failed" in line]),
        "missing": str(len(wanted) - len(rows)),
        "blocks": json.dumps([[block.prompt, block.seed] for block, _ in judged]),
        "scorer": json.dumps(dict(regressor.identity)),
        "noise": repr(regressor.noise),
        "model_digest": describe("miniature").digest(),
        "environment": json.dumps(machine.describe("cpu")),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / (QUALITY if held_out is None else f"held-out-{QUALITY}")
    save_file({"scores": table.astype(np.float16)}, path, facts)
    return path


def main() -> None:
    """Record, or pack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "pack"))
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/tables/miniature"))
    parser.add_argument("--limit", type=int, help="record only so many settings")
    parser.add_argument("--held-out", type=Path, help="folder of search.py's runs")
    options = parser.parse_args()
    if options.what == "record":
        record(options.journal, options.limit, options.held_out)
    else:
        print(pack(options.journal, options.out, options.held_out))


if __name__ == "__main__":
    main()
