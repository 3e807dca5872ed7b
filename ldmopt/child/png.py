"""PNG files that carry how they were made, in the text that A1111 writes and others read."""

from __future__ import annotations

import io

from ldmopt.contracts import Block, Pixels, Setting
from ldmopt.knobs.sampling import a1111_name


def parameters_text(setting: Setting, block: Block, model: str) -> str:
    """Return the ``parameters`` text: prompt, then picture knobs and seed on one line.

    Args:
        setting: the picture knobs alone, so that equal pictures carry equal text.
        block: prompt and seed.
        model: the model's name as the user wrote it.
    """
    names = {"steps": "Steps", "guidance": "CFG scale", "size": "Size"}
    parts = {names[key]: setting[key] for key in ("steps", "guidance", "size") if key in setting}
    if "sampler" in setting:
        sampler = a1111_name(str(setting["sampler"]), str(setting.get("sigmas", "default")))
        parts = {"Steps": parts.pop("Steps", ""), "Sampler": sampler, **parts}
    rest = {key: value for key, value in setting.items()
            if key not in {*names, "sampler", "sigmas"}}
    fields = {**parts, "Seed": block.seed, "Model": model, **rest}
    return block.prompt + "\n" + ", ".join(f"{key}: {value}" for key, value in fields.items())


def encode(pixels: Pixels, text: str) -> bytes:
    """Return a PNG file's bytes of a height x width x 3 uint8 picture."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", text) if text.isascii() else info.add_itxt("parameters", text)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()
