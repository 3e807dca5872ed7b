"""CLIP models (Radford et al. 2021) that the user has: found, checked, identified, loaded.

A folder or hub id of a whole CLIP or SigLIP (Zhai et al. 2023), or of its image tower alone.
Nothing is downloaded, weights are safetensors only, and no code of the model's own is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt import weights
from ldmopt.contracts import Pixels
from ldmopt.errors import UserError
from ldmopt.model import hub_folder, is_hub_id

KINDS = {
    "clip": ("clip", True), "clip_vision_model": ("clip", False),
    "siglip": ("siglip", True), "siglip_vision_model": ("siglip", False),
}
"""What config.json calls a model -> its kind, and whether it reads captions too."""
CLASSES = {
    "clip": ("CLIPModel", "CLIPVisionModelWithProjection", "CLIPImageProcessor"),
    "siglip": ("SiglipModel", "SiglipVisionModel", "SiglipImageProcessor"),
}
"""transformers' classes of a kind: the whole, the image tower, and what prepares pictures."""
TOKENIZER_FILES = (
    "merges.txt", "special_tokens_map.json", "spiece.model", "tokenizer.json",
    "tokenizer_config.json", "vocab.json",
)
PICTURE_FILES = ("config.json", "preprocessor_config.json")
AT_ONCE = 16
"""Pictures or captions that go through a tower together."""
Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A CLIP's files, checked but not loaded.

    Attributes:
        name: what the user called it.
        folder: where its files are.
        kind: ``clip`` or ``siglip``.
        whole: whether it has the tower that reads captions.
        files: its weight files.
        variant: which of several sets of weight files, such as ``fp16``.
    """

    name: str
    folder: Path
    kind: str
    whole: bool
    files: tuple[Path, ...]
    variant: str | None

    @cached_property
    def digest(self) -> str:
        """sha256 (first 16 digits) over the files that decide a picture's features."""
        return self._digest([self.folder / name for name in PICTURE_FILES])

    @cached_property
    def whole_digest(self) -> str:
        """As `digest`, with the files that decide how a caption is read."""
        own = [self.folder / name for name in (*PICTURE_FILES, *TOKENIZER_FILES)]
        return self._digest([path for path in own if path.exists()])

    def _digest(self, more: Sequence[Path]) -> str:
        whole = hashlib.sha256()
        for path in sorted((*more, *self.files)):
            with path.open("rb") as file:
                whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()[:16]

    def load_tower(self) -> tuple[Any, Any]:
        """Return the image tower, in float32 on the CPU, and what prepares pictures for it.

        Raises:
            UserError: the files do not make up such a tower.
        """
        _, tower, processor = CLASSES[self.kind]
        return self._load(tower), self._prepared(processor)

    def load_whole(self) -> tuple[Any, Any, Any]:
        """Return both towers, what prepares pictures, and the tokenizer.

        Raises:
            UserError: the files do not make up such a model.
        """
        from transformers import AutoTokenizer

        model, _, processor = CLASSES[self.kind]
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
            raise self._misfit(f"its tokenizer cannot be loaded ({_line(error)})") from error
        return self._load(model), self._prepared(processor), tokenizer

    def _load(self, kind: str) -> Any:
        import torch
        import transformers

        transformers.utils.logging.set_verbosity_error()
        # The whole finds its own configuration, which a tower's is a part of.
        config = self.tower if kind == CLASSES[self.kind][1] else None
        try:
            model, notes = getattr(transformers, kind).from_pretrained(
                self.folder, config=config, dtype=torch.float32, variant=self.variant,
                local_files_only=True, use_safetensors=True, output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise self._misfit(_line(error)) from error
        if notes["missing_keys"]:
            raise self._misfit(f"its weights lack {sorted(notes['missing_keys'])[0]}")
        return model.eval()

    @cached_property
    def tower(self) -> Any:
        """The image tower's configuration, out of that of the whole where need be.

        Raises:
            UserError: config.json does not describe such a tower.
        """
        import transformers

        whole, tower, _ = CLASSES[self.kind]
        facts = _config(self.folder, self.name)
        try:
            if not self.whole:
                return getattr(transformers, tower).config_class.from_dict(facts)
            config = getattr(transformers, whole).config_class.from_dict(facts)
            vision = config.vision_config
            if self.kind == "clip":
                vision.projection_dim = config.projection_dim
            return vision
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._misfit(f"its config.json cannot be used ({_line(error)})") from error

    def _prepared(self, kind: str) -> Any:
        import transformers

        try:
            return getattr(transformers, kind).from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise self._misfit(f"its preprocessor_config.json cannot be used ({_line(error)})"
                               ) from error

    def _misfit(self, reason: str) -> UserError:
        return UserError(f"CLIP {self.name!r} cannot be used: {reason}; fetch or save it again")


def find(name: str, key: str, *, whole: bool = False) -> Clip:
    """Find a CLIP and check its files as far as that is cheap.

    Args:
        name: a folder, or a hub id (``org/name`` or ``org/name@revision``) in the local hub cache.
        key: what asks for it, such as ``scorer.encoder``, to be named in errors.
        whole: whether captions are to be read, too.

    Raises:
        UserError: it is not on this machine, is no CLIP, or lacks files that can be loaded.
    """
    folder = _locate(name, key)
    where = f"{key}: {name!r}"
    called = _config(folder, name, where).get("model_type")
    if called not in KINDS:
        raise UserError(f"{where} is a {called}, not a CLIP or SigLIP as transformers saves them; "
                        "give the folder or hub id of one")
    kind, both = KINDS[called]
    if whole and not both:
        raise UserError(f"{where} is an image tower alone, which reads no captions; "
                        "give the whole CLIP")
    if not (folder / "preprocessor_config.json").is_file():
        raise UserError(f"{where} has no preprocessor_config.json, so how pictures are put before "
                        "it is unknown; save the model's image processor beside it")
    files, variant = weights.find(folder, where)
    # Other programs' weights may lie beside those that transformers loads.
    own = tuple(path for path in files if path.name.startswith("model"))
    if not own:
        raise UserError(f"{where} has {files[0].name} but no model.safetensors, which transformers "
                        "loads; fetch the whole repository, or save it with save_pretrained")
    return Clip(name, folder, kind, both, own, variant)


def _locate(name: str, key: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not is_hub_id(name):
        raise UserError(f"{key}: folder {name!r} does not exist; give the folder or the hub id of "
                        "a CLIP")
    cached = hub_folder(name)
    if cached is None:
        plain, _, revision = name.partition("@")
        pinned = f" --revision {revision}" if revision else ""
        raise UserError(f"{key}: {name!r} is neither a folder nor in the local hub cache, and "
                        f"nothing is downloaded unasked; fetch it: hf download {plain}{pinned}")
    return cached


def _config(folder: Path, name: str, where: str = "") -> Mapping[str, Any]:
    where = where or f"CLIP {name!r}"
    try:
        facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where} has no config.json; give the folder that transformers' "
                        "save_pretrained made") from error
    except ValueError as error:
        raise UserError(f"{where}: config.json is not valid JSON ({error}); save it anew"
                        ) from error
    if not isinstance(facts, dict):
        raise UserError(f"{where}: config.json must be a JSON object; save it anew")
    return facts


def _line(error: Exception) -> str:
    """Return an error's first sentence on one line."""
    return " ".join(str(error).split())[:200]


class Both:
    """Both towers of a CLIP: unit vectors of pictures and captions, compared by dot product."""

    def __init__(self, clip: Clip) -> None:
        """Name a whole CLIP; it is loaded on first use."""
        self._clip = clip

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        return self._clip.load_whole()

    def embed_pictures(self, pictures: Sequence[Pixels]) -> Rows:
        """Return unit vectors `(n, d)` of pictures of any size."""
        model, processor, _ = self._parts
        return _batched(pictures, lambda part: model.get_image_features(
            pixel_values=prepared(processor, part)))

    def embed_captions(self, captions: Sequence[str]) -> Rows:
        """Return unit vectors `(n, d)` of captions, cut where they are too long."""
        model, _, tokenizer = self._parts
        length = model.config.text_config.max_position_embeddings
        # SigLIP was trained on padded captions without a mask (its model card says so).
        padding = "max_length" if self._clip.kind == "siglip" else True

        def embed(part: Sequence[str]) -> Any:
            tokens = tokenizer(list(part), padding=padding, truncation=True, max_length=length,
                               return_tensors="pt")
            given = {key: tokens[key] for key in ("input_ids", "attention_mask") if key in tokens}
            return model.get_text_features(**given)

        return _batched(captions, embed)

    def too_long(self, caption: str) -> bool:
        """Tell whether a caption is cut."""
        model, _, tokenizer = self._parts
        length = model.config.text_config.max_position_embeddings
        return bool(len(tokenizer(caption)["input_ids"]) > length)


def prepared(processor: Any, pictures: Sequence[Pixels]) -> Any:
    """Return `(n, 3, side, side)`, as the model's own image processor makes it."""
    from PIL import Image

    # As pictures of PIL: the shape of an array can be mistaken for channels first.
    images = [Image.fromarray(np.ascontiguousarray(pixels)) for pixels in pictures]
    return processor(images=images, return_tensors="pt")["pixel_values"]


def _batched(things: Sequence[Any], embed: Any) -> Rows:
    import torch

    rows = []
    with torch.inference_mode():
        for start in range(0, len(things), AT_ONCE):
            found = embed(things[start : start + AT_ONCE]).float()
            rows.append(torch.nn.functional.normalize(found, dim=1).numpy())
    return np.concatenate(rows)

