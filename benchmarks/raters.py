"""SIMULATED raters of known noise, on miniature pictures whose true worth is a stated function.

Nobody's labels are here: a program answers, every label says `simulated`, and so must every
figure made from them. The regressor is given none of what the truth is made of.

**Truth**, of a picture made for a caption (each part has mean 0 and deviation 1 over the set):
0.6 x *closeness* (log probability that the miniature's classifier gives to the caption's
attributes, `WEIGHTS`) - 0.6 x *damage* (log distance of its local statistics, as the
classifier's first maps see them, to clean renders of the same attributes) + 0.25 x *liking* (what
nearly everybody likes: washes, a visible light in the sky, warm hours). The sum is turned into
normal scores over the set (its order stays): else a few ruined settings would own its variance,
which is the unit of the raters' noise, and no rater could tell good pictures apart at all.

**Raters**: answer of rater j = truth + personal + momentary noise. With the variance of the truth
as unit and s2 that of personal and momentary together, one rater against the mean of the 21
others correlates 1 / sqrt((1 + s2)(1 + s2 / 21)), and two halves of 22 raters 1 / (1 + s2 / 11).
The published .58 gives s2 = 1.75, which gives .863 for the halves: the published .86 (GOTCHAS
29), so one number fits both. A quarter of it is personal and stays (taste for styles, light and
hours, more or less care for the caption and for damage); the rest is drawn anew each time, more
for careless raters (deviation x a log-normal factor with mean square 1). Raters of *strong* taste
have two fifths of it to themselves and also like pictures brighter or darker, more or less
colourful, contrasted and detailed than the others of a prompt: what settings change.

    python benchmarks/raters.py [--prompts 48] [--json raters.json]

makes the picture set (`.cache/raters`, by the model's digest; a killed run goes on) and prints
how the simulated raters agree. Use from Python: `picture_set()`, `raters(22, seed=0)`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from exam import generated, model_digest
from numpy.typing import NDArray

from ldmopt.contracts import Block, Picture
from ldmopt.labels import Pair, Rating
from ldmopt.scorers.prior.studio import Studio, Take

CACHE = Path(".cache") / "raters"
PROMPT_SEED = 71_203  # no training, no study and no exam draws its captions from this one
TRUTH_VERSION = 1
VARIANCE = 1.75  # s2 above
PERSONAL, STRONG = 0.25, 0.4
CARELESSNESS = 0.35  # deviation of the logarithm of a rater's noise factor
TIE = 0.35  # sides that seem closer than this are a tie
BOTH_BAD = -2.0  # and when both seem below this, both are bad
LOW, HIGH = 1.0, 10.0
WEIGHTS = {"thing": 0.3, "terrain": 0.25, "light": 0.2, "time": 0.15, "style": 0.1}
LIKED = {
    "style": (0.0, 1.0, -0.6, 0.3),
    "light": (-0.8, 0.4, 0.6, 0.4, 0.2, 0.3, 0.2),
    "time": (0.5, 0.0, 0.8, -0.4),
}
MIX = {"closeness": 0.6, "damage": -0.6, "liking": 0.25}
Floats = NDArray[np.float64]

DEFAULT = Take(25, 7.5, sampler="pndm")
TAKES: tuple[Take, ...] = (
    DEFAULT,
    *(Take(steps, 4.0, sampler="ddim") for steps in (1, 2, 4, 6, 10, 16)),
    *(Take(steps, 4.0) for steps in (2, 3, 4, 5, 6, 8, 10, 12, 16, 20)),
    *(Take(steps, 4.0, sampler="dpmpp_2m_karras") for steps in (4, 6, 8, 12)),
    *(Take(steps, 5.0, sampler="unipc") for steps in (3, 5, 7, 10, 14)),
    *(Take(steps, 5.0, sampler="euler_a") for steps in (4, 8, 14, 20)),
    *(Take(steps, 5.0, sampler="deis") for steps in (3, 6, 9, 14)),
    *(Take(steps, 5.0, sampler="lms") for steps in (6, 12)),
    *(Take(steps, 7.5, sampler="pndm") for steps in (5, 12)),
    *(Take(steps, 4.0, sampler="heun") for steps in (3, 5)),
    *(Take(12, guidance) for guidance in (1.0, 1.5, 2.5, 6.0, 9.0, 14.0)),
    *(Take(6, guidance) for guidance in (1.0, 2.5, 6.5)),
    *(Take(12, 4.0, side, side) for side in (40, 48, 56, 80)),
)


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures of settings x prompts, one seed, with their true worth.

    Attributes:
        takes: settings, the default first.
        pictures: settings x prompts.
        held_out: `(prompts,)`, True for the second half: kept for confirmation.
        seconds: `(settings,)` device seconds a picture, by a stated form (`device_seconds`).
        truth: `(settings, prompts)`, mean 0 and deviation 1 over the set.
        parts: closeness, damage, liking, each `(settings, prompts)`, mean 0 and deviation 1.
        reads: factor -> `(settings, prompts, values)`, the classifier's probabilities.
    """

    takes: tuple[Take, ...]
    pictures: list[list[Picture]]
    held_out: NDArray[np.bool_]
    seconds: Floats
    truth: Floats
    parts: dict[str, Floats]
    reads: dict[str, Floats]

    @cached_property
    def digests(self) -> NDArray[np.str_]:
        """Each picture's digest, `(settings, prompts)`."""
        return np.array([[picture.digest for picture in row] for row in self.pictures])

    @cached_property
    def looks(self) -> Floats:
        """Brightness, colourfulness, contrast and detail against the other pictures of a prompt.

        Shape `(settings, prompts, 4)`, mean 0 within a prompt, deviation 1 over the set.
        Colourfulness is Hasler and Suesstrunk's (2003); detail is the mean absolute gradient.
        """
        raw = np.array([[_looks(picture.pixels) for picture in row] for row in self.pictures])
        moved = raw - raw.mean(axis=0)
        return np.asarray(moved / moved.std(axis=(0, 1)))

    @cached_property
    def place(self) -> dict[str, tuple[int, int]]:
        """Digest -> (setting, prompt)."""
        return {str(self.digests[index]): index for index in np.ndindex(self.digests.shape)}


@dataclass(eq=False)
class Rater:
    """A SIMULATED rater: own taste, own noise, own use of the scale; answers follow its seed.

    Attributes:
        name: says that it is simulated.
        seed: of everything about it, its answers in their order included.
        strong: of strong taste (see the module's text).
    """

    name: str
    seed: int
    strong: bool = False
    _drawn: dict[str, Any] = field(init=False, repr=False)
    _answers: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Draw the rater."""
        rng = np.random.default_rng([self.seed, 1])
        self._drawn = {
            "factor": float(np.exp(CARELESSNESS * rng.standard_normal() - CARELESSNESS**2)),
            "likes": {name: rng.standard_normal(len(LIKED[name])) for name in LIKED},
            "cares": rng.standard_normal(2),
            "looks": np.random.default_rng([self.seed, 3]).standard_normal(4),
            "offset": float(5.5 + rng.normal(0, 0.7)),
            "scale": float(np.exp(rng.normal(np.log(1.1), 0.25))),
        }
        self._answers = np.random.default_rng([self.seed, 2])

    @property
    def personal(self) -> float:
        """Variance of the rater's lasting taste, in variances of the truth."""
        return VARIANCE * (STRONG if self.strong else PERSONAL)

    @property
    def noise(self) -> float:
        """Deviation of the momentary noise on one picture, in deviations of the truth."""
        return float(np.sqrt(VARIANCE - self.personal)) * float(self._drawn["factor"])

    def utility(self, pictures: PictureSet) -> Floats:
        """Return the rater's own lasting utility, `(settings, prompts)`: truth and taste."""
        own = sum(
            pictures.reads[name] @ likes for name, likes in self._drawn["likes"].items()
        ) + 0.5 * sum(
            care * pictures.parts[name]
            for care, name in zip(self._drawn["cares"], ("closeness", "damage"), strict=True)
        )
        if self.strong:
            own = standardised(own) + standardised(pictures.looks @ self._drawn["looks"])
        return pictures.truth + np.sqrt(self.personal) * standardised(np.asarray(own))

    def chance(self, difference: Floats) -> Floats:
        """Return the chance that left is preferred, ties half, for differences of utility.

        "Both bad" counts half too and is left out here: it is rare.
        """
        from scipy.stats import norm

        spread = np.sqrt(2.0) * self.noise
        above = norm.cdf((difference - TIE) / spread)
        below = norm.cdf((-difference - TIE) / spread)
        return np.asarray(above + 0.5 * (1 - above - below))

    def rate(self, pictures: PictureSet, where: Sequence[tuple[int, int]]) -> list[Rating]:
        """Rate pictures, given as (setting, prompt), in whole numbers from 1 to 10."""
        own, found = self.utility(pictures), []
        for index in where:
            seen = own[index] + self._answers.normal(0, self.noise)
            value = round(self._drawn["offset"] + self._drawn["scale"] * seen)
            block = pictures.pictures[index[0]][index[1]].block
            found.append(
                Rating(
                    str(pictures.digests[index]),
                    self.name,
                    float(min(HIGH, max(LOW, value))),
                    prompt=block.prompt,
                    seed=block.seed,
                    low=LOW,
                    high=HIGH,
                    simulated=True,
                )
            )
        return found

    def choose(
        self, pictures: PictureSet, where: Sequence[tuple[tuple[int, int], tuple[int, int]]]
    ) -> list[Pair]:
        """Answer pairs (left, right), each given as (setting, prompt)."""
        own, found = self.utility(pictures), []
        for left, right in where:
            a, b = (own[index] + self._answers.normal(0, self.noise) for index in (left, right))
            preferred = "left" if a > b else "right"
            if max(a, b) < BOTH_BAD:
                preferred = "both-bad"
            elif abs(a - b) < TIE:
                preferred = "tie"
            block = pictures.pictures[left[0]][left[1]].block
            same = left[1] == right[1]
            found.append(
                Pair(
                    str(pictures.digests[left]),
                    str(pictures.digests[right]),
                    self.name,
                    preferred,  # type: ignore[arg-type]
                    prompt=block.prompt if same else "",
                    seed=block.seed if same else None,
                    simulated=True,
                )
            )
        return found


def raters(count: int, seed: int = 0, strong: bool = False) -> list[Rater]:
    """Return simulated raters; the first ones of a longer list are those of a shorter one."""
    return [
        Rater(f"simulated-{seed}-{number}", seed * 1000 + number, strong)
        for number in range(1, count + 1)
    ]


def picture_set(
    prompts: int = 48, takes: Sequence[Take] = TAKES, cache: Path | None = None
) -> PictureSet:
    """Return the set: `prompts` to search and label on, and as many held out.

    What is in the cache is not made again; a setting that is missing takes some seconds.
    """
    from ldmopt.miniature.scenes import captions

    pairs = captions(2 * prompts, seed=PROMPT_SEED, split="search")
    texts = [text for text, _ in pairs]
    blocks = [Block(text, 5000 + index) for index, text in enumerate(texts)]
    studio = Studio()
    root = (cache or CACHE) / model_digest(studio.folder)
    root.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    seeds = [block.seed for block in blocks]
    rows = [list(pixels) for pixels in generated(studio, takes, texts, seeds, root, name)]
    names = " ".join(map(str, takes)) + name
    key = hashlib.sha256(names.encode()).hexdigest()[:12]
    seen = _seen(root / f"truth-{TRUTH_VERSION}-{key}.npz", rows, [scene for _, scene in pairs])
    damage, reads = seen["damage"], {name: seen[name] for name in WEIGHTS}
    truth, parts = _truth(reads, damage, [scene for _, scene in pairs])
    return PictureSet(
        tuple(takes),
        [[Picture(p, b) for p, b in zip(row, blocks, strict=True)] for row in rows],
        np.arange(2 * prompts) >= prompts,
        np.array([device_seconds(take) for take in takes]),
        truth,
        parts,
        reads,
    )


def device_seconds(take: Take) -> float:
    """Return a picture's seconds by DESIGN 2's form.

    Coefficients are those of `benchmarks/tables/miniature-amd-epyc-2-cores.csv`, euler, 12 steps,
    guided and not; other sizes go by area. Not measured here: the benchmarks need an order.
    """
    calls = {"heun": 2 * take.steps - 1, "pndm": take.steps + 1}.get(take.sampler, take.steps)
    area = take.width * take.height / 4096
    return (0.0155 + calls * (0.01147 if take.guidance > 1 else 0.008)) * area


def _seen(
    path: Path, rows: list[list[NDArray[np.uint8]]], scenes: list[Any]
) -> dict[str, Floats]:
    """Return the classifier's probabilities and the damage of every picture, from the cache."""
    import io

    if not path.exists():
        shape = (len(rows), len(scenes))
        flat = [picture for row in rows for picture in row]
        reads, maps = _judge(flat)
        ideals = _ideals(scenes)
        middle = np.stack([ideal.mean(axis=0) for ideal in ideals])
        spread = np.concatenate([ideal - ideal.mean(axis=0) for ideal in ideals]).std(axis=0)
        gaps = (maps.reshape(*shape, -1) - middle) / (spread + 1e-6)
        damage = np.log(np.sqrt((gaps**2).mean(axis=2)))
        found = {name: value.reshape(*shape, -1) for name, value in reads.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, damage=damage, **found)
        beside = path.with_suffix(".part")
        beside.write_bytes(buffer.getvalue())
        beside.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}


def _judge(pictures: list[NDArray[np.uint8]]) -> tuple[dict[str, Floats], Floats]:
    """Return the classifier's probabilities and its first three maps' means and spreads."""
    import torch

    from ldmopt.miniature import classifier

    judge = classifier.load()
    parts = []
    with torch.no_grad():
        for start in range(0, len(pictures), 128):
            small = classifier.to_size(pictures[start : start + 128])
            maps = judge.network.features(classifier.as_tensor(small, torch.device("cpu")))[:3]
            columns = [x.flatten(2).mean(2) for x in maps] + [x.flatten(2).std(2) for x in maps]
            parts.append(torch.cat(columns, 1).numpy())
    return judge.probabilities(pictures), np.concatenate(parts).astype(np.float64)


def _ideals(scenes: Sequence[Any], count: int = 8) -> list[Floats]:
    """Return the maps of clean renders of each scene's attributes, other layouts each time."""
    from dataclasses import replace

    from ldmopt.miniature.styles import render

    renders = [
        render(replace(scene, seed=scene.seed + shift)) for scene in scenes
        for shift in range(count)
    ]
    _, maps = _judge(renders)
    return list(maps.reshape(len(scenes), count, -1))


def _truth(
    reads: dict[str, Floats], damage: Floats, scenes: Sequence[Any]
) -> tuple[Floats, dict[str, Floats]]:
    """Return truth and its parts by the module's formula."""
    from ldmopt.miniature.scenes import FACTORS

    closeness = np.zeros(damage.shape)
    for name, weight in WEIGHTS.items():
        wanted = [FACTORS[name].index(scene.factors[name]) for scene in scenes]
        chances = reads[name][:, np.arange(len(scenes)), wanted]
        closeness += weight * np.log(np.clip(chances, 0.01, 1.0))
    liking = sum(reads[name] @ np.array(values) for name, values in LIKED.items())
    parts = {
        "closeness": standardised(closeness),
        "damage": standardised(damage),
        "liking": standardised(np.asarray(liking)),
    }
    return normal_scores(sum(MIX[name] * part for name, part in parts.items())), parts


def standardised(values: Any) -> Floats:
    """Return values with mean 0 and deviation 1."""
    return np.asarray((values - values.mean()) / values.std(), np.float64)


def _looks(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    values = pixels.astype(np.float64) / 255.0
    red, green, blue = values.transpose(2, 0, 1)
    grey = values.mean(axis=2)
    first, second = red - green, (red + green) / 2 - blue
    colour = np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean())
    detail = np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()
    return float(grey.mean()), float(colour), float(grey.std()), float(detail)


def normal_scores(values: Any) -> Floats:
    """Return normal quantiles of the values' ranks, brought to deviation 1."""
    from scipy.stats import norm, rankdata

    ranks = rankdata(values).reshape(values.shape)
    return standardised(norm.ppf((ranks - 0.5) / values.size))


def agreement(pictures: PictureSet, people: Sequence[Rater], count: int = 145) -> dict[str, float]:
    """Return how simulated raters agree who rate the same pictures, as the published ones did."""
    rng = np.random.default_rng(people[0].seed)
    flat = rng.choice(pictures.truth.size, count, replace=False)
    where = [tuple(map(int, np.unravel_index(i, pictures.truth.shape))) for i in flat]
    table = np.array([[x.rating for x in rater.rate(pictures, where)] for rater in people])
    table = (table - table.mean(axis=1, keepdims=True)) / table.std(axis=1, keepdims=True)
    rest = (table.sum(axis=0) - table) / (len(people) - 1)
    one = [np.corrcoef(a, b)[0, 1] for a, b in zip(table, rest, strict=True)]
    halves = []
    for _ in range(200):
        order = rng.permutation(len(people))
        a, b = (table[part].mean(axis=0) for part in np.array_split(order, 2))
        halves.append(np.corrcoef(a, b)[0, 1])
    return {
        "one_against_the_rest": float(np.mean(one)),
        "halves": float(np.mean(halves)),
        "worst": float(min(one)),
        "best": float(max(one)),
    }


def main() -> int:
    """Make the set and print how the simulated raters agree."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=48, help="to search; as many are held out")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    started = time.monotonic()
    pictures = picture_set(chosen.prompts)
    seconds = time.monotonic() - started
    print(f"\n{'setting':34s} {'seconds':>7s} {'truth':>6s} {'close':>6s} {'damage':>6s}")
    for index in np.argsort(-pictures.truth.mean(axis=1)):
        means = (part[index].mean() for part in
                 (pictures.truth, pictures.parts["closeness"], pictures.parts["damage"]))
        print(f"{pictures.takes[index]!s:34s} {pictures.seconds[index]:7.3f} "
              + " ".join(f"{mean:6.2f}" for mean in means))
    print(f"{pictures.truth.size} pictures in {seconds:.0f} s")
    found: dict[str, Any] = {"simulated": True}
    for name, strong in (("ordinary", False), ("strong", True)):
        runs = [agreement(pictures, raters(22, seed, strong)) for seed in range(20)]
        figures = {key: float(np.mean([run[key] for run in runs])) for key in runs[0]}
        print(f"22 SIMULATED raters of {name} taste, 145 pictures, 20 draws: one against the rest "
              f"{figures['one_against_the_rest']:.3f} (.58 published; {figures['worst']:.2f} to "
              f"{figures['best']:.2f}), halves {figures['halves']:.3f} (.86)")
        found[name] = figures
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
