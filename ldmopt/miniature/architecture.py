"""Shapes of the miniature's parts: one place for every width, depth and length.

The proportions follow Stable Diffusion 1.5 (Rombach et al. 2022): a CLIP text encoder
(Radford et al. 2021), an autoencoder that shrinks each side eight times, a UNet that
reads the text by cross-attention, and the same noise schedule. Only widths and depths differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PICTURE_SIZE = 64
VAE_FACTOR = 8
TEXT_LENGTH = 32
LATENT_SIZE = PICTURE_SIZE // VAE_FACTOR

SCHEDULER_CONFIG: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,  # not PNDM's own, but DDIM and DDPM read it and would clip latents
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "skip_prk_steps": True,
}


@dataclass(frozen=True)
class Shape:
    """Widths and depths of one miniature; `FULL` is the one in the package."""

    vocabulary: int = 1024
    text_width: int = 128
    text_layers: int = 4
    vision_width: int = 128
    vision_layers: int = 4
    patch: int = 8
    heads: int = 4
    projection: int = 128
    vae_channels: tuple[int, ...] = (16, 32, 64, 80)
    latent_channels: int = 12
    unet_channels: tuple[int, ...] = (96, 128)
    unet_heads: int = 4
    classifier_width: int = 24


FULL = Shape()
SMOKE = Shape(
    text_width=32,
    text_layers=1,
    vision_width=32,
    vision_layers=1,
    heads=2,
    projection=32,
    vae_channels=(8, 8, 16, 16),
    latent_channels=4,
    unet_channels=(16, 32),
    unet_heads=2,
    classifier_width=8,
)


def text_encoder(shape: Shape, bos: int, eos: int) -> Any:
    """Return a CLIP text encoder with random weights (last state `(n, 32, text_width)`)."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.text_width,
            intermediate_size=4 * shape.text_width,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=shape.heads,
            max_position_embeddings=TEXT_LENGTH,
            projection_dim=shape.projection,
            bos_token_id=bos,
            eos_token_id=eos,
            pad_token_id=eos,
        )
    )


def vision_tower(shape: Shape) -> Any:
    """Return a CLIP image tower with random weights (embedding `(n, projection)`)."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=shape.vision_width,
            intermediate_size=4 * shape.vision_width,
            num_hidden_layers=shape.vision_layers,
            num_attention_heads=shape.heads,
            image_size=PICTURE_SIZE,
            patch_size=shape.patch,
            projection_dim=shape.projection,
        )
    )


def autoencoder(shape: Shape) -> Any:
    """Return an AutoencoderKL with random weights, eight times smaller a side."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        block_out_channels=shape.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * len(shape.vae_channels),
        up_block_types=("UpDecoderBlock2D",) * len(shape.vae_channels),
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=8,
        sample_size=PICTURE_SIZE,
    )


def denoiser(shape: Shape) -> Any:
    """Return a UNet with random weights; its innermost level has no attention, as in 1.5."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    inner = len(shape.unet_channels) - 1
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        block_out_channels=shape.unet_channels,
        down_block_types=("CrossAttnDownBlock2D",) * inner + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * inner,
        layers_per_block=1,
        cross_attention_dim=shape.text_width,
        attention_head_dim=shape.unet_heads,  # diffusers reads this as the number of heads
        norm_num_groups=16 if min(shape.unet_channels) >= 96 else 8,
    )


def scheduler() -> Any:
    """Return the scheduler that is saved with the model: PNDM, as in Stable Diffusion 1.5."""
    from diffusers.schedulers.scheduling_pndm import PNDMScheduler

    return PNDMScheduler.from_config(SCHEDULER_CONFIG)
