"""Where weights and activations lie, and in what pieces the picture is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Above, Choice, Context, Stage, knob
from ldmopt.knobs.canvas import parse_size
from ldmopt.model import Model
from ldmopt.parts import part_config

SWITCH = Choice(("off", "on"))


def _switched(name: str) -> Callable[[object], Mapping[str, Value]]:
    """Return what reads true and false as on and off."""
    words = {"true": "on", "false": "off"}

    def accept(raw: object) -> Mapping[str, Value]:
        word = words.get(str(raw).strip().lower())
        return {name: word} if word else {}

    return accept


def _refuse_channels_last(value: Value, setting: Setting, context: Context) -> str | None:
    if value == "on" and setting.get("offload") == "sequential":
        return "sequential offload keeps the weights elsewhere; take offload=model or none"
    return None


@contextmanager
def _channels_last(pipeline: Any) -> Iterator[None]:
    """Lay four-dimensional weights out with channels last; then each exactly as it was."""
    import torch

    networks = [getattr(pipeline, name, None) for name in ("unet", "transformer", "vae")]
    tensors = [item for network in networks if network is not None
               for item in (*network.parameters(), *network.buffers()) if item.dim() == 4]
    before = [item.stride() for item in tensors]
    try:
        for item in tensors:
            item.data = item.data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for item, stride in zip(tensors, before, strict=True):
            # Not contiguous(): a 1x1 kernel counts as contiguous in either layout.
            item.data = torch.empty_strided(
                item.shape, stride, dtype=item.dtype, device=item.device
            ).copy_(item.data)


@knob(
    space=SWITCH,
    default="off",
    stage=Stage.EDIT,
    changes_picture=False,
    touches={"memory_format"},
    when={"backend": ["torch"]},
    refuse=_refuse_channels_last,
    accept=_switched("channels_last"),
)
def channels_last(plan: Plan, value: str) -> None:
    """Memory layout of convolutions with channels last, which some hardware runs faster."""
    if value == "on":
        plan.edits.append(_channels_last)


@contextmanager
def _flag(pipeline: Any, name: str) -> Iterator[None]:
    before = getattr(pipeline.vae, name)
    setattr(pipeline.vae, name, True)
    try:
        yield
    finally:
        setattr(pipeline.vae, name, before)


@dataclass(frozen=True)
class LargerThan:
    """Picture sizes with a side longer than so many pixels."""

    side: int

    def __contains__(self, value: object) -> bool:
        """Tell whether a size as ``WIDTHxHEIGHT`` is one of them."""
        return isinstance(value, str) and max(parse_size(value)) > self.side

    def __iter__(self) -> Iterator[Value]:
        """Give one example."""
        yield f"{2 * self.side}x{self.side}"


def tile_side(model: Model) -> int | None:
    """Return the side in pixels of the VAE's tiles, or None for a model that has no VAE."""
    config = part_config(model, "vae")
    side = config.get("sample_size", 32 if config else None)
    return int(side[0] if isinstance(side, list) else side) if side else None


def tiled_sizes(model: Model) -> LargerThan | frozenset[Value]:
    """Return the sizes at which the VAE decodes in more than one tile."""
    side = tile_side(model)
    return LargerThan(side) if side else frozenset()


@knob(
    space=SWITCH,
    default="off",
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"vae.tiling"},
    when={"backend": ["torch"], "size": tiled_sizes},
    accept=_switched("vae_tiling"),
)
def vae_tiling(plan: Plan, value: str) -> None:
    """Decodes large pictures in overlapping tiles: less memory, but tones shift between tiles."""
    if value == "on":
        plan.edits.append(partial(_flag, name="use_tiling"))


@knob(
    space=SWITCH,
    default="off",
    stage=Stage.EDIT,
    changes_picture=False,
    touches={"vae.slicing"},
    when={"backend": ["torch"], "batch": Above(1)},
    accept=_switched("vae_slicing"),
)
def vae_slicing(plan: Plan, value: str) -> None:
    """Decodes the pictures of a batch one by one: less memory than all at once."""
    if value == "on":
        plan.edits.append(partial(_flag, name="use_slicing"))


def _refuse_offload(value: Value, setting: Setting, context: Context) -> str | None:
    if value == "none":
        return None
    if not context.device.startswith("cuda"):
        return "needs a CUDA device, whose memory it spares; take none"
    if "accelerate" not in context.packages:
        return "needs the package accelerate; install it or take none"
    return None


@knob(
    space=Choice(("none", "model", "sequential")),
    default="none",
    stage=Stage.LOAD,
    changes_picture=False,
    touches={"hooks"},
    when={"backend": ["torch"]},
    refuse=_refuse_offload,
)
def offload(plan: Plan, value: str) -> None:
    """Keeps weights in main memory until used: whole networks (model), or layer by layer."""
    if value != "none":
        plan.load["offload"] = value
