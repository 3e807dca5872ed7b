"""Which sampler, which sigma schedule, how many steps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Choice, Context, Number, Stage, knob
from ldmopt.model import Model
from ldmopt.parts import call_arguments, part_config


@dataclass(frozen=True)
class Sampler:
    """One row of the table of samplers.

    Attributes:
        scheduler: diffusers class.
        a1111: the name that A1111 and its forks use, without a schedule.
        flags: configuration that makes the class this sampler.
        takes_sigmas: whether the class offers karras, exponential and beta sigmas.
        takes_timesteps: whether the class can be given timesteps.
        takes_eta: whether the class adds as much noise as an eta says.
        needs: a package that the class does not work without.
        noise: whether it solves models that predict noise (or velocity); those are most.
        flow: whether it solves models trained by flow matching.
        fits_levels: whether it works in a flow-matching pipeline that gives levels of its own.
    """

    scheduler: str
    a1111: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    takes_sigmas: bool = True
    takes_timesteps: bool = False
    takes_eta: bool = False
    needs: str | None = None
    noise: bool = True
    flow: bool = False
    fits_levels: bool = True


SAMPLERS: Mapping[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler", "DDIM", takes_sigmas=False, takes_eta=True),
    "ddpm": Sampler("DDPMScheduler", "DDPM", takes_sigmas=False, takes_timesteps=True),
    "euler": Sampler("EulerDiscreteScheduler", "Euler", takes_timesteps=True),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", "Euler a", takes_sigmas=False),
    "heun": Sampler("HeunDiscreteScheduler", "Heun", takes_timesteps=True),
    "dpmpp_2m": Sampler(
        "DPMSolverMultistepScheduler", "DPM++ 2M", {"algorithm_type": "dpmsolver++"},
        takes_timesteps=True, flow=True,
    ),
    "dpmpp_2m_sde": Sampler(
        "DPMSolverMultistepScheduler", "DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"},
        takes_timesteps=True,
    ),
    "dpmpp_single": Sampler(
        "DPMSolverSinglestepScheduler", "DPM++ 2S", takes_timesteps=True, flow=True
    ),
    "dpmpp_sde": Sampler(
        "DPMSolverSDEScheduler", "DPM++ SDE", takes_sigmas=True, needs="torchsde"
    ),
    "unipc": Sampler("UniPCMultistepScheduler", "UniPC", flow=True),
    "deis": Sampler("DEISMultistepScheduler", "DEIS", flow=True),
    "pndm": Sampler("PNDMScheduler", "PLMS", {"skip_prk_steps": True}, takes_sigmas=False),
    "lms": Sampler("LMSDiscreteScheduler", "LMS"),
    "kdpm2": Sampler("KDPM2DiscreteScheduler", "DPM2"),
    "kdpm2_a": Sampler("KDPM2AncestralDiscreteScheduler", "DPM2 a"),
    "flow_euler": Sampler(
        "FlowMatchEulerDiscreteScheduler", "Flow Euler", takes_timesteps=True, noise=False,
        flow=True,
    ),
    "flow_heun": Sampler(
        "FlowMatchHeunDiscreteScheduler", "Flow Heun", takes_sigmas=False, noise=False, flow=True,
        fits_levels=False,
    ),
}
"""Every sampler by its slug; a test holds each row against diffusers' own signatures."""

SIGMAS: Mapping[str, Mapping[str, bool]] = {
    "default": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "ays": {},
}
"""Sigma schedules with the flag of each; they exclude each other. Ays gives timesteps instead."""

AYS = {
    "StableDiffusionPipeline": "StableDiffusionTimesteps",
    "StableDiffusionXLPipeline": "StableDiffusionXLTimesteps",
}
"""Pipelines with a schedule of Align Your Steps, and its name in diffusers' `AysSchedules`."""

AYS_NOISE = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "num_train_timesteps": 1000, "rescale_betas_zero_snr": False,
}
"""The noise schedule that these timesteps mean."""

AYS_MOST_STEPS = 50
"""Beyond it, neighbours among the finest timesteps would be the same whole number."""

_FOREIGN = {row.a1111.lower(): slug for slug, row in SAMPLERS.items()} | {
    "k_euler": "euler", "k_heun": "heun", "k_lms": "lms", "k_euler_ancestral": "euler_a",
    "euler ancestral": "euler_a", "dpm++ 2s": "dpmpp_single", "dpm++ sde": "dpmpp_sde",
    "pndm": "pndm",
}


def slug_of(scheduler: str) -> str:
    """Return the slug of a diffusers scheduler class, or the plainest for one that has no slug."""
    for slug, row in SAMPLERS.items():
        if row.scheduler == scheduler:
            return slug
    return "flow_euler" if scheduler.startswith("FlowM") else "ddim"


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
    row, model = SAMPLERS[str(value)], context.model
    if row.needs and row.needs not in context.packages:
        return f"needs the package {row.needs}; install it or take another sampler"
    if model.flow_matching and not row.flow:
        return "solves models that predict noise, this one was trained by flow matching; " \
               "take flow_euler"
    if not model.flow_matching and not row.noise:
        return f"solves flow-matching models, and this one predicts {model.prediction}; take euler"
    if model.own_sigmas and not row.fits_levels:
        return f"takes no noise levels, and {model.pipeline} gives its own; take flow_euler"
    return None


def _flow_flags(before: Any, kind: Any) -> dict[str, Any]:
    """Return what lets a solver for noise models follow a flow-matching model's own schedule."""
    follows = "use_flow_sigmas" in inspect.signature(kind.__init__).parameters
    if not follows or not type(before).__name__.startswith("FlowMatch"):
        return {}
    return {"prediction_type": "flow_prediction", "use_flow_sigmas": True,
            "flow_shift": before.config.get("shift", 1.0)}


@contextmanager
def _rebuilt(pipeline: Any, scheduler: str | None, flags: Mapping[str, Any]) -> Iterator[None]:
    """Swap the scheduler for one built from the current one's configuration, then swap back."""
    import diffusers

    before = pipeline.scheduler
    kind = type(before) if scheduler is None else getattr(diffusers, scheduler)
    pipeline.scheduler = kind.from_config(before.config, **_flow_flags(before, kind), **flags)
    try:
        yield
    finally:
        pipeline.scheduler = before


@knob(
    space=Choice(tuple(SAMPLERS)),
    default=lambda model: slug_of(model.scheduler),
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"scheduler", "calls"},
    refuse=_refuse_sampler,
    accept=_accept_sampler,
)
def sampler(plan: Plan, value: str) -> None:
    """Which solver turns noise into a picture."""
    row = SAMPLERS[value]
    plan.edits.append(partial(_rebuilt, scheduler=row.scheduler, flags=row.flags))


def _refuse_sigmas(value: Value, setting: Setting, context: Context) -> str | None:
    noise = SAMPLERS[str(setting.get("sampler", "euler"))].noise
    if value != "default" and context.model.flow_matching and noise:
        return "spaces the levels of noise-predicting models, not flow matching's; take default"
    if value != "ays":
        return None
    if context.model.pipeline not in AYS:
        return f"is published for Stable Diffusion 1.5 and XL, not for {context.model.pipeline}"
    config = {"rescale_betas_zero_snr": False, **part_config(context.model, "scheduler")}
    other = [name for name, known in AYS_NOISE.items() if config.get(name) != known]
    if other:
        return (f"is for Stable Diffusion's noise schedule ({other[0]} {AYS_NOISE[other[0]]}), "
                f"this model has {config.get(other[0])}; take another")
    sampler = str(setting.get("sampler", "euler"))
    if not SAMPLERS[sampler].takes_timesteps:
        able = ", ".join(n for n, row in SAMPLERS.items() if row.takes_timesteps and row.noise)
        return f"needs a sampler that takes timesteps ({able}), not {sampler}"
    if int(setting.get("steps", 1)) > AYS_MOST_STEPS:
        return f"is for {AYS_MOST_STEPS} steps at most, got {setting['steps']}; take karras"
    return None


def aligned_timesteps(published: Sequence[int], levels: Any, steps: int) -> list[int]:
    """Interpolate the timesteps of Align Your Steps (Sabour et al., 2404.14507) to other counts.

    Noise levels are interpolated log-linearly over the steps, as the paper says, with the least
    noise of all as where the last step ends; 10 steps give the published timesteps.

    Args:
        published: ten timesteps, falling.
        levels: sigma of each timestep, rising; a numpy array.
        steps: how many are wanted.
    """
    import numpy as np

    logs = np.log(levels)
    knots = logs[[*published, 0]]
    places = np.linspace(0, len(published), steps + 1)[:-1]
    wanted = np.interp(places, np.arange(len(knots)), knots)
    return [round(float(found)) for found in np.interp(wanted, logs, np.arange(len(logs)))]


@contextmanager
def _aligned(pipeline: Any) -> Iterator[None]:
    """Let the scheduler take its timesteps from Align Your Steps, however many are asked for."""
    import numpy as np
    from diffusers.schedulers import AysSchedules

    scheduler = pipeline.scheduler
    plain = scheduler.set_timesteps
    name = type(pipeline).__name__.removeprefix("ORT")
    alphas = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    levels = np.sqrt((1 - alphas) / alphas)

    def set_timesteps(num_inference_steps: int, device: Any = None, **_: Any) -> None:
        found = aligned_timesteps(AysSchedules[AYS[name]], levels, num_inference_steps)
        plain(timesteps=found, device=device)

    scheduler.set_timesteps = set_timesteps
    try:
        yield
    finally:
        del scheduler.set_timesteps


@knob(
    space=Choice(tuple(SIGMAS)),
    default="default",
    stage=Stage.EDIT,
    changes_picture=True,
    touches={"scheduler"},
    when={"sampler": [slug for slug, row in SAMPLERS.items() if row.takes_sigmas]},
    refuse=_refuse_sigmas,
)
def sigmas(plan: Plan, value: str) -> None:
    """How noise levels are spaced over the steps."""
    if value == "ays":
        plan.edits.append(_aligned)
    elif value != "default":
        plan.edits.append(partial(_rebuilt, scheduler=None, flags=SIGMAS[value]))


def _refuse_eta(value: Value, setting: Setting, context: Context) -> str | None:
    if value != 0 and "eta" not in call_arguments(context.model):
        return f"{context.model.pipeline} takes no eta; leave it at 0"
    return None


@knob(
    space=Number(0, 1),
    default=0.0,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.eta"},
    when={"sampler": [slug for slug, row in SAMPLERS.items() if row.takes_eta]},
    refuse=_refuse_eta,
)
def eta(plan: Plan, value: float) -> None:
    """How much fresh noise each step adds: 0 is plain DDIM, 1 as much as DDPM."""
    if value != 0:
        plan.call["eta"] = value


def _default_steps(model: Model) -> Value:
    return model.steps


@knob(
    space=Number(1, 1000, whole=True),
    default=_default_steps,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.num_inference_steps", "calls"},
)
def steps(plan: Plan, value: int) -> None:
    """How many sampler steps; second-order samplers call the network more than once a step."""
    plan.call["num_inference_steps"] = value
