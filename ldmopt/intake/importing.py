"""`import_table` and `import_folder`: measurements of others become a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ldmopt.contracts import Block, Setting
from ldmopt.errors import UserError
from ldmopt.intake import keeping, words
from ldmopt.intake.columns import Kind
from ldmopt.intake.default import choose, wanted_values
from ldmopt.intake.embedded import read_folder
from ldmopt.intake.ratings import Blocks
from ldmopt.intake.shots import Shot, check_units, shots_of
from ldmopt.intake.study import Facts, measured, objectives, picture_knobs, trials
from ldmopt.intake.table import Observation, Raw, any_sigmas, kinds, read_table, settled
from ldmopt.labels.pictures import Found, Pictures
from ldmopt.rulebook import UNKNOWN_MODEL, Rulebook
from ldmopt.study import records
from ldmopt.study.exam import sit_exam
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.judging import RATINGS, Judges
from ldmopt.study.output import distill_run
from ldmopt.study.scoring import load_scorer
from ldmopt.study.spec import StudySpec

Progress = Callable[[float], None]

READ, KEPT, JUDGED = 0.4, 0.7, 0.9
"""Shares of the progress at which reading, keeping pictures and judging end."""


@dataclass(frozen=True)
class Intake:
    """What an import did.

    Attributes:
        run: the run folder.
        observations: all that the run now holds.
        added: those of them that are new.
        settings: distinct ones.
        failed: settings that failed.
        pictures: picture files of the run.
        labels: ratings that became labels.
        default: what everything is compared with.
        why_default: why it is that one.
        judged_by: what the win rates rest on, in words.
        notes: what could not be concluded, and what was taken for what.
        skipped: files that were left out, each with the reason.
        rulebook: what `rulebook` makes of it.
    """

    run: Path
    observations: int
    added: int
    settings: int
    failed: int
    pictures: int
    labels: int
    default: Setting
    why_default: str
    judged_by: str
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    rulebook: Rulebook

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, the rulebook left out."""
        data = {name: getattr(self, name) for name in self.__dataclass_fields__
                if name != "rulebook"}
        return {**data, "run": str(self.run), "default": dict(self.default),
                "notes": list(self.notes),
                "skipped": [{"file": file, "reason": reason} for file, reason in self.skipped]}


def import_table(
    path: str | Path, out: str | Path | None = None, *, knobs: Sequence[str] = (),
    default: Sequence[str] | Mapping[str, object] = (), model: str = "", device: str = "",
    progress: Progress | None = None,
) -> Intake:
    """Make a run of a table of observations, or add it to one; nothing is generated.

    Args:
        path: CSV with knobs and any of `columns.RESERVED` as columns.
        out: the run folder; ``runs/<name of the table>`` when None.
        knobs: columns that are further knobs.
        default: ``knob=value`` words, or a mapping, that the default setting must meet; else it is
            the setting observed most, then the first.
        model: what made the pictures, for the rulebook's scope.
        device: on what, for the rulebook's scope.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: names file, row, column, rule, value and the way out; then nothing was written.
            Or the disk is full: then the same command goes on later.
    """
    table, tell = Path(path), progress or (lambda share: None)
    work = _Import(out, table.stem, default, model, device, tell)
    pictures = work.pictures(table.parent)
    declared = dict.fromkeys([*knobs, *(name for name in work.declared
                                        if name in _header(table))])
    raw = read_table(table, pictures, declared, lambda share: tell(READ * share))
    return work.take(raw, pictures.new, table.name)


def import_folder(
    path: str | Path, out: str | Path | None = None, *,
    default: Sequence[str] | Mapping[str, object] = (), model: str = "", device: str = "",
    progress: Progress | None = None,
) -> Intake:
    """Make a run of a folder of pictures, read from the metadata that their programs embedded.

    Files that cannot be read, or that do not say how they were made, are listed and left out.

    Args:
        path: the folder; folders within it are read too.
        out: the run folder; ``runs/<name of the folder>`` when None.
        default: as in `import_table`.
        model: what made the pictures; else what they say themselves, where they agree.
        device: on what.
        progress: is told the share that is done, 0 to 1.

    Raises:
        UserError: no such folder, no picture in it that says how it was made, or as in
            `import_table`.
    """
    folder, tell = Path(path), progress or (lambda share: None)
    found = read_folder(folder, lambda share: tell(READ * share))
    work = _Import(out, folder.resolve().name, default, model or found.model, device, tell)
    return replace(work.take(found.raw, found.files, folder.resolve().name, found.notes),
                   skipped=found.skipped)


def _header(table: Path) -> set[str]:
    """Return a table's columns, as far as they can be read; complaints come later."""
    from ldmopt.labels.strict_csv import opened

    with opened(table) as (header, _):
        return set(header)


class _Import:
    """One import under way."""

    def __init__(
        self, out: str | Path | None, name: str, default: Sequence[str] | Mapping[str, object],
        model: str, device: str, tell: Progress,
    ) -> None:
        path = Path(out) if out is not None else Path("runs") / name
        self.folder, self.spec = keeping.open_run(path)
        self.wanted = ([f"{knob}={value}" for knob, value in default.items()]
                       if isinstance(default, Mapping) else list(default))
        self.model, self.device, self.tell = model, device, tell

    @property
    def declared(self) -> Mapping[str, Kind]:
        """Further knobs that an earlier import declared."""
        return self.spec.imported.knobs if self.spec and self.spec.imported else {}

    def pictures(self, place: Path) -> Pictures:
        """Return what finds pictures: the run's own by digest, others as files."""
        known = {digest: Found(digest, block.prompt, block.seed)
                 for digest, block in self.folder.blocks().items()}
        return Pictures(place, known, take=True, place=f"run {str(self.folder.path)!r}")

    def take(
        self, raw: Raw, files: Mapping[str, Path], source: str, notes: Sequence[str] = ()
    ) -> Intake:
        """Join with what the run holds, and write all of it anew."""
        raws = [*self._before(), raw]
        found, kind = _joined(raws, self.declared)
        old = sum(len(item.rows) for item in raws[:-1])
        shots = shots_of(found, lambda one: _name(raws, one))
        check_units(shots, lambda one: _name(raws, one))
        facts = Facts.of(shots)
        default, why = self._default(shots, found, facts, kind)
        knobs = list(dict.fromkeys(name for one in found for name in one.setting))
        table = keeping.as_csv(found, knobs)
        folder = self.folder
        folder.create()
        with folder.lock():
            keeping.keep_pictures(folder, files, lambda share: self.tell(
                READ + (KEPT - READ) * share))
            every = [shot for rows in shots.values() for shot in rows]
            block = Blocks(every)
            keeping.journal(folder, every, block)
            model = self.model or UNKNOWN_MODEL
            spec = self.spec or StudySpec(name="imported", model=model)
            judges, exam = self._judges(spec, facts, shots[default], block)
            rows = measured(shots, default, facts, judges.quality if judges else None,
                            lambda share: self.tell(KEPT + (JUDGED - KEPT) * share))
            scorer = _scorer(facts, judges, keeping.digest_of(table))
            told = (*notes, *words.notes(facts, rows, shots, objectives(rows), judges is not None))
            keeping.write_environment(folder, model, self.device)
            spec = keeping.write_spec(folder, source, model, default, kind)
            write(folder.path / keeping.OBSERVATIONS, table)
            blocks = [Block(one.prompt, one.seed) for one in (
                rows[0].judged.quality.blocks if rows[0].judged else ())]
            frozen = keeping.frozen(default, picture_knobs(shots), blocks, scorer, {
                **exam, "imported": source, "notes": told, "table": keeping.digest_of(table)})
            _generation(folder, spec, frozen, lambda: trials(rows, scorer), objectives(rows))
            keeping.store_labels(folder, every, block)
        rulebook = distill_run(folder.path)
        self.tell(1.0)
        return Intake(
            folder.path, len(found), len(found) - old, len(shots),
            sum(row.failure is not None for row in rows),
            len({shot.picture for shot in every if shot.picture}),
            sum(len(shot.ratings) for shot in every if shot.picture),
            default, why, words.judge(scorer), told, (), rulebook,
        )

    def _before(self) -> list[Raw]:
        """Return what the run holds."""
        path = self.folder.path / keeping.OBSERVATIONS
        if not path.is_file():
            return []
        return [read_table(path, self.pictures(path.parent), self.declared)]

    def _default(
        self, shots: Mapping[Setting, Sequence[Shot]], found: Sequence[Observation],
        facts: Facts, kind: Mapping[str, Kind],
    ) -> tuple[Setting, str]:
        wanted = wanted_values(self.wanted, kind)
        counts = Counter(one.setting.json() for one in found)
        chosen, why = choose(
            list(shots), {one: counts[one.json()] for one in shots}, wanted,
            lambda setting: facts.lack(shots[setting]),
        )
        if self.spec is None:
            return chosen, why
        kept = Setting(self.spec.default)
        if any(kept.get(name) != value for name, value in wanted.items()):
            raise UserError(f"--default: run {str(self.folder.path)!r} compares with {kept}, which "
                            "stays for good; give another --out")
        if kept not in shots or facts.lack(shots[kept]):
            lack = facts.lack(shots[kept]) if kept in shots else "is not there any more"
            raise UserError(f"run {str(self.folder.path)!r} compares with {kept}, which now {lack};"
                            " give another --out")
        return kept, "the run's"

    def _judges(
        self, spec: StudySpec, facts: Facts, default: Sequence[Shot], block: Blocks
    ) -> tuple[Judges | None, dict[str, Any]]:
        """Return the package's regressor, examined, where there are pictures and no ratings."""
        if facts.ratings or not facts.pictured:
            return None, {}
        judges = Judges(self.folder, load_scorer(spec, self.folder, fitted=False))
        shown = {block(shot): shot.picture for shot in default if shot.picture}
        exam = sit_exam(judges, spec, list(shown), list(shown.values()))
        return judges, {"exam": exam.data}


def _joined(
    raws: Sequence[Raw], before: Mapping[str, Kind]
) -> tuple[list[Observation], dict[str, Kind]]:
    """Return all observations, those that are there already once, and the declared knobs' kinds."""
    kind: dict[str, Kind] = {}
    for raw in raws:
        for name, found in kinds(raw).items():
            kind[name] = "text" if "text" in (found, kind.get(name)) else "number"
    for name, found in before.items():
        if found != "text" and kind.get(name) == "text":
            raise raws[-1].error(raws[-1].rows[0][1].source, f"column {name!r} holds names, where "
                                 "the run has numbers; mend the column, or give another --out")
    sigmas = any_sigmas(raws)
    held: dict[tuple[object, ...], Observation] = {}
    for place, raw in enumerate(raws):
        new = place == len(raws) - 1
        for one in settled(raw, kind, sigmas):
            one = one if new else replace(one, source=-one.source)
            held[one.key] = _merged(held.get(one.key), one, raw)
    return list(held.values()), kind


def _merged(before: Observation | None, one: Observation, raw: Raw) -> Observation:
    """Join what two tables say of one observation: they may add to each other, not contradict."""
    if before is None:
        return one
    more: dict[str, Any] = {}
    for column in ("seconds", "peak_memory_bytes", "rating", "failed", "warmup"):
        was, now = getattr(before, column), getattr(one, column)
        if was in (None, "", False):
            more[column] = now
        elif now not in (None, "", False, was):
            raise raw.error(one.source, f"column {column!r} says {now}, where the run holds {was} "
                                        "for the same observation; what was imported stays: give "
                                        "another --out, or number repetitions in 'repeat'")
    return replace(before, **more)


def _name(raws: Sequence[Raw], one: Observation) -> str:
    """Name an observation's row; those that the run held before have negative numbers."""
    return raws[0 if one.source < 0 else -1].name(abs(one.source))


def _scorer(facts: Facts, judges: Judges | None, table: str) -> dict[str, Any]:
    """Return the identity of what judges."""
    if judges is not None:
        return dict(judges.scorer.identity)
    return {"name": RATINGS, "digest": table, "is": words.raters(facts),
            "human_labels": facts.ratings if facts.rated else 0}


def _generation(
    folder: RunFolder, spec: StudySpec, frozen: Mapping[str, Any],
    made: Callable[[], Sequence[Any]], wanted: Sequence[str],
) -> None:
    """Make a generation of the trials, unless the newest one was made of the same table."""
    with records.storage_errors(folder):
        storage = records.open_storage(folder, spec)
        records.forget_unfinished(storage, spec.name)
        numbers = records.generations(storage, spec.name)
        if numbers:
            newest = records.open_generation(storage, spec.name, numbers[-1])
            if newest.user_attrs[records.FROZEN].get("table") == frozen["table"]:
                return
        number = numbers[-1] + 1 if numbers else 1
        records.create_whole_generation(storage, spec.name, number, frozen, made(), [], wanted)
