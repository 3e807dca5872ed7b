"""What judges the miniature's pictures: its classifier, its CLIP towers, a distance to renders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ldmopt.knobs.sampling import SAMPLERS
from ldmopt.miniature import classifier, towers
from ldmopt.miniature.scenes import FACTORS, Scene
from ldmopt.miniature.styles import render

Picture = NDArray[np.uint8]
Prompts = list[tuple[str, Scene]]
BATCH = 16


class Bench:
    """Pipeline and judges, opened once."""

    def __init__(self, model: Path) -> None:
        """Open the folder with plain diffusers."""
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
            StableDiffusionPipeline,
        )

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipe = StableDiffusionPipeline.from_pretrained(model).to(device)
        self.pipe.set_progress_bar_config(disable=True)
        self.config = dict(self.pipe.scheduler.config)
        self.judge, self.towers = classifier.load(model), towers.load(model)

    def generate(
        self,
        prompts: Prompts,
        sampler: str = "dpmpp_2m",
        steps: int = 25,
        guidance: float = 3.0,
        size: int = 64,
        seed: int = 0,
    ) -> list[Picture]:
        """Return one picture a prompt; its noise depends on its place and `seed` only."""
        import diffusers

        slug, _, sigmas = sampler.partition(" ")
        flags = dict(SAMPLERS[slug].flags) | ({f"use_{sigmas}_sigmas": True} if sigmas else {})
        kind = getattr(diffusers, SAMPLERS[slug].scheduler)
        made: list[Picture] = []
        for start in range(0, len(prompts), BATCH):
            texts = [text for text, _ in prompts[start : start + BATCH]]
            noise = [
                torch.Generator().manual_seed(seed * 100_000 + start + i) for i in range(len(texts))
            ]
            self.pipe.scheduler = kind.from_config(self.config, **flags)
            found = self.pipe(
                texts,
                num_inference_steps=steps,
                guidance_scale=guidance,
                height=size,
                width=size,
                generator=noise,
                output_type="np",
            )
            made += list((np.nan_to_num(found.images) * 255).round().astype(np.uint8))
        return made

    def right(self, pictures: Sequence[Picture], prompts: Prompts) -> NDArray[np.float64]:
        """Return whether each factor is recognised, `(n, 5)` of 0 and 1."""
        found = self.judge(pictures)
        return np.array(
            [
                [float(f[name] == scene.factors[name]) for name in FACTORS]
                for f, (_, scene) in zip(found, prompts, strict=True)
            ]
        )

    def alignment(self, pictures: Sequence[Picture], prompts: Prompts) -> NDArray[np.float64]:
        """Return the cosine of each picture with its caption, `(n,)`."""
        text = self.towers.embed_captions([t for t, _ in prompts])
        return (self.towers.embed_pictures(pictures) * text).sum(axis=1).astype(float)

    def maps(self, pictures: Sequence[Picture]) -> NDArray[np.float64]:
        """Return what the classifier sees: means and spreads of its maps, `(n, d)`."""
        with torch.no_grad():
            batch = classifier.as_tensor(classifier.to_size(pictures), torch.device("cpu"))
            maps = self.judge.network.features(batch)
            rows = torch.cat(
                [x.flatten(2).mean(2) for x in maps] + [x.flatten(2).std(2) for x in maps], 1
            )
        return rows.numpy().astype(float)

    def distance(self, pictures: Sequence[Picture], prompts: Prompts) -> float:
        """Return 1000 times the unbiased kernel distance to renders of the same captions."""
        truth = reference(self, tuple(scene for _, scene in prompts))
        made = self.maps(pictures)
        middle, spread = truth.mean(axis=0), truth.std(axis=0) + 1e-6
        return 1000 * kernel_distance((made - middle) / spread, (truth - middle) / spread)


@cache
def reference(bench: Bench, scenes: tuple[Scene, ...]) -> NDArray[np.float64]:
    """Return the maps of renders of the scenes."""
    return bench.maps([render(scene) for scene in scenes])


def kernel_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the unbiased squared MMD of two samples with the cubic kernel.

    Row `i` of both belongs to the same caption, so equal rows are left out across samples too.
    """

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((x @ y.T / x.shape[1] + 1) ** 3)

    def off_diagonal(k: NDArray[np.float64]) -> float:
        n = len(k)
        return float((k.sum() - np.trace(k)) / (n * (n - 1)))

    return off_diagonal(kernel(a, a)) + off_diagonal(kernel(b, b)) - 2 * off_diagonal(kernel(a, b))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean over prompts."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def sheet(pictures: Sequence[Picture], path: Path, columns: int = 8, zoom: int = 2) -> None:
    """Write pictures as one PNG, left to right, top to bottom."""
    rows, edge = -(-len(pictures) // columns), pictures[0].shape[0] + 2
    page = np.full((rows * edge, columns * edge, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = (i // columns) * edge, (i % columns) * edge
        page[y : y + edge - 2, x : x + edge - 2] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (page.shape[1] * zoom, page.shape[0] * zoom)
    Image.fromarray(page).resize(size, Image.Resampling.NEAREST).save(path)
