"""Ladders: pictures of one scene from unhurt to ruined, whose order is known by construction.

The idea is RankIQA's (Liu et al. 2017): nobody has to rate what was damaged on purpose. Three
sources, none of which ever looks at a caption's meaning:

- pixel damage (`ldmopt.scorers.prior.damage`) to renders and to generated pictures;
- latent damage: noise, blending of two scenes, scaling, blurring, swapping, through the
  miniature's autoencoder;
- generation itself: fewer steps (judged by the distance to the same seed's converged picture),
  guidance too high or too low, a size the model was not made for, denoising stopped early.

Losses of all ladders are on one scale: 0 is unhurt, 1 is nothing left.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels
from ldmopt.scorers.prior.damage import DAMAGES, damaged

if TYPE_CHECKING:
    from ldmopt.scorers.prior.studio import Studio

Latents = NDArray[np.float32]
ROUND_TRIP_LOSS = 0.02
OTHER_SIZES = ((48, 48), (80, 80), (96, 96), (96, 64), (64, 96), (56, 72), (112, 112))


@dataclass(frozen=True, eq=False)
class Rung:
    """One picture of a ladder.

    Attributes:
        pixels: height x width x 3, uint8.
        loss: 0 is unhurt, 1 is nothing left.
    """

    pixels: Pixels
    loss: float


@dataclass(frozen=True)
class Ladder:
    """Pictures of one scene from the best to the worst.

    Attributes:
        kind: what hurts them; reports are by kind.
        group: number of the scene or prompt; held-out ladders are held out by it.
        rungs: ordered by loss.
    """

    kind: str
    group: int
    rungs: tuple[Rung, ...]


def of_pixels(
    pixels: Pixels, kind: str, group: int, loss: float, rng: np.random.Generator
) -> Ladder:
    """Damage one picture, whose own loss is given, at every level of a kind."""
    damage = DAMAGES[kind]
    rungs = [Rung(pixels, loss)]
    for level, cost in zip(damage.levels, damage.losses, strict=True):
        rungs.append(Rung(damaged(pixels, kind, level, rng), joined(loss, cost)))
    return Ladder(kind, group, tuple(rungs))


def joined(first: float, second: float) -> float:
    """Return the loss of two damages together: what is left of what is left."""
    return 1.0 - (1.0 - first) * (1.0 - second)


def honest_sizes(pixels: Pixels, group: int, rng: np.random.Generator) -> Ladder:
    """Show a picture at other sizes, unhurt: size alone is neither good nor bad."""
    from PIL import Image

    sizes = rng.permutation(len(OTHER_SIZES))[:2]
    image = Image.fromarray(pixels)
    rungs = [Rung(pixels, 0.0)]
    for number in sizes:
        resized = image.resize(OTHER_SIZES[int(number)], Image.Resampling.LANCZOS)
        rungs.append(Rung(np.asarray(resized), ROUND_TRIP_LOSS))
    return Ladder("honest size", group, tuple(rungs))


# --- latent damage: a batch of latents and a level, in units of the latents' deviation ---------


def _latent_noise(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    noise = rng.standard_normal(latents.shape, np.float32)
    return np.asarray(latents + level * latents.std() * noise, np.float32)


def _latent_mix(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    return np.asarray((1 - level) * latents + level * np.roll(latents, 1, axis=0), np.float32)


def _latent_halves(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    """Put a part of another scene into each, with a soft seam: things that do not belong."""
    width = latents.shape[-1]
    place = np.linspace(0, 1, width, dtype=np.float32)
    mask = np.clip((place - (1 - level)) * 6 + 0.5, 0, 1)
    if rng.random() < 0.5:
        mask = mask[::-1]
    mask = mask[None, None, None, :]
    if rng.random() < 0.4:
        mask = mask.transpose(0, 1, 3, 2)
    return np.asarray(latents * (1 - mask) + np.roll(latents, 1, axis=0) * mask, np.float32)


def _latent_scale(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    middle = latents.mean(axis=(2, 3), keepdims=True)
    return np.asarray(middle + (latents - middle) * np.float32(level), np.float32)


def _latent_gain(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    return latents * np.float32(level)


def _latent_blur(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(latents, (0, 0, level, level)), np.float32)


def _latent_swap(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    """Move a share of the latents' cells to other places of the same picture."""
    result = latents.copy()
    cells = latents.shape[2] * latents.shape[3]
    flat = result.reshape(*latents.shape[:2], cells)
    for index in range(len(flat)):
        chosen = rng.permutation(cells)[: max(2, int(level * cells))]
        flat[index][:, chosen] = flat[index][:, np.roll(chosen, 1)]
    return result


def _latent_drop(latents: Latents, level: float, rng: np.random.Generator) -> Latents:
    """Replace a share of cells by the picture's mean latent: missing parts."""
    middle = latents.mean(axis=(2, 3), keepdims=True)
    hole = rng.random((len(latents), 1, *latents.shape[2:])) < level
    return np.where(hole, middle, latents).astype(np.float32)


LATENT_DAMAGES: dict[
    str,
    tuple[
        Callable[[Latents, float, np.random.Generator], Latents],
        tuple[float, ...],
        tuple[float, ...],
    ],
] = {
    "latent noise": (_latent_noise, (0.1, 0.25, 0.5, 0.9), (0.1, 0.32, 0.6, 0.85)),
    "latent mix": (_latent_mix, (0.12, 0.25, 0.38, 0.5), (0.15, 0.4, 0.58, 0.65)),
    "latent halves": (_latent_halves, (0.2, 0.35, 0.5), (0.25, 0.4, 0.48)),
    "latent scale": (_latent_scale, (1.2, 1.5, 2.0, 3.0), (0.08, 0.21, 0.39, 0.6)),
    "latent shrink": (_latent_scale, (0.8, 0.6, 0.35, 0.15), (0.12, 0.35, 0.62, 0.85)),
    "latent gain": (_latent_gain, (1.2, 1.5, 2.0, 3.0), (0.08, 0.21, 0.39, 0.6)),
    "latent blur": (_latent_blur, (0.35, 0.55, 0.9, 1.6), (0.1, 0.35, 0.62, 0.85)),
    "latent swap": (_latent_swap, (0.05, 0.12, 0.3, 0.7), (0.2, 0.38, 0.62, 0.85)),
    "latent drop": (_latent_drop, (0.04, 0.12, 0.3, 0.6), (0.15, 0.35, 0.6, 0.8)),
}


def of_latents(
    studio: Studio, renders: Sequence[Pixels], kind: str, first: int, rng: np.random.Generator
) -> Iterator[Ladder]:
    """Damage the latents of several pictures of one size at every level of a kind."""
    hurt, levels, losses = LATENT_DAMAGES[kind]
    latents = studio.encode(renders)
    columns = [studio.decode(latents)]
    columns += [studio.decode(hurt(latents, level, rng)) for level in levels]
    costs = [ROUND_TRIP_LOSS, *(joined(ROUND_TRIP_LOSS, loss) for loss in losses)]
    for index, pixels in enumerate(renders):
        rungs = [Rung(pixels, 0.0)]
        rungs += [Rung(column[index], cost) for column, cost in zip(columns, costs, strict=True)]
        yield Ladder(kind, first + index, tuple(rungs))


def scenes(count: int, seed: int) -> list[tuple[str, Pixels]]:
    """Return captions with their renders, from training's combinations and wording."""
    from ldmopt.miniature.scenes import sample_scenes
    from ldmopt.miniature.styles import render
    from ldmopt.miniature.wording import caption

    rng = random.Random(f"ladders {seed}")
    return [(caption(scene, rng), render(scene)) for scene in sample_scenes(count, seed)]
