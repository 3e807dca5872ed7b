"""Stage 2, and the judge of prompts: a small network that names the factors in a picture.

It is trained on renders only and never sees a generated picture, so what it reads in one is
evidence. Renders are slightly blurred, shifted and made noisy in training, so that softness
alone does not mislead it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ldmopt.miniature.architecture import PICTURE_SIZE
from ldmopt.miniature.data import Data
from ldmopt.miniature.loop import Job, Recipe, train
from ldmopt.miniature.scenes import FACTORS

SIZES = [len(values) for values in FACTORS.values()]


class Network(nn.Module):
    """Five convolutions, then one linear head per factor over a 4 by 4 map."""

    def __init__(self, width: int) -> None:
        """Build the network; `width` is the number of channels of the first layer."""
        super().__init__()
        widths = [3, width, 2 * width, 3 * width, 4 * width, 4 * width]
        strides = (1, 2, 2, 2, 2)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=s, padding=1)
            for (a, b), s in zip(itertools.pairwise(widths), strides, strict=True)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(4, w) for w in widths[1:])
        self.head = nn.Linear(widths[-1] * 16, sum(SIZES))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the maps after each convolution; pictures `(n, 3, 64, 64)` in [-1, 1]."""
        maps, value = [], pictures
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            value = functional.silu(norm(convolution(value)))
            maps.append(value)
        return maps

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Return the logits of each factor, in the order of `FACTORS`."""
        logits: Tensor = self.head(self.features(pictures)[-1].flatten(1))
        return list(torch.split(logits.float(), SIZES, dim=1))


def as_tensor(pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return `(n, 3, h, w)` in [-1, 1] from `(n, h, w, 3)` uint8."""
    channels_first = torch.from_numpy(np.array(pictures)).to(device).permute(0, 3, 1, 2)
    return channels_first.float() / 127.5 - 1


def roughen(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Return pictures blurred, shifted and made noisy, each by its own small amount."""
    n, device = len(pictures), pictures.device
    amount = torch.rand(2, n, 1, 1, 1, generator=rng).to(device)
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    blurred = functional.avg_pool2d(padded, 3, stride=1)
    mixed = pictures + (blurred - pictures) * amount[0]
    shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
    moved = torch.roll(mixed, (shift[0], shift[1]), dims=(2, 3))
    noise = torch.randn(pictures.shape, generator=rng).to(device)
    return moved + 0.1 * amount[1] * noise


def fit(job: Job, data: Data, name: str = "classifier") -> Network:
    """Train a classifier and return it.

    Args:
        job: where checkpoints go.
        data: the training set.
        name: ``classifier``, the judge; or ``critic``, another one from another seed, whose maps
            the autoencoder has to match, so that the judge stays a stranger to the model.
    """
    torch.manual_seed(job.seed + (0 if name == "classifier" else 100))
    model = Network(job.scale.shape.classifier_width)
    labels = torch.from_numpy(data.labels)

    def loss(rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        chosen = torch.randint(0, len(labels), (job.scale.small_batch * 2,), generator=rng)
        pictures = roughen(as_tensor(data.pictures[chosen.numpy()], job.device), rng)
        truth = labels[chosen].to(job.device)
        with job.autocast():
            logits = model(pictures)
        parts = [functional.cross_entropy(x, truth[:, i]) for i, x in enumerate(logits)]
        right = [(x.argmax(1) == truth[:, i]).float().mean() for i, x in enumerate(logits)]
        return torch.stack(parts).sum(), dict(zip(FACTORS, right, strict=True))

    steps = job.scale.classifier_steps if name == "classifier" else job.scale.critic_steps
    train(job, Recipe(name, steps, 2e-3, 50), model, loss)
    return model


def to_size(pictures: Sequence[NDArray[np.uint8]], size: int = PICTURE_SIZE) -> NDArray[np.uint8]:
    """Return pictures of any sizes as `(n, size, size, 3)` uint8, resized where needed."""
    from PIL import Image

    same = []
    for picture in pictures:
        if picture.shape[:2] != (size, size):
            image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
            picture = np.asarray(image)
        same.append(picture)
    return np.stack(same)


class Classifier:
    """The trained classifier: pictures in, factors out."""

    def __init__(self, network: Network) -> None:
        """Keep a trained network."""
        self.network = network.eval()

    @torch.no_grad()
    def probabilities(
        self, pictures: Sequence[NDArray[np.uint8]]
    ) -> dict[str, NDArray[np.float32]]:
        """Return factor -> `(n, values)` probabilities, columns in the order of `FACTORS`.

        Args:
            pictures: uint8 RGB of any size; they are resized to 64 by 64.
        """
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(pictures), 256):
            batch = as_tensor(to_size(pictures[start : start + 256]), device)
            parts.append([x.softmax(1).cpu().numpy() for x in self.network(batch)])
        return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(FACTORS)}

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, str]]:
        """Return the most probable value of every factor, one dictionary a picture."""
        likely = {name: p.argmax(1) for name, p in self.probabilities(pictures).items()}
        return [
            {name: FACTORS[name][int(likely[name][i])] for name in FACTORS}
            for i in range(len(pictures))
        ]


def load(folder: Path | None = None) -> Classifier:
    """Return the classifier that lies beside the trained model.

    Args:
        folder: a model folder; the package's own unless given.
    """
    from safetensors.torch import load_file

    from ldmopt.miniature import folder as packaged

    weights = load_file((folder or packaged()) / "classifier" / "model.safetensors")
    network = Network(weights["convolutions.0.weight"].shape[0])
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return Classifier(network)
