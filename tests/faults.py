"""A knob that breaks the pipeline on purpose: real faults for the tests, in a child process."""

import ctypes
import os
import resource
import signal
import time
from contextlib import contextmanager
from functools import partial, wraps

import numpy as np

from ldmopt.knob import Choice, Stage, knob

KINDS = (
    "none", "abort", "segfault", "killed", "hang", "slow", "nan", "black", "memory", "cuda memory",
    "raise",
)
EXPECTED = {
    "abort": "crash", "segfault": "crash", "killed": "out-of-memory", "hang": "deadline",
    "nan": "nan", "black": "black", "memory": "out-of-memory", "cuda memory": "out-of-memory",
    "raise": "error",
}
"""The kind of failure that each fault must become."""

SLOW_SECONDS = 0.3


@contextmanager
def _fault(pipeline, kind):
    decode = pipeline.vae.decode

    def broken(picture):
        decode(picture)
        if kind == "abort":
            os.abort()
        if kind == "segfault":
            ctypes.string_at(0)
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
            return picture
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(3600)
        if kind == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
            held = []
            while True:
                held.append(np.empty(2**26, dtype=np.uint8))
        if kind == "cuda memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        if kind == "raise":
            raise RuntimeError("shapes do not match")
        return np.full_like(picture, np.nan if kind == "nan" else 0.0)

    pipeline.vae.decode = broken
    try:
        yield
    finally:
        pipeline.vae.decode = decode


@knob(
    space=Choice(KINDS), default="none", stage=Stage.EDIT, changes_picture=True,
    touches={"vae"},
)
def fault(plan, value):
    """Breaks on purpose."""
    if value != "none":
        plan.edits.append(partial(_fault, kind=value))


@contextmanager
def _watched(pipeline, path):
    forward = pipeline.text_encoder.forward

    def watched(*args, **kwargs):
        with open(path, "a") as file:
            file.write(f"{args[0] if args else ''}\n")
        return forward(*args, **kwargs)

    pipeline.text_encoder.forward = watched
    try:
        yield
    finally:
        pipeline.text_encoder.forward = forward


@knob(
    space=Choice(("off", "on")), default="off", stage=Stage.EDIT, changes_picture=True,
    touches={"text"},
)
def watch(plan, value):
    """Writes each prompt that the stand-in is given to the file that WATCH_FILE names."""
    if value == "on":
        plan.edits.append(partial(_watched, path=os.environ["WATCH_FILE"]))


@contextmanager
def _poisoned(pipeline):
    step = pipeline.scheduler.step

    @wraps(step)
    def poisoned(*args, **kwargs):
        (latents, *rest) = step(*args, **kwargs)
        return (latents * float("nan"), *rest)

    pipeline.scheduler.step = poisoned
    try:
        yield
    finally:
        del pipeline.scheduler.step


@knob(
    space=Choice(("off", "on")), default="off", stage=Stage.EDIT, changes_picture=True,
    touches={"scheduler"},
)
def poison(plan, value):
    """Turns the latents of a real pipeline into NaN, as an overflow in half precision does."""
    if value == "on":
        plan.edits.append(_poisoned)


def _refuse_odd(value, setting, context):
    return "needs precision fp32" if value == "on" and setting["precision"] != "fp32" else None


@knob(
    space=Choice(("off", "on")), default="off", stage=Stage.EDIT, changes_picture=True,
    touches={"odd"}, refuse=_refuse_odd,
)
def choosy(plan, value):
    """Does nothing, and refuses to do it in half precision."""
