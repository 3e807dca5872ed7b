"""A Python program that makes the pictures with diffusers alone, without ldmopt.

Each knob becomes what diffusers itself offers for it. Sources: diffusers' own documentation and
code (0.39); for DeepCache and tomesd those libraries' READMEs. The program is run by a test, which
holds its pictures against those of ldmopt's host, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from ldmopt.exports.exporting import Job
from ldmopt.families import family
from ldmopt.knobs.sampling import (
    AYS,
    AYS_NOISE,
    SAMPLERS,
    SIGMAS,
    aligned_timesteps,
)

WIDTH = 95

DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}

SAID = frozenset({
    "sampler", "sigmas", "eta", "steps", "guidance", "guidance_end", "rescale", "size", "batch",
    "precision", "attention", "channels_last", "offload", "vae_tiling", "vae_slicing", "compile",
    "deepcache", "token_merging",
})

REASONS = {
    "backend": "diffusers alone runs on PyTorch: the same pictures within the study's tolerance, "
               "but not the seconds and memory above; `ldmopt generate` uses ONNX Runtime",
}

ATTENTION = {
    "eager": ["from diffusers.models.attention_processor import AttnProcessor",
              "",
              "for part in (NETWORK, pipe.vae):",
              "    part.set_attn_processor(AttnProcessor())"],
    "sliced-auto": ['pipe.enable_attention_slicing("auto")'],
    "sliced-max": ['pipe.enable_attention_slicing("max")'],
    "xformers": ["pipe.enable_xformers_memory_efficient_attention()"],
}

STOP_GUIDING = '''
def stop_guiding(pipe, step, timestep, tensors):
    """Switch guidance off after this share of the steps: the others cost half."""
    if step + 1 != math.ceil(round({end} * pipe.num_timesteps, 6)):
        return {{}}
    both = 2 * len(tensors["latents"])
    pipe._guidance_scale = 0.0
    return {{name: tensor.chunk(2)[1] for name, tensor in tensors.items()
            if tensor is not None and len(tensor) == both}}
'''

NOISE = '''
# ldmopt draws noise in single precision and casts it, so that every precision starts from the
# same noise. Without this, diffusers draws other noise: as good a picture, but another one.
plain_randn = torch.randn


def single_precision_randn(*size, dtype=None, **more):
    return plain_randn(*size, dtype=torch.float32, **more).to(dtype or torch.get_default_dtype())


torch.randn = single_precision_randn
'''


def export(job: Job) -> str:
    """Return the program's text."""
    notes = [*job.unsaid(SAID, REASONS, "diffusers has nothing like it"), *_doubts(job)]
    blocks = [_head(job, notes), _imports(job), _constants(job)]
    if job.setting.get("precision", "fp32") != "fp32":
        blocks.append(NOISE.strip("\n"))
    if "guidance_end" in _turned(job):
        blocks.append(STOP_GUIDING.format(end=job.setting["guidance_end"]).strip("\n") + "\n")
    blocks += ["\n".join(_load(job)), "\n".join(_edits(job)), "\n".join(_call(job))]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _turned(job: Job) -> dict[str, Any]:
    """The knobs that stand elsewhere than diffusers has them."""
    usual = {"sigmas": "default", "eta": 0, "guidance_end": 1, "rescale": 0, "attention": "sdpa",
             "channels_last": "off", "offload": "none", "vae_tiling": "off", "vae_slicing": "off",
             "compile": "off", "deepcache": 1, "token_merging": 0}
    return {name: value for name, value in job.setting.items()
            if name in usual and value != usual[name]}


def _doubts(job: Job) -> Iterator[str]:
    """What the program does not do as ldmopt did."""
    turned = _turned(job)
    if job.sampler and job.sampler not in SAMPLERS:
        yield f"sampler={job.sampler}: unknown here; the model's own scheduler is used"
    if "deepcache" in turned:
        yield "deepcache: DeepCache itself chooses which calls are whole, ldmopt otherwise"
    if "token_merging" in turned:
        yield "token_merging: tomesd draws at random, ldmopt by timestep: not the same pixels"
    if job.described is None:
        yield (f"the model {job.model!r} is not on this machine: the program was written without "
               "its configuration")


def _head(job: Job, notes: list[str]) -> str:
    lines = [*wrap('"""' + _plain(job.about) + ".", WIDTH), "",
             "Needs torch, diffusers, transformers and accelerate; not ldmopt."]
    if notes:
        lines += ["", "Not as it was measured:"]
        lines += [line for note in notes
                  for line in wrap(f"- {_plain(note)}", WIDTH, subsequent_indent="  ")]
    return "\n".join([*lines, '"""'])


def _plain(text: str) -> str:
    """Text that does not end a docstring."""
    return text.replace("\\", "/").replace('"""', "'''")


def _imports(job: Job) -> str:
    lines = ["import math", ""] if "guidance_end" in _turned(job) else []
    return "\n".join([*lines, "import diffusers", "import torch"])


def _constants(job: Job) -> str:
    where = job.described.folder if job.described is not None else job.model
    return "\n".join([
        f"MODEL = {where!r}",
        f"PROMPT = {job.prompt!r}",
        f"SEED = {job.seed}" + (f"  # and the {job.batch - 1} after it" if job.batch > 1 else ""),
        'DEVICE = "cuda" if torch.cuda.is_available() else "cpu"',
    ])


def _load(job: Job) -> Iterator[str]:
    """Load the pipeline and place it."""
    setting, model = job.setting, job.described
    yield "pipe = diffusers.DiffusionPipeline.from_pretrained("
    yield "    MODEL,"
    yield f"    torch_dtype=torch.{DTYPES[str(setting.get('precision', 'fp32'))]},"
    yield "    use_safetensors=True,"
    if model is not None and model.variant:
        yield f"    variant={model.variant!r},"
    found = family(model.pipeline) if model is not None else None
    off = {"safety_checker": None, "requires_safety_checker": False, "add_watermarker": False}
    for name, value in off.items():
        if found is not None and name in found.parts:
            yield f"    {name}={value},"
    yield ")"
    moves = {"model": "pipe.enable_model_cpu_offload()",
             "sequential": "pipe.enable_sequential_cpu_offload()"}
    yield moves.get(str(setting.get("offload", "none")), "pipe.to(DEVICE)")


def _scheduler(job: Job) -> Iterator[str]:
    row = SAMPLERS.get(job.sampler)
    flags: dict[str, Any] = {**(row.flags if row else {}), **SIGMAS.get(job.sigmas, {})}
    if row is None and not flags:
        return
    model = job.described
    kind = f"diffusers.{row.scheduler}" if row else "type(pipe.scheduler)"
    arguments = ["pipe.scheduler.config", *(f"{name}={value!r}" for name, value in flags.items())]
    if row and row.noise and row.flow and model is not None and model.flow_matching:
        arguments += ['prediction_type="flow_prediction"', "use_flow_sigmas=True",
                      'flow_shift=pipe.scheduler.config.get("shift", 1.0)']
    yield f"pipe.scheduler = {kind}.from_config("
    yield from (f"    {argument}," for argument in arguments)
    yield ")"
    if job.sampler == "dpmpp_sde":
        yield f"pipe.scheduler.noise_sampler_seed = [SEED + n for n in range({job.batch})]"


def _network(job: Job) -> str:
    """The denoiser's place in the pipeline."""
    found = family(job.described.pipeline) if job.described is not None else None
    return "pipe.transformer" if found and "unet" not in found.parts else "pipe.unet"


def _edits(job: Job) -> Iterator[str]:
    """Turn the loaded pipeline's switches."""
    turned = _turned(job)
    yield from _scheduler(job)
    if "attention" in turned:
        for line in ATTENTION.get(str(turned["attention"]), []):
            yield line.replace("NETWORK", _network(job))
    if "channels_last" in turned:
        for part in (_network(job), "pipe.vae"):
            yield f"{part}.to(memory_format=torch.channels_last)"
    if "vae_tiling" in turned:
        yield "pipe.vae.enable_tiling()"
    if "vae_slicing" in turned:
        yield "pipe.vae.enable_slicing()"
    if "deepcache" in turned:
        yield "from DeepCache import DeepCacheSDHelper  # pip install DeepCache"
        yield ""
        yield "cache = DeepCacheSDHelper(pipe=pipe)"
        yield f"cache.set_params(cache_interval={turned['deepcache']}, cache_branch_id=0)"
        yield "cache.enable()"
    if "token_merging" in turned:
        yield "import tomesd  # pip install tomesd"
        yield ""
        yield f"tomesd.apply_patch(pipe, ratio={turned['token_merging']})"
    if "compile" in turned:
        for part in (_network(job), "pipe.vae.decoder"):
            yield f"{part}.compile(mode={turned['compile']!r}, dynamic=False)"


def _call(job: Job) -> Iterator[str]:
    """Make the pictures and save them."""
    setting, turned, count = job.setting, _turned(job), job.batch
    yield "images = pipe("
    yield f"    [PROMPT] * {count}," if count > 1 else "    PROMPT,"
    for name, argument in (("steps", "num_inference_steps"), ("guidance", "guidance_scale")):
        if name in setting:
            yield f"    {argument}={setting[name]},"
    if job.size is not None:
        yield f"    width={job.size[0]},"
        yield f"    height={job.size[1]},"
    for name, argument in (("eta", "eta"), ("rescale", "guidance_rescale")):
        if name in turned:
            yield f"    {argument}={turned[name]},"
    if job.sigmas == "ays":
        yield f"    timesteps={_timesteps(job)},"
    if "guidance_end" in turned:
        yield "    callback_on_step_end=stop_guiding,"
        yield "    callback_on_step_end_tensor_inputs=pipe._callback_tensor_inputs,"
    if job.described is not None and job.described.rounds_sizes:
        yield "    use_resolution_binning=False,"
    generator = 'torch.Generator("cpu").manual_seed(SEED'
    yield (f"    generator={generator})," if count == 1 else
           f"    generator=[{generator} + n) for n in range({count})],")
    yield ").images"
    yield "for number, image in enumerate(images):"
    yield '    image.save(f"picture-{SEED + number}.png")'


def _timesteps(job: Job) -> list[int]:
    """The timesteps of Align Your Steps, worked out for this number of steps."""
    import numpy as np
    from diffusers.schedulers import AysSchedules

    name = job.described.pipeline if job.described else "StableDiffusionPipeline"
    noise: dict[str, Any] = dict(AYS_NOISE)
    roots = np.linspace(noise["beta_start"] ** 0.5, noise["beta_end"] ** 0.5,
                        noise["num_train_timesteps"])
    alphas = np.cumprod(1 - roots**2)
    levels = np.sqrt((1 - alphas) / alphas)
    return aligned_timesteps(AysSchedules[AYS[name]], levels, int(job.setting["steps"]))
