"""The training loop that every stage shares: resumable, seeded, averaged, logged.

A checkpoint is one safetensors file: weights, their average, both AdamW moments, and the step
as text in its header. It is written beside and renamed, so a kill at any moment leaves the last
one whole. Randomness is drawn from a generator made for each step, so nothing else is kept.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ldmopt.miniature.architecture import FULL, SMOKE, Shape


@dataclass(frozen=True)
class Scale:
    """How much of everything: `FULL_SCALE` made the weights in the package."""

    shape: Shape
    pictures: int
    captions_each: int
    classifier_steps: int
    critic_steps: int
    clip_steps: int
    vae_steps: int
    decoder_steps: int
    unet_steps: int
    picture_batch: int
    small_batch: int
    large_batch: int
    save_seconds: float


FULL_SCALE = Scale(FULL, 64_000, 8, 500, 200, 900, 10_000, 10_000, 5_000, 8, 64, 192, 45.0)
SMOKE_SCALE = Scale(SMOKE, 96, 2, 8, 8, 8, 8, 8, 8, 4, 8, 16, 0.0)


@dataclass(frozen=True)
class Job:
    """Where a training runs and what it makes."""

    out: Path
    work: Path
    seed: int
    scale: Scale
    device: torch.device

    def say(self, text: str) -> None:
        """Print a line with the time and add it to the log in the work folder."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        print(line, flush=True)
        with open(self.work / "log.txt", "a", encoding="utf-8") as log:
            log.write(line + "\n")

    def generator(self, name: str, step: int) -> torch.Generator:
        """Return the source of randomness of one step of one stage."""
        digest = hashlib.sha256(f"{self.seed} {name} {step}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))

    def autocast(self) -> torch.autocast:
        """Return the context in which networks run in bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16)


def write_atomically(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write a safetensors file beside `path`, then rename it into place."""
    beside = path.with_name(path.name + ".part")
    save_file({k: v.detach().contiguous().cpu() for k, v in tensors.items()}, beside, header)
    beside.chmod(0o644)  # the library writes for the owner alone
    os.replace(beside, path)


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained: AdamW, linear warm-up, then cosine decay to a hundredth."""

    name: str
    steps: int
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    average: float = 0.998

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


Loss = Callable[[torch.Generator], tuple[Tensor, dict[str, Tensor]]]


class _State:
    """Weights, their average and the optimizer of one stage, with reading and writing."""

    def __init__(self, job: Job, recipe: Recipe, model: nn.Module) -> None:
        self.path = job.work / f"{recipe.name}.safetensors"
        self.job = job
        self.named: dict[str, Tensor] = {
            n: p for n, p in model.named_parameters() if p.requires_grad
        }
        self.average = {n: p.detach().clone() for n, p in self.named.items()}
        self.optimizer = torch.optim.AdamW(
            self.named.values(),
            lr=recipe.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.step = 0
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        with safe_open(self.path, "pt", device=str(self.job.device)) as file:
            self.step = int(file.metadata()["step"])
            for name, weight in self.named.items():
                weight.data.copy_(file.get_tensor(f"weight/{name}"))
                self.average[name].copy_(file.get_tensor(f"average/{name}"))
                if self.step:
                    self.optimizer.state[weight] = {
                        "step": torch.tensor(float(self.step)).to(self.job.device),
                        "exp_avg": file.get_tensor(f"first/{name}"),
                        "exp_avg_sq": file.get_tensor(f"second/{name}"),
                    }

    def write(self) -> None:
        tensors = {f"weight/{n}": p for n, p in self.named.items()}
        tensors |= {f"average/{n}": p for n, p in self.average.items()}
        for name, weight in self.named.items():
            moments = self.optimizer.state[weight]
            tensors[f"first/{name}"] = moments["exp_avg"]
            tensors[f"second/{name}"] = moments["exp_avg_sq"]
        write_atomically(self.path, tensors, {"step": str(self.step)})

    def follow(self, decay: float) -> None:
        """Move the average towards the weights; early on it follows faster."""
        share = 1 - min(decay, (1 + self.step) / (10 + self.step))
        old, new = list(self.average.values()), [p.detach() for p in self.named.values()]
        torch._foreach_lerp_(old, new, share)

    def use_average(self) -> None:
        for name, weight in self.named.items():
            weight.data.copy_(self.average[name])


def train(job: Job, recipe: Recipe, model: nn.Module, loss: Loss) -> None:
    """Train `model` in place and leave it with its averaged weights, in evaluation mode.

    Args:
        job: where checkpoints and the log go.
        recipe: optimizer and length; a finished stage returns at once.
        model: everything that learns.
        loss: takes the step's generator; returns the loss and figures for the log.
    """
    model.to(job.device).train()
    state = _State(job, recipe, model)
    if state.step:
        job.say(f"{recipe.name}: resumed at step {state.step} of {recipe.steps}")
    saved, logged, count = time.monotonic(), time.monotonic(), 0
    sums: dict[str, float] = {}
    while state.step < recipe.steps:
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.rate(state.step)
        value, figures = loss(job.generator(recipe.name, state.step))
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(state.named.values(), 1.0)
        state.optimizer.step()
        state.step += 1
        state.follow(recipe.average)
        for name, figure in {"loss": value, **figures}.items():
            sums[name] = sums.get(name, 0.0) + float(figure.detach())
        count += 1
        now, last = time.monotonic(), state.step == recipe.steps
        if now - logged > 20 or last:
            mean = " ".join(f"{n} {s / count:.4f}" for n, s in sums.items())
            pace = (now - logged) / count
            job.say(f"{recipe.name} {state.step}/{recipe.steps} {mean} ({pace:.3f} s a step)")
            logged, sums, count = now, {}, 0
        if now - saved > job.scale.save_seconds or last:
            state.write()
            saved = time.monotonic()
    state.use_average()
    model.eval()
