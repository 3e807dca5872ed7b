"""What a run leaves for people and programs: rulebook.json, rulebook.md, two pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from ldmopt.contracts import Block, Evidence, Setting
from ldmopt.distillation import Constants, distill
from ldmopt.errors import UserError
from ldmopt.rulebook import Rulebook
from ldmopt.study import records
from ldmopt.study.alarm import ATTRIBUTE
from ldmopt.study.answers import with_answers
from ldmopt.study.cost_changes import read_changes
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.judging import RATINGS
from ldmopt.study.spec import StudySpec, parse_spec

SHEET_PROMPTS = 6
"""Prompts, one a row, on the picture sheet."""


def read_run(run: str | Path) -> tuple[RunFolder, StudySpec, optuna.Study]:
    """Open a run's newest generation for reading.

    Raises:
        UserError: no run folder, or nothing measured in it yet.
    """
    folder = RunFolder(run).require()
    spec = _spec(folder)
    with records.storage_errors(folder):
        storage = records.open_storage(folder, spec)
        numbers = records.generations(storage, spec.name)
        if not numbers:
            raise UserError(f"run {str(folder.path)!r} has no measured trial yet; go on with: "
                            f"ldmopt run {folder.spec} --out {folder.path}")
        return folder, spec, records.open_generation(storage, spec.name, numbers[-1])


def _spec(folder: RunFolder) -> StudySpec:
    return parse_spec(folder.spec.read_text(encoding="utf-8"), str(folder.spec))


def read_evidence(folder: RunFolder, spec: StudySpec, study: optuna.Study) -> Evidence:
    """Return all that distillation needs of a generation."""
    frozen = study.user_attrs[records.FROZEN]
    trials, imported = records.finished(study), spec.imported is not None
    evidence = Evidence(
        study=spec.name,
        generation=int(study.study_name.rsplit("/g", 1)[1]),
        default=Setting(frozen["default"]),
        trials=(*trials, *records.raced_out(study, {trial.setting for trial in trials})),
        confirmations=(records.taken_as_confirmed(trials) if imported
                       else records.read_confirmations(study)),
        picture_knobs=frozenset(frozen["picture_knobs"]),
        scope=scope(folder, frozen, study.user_attrs.get(ATTRIBUTE),
                    study.user_attrs.get(records.RACING)),
        least_alignment=spec.caps.alignment,
        imported=imported,
        cost_changes=read_changes(folder),
    )
    return with_answers(evidence, folder, frozen)


def scope(
    folder: RunFolder, frozen: Mapping[str, Any], second: Mapping[str, Any] | None = None,
    racing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the ``scope`` block of rulebook.json: what the rules were seen on.

    ``exam``, ``alignment``, ``second_opinion``, ``racing`` (what was dropped early, and what that
    saved) and, of an imported table, ``imported`` (its name), ``notes`` and ``judged_by`` are
    there only where there was such a thing.
    """
    further: dict[str, Any] = {"second_opinion": second} if second else {}
    if racing:
        further["racing"] = dict(racing)
    if "imported" in frozen:
        further |= {"imported": frozen["imported"], "notes": frozen["notes"]}
    if frozen["scorer"]["name"] == RATINGS:
        further["judged_by"] = "the ratings of the imported table"
    if frozen.get("alignment"):
        further["alignment"] = frozen["alignment"]
    if "exam" in frozen:
        exam = frozen["exam"]
        further["exam"] = {key: exam[key] for key in ("passed", "exempt") if key in exam}
    facts = json.loads(folder.environment.read_text(encoding="utf-8"))
    blocks = frozen["blocks"]
    prompts = {prompt for prompt, _ in blocks}
    scorer = frozen["scorer"]
    return {
        "model": facts["model"],
        "model_digest": facts["model_digest"],
        "device": facts["device_name"] if "imported" in frozen
        else f"{facts['device']}: {facts['device_name']}",
        "versions": facts["packages"],
        "prompts": len(prompts),
        "seeds": len(blocks) // len(prompts),
        "pictures": sum(1 for _ in (folder.path / "pictures").glob("*/*.png")),
        "human_labels": int(scorer.get("human_labels", 0)),
        "scorer": f"{scorer['name']} {scorer['digest']}"
        + (f": {scorer['is']}" if "is" in scorer else ""),
        "equivalence": frozen["equivalence"],
        **further,
    }


def distill_run(
    run: str | Path,
    margin: float | None = None,
    worth: float | None = None,
    confidence: float | None = None,
) -> Rulebook:
    """Distill a run's newest generation anew and write all its outputs.

    Args:
        run: the run folder.
        margin: how much lower a win rate may be and still count as not worse; this and the others
            as the study's ``[rulebook]`` has them when None.
        worth: the gain in win rate from which a change is worth it.
        confidence: of intervals and verdicts.

    Raises:
        UserError: no run folder, nothing measured in it yet, or a constant out of its range.
    """
    folder, spec, study = read_run(run)
    given = {"margin": margin, "worth": worth, "confidence": confidence}
    constants = replace(_constants(spec), **{k: v for k, v in given.items() if v is not None})
    with folder.lock(), records.storage_errors(folder):
        evidence = read_evidence(folder, spec, study)
        return write_outputs(folder, study, evidence, constants)


def _constants(spec: StudySpec) -> Constants:
    return Constants(**spec.rulebook.model_dump())


def write_outputs(
    folder: RunFolder, study: optuna.Study, evidence: Evidence, constants: Constants | None = None
) -> Rulebook:
    """Distill and write rulebook.json, rulebook.md, sheet.png and front.png.

    Of an imported table without pictures there is no sheet, without seconds no plot of the front.
    """
    from ldmopt.exports.markdown import to_markdown
    from ldmopt.exports.plots import front_plot

    rulebook = distill(evidence, constants or _constants(_spec(folder)))
    rulebook.write(folder.rulebook)
    write(folder.path / "rulebook.md", to_markdown(rulebook).encode())
    if rulebook.data["default"]["cost"]["seconds"] is not None:
        front_plot(rulebook, evidence, folder.path / "front.png")
    write_sheet(folder, evidence, rulebook)
    return rulebook


def write_sheet(folder: RunFolder, evidence: Evidence, rulebook: Rulebook) -> None:
    """Write sheet.png: the default's pictures beside those of each recommendation.

    They are those of the held-out prompts, or of an imported table's own. Where the shown settings
    have no prompt and seed in common, or there are no pictures, there is no sheet.
    """
    from ldmopt.exports.sheet import Column, picture_sheet

    named = {"default": evidence.default}
    for item in rulebook.data["recommendations"]:
        if Setting(item["setting"]) not in named.values():
            named[item["id"]] = Setting(item["setting"])
    found = {name: evidence.confirmations[setting] for name, setting in named.items()
             if setting in evidence.confirmations}
    shown = {name: one for name, item in found.items() if (one := item.shown)}
    if "default" not in shown:
        return
    first_of_prompt: dict[str, Block] = {}
    for block in shown["default"]:
        if all(block in one for one in shown.values()):
            first_of_prompt.setdefault(block.prompt, block)
    blocks = list(first_of_prompt.values())
    if not blocks:
        return
    # Spread over all prompts: neighbours in a list are often alike.
    blocks = blocks[:: -(-len(blocks) // SHEET_PROMPTS)]
    columns = [
        Column(name, named[name], found[name].quality, found[name].cost,
               [folder.picture(one[block], block).pixels for block in blocks])
        for name, one in shown.items()
    ]
    picture_sheet(columns, [block.prompt for block in blocks], folder.path / "sheet.png")
