"""The run folder that an imported table becomes: whole, or after a kill finished by the same words.

``observations.csv`` holds every observation in the reserved columns' own units, pictures by their
digest: what a later import is held against, and joined with.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ldmopt.contracts import Block, Picture, Setting
from ldmopt.errors import UserError
from ldmopt.intake.columns import RESERVED, Kind
from ldmopt.intake.ratings import Blocks
from ldmopt.intake.shots import Shot
from ldmopt.intake.table import Observation
from ldmopt.labels import Imported, Labels, LabelStore, Rating, take_in
from ldmopt.labels.picture_files import plain_png, read_picture
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.spec import ImportedSpec, StudySpec, parse_spec

OBSERVATIONS = "observations.csv"
UNNAMED = "unnamed"
"""The rater of ratings that name none, among labels."""

_OURS = {"pictures", "run.lock", "exam.json", "exam.png", OBSERVATIONS, "environment.json",
         "blocks.jsonl", "study.db", "study.db-wal", "study.db-shm", "labels.db"}  # fmt: skip


def open_run(path: Path) -> tuple[RunFolder, StudySpec | None]:
    """Return the folder of an import, and what was imported into it before.

    Raises:
        UserError: it holds something else.
    """
    folder = RunFolder(path)
    if path.is_file():
        raise UserError(f"{str(path)!r} is a file; give a folder with --out")
    if folder.exists():
        spec = parse_spec(folder.spec.read_text(encoding="utf-8"), str(folder.spec))
        if spec.imported is None:
            raise UserError(f"run folder {str(path)!r} holds the study {spec.name!r}, whose "
                            "pictures were made here; give another --out")
        return folder, spec
    there = {item.name for item in path.iterdir()} if path.is_dir() else set()
    other = sorted(name for name in there - _OURS if not name.startswith("."))
    if other:
        raise UserError(f"{str(path)!r} is no run folder (no study.toml), but holds {other[0]!r}; "
                        "give a new folder with --out")
    return folder, None


def as_csv(observations: Iterable[Observation], knobs: Sequence[str]) -> bytes:
    """Return observations as a table that reads back the same."""
    stream = io.StringIO()
    # Quoted, because a bare carriage return would end a line on reading.
    rows = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow([*knobs, *RESERVED])
    for one in observations:
        cells = [one.setting.get(name, "") for name in knobs]
        for name in RESERVED:
            value = getattr(one, name)
            cells.append(int(value) if isinstance(value, bool) else "" if value is None else value)
        rows.writerow(cells)
    return stream.getvalue().encode()


def digest_of(table: bytes) -> str:
    """Return a short name of a table's content."""
    return hashlib.sha256(table).hexdigest()[:16]


def keep_pictures(
    folder: RunFolder, files: Mapping[str, Path], progress: Callable[[float], None]
) -> None:
    """Copy picture files into the run, under their digests.

    Raises:
        UserError: one changed since it was looked at, or the disk is full.
    """
    for number, (digest, path) in enumerate(files.items()):
        picture = read_picture(path, Block("", 0))
        if picture.digest != digest:
            raise UserError(f"{str(path)!r} changed while it was imported; run the same command "
                            "again")
        folder.keep(Picture(picture.pixels, picture.block, plain_png(picture.pixels)))
        progress((number + 1) / len(files))


def journal(folder: RunFolder, shots: Iterable[Shot], block: Blocks) -> None:
    """Book every picture that is not in the journal yet, with its prompt and seed."""
    known = folder.blocks()
    lines = []
    for shot in shots:
        if shot.picture and shot.picture not in known:
            known[shot.picture] = block(shot)
            lines.append({"setting": dict(shot.setting), "prompt": shot.prompt,
                          "seed": block(shot).seed, "digest": shot.picture})
    for line in lines:
        folder.append(line)


def write_spec(
    folder: RunFolder, source: str, model: str, default: Setting, kinds: Mapping[str, Kind]
) -> StudySpec:
    """Write the run's study.toml, or return the one that is there with what is new."""
    import tomli_w

    if folder.exists():
        spec = parse_spec(folder.spec.read_text(encoding="utf-8"), str(folder.spec))
    else:
        spec = StudySpec(name=_name(folder.path), model=model, default=dict(default))
    before = spec.imported or ImportedSpec(source=source)
    data = spec.model_dump(exclude_none=True, exclude_defaults=True)
    data["imported"] = {"source": before.source, "knobs": {**before.knobs, **kinds}}
    text = tomli_w.dumps({"name": spec.name, **data})
    found = parse_spec(text, str(folder.spec))
    if found != spec:
        write(folder.spec, text.encode())
    return found


def _name(path: Path) -> str:
    """Return a study's name that a folder's allows."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-"
                   for c in path.resolve().name)
    return kept.lstrip("._-") or "imported"


def write_environment(folder: RunFolder, model: str, device: str) -> None:
    """Write environment.json, as far as anything is known; the first one stays."""
    if folder.environment.exists():
        return
    facts = {
        "schema_version": 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": model,
        "model_digest": "",
        "device": "imported",
        "device_name": device or "unknown device",
        "packages": {},
    }
    write(folder.environment, (json.dumps(facts, indent=1) + "\n").encode())


def store_labels(folder: RunFolder, shots: Iterable[Shot], block: Blocks) -> Imported:
    """Add the ratings of pictures that there are files of, so that `fit` can learn from them.

    A picture that several settings share gets the mean of what a rater gave it.
    """
    values: dict[tuple[str, str], list[float]] = {}
    blocks: dict[str, Block] = {}
    for shot in shots:
        for rater, rating in shot.ratings.items() if shot.picture else ():
            values.setdefault((shot.picture, rater or UNNAMED), []).append(rating)
            blocks.setdefault(shot.picture, block(shot))
    ratings = [Rating(picture, rater, mean(found), blocks[picture].prompt, blocks[picture].seed)
               for (picture, rater), found in values.items()]
    if not ratings:
        return Imported()
    with LabelStore(folder.labels) as store:
        return take_in(store, Labels(tuple(ratings)))


def frozen(
    default: Setting, picture_knobs: Iterable[str], blocks: Sequence[Block],
    scorer: Mapping[str, Any], more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a generation freezes; no prompts are held out, because there are no others."""
    return {
        "schema_version": 1,
        "default": dict(default),
        "picture_knobs": sorted(picture_knobs),
        "dropped": [],
        "equivalence": [],
        "blocks": [[one.prompt, one.seed] for one in blocks],
        "held_out": [],
        "scorer": dict(scorer),
        "alignment": None,
        **more,
    }
