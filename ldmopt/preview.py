"""Answers without measuring: what a study would do, what this machine offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ldmopt import machine
from ldmopt.knob import Choice, Context, Knob, Number, Space, build_space
from ldmopt.model import describe
from ldmopt.study.spec import StudySpec, prompts_of, read_spec


def plan(study: StudySpec | str | Path) -> dict[str, Any]:
    """Return what a study would do.

    Raises:
        UserError: the study, model or machine cannot be used.
    """
    spec = study if isinstance(study, StudySpec) else read_spec(study)
    model = describe(spec.model)
    context = Context(model, machine.likely_device(spec.device), machine.packages())
    space = build_space(spec.default, spec.space, context, spec.plugins)
    search, confirm = prompts_of(spec)
    return {
        "study": spec.name,
        "model": f"{spec.model} ({model.pipeline}, native {model.native_size} px)",
        "device": context.device,
        "default": dict(space.default),
        "searched": {name: _domain(space, name) for name in space.searched},
        "search": spec.search,
        "pictures_per_trial": len(search) * spec.seeds,
        "held_out_pictures_per_recommendation": len(confirm) * spec.seeds,
        "budget": spec.budget.model_dump(exclude_none=True),
        "caps": spec.caps.model_dump(exclude_none=True),
    }


def _domain(space: Space, name: str) -> str:
    domain = space.searched[name]
    if isinstance(domain, Choice):
        return ", ".join(str(value) for value in domain.values)
    if isinstance(domain, Number):
        step = f" in steps of {domain.step:g}" if domain.step else ""
        return f"{domain.low:g} to {domain.high:g}{step}{' (log)' if domain.log else ''}"
    return "any size"


def doctor() -> dict[str, Any]:
    """Return what this machine offers: facts, problems, and each knob's values or refusals."""
    from ldmopt.knob import all_knobs

    device = machine.likely_device("auto")
    packages = machine.packages()
    context = Context(describe("miniature"), device, packages)
    space = build_space({}, {}, context)
    problems = []
    if "onnxruntime-gpu" in packages and machine.both_onnx():
        problems.append("onnxruntime and onnxruntime-gpu are both installed and exclude each "
                        "other; uninstall one")
    facts = {"device": device, **{k: v for k, v in machine.describe("cpu").items()
                                  if k != "device"}}
    return {
        "machine": facts,
        "problems": problems,
        "knobs": {name: _offer(item, space) for name, item in all_knobs().items()},
    }


def _offer(item: Knob, space: Space) -> str:
    if not isinstance(item.space, Choice):
        return item.help
    parts = []
    for value in item.space.values:
        reason = item.refuse(value, space.default, space.context) if item.refuse else None
        parts.append(f"{value} ({reason})" if reason else str(value))
    return ", ".join(parts)
