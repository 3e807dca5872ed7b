"""What this machine offers, what is missing, and the exact line that installs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ldmopt import machine
from ldmopt.hosts.onnx import cache_folder
from ldmopt.installed import Row, installed, missing, pip, problem, problems
from ldmopt.knob import (
    Context,
    Knob,
    Number,
    Size,
    Space,
    all_knobs,
    build_space,
    examples,
    refused,
)
from ldmopt.model import describe

CLEAR_REFS = Path("/proc/self/clear_refs")
LOW_DISK_BYTES = 10_000_000_000
"""An SDXL export to ONNX takes 7 GB in half precision."""

def doctor(model: str = "miniature") -> dict[str, Any]:
    """Look at this machine; nothing is changed, no picture is made.

    Args:
        model: what knobs are checked for; as in a study.

    Returns:
        JSON data: ``machine``; ``gpus``, None without NVML; ``memory_meter``; ``folders`` with
        free bytes; ``problems`` and ``missing``, each row with its ``install`` line or None; and
        ``knobs``: for each named value None where it can be had, else the reason.

    Raises:
        UserError: the model cannot be read.
    """
    device = machine.likely_device("auto")
    packages = machine.packages()
    context = Context(describe(model), device, packages)
    space = build_space({}, {}, context)
    torch_sees = _torch_sees_cuda() if device == "cuda" else None
    gpus = read_gpus()
    folders = [_folder(name, path) for name, path in _folders().items()]
    return {
        "machine": {**machine.describe("cpu"), "device": device, "driver": _driver()},
        "gpus": gpus,
        "memory_meter": _memory_meter(device, gpus),
        "folders": folders,
        "problems": [*problems(device), *_device_problems(device, torch_sees),
                     *_folder_problems(folders), *_gpu_problems(gpus)],
        "missing": missing(packages, device),
        "knobs": {name: _offer(item, space) for name, item in all_knobs().items()},
    }


def _offer(item: Knob, space: Space) -> dict[str, str | None]:
    """Return why each value cannot be had; a range stands for its far end."""
    if isinstance(item.space, Number):
        low, high = examples(item.space)
        return {f"{low} to {high}": refused(item, high, space)}
    if isinstance(item.space, Size):
        return {"WIDTHxHEIGHT": None}
    return {str(value): refused(item, value, space) for value in item.space.values}


def _device_problems(device: str, torch_sees: str | None) -> list[Row]:
    if device != "cuda" or torch_sees == "True":
        return []
    build = installed("torch") or "none"
    if build.endswith("+cpu"):
        return [problem(f"there is a GPU, but torch {build} is a build for the CPU",
                        pip("--force-reinstall", f"torch=={build.removesuffix('+cpu')}"))]
    return [problem(f"there is a GPU, but torch {build} cannot use it ({torch_sees}); check the "
                    "driver")]


def _torch_sees_cuda() -> str:
    """Ask torch in a process of its own, which may crash; return what it said last."""
    code = "import torch; print(torch.cuda.is_available())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False)
    said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return said[-1] if said else f"exit code {done.returncode}"


def _driver() -> str | None:
    """Return the NVIDIA driver's version, or None without one."""
    file = Path("/proc/driver/nvidia/version")
    if not file.exists():
        return None
    match = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", file.read_text(encoding="utf-8"))
    return match[1] if match else None


def read_gpus() -> list[dict[str, Any]] | None:
    """Return NVML's GPUs with memory and the processes on them, or None where NVML is not there."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i)
                   for i in range(pynvml.nvmlDeviceGetCount())]
        return [_gpu(pynvml, handle) for handle in handles]
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, handle: Any) -> dict[str, Any]:
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    used: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        try:
            rows = getattr(pynvml, f"nvmlDeviceGet{kind}RunningProcesses")(handle)
        except pynvml.NVMLError:
            continue
        used |= {row.pid: row.usedGpuMemory for row in rows}
    return {
        "name": _text(pynvml.nvmlDeviceGetName(handle)),
        "uuid": _text(pynvml.nvmlDeviceGetUUID(handle)),
        "total_bytes": memory.total,
        "free_bytes": memory.free,
        "processes": [{"pid": pid, "bytes": size} for pid, size in sorted(used.items())],
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _gpu_problems(gpus: list[dict[str, Any]] | None) -> list[Row]:
    """Processes that share a GPU disturb seconds, and their memory leaves less for ours."""
    found = []
    for gpu in gpus or ():
        others = [row["pid"] for row in gpu["processes"] if row["pid"] != os.getpid()]
        if others:
            found.append(problem(f"{gpu['name']} is shared with process "
                                 f"{', '.join(map(str, others))}: seconds will not be trusted "
                                 "while it works; end it or take another GPU"))
    return found


def _memory_meter(device: str, gpus: list[dict[str, Any]] | None) -> dict[str, str]:
    """Say what a peak will be read from here."""
    if device == "cuda":
        if gpus is None:
            return {"kind": "allocated", "how": "torch's allocator alone; ONNX Runtime's memory "
                    "is not seen without NVML"}
        return {"kind": "nvml", "how": "NVML for the process, torch's counters beside it"}
    try:
        CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError as error:
        reason = error.strerror or str(error)
        return {"kind": "rss", "how": "the process's highest resident bytes since its start: "
                f"{CLEAR_REFS} cannot be written ({reason}), so peaks may be read too high"}
    return {"kind": "rss", "how": f"resident bytes of the process, reset by {CLEAR_REFS}"}


def _folders() -> dict[str, Path]:
    hub = os.environ.get("HF_HUB_CACHE") or Path(
        os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface") / "hub"
    return {"onnx exports": cache_folder(), "hub cache": Path(hub), "here": Path.cwd()}


def _folder(name: str, path: Path) -> dict[str, Any]:
    """Return a folder's free bytes, and whether it, or its nearest parent, can be written."""
    there = path
    while not there.exists():
        there = there.parent
    return {"name": name, "path": str(path), "writable": os.access(there, os.W_OK | os.X_OK),
            "free_bytes": shutil.disk_usage(there).free}


def _folder_problems(folders: list[dict[str, Any]]) -> list[Row]:
    found = []
    for row in folders:
        if not row["writable"]:
            found.append(problem(f"{row['name']} {row['path']} cannot be written"))
        if row["free_bytes"] < LOW_DISK_BYTES:
            found.append(problem(f"{row['name']} {row['path']} has {row['free_bytes'] / 1e9:.1f} "
                                 f"GB free, less than {LOW_DISK_BYTES / 1e9:.0f}"))
    return found
