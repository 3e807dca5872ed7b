"""Generating training and exam pictures straight from diffusers, in batches, no host and no knob.

Only `prior.train` and the benchmarks use this; a study's pictures come from its host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Pixels

# Class in diffusers, and what is set beside the model's own configuration (GOTCHAS 9).
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
}


@dataclass(frozen=True)
class Take:
    """How a batch is generated; `stop` ends denoising after that many scheduler steps.

    Attributes:
        steps: number of inference steps.
        guidance: classifier-free guidance scale.
        width: in pixels, divisible by 8.
        height: in pixels, divisible by 8.
        sampler: a key of `SAMPLERS`.
        stop: scheduler steps to make, None for all of them.
    """

    steps: int = 25
    guidance: float = 4.0
    width: int = 64
    height: int = 64
    sampler: str = "dpmpp_2m"
    stop: int | None = None

    def __str__(self) -> str:
        """Name the take in one word, fit for a file name."""
        size = f"{self.width}x{self.height}"
        rest = "" if self.stop is None else f"-stop{self.stop}"
        return f"{self.sampler}-{self.steps}-g{self.guidance:g}-{size}{rest}"


class Studio:
    """The miniature, opened once, with any scheduler."""

    def __init__(self, folder: Path | None = None) -> None:
        """Name the model folder; the package's own unless given. Nothing is loaded yet."""
        from ldmopt import miniature

        self.folder = folder or Path(miniature.folder())

    @cached_property
    def pipeline(self) -> Any:
        """The pipeline, without progress bar and checker."""
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
            StableDiffusionPipeline,
        )
        from diffusers.utils import logging as diffusers_logging

        diffusers_logging.set_verbosity_error()
        diffusers_logging.disable_progress_bar()
        pipeline = StableDiffusionPipeline.from_pretrained(
            self.folder,
            safety_checker=None,
            local_files_only=True,
            torch_dtype=_torch().float32,
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def scheduler_config(self) -> Any:
        """The model's own scheduler configuration."""
        return self.pipeline.scheduler.config

    def generate(
        self, take: Take, prompts: Sequence[str], seeds: Sequence[int], batch: int = 16
    ) -> list[Pixels]:
        """Return one picture a prompt; noise is drawn on the CPU from each seed alone."""
        torch = _torch()
        import diffusers

        name, more = SAMPLERS[take.sampler]
        kind = getattr(diffusers, name)
        pictures: list[Pixels] = []
        for start in range(0, len(prompts), batch):
            self.pipeline.scheduler = kind.from_config(self.scheduler_config, **more)
            part = list(prompts[start : start + batch])
            result = self.pipeline(
                part,
                num_inference_steps=take.steps,
                guidance_scale=take.guidance,
                width=take.width,
                height=take.height,
                generator=[
                    torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]
                ],
                output_type="np",
                callback_on_step_end=_stopper(take.stop),
            )
            values = np.nan_to_num(result.images)
            pictures += list(np.clip(values * 255 + 0.5, 0, 255).astype(np.uint8))
        return pictures

    def encode(self, pictures: Sequence[Pixels], batch: int = 64) -> NDArray[np.float32]:
        """Return the latents `(n, channels, h / 8, w / 8)` of pictures of one size."""
        torch = _torch()
        rows = []
        with torch.no_grad():
            for start in range(0, len(pictures), batch):
                pixels = np.stack(list(pictures[start : start + batch])).astype(np.float32)
                values = torch.from_numpy(pixels / 127.5 - 1).permute(0, 3, 1, 2)
                rows.append(self.pipeline.vae.encode(values).latent_dist.mean.numpy())
        return np.concatenate(rows)

    def decode(self, latents: NDArray[np.float32], batch: int = 64) -> list[Pixels]:
        """Return the pictures of latents as `encode` gave them."""
        torch = _torch()
        pictures: list[Pixels] = []
        with torch.no_grad():
            for start in range(0, len(latents), batch):
                values = torch.from_numpy(np.ascontiguousarray(latents[start : start + batch]))
                decoded = self.pipeline.vae.decode(values).sample.permute(0, 2, 3, 1).numpy()
                bytes_ = np.clip(decoded * 127.5 + 128, 0, 255).astype(np.uint8)
                pictures += list(bytes_)
        return pictures


def _stopper(stop: int | None) -> Any:
    """Return a callback that ends the loop after `stop` scheduler steps, or None."""
    if stop is None:
        return None

    def ended(pipeline: Any, step: int, _: Any, values: dict[str, Any]) -> dict[str, Any]:
        pipeline._interrupt = step + 1 >= stop
        return values

    return ended


def _torch() -> Any:
    import torch

    return torch
