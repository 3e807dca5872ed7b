"""The noise that a picture starts from: the same for every setting of one size."""

from __future__ import annotations

from typing import Any

from ldmopt.contracts import Plan
from ldmopt.hosts.torch import DTYPES
from ldmopt.model import STANDIN, Model


def starting_noise(model: Model, plan: Plan, seed: int) -> dict[str, Any]:
    """Return the call's ``latents`` and ``generator``: drawn on the CPU in fp32, from the seed.

    They are the same for every setting of one size. Letting the pipeline draw would not do: in
    half precision a CPU generator gives other numbers.
    """
    if model.name == STANDIN:
        return {"seed": seed}
    import torch

    generator = torch.Generator("cpu").manual_seed(seed)
    factor, native = model.scale_factor, model.native_size
    height, width = (int(plan.call.get(side, native)) for side in ("height", "width"))
    shape = (1, model.latent_channels, height // factor, width // factor)
    dtype = getattr(torch, DTYPES[plan.load.get("precision", "fp32")])
    latents = torch.randn(shape, generator=generator, dtype=torch.float32)
    return {
        "latents": latents.to(dtype),
        "generator": generator,
    }
