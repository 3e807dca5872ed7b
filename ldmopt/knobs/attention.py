"""Which attention kernel runs: one knob, because the last setter wins (GOTCHAS 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Choice, Context, Stage, knob


def _refuse(value: Value, setting: Setting, context: Context) -> str | None:
    if value == "xformers":
        if not context.device.startswith("cuda"):
            return "needs a CUDA device; take sdpa"
        if "xformers" not in context.packages:
            return "needs the package xformers; install ldmopt[cuda]"
    if value != "sdpa" and context.model.flow_matching:
        return "does not know the joint attention of flow-matching transformers; take sdpa"
    return None


def _networks(pipeline: Any) -> list[Any]:
    """Return the networks with plain attention; some transformers have a kind of their own."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    parts = [getattr(pipeline, name, None) for name in ("unet", "transformer", "vae")]
    plain = (AttnProcessor, AttnProcessor2_0)
    return [part for part in parts if part is not None and hasattr(part, "set_attn_processor")
            and all(isinstance(kind, plain) for kind in part.attn_processors.values())]


@contextmanager
def _attention(pipeline: Any, kind: str) -> Iterator[None]:
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    networks = _networks(pipeline)
    before = [dict(network.attn_processors) for network in networks]
    try:
        for network in networks:
            network.set_attn_processor(AttnProcessor() if kind == "eager" else AttnProcessor2_0())
        if kind.startswith("sliced-"):
            pipeline.enable_attention_slicing(kind.removeprefix("sliced-"))
        elif kind == "xformers":
            pipeline.enable_xformers_memory_efficient_attention()
        yield
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(dict(processors))


@knob(
    space=Choice(("sdpa", "eager", "sliced-auto", "sliced-max", "xformers")),
    default="sdpa",
    stage=Stage.EDIT,
    changes_picture=False,
    touches={"attention"},
    when={"backend": ["torch"]},
    refuse=_refuse,
)
def attention(plan: Plan, value: str) -> None:
    """Which attention kernel: PyTorch's fused one, plain, sliced, or xformers."""
    plan.edits.append(partial(_attention, kind=value))
