"""Conformance suites: what every knob, host and scorer must do, for ours and for yours.

Each ``check_...`` function raises AssertionError with what is wrong. Use them from your own
tests::

    from ldmopt.testing import check_knob, open_worker

    def test_my_knob():
        check_knob(open_worker("miniature", plugins=["my_module"]), "my_knob", "value")
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ldmopt import machine
from ldmopt.child.worker import Worker
from ldmopt.contracts import Block, Host, Picture, Plan, Scorer, Setting, Value
from ldmopt.errors import GenerationError, UserError
from ldmopt.knob import Choice, Context, Space, Stage, build_space
from ldmopt.model import describe

QUICK: Mapping[str, Value] = {"steps": 4, "guidance": 4.0, "sampler": "dpmpp_2m"}
"""What the suites run with where a knob does not say otherwise."""

BLOCK = Block("a small house under a yellow sun", 7)


def require(condition: object, words: str) -> None:
    """Raise AssertionError with words unless the condition holds; python -O changes nothing."""
    if not condition:
        raise AssertionError(words)


def open_worker(model: str = "miniature", device: str = "cpu",
                plugins: Sequence[str] = ()) -> Worker:
    """Return a worker in this very process, for looking at the pipeline that knobs change."""
    return Worker(describe(model), device, list(plugins))


def open_space(worker: Worker) -> Space:
    """Return the space of a worker's knobs, nothing searched."""
    context = Context(worker.model, worker.device, machine.packages())
    space = build_space(QUICK, {}, context)
    return Space(worker.knobs, {}, space.default,
                 frozenset(n for n, item in worker.knobs.items() if item.changes_picture), context)


def fingerprint(pipeline: Any, plan: Plan) -> dict[str, str]:
    """Describe each part of a pipeline that knobs can touch, and the call's arguments.

    Returns:
        ``pipeline``, ``weights``, ``scheduler``, ``attention``, ``compiled`` (networks that run
        compiled), ``memory_format`` (strides of all weights), ``vae.tiling``, ``vae.slicing``,
        ``hooks`` (of accelerate, on whole parts), ``reuse`` (modules whose forward is replaced),
        ``tokens`` (classes of the denoiser's modules), ``batch`` and ``call.NAME``, each as text
        that differs when the part differs.
    """
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    vae, scheduler = pipeline.vae, pipeline.scheduler
    networks = {"denoiser": denoiser, "vae": vae}
    modules = {f"{part}.{name}": module for part, network in networks.items()
               if hasattr(network, "named_modules") for name, module in network.named_modules()}
    own = {name: vars(module)["forward"] for name, module in modules.items()
           if "forward" in vars(module)}
    compiled = {name for name, call in own.items() if hasattr(call, "_torchdynamo_orig_callable")}
    strides = [item.stride() for network in networks.values() if hasattr(network, "parameters")
               for item in network.parameters()]
    found = {
        "pipeline": type(pipeline).__name__,
        "weights": str(getattr(denoiser, "dtype", "")),
        "scheduler": f"{type(scheduler).__name__} "
                     f"{json.dumps(dict(scheduler.config), sort_keys=True, default=str)}"
                     f"{[name for name, item in vars(scheduler).items() if callable(item)]}",
        "attention": _processors(denoiser) + _processors(vae),
        "compiled": str(sorted(compiled)),
        "memory_format": hashlib.sha256(str(strides).encode()).hexdigest(),
        "vae.tiling": str(getattr(vae, "use_tiling", None)),
        "vae.slicing": str(getattr(vae, "use_slicing", None)),
        "hooks": str([(name, type(module._hf_hook).__name__)
                      for name, module in modules.items() if hasattr(module, "_hf_hook")]),
        "reuse": str(sorted(set(own) - compiled)),
        "tokens": str(sorted((name, type(module).__name__) for name, module in modules.items()
                             if name.startswith("denoiser"))),
        "batch": str(plan.batch),
    }
    return found | {f"call.{name}": str(value) for name, value in plan.call.items()}


def _processors(network: Any) -> str:
    kinds = getattr(network, "attn_processors", {})
    return str([(name, type(item).__name__, getattr(item, "slice_size", None))
                for name, item in kinds.items()])


def check_knob(worker: Worker, name: str, value: Value) -> None:
    """Hold one value of a knob against the contract.

    It applies (a picture results), changes just the parts that it says it touches (see
    `fingerprint`, and ``calls``: how many network calls of each kind and steps a picture took),
    restores the pipeline exactly (also when the picture fails), and changes the picture if and
    only if it says so. A value that is refused must be refused with a reason.

    Raises:
        AssertionError: it does not, with the words what.
    """
    space = open_space(worker)
    item = space.knobs[name]
    enabling = item.enabling(space.default)
    base = space.canonical(enabling)
    setting = space.canonical({**enabling, name: value})
    reason = space.refusal(setting)
    if reason is not None:
        require("\n" not in reason and len(reason) > 10, f"{name}={value}: refused without reason")
        return
    require(setting.get(name) == value, f"{name}={value} does not act in {setting}")
    before = _made(worker, base)
    during = _made(worker, setting)
    touched = {part for part, text in during.parts.items() if before.parts.get(part) != text}
    touched |= {part for part in before.parts if part not in during.parts}
    require(not touched - item.touches - _follows(item.touches),
            f"{name}={value} says it touches {set(item.touches)} but changed {touched}")
    if base == setting:
        return
    require(touched & item.touches, f"{name}={value} changed nothing that it says it touches")
    same = before.picture.shape == during.picture.shape and np.array_equal(
        before.picture, during.picture)
    require(not (item.changes_picture and same), f"{name}={value} left the picture as it was")
    if item.stage is Stage.EDIT:
        _check_restored(worker, base, setting, before)


def _follows(touches: frozenset[str]) -> set[str]:
    """Return parts that change of themselves: another runtime has other networks."""
    networks = {"weights", "attention", "memory_format", "vae.tiling", "vae.slicing", "tokens"}
    return networks if "pipeline" in touches else set()


class _Made:
    """A picture, and the pipeline's parts while it was made."""

    def __init__(self, picture: np.ndarray[Any, Any], parts: dict[str, str]) -> None:
        self.picture = picture
        self.parts = parts


def _made(worker: Worker, setting: Setting) -> _Made:
    plan = worker.prepare(setting)
    with worker.edited(plan):
        pixels, cost = worker.call(plan, BLOCK)
        counts = {kind: call.count for kind, call in cost.calls_by_kind.items()}
        return _Made(pixels, {**fingerprint(worker.pipeline, plan), "calls": str(counts)})


def _check_restored(worker: Worker, base: Setting, setting: Setting, before: _Made) -> None:
    class Deliberate(Exception):
        """Raised inside the edits."""

    plan = worker.prepare(setting)
    try:
        with worker.edited(plan):
            raise Deliberate
    except Deliberate:
        after = _made(worker, base)
    require(after.parts == before.parts, f"{setting} was not restored: {after.parts}")
    require(np.array_equal(after.picture, before.picture),
            f"the picture of {base} changed after {setting} was tried")


def knob_values(name: str) -> list[Value]:
    """Return the values of a knob that a suite should try: all named ones, or a few numbers."""
    tries: dict[str, list[Value]] = {
        "steps": [1, 7], "guidance": [1.0, 9.0], "size": ["64x64", "96x64"], "batch": [2, 3],
        "guidance_end": [0.5], "rescale": [0.7], "eta": [0.5], "deepcache": [3],
        "token_merging": [0.5],
    }
    from ldmopt.knob import all_knobs

    domain = all_knobs()[name].space
    return list(domain.values) if isinstance(domain, Choice) else tries[name]


def check_host(host: Host, setting: Setting, impossible: Setting) -> None:
    """Hold a host against the contract.

    Args:
        host: open; it is closed here, twice.
        setting: one that gives pictures.
        impossible: one that gives none.

    Raises:
        AssertionError: what is wrong.
    """
    blocks = [Block("a house", 1), Block("a house", 2)]
    first = list(host.generate(setting, blocks))
    again = list(host.generate(setting, blocks))
    digests = [picture.digest for picture, _ in first]
    require(digests == [picture.digest for picture, _ in again], "the same block, another picture")
    require(digests[0] != digests[1], "two seeds, the same picture")
    for picture, cost in first:
        require(picture.block in blocks, "a picture of a block that nobody asked for")
        require(cost.seconds > 0 and cost.network_evaluations > 0, "nothing was metered")
        require(abs(sum(cost.seconds_by_phase.values()) - cost.seconds) < 1e-6,
                "phases do not sum to the seconds")
        decoded = Picture.from_png(picture.png, picture.block)
        require(decoded.digest == picture.digest, "the PNG holds other pixels")
    try:
        list(host.generate(impossible, blocks))
    except GenerationError as error:
        require(error.reason, "a failure without a reason")
    else:
        raise AssertionError(f"{impossible} gave pictures")
    require(len(list(host.generate(setting, blocks[:1]))) == 1, "unusable after a failure")
    memory = host.memory(setting)
    require(memory.peak_memory_bytes is not None and memory.baseline_bytes is not None,
            "no memory was read")
    host.close()
    host.close()


def check_scorer(scorer: Scorer, pictures: Sequence[Picture]) -> None:
    """Hold a scorer against the contract.

    Args:
        scorer: to be held.
        pictures: at least two different ones.

    Raises:
        AssertionError: what is wrong.
    """
    left, right = list(pictures), list(reversed(pictures))
    require(len(scorer.score(left)) == len(left), "not one score a picture")
    forth = [item.probability for item in scorer.compare(left, right)]
    back = [item.probability for item in scorer.compare(right, left)]
    require(all(0 <= value <= 1 for value in forth), "a probability outside [0, 1]")
    require(np.allclose(np.array(forth) + np.array(back), 1, atol=1e-9), "sides do not sum to 1")
    same = [item.probability for item in scorer.compare(left, left)]
    require(all(value == 0.5 for value in same), "a picture against itself must be 0.5")
    require(scorer.identity.get("digest"), "no digest of what judged")
    try:
        scorer.compare(left, right[:-1])
    except (UserError, ValueError):
        return
    raise AssertionError("lists of different lengths were compared")
