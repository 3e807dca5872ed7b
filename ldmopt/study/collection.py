"""Collections: folders of rated pictures that are no run.

``collection.json`` prompt, seed and source of every picture; ``pictures/`` content-addressed PNGs
without metadata; ``labels.db``; ``regressor/`` once one was fitted. Pictures are stored before they
are named in ``collection.json``, and named before their labels are stored, so that an import that
was killed is finished by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.labels import Imported, Labels, LabelStore, take_in
from ldmopt.labels.csv_files import read_csv
from ldmopt.labels.picture_files import plain_png, read_picture
from ldmopt.labels.pictures import Found, Pictures
from ldmopt.study.folder import PictureFolder, RunFolder, held, write, writing

VERSION = 1
LOCK = "collection.lock"
READING = 0.5
"""Share of an import's progress that reading the CSV stands for; storing pictures is the rest."""

Progress = Callable[[float], None]


class Gallery(Protocol):
    """A folder of pictures with labels: a run, or a collection."""

    @property
    def path(self) -> Path:
        """The folder."""
        ...

    @property
    def labels(self) -> Path:
        """The label store, which may not be there yet."""
        ...

    @property
    def regressor(self) -> Path:
        """The folder of the regressor fitted to the labels, which may not be there yet."""
        ...

    def blocks(self) -> dict[str, Block]:
        """Return the prompt and seed of every picture, by digest."""
        ...

    def picture(self, digest: str, block: Block) -> Picture:
        """Return a stored picture, which is read when its pixels are asked for."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process."""
        ...


def open_gallery(path: str | Path) -> Gallery:
    """Return a folder as what it is, a run or a collection.

    Raises:
        UserError: it is neither.
    """
    run, collection = RunFolder(path), Collection(path)
    if run.exists():
        return run
    if collection.exists():
        return collection
    raise UserError(
        f"{str(path)!r} is no run folder (no study.toml) and no collection (no collection.json);"
        " make one with: ldmopt run STUDY.toml, or ldmopt labels import NEWFOLDER RATINGS.csv"
    )


@dataclass(frozen=True)
class Entry:
    """What is known of a picture.

    Attributes:
        prompt: what it was made for; empty where unknown.
        seed: its seed, or None where unknown.
        source: name of the file that it came from.
    """

    prompt: str = ""
    seed: int | None = None
    source: str = ""


class Collection:
    """Rated pictures that came from files."""

    def __init__(self, path: str | Path) -> None:
        """Name a collection; nothing is made or read yet."""
        self.path = Path(path)
        self.record = self.path / "collection.json"
        self.labels = self.path / "labels.db"
        self.regressor = self.path / "regressor"
        self._pictures = PictureFolder(self.path / "pictures")

    def exists(self) -> bool:
        """Tell whether a collection was begun here."""
        return self.record.is_file()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process; the system lets go when the process ends.

        Raises:
            UserError: another process holds it.
        """
        return held(self.path / LOCK, f"collection {str(self.path)!r}",
                    "wait for it, then run the same command again")

    def entries(self) -> dict[str, Entry]:
        """Return what is known of every picture, by digest.

        Raises:
            UserError: collection.json is damaged, or of another version.
        """
        if not self.exists():
            return {}
        where = str(self.record)
        try:
            data = json.loads(self.record.read_bytes())
            version = data["schema_version"]
            if version != VERSION:
                way_out = "upgrade ldmopt" if version > VERSION else "import the CSV anew"
                raise UserError(f"{where!r} has schema_version {version}, this ldmopt reads"
                                f" {VERSION}; {way_out}")
            return {digest: Entry(**entry) for digest, entry in data["pictures"].items()}
        except OSError as error:
            raise UserError(f"{where!r} cannot be read: {error.strerror or error}; give a folder"
                            " that you may read") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{where!r} is damaged ({error}); restore it from a copy, or import"
                            " into a new folder") from error

    def blocks(self) -> dict[str, Block]:
        """Return the prompt and seed of every picture; a seed that nobody knows is 0.

        Raises:
            UserError: collection.json is damaged, or of another version.
        """
        return {digest: Block(entry.prompt, entry.seed or 0)
                for digest, entry in self.entries().items()}

    def picture(self, digest: str, block: Block) -> Picture:
        """Return a stored picture, which is read when its pixels are asked for.

        Reading it raises a UserError where it is gone, damaged, or not the one its name says.
        """
        return self._pictures.picture(digest, block)

    def take(self, csv: str | Path, progress: Progress | None = None) -> Imported:
        """Take in the labels of a CSV file, and the pictures that it names by path.

        The folder is made when it is not there. A row's prompt and seed become its pictures'.

        Args:
            csv: the file, in one of the layouts of `labels.csv_files`.
            progress: is told the share that is done, 0 to 1.

        Raises:
            UserError: names file, row, column, rule, value and the way out; then nothing was
                written. Or the disk is full: then the same command goes on later.
        """
        tell = progress or (lambda share: None)
        self._refuse_other_folders(Path(csv))
        pictures = Pictures(Path(csv).parent, _found(self.entries()), take=True,
                            place=f"collection {str(self.path)!r}")
        labels = self._read(Path(csv), pictures, lambda share: tell(READING * share))
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with self.lock():
            entries = self._merged(pictures)
            if not self.exists():
                self._write({})  # from here on the folder says what it is
            for number, (digest, path) in enumerate(pictures.new.items()):
                self._pictures.keep(digest, partial(_png, path, digest))
                tell(READING + (1 - READING) * number / len(pictures.new))
            if entries != self.entries():
                self._write(entries)
            with LabelStore(self.labels) as store:
                done = take_in(store, labels)
        tell(1.0)
        unknown = sum(not entries[digest].prompt for digest in labels.digests())
        return replace(done, pictures=len(pictures.new), without_prompt=unknown)

    def _refuse_other_folders(self, csv: Path) -> None:
        if self.path.is_file():
            raise UserError(f"{str(self.path)!r} is a file; the folder comes first:"
                            " ldmopt labels import FOLDER FILE.csv")
        if self.exists() or not self.path.is_dir():
            return
        ours = {csv.name, LOCK}  # and what begins with a dot, as files half written do
        for item in self.path.iterdir():
            if item.name not in ours and not item.name.startswith("."):
                raise UserError(
                    f"{str(self.path)!r} is no run folder (no study.toml) and no collection (no"
                    f" collection.json), but holds {item.name!r}; give a run, or a new folder"
                )

    def _read(self, csv: Path, pictures: Pictures, progress: Progress) -> Labels:
        try:
            labels = read_csv(csv, pictures, progress)
        except UserError as error:
            if self.exists() or pictures.refused is None or pictures.new:
                raise
            raise UserError(
                f"{str(self.path)!r} is no run folder and no collection, and would become a"
                f" collection only if the CSV named picture files ({error}); give the RUN that"
                " has these pictures, or name picture files by path for a new collection"
            ) from error
        if not self.exists() and not pictures.new:
            raise UserError(f"{csv}: row 2: there is no label, got nothing after the header;"
                            " add rows")
        return labels

    def _merged(self, pictures: Pictures) -> dict[str, Entry]:
        """Return all entries, with what the CSV adds; another import may have come between."""
        entries = self.entries()
        for digest, path in pictures.new.items():
            entries.setdefault(digest, Entry(source=path.name))
        for digest, told in pictures.told.items():
            known = entries[digest]
            for column in ("prompt", "seed"):
                if getattr(known, column) not in ("", None, getattr(told, column)):
                    raise UserError(
                        f"{str(self.record)!r}: picture {digest[:12]} got another {column} from"
                        f" another import just now, {getattr(known, column)!r}; run this one again"
                    )
            entries[digest] = replace(
                known, prompt=known.prompt or told.prompt,
                seed=told.seed if known.seed is None else known.seed,
            )
        return entries

    def _write(self, entries: Mapping[str, Entry]) -> None:
        data: dict[str, Any] = {
            "schema_version": VERSION,
            "pictures": {digest: asdict(entry) for digest, entry in entries.items()},
        }
        write(self.record, json.dumps(data, indent=1, ensure_ascii=False).encode())


def _found(entries: Mapping[str, Entry]) -> dict[str, Found]:
    return {digest: Found(digest, entry.prompt, entry.seed) for digest, entry in entries.items()}


def _png(path: Path, digest: str) -> bytes:
    picture = read_picture(path, Block("", 0))
    if picture.digest != digest:
        raise UserError(f"{str(path)!r} changed while it was imported; run the same command again")
    return plain_png(picture.pixels)


_: tuple[type[Gallery], type[Gallery]] = (RunFolder, Collection)
