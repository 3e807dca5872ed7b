"""What `ldmopt doctor` says of machines that are in order, and of those that are not."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import ldmopt
from ldmopt import checkup, installed, machine
from ldmopt.cli import app


def problems(found):
    return {row["problem"]: row["install"] for row in found["problems"]}


def test_what_is_offered_is_what_studies_may_search():
    found = ldmopt.doctor()
    assert found["knobs"]["precision"]["fp32"] is None
    assert found["machine"]["packages"]["torch"] == machine.packages()["torch"]
    if found["machine"]["device"] == "cpu":
        assert "CPU" in found["knobs"]["precision"]["fp16"]
        assert "CUDA" in found["knobs"]["attention"]["xformers"]
        assert found["memory_meter"]["kind"] == "rss"
    assert {row["name"] for row in found["folders"]} == {"onnx exports", "hub cache", "here"}
    assert all(row["free_bytes"] > 0 for row in found["folders"])
    for name, values in found["knobs"].items():
        assert values, name


def test_a_missing_package_comes_with_its_line(monkeypatch):
    monkeypatch.setattr(installed, "installed", lambda name: None)
    rows = {row["package"]: row for row in installed.missing({}, "cuda")}
    assert rows["xformers"]["brings"] == "attention=xformers"
    # The versions that ldmopt asks for, and the very Python that runs.
    assert rows["xformers"]["install"] == f"{sys.executable} -m pip install 'xformers>=0.0.35'"
    assert rows["optimum-onnx"]["install"].endswith("'optimum-onnx==0.1.0'")
    assert "onnxruntime-gpu" in rows and "onnxruntime" not in rows
    on_cpu = {row["package"] for row in installed.missing({"torchsde": "1"}, "cpu")}
    assert "onnxruntime" in on_cpu and not {"xformers", "torchsde"} & on_cpu


def test_both_builds_of_onnx_runtime_are_a_problem(monkeypatch):
    assert not any("onnxruntime-gpu" in what for what in problems(ldmopt.doctor()))
    monkeypatch.setattr(machine, "both_onnx", lambda: True)
    [(what, line)] = [(w, i) for w, i in problems(ldmopt.doctor()).items() if "both" in w]
    assert "onnxruntime and onnxruntime-gpu" in what
    assert "uninstall -y onnxruntime onnxruntime-gpu && " in line


def test_xformers_built_for_another_torch_is_a_problem(monkeypatch):
    plain = installed.needs

    def needs(package):
        return [Requirement("torch==2.8.0"), Requirement("numpy")] if package == "xformers" else (
            plain(package))

    monkeypatch.setattr(installed, "needs", needs)
    found = {row["problem"]: row["install"] for row in installed.problems("cuda")}
    [what] = [what for what in found if what.startswith("xformers needs torch==2.8.0")]
    torch = machine.packages()["torch"]
    assert torch in what
    assert f"--upgrade xformers 'torch=={torch.partition('+')[0]}'" in found[what]
    monkeypatch.setattr(installed, "needs", lambda package: [Requirement("torch>=2.0")])
    assert not installed.problems("cuda")


def test_versions_of_extras_count_only_where_they_are_in_use(monkeypatch):
    have = {"torch": "2.13.0", "diffusers": "0.42.1"}
    asked = [Requirement("torch>=2.10"), Requirement("optuna>=5"),
             Requirement('optimum-onnx==0.1.0; extra == "onnx"'),
             Requirement('diffusers<0.40; extra == "onnx"')]
    monkeypatch.setattr(installed, "needs", lambda name: asked if name == "ldmopt" else [])
    monkeypatch.setattr(installed, "installed", have.get)
    assert [row["problem"] for row in installed.problems("cpu")] == [
        "ldmopt needs optuna>=5, which is not installed"]
    have |= {"optimum-onnx": "0.1.0", "optuna": "5.1"}
    assert [row["problem"] for row in installed.problems("cpu")] == [
        "ldmopt needs diffusers<0.40, but 0.42.1 is installed"]


@pytest.mark.parametrize(("build", "said", "word"), [
    ("2.13.0+cpu", "False", "build for the CPU"),
    ("2.13.0", "RuntimeError: driver too old", "driver too old"),
])
def test_a_gpu_that_torch_cannot_use_is_a_problem(monkeypatch, build, said, word):
    monkeypatch.setattr(machine, "likely_device", lambda wanted: "cuda")
    monkeypatch.setattr(checkup, "installed", lambda name: build)
    monkeypatch.setattr(checkup, "_torch_sees_cuda", lambda: said)
    [what] = [what for what in problems(ldmopt.doctor()) if "there is a GPU" in what]
    assert word in what


def test_a_kernel_that_forbids_resetting_the_peak_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(checkup, "CLEAR_REFS", tmp_path / "none" / "clear_refs")
    found = checkup._memory_meter("cpu", None)
    assert found["kind"] == "rss" and "cannot be written" in found["how"]


def test_folders_that_are_full_or_closed_are_problems(monkeypatch, tmp_path):
    cache = tmp_path / "closed" / "deep" / "cache"
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(checkup, "cache_folder", lambda: cache)
    monkeypatch.setattr(checkup.os, "access", lambda path, mode: Path(path) != cache.parent.parent)
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda path: SimpleNamespace(free=2e9))
    found = problems(ldmopt.doctor())
    assert f"onnx exports {cache} cannot be written" in found
    assert f"onnx exports {cache} has 2.0 GB free, less than 10" in found
    assert not cache.exists()


class FakeNvml(SimpleNamespace):
    class NVMLError(Exception):
        pass

    def __init__(self):
        rows = [SimpleNamespace(pid=os.getpid(), usedGpuMemory=5),
                SimpleNamespace(pid=1, usedGpuMemory=900)]
        super().__init__(
            nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: 1,
            nvmlDeviceGetHandleByIndex=lambda index: index,
            nvmlDeviceGetName=lambda handle: b"Some GPU", nvmlDeviceGetUUID=lambda handle: "GPU-1",
            nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=8e9, free=6e9),
            nvmlDeviceGetComputeRunningProcesses=lambda handle: rows,
            nvmlDeviceGetGraphicsRunningProcesses=self._hidden,
        )

    def _hidden(self, handle):
        raise self.NVMLError


def test_neighbours_on_the_gpu_are_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    found = ldmopt.doctor()
    [gpu] = found["gpus"]
    assert gpu["name"] == "Some GPU" and gpu["free_bytes"] == 6e9
    [what] = [what for what in problems(found) if "shared" in what]
    assert "process 1:" in what and str(os.getpid()) not in what


def test_without_nvml_there_are_no_gpus_to_tell_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert ldmopt.doctor()["gpus"] is None


def test_the_command_ends_with_zero_whatever_it_finds(monkeypatch):
    monkeypatch.setattr(machine, "both_onnx", lambda: True)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "problem: onnxruntime and onnxruntime-gpu are both installed" in result.stdout
    assert "  precision: fp32, bf16\n    not fp16: " in result.stdout or "cuda" in result.stdout
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["problems"]
