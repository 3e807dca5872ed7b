"""Random-weight pipelines of each family's shape, as ordinary diffusers folders.

A network's seconds and bytes do not depend on what it has learned, so benchmarks take the full
shapes, as published in each family's configuration files. Tests take them shrunk: the same
classes and wiring with few, narrow layers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ldmopt.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Network:
    """One network of a family.

    Attributes:
        kind: class name in diffusers or transformers.
        full: configuration as published, where it differs from the class's own.
        small: what is different once shrunk.
    """

    kind: str
    full: Mapping[str, Any]
    small: Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """One family.

    Attributes:
        pipeline: diffusers class.
        parts: its networks by part name.
        scheduler: class and configuration.
        extra: further arguments of the pipeline's constructor.
    """

    pipeline: str
    parts: Mapping[str, Network]
    scheduler: tuple[str, Mapping[str, Any]]
    extra: Mapping[str, Any] = field(default_factory=dict)


TOKENS = {"bos_token_id": 1022, "eos_token_id": 1023, "pad_token_id": 1023}
"""As the miniature's tokenizer has them, which CLIP encoders are given here."""

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
         "steps_offset": 1}


def _clip(hidden: int, layers: int, heads: int, *, act: str, projected: bool = True) -> Network:
    wide = {"hidden_size": hidden, "intermediate_size": 4 * hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "projection_dim": hidden, "hidden_act": act, **TOKENS}
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
             "num_attention_heads": 4, "projection_dim": 32, "vocab_size": 1024}
    return Network("CLIPTextModelWithProjection" if projected else "CLIPTextModel", wide, small)


def _vae(side: int, **more: Any) -> Network:
    full = {"sample_size": side, "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2, "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4, **more}
    return Network("AutoencoderKL", full, {"sample_size": 64, "layers_per_block": 1,
                                           "block_out_channels": (32, 32, 32, 32)})


def _unet(side: int, channels: tuple[int, ...], plain: int, cross: int, **more: Any) -> Network:
    """Describe a UNet whose level `plain` has no attention."""
    down = ["CrossAttnDownBlock2D"] * len(channels)
    down[plain] = "DownBlock2D"
    full = {"sample_size": side, "block_out_channels": channels, "cross_attention_dim": cross,
            "down_block_types": tuple(down), "layers_per_block": 2,
            "up_block_types": tuple(n.replace("Down", "Up") for n in reversed(down)), **more}
    small = {"sample_size": 8, "cross_attention_dim": 32, "layers_per_block": 1,
             "block_out_channels": (32, 64, 64, 64)[: len(channels)], "attention_head_dim": 4,
             "transformer_layers_per_block": 1}
    return Network("UNet2DConditionModel", full, small)


CLIP_L = _clip(768, 12, 12, act="quick_gelu", projected=False)
CLIP_L_PROJECTED = _clip(768, 12, 12, act="quick_gelu")
CLIP_G = _clip(1280, 32, 20, act="gelu")
CLIP_H = _clip(1024, 23, 16, act="gelu", projected=False)
T5 = Network(
    "T5EncoderModel",
    {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_layers": 24, "num_heads": 64,
     "feed_forward_proj": "gated-gelu"},
    {"d_model": 64, "d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 512},
)
FLOW_LATENTS = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}

SHAPES: Mapping[str, Shape] = {
    "sd15": Shape(
        "StableDiffusionPipeline",
        {"unet": _unet(64, (320, 640, 1280, 1280), -1, 768, attention_head_dim=8),
         "vae": _vae(512), "text_encoder": CLIP_L},
        ("PNDMScheduler", {**BETAS, "skip_prk_steps": True, "set_alpha_to_one": False}),
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    "sd21": Shape(
        "StableDiffusionPipeline",
        {"unet": _unet(96, (320, 640, 1280, 1280), -1, 1024, attention_head_dim=(5, 10, 20, 20),
                       use_linear_projection=True),
         "vae": _vae(768), "text_encoder": CLIP_H},
        ("DDIMScheduler", {**BETAS, "prediction_type": "v_prediction", "clip_sample": False,
                           "set_alpha_to_one": False}),
        {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    "sdxl": Shape(
        "StableDiffusionXLPipeline",
        {"unet": _unet(128, (320, 640, 1280), 0, 2048, attention_head_dim=(5, 10, 20),
                       transformer_layers_per_block=(1, 2, 10), use_linear_projection=True,
                       addition_embed_type="text_time", addition_time_embed_dim=256,
                       projection_class_embeddings_input_dim=2816),
         "vae": _vae(1024, scaling_factor=0.13025), "text_encoder": CLIP_L,
         "text_encoder_2": CLIP_G},
        ("EulerDiscreteScheduler", {**BETAS, "timestep_spacing": "leading"}),
        {"add_watermarker": False},
    ),
    "sd3": Shape(
        "StableDiffusion3Pipeline",
        {"transformer": Network(
            "SD3Transformer2DModel",
            {"sample_size": 128, "patch_size": 2, "in_channels": 16, "out_channels": 16,
             "num_layers": 24, "attention_head_dim": 64, "num_attention_heads": 24,
             "joint_attention_dim": 4096, "caption_projection_dim": 1536,
             "pooled_projection_dim": 2048, "pos_embed_max_size": 192},
            {"sample_size": 8, "num_layers": 2, "attention_head_dim": 8,
             "num_attention_heads": 4, "joint_attention_dim": 64, "caption_projection_dim": 32,
             "pooled_projection_dim": 64, "pos_embed_max_size": 24}),
         "vae": _vae(1024, scaling_factor=1.5305, shift_factor=0.0609, **FLOW_LATENTS),
         "text_encoder": CLIP_L_PROJECTED, "text_encoder_2": CLIP_G, "text_encoder_3": T5},
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
    ),
    "pixart": Shape(
        "PixArtSigmaPipeline",
        {"transformer": Network(
            "PixArtTransformer2DModel",
            {"sample_size": 128, "patch_size": 2, "in_channels": 4, "out_channels": 8,
             "num_layers": 28, "attention_head_dim": 72, "num_attention_heads": 16,
             "cross_attention_dim": 1152, "caption_channels": 4096, "interpolation_scale": 2,
             "use_additional_conditions": False},
            {"sample_size": 8, "num_layers": 2, "attention_head_dim": 8,
             "num_attention_heads": 4, "cross_attention_dim": 32, "caption_channels": 64}),
         "vae": _vae(1024, scaling_factor=0.13025), "text_encoder": T5},
        ("DPMSolverMultistepScheduler", {"beta_start": 0.0001, "beta_end": 0.02}),
    ),
    "flux": Shape(
        "FluxPipeline",
        {"transformer": Network(
            "FluxTransformer2DModel",
            {"in_channels": 64, "num_layers": 19, "num_single_layers": 38,
             "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
             "pooled_projection_dim": 768, "guidance_embeds": True,
             "axes_dims_rope": (16, 56, 56)},
            {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
             "num_attention_heads": 2, "joint_attention_dim": 64, "pooled_projection_dim": 32,
             "axes_dims_rope": (4, 6, 6)}),
         "vae": _vae(1024, scaling_factor=0.3611, shift_factor=0.1159, **FLOW_LATENTS),
         "text_encoder": CLIP_L, "text_encoder_2": T5},
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0, "use_dynamic_shifting": True}),
    ),
}
"""Families by short name."""


def build(shape: str, folder: Path, *, shrink: bool, precision: str = "float16") -> None:
    """Save a random-weight pipeline of a family's shape.

    Args:
        shape: a key of `SHAPES`.
        folder: where to.
        shrink: few and narrow layers, native size 64.
        precision: of the stored weights, as torch names it.

    Raises:
        UserError: an unknown shape.
    """
    if shape not in SHAPES:
        raise UserError(f"shape {shape!r} is unknown{did_you_mean(shape, SHAPES)}")
    import diffusers
    import torch

    torch.manual_seed(0)
    facts = SHAPES[shape]
    parts: dict[str, Any] = {}
    for name, network in facts.parts.items():
        parts[name] = _network(network, shrink)
        if name.startswith("text_encoder"):
            suffix = name.removeprefix("text_encoder")
            parts[f"tokenizer{suffix}"] = _tokenizer(network.kind)
    if shape == "sdxl" and shrink:
        parts["unet"] = _network(_narrow_sdxl(facts.parts["unet"]), shrink)
    kind, config = facts.scheduler
    scheduler = getattr(diffusers, kind)(**config)
    pipeline = getattr(diffusers, facts.pipeline)(scheduler=scheduler, **parts, **facts.extra)
    pipeline.to(getattr(torch, precision)).save_pretrained(folder, safe_serialization=True)


def _narrow_sdxl(unet: Network) -> Network:
    """Return SDXL's shrunk UNet: it is given both encoders' states, and six sizes besides."""
    more = {"cross_attention_dim": 64, "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32}
    return Network(unet.kind, unet.full, {**unet.small, **more})


def _network(network: Network, shrink: bool) -> Any:
    import diffusers
    import transformers

    config = {**network.full, **(network.small if shrink else {})}
    if hasattr(diffusers, network.kind):
        return getattr(diffusers, network.kind)(**config).eval()
    kind = getattr(transformers, network.kind)
    return kind(kind.config_class(**config)).eval()


def _tokenizer(encoder: str) -> Any:
    """Return the miniature's tokenizer padded to CLIP's 77 tokens, or one of letters for T5."""
    from ldmopt import miniature

    if encoder.startswith("CLIP"):
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(
            Path(miniature.folder()) / "tokenizer", model_max_length=77
        )
    from tokenizers import Tokenizer, models, pre_tokenizers  # type: ignore[import-untyped]
    from transformers import T5TokenizerFast

    letters = "\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'-"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((one, -3.0) for one in letters)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(json.loads(made.to_str()), file)
        file.flush()
        return T5TokenizerFast(tokenizer_file=file.name, extra_ids=0, model_max_length=512)
