"""What a model's parts are configured to, and what its call takes, known before loading."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ldmopt.families import family
from ldmopt.model import Model


@cache
def part_config(model: Model, part: str) -> Mapping[str, Any]:
    """Return the configuration of a model's part (``vae``, ``unet``, ``scheduler`` ...).

    A part that the model does not have, or whose file cannot be read, gives nothing: loading
    the model says what is wrong with it.
    """
    for name in ("config.json", f"{part}_config.json"):
        path = Path(model.folder) / part / name
        if model.folder and path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                return {}
            return found if isinstance(found, dict) else {}
    return {}


def call_arguments(model: Model) -> frozenset[str]:
    """Return what the call of a model's pipeline takes."""
    found = family(model.pipeline)
    return frozenset(found.arguments) if found else frozenset()
