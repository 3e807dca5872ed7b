"""What this machine is: read without importing torch, so that it can be asked at any time."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "ldmopt", "torch", "diffusers", "transformers", "accelerate", "optuna", "scikit-learn",
    "onnxruntime", "onnxruntime-gpu", "optimum-onnx", "xformers", "torchsde", "nvidia-ml-py",
    "triton", "DeepCache", "tomesd",
)
"""Packages that a knob may need, or that a result depends on."""


def cache_folder(part: str) -> Path:
    """Return where what can be made again is kept: ``$XDG_CACHE_HOME/ldmopt/<part>`` or the like.

    Args:
        part: what is kept, such as ``onnx`` or ``features``.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ldmopt" / part


def packages() -> dict[str, str]:
    """Return the version of each installed package of `PACKAGES`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "onnxruntime-gpu" in found:
        found.setdefault("onnxruntime", found["onnxruntime-gpu"])
    return found


def both_onnx() -> bool:
    """Tell whether both builds of ONNX Runtime are installed, which exclude each other."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            version(name)
        except PackageNotFoundError:
            return False
    return True


def likely_device(wanted: str) -> str:
    """Guess what ``auto`` will be, for errors that should come before any library is loaded."""
    if wanted != "auto":
        return wanted
    return "cuda" if Path("/dev/nvidia0").exists() else "cpu"


def memory_bytes() -> int | None:
    """Return the machine's main memory in bytes, or None where it cannot be told."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def describe(device: str) -> dict[str, Any]:
    """Return what a study records: device, its name and memory, system, versions.

    Args:
        device: ``cpu``, or a CUDA device that this process may touch.
    """
    facts: dict[str, Any] = {
        "device": device,
        "device_name": _processor(),
        "device_bytes": memory_bytes(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "packages": packages(),
    }
    if device.startswith("cuda"):
        import torch

        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "device_name": properties.name,
            "device_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return facts


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"
