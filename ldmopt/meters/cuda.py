"""Device seconds by CUDA events; memory by NVML for this process, beside torch's own counters.

NVML also tells the energy that the device took and whether other processes were on it.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ldmopt.contracts import Cost, Meter
from ldmopt.meters import assemble

POLL_SECONDS = 0.002
"""How often NVML is asked while a peak is being read."""


class CudaMeter:
    """Times calls by events on the current stream, read when the picture is done."""

    def __init__(self, device: str = "cuda") -> None:
        """Meter one CUDA device of this process."""
        import torch

        self._torch: Any = torch
        self._device = torch.device(device)
        self._pairs: list[tuple[str, Any, Any]] = []
        self._began: Any = None
        self._nvml = NvmlProcess(str(torch.cuda.get_device_properties(self._device).uuid))
        self._baseline: int | None = None
        self._joules_before: float | None = None

    def _mark(self) -> Any:
        event = self._torch.cuda.Event(enable_timing=True)
        event.record(self._torch.cuda.current_stream(self._device))
        return event

    def start(self) -> None:
        """Begin a call of the pipeline, with nothing queued before it."""
        self._pairs.clear()
        self._torch.cuda.synchronize(self._device)
        self._joules_before = self._nvml.joules()
        self._began = self._mark()

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Book the device seconds between two events under a kind of call."""
        began = self._mark()
        try:
            yield
        finally:
            self._pairs.append((kind, began, self._mark()))

    def finish(self, batch: int = 1) -> Cost:
        """Wait for the device and return the cost per picture."""
        ended = self._mark()
        self._torch.cuda.synchronize(self._device)
        joules, before = self._nvml.joules(), self._joules_before
        booked: dict[str, list[float]] = defaultdict(list)
        for kind, began, end in self._pairs:
            booked[kind].append(began.elapsed_time(end) / 1e3)
        cost = assemble(self._began.elapsed_time(ended) / 1e3, booked, batch)
        return replace(
            cost,
            joules=None if joules is None or before is None else (joules - before) / batch,
            foreign_processes=self._nvml.foreign_processes(),
        )

    def hold_baseline(self) -> None:
        """Remember what the process holds on the device now."""
        self._baseline = self._nvml.used_bytes()

    def reset_peak(self) -> None:
        """Forget the peaks so far, and begin to poll NVML."""
        self._torch.cuda.synchronize(self._device)
        self._torch.cuda.reset_peak_memory_stats(self._device)
        self._nvml.begin()

    def peak(self) -> Mapping[str, Any]:
        """Return the memory fields of a `Cost`: NVML's where it answers, else the allocator's."""
        self._torch.cuda.synchronize(self._device)
        allocated = self._torch.cuda.max_memory_allocated(self._device)
        reserved = self._torch.cuda.max_memory_reserved(self._device)
        polled = self._nvml.end()
        own = {"allocated_bytes": allocated, "reserved_bytes": reserved}
        if polled is None:
            return {"peak_memory_bytes": allocated, "memory_kind": "allocated",
                    "baseline_bytes": 0, **own}
        baseline = self._baseline or 0
        return {"peak_memory_bytes": polled - baseline, "memory_kind": "nvml",
                "baseline_bytes": baseline, **own}


class NvmlProcess:
    """This process on one GPU, which is found by UUID because ordinals differ (GOTCHAS 23)."""

    def __init__(self, uuid: str) -> None:
        """Find the GPU; without nvidia-ml-py, or without a driver, every answer is None."""
        self._handle: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._peak: int | None = None
        try:
            import pynvml
        except ImportError:
            return
        self._pynvml = pynvml
        full = uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(full.encode())
        except pynvml.NVMLError:
            self._handle = None

    def _processes(self) -> list[Any]:
        """Return NVML's rows of both kinds of process; one process may have a row in each."""
        if self._handle is None:
            return []
        rows: list[Any] = []
        for kind in ("Compute", "Graphics"):
            try:
                read = getattr(self._pynvml, f"nvmlDeviceGet{kind}RunningProcesses")
                rows += read(self._handle)
            except self._pynvml.NVMLError:
                continue
        return rows

    def used_bytes(self) -> int | None:
        """Return the bytes that NVML books to this process, or None where it hides them."""
        found = [row.usedGpuMemory for row in self._processes()
                 if row.pid == os.getpid() and row.usedGpuMemory is not None]
        return max(found) if found else None

    def foreign_processes(self) -> int | None:
        """Return how many other processes are on the GPU.

        None where NVML does not list this one: in a container its process ids are not ours, and
        nobody can be told from anybody.
        """
        ids = {row.pid for row in self._processes()}
        return len(ids) - 1 if os.getpid() in ids else None

    def joules(self) -> float | None:
        """Return what the whole GPU has taken since its driver was loaded, where it tells.

        Volta and later do; see NVML's ``nvmlDeviceGetTotalEnergyConsumption``, in millijoules.
        """
        if self._handle is None:
            return None
        try:
            return float(self._pynvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1e3
        except self._pynvml.NVMLError:
            return None

    def begin(self) -> None:
        """Start polling in a thread."""
        if self._handle is None:
            return
        self.end()
        self._stop.clear()
        self._peak = self.used_bytes()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def end(self) -> int | None:
        """Stop polling and return the peak, or None where NVML hides this process."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            self._see()
        return self._peak

    def _see(self) -> None:
        used = self.used_bytes()
        if used is not None:
            self._peak = max(used, self._peak or 0)

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._see()


_: type[Meter] = CudaMeter
