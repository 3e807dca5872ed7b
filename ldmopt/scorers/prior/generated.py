"""Ladders of generated pictures: one prompt and seed, settings from good to ruinous.

What is known by construction, and nothing more: fewer steps are worse, by as much as the picture
differs from the one that the same seed converges to; far too much guidance burns, far too little
loses its way; a size the model was not made for repeats and crops; denoising stopped early leaves
noise. No caption is compared with any picture here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels
from ldmopt.scorers.prior.ladders import Ladder, Rung, joined
from ldmopt.scorers.prior.studio import Studio, Take

GENERATED_LOSS = 0.06
"""What a well generated picture has lost against a render."""
STEPS = {10: 0.15, 6: 0.3, 4: 0.45, 3: 0.6, 2: 0.75, 1: 0.95}
"""Steps, with the most that a picture can have lost: another good picture is no ruin."""
CONVERGED = 20
STEP_SAMPLERS = ("ddim", "dpmpp_2m", "euler", "euler_a", "unipc", "lms")
GUIDANCES = {
    "guidance up": ((4.0, 0.0), (7.0, 0.06), (10.0, 0.15), (14.0, 0.27), (20.0, 0.42)),
    "guidance down": ((4.0, 0.0), (2.5, 0.0), (1.5, 0.1), (1.0, 0.25)),
}
SIZES: tuple[tuple[int, int, float], ...] = (
    (64, 64, 0.0),
    (56, 56, 0.14),
    (48, 48, 0.32),
    (40, 40, 0.5),
    (32, 32, 0.8),
    (72, 72, 0.06),
    (80, 80, 0.16),
    (96, 96, 0.42),
    (128, 128, 0.7),
    (96, 64, 0.22),
    (64, 96, 0.22),
    (64, 48, 0.2),
    (48, 80, 0.26),
)
STOPS = ((9, 0.08), (7, 0.25), (5, 0.5), (3, 0.75), (1, 0.92))
KINDS = ("few steps", *GUIDANCES, "off size", "stopped early")
LOSS_UNIT = 0.17
"""Distance at which a picture has lost 1 - 1/e of itself; the median over the pixel ladders."""


@dataclass(frozen=True)
class _Batch:
    studio: Studio
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    first: int

    def generate(self, take: Take) -> list[Pixels]:
        return self.studio.generate(take, self.prompts, self.seeds)


def ladders(
    studio: Studio, prompts: Sequence[str], first: int, rng: np.random.Generator
) -> Iterator[Ladder]:
    """Generate every kind of ladder for a batch of prompts.

    Args:
        studio: the model.
        prompts: a batch; all share the choice of sampler and guidance.
        first: number of the first prompt's group.
        rng: choices and seeds.
    """
    seeds = tuple(int(seed) for seed in rng.integers(0, 2**31, len(prompts)))
    batch = _Batch(studio, tuple(prompts), seeds, first)
    yield from _few_steps(batch, rng)
    yield from _guidances(batch, rng)
    yield from _sizes(batch, rng)
    yield from _stopped(batch, rng)


def distance(left: Pixels, right: Pixels) -> float:
    """Return how far two pictures are apart: colours and gradients at three scales, 0 to about 1.

    Coarse scales forgive a shift of a pixel; gradients see lost detail.
    """
    first, second = left.astype(np.float32) / 255.0, right.astype(np.float32) / 255.0
    total = 0.0
    for _ in range(3):
        gap = first - second
        edges = [np.abs(np.diff(gap, axis=axis)).mean() for axis in (0, 1)]
        total += float(np.abs(gap).mean() + np.mean(edges))
        first, second = (_halved(part) for part in (first, second))
    return total / 3.0


def _halved(picture: NDArray[Any]) -> NDArray[Any]:
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    cut = picture[:height, :width]
    return np.asarray(cut.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3)))


def _few_steps(batch: _Batch, rng: np.random.Generator) -> Iterator[Ladder]:
    for sampler in rng.choice(STEP_SAMPLERS, 2, replace=False):
        guidance = float(rng.choice((2.5, 4.0, 5.0, 7.0)))
        extra = 0.08 if guidance == 7.0 else 0.0
        takes = [Take(steps, guidance, sampler=str(sampler)) for steps in (CONVERGED, *STEPS)]
        columns = [batch.generate(take) for take in takes]
        for index in range(len(batch.prompts)):
            best = columns[0][index]
            worst, rungs = 0.0, []
            for take, column in zip(takes, columns, strict=True):
                lost = 1.0 - float(np.exp(-distance(best, column[index]) / LOSS_UNIT))
                worst = max(worst, min(lost, STEPS.get(take.steps, 0.0)))
                rungs.append(Rung(column[index], _generated(joined(worst, extra))))
            yield Ladder("few steps", batch.first + index, tuple(rungs))


def _guidances(batch: _Batch, rng: np.random.Generator) -> Iterator[Ladder]:
    sampler = str(rng.choice(("dpmpp_2m", "ddim", "unipc", "euler_a")))
    steps = int(rng.choice((8, 12)))
    for kind, rows in GUIDANCES.items():
        columns = [batch.generate(Take(steps, guidance, sampler=sampler)) for guidance, _ in rows]
        yield from _table(kind, columns, [loss for _, loss in rows], batch.first)


def _sizes(batch: _Batch, rng: np.random.Generator) -> Iterator[Ladder]:
    sampler = str(rng.choice(("dpmpp_2m", "unipc")))
    guidance = float(rng.choice((2.5, 4.0, 5.0)))
    chosen = [0, *sorted(rng.choice(np.arange(1, len(SIZES)), 5, replace=False))]
    rows = [SIZES[int(index)] for index in chosen]
    columns = [
        batch.generate(Take(8, guidance, width, height, sampler)) for width, height, _ in rows
    ]
    yield from _table("off size", columns, [loss for _, _, loss in rows], batch.first)


def _stopped(batch: _Batch, rng: np.random.Generator) -> Iterator[Ladder]:
    sampler = str(rng.choice(("ddim", "euler_a")))
    takes = [Take(12, 4.0, sampler=sampler)]
    takes += [Take(12, 4.0, sampler=sampler, stop=stop) for stop, _ in STOPS]
    columns = [batch.generate(take) for take in takes]
    yield from _table("stopped early", columns, [0.0, *(loss for _, loss in STOPS)], batch.first)


def _table(
    kind: str, columns: Sequence[Sequence[Pixels]], losses: Sequence[float], first: int
) -> Iterator[Ladder]:
    """Turn columns of pictures with a loss each into one ladder a prompt, best first."""
    order = sorted(range(len(losses)), key=lambda index: losses[index])
    for row in range(len(columns[0])):
        rungs = tuple(Rung(columns[index][row], _generated(losses[index])) for index in order)
        yield Ladder(kind, first + row, rungs)


def _generated(loss: float) -> float:
    return joined(GENERATED_LOSS, loss)
