"""Pipelines on ONNX Runtime: exported once through optimum-onnx, then kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ldmopt.errors import GenerationError
from ldmopt.model import Model

PRELOAD = (
    "torch",
    "onnxruntime",
    "optimum.onnxruntime",
    "optimum.onnxruntime.modeling_diffusion",
    "transformers.models.clip.tokenization_clip",
)
LACKS = frozenset({"attention"})
"""A session is no torch module: enabling an attention kernel would silently do nothing."""


def cache_folder() -> Path:
    """Return where exports are kept: ``$XDG_CACHE_HOME/ldmopt/onnx`` or the like."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ldmopt" / "onnx"


@cache
def exported(model: Model, precision: str) -> Path:
    """Return the folder of the exported model; export it first where it is not in the cache.

    The key holds the model's digest, the precision and the versions that wrote the files. The
    export runs in a process of its own, into a temporary folder that is renamed when complete:
    a kill leaves no half export, and its memory is never booked to a picture. Remembered within
    a process, because the digest reads the whole model.

    Raises:
        GenerationError: the export failed; the last line of its output says why.
    """
    packages = ("optimum-onnx", "onnx", "torch", "diffusers")
    parts = [model.digest(), precision, *(f"{name}={version(name)}" for name in packages)]
    target = cache_folder() / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    half = tempfile.mkdtemp(dir=target.parent, prefix=".half-")
    command = [sys.executable, "-m", "ldmopt.hosts.onnx", model.folder, half, precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise GenerationError("error", f"ONNX export failed: {last}")
        if not target.is_dir():
            os.replace(half, target)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return target


def export(folder: str, target: str, precision: str) -> None:
    """Write a pipeline's ONNX files into an empty folder."""
    from optimum.exporters.onnx import main_export

    main_export(
        folder,
        output=target,
        task="text-to-image",
        dtype=precision,
        do_validation=False,
        no_post_process=True,
        local_files_only=True,
    )


def prepare(model: Model, plan: Mapping[str, Any]) -> None:
    """Export the model, where it is not in the cache."""
    exported(model, plan.get("precision", "fp32"))


def load(model: Model, plan: Mapping[str, Any], device: str) -> Any:
    """Return the model's pipeline with ONNX Runtime sessions in place of its networks.

    ONNX Runtime loads no safety checker, as for the torch engine.
    """
    from optimum.onnxruntime import ORTPipelineForText2Image

    folder = exported(model, plan.get("precision", "fp32"))
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    pipeline = ORTPipelineForText2Image.from_pretrained(folder, export=False, provider=provider)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def warm_libraries(device: str) -> None:
    """Page torch in, which still runs the sampler; a session cannot be made without a model."""
    import torch

    torch.ones(8, 8) @ torch.ones(8, 8)


if __name__ == "__main__":
    export(*sys.argv[1:4])
