"""The landscape exam: does the regressor rank settings as two judges do that it never met?

A fixed list of settings from ruined to best makes pictures of the same prompts and seeds. The
regressor's mean over a setting's pictures is ranked against caption alignment (mean similarity
of the miniature's CLIP towers) and against attribute accuracy (a classifier trained on renders
only); neither was used to train it. The ceiling beside each figure is how well the judges agree
with each other and with themselves in split halves over prompts.

    python benchmarks/exam.py [--json exam.json] [--regressor FOLDER] [--prompts 48]

Pictures are kept under `.cache/exam`, by the model's digest, so a second run takes seconds. Exit
code 1 when the regressor fails.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Block, Picture
from ldmopt.scorers.canaries import CANARIES
from ldmopt.scorers.prior.studio import Studio, Take
from ldmopt.scorers.regressor import Regressor, default

ALIGNMENT_PASS = 0.90
ATTRIBUTE_PASS = 0.80
HALVES = 200
PROMPT_SEED = 90_417  # no training and no study draws its captions from this one
CACHE = Path(".cache") / "exam"
DEFAULT = Take(25, 4.0)
Floats = NDArray[np.float64]

TAKES: tuple[Take, ...] = (
    DEFAULT,
    *(Take(steps, 4.0, sampler="ddim") for steps in (1, 2, 3, 4, 6, 10, 20)),
    *(Take(steps, 4.0) for steps in (2, 3, 5, 8, 20)),
    *(Take(steps, 5.0, sampler="unipc") for steps in (2, 4, 12)),
    *(Take(steps, 5.0, sampler="euler_a") for steps in (3, 6, 16)),
    *(Take(steps, 5.0, sampler="lms") for steps in (4, 8, 25)),
    *(Take(steps, 3.0, sampler="dpmpp_2m_karras") for steps in (3, 6, 14)),
    *(Take(steps, 5.0, sampler="deis") for steps in (3, 10)),
    *(Take(steps, 7.5, sampler="pndm") for steps in (4, 20)),
    Take(4, 4.0, sampler="heun"),
    *(Take(16, guidance) for guidance in (1.0, 1.5, 2.5, 6.5, 9.0, 12.0, 16.0, 25.0)),
    *(Take(5, guidance, sampler="ddim") for guidance in (1.0, 9.0, 16.0)),
    *(Take(16, 4.0, side, side) for side in (32, 40, 48, 56, 80, 96, 128)),
    Take(16, 4.0, 96, 64),
    Take(16, 4.0, 48, 80),
    Take(3, 4.0, 96, 96),
    Take(16, 12.0, 96, 96),
    Take(12, 4.0, sampler="ddim", stop=6),
    Take(12, 4.0, sampler="ddim", stop=9),
)


@dataclass(frozen=True)
class Judged:
    """What the judges and the regressor say, settings x prompts.

    Attributes:
        alignment: similarity of caption and picture.
        attributes: share of the five factors that the classifier recognises.
        value: the regressor's value, logits.
        win: the regressor's chance against the default setting's picture of the same block.
    """

    alignment: Floats
    attributes: Floats
    value: Floats
    win: Floats


def main() -> int:
    """Run the exam, print it, and return 0 when it is passed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--regressor", type=Path, help="folder of a regressor; else the package's")
    parser.add_argument("--json", type=Path, help="write all figures there")
    chosen = parser.parse_args()
    regressor = Regressor.load(chosen.regressor) if chosen.regressor else default()
    captions = exam_captions(chosen.prompts)
    pictures = exam_pictures([text for text, _ in captions])
    started = time.monotonic()
    judged = judge(pictures, captions, regressor)
    seconds = time.monotonic() - started
    figures = {**examined(judged), "canaries": canaries(pictures, regressor)}
    figures |= {"prompts": len(captions), "settings": len(TAKES), "scorer": regressor.identity}
    figures["milliseconds_a_picture"] = 1000 * seconds / judged.value.size
    show(figures, judged)
    if chosen.json:
        rows = table(judged)
        chosen.json.write_text(json.dumps({**figures, "table": rows}, indent=1) + "\n")
    return 0 if figures["passed"] else 1


def exam_captions(count: int) -> list[tuple[str, Any]]:
    """Return captions with scenes, of the built-in kind, drawn from a seed of the exam's own."""
    from ldmopt.miniature.scenes import captions

    return captions(count, seed=PROMPT_SEED, split="search")


def exam_pictures(prompts: list[str]) -> list[list[Picture]]:
    """Return a row of pictures a setting; what is on disk is not made again."""
    studio = Studio()
    root = CACHE / model_digest(studio.folder)
    root.mkdir(parents=True, exist_ok=True)
    blocks = [Block(prompt, 1000 + index) for index, prompt in enumerate(prompts)]
    name = hashlib.sha256("\n".join(prompts).encode()).hexdigest()[:12]
    seeds = [block.seed for block in blocks]
    return [[Picture(part, block) for part, block in zip(pixels, blocks, strict=True)]
            for pixels in generated(studio, TAKES, prompts, seeds, root, name)]


def generated(
    studio: Studio, takes: Sequence[Take], prompts: list[str], seeds: list[int], root: Path,
    name: str,
) -> Iterator[NDArray[np.uint8]]:
    """Yield each setting's pictures `(prompts, h, w, 3)`; what is in the folder is not made again.

    Args:
        studio: makes them.
        takes: the settings.
        prompts: one a picture.
        seeds: one a picture.
        root: the folder.
        name: of these prompts, in file names.
    """
    for number, take in enumerate(takes, 1):
        path = root / f"{take}-{name}.npz"
        if not path.exists():
            print(f"\r{number}/{len(takes)} {take}        ", end="", file=sys.stderr, flush=True)
            _store(path, studio.generate(take, prompts, seeds))
        with np.load(path, allow_pickle=False) as stored:
            yield stored["pictures"]


def _store(path: Path, pictures: list[NDArray[np.uint8]]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pictures=np.stack(pictures))
    beside = path.with_suffix(".part")
    beside.write_bytes(buffer.getvalue())
    beside.replace(path)


def model_digest(folder: Path) -> str:
    """sha256 (first 16 digits) over the files that decide a picture."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.parent.name in ("unet", "vae", "text_encoder", "scheduler"):
            whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()[:16]


def judge(
    pictures: list[list[Picture]], captions: list[tuple[str, Any]], regressor: Regressor
) -> Judged:
    """Ask both judges and the regressor about every picture."""
    from ldmopt.miniature import classifier, towers

    clip, reader = towers.load(), classifier.load()
    texts = clip.embed_captions([text for text, _ in captions])
    truth = [scene.factors for _, scene in captions]
    alignment, attributes, value, win = [], [], [], []
    for row in pictures:
        pixels = [picture.pixels for picture in row]
        alignment.append((clip.embed_pictures(pixels) * texts).sum(axis=1))
        read = reader(pixels)
        right = [
            np.mean([found[name] == scene[name] for name in scene])
            for found, scene in zip(read, truth, strict=True)
        ]
        attributes.append(np.array(right))
        value.append(np.array([score.value if score else np.nan for score in regressor.score(row)]))
        chances = regressor.compare(row, pictures[0])
        win.append(np.array([chance.probability for chance in chances]))
    return Judged(
        *(np.stack(part).astype(np.float64) for part in (alignment, attributes, value, win))
    )


def examined(judged: Judged) -> dict[str, Any]:
    """Return the exam's figures from settings x prompts tables."""
    value = judged.value.mean(axis=1)
    figures: dict[str, Any] = {}
    between = spearman(judged.alignment.mean(axis=1), judged.attributes.mean(axis=1))
    halves = split_halves(judged)
    for name, judge_, needed in (
        ("alignment", judged.alignment, ALIGNMENT_PASS),
        ("attributes", judged.attributes, ATTRIBUTE_PASS),
    ):
        rho = spearman(value, judge_.mean(axis=1))
        ceiling = max(between, halves[f"{name} across"])
        figures[name] = {
            "spearman": rho,
            "ceiling": ceiling,
            "share": rho / ceiling,
            "needed_share": needed,
            "own_halves": halves[name],
            "spearman_of_halves": halves[f"value {name}"],
            "win_rate_spearman": spearman(judged.win.mean(axis=1), judge_.mean(axis=1)),
        }
    figures["judges_agree"] = between
    figures["judges_agree_across_halves"] = halves["alignment across"]
    figures["regressor_own_halves"] = halves["value"]
    figures["settings_below_half"] = float((judged.win[1:].mean(axis=1) < 0.5).mean())
    figures["pairs_saturated"] = float(((judged.win[1:] < 0.01) | (judged.win[1:] > 0.99)).mean())
    figures["passed"] = all(
        figures[name]["share"] >= figures[name]["needed_share"]
        for name in ("alignment", "attributes")
    )
    return figures


def split_halves(judged: Judged) -> dict[str, float]:
    """Return mean Spearman over random halves of the prompts, each with the other half."""
    rng = np.random.default_rng(0)
    prompts = judged.value.shape[1]
    found: dict[str, list[float]] = {}
    for _ in range(HALVES):
        order = rng.permutation(prompts)
        first, second = order[: prompts // 2], order[prompts // 2 :]
        a, b, v = (
            (part[:, first].mean(axis=1), part[:, second].mean(axis=1))
            for part in (judged.alignment, judged.attributes, judged.value)
        )
        for name, left, right in (
            ("alignment", a[0], a[1]),
            ("attributes", b[0], b[1]),
            ("value", v[0], v[1]),
            ("alignment across", a[0], b[1]),
            ("attributes across", b[0], a[1]),
            ("value alignment", v[0], a[1]),
            ("value attributes", v[0], b[1]),
        ):
            found.setdefault(name, []).append(spearman(left, right))
    return {name: float(np.mean(part)) for name, part in found.items()}


def canaries(pictures: list[list[Picture]], regressor: Regressor) -> dict[str, Any]:
    """Return each canary's mean value and the share of honest pictures that it beats."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((64, 64))
    block = Block("", 0)
    honest = [score.value for score in regressor.score(pictures[0]) if score]
    board = np.where((rows // 8 + columns // 8) % 2, 235, 20).astype(np.uint8)
    made: dict[str, list[NDArray[np.uint8]]] = {
        "noise": [rng.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(8)],
        "constant colour": [
            np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(8)
        ],
        "checkerboard": [np.repeat(board[..., None], 3, axis=2)],
        "black": [CANARIES["black"](pictures[0][0].pixels)],
    }
    for name in ("heavy blur", "over-saturated", "JPEG ruin"):
        made[name] = [CANARIES[name](picture.pixels) for picture in pictures[0]]
    result = {}
    for name, pixels in made.items():
        scores = regressor.score([Picture(part, block) for part in pixels])
        values = np.array([score.value for score in scores if score])
        beats = float((values[:, None] > np.array(honest)[None]).mean())
        result[name] = {"value": float(values.mean()), "beats_honest": beats}
    result["honest"] = {"value": float(np.mean(honest)), "beats_honest": 0.5}
    return result


def spearman(left: Floats, right: Floats) -> float:
    """Return the rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(left, right).statistic)


def table(judged: Judged) -> list[dict[str, Any]]:
    """Return one row a setting, best alignment first."""
    rows = [
        {
            "setting": str(take),
            "alignment": float(judged.alignment[index].mean()),
            "attributes": float(judged.attributes[index].mean()),
            "value": float(judged.value[index].mean()),
            "win_rate": float(judged.win[index].mean()),
        }
        for index, take in enumerate(TAKES)
    ]
    return sorted(rows, key=lambda row: -row["alignment"])


def show(figures: dict[str, Any], judged: Judged) -> None:
    """Print the table and the verdict."""
    print(f"\n{'setting':34s} {'align':>6s} {'attrib':>6s} {'value':>7s} {'win':>5s}")
    for row in table(judged):
        print(
            f"{row['setting']:34s} {row['alignment']:6.3f} {row['attributes']:6.3f}"
            f" {row['value']:7.2f} {row['win_rate']:5.2f}"
        )
    print(f"\n{figures['settings']} settings, {figures['prompts']} prompts, {figures['scorer']}")
    for name in ("alignment", "attributes"):
        row = figures[name]
        print(
            f"{name:10s} Spearman {row['spearman']:.3f} of ceiling {row['ceiling']:.3f}:"
            f" {row['share']:.0%} (needed {row['needed_share']:.0%}); as win rate"
            f" {row['win_rate_spearman']:.3f}; judge's own halves {row['own_halves']:.3f}"
        )
    print(
        f"judges agree {figures['judges_agree']:.3f} (across halves"
        f" {figures['judges_agree_across_halves']:.3f}); regressor's own halves"
        f" {figures['regressor_own_halves']:.3f}; {figures['settings_below_half']:.0%} of settings"
        f" below 0.5 against the default; {figures['pairs_saturated']:.0%} of chances beyond"
        f" 0.01..0.99; {figures['milliseconds_a_picture']:.1f} ms a picture (both judges included)"
    )
    for name, row in figures["canaries"].items():
        print(f"  canary {name:16s} {row['value']:7.2f}, beats {row['beats_honest']:.0%} of honest")
    print("PASSED" if figures["passed"] else "FAILED")


if __name__ == "__main__":
    sys.exit(main())
