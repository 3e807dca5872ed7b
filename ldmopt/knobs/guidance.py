"""How strongly, and for how long, the prompt steers the picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Above, Context, Number, Stage, knob
from ldmopt.parts import call_arguments

GUIDED = Above(1)
"""Guidance scales at which classifier-free guidance runs at all (GOTCHAS 11)."""


@knob(
    space=Number(0, 100),
    default=lambda model: model.guidance,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.guidance_scale", "calls"},
)
def guidance(plan: Plan, value: float) -> None:
    """Classifier-free guidance (CFG) scale; at 1 and below it is off and a step costs half."""
    plan.call["guidance_scale"] = value


def guided_calls(fraction: float, timesteps: int) -> int:
    """Return how many of a picture's network calls stay guided: the fraction, rounded up."""
    return math.ceil(round(fraction * timesteps, 6))


def _refuse_end(value: Value, setting: Setting, context: Context) -> str | None:
    if value == 1:
        return None
    if context.model.always_unguided:
        return "this model's network has its own guidance input, so CFG never runs; leave it at 1"
    taken = call_arguments(context.model)
    if "callback_on_step_end" not in taken or "true_cfg_scale" in taken:
        return f"{context.model.pipeline} cannot switch CFG off on the way; leave it at 1"
    return None


@contextmanager
def _told_the_names(pipeline: Any, names: list[str]) -> Iterator[None]:
    """Fill in what the pipeline offers a callback: some hold an unguided and a guided half."""
    names += pipeline._callback_tensor_inputs
    try:
        yield
    finally:
        names.clear()


@knob(
    space=Number(0.05, 1),
    default=1.0,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.callback_on_step_end", "call.callback_on_step_end_tensor_inputs", "calls"},
    when={"guidance": GUIDED},
    refuse=_refuse_end,
)
def guidance_end(plan: Plan, value: float) -> None:
    """Fraction of the steps after which CFG is off: the later steps cost half."""
    if value == 1:
        return
    names: list[str] = []

    def switch_off(
        pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        last = step + 1 == guided_calls(value, pipeline.num_timesteps)
        if not last or not pipeline.do_classifier_free_guidance:
            return {}
        pipeline._guidance_scale = 0.0
        both = 2 * len(tensors["latents"])
        return {name: tensor.chunk(2)[1] for name, tensor in tensors.items()
                if tensor is not None and len(tensor) == both}

    plan.edits.append(partial(_told_the_names, names=names))
    plan.call["callback_on_step_end"] = switch_off
    plan.call["callback_on_step_end_tensor_inputs"] = names


def _refuse_rescale(value: Value, setting: Setting, context: Context) -> str | None:
    if value != 0 and "guidance_rescale" not in call_arguments(context.model):
        return f"{context.model.pipeline} takes no guidance_rescale; leave it at 0"
    if value != 0 and context.model.always_unguided:
        return "this model's network has its own guidance input, so CFG never runs; leave it at 0"
    return None


@knob(
    space=Number(0, 1),
    default=0.0,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.guidance_rescale"},
    when={"guidance": GUIDED},
    refuse=_refuse_rescale,
)
def rescale(plan: Plan, value: float) -> None:
    """Guidance rescale: pulls over-exposed guided pictures back (Lin et al., 2305.08891)."""
    if value != 0:
        plan.call["guidance_rescale"] = value
