"""The least a picture can take: its FLOPs, by torch's own counter, over a measured matmul rate.

FLOPs are counted on the meta device from a model folder's configurations, so nothing is computed
and no weight is held. The rate is that of one large matrix product in the setting's number format.

    python benchmarks/floor.py --device cuda --side 8192      # prints FLOPs a second as JSON
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from ldmopt.hosts.torch import DTYPES
from ldmopt.parts import part_config

PROMPT_TOKENS = 77
REPEATS = 8


def flops(model, width: int, height: int) -> dict[str, int] | None:
    """Return the FLOPs of one ``guided`` and one ``unguided`` network call and of ``decode``.

    Text encoders are left out: they are under a hundredth. None for families without a UNet.
    """
    import diffusers
    import torch

    config = part_config(model, "unet")
    if not config:
        return None
    latent = (height // model.scale_factor, width // model.scale_factor)
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel.from_config(config).eval()
        vae = diffusers.AutoencoderKL.from_config(part_config(model, "vae")).eval()
        counts = {}
        for kind, rows in (("guided", 2), ("unguided", 1)):
            added = None
            if config.get("addition_embed_type") == "text_time":
                times = 6 * config["addition_time_embed_dim"]
                text = config["projection_class_embeddings_input_dim"] - times
                added = {"text_embeds": torch.empty(rows, text), "time_ids": torch.empty(rows, 6)}
            words = torch.empty(rows, PROMPT_TOKENS, config["cross_attention_dim"])
            sample = torch.empty(rows, config["in_channels"], *latent)
            counts[kind] = counted(unet, sample, torch.tensor(1), words, added_cond_kwargs=added)
        channels = vae.config.latent_channels
        counts["decode"] = counted(vae.decode, torch.empty(1, channels, *latent))
    return counts


def counted(call, *inputs, **more) -> int:
    """Return the FLOPs of a call, products of matrices, convolutions and attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call(*inputs, **more)
    return counter.get_total_flops()


def rates(device: str, side: int) -> dict[str, float]:
    """Return the FLOPs a second of a matrix product in each number format, best of a few.

    It runs in a process of its own, so that this one holds nothing on the device.
    """
    command = [sys.executable, __file__, "--device", device, "--side", str(side)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def rate(device: str, precision: str, side: int) -> float:
    """Measure one product of two square matrices."""
    import torch

    dtype = getattr(torch, DTYPES[precision])
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    best = float("inf")
    for _ in range(REPEATS + 1):
        wait()
        began = time.perf_counter()
        left @ right
        wait()
        best = min(best, time.perf_counter() - began)
    return 2 * side**3 / best


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", required=True)
    parser.add_argument("--side", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps({name: rate(options.device, name, options.side) for name in DTYPES
                      if name != "fp16" or options.device != "cpu"}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
