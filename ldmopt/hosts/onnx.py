"""Pipelines on ONNX Runtime: exported once through optimum-onnx, then kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ldmopt import machine
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
    return machine.cache_folder("onnx")


@cache
def exported(model: Model, precision: str) -> Path:
    """Return the folder of the exported model; export it first where it is not in the cache.

    The key holds the model's digest, the precision and the versions that wrote the files. The
    export runs in a process of its own, so its memory is never booked to a picture, into a
    temporary folder that it renames when complete: a kill of either process at any moment leaves
    no half export under the key. One process exports, others wait for its lock. Remembered within
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
    with locked(target, wait=True) as lock:
        remove_halves(target)
        if target.is_dir():
            return target
        half = tempfile.mkdtemp(dir=target.parent, prefix=f".half-{target.name}-")
        task = json.dumps([asdict(model), half, str(target), precision])
        # The export holds the lock too: should this process be killed, it finishes undisturbed.
        done = subprocess.run(
            [sys.executable, "-m", "ldmopt.hosts.onnx", task],
            capture_output=True, text=True, check=False, pass_fds=[lock],
        )
        if done.returncode:
            shutil.rmtree(half, ignore_errors=True)
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise GenerationError("error", f"ONNX export failed: {last}")
    return target


@contextmanager
def locked(target: Path, *, wait: bool) -> Iterator[int]:
    """Hold the lock of an export, which ends with the last process that holds it.

    Yields:
        The lock's file descriptor.

    Raises:
        BlockingIOError: another process holds it, and it is not to be waited for.
    """
    path = target.with_name(f".lock-{target.name}")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield descriptor
    finally:
        os.close(descriptor)


def remove_halves(held: Path) -> None:
    """Remove what killed exports left behind; those of processes still at it are left alone.

    Args:
        held: the export whose lock is held here.
    """
    for half in held.parent.glob(".half-*-*"):
        target = half.with_name(half.name.split("-")[1])
        with suppress(BlockingIOError), ExitStack() as stack:
            if target != held:
                stack.enter_context(locked(target, wait=False))
            shutil.rmtree(half, ignore_errors=True)


def export(model: Model, half: Path, target: Path, precision: str) -> None:
    """Write a pipeline's ONNX files into an empty folder, then give it its name."""
    from optimum.exporters.onnx import onnx_export_from_model

    from ldmopt.hosts import torch

    device = "cuda" if precision == "fp16" else "cpu"
    pipeline = torch.load(model, {"precision": precision}, device)
    onnx_export_from_model(
        pipeline, half, task="text-to-image", do_validation=False, no_post_process=True,
        device=device,
    )
    half.rename(target)


def prepare(model: Model, plan: Mapping[str, Any]) -> None:
    """Export the model, where it is not in the cache."""
    exported(model, plan.get("precision", "fp32"))


def load(model: Model, plan: Mapping[str, Any], device: str) -> Any:
    """Return the model's pipeline with ONNX Runtime sessions in place of its networks.

    ONNX Runtime loads no safety checker, as for the torch engine.
    """
    return open_pipeline(exported(model, plan.get("precision", "fp32")), device)


def open_pipeline(folder: Path, device: str, io_binding: bool | None = None) -> Any:
    """Return the pipeline of an exported folder.

    Args:
        folder: as `exported` gives it.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        io_binding: whether tensors stay on the device between calls; None for on a GPU only.
    """
    import diffusers
    from optimum.onnxruntime import ORTPipelineForText2Image

    diffusers.utils.logging.set_verbosity_error()
    # diffusers reads optimum's networks in a way that it warns of itself.
    warnings.filterwarnings("ignore", "Accessing config attribute", FutureWarning)
    provider, options = execution_provider(device)
    binding = device.startswith("cuda") if io_binding is None else io_binding
    pipeline = ORTPipelineForText2Image.from_pretrained(
        folder, export=False, provider=provider, provider_options=options,
        session_options=session_options(device), use_io_binding=binding, local_files_only=True,
    )
    network = pipeline.unet if pipeline.unet is not None else pipeline.transformer
    if binding:
        _keep_input(network)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def execution_provider(device: str) -> tuple[str, dict[str, str]]:
    """Return ONNX Runtime's provider for a device, and its options.

    Left alone, CUDA's arena grows by powers of two, and every new shape tries all convolution
    algorithms with as much workspace as each likes.
    """
    if not device.startswith("cuda"):
        return "CPUExecutionProvider", {}
    return "CUDAExecutionProvider", {
        "device_id": device.partition(":")[2] or "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }


def session_options(device: str) -> Any:
    """Return options of a session: as many threads as torch, and memory given back on a CPU.

    Threads stop spinning when a call ends, else they take the cores from the sampler between
    calls. The CPU's arena would keep the most that each of several sessions ever held.
    """
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_cpu_mem_arena = device.startswith("cuda")
    return options


def _keep_input(network: Any) -> None:
    """Give the network a copy of its sample, because bound it writes its output over its input.

    With guidance off that input is the very latents that the sampler goes on to use, for those
    samplers that do not scale it (GOTCHAS 21).
    """
    plain = network.forward

    @wraps(plain)
    def forward(*args: Any, **more: Any) -> Any:
        for name in {"sample", "hidden_states"} & set(more):
            more[name] = more[name].clone()
        return plain(*(one.clone() for one in args[:1]), *args[1:], **more)

    network.forward = forward


def warm_libraries(device: str) -> None:
    """Page torch in, which still runs the sampler; a session cannot be made without a model."""
    import torch

    torch.ones(8, 8) @ torch.ones(8, 8)


if __name__ == "__main__":
    facts, half, target, precision = json.loads(sys.argv[1])
    export(Model(**facts), Path(half), Path(target), precision)
