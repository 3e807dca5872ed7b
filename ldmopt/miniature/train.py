"""Train the miniature from nothing: `python -m ldmopt.miniature.train --out FOLDER`.

Stages, in order: data, classifier, clip, critic, vae, latents, decoder, unet, model. Each keeps
a checkpoint in the work folder; kill the command at any moment, run it again, and it goes on.
Stages that do not need each other (clip beside vae, decoder beside unet) may run side by side
in processes of their own, each with `--only`.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ldmopt.miniature.autoencoder import Latents
    from ldmopt.miniature.classifier import Network
    from ldmopt.miniature.data import Data
    from ldmopt.miniature.loop import Job
    from ldmopt.miniature.towers import Pair

STAGES = ("data", "classifier", "critic", "clip", "vae", "latents", "decoder", "unet", "model")


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run every stage that is not done yet."""
    parser = argparse.ArgumentParser(prog="ldmopt.miniature.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model")
    parser.add_argument("--work", type=Path, default=Path(".cache/miniature"), help="checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="tiny scale: everything in a minute")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: as torch does)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--unet-steps", type=int, help="length of the last and longest stage")
    parser.add_argument("--only", choices=STAGES, help="run one stage and what it needs")
    given = parser.parse_args(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    run(
        given.out,
        given.work,
        given.seed,
        given.smoke,
        given.threads,
        given.device,
        given.unet_steps,
        given.only,
    )


def run(
    out: Path,
    work: Path,
    seed: int = 0,
    smoke: bool = False,
    threads: int = 0,
    device: str = "auto",
    unet_steps: int | None = None,
    only: str | None = None,
) -> None:
    """Run every stage that is not done yet and write the model folder.

    Args:
        out: folder of the finished model; its files are replaced one by one as they improve.
        work: folder of data and checkpoints; one per seed and scale.
        seed: of data, weights and batches.
        smoke: tiny scale, for tests.
        threads: CPU threads, 0 for torch's own choice.
        device: auto takes CUDA where there is one.
        unet_steps: another length of the UNet stage (its learning rate decays over it).
        only: one stage; by default the last, which needs all others.
    """
    import torch

    from ldmopt.miniature.loop import FULL_SCALE, SMOKE_SCALE, Job

    if threads:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    scale = SMOKE_SCALE if smoke else FULL_SCALE
    if unet_steps is not None:
        scale = dataclasses.replace(scale, unet_steps=unet_steps)
    work.mkdir(parents=True, exist_ok=True)
    job = Job(out, work, seed, scale, torch.device(device))
    job.say(f"training on {device} with {torch.get_num_threads()} threads, seed {seed}")

    stages = Stages(job)
    getattr(stages, only or "model")
    job.say(f"done: {only or job.out}")


class Stages:
    """Every stage by name; asking for one runs what it needs and is not done yet."""

    def __init__(self, job: Job) -> None:
        """Keep the job; nothing runs yet."""
        self.job = job

    @cached_property
    def data(self) -> Data:
        """Pictures, captions, labels, tokens."""
        from ldmopt.miniature import data

        return data.load(self.job)

    @cached_property
    def classifier(self) -> Network:
        """The network that names the factors in a picture."""
        from ldmopt.miniature import classifier

        return classifier.fit(self.job, self.data)

    @cached_property
    def critic(self) -> Network:
        """A second such network; the autoencoder has to match its maps."""
        from ldmopt.miniature import classifier

        return classifier.fit(self.job, self.data, "critic")

    @cached_property
    def clip(self) -> Pair:
        """The text and the image tower."""
        from ldmopt.miniature import towers

        return towers.fit(self.job, self.data)

    @cached_property
    def vae(self) -> Any:
        """Encoder and first decoder."""
        from ldmopt.miniature import autoencoder

        return autoencoder.fit(self.job, self.data, self.critic)

    @cached_property
    def latents(self) -> Latents:
        """The training pictures in the latent space."""
        from ldmopt.miniature import autoencoder

        return autoencoder.encode_all(self.job, self.data, self.vae)

    @cached_property
    def decoder(self) -> Any:
        """The autoencoder with its decoder trained on."""
        from ldmopt.miniature import autoencoder

        latents = self.latents  # made with the autoencoder before its decoder changes
        return autoencoder.refine_decoder(self.job, self.data, self.vae, self.critic, latents)

    @cached_property
    def unet(self) -> Any:
        """The denoiser; needs the latents, not the finished decoder."""
        from ldmopt.miniature import denoiser

        return denoiser.fit(self.job, self.data, self.clip, self.latents)

    @cached_property
    def model(self) -> Path:
        """The finished folder."""
        from ldmopt.miniature import export

        factor = self.latents.scaling_factor
        parts = export.Parts(self.classifier, self.clip, self.decoder, factor, self.unet)
        export.write(self.job, parts)
        return self.job.out


def _with_steady_memory() -> None:
    """Start again with a C allocator that keeps freed memory, where that is not so yet.

    Without this glibc returns every large array to the system and each step pays for fresh
    pages: on two cores half of the autoencoder's time went there.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        room = {
            "MALLOC_MMAP_THRESHOLD_": 1 << 33,
            "MALLOC_TRIM_THRESHOLD_": 1 << 34,
            "MALLOC_TOP_PAD_": 1 << 28,
        }
        os.environ.update({name: str(value) for name, value in room.items()})
        os.execv(sys.executable, [sys.executable, "-m", "ldmopt.miniature.train", *sys.argv[1:]])


if __name__ == "__main__":
    _with_steady_memory()
    main()
