"""Training the regressor that ships in the package: `python -m ldmopt.scorers.prior.train`.

Renders and generated pictures are damaged on ladders, encoded, and boosted trees learn what is
left of each picture. A fifth of the scenes and prompts is held out: there the values are turned
into calibrated chances, and the report's figures come from there. Same seed, same model, same
regressor. Takes some minutes on two cores.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels
from ldmopt.scorers import encoders
from ldmopt.scorers.prior import generated, ladders
from ldmopt.scorers.prior.calibrate import calibrated, report
from ldmopt.scorers.prior.damage import DAMAGES
from ldmopt.scorers.prior.studio import Studio
from ldmopt.scorers.prior.trees import Forest, from_sklearn
from ldmopt.scorers.regressor import Regressor, Space

LOG = logging.getLogger("ldmopt.scorers.prior.train")
MEMBERS = 4
TREES = 260
DEPTH = 5
AXES = 32
HELD_OUT = 5
GENERATED_WEIGHT = 3.0  # a rung of a generated ladder against one of a damaged picture
PROMPT_GROUPS = 1_000_000  # numbers of prompts' groups start here


@dataclass(frozen=True, eq=False)
class Table:
    """Encoded rungs.

    Attributes:
        features: `(n, columns)`.
        quality: `(n,)`, 1 - loss.
        group: `(n,)` scene or prompt.
        ladder: `(n,)` number of the ladder.
        kind: `(n,)` the ladder's kind.
    """

    features: NDArray[np.float32]
    quality: NDArray[np.float64]
    group: NDArray[np.int64]
    ladder: NDArray[np.int64]
    kind: NDArray[np.str_]

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Rows of the fifth of groups that training never sees."""
        return np.asarray(self.group % HELD_OUT == 0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, save, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "default")
    parser.add_argument("--scenes", type=int, default=700, help="renders to damage")
    parser.add_argument("--prompts", type=int, default=112, help="prompts to generate")
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--encoder", default="auto", help="auto, statistics or miniature")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    regressor = train(chosen.scenes, chosen.prompts, chosen.seed, chosen.encoder)
    regressor.save(chosen.out)
    LOG.info("saved to %s: %s", chosen.out, regressor.identity)


def train(scenes: int, prompts: int, seed: int, encoder: str = "auto") -> Regressor:
    """Return a regressor trained on fresh ladders.

    Args:
        scenes: how many renders to damage.
        prompts: how many prompts to generate ladders for.
        seed: of everything.
        encoder: name of the encoder.
    """
    table = encoded(every_ladder(scenes, prompts, seed), encoder)
    LOG.info("%d pictures of %d ladders encoded", len(table.quality), table.ladder.max() + 1)
    return fitted(table, encoder, seed, {"scenes": scenes, "prompts": prompts})


def every_ladder(count: int, prompts: int, seed: int) -> Iterator[ladders.Ladder]:
    """Yield all ladders of a training run, in a fixed order."""
    studio = Studio()
    captioned = ladders.scenes(count + prompts, seed)
    renders = [pixels for _, pixels in captioned[:count]]
    yield from _of_renders(renders, studio, np.random.default_rng([seed, 1]))
    LOG.info("ladders of %d renders made", count)
    texts = [text for text, _ in captioned[count:]]
    yield from _of_prompts(texts, studio, np.random.default_rng([seed, 2]))


def _of_renders(
    renders: list[Pixels], studio: Studio, rng: np.random.Generator
) -> Iterator[ladders.Ladder]:
    """Pixel ladders on renders and on their round trips, then latent ladders."""
    kinds = list(DAMAGES)
    passed = studio.decode(studio.encode(renders))
    for group, pixels in enumerate(renders):
        yield ladders.honest_sizes(pixels if group % 2 else passed[group], group, rng)
        for number, kind in enumerate(rng.choice(kinds, 2, replace=False)):
            source, loss = (pixels, 0.0) if number else (passed[group], ladders.ROUND_TRIP_LOSS)
            yield ladders.of_pixels(source, str(kind), group, loss, rng)
    for start in range(0, len(renders), 32):
        part = renders[start : start + 32]
        for name in rng.choice(list(ladders.LATENT_DAMAGES), 3, replace=False):
            yield from ladders.of_latents(studio, part, str(name), start, rng)


def _of_prompts(
    texts: list[str], studio: Studio, rng: np.random.Generator
) -> Iterator[ladders.Ladder]:
    """Ladders of generated pictures, and pixel ladders on the good ones among them."""
    kinds = list(DAMAGES)
    for start in range(0, len(texts), 16):
        first = PROMPT_GROUPS + start
        for ladder in generated.ladders(studio, texts[start : start + 16], first, rng):
            yield ladder
            if ladder.kind in ("guidance down", "few steps"):
                kind, best = str(rng.choice(kinds)), ladder.rungs[0]
                yield ladders.of_pixels(best.pixels, kind, ladder.group, best.loss, rng)
        LOG.info("ladders of %d of %d prompts made", min(start + 16, len(texts)), len(texts))


def encoded(every: Iterable[ladders.Ladder], encoder: str) -> Table:
    """Encode ladders as they come; pictures are not kept."""
    encode = encoders.load(encoder).encoder.encode
    features: list[NDArray[np.float32]] = []
    rows: list[tuple[float, int, int, str]] = []
    waiting: list[Pixels] = []
    for number, ladder in enumerate(every):
        for rung in ladder.rungs:
            waiting.append(rung.pixels)
            rows.append((1.0 - rung.loss, ladder.group, number, ladder.kind))
        if len(waiting) >= 512:
            features.append(encode(waiting))
            waiting = []
    if waiting:
        features.append(encode(waiting))
    return Table(
        np.concatenate(features),
        np.array([row[0] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows]),
    )


def fitted(table: Table, encoder: str, seed: int, sources: dict[str, int]) -> Regressor:
    """Fit the members on the training groups, calibrate and report on the held-out ones."""
    started = time.monotonic()
    forest = boosted(table, seed, LOG.info)
    LOG.info("%d members fitted in %.0f s", MEMBERS, time.monotonic() - started)
    out = table.held_out
    values = forest.predict(table.features[out])
    scale, noise, calibration = calibrated(values, table.quality[out], table.ladder[out])
    facts = report(values, table.quality[out], table.ladder[out], table.kind[out])
    LOG.info("held-out rank correlation %.3f, pairs right %.3f", facts["rho"], facts["accuracy"])
    return Regressor(
        encoder=encoder if encoder != "auto" else "statistics",
        encoder_digest=str(encoders.load(encoder).encoder.identity["digest"]),
        forest=forest,
        scale=scale,
        noise=noise,
        space=main_axes(table.features[~out], table.ladder[~out]),
        report={
            "trained_on": "ladders of known damage to the miniature's renders and generated"
            " pictures; no captions, no human labels; distrust it on other models' pictures",
            "pictures": len(table.quality),
            "ladders": int(len(np.unique(table.ladder))),
            "held_out_ladders": int(len(np.unique(table.ladder[out]))),
            **sources,
            "seed": seed,
            "ladder_exam": facts,
            "calibration": calibration,
            "labels": {"human": 0, "simulated": 0},
        },
    )


def boosted(table: Table, seed: int, say: Callable[..., Any]) -> Forest:
    """Fit the members, each on two thirds of the training groups."""
    from concurrent.futures import ThreadPoolExecutor

    rng = np.random.default_rng([seed, 3])
    rows = np.flatnonzero(~table.held_out)
    groups = np.unique(table.group[rows])
    jobs = []
    for member in range(MEMBERS):
        own = rng.choice(groups, len(groups) * 2 // 3, replace=False)
        chosen = rows[np.isin(table.group[rows], own)]
        made = np.isin(table.kind[chosen], generated.KINDS)
        weight = np.where(made, GENERATED_WEIGHT, 1.0)
        jobs.append((table.features[chosen], table.quality[chosen], weight, member))
    say("fitting %d members on about %d pictures each", MEMBERS, len(jobs[0][1]))
    with ThreadPoolExecutor(2) as pool:  # building a tree holds no lock
        fits = list(pool.map(_member, *zip(*jobs, strict=True)))
    return from_sklearn([model for model, _ in fits], [mean for _, mean in fits])


def _member(
    features: NDArray[np.float32],
    quality: NDArray[np.float64],
    weight: NDArray[np.float64],
    member: int,
) -> tuple[Any, float]:
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(
        init="zero",
        n_estimators=TREES,
        max_depth=DEPTH,
        learning_rate=0.08,
        subsample=0.6,
        max_features=0.1,
        min_samples_leaf=5,
        random_state=member,
    )
    mean = float(np.average(quality, weights=weight))
    return model.fit(features, quality - mean, sample_weight=weight), mean


def main_axes(features: NDArray[np.float32], ladder: NDArray[np.int64]) -> Space:
    """Return the principal axes along which pictures of one scene differ, whitened.

    What differs between scenes is taken out first: a rater compares pictures of one prompt.
    """
    mean = features.mean(axis=0)
    numbers, where = np.unique(ladder, return_inverse=True)
    sums = np.zeros((len(numbers), features.shape[1]))
    np.add.at(sums, where, features)
    inside = features - (sums / np.bincount(where)[:, None])[where]
    deviation = inside.std(axis=0)
    usable = deviation > 1e-6
    scale = np.where(usable, 1.0 / np.where(usable, deviation, 1.0), 0.0)
    standard = np.clip(inside * scale, -5, 5)
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    chosen = np.argsort(values)[::-1][:AXES]
    axes = scale[:, None] * vectors[:, chosen] / np.sqrt(values[chosen])
    return Space(mean.astype(np.float32), axes.astype(np.float32))


if __name__ == "__main__":
    main()
