"""Pictures to features: what every learned scorer sees of a picture.

- ``statistics``: weights-free statistics (`encoders.statistics`), for any picture;
- ``miniature``: those, and what the miniature's CLIP image tower sees;
- a folder or hub id: those, and what the image tower of that CLIP or SigLIP sees;
- ``auto``: ``statistics``. On an unfinished miniature, trees that saw the tower as well were no
  better on held-out ladders and in the landscape exam (Spearman with alignment .81 for
  statistics and embedding, .79 with middle layers too, .82 for statistics alone), and judging
  by statistics needs no torch.

The first columns are always the statistics, so what judges by those alone goes with every encoder.
A regressor belongs to the encoder it was trained with and refuses another one.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Pixels
from ldmopt.errors import UserError, did_you_mean
from ldmopt.scorers.encoders import clip, layout, statistics
from ldmopt.scorers.encoders.feature_cache import FeatureCache

Features = NDArray[np.float32]
CACHED_PICTURES = 20_000
AT_ONCE = 64
"""Pictures that are decoded and encoded together."""
SMALLEST_SIDE = 16
"""Pixels; the statistics need as many."""
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
        return _names(config.projection_dim, config.hidden_size, LAYERS)

    def encode(self, pictures: Sequence[Pixels]) -> Features:
        """Return statistics and tower features of each picture."""
        return _beside_statistics(pictures, self._see, self.names)

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
        return _table(*columns)

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


class Tower:
    """Statistics, and what the image tower of a CLIP sees that the user has.

    Of the tower the same as of the miniature's: the L2-normalised embedding, its length, and how
    much each channel varies between the patches at a quarter and at three quarters of its layers.
    """

    def __init__(self, name: str) -> None:
        """Find and check the tower's files.

        Args:
            name: folder, or hub id whose files are in the local hub cache.

        Raises:
            UserError: it is not there or is no CLIP.
        """
        self._name = name
        self._clip = clip.find(name, "encoder")

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, and a digest of the tower's files and the version of the statistics."""
        return {"encoder": self._name, "digest": f"{self._clip.digest}-{statistics.VERSION}"}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the statistics, then of the tower's features."""
        return _names(*self._shape, self._layers)

    def encode(self, pictures: Sequence[Pixels]) -> Features:
        """Return statistics and tower features of each picture.

        Raises:
            UserError: the tower gives no numbers; its weights are damaged.
        """
        table = _beside_statistics(pictures, self._see, self.names)
        if not np.isfinite(table).all():
            raise UserError(f"encoder {self._name!r} gives values that are no numbers: its weights "
                            "are damaged; fetch it again")
        return table

    def _see(self, pictures: Sequence[Pixels]) -> Features:
        import torch

        tower, processor = self._loaded
        with torch.inference_mode():
            result = tower(clip.prepared(processor, pictures), output_hidden_states=True)
        whole = result.image_embeds if self._clip.kind == "clip" else result.pooler_output
        # CLIP's first patch stands for the whole picture; SigLIP has none.
        first = 1 if self._clip.kind == "clip" else 0
        spread = [result.hidden_states[layer][:, first:].float().std(dim=1).numpy()
                  for layer in self._layers]
        return _table(whole.float().numpy(), *spread)

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        return self._clip.load_tower()

    @property
    def _layers(self) -> tuple[int, int]:
        layers = self._clip.tower.num_hidden_layers
        return layers // 4, 3 * layers // 4

    @property
    def _shape(self) -> tuple[int, int]:
        """Width of the embedding, and of the layers."""
        config = self._clip.tower
        hidden = int(config.hidden_size)
        return (int(config.projection_dim) if self._clip.kind == "clip" else hidden), hidden


def _names(width: int, hidden: int, layers: Sequence[int]) -> tuple[str, ...]:
    """Return the statistics' names and those of `_table`'s columns."""
    return (
        *statistics.names(),
        *(f"embedding_{index}" for index in range(width)),
        "embedding_length",
        *(f"layer{layer}_{index}" for layer in layers for index in range(hidden)),
    )


def _beside_statistics(
    pictures: Sequence[Pixels], see: Callable[[Sequence[Pixels]], Features], names: Sequence[str]
) -> Features:
    """Return statistics and, a few pictures at a time, what a tower sees of each."""
    seen = [see(pictures[at : at + clip.AT_ONCE]) for at in range(0, len(pictures), clip.AT_ONCE)]
    if not seen:
        return np.zeros((0, len(names)), np.float32)
    return np.concatenate([statistics.statistics(list(pictures)), np.concatenate(seen)], axis=1)


def _table(embedding: Features, *more: Features) -> Features:
    """Return the unit vector, the logarithm of its length, and further columns."""
    length = np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-6)
    return np.concatenate([embedding / length, np.log(length), *more], axis=1)


def embedding(names: Sequence[str]) -> list[int]:
    """Return the columns, of an encoder's names, that hold a tower's unit vector."""
    return [index for index, name in enumerate(names)
            if name.startswith("embedding_") and name != "embedding_length"]


class Cached:
    """An encoder that encodes each picture once: its features are kept by the picture's digest."""

    def __init__(
        self, encoder: Encoder, limit: int = CACHED_PICTURES, disk: FeatureCache | None = None
    ) -> None:
        """Wrap an encoder.

        Args:
            encoder: makes features.
            limit: the number of pictures to remember in memory.
            disk: remembers them on disk.
        """
        self.encoder = encoder
        self.limit = limit
        self._disk = disk
        self._known: OrderedDict[str, Features] = OrderedDict()
        self._lock = threading.RLock()

    def features(self, pictures: Sequence[Picture]) -> Features:
        """Return `(n, columns)` features; each picture is encoded once, by one thread."""
        with self._lock:
            return self._features(pictures)

    def _features(self, pictures: Sequence[Picture]) -> Features:
        wanted = {picture.digest: picture for picture in pictures}
        self._recall(wanted)
        new = [digest for digest in wanted if digest not in self._known]
        for start in range(0, len(new), AT_ONCE):
            part = new[start : start + AT_ONCE]
            rows = self.encoder.encode([wanted[digest].pixels for digest in part])
            found = dict(zip(part, rows, strict=True))
            self._known.update(found)
            if self._disk is not None:
                self._disk.write(found)
        table = [self._known[picture.digest] for picture in pictures]
        for digest in wanted:
            self._known.move_to_end(digest)
        while len(self._known) > self.limit:
            self._known.popitem(last=False)
        return np.stack(table) if table else np.zeros((0, len(self.encoder.names)), np.float32)

    def judgeable(self, pictures: Sequence[Picture]) -> list[bool]:
        """Tell of each picture whether it is large enough; those with features are not opened."""
        with self._lock:
            self._recall({picture.digest: picture for picture in pictures})
            return [picture.digest in self._known or min(picture.size) >= SMALLEST_SIDE
                    for picture in pictures]

    def _recall(self, wanted: Mapping[str, Picture]) -> None:
        if self._disk is not None:
            self._known.update(self._disk.read([one for one in wanted if one not in self._known]))


_ENCODERS: dict[str, Callable[[], Encoder]] = {"miniature": Miniature, "statistics": Statistics}
NAMES = ("auto", *sorted(_ENCODERS))


@cache
def load(name: str = "auto") -> Cached:
    """Return an encoder with its caches; one for the whole process.

    Args:
        name: auto, statistics, miniature, or the folder or hub id of a CLIP.

    Raises:
        UserError: there is no such encoder here.
    """
    if name == "auto":
        return load("statistics")
    if name not in _ENCODERS and "/" not in name and not Path(name).is_dir():
        hint = did_you_mean(name, NAMES)
        raise UserError("encoder: must be auto, statistics, miniature, or the folder or hub id of "
                        f"a CLIP, got {name!r}{hint}")
    encoder = _ENCODERS[name]() if name in _ENCODERS else Tower(name)
    return Cached(encoder, disk=FeatureCache(f"{encoder.identity['digest']}-{made_by()}"))


@cache
def made_by(*more: str) -> str:
    """Return a digest of what turns pixels into features: this code, and the packages it uses.

    Features that other code made are thus never taken from the disk, whatever the encoder's own
    digest says.

    Args:
        more: further files of code.
    """
    whole = hashlib.sha256()
    for file in (__file__, clip.__file__, layout.__file__, statistics.__file__, *more):
        whole.update(Path(file).read_bytes())
    for package in ("numpy", "pillow", "torch", "transformers"):
        whole.update(f"{package}={version(package)}".encode())
    return whole.hexdigest()[:16]


@cache
def tower_digest() -> str:
    """sha256 (first 16 digits) over the two files of the miniature's image tower."""
    from ldmopt import miniature

    folder = Path(miniature.folder())
    whole = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        whole.update((folder / "clip" / name).read_bytes())
    return whole.hexdigest()[:16]
