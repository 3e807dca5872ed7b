"""NVML's answers, by a stand-in for the library: no GPU here hides or doubles processes."""

import os
import sys
import time
from types import SimpleNamespace

import pytest

from ldmopt.meters.cuda import NvmlProcess


class FakeNvml(SimpleNamespace):
    class NVMLError(Exception):
        pass

    def __init__(self, rows, uuids=("GPU-1",)):
        super().__init__(rows=rows, uuids=uuids)

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid.decode() not in self.uuids:
            raise self.NVMLError
        return uuid

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.rows

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle):
        return self.rows


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
