"""The last stage: an ordinary diffusers folder of half-precision safetensors."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ldmopt.miniature import architecture
from ldmopt.miniature.classifier import Network
from ldmopt.miniature.data import tokenizer
from ldmopt.miniature.loop import Job, write_atomically
from ldmopt.miniature.towers import Pair

HEADER = {"format": "pt"}


@dataclass(frozen=True)
class Parts:
    """Every network of the miniature, trained."""

    judge: Network
    pair: Pair
    vae: Any
    scaling_factor: float
    unet: Any


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in half precision, whole numbers as they are."""
    return {n: t.detach().half() if t.is_floating_point() else t for n, t in tensors.items()}


def write(job: Job, parts: Parts) -> None:
    """Write everything beside `job.out`, keep a model card that is there, and swap the folders."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    beside = job.out.with_name(job.out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    parts.vae.register_to_config(scaling_factor=parts.scaling_factor)
    halves = [_half_copy(part) for part in (parts.vae, parts.pair.text, parts.unet)]
    pipeline = StableDiffusionPipeline(
        vae=halves[0],
        text_encoder=halves[1],
        tokenizer=tokenizer(job.work / "tokenizer"),
        unet=halves[2],
        scheduler=architecture.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(beside, safe_serialization=True)
    _half_copy(parts.pair.vision).save_pretrained(beside / "clip")
    projection = {"weight": parts.pair.text_projection.weight}
    write_atomically(beside / "clip" / "text_projection.safetensors", half(projection), HEADER)
    scale = float(parts.pair.logit_scale.detach().exp().clamp(max=100))
    (beside / "clip" / "similarity.json").write_text(json.dumps({"logit_scale": scale}) + "\n")
    (beside / "classifier").mkdir()
    weights = half(dict(parts.judge.state_dict()))
    write_atomically(beside / "classifier" / "model.safetensors", weights, HEADER)
    if (job.out / "README.md").exists():
        shutil.copy(job.out / "README.md", beside / "README.md")
    old = job.out.with_name(job.out.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if job.out.exists():
        os.replace(job.out, old)
    os.replace(beside, job.out)
    shutil.rmtree(old, ignore_errors=True)


def _half_copy(model: Any) -> Any:
    """Return a half-precision copy on the CPU; the model itself stays as it is."""
    import copy

    return copy.deepcopy(model).to("cpu", torch.float16)
