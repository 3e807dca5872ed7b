"""A folder of pictures as a table of observations: one row a picture, no costs, no ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.intake import metadata
from ldmopt.intake.columns import known_knobs
from ldmopt.intake.metadata import FURTHER, Made
from ldmopt.intake.table import EMPTY, Observation, Raw
from ldmopt.labels.picture_files import FORMATS, read_pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Gathered:
    """What a folder's pictures say.

    Attributes:
        raw: the table that they make.
        files: digest -> picture file.
        model: the checkpoint, where all pictures name the same one; else empty.
        notes: what was taken for what.
        skipped: files that were left out, each with the reason.
    """

    raw: Raw
    files: dict[str, Path]
    model: str
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def read_folder(folder: Path, progress: Callable[[float], None]) -> Gathered:
    """Read every picture of a folder and of those within it.

    Args:
        folder: where to look.
        progress: is told the share that is done.

    Raises:
        UserError: no such folder, or no picture in it that says how it was made.
    """
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is no folder; give a CSV table or a folder of pictures")
    paths = sorted(path for path in folder.rglob("*")
                   if path.suffix.lower() in SUFFIXES and path.is_file())
    made: list[tuple[Path, Made, str]] = []
    skipped: list[tuple[str, str]] = []
    first: dict[str, str] = {}
    for number, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        try:
            how, digest = _read(path)
            if first.setdefault(digest, name) != name:
                raise UserError(f"it is the same picture as {first[digest]}")
            made.append((path, how, digest))
        except UserError as error:
            skipped.append((name, str(error)))
        progress((number + 1) / len(paths))
    if not made:
        seen = f"{len(paths)} pictures" if paths else "no PNG, JPEG or WebP file"
        why = f", for example {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise UserError(f"{str(folder)!r} holds {seen} and none that says how it was made{why}; "
                        "give a folder of pictures with their metadata, or a CSV table")
    return _gathered(folder, made, tuple(skipped))


def _read(path: Path) -> tuple[Made, str]:
    """Return how a picture was made, and its digest.

    Raises:
        UserError: it cannot be read, or does not say how it was made.
    """
    from PIL import Image

    pixels = read_pixels(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            found = metadata.read(image)
    except UserError:
        raise
    except Exception as error:  # a parser may meet anything in other people's files
        reason = str(error) or type(error).__name__
        raise UserError(f"its metadata cannot be read: {' '.join(reason.split())}") from error
    return found, Picture(pixels, Block("", 0)).digest


def _gathered(
    folder: Path, made: Sequence[tuple[Path, Made, str]], skipped: tuple[tuple[str, str], ...]
) -> Gathered:
    """Make a table: what differs between pictures beside the knobs becomes a knob of its own."""
    hows = [how for _, how, _ in made]
    differing = [name for name in FURTHER if len({how.further.get(name) for how in hows}) > 1]
    with_negative = len({how.negative for how in hows}) > 1
    knobs = tuple(dict.fromkeys([*(name for how in hows for name in how.cells), *differing]))
    rows = []
    for number, how in enumerate(hows):
        cells = {**how.cells, **{name: how.further.get(name, "") for name in differing}}
        prompt = how.prompt
        if with_negative and how.negative:
            prompt += f"\nNegative prompt: {how.negative}"
        one = Observation(number, EMPTY, prompt, how.seed, picture=made[number][2])
        rows.append((tuple(cells.get(name, "") for name in knobs), one))
    models = Counter(how.model for how in hows)
    names = [str(path.relative_to(folder)) for path, _, _ in made]
    return Gathered(
        Raw(lambda number: f"{folder / names[number]}", knobs, tuple(rows)),
        {digest: path for path, _, digest in made},
        next(iter(models)) if len(models) == 1 else "",
        tuple(_notes(differing, with_negative, len(skipped))), skipped,
    )


def _notes(differing: Sequence[str], with_negative: bool, skipped: int) -> list[str]:
    found = []
    named = [name for name in differing if name not in known_knobs()]
    if named:
        found.append(f"pictures differ in {', '.join(named)} too: taken as knobs")
    if with_negative:
        found.append("pictures differ in their negative prompts: each counts as part of its prompt")
    if skipped:
        found.append(f"{skipped} files could not be read or do not say how they were made: left "
                     "out")
    return found
