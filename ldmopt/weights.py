"""Weight files, checked by their headers alone: enough to find a file that is cut or corrupt.

The format: eight bytes for the header's length, a JSON header that gives each tensor's dtype,
shape and place, then the tensors (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from ldmopt.errors import UserError

LONGEST_HEADER = 100_000_000
"""Bytes; the format's own limit."""


def find(part: Path, where: str) -> tuple[list[Path], str | None]:
    """Return a part's weight files and their variant, each file checked.

    Args:
        part: folder of one network.
        where: what to call it in an error.

    Returns:
        The files, and the variant such as ``fp16`` where there are none without one.

    Raises:
        UserError: no safetensors, a file of several that is missing, a cut or corrupt one.
    """
    by_variant: dict[str | None, list[Path]] = {}
    for path in sorted(part.glob("*.safetensors")):
        by_variant.setdefault(_variant(path), []).append(path)
    if not by_variant:
        raise UserError(
            f"{where} has no .safetensors file; ldmopt loads no pickled weights: "
            "save it with safe_serialization=True"
        )
    variant = None if None in by_variant else min(by_variant, key=str)
    found = _whole(part, by_variant[variant], variant, where)
    for path in found:
        reason = fault(path)
        if reason:
            raise UserError(f"{where}: {path.name} is corrupt ({reason}); fetch or save it again")
    return found, variant


def fault(path: Path) -> str | None:
    """Return what is wrong with a safetensors file as far as header and length tell, or None."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else LONGEST_HEADER + 1
        if length > min(LONGEST_HEADER, size - 8):
            return f"{size} bytes hold no header"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items()
                    if name != "__metadata__"]
            wanted = 8 + length + max(ends, default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return "its header is no list of tensors"
    return None if wanted == size else f"its header promises {wanted} bytes, it has {size}"


def _variant(path: Path) -> str | None:
    """Return ``fp16`` of ``model.fp16.safetensors`` or ``model.fp16-00001-of-00002...``."""
    words = path.name.removesuffix(".safetensors").split(".")
    return words[1].split("-")[0] if len(words) > 1 else None


def _whole(
    part: Path, files: Iterable[Path], variant: str | None, where: str
) -> list[Path]:
    """Return the files, all that the index names where they are pieces of one."""
    pieces = list(files)
    ending = f".safetensors.index.{variant}.json" if variant else ".safetensors.index.json"
    for index in part.glob(f"*{ending}"):
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{where}: {index.name} is corrupt ({error}); fetch or save it again"
            ) from error
        missing = sorted(names - {path.name for path in pieces})
        if missing:
            raise UserError(f"{where}: {missing[0]} is missing, which {index.name} names; "
                            "fetch or save it again")
    return pieces
