"""What the programs that made a picture wrote into its file, by sd-parsers, in ldmopt's words.

sd-parsers (MIT) reads A1111 and its forks, ComfyUI, Fooocus, InvokeAI and NovelAI. Three layouts
that it leaves out are put into the form it reads: EXIF comments that are not UTF-16 big-endian,
ComfyUI's WebP files, and ComfyUI pictures made through its API, which carry no workflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ldmopt.errors import UserError
from ldmopt.exports.formats import a1111, comfyui, invokeai
from ldmopt.knobs.sampling import SAMPLERS
from ldmopt.labels.strict_csv import MOST

if TYPE_CHECKING:
    from PIL.Image import Image
    from sd_parsers.data import PromptInfo, Sampler

FURTHER = ("model", "clip_skip", "denoising_strength", "hires_upscale", "hires_steps",
           "hires_upscaler", "eta")  # fmt: skip
"""What changes a picture beside the knobs: a knob of its own where it is not always the same."""

_EXIF, _COMMENT, _MAKE, _MODEL = 0x8769, 0x9286, 0x010F, 0x0110
_COMFYUI = {"dpmpp_sde_gpu": "dpmpp_sde", "dpmpp_2m_sde_gpu": "dpmpp_2m_sde"} | {
    name: slug for slug, (name, doubt) in comfyui.SAMPLERS.items()
    if not doubt and not slug.startswith("flow_")
}  # fmt: skip
_INVOKEAI = {name: slug for (slug, sigmas), name in invokeai.SCHEDULERS.items()
             if sigmas == "default" and not slug.startswith("flow_")}  # fmt: skip
"""Each program's name for a sampler, and ours: the exports' tables, read backwards."""

_SCHEDULES = {"normal": "default", "automatic": "default", "align your steps": "ays",
              "uniform": "default"}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """How a picture was made.

    Attributes:
        cells: knob -> text, as a table's cells.
        prompt: what it was made for.
        negative: what was to be kept out.
        seed: its seed, or None.
        model: the checkpoint's name, or empty.
        further: `FURTHER` -> text, as far as the file says.
    """

    cells: Mapping[str, str]
    prompt: str
    negative: str
    seed: int | None
    model: str
    further: Mapping[str, str]


def read(image: Image) -> Made:
    """Return how an opened picture was made.

    Raises:
        UserError: it does not say, or more than one sampler worked on it.
    """
    info = _info(image)
    if info is None or not info.samplers:
        raise UserError("it does not say how it was made")
    if len(info.samplers) > 1:
        raise UserError(f"{len(info.samplers)} samplers worked on it, and a setting has one")
    sampler = info.samplers[0]
    told = {str(key).lower().replace(" ", "_"): value for key, value in info.metadata.items()}
    model = "" if sampler.model is None else str(sampler.model.name or sampler.model.hash or "")
    further = {name: str(told[name]) for name in FURTHER if told.get(name) not in (None, "")}
    if "denoise" in sampler.parameters and "denoising_strength" not in further:
        further["denoising_strength"] = str(sampler.parameters["denoise"])
    return Made(
        _cells(info, sampler, told, image.size), _joined(sampler.prompts),
        _joined(sampler.negative_prompts), _seed(sampler.parameters.get("seed")), model,
        {**further, **({"model": model} if model else {})},
    )


def _info(image: Image) -> PromptInfo | None:
    from sd_parsers import ParserManager
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import AUTOMATIC1111Parser, ComfyUIParser

    found = ParserManager().parse(image)
    if found is not None:
        return found
    with suppress(ParserError):
        graph = _comfyui_graph(image)
        if graph is not None:
            return ComfyUIParser().parse({"prompt": graph, "workflow": _workflow(graph)})
        comment = _comment(image)
        if comment:
            return AUTOMATIC1111Parser().parse({"parameters": comment})
    return None


def _comment(image: Image) -> str:
    """Return the EXIF comment, whichever of its encodings it is in (EXIF 2.32, 4.6.5)."""
    raw: bytes | str = image.getexif().get_ifd(_EXIF).get(_COMMENT, b"")
    if isinstance(raw, str):
        return raw
    kind, text = raw[:8], raw[8:]
    if kind == b"UNICODE\0":
        for encoding in ("utf-16-be", "utf-16-le", "utf-8"):
            with suppress(UnicodeDecodeError):
                found = text.decode(encoding)
                if "Steps: " in found:
                    return found
        return ""
    return (text if kind in (b"ASCII\0\0\0", bytes(8)) else raw).decode("utf-8", "replace")


def _comfyui_graph(image: Image) -> dict[str, Any] | None:
    """Return ComfyUI's executed graph, from PNG text or from a WebP's EXIF."""
    exif = image.getexif()
    texts = [image.info.get("prompt"), *(str(exif.get(tag, "")) for tag in (_MAKE, _MODEL))]
    for text in texts:
        with suppress(TypeError, ValueError):
            graph = json.loads(re.sub(r"^prompt:", "", text or "").strip("\0 "))
            if isinstance(graph, dict) and any("class_type" in node for node in graph.values()):
                return graph
    return None


def _workflow(graph: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workflow that has the links of an executed graph."""
    links = [[0, value[0], 0, name, 0, key.upper()]
             for name, node in graph.items() for key, value in node.get("inputs", {}).items()
             if isinstance(value, list) and len(value) == 2]
    return {"links": links}


def _cells(
    info: PromptInfo, sampler: Sampler, told: Mapping[str, Any], size: tuple[int, int]
) -> dict[str, str]:
    """Return the knobs' cells."""
    found = _sampler_cells(sampler.name, str(sampler.parameters.get("scheduler", "")), info)
    for knob, key in (("steps", "steps"), ("guidance", "cfg_scale")):
        value = sampler.parameters.get(key)
        if value not in (None, ""):
            found[knob] = str(value)
    found["size"] = str(told.get("size") or "x".join(map(str, size)))
    if "width" in told and "height" in told:
        found["size"] = f"{told['width']}x{told['height']}"
    return found


def _sampler_cells(name: str, schedule: str, info: PromptInfo) -> dict[str, str]:
    """Return the cells of sampler and sigmas, from any program's words."""
    from ldmopt.intake.columns import knob_values

    program = str(info.generator.value)
    if program == "InvokeAI":
        karras = name.endswith("_k")
        plain = name.removesuffix("_k")
        return {"sampler": _INVOKEAI.get(plain, plain), **({"sigmas": "karras"} if karras else {})}
    values = knob_values("sampler", _COMFYUI.get(name, name))
    slug = str(values["sampler"])
    lower = schedule.lower()
    sigmas = str(values.get("sigmas", "")) or _SCHEDULES.get(lower, lower)
    if lower == "automatic" and "sigmas" not in values:
        sigmas = a1111.automatic(slug)
    if slug in SAMPLERS and not SAMPLERS[slug].takes_sigmas and sigmas == "default":
        sigmas = ""
    return {"sampler": slug, **({"sigmas": sigmas} if sigmas else {})}


def _joined(prompts: Any) -> str:
    return ", ".join(str(prompt).strip() for prompt in prompts).strip()


def _seed(value: Any) -> int | None:
    """Return a seed that a database can hold: ComfyUI's go to 2^64."""
    try:
        seed = int(value)
    except (TypeError, ValueError):
        return None
    return seed if abs(seed) <= MOST else seed % 2**64 - 2**64
