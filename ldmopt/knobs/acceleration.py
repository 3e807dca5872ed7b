"""Ways to compute less, or the same faster: compilation, and reuse between steps and tokens."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Choice, Context, Number, Stage, knob
from ldmopt.parts import part_config

GRAPHS = 256
"""Graphs of one network (a size, guided or not, a sampler's number format) kept at most."""


def _accept_compile(raw: object) -> Mapping[str, Value]:
    words = {"true": "default", "false": "off"}
    word = words.get(str(raw).strip().lower())
    return {"compile": word} if word else {}


def _refuse_compile(value: Value, setting: Setting, context: Context) -> str | None:
    if value == "off":
        return None
    if context.device.startswith("cuda"):
        if "triton" not in context.packages:
            return "needs the package triton; install it or take off"
    else:
        compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            return f"needs a C++ compiler, and there is no {compiler}; install it or take off"
    if setting.get("offload", "none") != "none":
        return "cannot be combined with offload, whose hooks move weights on every call"
    if setting.get("deepcache", 1) != 1:
        return "cannot be combined with deepcache, which takes another path in every call"
    if setting.get("token_merging", 0) != 0:
        return "cannot be combined with token_merging, which draws random numbers in every layer"
    return None


@contextmanager
def _compiled(pipeline: Any, mode: str) -> Iterator[None]:
    """Run the denoiser and the decoder through `torch.compile`; the modules stay as they are.

    Shapes are static, so that what a setting costs does not depend on what was tried before it.
    The compiled graphs stay in the process: a setting seen again compiles nothing.
    """
    import torch
    import torch._dynamo

    denoiser: Any = getattr(pipeline, "unet", None) or pipeline.transformer
    networks = [denoiser, pipeline.vae.decoder]
    before = [vars(item).get("forward") for item in networks]
    limits = torch._dynamo.config.patch(
        recompile_limit=GRAPHS, accumulated_recompile_limit=GRAPHS * 8,
        fail_on_recompile_limit_hit=True,
    )
    try:
        for item in networks:
            item.forward = _kept(torch.compile(item.forward, mode=mode, dynamic=False))
        with limits:
            yield
    finally:
        for item, own in zip(networks, before, strict=True):
            if own is None:
                del item.forward
            else:
                item.forward = own


def _kept(forward: Any) -> Any:
    """Copy what a compiled network returns: CUDA graphs write the next result over it."""
    import torch
    from torch.utils._pytree import tree_map

    @wraps(forward)
    def copied(*args: Any, **kwargs: Any) -> Any:
        if torch.cuda.is_available():
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return tree_map(lambda item: item.clone() if isinstance(item, torch.Tensor) else item,
                        forward(*args, **kwargs))

    return copied


@knob(
    space=Choice(("off", "default", "max-autotune")),
    default="off",
    stage=Stage.EDIT,
    changes_picture=False,
    touches={"compiled"},
    when={"backend": ["torch"]},
    refuse=_refuse_compile,
    accept=_accept_compile,
)
def compile(plan: Plan, value: str) -> None:
    """Compiles denoiser and decoder by torch.compile, in the warm-up: minutes for a new size."""
    if value != "off":
        plan.edits.append(partial(_compiled, mode=value))


def _refuse_library(package: str, value: Value, context: Context) -> str | None:
    if package not in context.packages:
        return f"needs the package {package}; install it with: pip install {package}"
    if "down_block_types" not in part_config(context.model, "unet"):
        return f"works on UNets, which {context.model.pipeline} has none of"
    return None


def _refuse_deepcache(value: Value, setting: Setting, context: Context) -> str | None:
    return None if value == 1 else _refuse_library("DeepCache", value, context)


class _Cache:
    """Says which network calls of a picture are computed whole; the others reuse the deep layers.

    A picture's first call is whole, then every `interval`-th one, and any whose batch is another
    than the last one's, where guidance has ended.
    """

    def __init__(self, pipeline: Any, interval: int) -> None:
        from DeepCache import DeepCacheSDHelper

        self.pipeline = pipeline
        self.interval = interval
        self.helper = DeepCacheSDHelper(pipe=pipeline)
        self.helper.set_params(cache_interval=interval, cache_branch_id=0)
        self.timesteps: Any = None
        self.since = 0
        self.batch = 0

    def reuses(self, sample: Any) -> bool:
        """Tell whether the next call will be a cheap one."""
        same = self.timesteps is self.pipeline.scheduler.timesteps
        return bool(same and self.batch == sample.shape[0] and self.since < self.interval)

    def forward(self, plain: Any, sample: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the network as the library has it, with our choice of calls."""
        cheap = self.reuses(sample)
        if not cheap:
            self.helper.cached_output.clear()
            self.since = 0
        self.timesteps, self.batch = self.pipeline.scheduler.timesteps, sample.shape[0]
        self.since += 1
        # The library counts calls from `start_timestep`, which is where it computes all.
        place = list(self.timesteps).index(timestep.item())
        self.helper.start_timestep = place - 1 if cheap else place
        return plain(sample, timestep, *args, **kwargs)


@contextmanager
def _cached(pipeline: Any, interval: int) -> Iterator[None]:
    unet = pipeline.unet
    before = [(module, vars(module).get("forward")) for module in unet.modules()]
    cache = _Cache(pipeline, interval)
    cache.helper.enable()
    unet.forward = partial(cache.forward, unet.forward)
    unet.reuses = cache.reuses
    try:
        yield
    finally:
        del unet.reuses
        # The library's own way back leaves a `forward` on every block.
        for module, own in before:
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own


@knob(
    space=Number(1, 10, whole=True),
    default=1,
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"reuse", "calls"},
    when={"backend": ["torch"]},
    refuse=_refuse_deepcache,
)
def deepcache(plan: Plan, value: int) -> None:
    """Computes the UNet's deep layers in every so many calls only; 1 is off (DeepCache)."""
    if value != 1:
        plan.edits.append(partial(_cached, interval=value))


def _refuse_merging(value: Value, setting: Setting, context: Context) -> str | None:
    return None if value == 0 else _refuse_library("tomesd", value, context)


@contextmanager
def _merged(pipeline: Any, ratio: float) -> Iterator[None]:
    import tomesd
    import torch

    unet = pipeline.unet
    # Merge where attention is finest; by default the library would leave SDXL as it is.
    finest = next(2**level for level, kind in enumerate(unet.config.down_block_types)
                  if "CrossAttn" in kind)
    before = {module: set(vars(module)) for module in unet.modules()}
    tomesd.apply_patch(unet, ratio=ratio, max_downsample=finest)
    arguments = unet._tome_info["args"]

    def seeded(module: Any, args: tuple[Any, ...]) -> None:
        """Draw anew in each call by its timestep, so that a picture is always the same one."""
        seed = int(args[1])
        arguments["generator"] = torch.Generator(args[0].device).manual_seed(seed)
        # The library draws for an even batch only, but a batch must not change its pictures.
        arguments["use_rand"] = pipeline.do_classifier_free_guidance

    hook = unet.register_forward_pre_hook(seeded)
    try:
        yield
    finally:
        hook.remove()
        tomesd.remove_patch(unet)
        for module, names in before.items():
            for name in set(vars(module)) - names:
                delattr(module, name)


@knob(
    space=Number(0, 0.75),
    default=0.0,
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"tokens"},
    when={"backend": ["torch"]},
    refuse=_refuse_merging,
)
def token_merging(plan: Plan, value: float) -> None:
    """Share of the attention's tokens that are merged in its finest layers; 0 is off (tomesd)."""
    if value != 0:
        plan.edits.append(partial(_merged, ratio=value))
