"""A run's report: report.html, one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldmopt.contracts import Block, Pixels
from ldmopt.errors import UserError
from ldmopt.rulebook import Rulebook
from ldmopt.study import records
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.output import read_evidence, read_run


@dataclass(frozen=True)
class Reported:
    """A report that was written.

    Attributes:
        file: where.
        size: in bytes.
        pictures: how many are in it.
        missing: one line for each picture that could not be read.
    """

    file: Path
    size: int
    pictures: int
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"file": str(self.file), "bytes": self.size, "pictures": self.pictures,
                "missing": list(self.missing)}


def report_run(
    run: str | Path, out: str | Path | None = None, *,
    progress: Callable[[float], None] = lambda share: None,
) -> Reported:
    """Write a run's report.

    Args:
        run: the run folder.
        out: the file; ``report.html`` in the run folder when None.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: no run folder, no rulebook of the newest generation in it, or the file cannot be
            written. Pictures that are gone or damaged are named in the report and in what is
            returned, and left out.
    """
    from ldmopt.exports.html import Story, to_html

    folder = RunFolder(run).require()
    if not folder.rulebook.is_file():
        raise UserError(f"run {str(folder.path)!r} has no rulebook.json yet; go on with: "
                        f"ldmopt run {folder.spec} --out {folder.path}")
    rulebook = Rulebook.read(folder.rulebook)
    folder, spec, study = read_run(folder.path)
    with records.storage_errors(folder):
        evidence = read_evidence(folder, spec, study)
    if rulebook.data["generation"] != evidence.generation:
        raise UserError(
            f"{str(folder.rulebook)!r} tells of generation {rulebook.data['generation']}, the run "
            f"is in generation {evidence.generation}; write it anew with: "
            f"ldmopt rulebook {folder.path}"
        )

    def read(digest: str, block: Block) -> Pixels:
        return folder.picture(digest, block).pixels

    story = Story(
        rulebook, evidence, read, taste=_taste(folder), environment=_json(folder.environment),
        study=folder.spec.read_text(encoding="utf-8"), run=folder.path.resolve().name,
    )  # fmt: skip
    page = to_html(story, progress=progress)
    file = folder.path / "report.html" if out is None else Path(out)
    if file.is_dir():
        raise UserError(f"{str(file)!r} is a folder; give a file for the report, such as "
                        f"{str(file / 'report.html')!r}")
    data = page.html.encode()
    write(file, data)
    return Reported(file, len(data), page.pictures, tuple(page.missing.values()))


def _taste(folder: RunFolder) -> Any:
    """The report of the regressor that was fitted in the run, or None."""
    file = folder.regressor / "report.json"
    return _json(file) if file.is_file() else None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{str(file)!r} cannot be read ({error}); restore it from a copy of the "
                        "folder") from error
