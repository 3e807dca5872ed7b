"""Which sampler, which sigma schedule, how many steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Choice, Context, Number, Stage, knob
from ldmopt.model import Model


@dataclass(frozen=True)
class Sampler:
    """One row of the table of samplers.

    Attributes:
        scheduler: diffusers class.
        a1111: the name that A1111 and its forks use, without a schedule.
        flags: configuration that makes the class this sampler.
        takes_sigmas: whether the class offers karras, exponential and beta sigmas.
        needs: a package that the class does not work without.
    """

    scheduler: str
    a1111: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    takes_sigmas: bool = True
    needs: str | None = None


SAMPLERS: Mapping[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler", "DDIM", takes_sigmas=False),
    "ddpm": Sampler("DDPMScheduler", "DDPM", takes_sigmas=False),
    "euler": Sampler("EulerDiscreteScheduler", "Euler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", "Euler a", takes_sigmas=False),
    "heun": Sampler("HeunDiscreteScheduler", "Heun"),
    "dpmpp_2m": Sampler(
        "DPMSolverMultistepScheduler", "DPM++ 2M", {"algorithm_type": "dpmsolver++"}
    ),
    "dpmpp_2m_sde": Sampler(
        "DPMSolverMultistepScheduler", "DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"}
    ),
    "dpmpp_single": Sampler("DPMSolverSinglestepScheduler", "DPM++ 2S"),
    "dpmpp_sde": Sampler(
        "DPMSolverSDEScheduler", "DPM++ SDE", takes_sigmas=True, needs="torchsde"
    ),
    "unipc": Sampler("UniPCMultistepScheduler", "UniPC"),
    "deis": Sampler("DEISMultistepScheduler", "DEIS"),
    "pndm": Sampler("PNDMScheduler", "PLMS", {"skip_prk_steps": True}, takes_sigmas=False),
    "lms": Sampler("LMSDiscreteScheduler", "LMS"),
    "kdpm2": Sampler("KDPM2DiscreteScheduler", "DPM2"),
    "kdpm2_a": Sampler("KDPM2AncestralDiscreteScheduler", "DPM2 a"),
}
"""Every sampler by its slug; a test holds each row against diffusers' own signatures."""

SIGMAS: Mapping[str, Mapping[str, bool]] = {
    "default": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
"""Sigma schedules with the flag of each; they exclude each other."""

_FOREIGN = {row.a1111.lower(): slug for slug, row in SAMPLERS.items()} | {
    "k_euler": "euler", "k_heun": "heun", "k_lms": "lms", "k_euler_ancestral": "euler_a",
    "euler ancestral": "euler_a", "dpm++ 2s": "dpmpp_single", "dpm++ sde": "dpmpp_sde",
    "pndm": "pndm",
}


def slug_of(scheduler: str) -> str:
    """Return the slug of a diffusers scheduler class, or ``ddim`` for one that has no slug."""
    for slug, row in SAMPLERS.items():
        if row.scheduler == scheduler:
            return slug
    return "ddim"


def a1111_name(sampler: str, sigmas: str = "default") -> str:
    """Return the name that A1111 knows a sampler and its schedule by."""
    tail = "" if sigmas == "default" else f" {sigmas.capitalize()}"
    return SAMPLERS[sampler].a1111 + tail


def _accept_sampler(raw: object) -> dict[str, Value]:
    """Read A1111's and diffusers' names; ``DPM++ 2M Karras`` sets two knobs."""
    if not isinstance(raw, str):
        return {}
    text = " ".join(raw.split())
    for slug, row in SAMPLERS.items():
        if text == row.scheduler:
            return {"sampler": slug}
    lower, found = text.lower(), {}
    for name in SIGMAS:
        if lower.endswith(f" {name}"):
            lower, found = lower.removesuffix(f" {name}"), {"sigmas": name}
    slug = lower if lower in SAMPLERS else _FOREIGN.get(lower, "")
    return {"sampler": slug, **found} if slug else {}


def _refuse_sampler(value: Value, setting: Setting, context: Context) -> str | None:
    needs = SAMPLERS[str(value)].needs
    if needs and needs not in context.packages:
        return f"needs the package {needs}; install it or take another sampler"
    return None


@contextmanager
def _rebuilt(pipeline: Any, scheduler: str | None, flags: Mapping[str, Any]) -> Iterator[None]:
    """Swap the scheduler for one built from the current one's configuration, then swap back."""
    import diffusers

    before = pipeline.scheduler
    kind = type(before) if scheduler is None else getattr(diffusers, scheduler)
    pipeline.scheduler = kind.from_config(before.config, **flags)
    try:
        yield
    finally:
        pipeline.scheduler = before


@knob(
    space=Choice(tuple(SAMPLERS)),
    default=lambda model: slug_of(model.scheduler),
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"scheduler"},
    refuse=_refuse_sampler,
    accept=_accept_sampler,
)
def sampler(plan: Plan, value: str) -> None:
    """Which solver turns noise into a picture."""
    row = SAMPLERS[value]
    plan.edits.append(partial(_rebuilt, scheduler=row.scheduler, flags=row.flags))


@knob(
    space=Choice(tuple(SIGMAS)),
    default="default",
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"scheduler"},
    when={"sampler": [slug for slug, row in SAMPLERS.items() if row.takes_sigmas]},
)
def sigmas(plan: Plan, value: str) -> None:
    """How noise levels are spaced over the steps."""
    if value != "default":
        plan.edits.append(partial(_rebuilt, scheduler=None, flags=SIGMAS[value]))


def _default_steps(model: Model) -> Value:
    return model.steps


@knob(
    space=Number(1, 1000, whole=True),
    default=_default_steps,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.num_inference_steps"},
)
def steps(plan: Plan, value: int) -> None:
    """How many sampler steps; second-order samplers call the network more than once a step."""
    plan.call["num_inference_steps"] = value
