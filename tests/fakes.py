"""Model folders that hold true configurations and no weights to speak of: enough for describe."""

import json
import struct

from ldmopt.shapes import SHAPES


def configured(shape, folder):
    """Write a family's published configuration, with a safetensors file of one number a part."""
    facts = SHAPES[shape]
    index = {"_class_name": facts.pipeline, "scheduler": ["diffusers", facts.scheduler[0]]}
    write(folder / "scheduler" / "scheduler_config.json", dict(facts.scheduler[1]))
    for part, network in facts.parts.items():
        library = "diffusers" if part in ("unet", "transformer", "vae") else "transformers"
        index[part] = [library, network.kind]
        write(folder / part / "config.json", dict(network.full))
        (folder / part / "model.safetensors").write_bytes(safetensors(4))
        if part.startswith("text_encoder"):
            tokenizer = part.replace("text_encoder", "tokenizer")
            index[tokenizer] = ["transformers", "T5TokenizerFast"]
            write(folder / tokenizer / "tokenizer_config.json", {})
    write(folder / "model_index.json", index)
    return folder


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))


def change(path, **values):
    """Set some keys of a JSON file."""
    write(path, {**json.loads(path.read_text()), **values})


def safetensors(size):
    """Return a safetensors file of one tensor of so many bytes."""
    entry = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)
