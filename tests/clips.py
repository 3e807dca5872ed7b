"""Tiny CLIPs with random weights in transformers' own layout; they know nothing."""

import shutil
from pathlib import Path

import torch
import transformers

from ldmopt import miniature

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
         "num_attention_heads": 2}
SIDE = 32


def save_clip(folder, *, whole=False, width=24, seed=0):
    """Save a CLIP image tower, or a whole CLIP with the miniature's tokenizer; return its path."""
    torch.manual_seed(seed)
    folder = Path(folder)
    vision = {**SHAPE, "image_size": SIDE, "patch_size": 8}
    if whole:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(
            Path(miniature.folder()) / "tokenizer"
        )
        text = {**SHAPE, "vocab_size": len(tokenizer), "max_position_embeddings": 12,
                "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = transformers.CLIPConfig(text_config=text, vision_config=vision,
                                         projection_dim=width)
        transformers.CLIPModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    else:
        config = transformers.CLIPVisionConfig(**vision, projection_dim=width)
        transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    ).save_pretrained(folder)
    return str(folder)


def save_siglip(folder, *, seed=0):
    """Save a whole SigLIP without a tokenizer; return its path."""
    torch.manual_seed(seed)
    config = transformers.SiglipConfig(
        text_config={**SHAPE, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**SHAPE, "image_size": SIDE, "patch_size": 8},
    )
    transformers.SiglipModel(config).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return str(folder)


def copy(folder, target):
    """Copy a saved model, to be damaged; return the copy's path."""
    return Path(shutil.copytree(folder, target))
