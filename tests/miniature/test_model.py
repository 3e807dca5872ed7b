"""The weights in the package: they open with plain diffusers and show what captions say."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ldmopt.miniature import classifier, folder, towers
from ldmopt.miniature.scenes import FACTORS, captions
from ldmopt.miniature.styles import render

pytestmark = pytest.mark.skipif(
    not (folder() / "unet").exists(), reason="the weights are not in this checkout"
)
PROMPTS = captions(12, seed=21, split="search")


@pytest.fixture(scope="module")
def pipe() -> Iterator[Any]:
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,
    )

    pipeline = StableDiffusionPipeline.from_pretrained(folder())
    pipeline.set_progress_bar_config(disable=True)
    yield pipeline


def generate(pipe: Any, **how: Any) -> list[np.ndarray]:
    import torch

    noise = [torch.Generator().manual_seed(i) for i in range(len(PROMPTS))]
    images = pipe([t for t, _ in PROMPTS], generator=noise, output_type="np", **how).images
    return list((images * 255).round().astype(np.uint8))


def accuracy(pictures: list[np.ndarray]) -> float:
    found = classifier.load()(pictures)
    hits = [f[n] == s.factors[n] for f, (_, s) in zip(found, PROMPTS, strict=True) for n in FACTORS]
    return float(np.mean(hits))


def test_pictures_show_what_the_captions_say(pipe: Any) -> None:
    pictures = generate(pipe, num_inference_steps=20, guidance_scale=4.0)
    assert pictures[0].shape == (64, 64, 3)
    assert accuracy(pictures) > 0.75
    noise = np.random.default_rng(0).integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    assert accuracy(list(noise)) < 0.45
    seen, text = (
        towers.load().embed_pictures(pictures),
        towers.load().embed_captions([t for t, _ in PROMPTS]),
    )
    own, other = (seen * text).sum(axis=1), (seen * np.roll(text, 1, axis=0)).sum(axis=1)
    assert own.mean() > other.mean() + 0.15


def test_attention_can_be_sliced_and_other_sizes_work(pipe: Any) -> None:
    before = generate(pipe, num_inference_steps=2)
    for slices in ("auto", "max"):
        pipe.enable_attention_slicing(slices)
        try:
            after = generate(pipe, num_inference_steps=2)
        finally:
            pipe.disable_attention_slicing()
        assert np.abs(np.stack(before).astype(int) - np.stack(after)).max() <= 2
    for size in (32, 48, 96):
        assert generate(pipe, num_inference_steps=1, height=size, width=size)[0].shape[0] == size


def test_the_package_holds_at_most_16_megabytes_and_no_pickle() -> None:
    files = [path for path in folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 16_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".txt", ".md"}


def test_the_judges_read_renders() -> None:
    pictures = [render(scene) for _, scene in PROMPTS]
    assert accuracy(pictures) > 0.95
    chances = classifier.load().probabilities(pictures)
    assert {name: p.shape for name, p in chances.items()} == {
        name: (len(PROMPTS), len(values)) for name, values in FACTORS.items()
    }
    own = towers.load().embed_pictures(pictures)
    assert own.shape == (len(PROMPTS), 128)
    assert np.allclose(np.linalg.norm(own, axis=1), 1, atol=1e-4)


def test_no_scheduler_built_from_the_saved_configuration_clips_latents(pipe: Any) -> None:
    import diffusers

    for name in ("DDIMScheduler", "DDPMScheduler"):
        config = getattr(diffusers, name).from_config(pipe.scheduler.config).config
        assert config.clip_sample is False and config.prediction_type == "v_prediction"
