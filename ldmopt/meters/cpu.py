"""Wall seconds, and the resident bytes of this process: memory of kind ``rss``."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ldmopt.contracts import Cost, Meter
from ldmopt.meters import assemble

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class CpuMeter:
    """Times calls by the wall clock; reads memory from the kernel's own high-water mark."""

    def __init__(self) -> None:
        """Begin with nothing booked and no baseline."""
        self._booked: dict[str, list[float]] = defaultdict(list)
        self._began = 0.0
        self._baseline: int | None = None

    def start(self) -> None:
        """Begin a call of the pipeline."""
        self._booked.clear()
        self._began = time.perf_counter()

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Book the seconds spent inside under a kind of call."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._booked[kind].append(time.perf_counter() - began)

    def finish(self, batch: int = 1) -> Cost:
        """End the call and return the cost per picture."""
        return assemble(time.perf_counter() - self._began, self._booked, batch)

    def hold_baseline(self) -> None:
        """Remember what the process holds now: memory is read above it."""
        give_back_free_memory()
        self._baseline = resident_bytes()

    def reset_peak(self) -> None:
        """Forget the peak so far; see Linux' proc(5) on ``clear_refs``."""
        give_back_free_memory()
        if _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")

    def peak(self) -> Mapping[str, Any]:
        """Return the memory fields of a `Cost`."""
        baseline = self._baseline or 0
        return {
            "peak_memory_bytes": peak_resident_bytes() - baseline,
            "memory_kind": "rss",
            "baseline_bytes": baseline,
        }


def give_back_free_memory() -> None:
    """Return to the system what was freed but is still held, where the C library can.

    Else how much of it there happens to be decides how far the next allocation raises the
    resident bytes: one setting then reads differently from process to process.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Return the bytes that this process holds in memory now."""
    return _status("VmRSS") or peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Return the most bytes held since the start, or since the last reset where Linux has one."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(key: str) -> int:
    if not _STATUS.exists():
        return 0
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


_: type[Meter] = CpuMeter
