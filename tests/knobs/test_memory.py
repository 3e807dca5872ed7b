"""Layout of weights, pieces of the decoder, and weights kept elsewhere."""

import pytest

from ldmopt.contracts import Plan, Setting
from ldmopt.knob import Context, all_knobs, build_space
from ldmopt.knobs.memory import tile_side
from ldmopt.model import describe
from ldmopt.testing import open_space


def kernels(worker):
    networks = (worker.pipeline.unet, worker.pipeline.vae)
    return [item for network in networks for item in network.parameters() if item.dim() == 4]


@pytest.mark.real
def test_kernels_lie_with_channels_last_and_then_exactly_as_before(miniature):
    import torch

    space = open_space(miniature)
    miniature.prepare(space.default)
    before = [(item.stride(), item.clone()) for item in kernels(miniature)]
    assert any(item.shape[2:] == (1, 1) for item in kernels(miniature))
    with miniature.edited(miniature.prepare(space.canonical({"channels_last": "on"}))):
        assert all(item.is_contiguous(memory_format=torch.channels_last)
                   for item in kernels(miniature))
        assert any(item.stride() != stride
                   for item, (stride, _) in zip(kernels(miniature), before, strict=True))
    for item, (stride, values) in zip(kernels(miniature), before, strict=True):
        assert item.stride() == stride
        assert torch.equal(item, values)


def test_tiling_acts_beyond_one_tile_only():
    space = build_space({}, {}, Context(describe("miniature")))
    assert tile_side(space.context.model) == 64
    assert "vae_tiling" not in space.canonical({"vae_tiling": "on", "size": "64x64"})
    assert space.canonical({"vae_tiling": "on", "size": "72x64"})["vae_tiling"] == "on"
    assert "vae_tiling" not in build_space({}, {}, Context(describe("standin"))).default


def test_slicing_acts_beyond_one_picture_only():
    space = build_space({}, {}, Context(describe("miniature")))
    assert "vae_slicing" not in space.canonical({"vae_slicing": "on"})
    assert space.canonical({"vae_slicing": "on", "batch": 2})["vae_slicing"] == "on"


@pytest.mark.parametrize("name", ["channels_last", "vae_tiling", "vae_slicing"])
@pytest.mark.parametrize(("raw", "value"), [(True, "on"), ("false", "off"), ("on", "on")])
def test_true_and_false_are_read(name, raw, value):
    assert all_knobs()[name].parse(raw) == {name: value}


def test_nothing_of_torchs_acts_under_onnx():
    packages = {"onnxruntime": "1", "optimum-onnx": "1"}
    space = build_space({}, {}, Context(describe("miniature"), "cpu", packages))
    found = space.canonical({"backend": "onnx", "size": "128x128", "batch": 2})
    assert set(found) == {
        "backend", "batch", "guidance", "guidance_end", "precision", "rescale", "sampler", "size",
        "steps",
    }


def test_offload_decides_what_is_loaded_and_needs_a_gpu():
    offload = all_knobs()["offload"]
    plan = Plan()
    offload.apply(plan, "none")
    assert plan.load == {}
    offload.apply(plan, "model")
    assert plan.load == {"offload": "model"}
    model, packages = describe("miniature"), {"accelerate": "1"}
    assert "CUDA" in offload.refuse("model", Setting(), Context(model, "cpu", packages))
    assert "accelerate" in offload.refuse("model", Setting(), Context(model, "cuda", {}))
    assert offload.refuse("sequential", Setting(), Context(model, "cuda", packages)) is None


@pytest.mark.real
@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_an_offloaded_pipeline_is_not_moved(monkeypatch, kind):
    from diffusers import DiffusionPipeline

    from ldmopt.hosts.torch import load

    done = []
    for name in ("to", "enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(DiffusionPipeline, name,
                            lambda self, *args, name=name, **more: done.append((name, args, more)))
    load(describe("miniature"), {"offload": kind}, "cuda:0")
    assert done == [(f"enable_{kind}_cpu_offload", (), {"device": "cuda:0"})]


@pytest.mark.real
@pytest.mark.parametrize("kind", ["model", "sequential"])
def test_offloaded_pictures_are_those_of_the_gpu(kind):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from ldmopt.study.equivalence import decibels
    from ldmopt.testing import BLOCK, open_worker

    worker, made = open_worker(device="cuda"), []
    for value in ("none", kind):
        plan = worker.prepare(open_space(worker).canonical({"offload": value}))
        with worker.edited(plan):
            made.append(worker.call(plan, BLOCK)[0])
    assert decibels(*made) > 40
