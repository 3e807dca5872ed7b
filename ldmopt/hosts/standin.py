"""A stand-in for a diffusion model: numpy pictures with no network, for tests of the machinery.

It runs every command in milliseconds a picture and has the shape of the real thing (more steps
help then stop helping, guidance has an inner best, samplers differ), but it is no diffusion model
and no figure that ldmopt reports comes from it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ldmopt.model import Model

PRELOAD = ("numpy", "PIL.Image", "PIL.PngImagePlugin")
LACKS = frozenset({
    "scheduler", "attention", "compiled", "memory_format", "vae.tiling", "vae.slicing", "hooks",
    "reuse", "tokens", "call.callback_on_step_end",
})
CALL_SECONDS = 0.0002
_HASTE = {"dpmpp_2m": 3.0, "unipc": 3.0, "heun": 4.0, "ddim": 6.0, "pndm": 6.0, "lms": 9.0}


class StandInPipeline:
    """Called like a diffusers pipeline; has the parts that a meter wraps."""

    def __init__(self, precision: str) -> None:
        """Take the precision, which changes what a call costs."""
        self.unet = SimpleNamespace(forward=self._wait)
        self.vae = SimpleNamespace(decode=lambda picture: picture)
        self.text_encoder = SimpleNamespace(forward=lambda prompt: prompt)
        self.scheduler = SimpleNamespace(step=lambda: None)
        self._seconds = CALL_SECONDS * (0.5 if precision == "bf16" else 1.0)

    def _wait(self, sample: np.ndarray[Any, Any]) -> None:
        time.sleep(self._seconds * sample.shape[0])

    def __call__(
        self, prompt: Sequence[str], seed: Sequence[int], setting: Mapping[str, Any], width: int,
        height: int, num_inference_steps: int, guidance_scale: float, **_: Any,
    ) -> Any:
        """Return an object whose ``images`` are height x width x 3 in [0, 1], one a prompt."""
        for text in prompt:
            self.text_encoder.forward(text)
        batch = len(prompt) * (2 if guidance_scale > 1 else 1)
        sample = np.zeros((batch, 4, height // 8, width // 8))
        for _step in range(num_inference_steps):
            self.unet.forward(sample)
            self.scheduler.step()
        damage = 0.25 * np.exp(-num_inference_steps / _HASTE.get(str(setting.get("sampler")), 5.0))
        damage += 0.004 * abs(guidance_scale - 4.0) + (0.05 if width != 64 else 0.0)
        return SimpleNamespace(images=[
            self.vae.decode(_picture(text, number, width, height, damage))
            for text, number in zip(prompt, seed, strict=True)
        ])


def _picture(
    prompt: str, seed: int, width: int, height: int, damage: float
) -> np.ndarray[Any, Any]:
    """Return waves that prompt and seed decide, under noise of this deviation."""
    key = hashlib.sha256(f"{prompt}\n{seed}".encode()).digest()
    random = np.random.default_rng(list(key))
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = random.uniform(2, 9, (3, 2))
    clean = [0.5 + 0.4 * np.sin(a * rows + b * columns) for a, b in waves]
    picture = np.stack(clean, axis=-1) + damage * random.normal(size=(height, width, 3))
    return np.clip(picture, 0, 1)


def prepare(model: Model, plan: Mapping[str, Any]) -> None:
    """Do nothing: there is nothing to be made beforehand."""


def load(model: Model, plan: Mapping[str, Any], device: str) -> StandInPipeline:
    """Return the stand-in."""
    return StandInPipeline(str(plan.get("precision", "fp32")))


def warm_libraries(device: str) -> None:
    """Do nothing: there is no library to page in."""
