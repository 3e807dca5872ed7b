"""NVML's answers and CUDA's events, by stand-ins for the libraries: there is no GPU here.

What they show is that answers are combined rightly, not that a driver gives them.
"""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from ldmopt.meters.cuda import CudaMeter, NvmlProcess


class FakeNvml(SimpleNamespace):
    class NVMLError(Exception):
        pass

    def __init__(self, rows, uuids=("GPU-1",), millijoules=None):
        super().__init__(rows=rows, uuids=uuids, millijoules=millijoules)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if self.millijoules is None:
            raise self.NVMLError
        return self.millijoules

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid.decode() not in self.uuids:
            raise self.NVMLError
        return uuid

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        if self.rows is None:
            raise self.NVMLError
        return self.rows

    nvmlDeviceGetGraphicsRunningProcesses = nvmlDeviceGetComputeRunningProcesses


def row(used, pid=None):
    return SimpleNamespace(pid=pid or os.getpid(), usedGpuMemory=used)


@pytest.fixture
def nvml(monkeypatch):
    def install(rows, **more):
        fake = FakeNvml(rows, **more)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        return fake

    return install


def test_a_process_in_both_lists_counts_once_and_neighbours_do_not(nvml):
    nvml([row(7), row(900, pid=1)])
    assert NvmlProcess("1").used_bytes() == 7


def test_hidden_processes_are_unknown_not_zero(nvml):
    nvml([row(900, pid=1)])
    assert NvmlProcess("1").used_bytes() is None
    nvml([row(None)])
    assert NvmlProcess("1").used_bytes() is None


def test_another_gpu_is_not_read(nvml):
    nvml([row(7)], uuids=("GPU-2",))
    assert NvmlProcess("1").used_bytes() is None


def test_the_peak_between_begin_and_end_is_kept(nvml):
    fake = nvml([row(5)])
    process = NvmlProcess("GPU-1")
    process.begin()
    fake.rows = [row(50)]
    time.sleep(0.05)
    fake.rows = [row(6)]
    assert process.end() == 50


def test_without_the_package_nothing_is_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    process = NvmlProcess("1")
    process.begin()
    assert process.end() is None


def test_neighbours_are_counted_once_and_only_where_this_process_is_seen(nvml):
    nvml([row(7), row(900, pid=1), row(5, pid=2)])
    assert NvmlProcess("1").foreign_processes() == 2
    nvml([row(7)])
    assert NvmlProcess("1").foreign_processes() == 0
    nvml([row(900, pid=1)])
    assert NvmlProcess("1").foreign_processes() is None


def test_what_a_driver_refuses_is_unknown(nvml):
    nvml(None)
    process = NvmlProcess("1")
    assert process.used_bytes() is None
    assert process.foreign_processes() is None
    assert process.joules() is None


class FakeCuda:
    """A device whose clock goes on by what is asked of it, in seconds."""

    def __init__(self):
        self.clock = 0.0
        fake = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing

            def record(self, stream):
                self.at = fake.clock

            def elapsed_time(self, other):
                return (other.at - self.at) * 1e3

        self.Event = Event

    def get_device_properties(self, device):
        return SimpleNamespace(uuid="1")

    def synchronize(self, device):
        pass

    def current_stream(self, device):
        return None

    def reset_peak_memory_stats(self, device):
        pass

    def max_memory_allocated(self, device):
        return 100

    def max_memory_reserved(self, device):
        return 200


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake, device=str))
    return fake


def metered_call(meter, cuda, during, batch):
    meter.start()
    for kind, seconds in (("encode", 0.5), ("guided", 2.0), ("guided", 2.0), ("decode", 1.0)):
        with meter.timed(kind):
            cuda.clock += seconds
    cuda.clock += 0.5
    during()
    return meter.finish(batch)


def test_a_calls_events_joules_and_neighbours_are_per_picture(nvml, cuda):
    fake = nvml([row(7), row(900, pid=1)], millijoules=5_000)
    cost = metered_call(CudaMeter(), cuda, lambda: setattr(fake, "millijoules", 65_000), 4)
    assert cost.latency_seconds == pytest.approx(6.0)
    assert cost.seconds == pytest.approx(1.5)
    assert cost.seconds_by_phase == pytest.approx(
        {"encode": 0.125, "denoise": 1.0, "decode": 0.25, "other": 0.125})
    assert cost.calls_by_kind["guided"].count == 2
    assert cost.calls_by_kind["guided"].seconds == pytest.approx(1.0)
    assert cost.joules == pytest.approx(15.0)
    assert cost.foreign_processes == 1


def test_without_nvml_a_call_is_timed_and_memory_is_the_allocators(monkeypatch, cuda):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    meter = CudaMeter()
    meter.hold_baseline()
    meter.reset_peak()
    cost = metered_call(meter, cuda, lambda: None, 1)
    assert cost.seconds == pytest.approx(6.0)
    assert cost.joules is None and cost.foreign_processes is None
    assert meter.peak() == {
        "peak_memory_bytes": 100, "memory_kind": "allocated", "baseline_bytes": 0,
        "allocated_bytes": 100, "reserved_bytes": 200,
    }


def test_the_figure_is_nvmls_above_the_baseline(nvml, cuda):
    fake = nvml([row(50)])
    meter = CudaMeter()
    meter.hold_baseline()
    meter.reset_peak()
    fake.rows = [row(950)]
    fields = meter.peak()
    assert fields["memory_kind"] == "nvml"
    assert (fields["peak_memory_bytes"], fields["baseline_bytes"]) == (900, 50)
