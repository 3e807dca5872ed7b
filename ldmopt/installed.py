"""Packages: which are missing, which do not fit together, and the exact line that mends it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, TypeAlias

from ldmopt import machine

Row: TypeAlias = dict[str, str | None]

WORTH_HAVING: Mapping[str, str] = {
    "optimum-onnx": "backend=onnx",
    "onnxruntime": "backend=onnx",
    "torchsde": "sampler=dpmpp_sde",
    "DeepCache": "deepcache",
    "tomesd": "token_merging",
}
CUDA_WORTH_HAVING: Mapping[str, str] = {
    "xformers": "attention=xformers",
    "nvidia-ml-py": "memory per process, joules and neighbours on the GPU (NVML)",
}
"""Packages with what each brings."""


def problem(what: str, install: str | None = None) -> Row:
    """Return one row of problems: what is wrong, and the line that mends it, where one does."""
    return {"problem": what, "install": install}


def pip(*wanted: str) -> str:
    """Return the line that installs these, with the very Python that runs."""
    shown = " ".join(f"'{one}'" if re.search(r"[<>=!~\[;]", one) else one for one in wanted)
    return f"{sys.executable} -m pip install {shown}"


def needs(package: str) -> list[Any]:
    """Return the requirements that an installed package states, extras' ones included."""
    from packaging.requirements import Requirement

    try:
        return [Requirement(line) for line in requires(package) or ()]
    except PackageNotFoundError:
        return []


def wanted(package: str) -> str:
    """Return a package as pip wants it, with the versions that ldmopt asks for."""
    for need in needs("ldmopt"):
        if need.name == package:
            return f"{need.name}{need.specifier}"
    return package


def missing(packages: Mapping[str, str], device: str) -> list[Row]:
    """Return what is not installed that would bring something here."""
    useful = {**WORTH_HAVING, **(CUDA_WORTH_HAVING if device.startswith("cuda") else {})}
    rows: list[Row] = []
    for name, brings in useful.items():
        if name in packages or installed(name):
            continue
        chosen = name
        if name == "onnxruntime" and device.startswith("cuda"):
            chosen = "onnxruntime-gpu"
        rows.append({"package": chosen, "brings": brings, "install": pip(wanted(chosen))})
    return rows


def installed(name: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def problems(device: str) -> list[Row]:
    """Return what does not fit: ONNX Runtime twice, ldmopt's own needs, xformers with torch."""
    found = []
    if machine.both_onnx():
        chosen = "onnxruntime-gpu" if device.startswith("cuda") else "onnxruntime"
        found.append(problem(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files: "
            "uninstall both, then install one",
            f"{sys.executable} -m pip uninstall -y onnxruntime onnxruntime-gpu && "
            + pip(wanted(chosen)),
        ))
    found += _misfits("ldmopt", _in_use(needs("ldmopt")))
    found += _misfits("xformers", [need for need in needs("xformers") if need.name == "torch"])
    return found


def _in_use(needed: list[Any]) -> list[Any]:
    """Leave out requirements of extras whose first package is not installed."""
    extras: dict[str, str] = {}
    for need in needed:
        for extra in re.findall(r"extra == [\"']([^\"']+)", str(need.marker or "")):
            extras.setdefault(extra, need.name)
    used = {"", *(extra for extra, first in extras.items() if installed(first))}
    return [need for need in needed if need.marker is None
            or any(need.marker.evaluate({"extra": extra}) for extra in used)]


def _misfits(owner: str, needed: Iterable[Any]) -> list[Row]:
    """Return packages that are not, or not in the version, that their user asks for."""
    found: dict[str, Row] = {}
    for need in needed:
        have = installed(need.name)
        if have is None and need.marker is None:
            found[need.name] = problem(f"{owner} needs {need}, which is not installed",
                                       pip(str(need)))
        elif have is not None and not need.specifier.contains(have, prereleases=True):
            line = pip(f"{need.name}{need.specifier}")
            if owner == "xformers":
                # torch is the bigger thing to change: pip finds the xformers that goes with it.
                line = pip("--upgrade", "xformers", f"torch=={have.partition('+')[0]}")
            found[need.name] = problem(f"{owner} needs {need.name}{need.specifier}, but {have} "
                                       "is installed", line)
    return list(found.values())
