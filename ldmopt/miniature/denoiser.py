"""Stage 6: the UNet, trained on cached latents with the frozen text encoder's states.

v-prediction (Salimans and Ho 2022) with the loss weighted by min-SNR 5 (Hang et al. 2023); one
caption in ten is empty, which is what classifier-free guidance needs (Ho and Salimans 2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldmopt.miniature import architecture
from ldmopt.miniature.autoencoder import Latents
from ldmopt.miniature.data import Data
from ldmopt.miniature.loop import Job, Recipe, train
from ldmopt.miniature.towers import Pair

MIN_SNR = 5.0
EMPTY_SHARE = 0.1


def fit(job: Job, data: Data, pair: Pair, latents: Latents) -> Any:
    """Train the UNet and return it with its averaged weights."""
    from diffusers.models.attention_processor import AttnProcessor

    torch.manual_seed(job.seed + 2)
    model = architecture.denoiser(job.scale.shape)
    if job.device.type == "cpu":
        model.set_attn_processor(AttnProcessor())  # plain attention: its backward is far cheaper
    text = pair.text.to(job.device).eval().requires_grad_(False)
    tokens, empty = torch.from_numpy(data.tokens), torch.from_numpy(data.empty)
    alphas = architecture.scheduler().alphas_cumprod.to(job.device)
    means, batch = latents.means, job.scale.small_batch

    def loss(rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(0, len(tokens), (batch,), generator=rng)
        which = torch.randint(0, tokens.shape[1], (batch,), generator=rng)
        rows = tokens[chosen, which]
        rows[torch.rand(batch, generator=rng) < EMPTY_SHARE] = empty
        clean = torch.from_numpy(means[chosen.numpy()].astype(np.float32)).to(job.device)
        noise = torch.randn(clean.shape, generator=rng).to(job.device)
        # One time from each of `batch` equal strata: less variance than independent draws.
        spread = (torch.arange(batch) + torch.rand(batch, generator=rng)) / batch
        times = (spread * len(alphas)).long().to(job.device)
        signal = alphas[times].view(-1, 1, 1, 1)
        noisy = signal.sqrt() * clean + (1 - signal).sqrt() * noise
        target = signal.sqrt() * noise - (1 - signal).sqrt() * clean
        with job.autocast():
            with torch.no_grad():
                states = text(rows.to(job.device)).last_hidden_state
            made = model(noisy, times, states).sample.float()
        snr = signal.flatten() / (1 - signal.flatten())
        weight = snr.clamp(max=MIN_SNR) / (snr + 1)
        error = (made - target).square().mean(dim=(1, 2, 3))
        return (weight * error).mean(), {"error": error.mean()}

    recipe = Recipe("unet", job.scale.unet_steps, 1e-3, 200, average=0.998)
    train(job, recipe, model, loss)
    return model
