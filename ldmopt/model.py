"""What ldmopt knows of a model before loading it, read from its configuration files alone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmopt import families, weights
from ldmopt.errors import UserError

STANDIN = "standin"
"""Name of the stand-in model: numpy pictures without any network, for tests of the machinery."""

LIBRARIES = ("diffusers", "transformers")
"""Where the classes of a pipeline's parts may come from; code in a model's folder is never run."""

LEFT_OUT = ("safety_checker",)
"""Parts that are never loaded: a picture blacked out would be scored, and they cost."""


@dataclass(frozen=True)
class Model:
    """A model folder's facts.

    Attributes:
        name: what the user called it.
        folder: where its files are; empty for the stand-in.
        pipeline: diffusers pipeline class name.
        native_size: side in pixels that it was trained for.
        scale_factor: what a side in pixels must be divisible by: the pixels of a latent cell (8
            for SD 1.5 and SDXL), times the side of a transformer's patch (so 16 for SD 3, Flux).
        scheduler: class name of its own scheduler.
        steps: the pipeline's own number of steps.
        guidance: the pipeline's own guidance scale.
        module: the module that holds the pipeline class; empty for the stand-in.
        prediction: what the network predicts: ``epsilon``, ``v_prediction``, ``sample``, or
            ``flow`` for the flow-matching families, which have samplers of their own.
        own_sigmas: the pipeline gives noise levels to its scheduler, which must take them.
        always_unguided: the network has its own guidance input, so CFG never runs (GOTCHAS 11).
        rounds_sizes: the pipeline would round sizes to a list of its own, unless told not to.
        variant: which of several sets of weight files is loaded, such as ``fp16``.
    """

    name: str
    folder: str
    pipeline: str
    native_size: int
    scale_factor: int
    scheduler: str
    steps: int
    guidance: float
    module: str = ""
    prediction: str = "epsilon"
    own_sigmas: bool = False
    always_unguided: bool = False
    rounds_sizes: bool = False
    variant: str | None = None

    @property
    def flow_matching(self) -> bool:
        """Whether it was trained by flow matching, and not to predict noise."""
        return self.prediction == "flow"

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
    """Read a model's facts, and check its files as far as that is cheap.

    Args:
        model: ``"miniature"``, a folder in diffusers' layout, or a hub id (``org/name``, or
            ``org/name@revision``) whose files are already in the local hub cache. Nothing is
            downloaded, and no code of the model's is run.

    Raises:
        UserError: the folder is missing, is not a text-to-image pipeline that can be driven, or
            lacks files that can be loaded.
    """
    if model == STANDIN:
        return Model(STANDIN, "", "standin", 64, 8, "PNDMScheduler", 50, 7.5)
    folder = locate(model)
    index = _read(folder / "model_index.json", model)
    pipeline = str(index.get("_class_name"))
    family = families.family(pipeline)
    misfit = "it is no text-to-image pipeline of diffusers" if family is None else family.misfit()
    if family is None or misfit:
        raise UserError(
            f"model {model!r} is a {pipeline}, which cannot be used: {misfit}; give a "
            "text-to-image model such as a StableDiffusionPipeline or StableDiffusionXLPipeline"
        )
    variant = _check_parts(model, folder, index, family.parts)
    denoiser = _read(folder / ("unet" if "unet" in family.parts else "transformer")
                     / "config.json", model)
    vae = _read(folder / "vae" / "config.json", model)
    scheduler = str(index["scheduler"][1])
    noise = _read(folder / "scheduler" / "scheduler_config.json", model)
    cell = _cell(vae, model)
    steps, guidance = (family.arguments[n] for n in ("num_inference_steps", "guidance_scale"))
    return Model(
        name=model,
        folder=str(folder),
        pipeline=pipeline,
        native_size=_native_size(denoiser, vae, cell, model),
        scale_factor=cell * _patch(denoiser, vae),
        scheduler=scheduler,
        steps=int(str(steps)),
        guidance=float(str(guidance)),
        module=family.module,
        prediction=_prediction(scheduler, noise),
        own_sigmas=family.own_sigmas,
        always_unguided="true_cfg_scale" in family.arguments
        or denoiser.get("time_cond_proj_dim") is not None
        or bool(denoiser.get("guidance_embeds")),
        rounds_sizes="use_resolution_binning" in family.arguments,
        variant=variant,
    )


def _cell(vae: Mapping[str, Any], model: str) -> int:
    """Return the pixels of a latent cell's side: each level of the VAE but the last halves."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    if not levels:
        raise UserError(f"model {model!r}: vae/config.json names no block_out_channels, so the "
                        "size of its latents is unknown; take a model with another VAE")
    return int(2 ** (len(levels) - 1))


def _patch(denoiser: Mapping[str, Any], vae: Mapping[str, Any]) -> int:
    """Return how many latent cells a transformer's patch has a side, packed ones included."""
    patch = denoiser.get("patch_size")
    patch = patch if isinstance(patch, int) else 1
    taken, given = denoiser.get("in_channels"), vae.get("latent_channels")
    if isinstance(taken, int) and isinstance(given, int) and taken > given:
        patch *= math.isqrt(taken // given)
    return patch


def _native_size(
    denoiser: Mapping[str, Any], vae: Mapping[str, Any], cell: int, model: str
) -> int:
    """Return the side that the network's configuration names, else the VAE's."""
    cells, pixels = denoiser.get("sample_size"), vae.get("sample_size")
    side = cells * cell if isinstance(cells, int) else pixels
    if not isinstance(side, int):
        raise UserError(f"model {model!r}: neither its network nor its VAE names a sample_size, "
                        "so its native size is unknown; write it into vae/config.json")
    return side


def _prediction(scheduler: str, noise: Mapping[str, Any]) -> str:
    named = str(noise.get("prediction_type", "epsilon"))
    flow = scheduler.startswith("FlowMatch") or noise.get("use_flow_sigmas")
    return "flow" if flow or named == "flow_prediction" else named


def _check_parts(
    model: str, folder: Path, index: Mapping[str, Any], parts: frozenset[str]
) -> str | None:
    """Check every part that will be loaded; return the variant of their weights.

    Raises:
        UserError: a part is missing, wants code of its own, or has no sound weights.
    """
    if "scheduler" not in index:
        raise UserError(f"model {model!r}: model_index.json names no scheduler; save it anew "
                        "with save_pretrained")
    variants = set()
    for name in sorted(parts - set(LEFT_OUT)):
        entry = index.get(name)
        if not isinstance(entry, list) or entry[0] is None:
            continue
        library, kind = entry
        place = f"model {model!r}, {name}/"
        if library not in LIBRARIES:
            raise UserError(f"{place} is a {kind} of {library}: code that comes with a model is "
                            "never run; take a model made of diffusers' own parts")
        if not (folder / name).is_dir():
            raise UserError(f"{place} is missing; {way_out(model)}")
        if (folder / name / "config.json").exists():
            variants.add(weights.find(folder / name, place)[1])
        elif "okenizer" in kind and not kind.endswith("Fast"):
            _check_tokenizer(folder / name, place, kind)
    return next((variant for variant in variants if variant), None)


def _check_tokenizer(folder: Path, place: str, kind: str) -> None:
    """Refuse a sentencepiece tokenizer where its package is missing."""
    if any(folder.glob("*.model")) and importlib.util.find_spec("sentencepiece") is None:
        raise UserError(f"{place} is a {kind}, which needs the package sentencepiece; "
                        "install it with: pip install sentencepiece")


def way_out(model: str) -> str:
    """Return how a model with missing files is made whole."""
    name, _, revision = model.partition("@")
    if Path(model).expanduser().exists() or name.count("/") != 1 or name.startswith((".", "/")):
        return "give a folder saved by diffusers' save_pretrained"
    pinned = f" --revision {revision}" if revision else ""
    return f"fetch it with: hf download {name}{pinned}"


def locate(model: str) -> Path:
    """Return the folder that holds a model's files.

    Raises:
        UserError: it is not on this machine; says how to fetch it.
    """
    if model == "miniature":
        from ldmopt import miniature

        return Path(miniature.folder())
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if is_hub_id(model):
        cached = hub_folder(model)
        if cached is None:
            raise UserError(
                f"model {model!r} is neither a folder nor in the local hub cache, and nothing is "
                f"downloaded unasked; {way_out(model)}"
            )
        return cached
    raise UserError(
        f"model folder {model!r} does not exist; give 'miniature', a folder in diffusers' layout, "
        "or a hub id"
    )


def is_hub_id(name: str) -> bool:
    """Tell whether a name has the form of a hub id, ``org/name`` or ``org/name@revision``."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def hub_folder(name: str) -> Path | None:
    """Return the folder of a hub id in the local hub cache, or None; nothing is downloaded.

    Args:
        name: ``org/name``, or ``org/name@revision``.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    plain, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(plain, revision=revision or None, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _read(path: Path, model: str) -> dict[str, Any]:
    place = path.parent.name if path.name != "model_index.json" else "."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"model {model!r} has no {path.name} in {place}/; {way_out(model)}"
                        ) from error
    except ValueError as error:
        raise UserError(
            f"model {model!r}: {path.name} of {place}/ is not valid JSON ({error}); save it anew"
        ) from error
    if not isinstance(data, dict):
        raise UserError(f"model {model!r}: {path.name} must be a JSON object; save it anew")
    return data
