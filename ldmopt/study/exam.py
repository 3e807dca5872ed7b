"""A generation's exam: the scorers against canaries of the default's pictures, kept in the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.model import STANDIN
from ldmopt.scorers.canaries import CANARIES, EMPTY
from ldmopt.scorers.exam import (
    ANOTHER_PROMPT,
    Exam,
    Result,
    examine,
    examine_alignment,
)
from ldmopt.study.folder import RunFolder, write
from ldmopt.study.judging import Judges
from ldmopt.study.spec import StudySpec

SCHEMA_VERSION = 1
PROMPTS = 12
"""Honest pictures that canaries are made from at the most, each of another prompt."""
ROWS = 4
"""Prompts on the sheet."""


@dataclass(frozen=True)
class Sat:
    """An exam that the scorer passed.

    Attributes:
        data: plain JSON data for the generation's frozen attributes.
        alignment_refusal: why the alignment scorer may not be used; empty where it may, or where
            there is none.
        doubt: what a user should know of the default's pictures; empty as a rule.
    """

    data: dict[str, Any]
    alignment_refusal: str = ""
    doubt: str = ""

    @property
    def alignment_passed(self) -> bool:
        """Whether nothing speaks against the alignment scorer."""
        return not self.alignment_refusal


def exemption(model: str, table: str | None = None) -> str:
    """Return why a model's pictures cannot be held against canaries; nothing where they can."""
    if table is not None:
        return "a replayed table has scores and no pictures"
    return ("the stand-in's pictures are waves under noise: there is nothing honest about them"
            if model == STANDIN else "")


def sit_exam(
    judges: Judges, spec: StudySpec, blocks: Sequence[Block], digests: Sequence[str]
) -> Sat:
    """Examine what is to judge a generation; write exam.json and exam.png.

    Args:
        judges: what is to judge, and the folder where the result goes.
        spec: tells the model, and whether the study has a floor for alignment and so cannot do
            without that scorer.
        blocks: the search's.
        digests: the default's picture of each block.

    Raises:
        UserError: a scorer fails; names what it failed and what may be done. Both files are
            written all the same, so that the user can look.
    """
    folder, exempt = judges.folder, exemption(spec.model, spec.table)
    honest = [] if exempt else _honest(folder, blocks, digests)
    judge = examine(judges.scorer, honest) if honest else Exam(
        judges.scorer.identity, 0, (), exempt)
    second = drawn = None
    if judges.alignment is not None and honest:
        second = examine_alignment(judges.alignment, honest)
        drawn = second
        if second.failed and all(item.beaten < 0.5 for item in second.failed):
            # ruined pictures fit no caption: whether the scorer is deaf, renders tell
            second = examine_alignment(judges.alignment, _renders())
    again = examine(judges.scorer, _renders()) if _slips(judge) else None
    passed = judge.passed or (again is not None and again.passed)
    found = {
        "schema_version": SCHEMA_VERSION,
        **judge.to_dict(),
        "passed": passed,
        **({} if again is None else {"on_renders": again.to_dict()}),
        "alignment": None if second is None else second.to_dict(),
    }
    write(folder.path / "exam.json", (json.dumps(found, indent=1) + "\n").encode())
    if judge.results or second is not None:
        _sheet(folder, honest, judge, drawn)
    if not passed:
        raise UserError(refusal(judge, folder))
    doubt = "" if judge.passed else _doubt(judge, folder)
    if second is None or second.passed:
        return Sat(found, "", doubt)
    refused = refusal_of_alignment(second, folder)
    if spec.caps.alignment is not None:
        raise UserError(refused)
    return Sat(found, f"{refused}; the study goes on without it", doubt)


def _slips(exam: Exam) -> bool:
    """Tell whether a scorer failed in a way that the default's pictures may be to blame for.

    A default of too few steps makes pictures that further ruin hardly changes. Where a scorer
    failed by that alone (it is not above chance, and on no empty canary), the renders in the
    package tell whether it is blind.
    """
    return not exam.passed and all(
        result.kind not in EMPTY and result.beaten < 0.5 and (result.win or 0.0) < 0.5
        for result in exam.failed)


def _renders() -> list[Picture]:
    """Return pictures that are honest for certain: renders of scenes, under their captions."""
    from ldmopt.miniature.scenes import captions
    from ldmopt.miniature.styles import render

    return [Picture(render(scene), Block(caption, 0)) for caption, scene in captions(PROMPTS)]


def _doubt(exam: Exam, folder: RunFolder) -> str:
    """Word what a scorer that is not blind said of the default's pictures."""
    listed = ", ".join(f"{item.kind} ({item.beaten:.0%})" for item in exam.failed)
    return (f"the default's pictures may be ruined themselves: the scorer prefers {listed} to them"
            f", though it tells such ruin on other pictures; look at {folder.path / 'exam.png'}")


def refusal(exam: Exam, folder: RunFolder) -> str:
    """Return in one line what a scorer failed, and the ways out."""
    name = f"{exam.scorer.get('name', 'scorer')} {exam.scorer.get('digest', '')}".strip()
    listed = ", ".join(f"{item.kind} ({item.beaten:.0%})" for item in exam.failed)
    labelled = exam.scorer.get("human_labels", 0) or exam.scorer.get("simulated_labels", 0)
    way = ("label more pictures and fit again, or take labels out that prefer such pictures"
           if labelled else "name another [scorer] encoder or regressor")
    return (f"scorer {name} fails the exam and may not judge: beside the default's pictures it "
            f"prefers {listed} of {exam.pictures} times; {way}, or another [default] if its "
            f"pictures are ruined themselves (see {folder.path / 'exam.png'})")


def refusal_of_alignment(exam: Exam, folder: RunFolder) -> str:
    """Return in one line what an alignment scorer failed."""
    listed = ", ".join(f"{item.kind} ({item.beaten:.0%})" for item in exam.failed)
    return (f"alignment by {exam.scorer.get('model', 'a CLIP')} fails the exam: it finds that "
            f"{listed} of {exam.pictures} times fit a caption better than the picture made for it; "
            f"give prompts that differ more, or another scorer.alignment "
            f"(see {folder.path / 'exam.png'})")


def _honest(
    folder: RunFolder, blocks: Sequence[Block], digests: Sequence[str]
) -> list[Picture]:
    """Return the default's picture of each prompt's first block, at most `PROMPTS`, spread out."""
    first: dict[str, int] = {}
    for index, block in enumerate(blocks):
        first.setdefault(block.prompt, index)
    rows = list(first.values())
    rows = rows[:: -(-len(rows) // PROMPTS)]
    return [folder.picture(digests[row], blocks[row]) for row in rows]


def _sheet(
    folder: RunFolder, honest: Sequence[Picture], judge: Exam, second: Exam | None
) -> None:
    """Draw the honest pictures beside their canaries, each with what the scorer says."""
    from ldmopt.exports.sheet import INK, SOFT, Stack, write_stacks

    rows = range(0, len(honest), -(-len(honest) // ROWS))
    stacks = [Stack("the default", [("honest pictures", SOFT)],
                    [honest[row].pixels for row in rows], INK)]
    for result in judge.results:
        made = [CANARIES[result.kind](honest[row].pixels) for row in rows]
        stacks.append(_stack(result, made, [result.chances[row] for row in rows]))
    for result in second.results if second is not None else ():
        if result.kind == ANOTHER_PROMPT:
            made = [honest[(row + 1) % len(honest)].pixels for row in rows]
            stacks.append(_stack(result, made, [result.chances[row] for row in rows]))
    write_stacks(stacks, [honest[row].block.prompt for row in rows], folder.path / "exam.png",
                 "each canary is made\nfrom the picture on the\nleft and held against it")


def _stack(result: Result, pictures: Sequence[Any], chances: Sequence[float]) -> Any:
    """Return a canary's column: what was found on all prompts above, on each below."""
    from ldmopt.exports.sheet import ACCENT, INK, SOFT, WARNING, Stack

    about = "fits its caption better" if result.win is None else "put above the honest one"
    verdict = ("passed", ACCENT) if result.passed else ("FAILED", WARNING)
    lines = [verdict, (f"{about}: {result.beaten:.0%}", INK)]
    if result.win is not None:
        lines.append((f"mean chance {result.win:.3f}", INK))
    notes = []
    for chance in chances:
        word = (f"chance to be preferred {chance:.3f}" if result.win is not None
                else f"better in {chance:.0%} of tries")
        notes.append((word, WARNING if chance >= 0.5 else SOFT))
    colour = ACCENT if result.passed else WARNING
    return Stack(result.kind, lines, pictures, colour, notes)
