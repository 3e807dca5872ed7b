"""A genuine Stable Diffusion in at most 16 MB: its weights, its pictures, its training.

Importing this package loads neither torch nor diffusers; the modules below do when called.

- `scenes`: captioned pictures, the prompt set "scenes" (`scenes.captions`).
- `classifier`: names the factors in a picture (`classifier.load`).
- `towers`: image-text similarity (`towers.load`).
- `train`: `python -m ldmopt.miniature.train` makes the weights from nothing.
"""

from pathlib import Path

__all__ = ["folder"]


def folder() -> Path:
    """Return the folder of the trained model, which `StableDiffusionPipeline` opens."""
    return Path(__file__).parent / "model"
