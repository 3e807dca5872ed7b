"""Using what a rulebook says: pictures made with a recommended setting."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Picture, Value
from ldmopt.errors import GenerationError, UserError
from ldmopt.knob import Context, Space, build_space
from ldmopt.model import describe
from ldmopt.study.folder import write


def open_space(model: str, device: str, setting: Mapping[str, object]) -> Space:
    """Return a space whose default is this setting.

    Raises:
        UserError: model or setting cannot be had here.
    """
    context = Context(describe(model), machine.likely_device(device), machine.packages())
    return build_space(setting, {}, context)


def generate(
    setting: Mapping[str, Value], prompt: str, *, model: str = "miniature", seed: int = 0,
    device: str = "auto",
) -> Picture:
    """Make one picture with a setting, its parameters embedded in the PNG.

    Args:
        setting: knob values, for example a recommendation's ``setting``.
        prompt: what to paint.
        model: as in a study.
        seed: of the starting noise.
        device: as in a study.

    Raises:
        UserError: the setting cannot be had here, or gives no usable picture.
    """
    space = open_space(model, device, setting)
    alone = space.canonical({"batch": 1})
    host = ProcessHost(space.context.model, device, picture_part=space.picture,
                       backends=[str(space.default["backend"])])
    with closing(host):
        try:
            return next(iter(list(host.generate(alone, [Block(prompt, seed)]))))[0]
        except GenerationError as error:
            raise UserError(f"setting {space.default} gives no picture: {error}; "
                            "take another recommendation") from error


def read_setting(path: str | Path) -> dict[str, object]:
    """Read a setting from a JSON file.

    Raises:
        UserError: the file cannot be read or holds no JSON object.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"setting {str(path)!r} cannot be read: {error}; "
                        'give a JSON file such as {"steps": 20}') from error
    if not isinstance(data, dict):
        raise UserError(f"setting {str(path)!r} must be a JSON object, got {data!r}; "
                        'give for example {"steps": 20}')
    return data


def write_picture(picture: Picture, path: str | Path) -> None:
    """Write a picture's PNG file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    write(Path(path), picture.png)
