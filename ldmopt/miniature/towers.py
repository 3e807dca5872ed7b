"""Stage 3, and image-text similarity: a CLIP of two towers trained on captioned renders.

Contrastive learning as in CLIP (Radford et al. 2021), with two changes: a caption that happens
to fit another picture of the batch is no negative for it, and linear heads that name the
factors from each embedding help both towers; the heads are thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ldmopt.miniature import architecture
from ldmopt.miniature.classifier import SIZES, as_tensor, roughen, to_size
from ldmopt.miniature.data import END, START, Data, encode, tokenizer
from ldmopt.miniature.loop import Job, Recipe, train

# The usual CLIP normalisation is for photographs; here pictures are simply put into [-1, 1].


class Pair(nn.Module):
    """Both towers with their projections, and the attribute heads that only training uses."""

    def __init__(self, shape: architecture.Shape, bos: int, eos: int) -> None:
        """Build both towers with random weights."""
        super().__init__()
        self.text = architecture.text_encoder(shape, bos, eos)
        self.vision = architecture.vision_tower(shape)
        self.text_projection = nn.Linear(shape.text_width, shape.projection, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.66))
        self.heads = nn.ModuleList(nn.Linear(shape.projection, sum(SIZES)) for _ in range(2))

    def embed_text(self, tokens: Tensor) -> Tensor:
        """Return raw text embeddings `(n, projection)`."""
        embedding: Tensor = self.text_projection(self.text(tokens).pooler_output)
        return embedding

    def embed_pictures(self, pictures: Tensor) -> Tensor:
        """Return raw picture embeddings `(n, projection)`; pictures in [-1, 1]."""
        embedding: Tensor = self.vision(pictures).image_embeds
        return embedding


def new(job: Job) -> Pair:
    """Return untrained towers whose end marks fit the job's tokenizer."""
    known = tokenizer(job.work / "tokenizer")
    bos, eos = known.convert_tokens_to_ids([START, END])
    torch.manual_seed(job.seed)
    pair = Pair(job.scale.shape, bos, eos)
    if job.device.type == "cpu":
        # At these sizes the backward pass of the fused kernel costs three times a plain one.
        for tower in (pair.text, pair.vision):
            tower.set_attn_implementation("eager")
    return pair


def fit(job: Job, data: Data) -> Pair:
    """Train both towers and return them."""
    model = new(job)
    labels, named = torch.from_numpy(data.labels), torch.from_numpy(data.named)
    tokens, batch = torch.from_numpy(data.tokens), job.scale.large_batch

    def loss(rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(0, len(labels), (batch,), generator=rng)
        which = torch.randint(0, tokens.shape[1], (batch,), generator=rng)
        pictures = roughen(as_tensor(data.pictures[chosen.numpy()], job.device), rng)
        truth, said = labels[chosen].to(job.device), named[chosen, which].to(job.device)
        with job.autocast():
            seen = model.embed_pictures(pictures)
            read = model.embed_text(tokens[chosen, which].to(job.device))
            guesses = [head(x) for head, x in zip(model.heads, (seen, read), strict=True)]
        match, hit = _contrast(seen.float(), read.float(), model.logit_scale, truth, said)
        total, figures = match, {"match": hit}
        for name, guess, target in zip(("picture", "text"), guesses, (truth, said), strict=True):
            part, right = _attributes(guess.float(), target)
            total, figures[name] = total + part, right
        return total, figures

    train(job, Recipe("clip", job.scale.clip_steps, 1.5e-3, 100, 0.05), model, loss)
    return model


def _contrast(
    seen: Tensor, read: Tensor, scale: Tensor, truth: Tensor, said: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the symmetric contrastive loss and the share of pictures that find their caption."""
    seen, read = functional.normalize(seen, dim=1), functional.normalize(read, dim=1)
    logits = scale.exp().clamp(max=100) * seen @ read.T
    fits = ((said[None] == truth[:, None]) | (said[None] < 0)).all(dim=2)
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    logits = logits.masked_fill(fits & ~own, -1e4)
    target = torch.arange(len(logits), device=logits.device)
    loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
    return loss / 2, (logits.argmax(1) == target).float().mean()


def _attributes(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the summed loss and mean accuracy of naming the factors; -1 is ignored.

    A sum, so that the factor that is hardest to see (where the light is) gets its weight.
    """
    losses, right = [], []
    for i, part in enumerate(torch.split(logits, SIZES, dim=1)):
        losses.append(functional.cross_entropy(part, target[:, i], ignore_index=-1))
        known = target[:, i] >= 0
        right.append((part.argmax(1) == target[:, i])[known].float().mean())
    return torch.stack(losses).sum(), torch.stack(right).mean()


class Towers:
    """The trained towers: similarity is the dot product of two embeddings."""

    def __init__(
        self, known: Any, text: Any, projection: Tensor, vision: Any, scale: float
    ) -> None:
        """Keep tokenizer, towers and projection (`load` makes one)."""
        self.scale = scale
        self._tokenizer, self._text, self._vision = known, text.eval(), vision.eval()
        self._projection = projection

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return unit vectors `(n, d)` of uint8 RGB pictures `(h, w, 3)` of any size."""
        rows = []
        for start in range(0, len(pictures), 128):
            batch = as_tensor(to_size(pictures[start : start + 128]), self._projection.device)
            embedding = self._vision(batch).image_embeds
            rows.append(functional.normalize(embedding.float(), dim=1).cpu().numpy())
        return np.concatenate(rows)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors `(n, d)` of captions."""
        rows = []
        for start in range(0, len(captions), 128):
            tokens = torch.from_numpy(encode(self._tokenizer, list(captions[start : start + 128])))
            pooled = self._text(tokens.to(self._projection.device)).pooler_output
            embedding = pooled.float() @ self._projection.T
            rows.append(functional.normalize(embedding, dim=1).cpu().numpy())
        return np.concatenate(rows)

    def too_long(self, caption: str) -> bool:
        """Tell whether a caption has more tokens than the text tower reads."""
        return len(self._tokenizer(caption)["input_ids"]) > architecture.TEXT_LENGTH


def load(folder: Path | None = None) -> Towers:
    """Return the towers that lie in the trained model's folder, on the CPU.

    Args:
        folder: a model folder; the package's own unless given.
    """
    from safetensors.torch import load_file
    from transformers import CLIPTextModel, CLIPVisionModelWithProjection

    from ldmopt.miniature import folder as packaged

    root = folder or packaged()
    text = CLIPTextModel.from_pretrained(root / "text_encoder", dtype=torch.float32)
    vision = CLIPVisionModelWithProjection.from_pretrained(root / "clip", dtype=torch.float32)
    rest = load_file(root / "clip" / "text_projection.safetensors")
    scale = json.loads((root / "clip" / "similarity.json").read_text())["logit_scale"]
    return Towers(tokenizer(root / "tokenizer"), text, rest["weight"].float(), vision, scale)
