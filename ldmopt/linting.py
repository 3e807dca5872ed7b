"""Checking a setting without running it: ours, or one written for plain diffusers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from ldmopt import machine
from ldmopt.contracts import Value
from ldmopt.errors import UserError, did_you_mean
from ldmopt.families import known
from ldmopt.knob import Context, Knob, build_space
from ldmopt.model import describe
from ldmopt.rules import RULES, Case

FACTS = frozenset({
    "add_watermarker", "algorithm_type", "cross_attention_kwargs", "cudnn_benchmark",
    "denoising_end", "device", "euler_at_final", "final_sigmas_type", "ip_adapter", "lora_scale",
    "negative_prompt", "pipeline", "prompt", "safety_checker", "seed", "timesteps", "to",
    "use_lu_lambdas",
})
"""Keys that are no knob of ours, but that rules look at, or that settings carry."""

LAST_WINS = ("attention", "offload", "sigmas")
"""Knobs that diffusers sets by several switches, each undoing or excluding the others."""

DTYPES = {"float32": "fp32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}

Reader = Callable[[Any], Mapping[str, Any]]


def _as(name: str, raw: Any) -> Mapping[str, Any]:
    return {name: raw}


def _if_on(name: str, value: str, raw: Any) -> Mapping[str, Any]:
    return {name: value} if raw else {}


def _dtype(raw: Any) -> Mapping[str, Any]:
    word = str(raw).removeprefix("torch.")
    return {"precision": DTYPES.get(word, word)}


def _sliced(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return {"attention": "sliced-auto", "slice_size": raw}
    return {"attention": "sliced-max" if raw == "max" else "sliced-auto"} if raw else {}


READERS: Mapping[str, Reader] = {
    "num_inference_steps": partial(_as, "steps"),
    "guidance_scale": partial(_as, "guidance"),
    "cfg_scale": partial(_as, "guidance"),
    "guidance_rescale": partial(_as, "rescale"),
    "scheduler": partial(_as, "sampler"),
    "sampler_name": partial(_as, "sampler"),
    "num_images_per_prompt": partial(_as, "batch"),
    "torch_dtype": _dtype,
    "dtype": _dtype,
    "use_karras_sigmas": partial(_if_on, "sigmas", "karras"),
    "use_exponential_sigmas": partial(_if_on, "sigmas", "exponential"),
    "use_beta_sigmas": partial(_if_on, "sigmas", "beta"),
    "enable_attention_slicing": _sliced,
    "enable_xformers_memory_efficient_attention": partial(_if_on, "attention", "xformers"),
    "enable_vae_tiling": partial(_if_on, "vae_tiling", "on"),
    "enable_vae_slicing": partial(_if_on, "vae_slicing", "on"),
    "enable_model_cpu_offload": partial(_if_on, "offload", "model"),
    "enable_sequential_cpu_offload": partial(_if_on, "offload", "sequential"),
    "torch_compile": partial(_if_on, "compile", "default"),
}
"""Keys of diffusers' own calls and methods, each read as values of knobs."""


def lint(
    setting: Mapping[str, object], *, model: str = "miniature", device: str = "auto"
) -> dict[str, Any]:
    """Check a setting without running it.

    Args:
        setting: knob values, or arguments and methods of a diffusers pipeline such as
            ``num_inference_steps`` and ``enable_vae_tiling``; ``pipeline`` names the class where
            the model is another than the one given, ``device`` where the setting is to run.
        model: as in a study.
        device: as in a study.

    Returns:
        ``setting``: canonical; ``ignored``: knobs that were given but do not act; ``findings``:
        one dictionary each with ``rule`` (an id), ``severity`` (``illegal``, ``ignored`` or
        ``harmful``), ``reason`` and ``fix``, the gravest first.

    Raises:
        UserError: an unknown key, a value that means nothing, or two that contradict each other.
    """
    case = _case(setting, model, str(setting.get("device", device)))
    findings = [
        {"rule": rule.name, "severity": rule.severity, "reason": reason, "fix": fix}
        for rule in RULES.values() for reason, fix in rule.find(case)
    ]
    gravity = ("illegal", "ignored", "harmful")
    return {
        "setting": dict(case.acting),
        "ignored": sorted(set(case.given) - set(case.acting)),
        "findings": sorted(findings, key=lambda item: gravity.index(item["severity"])),
    }


def _case(setting: Mapping[str, object], model: str, device: str) -> Case:
    described = describe(model)
    if "pipeline" in setting:
        name = str(setting["pipeline"])
        if name not in known():
            raise UserError(f"setting: pipeline {name!r} is no text-to-image pipeline of "
                            f"diffusers{did_you_mean(name, known())}")
        described = replace(described, pipeline=name)
    context = Context(described, machine.likely_device(device), machine.packages())
    space = build_space({}, {}, context)
    claims: dict[str, list[Value]] = defaultdict(list)
    facts: dict[str, object] = {}
    for key, raw in _spread(setting, described.native_size).items():
        for name, value in _read(key, raw, space.knobs, facts).items():
            if value not in claims[name]:
                claims[name].append(value)
    for name, values in claims.items():
        if len(values) > 1 and name not in LAST_WINS:
            raise UserError(f"setting: {name} is given as {values[0]} and as {values[1]}; "
                            "leave one out")
    given = {name: values[-1] for name, values in claims.items()}
    several = {name: values for name, values in claims.items() if len(values) > 1}
    return Case(space, given, space.canonical(given), several, facts)


def _spread(setting: Mapping[str, object], native: int) -> dict[str, object]:
    """Return the setting with width and height as one size."""
    found = {key: raw for key, raw in setting.items() if key not in ("width", "height")}
    if len(found) < len(setting):
        found["size"] = f"{setting.get('width', native)}x{setting.get('height', native)}"
    return found


def _read(
    key: str, raw: object, knobs: Mapping[str, Knob], facts: dict[str, object]
) -> dict[str, Value]:
    """Return the knob values that a key means; what is none of a knob's goes to the facts."""
    if key in FACTS:
        facts[key] = raw
        return {}
    if key not in knobs and key not in READERS:
        names = {*knobs, *READERS, *FACTS, "width", "height"}
        raise UserError(f"setting: unknown key {key!r}{did_you_mean(key, names)}")
    values: dict[str, Value] = {}
    for name, part in (READERS[key](raw) if key in READERS else {key: raw}).items():
        if name not in knobs:
            facts[name] = part
            continue
        try:
            values |= knobs[name].parse(part)
        except UserError as error:
            if name != "size":
                raise
            facts["impossible_size"] = error
    return values


def report(found: Mapping[str, Any]) -> str:
    """Return what `lint` found as text: a line each, or that there is nothing."""
    lines = [f"{item['severity']}: {item['reason']}. {item['fix'][:1].upper()}{item['fix'][1:]}. "
             f"[{item['rule']}]" for item in found["findings"]]
    return "\n".join(lines) or f"nothing to object to in {json.dumps(found['setting'])}"
