"""How well pictures fit their captions: the cosine of a CLIP's two embeddings.

CLIPScore (Hessel et al. 2021) without its factor of 2.5 and without cutting off below zero. It
says what is there, not how well it is drawn; values of different CLIPs cannot be compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture, Pixels
from ldmopt.errors import UserError, did_you_mean
from ldmopt.scorers import encoders
from ldmopt.scorers.encoders import clip
from ldmopt.scorers.encoders.feature_cache import FeatureCache

Rows = NDArray[np.float32]
NAMES = ("auto", "miniature", "none")
VERSION = 1


class Towers(Protocol):
    """Both towers of a CLIP: unit vectors, compared by dot product."""

    def embed_pictures(self, pictures: Sequence[Pixels]) -> Rows:
        """Return `(n, d)` of pictures of any size."""
        ...

    def embed_captions(self, captions: Sequence[str]) -> Rows:
        """Return `(n, d)` of captions, cut where they are too long."""
        ...

    def too_long(self, caption: str) -> bool:
        """Tell whether a caption is cut."""
        ...


class _Pictures:
    """The picture tower as an encoder, so that its embeddings are cached as others are."""

    names: tuple[str, ...] = ()

    def __init__(self, towers: Towers, identity: Mapping[str, Any]) -> None:
        self.identity = identity
        self._towers = towers

    def encode(self, pictures: Sequence[Pixels]) -> Rows:
        return self._towers.embed_pictures(pictures)


class Alignment:
    """A second scorer: the similarity of each picture with the prompt that it was made for.

    Attributes:
        identity: name, the CLIP's name, and a digest of its files.
        notes: lines that a user should be told once; they grow as captions come.
    """

    def __init__(self, name: str, digest: str, towers: Towers) -> None:
        """Compare by two towers.

        Args:
            name: what the user calls the CLIP.
            digest: of everything that decides a similarity.
            towers: embed.
        """
        self.identity: Mapping[str, Any] = {"name": "alignment", "model": name, "digest": digest}
        self.notes: tuple[str, ...] = ()
        self._towers = towers
        key = f"alignment-{digest}-{encoders.made_by(__file__)}"
        self._pictures = encoders.Cached(_Pictures(towers, self.identity), disk=FeatureCache(key))
        self._captions: dict[str, Rows] = {}

    def similarity(self, pictures: Sequence[Picture]) -> list[float | None]:
        """Return each picture's cosine with its own prompt, in [-1, 1]; None without a prompt."""
        said = [picture for picture in pictures if picture.block.prompt.strip()]
        if not said:
            return [None] * len(pictures)
        self._read({picture.block.prompt for picture in said})
        seen = self._pictures.features(said).astype(np.float64)
        read = np.stack([self._captions[picture.block.prompt] for picture in said])
        cosines = iter(np.clip((seen * read).sum(axis=1), -1.0, 1.0))
        return [float(next(cosines)) if picture.block.prompt.strip() else None
                for picture in pictures]

    def _read(self, prompts: set[str]) -> None:
        new = sorted(prompts - self._captions.keys())
        if not new:
            return
        self._captions.update(zip(new, self._towers.embed_captions(new), strict=True))
        cut = [prompt for prompt in new if self._towers.too_long(prompt)]
        if cut and not self.notes:
            self.notes = (f"alignment: prompts too long for {self.identity['model']} are cut, the "
                          f"first is {cut[0][:40]!r}...",)


class _Miniature:
    """The miniature's own towers, loaded on first use."""

    @cached_property
    def _towers(self) -> Any:
        from ldmopt.miniature import towers

        return towers.load()

    def embed_pictures(self, pictures: Sequence[Pixels]) -> Rows:
        rows: Rows = self._towers.embed_pictures(pictures)
        return rows

    def embed_captions(self, captions: Sequence[str]) -> Rows:
        rows: Rows = self._towers.embed_captions(captions)
        return rows

    def too_long(self, caption: str) -> bool:
        return bool(self._towers.too_long(caption))


def load_alignment(name: str, model: str) -> Alignment | None:
    """Return the alignment scorer of a study, or None where it has none; nothing is loaded yet.

    Args:
        name: ``auto`` (the miniature's own towers where the model is the miniature, else none),
            ``none``, ``miniature``, or the folder or hub id of a whole CLIP.
        model: the study's model, as the study names it.

    Raises:
        UserError: the CLIP is not on this machine, or cannot be used.
    """
    if name == "auto":
        name = "miniature" if is_miniature(model) else "none"
    if name == "none":
        return None
    if name == "miniature":
        return Alignment("miniature", _miniature_digest(), _Miniature())
    if "/" not in name and not Path(name).is_dir():
        raise UserError("scorer.alignment: must be auto, none, or the folder or hub id of a CLIP, "
                        f"got {name!r}{did_you_mean(name, NAMES)}")
    found = clip.find(name, "scorer.alignment", whole=True)
    return Alignment(name, found.whole_digest, clip.Both(found))


def is_miniature(model: str) -> bool:
    """Tell whether a study's model is the miniature, by name or by its folder."""
    from ldmopt import miniature

    own = Path(miniature.folder())
    return model == "miniature" or Path(model).expanduser().absolute() == own.absolute()


def _miniature_digest() -> str:
    from ldmopt import miniature

    root = Path(miniature.folder())
    whole = hashlib.sha256(str(VERSION).encode())
    for part in ("clip", "text_encoder", "tokenizer"):
        for path in sorted((root / part).iterdir()):
            whole.update(path.name.encode() + path.read_bytes())
    return whole.hexdigest()[:16]
