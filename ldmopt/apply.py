"""Using what a rulebook says: pictures made with a recommended setting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.contracts import Block, Picture, Value
from ldmopt.errors import GenerationError, UserError
from ldmopt.knob import Context, Space, build_space
from ldmopt.model import describe
from ldmopt.rulebook import Recommendation
from ldmopt.study.folder import write


def setting_and_model(
    wanted: Recommendation | Mapping[str, Value], model: str | None
) -> tuple[Mapping[str, Value], str]:
    """Return a recommendation's knob values and its model, where no other one is named.

    Mere knob values are for the miniature.

    Raises:
        UserError: nothing says which model the recommendation is of.
    """
    if isinstance(wanted, Recommendation):
        named = model or wanted.model
        if named is None:
            raise UserError(f"recommendation {wanted.id!r} is of a rulebook that does not say "
                            "which model made its pictures; name one with --model")
        return wanted.setting, named
    return wanted, model or "miniature"


def open_space(
    model: str, device: str, setting: Mapping[str, object], plugins: Sequence[str] = ()
) -> Space:
    """Return a space whose default is this setting.

    Raises:
        UserError: model or setting cannot be had here.
    """
    context = Context(describe(model), machine.likely_device(device), machine.packages())
    return build_space(setting, {}, context, plugins)


def generate(
    setting: Recommendation | Mapping[str, Value], prompt: str, *, model: str | None = None,
    seed: int = 0, device: str = "auto", plugins: Sequence[str] = (),
) -> Picture:
    """Make one picture with a setting, its parameters embedded in the PNG.

    Args:
        setting: a rulebook's recommendation, or knob values.
        prompt: what to paint.
        model: as in a study; the recommendation's own, or the miniature for mere knob values,
            where it is None.
        seed: of the starting noise.
        device: as in a study.
        plugins: modules with further knobs, as the study had them.

    Raises:
        UserError: the setting cannot be had here, or gives no usable picture.
    """
    if not prompt.strip():
        raise UserError("prompt is empty; say what to paint")
    values, name = setting_and_model(setting, model)
    space = open_space(name, device, values, plugins)
    alone = space.canonical({"batch": 1})
    host = ProcessHost(space.context.model, device, picture_part=space.picture,
                       backends=[str(space.default["backend"])], plugins=plugins)
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
