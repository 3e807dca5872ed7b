"""ONNX Runtime: exports that survive kills, and the pictures of torch for every sampler."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ldmopt import families, machine
from ldmopt.contracts import Block
from ldmopt.hosts import onnx
from ldmopt.knob import Context, build_space
from ldmopt.knobs.sampling import SAMPLERS
from ldmopt.model import describe
from ldmopt.testing import open_worker

BLOCK = Block("a small house under a yellow sun", 7)
KEPT = [slug for slug, row in SAMPLERS.items()
        if row.noise and (row.needs is None or row.needs in machine.packages())]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield onnx.cache_folder()


@pytest.fixture(scope="module")
def workers():
    return {backend: open_worker("miniature") for backend in ("torch", "onnx")}


def made(worker, **knobs):
    context = Context(worker.model, "cpu", machine.packages())
    setting = build_space({"size": "64x64", **knobs}, {}, context).default
    plan = worker.prepare(setting)
    with worker.edited(plan):
        return worker.calls(plan, [BLOCK])[0][0]


def psnr(one, other):
    error = np.mean((one.astype(float) - other) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


@pytest.mark.real
@pytest.mark.parametrize("sampler", KEPT)
def test_every_sampler_gives_the_pictures_of_torch(workers, sampler):
    asked = {"sampler": sampler, "steps": 4, "guidance": 4.0}
    pictures = [made(worker, backend=backend, **asked) for backend, worker in workers.items()]
    assert psnr(*pictures) > 40


@pytest.mark.real
@pytest.mark.parametrize("shape", ["sdxl", "sd21", "sd3", "flux"])
def test_other_families_take_the_same_path(shaped, shape):
    worker = open_worker(shaped(shape))
    pictures = [made(worker, backend=backend, steps=2) for backend in ("torch", "onnx")]
    assert type(worker.pipeline).__name__ == "ORT" + worker.model.pipeline
    assert psnr(*pictures) > 40


@pytest.mark.real
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_binding_leaves_the_latents_alone_with_guidance_off(workers, sampler, monkeypatch):
    asked = {"sampler": sampler, "steps": 4, "guidance": 1.0}
    wanted = made(workers["torch"], **asked)
    worker = workers["onnx"]
    made(worker, backend="onnx", **asked)
    folder = onnx.exported(worker.model, "fp32")
    plain = worker.pipeline
    try:
        worker.pipeline = onnx.open_pipeline(folder, "cpu", io_binding=True)
        assert worker.pipeline.unet.use_io_binding
        assert psnr(wanted, made(worker, backend="onnx", **asked)) > 40
        # The copy is what makes it so.
        monkeypatch.setattr(onnx, "_keep_input", lambda network: None)
        worker.pipeline = onnx.open_pipeline(folder, "cpu", io_binding=True)
        assert psnr(wanted, made(worker, backend="onnx", **asked)) < 40
    finally:
        worker.pipeline = plain


def start_export(cache):
    """Start an export in a process group of its own; return it once files are being written."""
    code = ("from ldmopt.hosts import onnx; from ldmopt.model import describe; "
            "print(onnx.exported(describe('miniature'), 'fp32'))")
    before = set(cache.glob("ldmopt/onnx/.half-*"))
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True,
                               env={**os.environ, "XDG_CACHE_HOME": str(cache)},
                               stdout=subprocess.PIPE, text=True)
    while not {path.parents[1] for path in cache.glob("ldmopt/onnx/.half-*/*/*.onnx")} - before:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.02)
    return process


def complete(cache):
    return [path for path in (cache / "ldmopt" / "onnx").iterdir() if path.name[0] != "."]


@pytest.mark.real
def test_export_killed_half_way(tmp_path, monkeypatch):
    process = start_export(tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert complete(tmp_path) == []
    assert list(tmp_path.glob("ldmopt/onnx/.half-*"))
    process = start_export(tmp_path)
    # Only the one that asked is killed: the export itself goes on and is whole in the end.
    process.kill()
    process.wait()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    onnx.exported.cache_clear()
    try:
        folder = onnx.exported(describe("miniature"), "fp32")
    finally:
        onnx.exported.cache_clear()
    assert complete(tmp_path) == [folder]
    assert not list(tmp_path.glob("ldmopt/onnx/.half-*"))
    assert onnx.open_pipeline(folder, "cpu").unet is not None


def test_halves_of_running_exports_are_left_alone(tmp_path):
    mine, running, killed = (tmp_path / name for name in ("mine", "running", "killed"))
    for target in (mine, running, killed):
        (tmp_path / f".half-{target.name}-x").mkdir()
    with onnx.locked(running, wait=False), onnx.locked(mine, wait=True):
        onnx.remove_halves(mine)
        assert [path.name for path in tmp_path.glob(".half-*")] == [".half-running-x"]
        with pytest.raises(BlockingIOError), onnx.locked(running, wait=False):
            pass
    with onnx.locked(mine, wait=False):
        onnx.remove_halves(mine)
    assert not list(tmp_path.glob(".half-*"))


@pytest.mark.real
def test_session_has_the_threads_of_torch():
    import torch

    options = onnx.session_options("cpu")
    assert options.intra_op_num_threads == torch.get_num_threads()
    assert not options.enable_cpu_mem_arena
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_cuda_provider_takes_memory_as_it_needs_it():
    provider, options = onnx.execution_provider("cuda:1")
    assert provider == "CUDAExecutionProvider"
    assert options["device_id"] == "1"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"


@pytest.mark.parametrize(
    ("device", "packages", "words"),
    [
        ("cpu", {}, "needs onnxruntime and optimum-onnx"),
        ("cuda", {"onnxruntime": "1", "optimum-onnx": "0"}, "onnxruntime-gpu"),
    ],
)
def test_refusal_names_what_is_missing(device, packages, words):
    context = Context(describe("miniature"), device, packages)
    space = build_space({}, {}, context)
    reason = space.refusal(space.default.replace({"backend": "onnx"}))
    assert words in reason and "ldmopt[onnx" in reason


@pytest.mark.real
def test_exportable_pipelines_are_those_of_the_package():
    from optimum.onnxruntime import ORTPipelineForText2Image

    names = {kind.auto_model_class.__name__
             for kind in ORTPipelineForText2Image.ort_pipelines_mapping.values()}
    assert names <= families.exportable()
