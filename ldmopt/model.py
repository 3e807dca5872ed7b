"""What ldmopt knows of a model before loading it, read from its configuration files alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmopt.errors import UserError

STANDIN = "standin"
"""Name of the stand-in model: numpy pictures without any network, for tests of the machinery."""

CALL_DEFAULTS: Mapping[str, tuple[int, float]] = {
    "StableDiffusionPipeline": (50, 7.5),
    "StableDiffusionXLPipeline": (50, 5.0),
}
"""num_inference_steps and guidance_scale of each pipeline's call, as diffusers 0.39 has them."""


@dataclass(frozen=True)
class Model:
    """A model folder's facts.

    Attributes:
        name: what the user called it.
        folder: where its files are; empty for the stand-in.
        pipeline: diffusers pipeline class name.
        native_size: side in pixels that it was trained for.
        scale_factor: pixels per latent cell (8 for SD 1.5 and SDXL).
        latent_channels: channels of the latent.
        scheduler: class name of its own scheduler.
        steps: the pipeline's own number of steps.
        guidance: the pipeline's own guidance scale.
        always_unguided: the network has its own guidance input, so CFG never runs (GOTCHAS 11).
    """

    name: str
    folder: str
    pipeline: str
    native_size: int
    scale_factor: int
    latent_channels: int
    scheduler: str
    steps: int
    guidance: float
    always_unguided: bool = False

    def digest(self) -> str:
        """sha256 over every file's relative name and content, in name order."""
        whole = hashlib.sha256(self.name.encode() if not self.folder else b"")
        root = Path(self.folder)
        for path in sorted(root.rglob("*")) if self.folder else []:
            if path.is_file() and not path.name.startswith("."):
                whole.update(path.relative_to(root).as_posix().encode())
                with path.open("rb") as file:
                    whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()


def describe(model: str) -> Model:
    """Read a model's facts.

    Args:
        model: ``"miniature"``, a folder in diffusers' layout, or a hub id whose files are already
            in the local hub cache. Nothing is downloaded.

    Raises:
        UserError: the folder is missing or is not a text-to-image pipeline that is supported.
    """
    if model == STANDIN:
        return Model(STANDIN, "", "standin", 64, 8, 4, "PNDMScheduler", 50, 7.5)
    folder = _locate(model)
    index = _read(folder / "model_index.json", model)
    pipeline = str(index.get("_class_name"))
    if pipeline not in CALL_DEFAULTS:
        raise UserError(
            f"model {model!r} is a {pipeline}; supported are {', '.join(sorted(CALL_DEFAULTS))}; "
            "give a folder of one of these"
        )
    if not any(folder.rglob("*.safetensors")):
        raise UserError(
            f"model {model!r} has no .safetensors file; ldmopt loads no pickled weights: "
            "save it with safe_serialization=True"
        )
    unet = _read(folder / "unet" / "config.json", model)
    vae = _read(folder / "vae" / "config.json", model)
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    steps, guidance = CALL_DEFAULTS[pipeline]
    return Model(
        name=model,
        folder=str(folder),
        pipeline=pipeline,
        native_size=int(unet["sample_size"]) * factor,
        scale_factor=factor,
        latent_channels=int(vae["latent_channels"]),
        scheduler=str(index["scheduler"][1]),
        steps=steps,
        guidance=guidance,
        always_unguided=unet.get("time_cond_proj_dim") is not None,
    )


def _locate(model: str) -> Path:
    if model == "miniature":
        from ldmopt import miniature

        return Path(miniature.folder())
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model, local_files_only=True))
        except (LocalEntryNotFoundError, HFValidationError) as error:
            raise UserError(
                f"model {model!r} is neither a folder nor in the local hub cache; "
                f"fetch it once with: hf download {model}"
            ) from error
    raise UserError(
        f"model folder {model!r} does not exist; give 'miniature', a folder in diffusers' layout, "
        "or a hub id"
    )


def _read(path: Path, model: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"model {model!r} has no {path.name} in {path.parent.name or '.'}/; "
            "give a folder saved by diffusers' save_pretrained"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"model {model!r}: {path.name} is not valid JSON ({error}); save it anew"
        ) from error
    if not isinstance(data, dict):
        raise UserError(f"model {model!r}: {path.name} must be a JSON object; save it anew")
    return data
