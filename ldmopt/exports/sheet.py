"""Picture sheets: one column a setting (or whatever made the pictures), one row a prompt."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ldmopt.contracts import Cost, Pixels, Quality, Setting
from ldmopt.errors import UserError
from ldmopt.exports._words import (
    bytes_text,
    differing,
    seconds_text,
    speed_text,
    telling,
    win_text,
)
from ldmopt.rulebook import replace_file

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

CELL = 224
"""Side of a picture on the sheet, in pixels; smaller pictures are enlarged to it."""

GAP, EDGE, CAPTION, NOTE = 14, 28, 190, 22
INK, SOFT, RULE, ACCENT, PAPER = "#1a1a1a", "#5c5c5c", "#d9d9d9", "#0072b2", "#ffffff"
WARNING = "#b03a00"


@dataclass(frozen=True)
class Column:
    """One setting of the sheet.

    Attributes:
        name: such as ``balanced``; the first column is the default.
        setting: its knobs.
        quality: its win rate on held-out prompts.
        cost: what a picture costs.
        pictures: one a prompt, height x width x 3 uint8.
    """

    name: str
    setting: Setting
    quality: Quality
    cost: Cost
    pictures: Sequence[Pixels]


@dataclass(frozen=True)
class Stack:
    """One column of any sheet.

    Attributes:
        name: its head.
        lines: what stands under the head, each with its colour.
        pictures: one a prompt, height x width x 3 uint8.
        colour: of head and rule.
        notes: one a picture, with its colour, written beneath it; or none.
    """

    name: str
    lines: Sequence[tuple[str, str]]
    pictures: Sequence[Pixels]
    colour: str = ACCENT
    notes: Sequence[tuple[str, str]] = field(default=())


def picture_sheet(columns: Sequence[Column], prompts: Sequence[str], path: str | Path) -> None:
    """Write the sheet as PNG: one column a setting, one row a prompt.

    Args:
        columns: the default first; the others are described by what differs from it.
        prompts: what the rows were asked for.
        path: the file, written whole or not at all.

    Raises:
        UserError: a column has fewer pictures than there are prompts, or the file cannot be
            written.
    """
    stacks = [
        Stack(column.name, _head(column, columns), column.pictures, ACCENT if index else INK)
        for index, column in enumerate(columns)
    ]
    write_stacks(stacks, prompts, path)


def write_stacks(
    stacks: Sequence[Stack], prompts: Sequence[str], path: str | Path,
    corner: str = "same prompt and seed\nacross each row",
) -> None:
    """Write a sheet of any columns as PNG.

    Args:
        stacks: the columns.
        prompts: what the rows were asked for.
        path: the file, written whole or not at all.
        corner: what stands above the prompts.

    Raises:
        UserError: a column has fewer pictures than there are prompts, or the file cannot be
            written.
    """
    for stack in stacks:
        if len(stack.pictures) != len(prompts):
            raise UserError(
                f"column {stack.name!r} has {len(stack.pictures)} pictures for "
                f"{len(prompts)} prompts"
            )
    if not stacks or not prompts:
        raise UserError("a picture sheet needs at least one setting and one prompt")
    sheet = _draw(stacks, prompts, corner)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    replace_file(Path(path), stream.getvalue())


def _draw(stacks: Sequence[Stack], prompts: Sequence[str], corner: str) -> Image:
    from PIL import Image, ImageDraw

    head_height = 54 + 20 * max(len(stack.lines) for stack in stacks)
    step = CELL + GAP + (NOTE if any(stack.notes for stack in stacks) else 0)
    width = 2 * EDGE + CAPTION + len(stacks) * (CELL + GAP)
    height = 2 * EDGE + head_height + len(prompts) * step
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for index, stack in enumerate(stacks):
        left = EDGE + CAPTION + GAP + index * (CELL + GAP)
        _write_head(pen, left, stack)
        for row, pixels in enumerate(stack.pictures):
            _paste(sheet, pixels, left, EDGE + head_height + row * step)
        for row, (text, colour) in enumerate(stack.notes):
            top = EDGE + head_height + row * step + CELL + 3
            pen.text((left, top), _fitted(pen, text, _font(13)), colour, _font(13))
    pen.text((EDGE, EDGE + 38), corner, SOFT, _font(13))
    for row, prompt in enumerate(prompts):
        _write_prompt(pen, EDGE + head_height + row * step, prompt)
    return sheet


def _head(column: Column, columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Lines above a column, as (text, colour): figures first, then knobs, one a line."""
    default = columns[0]
    is_default = column.setting == default.setting
    wins = "0.50 by definition" if is_default else win_text(column.quality.to_dict())
    speed = "" if is_default else speed_text(column.cost.seconds, default.cost.seconds)
    lines = [
        (f"win rate {wins}", INK),
        (seconds_text(column.cost.seconds) + (f"  ·  {speed}" if speed else ""), INK),
        (f"{bytes_text(column.cost.peak_memory_bytes)} peak", INK),
    ]
    if is_default:
        shown = telling(column.setting, [other.setting for other in columns])
    else:
        shown = differing(column.setting, default.setting)
    return lines + [(f"{name} {value}", SOFT) for name, value in shown.items()]


def _write_head(pen: ImageDraw, left: int, stack: Stack) -> None:
    """A name, a rule, and the lines under it."""
    font = _font(20, bold=True)
    while pen.textlength(stack.name, font) > CELL and font.size > 11:
        font = _font(int(font.size) - 1, bold=True)
    rule = RULE if stack.colour == INK else stack.colour
    pen.text((left, EDGE), stack.name, stack.colour, font)
    pen.line([(left, EDGE + 30), (left + CELL, EDGE + 30)], rule, 2)
    small = _font(13)
    for index, (text, colour) in enumerate(stack.lines):
        pen.text((left, EDGE + 38 + 20 * index), _fitted(pen, text, small), colour, small)


def _fitted(pen: ImageDraw, text: str, font: FreeTypeFont) -> str:
    """The text, cut where it would leave its column."""
    while len(text) > 4 and pen.textlength(text, font) > CELL:
        text = text[:-2].rstrip("…") + "…"
    return text


def _write_prompt(pen: ImageDraw, top: int, prompt: str) -> None:
    """A prompt beside its row, wrapped."""
    font = _font(14)
    lines = textwrap.wrap(prompt, 24) or [""]
    most = CELL // 19
    if len(lines) > most:
        lines = [*lines[: most - 1], lines[most - 1] + " …"]
    for index, line in enumerate(lines):
        pen.text((EDGE, top + 19 * index), line, INK, font)


def _paste(sheet: Image, pixels: Pixels, left: int, top: int) -> None:
    """A picture, enlarged or reduced to fit its cell, centred, its shape kept."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = CELL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (CELL - size[0]) // 2, top + (CELL - size[1]) // 2))


def _font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / name), size)
