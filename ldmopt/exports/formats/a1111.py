"""A1111's infotext, to paste into its prompt box, and a payload for /sdapi/v1/txt2img, as JSON.

Names and keys are those of stable-diffusion-webui 1.9 and later, which tell samplers and schedules
apart: `modules/sd_samplers_kdiffusion.py`, `sd_samplers_timesteps.py`, `sd_schedulers.py`,
`infotext_utils.py` and `api/models.py`. Forge, reForge and SD.Next read the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ldmopt.errors import UserError, did_you_mean
from ldmopt.exports.exporting import Job


@dataclass(frozen=True)
class Name:
    """What a sampler is called there.

    Attributes:
        label: its name, or that of the nearest one.
        doubt: why that is not quite the same; empty where it is the same method.
        scheduled: whether it follows a schedule at all.
    """

    label: str
    doubt: str = ""
    scheduled: bool = True


SAMPLERS: Mapping[str, Name] = {
    "ddim": Name("DDIM", scheduled=False),
    "ddpm": Name("Euler a", "there is no DDPM in A1111 (Forge has one); Euler a is the nearest"),
    "euler": Name("Euler"),
    "euler_a": Name("Euler a"),
    "heun": Name("Heun"),
    "dpmpp_2m": Name("DPM++ 2M"),
    "dpmpp_2m_sde": Name("DPM++ 2M SDE"),
    "dpmpp_single": Name("DPM++ 2S a", "only the ancestral DPM++ 2S exists, which adds noise and "
                         "calls the network twice a step"),
    "dpmpp_sde": Name("DPM++ SDE"),
    "unipc": Name("UniPC", scheduled=False),
    "deis": Name("DPM++ 2M", "there is no DEIS; DPM++ 2M is the nearest multistep solver"),
    "pndm": Name("PLMS", "the same method, but started with another first step", scheduled=False),
    "lms": Name("LMS"),
    "kdpm2": Name("DPM2"),
    "kdpm2_a": Name("DPM2 a"),
    "flow_euler": Name("Euler"),
    "flow_heun": Name("Heun"),
}
"""Each sampler's name; the nearest where there is no such one."""

SCHEDULES: Mapping[str, str] = {
    "default": "Uniform", "karras": "Karras", "exponential": "Exponential", "beta": "Beta",
    "ays": "Align Your Steps",
}
"""Each sigma schedule's label. Automatic would be Karras or Exponential for DPM++."""

AUTOMATIC: Mapping[str, str] = {
    "DPM++ 2M": "karras", "DPM++ SDE": "karras", "DPM++ 2M SDE": "exponential",
    "DPM++ 2S a": "karras", "DPM2": "karras", "DPM2 a": "karras",
}
"""What the schedule type Automatic means for a sampler, where it is not the default one."""

EXPRESSED = frozenset({"sampler", "sigmas", "steps", "guidance", "size", "batch", "eta",
                       "token_merging"})

FLAG = "a launch option or setting of the web UI, not of a picture; "
REASONS = {
    "attention": FLAG + "start it with --opt-sdp-attention, --xformers or --opt-split-attention",
    "precision": FLAG + "fp16 is its default; --no-half gives fp32, --precision full too",
    "backend": "the web UI runs on PyTorch: the seconds and memory above do not hold there",
    "offload": FLAG + "start it with --medvram or --lowvram",
    "channels_last": FLAG + "start it with --opt-channelslast",
    "vae_tiling": "needs the extension Tiled VAE",
    "guidance_end": "guidance stays on to the end, so each picture costs more than above",
    "rescale": "needs an extension (RescaleCFG)",
    "deepcache": "needs an extension (DeepCache)",
    "compile": "needs an extension",
}


def names(sampler: str, sigmas: str = "default") -> tuple[str, str]:
    """Return sampler name and schedule type, as the payload has them.

    Args:
        sampler: a slug.
        sigmas: a sigma schedule.

    Raises:
        UserError: no such sampler or schedule.
    """
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("sigmas", sigmas, SCHEDULES)):
        if name not in known:
            raise UserError(f"a1111: {kind} {name!r} is unknown{did_you_mean(name, known)}")
    return SAMPLERS[sampler].label, SCHEDULES[sigmas]


def automatic(sampler: str) -> str:
    """Return the sigma schedule that the schedule type Automatic means for a sampler's slug."""
    row = SAMPLERS.get(sampler)
    return "default" if row is None or row.doubt else AUTOMATIC.get(row.label, "default")


def knobs(sampler_name: str, schedule: str = "Automatic") -> dict[str, str]:
    """Return the knobs ``sampler`` and ``sigmas`` that A1111's names mean.

    Args:
        sampler_name: such as ``DPM++ 2M``, or ``DPM++ 2M Karras`` as before 1.9.
        schedule: the schedule type; Automatic is what the sampler prefers.

    Raises:
        UserError: a sampler or schedule that ldmopt has not.
    """
    label = " ".join(sampler_name.split())
    of_schedule = {text.lower(): slug for slug, text in SCHEDULES.items()}
    tail = next((text for text in of_schedule if label.lower().endswith(f" {text}")), "")
    if tail:
        label, schedule = label[: -len(tail) - 1], tail
    exact = {row.label.lower(): slug for slug, row in SAMPLERS.items()
             if not row.doubt and not slug.startswith("flow_")} | {"plms": "pndm"}
    slug = exact.get(label.lower())
    if slug is None:
        known = [SAMPLERS[slug].label for slug in exact.values()]
        raise UserError(f"a1111: sampler {sampler_name!r} is none of ldmopt's"
                        f"{did_you_mean(label, known)}")
    if schedule.lower() == "automatic":
        sigmas = automatic(slug)
    elif schedule.lower() in of_schedule:
        sigmas = of_schedule[schedule.lower()]
    else:
        raise UserError(f"a1111: schedule type {schedule!r} is none of ldmopt's"
                        f"{did_you_mean(schedule, SCHEDULES.values())}")
    return {"sampler": slug, "sigmas": sigmas if SAMPLERS[slug].scheduled else "default"}


def export(job: Job) -> str:
    """Return JSON with ``infotext``, ``txt2img`` (the payload) and ``not_expressed``."""
    notes = [*_doubts(job), *job.unsaid(EXPRESSED, REASONS, "A1111 has nothing like it")]
    data = {"about": job.about, "infotext": _infotext(job, notes), "txt2img": _payload(job),
            "not_expressed": notes}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _named(job: Job) -> tuple[str, str]:
    """Sampler and schedule; of an imported table's unknown names the sampler's stays."""
    name = SAMPLERS[job.sampler].label if job.sampler in SAMPLERS else job.sampler or "Euler"
    return name, SCHEDULES.get(job.sigmas, "Automatic")


def _doubts(job: Job) -> Iterator[str]:
    row = SAMPLERS.get(job.sampler)
    yield (f"load the model {job.model!r} in the web UI first; its samplers are k-diffusion's or "
           "CompVis's, so pictures are not the same pixel by pixel")
    if row is None:
        yield f"sampler={job.sampler}: unknown here, passed on as it is"
        return
    if row.doubt:
        yield f"sampler={job.sampler}: written as {row.label}: {row.doubt}"
    if not row.scheduled and job.sigmas != "default":
        yield f"sigmas={job.sigmas}: {row.label} follows no schedule there"
    if job.sampler.startswith("flow_"):
        yield "a flow-matching model needs a web UI that runs it, such as Forge"
    if job.guidance is not None and job.guidance < 1:
        yield f"guidance={job.guidance:g}: the web UI's least is 1, which switches guidance off too"
    if job.prompt != _escaped(job.prompt):
        yield "brackets in the prompt are escaped: unescaped ones would weigh words there"


def _escaped(prompt: str) -> str:
    r"""Brackets weigh words there; ``\(`` is a plain one."""
    return re.sub(r"([()\[\]])", r"\\\1", prompt)


def _infotext(job: Job, notes: list[str]) -> str:
    """The text that A1111 writes into its PNG files and reads when pasted."""
    sampler, schedule = _named(job)
    setting = job.setting
    fields: dict[str, Any] = {
        "Steps": setting.get("steps"), "Sampler": sampler, "Schedule type": schedule,
        "CFG scale": None if job.guidance is None else max(1.0, job.guidance), "Seed": job.seed,
        "Size": setting.get("size"), "Model": job.model.rstrip("/").rsplit("/", 1)[-1],
        "RNG": "CPU",
        "Eta DDIM": setting.get("eta") or None,
        "Token merging ratio": setting.get("token_merging") or None,
        "ldmopt": "; ".join(notes),
    }
    parts = [f"{key}: {_quoted(value)}" for key, value in fields.items()
             if value is not None and value != ""]
    return _escaped(job.prompt) + "\n" + ", ".join(parts)


def _quoted(value: object) -> str:
    """As the web UI quotes values that would end a field."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[,:\n]", text) else text


def _payload(job: Job) -> dict[str, Any]:
    """What /sdapi/v1/txt2img takes."""
    sampler, schedule = _named(job)
    setting = job.setting
    found: dict[str, Any] = {
        "prompt": _escaped(job.prompt), "negative_prompt": "", "seed": job.seed,
        "sampler_name": sampler, "scheduler": schedule, "batch_size": job.batch, "n_iter": 1,
    }
    if "steps" in setting:
        found["steps"] = setting["steps"]
    if job.guidance is not None:
        found["cfg_scale"] = max(1.0, job.guidance)
    if job.size is not None:
        found["width"], found["height"] = job.size
    if setting.get("eta"):
        found["eta"] = setting["eta"]
    # ldmopt draws the starting noise on the CPU.
    options: dict[str, Any] = {"randn_source": "CPU"}
    if setting.get("token_merging"):
        options["token_merging_ratio"] = setting["token_merging"]
    return {**found, "override_settings": options, "override_settings_restore_afterwards": True}
