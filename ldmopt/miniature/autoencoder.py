"""Stages 4 and 5: the autoencoder, then its decoder alone on the frozen latents.

The latent space is settled first, because the UNet is trained in it; what is left of the time
goes into the decoder, which sets the ceiling of the finest detail a picture can show.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ldmopt.miniature import architecture
from ldmopt.miniature.classifier import Network, as_tensor
from ldmopt.miniature.data import Data
from ldmopt.miniature.loop import Job, Recipe, train

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT = 0.5
FEATURE_WEIGHT = 0.1


@dataclass(frozen=True)
class Latents:
    """The posterior means of all pictures, times the scaling factor that makes their spread 1.

    Attributes:
        means: `(n, c, 8, 8)` float16, scaled.
        scaling_factor: what the pipeline divides by before decoding.
    """

    means: NDArray[np.float16]
    scaling_factor: float


def gradient_loss(made: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute difference of the pictures' horizontal and vertical steps."""
    error = made - truth
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    return across + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()


def _reconstruction(made: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    square = functional.mse_loss(made, truth)
    figures = {"psnr": 10 * torch.log10(4 / square.detach())}
    sharp = gradient_loss(made, truth)
    return functional.l1_loss(made, truth) + square + GRADIENT_WEIGHT * sharp, figures


def _features(critic: Network, made: Tensor, truth: Tensor) -> Tensor:
    """Return how far the critic's maps of two pictures lie apart (Johnson et al. 2016).

    This keeps the thin lines and small shapes that a mean error blurs away. The widest map is
    left out: it costs most and says least beyond the picture itself.
    """
    with torch.no_grad():
        wanted = critic.features(truth)[1:]
    pairs = zip(critic.features(made)[1:], wanted, strict=True)
    return torch.stack([functional.l1_loss(a.float(), b.float()) for a, b in pairs]).sum()


def fit(job: Job, data: Data, critic: Network) -> Any:
    """Train encoder and decoder together and return the AutoencoderKL."""
    torch.manual_seed(job.seed + 1)
    critic.to(job.device).requires_grad_(False)
    model = architecture.autoencoder(job.scale.shape)
    batch = job.scale.picture_batch

    def loss(rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        truth = _pictures_or_crops(job, data, batch, rng)
        with job.autocast():
            posterior = model.encode(truth).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=rng).to(job.device)
            made = model.decode(posterior.mean + posterior.std * noise).sample
            feature = _features(critic, made, truth)
        kl = posterior.kl().float().mean() / posterior.mean[0].numel()
        total, figures = _reconstruction(made.float(), truth)
        total = total + KL_WEIGHT * kl + FEATURE_WEIGHT * feature
        return total, {**figures, "kl": kl, "feature": feature}

    train(job, Recipe("vae", job.scale.vae_steps, 1e-3, 100, average=0.995), model, loss)
    return model


def _pictures_or_crops(job: Job, data: Data, batch: int, rng: torch.Generator) -> Tensor:
    """Return whole pictures in one step of four, else twice as many quarters of pictures.

    Detail is local, and a step on quarters costs half as much. They begin at multiples of 8,
    where the latent grid and the blocks of pixel art lie in whole pictures too.
    """
    whole = bool(torch.rand(1, generator=rng) < 0.25)
    count = batch if whole else 2 * batch
    chosen = torch.randint(0, len(data.labels), (count,), generator=rng)
    pictures = as_tensor(data.pictures[chosen.numpy()], job.device)
    if whole:
        return pictures
    half, grid = pictures.shape[2] // 2, architecture.VAE_FACTOR
    corners = grid * torch.randint(0, half // grid + 1, (count, 2), generator=rng)
    parts = [
        p[:, y : y + half, x : x + half]
        for p, (y, x) in zip(pictures, corners.tolist(), strict=True)
    ]
    return torch.stack(parts)


@torch.no_grad()
def encode_all(job: Job, data: Data, model: Any) -> Latents:
    """Return the scaled latents of every training picture, kept in the work folder."""
    path, note = job.work / "latents.npy", job.work / "latents.json"
    if not note.exists():
        rows = []
        for start in range(0, len(data.labels), 256):
            pictures = as_tensor(data.pictures[start : start + 256], job.device)
            with job.autocast():
                rows.append(model.encode(pictures).latent_dist.mean.float().cpu().numpy())
        means = np.concatenate(rows)
        factor = float(1 / means.std())
        beside = path.with_name("part.latents.npy")
        np.save(beside, (means * factor).astype(np.float16), allow_pickle=False)
        os.replace(beside, path)
        part = note.with_name("part.latents.json")
        part.write_text(json.dumps({"scaling_factor": factor}), encoding="utf-8")
        os.replace(part, note)
        job.say(f"vae: latents of {len(means)} pictures done, scaling factor {factor:.4f}")
    factor = json.loads(note.read_text(encoding="utf-8"))["scaling_factor"]
    return Latents(np.load(path), factor)


def refine_decoder(job: Job, data: Data, model: Any, critic: Network, latents: Latents) -> Any:
    """Train the decoder on, with the latents frozen, and return the whole autoencoder."""
    critic.to(job.device).requires_grad_(False)
    model.to(job.device).requires_grad_(False)
    part = nn.ModuleDict({"post": model.post_quant_conv, "decoder": model.decoder})
    part.requires_grad_(True)
    batch = job.scale.picture_batch

    def loss(rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(0, len(data.labels), (batch,), generator=rng).numpy()
        truth = as_tensor(data.pictures[chosen], job.device)
        rows = torch.from_numpy(latents.means[chosen].astype(np.float32)) / latents.scaling_factor
        with job.autocast():
            made = model.decode(rows.to(job.device)).sample
            feature = _features(critic, made, truth)
        total, figures = _reconstruction(made.float(), truth)
        return total + FEATURE_WEIGHT * feature, {**figures, "feature": feature}

    train(job, Recipe("decoder", job.scale.decoder_steps, 1e-3, 50, average=0.998), part, loss)
    return model
