"""An execution knob whose values do what real kernels have done: nothing, harm, damage, faults."""

import os
from contextlib import contextmanager
from functools import partial

import numpy as np

from ldmopt.knob import Choice, Stage, knob


@contextmanager
def _kernel(pipeline, kind):
    decode = pipeline.vae.decode

    def changed(picture):
        made = decode(picture)
        if kind == "abort":
            os.abort()
        if kind == "memory":
            raise MemoryError("out of memory")
        noise = np.random.default_rng(0).normal(size=made.shape)
        amount = {"rounding": 0.002, "other": 0.3, "worse": 0.028}[kind]
        return np.clip(made + amount * noise, 0, 1)

    pipeline.vae.decode = changed
    try:
        yield
    finally:
        pipeline.vae.decode = decode


@knob(
    space=Choice(("plain", "same", "rounding", "other", "worse", "abort", "memory")),
    default="plain", stage=Stage.EDIT, changes_picture=False, touches={"vae"},
)
def kernel(plan, value):
    """Runs the last layer in another way."""
    if value not in ("plain", "same"):
        plan.edits.append(partial(_kernel, kind=value))


@knob(
    space=Choice(("off", "on")), default="off", stage=Stage.EDIT, changes_picture=False,
    touches={"vae"}, when={"kernel": ["other"]},
)
def fused(plan, value):
    """Acts with one kernel alone, and changes nothing there."""
