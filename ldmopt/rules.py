"""What is known to be ignored, harmful or illegal in a setting: one small function a rule.

Each looks at one `Case` and says what is wrong and what to do instead, or nothing. Most of what is
illegal or ignored is derived from the knobs themselves; the rest is written down here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ldmopt.contracts import Setting, Value
from ldmopt.knob import Space
from ldmopt.knobs.canvas import parse_size
from ldmopt.knobs.sampling import SAMPLERS
from ldmopt.parts import part_config

Severity: TypeAlias = Literal["illegal", "ignored", "harmful"]
XL = "StableDiffusionXLPipeline"
TWICE = ("heun", "kdpm2", "kdpm2_a", "dpmpp_sde", "flow_heun")
"""Samplers that call the network twice in every step but one."""

WRITES_INTO_LATENTS = ("ddim", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_single", "unipc", "pndm", "deis")
"""Samplers whose unguided steps hand the latents themselves to the network."""


@dataclass(frozen=True)
class Case:
    """A setting under examination.

    Attributes:
        space: knobs and where the setting is to run.
        given: values of knobs that were written, whether they act or not.
        acting: the whole setting, canonical.
        claims: every value that was written for a knob, in order, where there was more than one.
        facts: what else was written, such as ``negative_prompt``.
    """

    space: Space
    given: Mapping[str, Value]
    acting: Setting
    claims: Mapping[str, Sequence[Value]]
    facts: Mapping[str, object]

    def of(self, name: str) -> str:
        """Return the acting value of a knob as text, empty where it does not act."""
        return str(self.acting.get(name, ""))

    def number(self, name: str, otherwise: float) -> float:
        """Return the acting value of a number, or another where the knob does not act."""
        return float(self.acting.get(name, otherwise))

    @property
    def cuda(self) -> bool:
        """Whether the setting is to run on CUDA."""
        return self.space.context.device.startswith("cuda")

    @property
    def pipeline(self) -> str:
        """The pipeline's class name."""
        return self.space.context.model.pipeline


Advice: TypeAlias = tuple[str, str]
"""Why, and what to do instead."""


@dataclass(frozen=True)
class Rule:
    """One thing to look for.

    Attributes:
        name: its id.
        severity: what the finding means for the user.
        find: returns what is wrong in a case, once for each time that it is.
    """

    name: str
    severity: Severity
    find: Callable[[Case], Iterator[Advice]]


RULES: dict[str, Rule] = {}
"""Every rule by its id."""


def rule(severity: Severity) -> Callable[[Callable[[Case], Iterator[Advice]]], Rule]:
    """Declare a rule: the function's name, with dashes, is its id."""

    def declare(find: Callable[[Case], Iterator[Advice]]) -> Rule:
        found = Rule(find.__name__.replace("_", "-"), severity, find)
        RULES[found.name] = found
        return found

    return declare


@rule("illegal")
def refused(case: Case) -> Iterator[Advice]:
    """A value that cannot be had on this device, with these packages, for this model."""
    for name, value in case.acting.items():
        refuse = case.space.knobs[name].refuse
        reason = refuse(value, case.acting, case.space.context) if refuse else None
        if reason:
            why, _, way_out = reason.partition("; ")
            yield f"{name}={value} {why}", way_out or f"take another value of {name}"


@rule("ignored")
def inactive(case: Case) -> Iterator[Advice]:
    """A knob that does not act beside the others, such as anything of torch's under ONNX."""
    for name, value in case.given.items():
        item = case.space.knobs[name]
        if name in case.acting or value == item.default_for(case.space.context.model):
            continue
        for other, change in item.enabling({**case.space.default, **case.acting}).items():
            now = case.acting.get(other, "not acting")
            yield (f"{name}={value} does nothing while {other} is {now}",
                   f"leave it out, or set {other}, for example to {change}")


@rule("harmful")
def slicing_over_sdpa(case: Case) -> Iterator[Advice]:
    """Attention slicing where the fused kernel could run."""
    if case.of("attention").startswith("sliced-"):
        yield ("slicing attention can be seriously slower than the fused kernel, which needs "
               "little memory itself", "take attention=sdpa")


@rule("ignored")
def last_attention_wins(case: Case) -> Iterator[Advice]:
    """Several attention kernels asked for."""
    kinds = case.claims.get("attention", ())
    if kinds:
        yield (f"{', '.join(map(str, kinds[:-1]))} is undone by {kinds[-1]}, which comes last: "
               "all of them set the same processors", "ask for one attention kernel only")


@rule("harmful")
def xformers_varies(case: Case) -> Iterator[Advice]:
    """A kernel that may give another picture each time."""
    if case.of("attention") == "xformers":
        yield ("the kernel of xformers is not guaranteed to give the same picture twice",
               "take attention=sdpa where pictures must be made again exactly")


@rule("harmful")
def slicing_with_adapters(case: Case) -> Iterator[Advice]:
    """Slicing replaces the processors that adapters put in place."""
    adapters = [name for name in ("ip_adapter", "lora_scale", "cross_attention_kwargs")
                if case.facts.get(name)]
    if adapters and case.of("attention").startswith("sliced-"):
        yield (f"attention slicing replaces the processors that {adapters[0]} needs",
               "take attention=sdpa")


@rule("illegal")
def slice_too_large(case: Case) -> Iterator[Advice]:
    """A slice of more heads than there are."""
    config = part_config(case.space.context.model, "unet")
    heads = config.get("num_attention_heads") or config.get("attention_head_dim")
    least = min(heads) if isinstance(heads, list) else heads
    wanted = case.facts.get("slice_size")
    if isinstance(wanted, int) and least is not None and wanted > least:
        yield f"a slice of {wanted} is larger than the {least} heads of a layer", "take 'auto'"


@rule("harmful")
def two_calls_a_step(case: Case) -> Iterator[Advice]:
    """A second-order sampler with a step count meant for others."""
    steps = int(case.number("steps", 0))
    if case.of("sampler") in TWICE and steps >= 20:
        yield (f"{case.of('sampler')} calls the network {2 * steps - 1} times in {steps} steps",
               f"compare it with others at {(steps + 1) // 2} steps")


@rule("illegal")
def sigmas_exclude_each_other(case: Case) -> Iterator[Advice]:
    """Two sigma schedules at once."""
    kinds = case.claims.get("sigmas", ())
    if kinds:
        yield f"{' and '.join(map(str, kinds))} sigmas exclude each other", "take one of them"


@rule("illegal")
def final_sigma_zero(case: Case) -> Iterator[Advice]:
    """A last noise level of zero for a solver that divides by it."""
    kind = case.facts.get("algorithm_type")
    if kind in ("dpmsolver", "sde-dpmsolver") and \
            case.facts.get("final_sigmas_type", "zero") == "zero":
        yield (f"algorithm_type {kind} cannot end at final_sigmas_type zero, the default",
               "set final_sigmas_type to sigma_min, or take dpmsolver++")


@rule("illegal")
def custom_timesteps(case: Case) -> Iterator[Advice]:
    """Timesteps for a scheduler that takes none, or beside a sigma schedule."""
    if not case.facts.get("timesteps"):
        return
    sampler, sigmas = case.of("sampler"), case.of("sigmas")
    able = [name for name, row in SAMPLERS.items() if row.takes_timesteps]
    if sampler not in able:
        yield f"{sampler} takes no timesteps of yours", f"take one of {', '.join(able)}"
    elif sigmas not in ("", "default"):
        yield f"timesteps of yours and {sigmas} sigmas exclude each other", "leave one out"


@rule("harmful")
def sdxl_dpmpp_artefacts(case: Case) -> Iterator[Advice]:
    """DPM++ on SDXL with few steps and plain sigmas."""
    cured = case.facts.get("euler_at_final") or case.facts.get("use_lu_lambdas")
    if (case.pipeline == XL and case.of("sampler").startswith("dpmpp") and not cured
            and case.number("steps", 0) < 50 and case.of("sigmas") == "default"):
        yield ("DPM++ leaves artefacts on SDXL under 50 steps",
               "take karras sigmas, or set euler_at_final")


@rule("harmful")
def stopped_early(case: Case) -> Iterator[Advice]:
    """A run that is cut off before its noise is gone."""
    end = case.facts.get("denoising_end")
    if isinstance(end, int | float) and end < 1:
        yield (f"stopping at {end:g} of the steps leaves noise: it is not a run of fewer steps",
               "lower steps instead")


@rule("ignored")
def negative_prompt_unguided(case: Case) -> Iterator[Advice]:
    """A negative prompt without guidance."""
    if case.facts.get("negative_prompt") and case.number("guidance", 7.5) <= 1:
        yield ("the negative prompt is not used at guidance 1 and below",
               "raise guidance above 1, or leave the negative prompt out")


@rule("ignored")
def guidance_never_runs(case: Case) -> Iterator[Advice]:
    """Classifier-free guidance asked of a model that is guided otherwise."""
    model = case.space.context.model
    if model.always_unguided and case.facts.get("negative_prompt"):
        yield ("this model's network has its own guidance input, so no negative prompt is used",
               "leave the negative prompt out")


@rule("illegal")
def size_not_divisible(case: Case) -> Iterator[Advice]:
    """A side that the latent's cells do not divide."""
    wrong = case.facts.get("impossible_size")
    if wrong:
        yield str(wrong), "round both sides to the VAE's factor"


@rule("harmful")
def sdxl_too_small(case: Case) -> Iterator[Advice]:
    """A size that SDXL was not made for."""
    if case.pipeline == XL and "size" in case.acting and min(parse_size(case.of("size"))) < 512:
        yield f"SDXL is not meant to work at {case.of('size')}", "take 1024x1024, or SD 1.5"


@rule("harmful")
def fp16_overflow(case: Case) -> Iterator[Advice]:
    """Half precision in a decoder that may overflow, or that is decoded in fp32 after all."""
    if case.of("precision") != "fp16":
        return
    if case.pipeline == XL and part_config(case.space.context.model, "vae").get("force_upcast", 1):
        yield ("SDXL's VAE decodes in fp32 whatever the precision: decoding saves nothing",
               "use a VAE made for fp16, or bf16")
    else:
        yield "fp16 can overflow and give black pictures", "take bf16, or look at the pictures"


@rule("harmful")
def tiling_shifts_tones(case: Case) -> Iterator[Advice]:
    """Tiles that do not know of each other."""
    if case.of("vae_tiling") == "on":
        yield ("each tile is decoded by itself, so tones shift from tile to tile",
               "turn it on only where decoding runs out of memory")


@rule("ignored")
def last_offload_wins(case: Case) -> Iterator[Advice]:
    """Two kinds of offload at once."""
    kinds = case.claims.get("offload", ())
    if kinds:
        yield f"{kinds[0]} offload is undone by {kinds[-1]} offload", "ask for one of them"


@rule("harmful")
def moved_before_offload(case: Case) -> Iterator[Advice]:
    """A pipeline that is on the GPU already when its weights should stay off it."""
    kind = case.claims.get("offload", [case.given.get("offload", "none")])[-1]
    if str(case.facts.get("to", "")).startswith("cuda") and kind != "none":
        yield (f"moving the pipeline to {case.facts['to']} beforehand takes the memory that "
               f"{kind} offload would spare", "leave the move out")


@rule("harmful")
def compiled_twice(case: Case) -> Iterator[Advice]:
    """A compiled network that is called with two shapes."""
    if case.of("compile") not in ("", "off") and case.number("guidance_end", 1) < 1:
        yield ("torch.compile compiles the network anew where guidance ends",
               "expect twice the compile time, or leave guidance_end at 1")


@rule("harmful")
def safety_checker_blackens(case: Case) -> Iterator[Advice]:
    """Pictures that a checker may black out."""
    if case.facts.get("safety_checker"):
        yield ("the safety checker returns black pictures, which a scorer would score, and costs "
               "time and memory; ONNX Runtime loads none unless it is passed one",
               "make the same choice for all settings that are compared")


@rule("harmful")
def watermark_differs(case: Case) -> Iterator[Advice]:
    """A mark that only some installations add."""
    if case.facts.get("add_watermarker"):
        yield ("SDXL's watermark is added only where its package is installed",
               "set add_watermarker to false for all settings that are compared")


@rule("harmful")
def onnx_output_over_latents(case: Case) -> Iterator[Advice]:
    """ONNX Runtime on CUDA writing the network's output into its input."""
    unguided = case.number("guidance", 7.5) <= 1 or case.number("guidance_end", 1) < 1
    if (case.cuda and case.of("backend") == "onnx" and unguided
            and case.of("sampler") in WRITES_INTO_LATENTS):
        yield ("with I/O binding the UNet may write its output over the latents when unguided "
               "(not verified)", "compare pictures with use_io_binding off")


@rule("harmful")
def onnx_arena(case: Case) -> Iterator[Advice]:
    """ONNX Runtime's appetite for memory on CUDA."""
    if case.cuda and case.of("backend") == "onnx":
        yield ("ONNX Runtime's arena grows by powers of two, its cuDNN search takes workspace and "
               "a slow first run, and torch's counters see none of it",
               "read memory by NVML, and measure it against torch")


@rule("harmful")
def cudnn_benchmark_varies(case: Case) -> Iterator[Advice]:
    """A search for kernels at every new shape."""
    if case.facts.get("cudnn_benchmark"):
        yield ("cudnn.benchmark makes the first run of every shape slow and may change pictures",
               "choose one value for all settings that are compared, and record it")
