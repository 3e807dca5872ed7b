"""ComfyUI's workflow in API format, to POST to /prompt as {"prompt": ...} or to drop on its page.

Node classes, their inputs and the names of samplers and schedulers are ComfyUI's own: `nodes.py`,
`comfy/samplers.py` (SAMPLER_NAMES, SCHEDULER_HANDLERS) and `comfy_extras/` (RescaleCFG,
TomePatchModel, AlignYourStepsScheduler, SamplerCustom). What it cannot say stands in the loader's
``_meta``, which the server passes over.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ldmopt.exports.exporting import Job

SAMPLERS: Mapping[str, tuple[str, str]] = {
    "ddim": ("ddim", ""),
    "ddpm": ("ddpm", ""),
    "euler": ("euler", ""),
    "euler_a": ("euler_ancestral", ""),
    "heun": ("heun", ""),
    "dpmpp_2m": ("dpmpp_2m", ""),
    "dpmpp_2m_sde": ("dpmpp_2m_sde", ""),
    "dpmpp_single": ("dpmpp_2s_ancestral", "only the ancestral DPM++ 2S exists, which adds noise "
                                           "and calls the network twice a step"),
    "dpmpp_sde": ("dpmpp_sde", ""),
    "unipc": ("uni_pc", ""),
    "deis": ("deis", ""),
    "pndm": ("ipndm", "there is no PNDM; ipndm is a variant of it that needs no warm-up"),
    "lms": ("lms", ""),
    "kdpm2": ("dpm_2", ""),
    "kdpm2_a": ("dpm_2_ancestral", ""),
    "flow_euler": ("euler", ""),
    "flow_heun": ("heun", ""),
}
"""Each sampler's name, and why that is not quite the same."""

SCHEDULERS: Mapping[str, str] = {
    "default": "normal", "karras": "karras", "exponential": "exponential", "beta": "beta",
}

AYS = {"StableDiffusionPipeline": "SD1", "StableDiffusionXLPipeline": "SDXL"}

SAID = frozenset({"sampler", "sigmas", "steps", "guidance", "guidance_end", "rescale", "size",
                  "batch", "vae_tiling", "token_merging"})

FLAG = "a launch option of ComfyUI, not of a workflow; "
REASONS = {
    "attention": FLAG + "start it with --use-pytorch-cross-attention, "
                        "--use-split-cross-attention or --use-quad-cross-attention",
    "precision": FLAG + "start it with --force-fp32, --force-fp16 or --bf16-unet",
    "backend": "ComfyUI runs on PyTorch: the seconds and memory above do not hold there",
    "offload": FLAG + "it offloads by itself; --lowvram makes it do so more",
    "channels_last": FLAG + "start it with --force-channels-last",
    "eta": "the ddim sampler there takes no eta",
    "deepcache": "needs a node of another author",
    "compile": "add a TorchCompileModel node behind the loader",
    "vae_slicing": "ComfyUI decodes a batch in as many pieces as memory allows",
}


def export(job: Job) -> str:
    """Return the workflow as JSON, one node a key."""
    notes = [*_doubts(job), *job.unsaid(SAID, REASONS, "ComfyUI has nothing like it")]
    nodes: dict[str, Any] = {}

    def add(name: str, kind: str, title: str, **inputs: Any) -> list[Any]:
        nodes[name] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
        return [name, 0]

    checkpoint = job.model.rstrip("/").rsplit("/", 1)[-1] + ".safetensors"
    model = add("1", "CheckpointLoaderSimple", "Load checkpoint", ckpt_name=checkpoint)
    nodes["1"]["_meta"] |= {"ldmopt": job.about, "not_expressed": notes}
    positive = add("2", "CLIPTextEncode", "Prompt", text=_escaped(job.prompt), clip=["1", 1])
    negative = add("3", "CLIPTextEncode", "Negative prompt", text="", clip=["1", 1])
    width, height = job.size or (512, 512)
    latent = add("4", "EmptyLatentImage", "Size", width=width, height=height,
                 batch_size=job.batch)
    if job.setting.get("token_merging"):
        model = add("5", "TomePatchModel", "Token merging", model=model,
                    ratio=job.setting["token_merging"])
    if job.setting.get("rescale"):
        model = add("6", "RescaleCFG", "Guidance rescale", model=model,
                    multiplier=job.setting["rescale"])
    common = {"model": model, "positive": positive, "negative": negative}
    latent = _sample(job, add, common, latent)
    if job.setting.get("vae_tiling") == "on":
        image = add("9", "VAEDecodeTiled", "Decode in tiles", samples=latent, vae=["1", 2],
                    tile_size=512, overlap=64, temporal_size=64, temporal_overlap=8)
    else:
        image = add("9", "VAEDecode", "Decode", samples=latent, vae=["1", 2])
    add("10", "SaveImage", "Save", images=image, filename_prefix="ldmopt")
    return json.dumps(nodes, indent=1, ensure_ascii=False) + "\n"


def _sample(job: Job, add: Any, common: dict[str, Any], latent: list[Any]) -> list[Any]:
    """Add the sampling nodes; two where guidance ends on the way."""
    steps, cfg = int(job.setting.get("steps", 20)), job.guidance or 1.0
    name = SAMPLERS[job.sampler][0] if job.sampler in SAMPLERS else job.sampler or "euler"
    scheduler = SCHEDULERS.get(job.sigmas, "normal")
    if job.sigmas == "ays":
        kind = AYS.get(job.described.pipeline if job.described else "", "SD1")
        sampler = add("7", "KSamplerSelect", "Sampler", sampler_name=name)
        sigmas = add("11", "AlignYourStepsScheduler", "Align Your Steps", model_type=kind,
                     steps=steps, denoise=1.0)
        found: list[Any] = add("8", "SamplerCustom", "Sample", add_noise=True, noise_seed=job.seed,
                               cfg=max(1.0, cfg), sampler=sampler, sigmas=sigmas,
                               latent_image=latent, **common)
        return found
    plain = {"steps": steps, "sampler_name": name, "scheduler": scheduler, **common}
    end = _last_guided(job)
    if end is None:
        found = add("7", "KSampler", "Sample", seed=job.seed, cfg=max(1.0, cfg), denoise=1.0,
                    latent_image=latent, **plain)
        return found
    first = add("7", "KSamplerAdvanced", f"Steps 1 to {end}, guided", add_noise="enable",
                noise_seed=job.seed, cfg=cfg, start_at_step=0, end_at_step=end,
                return_with_leftover_noise="enable", latent_image=latent, **plain)
    found = add("8", "KSamplerAdvanced", f"Steps {end + 1} to {steps}, unguided",
                add_noise="disable", noise_seed=job.seed, cfg=1.0, start_at_step=end,
                end_at_step=10_000, return_with_leftover_noise="disable", latent_image=first,
                **plain)
    return found


def _last_guided(job: Job) -> int | None:
    """The step after which guidance is off, or None where it stays on."""
    share = float(job.setting.get("guidance_end", 1))
    steps = int(job.setting.get("steps", 20))
    last = math.ceil(round(share * steps, 6))
    return last if share < 1 and last < steps and job.sigmas != "ays" else None


def _doubts(job: Job) -> Iterator[str]:
    yield (f"ckpt_name: put the file of {job.model!r} there; samplers are k-diffusion's and noise "
           "is drawn otherwise, so pictures are not the same pixel by pixel")
    name, doubt = SAMPLERS.get(job.sampler, (job.sampler, "unknown here, passed on as it is"))
    if doubt:
        yield f"sampler={job.sampler}: written as {name}: {doubt}"
    if job.sigmas not in (*SCHEDULERS, "ays"):
        yield f"sigmas={job.sigmas}: unknown here, written as normal"
    if job.sigmas == "ays" and float(job.setting.get("guidance_end", 1)) < 1:
        yield "guidance_end: guidance stays on to the end under Align Your Steps"
    elif _last_guided(job) is not None:
        yield "guidance_end: two samplers; a multistep one forgets its past steps between them"
    if job.guidance is not None and job.guidance < 1:
        yield f"guidance={job.guidance:g}: written as 1, which switches guidance off too"
    if job.sampler.startswith("flow_"):
        yield "EmptyLatentImage is for Stable Diffusion; take the empty latent of your model"
    for name, usual in (("size", "512x512"), ("steps", 20), ("guidance", 1.0)):
        if name not in job.setting:
            yield f"{name} is not in the rulebook's setting: written as {usual}"


def _escaped(prompt: str) -> str:
    r"""Round brackets weigh words there; ``\(`` is a plain one."""
    return re.sub(r"([()])", r"\\\1", prompt)
