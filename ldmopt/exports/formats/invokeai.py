"""InvokeAI's metadata, as its pictures carry it and "Recall Parameters" reads it, as JSON.

Keys are those of `CoreMetadataInvocation` (invokeai/app/invocations/metadata.py), scheduler names
those of SCHEDULER_MAP (invokeai/backend/stable_diffusion/schedulers/schedulers.py). InvokeAI runs
on diffusers, so nearly all samplers are the same classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ldmopt.exports.exporting import Job

SCHEDULERS: Mapping[tuple[str, str], str] = {
    ("ddim", "default"): "ddim",
    ("ddpm", "default"): "ddpm",
    ("deis", "default"): "deis",
    ("dpmpp_2m", "default"): "dpmpp_2m",
    ("dpmpp_2m", "karras"): "dpmpp_2m_k",
    ("dpmpp_2m_sde", "default"): "dpmpp_2m_sde",
    ("dpmpp_2m_sde", "karras"): "dpmpp_2m_sde_k",
    ("dpmpp_sde", "default"): "dpmpp_sde",
    ("dpmpp_sde", "karras"): "dpmpp_sde_k",
    ("dpmpp_single", "default"): "dpmpp_2s",
    ("dpmpp_single", "karras"): "dpmpp_2s_k",
    ("euler", "default"): "euler",
    ("euler", "karras"): "euler_k",
    ("euler_a", "default"): "euler_a",
    ("heun", "default"): "heun",
    ("heun", "karras"): "heun_k",
    ("kdpm2", "default"): "kdpm_2",
    ("kdpm2_a", "default"): "kdpm_2_a",
    ("lms", "default"): "lms",
    ("lms", "karras"): "lms_k",
    ("pndm", "default"): "pndm",
    ("unipc", "default"): "unipc",
    ("flow_euler", "default"): "euler",
    ("flow_heun", "default"): "heun",
}
"""Each sampler with its sigma schedule, and the one name that InvokeAI has for both."""

SAID = frozenset({"sampler", "sigmas", "steps", "guidance", "rescale", "size"})

CONFIGURED = "set in invokeai.yaml, not for a picture: "
REASONS = {
    "attention": CONFIGURED + "attention_type",
    "precision": CONFIGURED + "precision",
    "backend": "InvokeAI runs on PyTorch: the seconds and memory above do not hold there",
    "offload": CONFIGURED + "it keeps models in its own cache; enable_partial_loading",
    "vae_tiling": CONFIGURED + "force_tiled_decode",
    "batch": "metadata is of one picture; set the number of pictures beside Invoke",
    "guidance_end": "guidance stays on to the end, so each picture costs more than above",
    "eta": "its ddim has no eta",
}


def export(job: Job) -> str:
    """Return the metadata as JSON; what it cannot say is under ``ldmopt_not_expressed``."""
    setting = job.setting
    notes = [*_doubts(job), *job.unsaid(SAID, REASONS, "InvokeAI has nothing like it")]
    data: dict[str, Any] = {
        "generation_mode": "sdxl_txt2img" if _pipeline(job).endswith("XLPipeline") else "txt2img",
        "positive_prompt": job.prompt, "negative_prompt": "",
    }
    if job.size is not None:
        data["width"], data["height"] = job.size
    data |= {"seed": job.seed, "rand_device": "cpu"}
    if job.guidance is not None:
        data["cfg_scale"] = max(1.0, job.guidance)
    data["cfg_rescale_multiplier"] = setting.get("rescale", 0)
    if "steps" in setting:
        data["steps"] = setting["steps"]
    data["scheduler"] = _scheduler(job)
    data |= {"ldmopt": job.about, "ldmopt_not_expressed": notes}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def knobs(scheduler: str) -> dict[str, str] | None:
    """Return the knobs ``sampler`` and ``sigmas`` that a scheduler's name means, or None."""
    for (sampler, sigmas), name in SCHEDULERS.items():
        if name == scheduler:
            return {"sampler": sampler, "sigmas": sigmas}
    return None


def _pipeline(job: Job) -> str:
    return job.described.pipeline if job.described is not None else ""


def _scheduler(job: Job) -> str:
    found = SCHEDULERS.get((job.sampler, job.sigmas))
    return found or SCHEDULERS.get((job.sampler, "default"), job.sampler or "euler")


def _doubts(job: Job) -> Iterator[str]:
    yield f"choose the model {job.model!r} there: a key in InvokeAI's own database names models"
    if (job.sampler, "default") not in SCHEDULERS:
        yield f"sampler={job.sampler}: unknown here, passed on as it is"
    elif (job.sampler, job.sigmas) not in SCHEDULERS:
        yield f"sigmas={job.sigmas}: not with this sampler; written as {_scheduler(job)}"
    if (job.sampler, job.sigmas) == ("dpmpp_2m", "default"):
        yield "scheduler dpmpp_2m takes an Euler step at the end there (euler_at_final)"
    if job.sampler == "dpmpp_sde":
        yield "the noise on the way comes from one seed there, so pictures are others"
    if job.guidance is not None and job.guidance < 1:
        yield f"guidance={job.guidance:g}: written as 1, the least there"
