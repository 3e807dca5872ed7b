"""Pictures to features: what every learned scorer sees of a picture.

- ``statistics``: weights-free statistics (see `ldmopt.scorers.statistics`), for any picture;
- ``miniature``: those, and what the miniature's CLIP image tower sees;
- ``auto``: ``statistics``. On an unfinished miniature, trees that saw the tower as well were no
  better on held-out ladders and in the landscape exam (Spearman with alignment .81 for
  statistics and embedding, .79 with middle layers too, .82 for statistics alone), and judging
  by statistics needs no torch.

A regressor belongs to the encoder it was trained with and refuses another one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Pixels
from ldmopt.errors import UserError, did_you_mean
from ldmopt.scorers import statistics

Features = NDArray[np.float32]
CACHED_PICTURES = 20_000
LAYERS = (1, 3)
"""Layers of the tower whose patches are looked at; 0 is what enters the first."""


class Encoder(Protocol):
    """Turns pictures into features."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name and digest: features of different identities must not be mixed."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature, in column order."""
        ...

    def encode(self, pictures: Sequence[Pixels]) -> Features:
        """Return `(n, len(names))`, float32, finite."""
        ...


class Statistics:
    """The weights-free encoder."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, and the version of the statistics as their digest."""
        return {"encoder": "statistics", "digest": f"statistics-{statistics.VERSION}"}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the statistics."""
        return statistics.names()

    def encode(self, pictures: Sequence[Pixels]) -> Features:
        """Return the statistics of each picture."""
        return statistics.statistics(list(pictures))


class Miniature:
    """Statistics, and what the miniature's CLIP image tower sees.

    The tower gives its embedding, L2-normalised (GOTCHAS 26) with its length beside it, and from
    two middle layers how much each channel varies between the patches of the picture: captions
    teach the embedding what is there, the layers before still know how it is drawn (GOTCHAS 36).
    """

    def __init__(self) -> None:
        """Load the tower on first use; nothing is read here."""
        self._tower: Any = None

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, and a digest of the tower's weights and the version of the statistics."""
        return {"encoder": "miniature", "digest": f"{tower_digest()}-{statistics.VERSION}"}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the statistics, then of the tower's features."""
        config = self._loaded().config
        return (
            *statistics.names(),
            *(f"embedding_{index}" for index in range(config.projection_dim)),
            "embedding_length",
            *(f"layer{layer}_{i}" for layer in LAYERS for i in range(config.hidden_size)),
        )

    def encode(self, pictures: Sequence[Pixels]) -> Features:
        """Return statistics and tower features of each picture."""
        seen = [self._see(pictures[at : at + 64]) for at in range(0, len(pictures), 64)]
        if not seen:
            return np.zeros((0, len(self.names)), np.float32)
        return np.concatenate([statistics.statistics(list(pictures)), np.concatenate(seen)], axis=1)

    def _see(self, pictures: Sequence[Pixels]) -> Features:
        import torch

        whole = statistics.standard(list(pictures)).astype(np.float32) / 127.5 - 1.0
        with torch.inference_mode():
            values = torch.from_numpy(whole).permute(0, 3, 1, 2).contiguous()
            result = self._loaded()(values, output_hidden_states=True)
            columns = [result.image_embeds.float().numpy()]
            for layer in LAYERS:
                patches = result.hidden_states[layer][:, 1:].float()
                columns.append(patches.std(dim=1).numpy())
        length = np.maximum(np.linalg.norm(columns[0], axis=1, keepdims=True), 1e-6)
        table: Features = np.concatenate(
            [columns[0] / length, np.log(length), *columns[1:]], axis=1
        )
        return table

    def _loaded(self) -> Any:
        if self._tower is None:
            import torch
            from transformers import CLIPVisionModelWithProjection

            from ldmopt import miniature

            folder = Path(miniature.folder()) / "clip"
            tower = CLIPVisionModelWithProjection.from_pretrained(
                folder, torch_dtype=torch.float32, local_files_only=True
            )
            self._tower = tower.eval()
        return self._tower


class Cached:
    """An encoder that remembers the features of pictures by their digest, newest kept."""

    def __init__(self, encoder: Encoder, limit: int = CACHED_PICTURES) -> None:
        """Wrap an encoder; `limit` is the number of pictures to remember."""
        self.encoder = encoder
        self.limit = limit
        self._known: OrderedDict[str, Features] = OrderedDict()

    def features(self, pictures: Sequence[Picture]) -> Features:
        """Return `(n, columns)` features; each picture is encoded once."""
        digests = [picture.digest for picture in pictures]
        new = {
            digest: picture.pixels
            for digest, picture in zip(digests, pictures, strict=True)
            if digest not in self._known
        }
        if new:
            rows = self.encoder.encode(list(new.values()))
            self._known.update(zip(new, rows, strict=True))
        table = [self._known[digest] for digest in digests]
        for digest in digests:
            self._known.move_to_end(digest)
        while len(self._known) > self.limit:
            self._known.popitem(last=False)
        return np.stack(table) if table else np.zeros((0, len(self.encoder.names)), np.float32)


_ENCODERS: dict[str, Callable[[], Encoder]] = {"miniature": Miniature, "statistics": Statistics}


@cache
def load(name: str = "auto") -> Cached:
    """Return the encoder of a name, with its cache; one for the whole process.

    Raises:
        UserError: unknown name.
    """
    if name == "auto":
        return load("statistics")
    if name not in _ENCODERS:
        hint = did_you_mean(name, ("auto", *_ENCODERS))
        raise UserError(f"encoder: must be auto, miniature or statistics, got {name!r}{hint}")
    return Cached(_ENCODERS[name]())


@cache
def tower_digest() -> str:
    """sha256 (first 16 digits) over the two files of the miniature's image tower."""
    from ldmopt import miniature

    folder = Path(miniature.folder())
    whole = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        whole.update((folder / "clip" / name).read_bytes())
    return whole.hexdigest()[:16]
