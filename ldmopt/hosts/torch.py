"""Pipelines on PyTorch, as diffusers loads them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ldmopt.model import Model

PRELOAD = (
    "torch",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers.models.autoencoders.autoencoder_kl",
    "accelerate",
)
LACKS: frozenset[str] = frozenset()
DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def prepare(model: Model, plan: Mapping[str, Any]) -> None:
    """Do nothing: there is nothing to be made beforehand."""


def load(model: Model, plan: Mapping[str, Any], device: str) -> Any:
    """Return the model's diffusers pipeline on a device.

    The safety checker and the watermark are off for every setting alike: a blacked-out picture
    would be scored, and both cost seconds and memory.
    """
    import diffusers
    import torch

    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    kind = getattr(diffusers, model.pipeline)
    off = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
    known = inspect.signature(kind.__init__).parameters
    pipeline = kind.from_pretrained(
        model.folder,
        torch_dtype=getattr(torch, DTYPES[plan.get("precision", "fp32")]),
        use_safetensors=True,
        local_files_only=True,
        variant=model.variant,
        **{name: value for name, value in off.items() if name in known},
    )
    offload = plan.get("offload")
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def warm_libraries(device: str) -> None:
    """Run one convolution, one matrix product and one attention of a few numbers each."""
    import torch

    with torch.inference_mode():
        picture = torch.ones(2, 8, 8, 8, device=device)
        torch.nn.functional.conv2d(picture, torch.ones(8, 8, 3, 3, device=device), padding=1)
        flat = picture.reshape(2, 1, 64, 8)
        torch.nn.functional.scaled_dot_product_attention(flat, flat, flat)
        torch.nn.functional.group_norm(flat @ flat.transpose(-1, -2), 1)
