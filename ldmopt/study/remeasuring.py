"""A recommendation measured again: here, by the ordinary host, on prompts it was not chosen by."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ldmopt import machine
from ldmopt.contracts import Block, Cost, Quality, Setting
from ldmopt.distillation.intervals import median_interval
from ldmopt.errors import GenerationError, UserError
from ldmopt.model import describe
from ldmopt.reconcile.estimates import Estimate
from ldmopt.rulebook import FILE_NAME, Recommendation, Rulebook
from ldmopt.study.folder import RunFolder, held
from ldmopt.study.scoring import has_own, load_scorer
from ldmopt.study.session import Session, State, open_session
from ldmopt.study.spec import StudySpec, parse_spec, prompts_of

PROMPTS = 12
"""How many prompts are taken where nobody says otherwise."""

KEPT_SECONDS = 7 * 86_400
"""How long what an interrupted measurement left is kept for the same call to go on from."""

SEEDS_FROM = 20_000
"""Seeds begin here, far from those of search and confirmation."""


def remeasure(
    rulebook: str | os.PathLike[str], id: str, *, prompts: str | Sequence[str] | None = None,
    count: int = PROMPTS, device: str = "auto",
    report: Callable[[State], None] = lambda state: None,
) -> dict[str, Any]:
    """Measure a recommendation and its default on this machine.

    What was measured is kept until it is whole, in the user's cache: interrupted, the same call
    goes on from there, within a week (`KEPT_SECONDS`). Asked again afterwards it measures anew.

    Args:
        rulebook: a rulebook.json, best in its run folder: the study beside it says which
            scorer, plugins and prompts there were.
        id: which recommendation.
        prompts: a text file with one prompt a line, or a list; None takes prompts that neither
            search nor confirmation saw, or else the confirmation's with new seeds.
        count: how many prompts.
        device: as in a study.
        report: called whenever something a progress display shows has changed.

    Returns:
        JSON data. ``verdict`` is ``confirmed`` (not worse than the default here either, by the
        rulebook's margin, and no contradiction), ``contradicted`` (each win rate lies outside the
        other's interval, and it is lower here; or it was shown to be worse), else ``not shown``;
        ``why`` says it in words. ``quality``, ``seconds`` and ``peak_memory_bytes`` hold what is
        ``stated`` and what was found ``here``, with ratios; ``speed`` is how many times faster
        than the default.

    Raises:
        UserError: rulebook, id, model, prompts or setting cannot be had here, or the setting
            gives no usable picture.
    """
    path = Path(rulebook)
    folder = RunFolder(path if path.is_dir() else path.parent)
    book = Rulebook.read(path / FILE_NAME if path.is_dir() else path)
    item = book.find(id)
    if item.model is None:
        raise UserError(f"{str(path)!r} does not say which model made its pictures, so they cannot "
                        "be made again; import the table with --model")
    if count < 1:
        raise UserError(f"count must be 1 or more, got {count}")
    study = _study(folder, book, device)
    texts, told = _prompts(prompts, count, book, study, folder.exists())
    spec = StudySpec.model_validate({
        **study.model_dump(), "prompts": {"source": [*texts, ""], "search": len(texts),
                                          "confirm": 1},
    })
    scorer = load_scorer(spec, folder, book.data["generation"] > 1 and has_own(folder))
    blocks = [Block(text, SEEDS_FROM + seed) for text in texts for seed in range(spec.seeds)]
    place = _place(spec, item.setting, blocks)
    _forget_old(place.path)
    place.create()
    with held(place.path / "run.lock", f"the same measurement of {id!r}", "wait for it"):
        session = open_session(spec, place, scorer, report)
        with closing(session.host):
            if session.bench.lines:
                session.note("going on with what an interrupted measurement left")
            found = _compare(session, book, item, blocks, told)
        shutil.rmtree(place.path)
    return found


def _place(spec: StudySpec, setting: Mapping[str, Any], blocks: Sequence[Block]) -> RunFolder:
    """Return where a measurement is kept until it is whole: one folder for all that decides it."""
    told = [spec.model_dump(mode="json"), dict(setting), [[one.prompt, one.seed] for one in blocks],
            describe(spec.model).digest(), machine.describe("cpu")]
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return RunFolder(machine.cache_folder("remeasured") / key[:24])


def _forget_old(own: Path) -> None:
    """Delete what other measurements left that nobody went on with, and that nobody holds."""
    for path in own.parent.glob("*"):
        lock = path / "run.lock"
        if path == own or not lock.exists() or time.time() - lock.stat().st_mtime < KEPT_SECONDS:
            continue
        with suppress(UserError), held(lock, "an old measurement", "wait for it"):
            shutil.rmtree(path)


def _study(folder: RunFolder, book: Rulebook, device: str) -> StudySpec:
    """Return the run's study without its search, or what the rulebook tells of it."""
    wanted = {"device": device, "default": dict(book.data["default"]["setting"]), "space": {},
              "storage": None}
    if folder.exists():
        kept = parse_spec(folder.spec.read_text(encoding="utf-8"), str(folder.spec))
        return StudySpec.model_validate({**kept.model_dump(), **wanted})
    model = book.data["scope"]["model"]
    judge = {"encoder": "standin"} if model == "standin" else {}
    return StudySpec.model_validate({
        **wanted, "name": "remeasure", "model": model, "scorer": judge,
        "seeds": max(1, book.data["scope"]["seeds"]),
    })


def _prompts(
    wanted: str | Sequence[str] | None, count: int, book: Rulebook, study: StudySpec,
    in_run: bool,
) -> tuple[list[str], str]:
    """Return the prompts, and in words which they are.

    Raises:
        UserError: there are none.
    """
    if isinstance(wanted, str):
        try:
            wanted = Path(wanted).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"prompts {wanted!r} cannot be read: {error}; give a text file with "
                            "one prompt a line") from error
    if wanted is not None:
        found = list(dict.fromkeys(line.strip() for line in wanted if line.strip()))
        if not found:
            raise UserError("prompts: there is none; give one a line")
        return found[:count], "given"
    scenes = study.prompts.source == "scenes"
    if scenes and (in_run or study.model in ("miniature", "standin")):
        from ldmopt.miniature.scenes import captions

        evidence = [row["evidence"].get("prompts", 0) for row in book.data["recommendations"]]
        seen = book.data["scope"]["prompts"] + max(evidence, default=0)
        if in_run:
            seen = study.prompts.search + study.prompts.confirm
        return ([text for text, _ in captions(seen + count)][seen:],
                "scenes that neither search nor confirmation saw")
    if not in_run:
        raise UserError("the rulebook does not hold its prompts, and there is no study.toml "
                        "beside it; give prompts as a text file, one a line")
    search, confirm = prompts_of(study)
    return confirm[:count], "those of the confirmation, with new seeds"


def _compare(
    session: Session, book: Rulebook, item: Recommendation, blocks: list[Block], told: str
) -> dict[str, Any]:
    """Measure both settings and hold them against what is stated."""
    space, default = session.space, session.space.default
    setting = space.canonical(dict(item.setting))
    reason = space.refusal(setting)
    if reason:
        raise UserError(f"recommendation {item.id!r} cannot be had here: {reason}")
    measured: dict[str, tuple[Cost, Mapping[str, Any], Quality]] = {}
    for name, one in (("default", default), (item.id, setting)):
        session.tell(stage="confirm", doing=name)
        try:
            quality, _ = session.quality(one, blocks, anew=True)
            measured[name] = (session.bench.cost(one, blocks), _seconds(session, one, blocks),
                              quality)
        except GenerationError as error:
            raise UserError(f"{name} ({one}) gives no picture here: {error}") from error
    cost, seconds, quality = measured[item.id]
    base = book.data["default"]["cost"]
    memory = {"stated": item.peak_memory_bytes, "here": cost.peak_memory_bytes}
    here = Estimate(quality.win_rate, quality.low, quality.high)
    stated = Estimate.of(item.data["quality"])
    judge = _judge(session)
    same_judge = book.data["scope"]["scorer"].startswith(judge)
    verdict, why = _verdict(stated, here, book.data["margin"], same_judge)
    return {
        "id": item.id, "setting": dict(setting), "default": dict(default),
        "verdict": verdict, "why": why, "prompts": len({block.prompt for block in blocks}),
        "which_prompts": told, "seeds": len(blocks) // len({block.prompt for block in blocks}),
        "device": {"stated": book.data["scope"]["device"],
                   "here": f"{session.facts['device']}: {session.facts['device_name']}"},
        "scorer": {"stated": book.data["scope"]["scorer"], "here": judge, "same": same_judge},
        "quality": {"stated": stated.to_dict(), "here": here.to_dict()},
        "seconds": {"stated": item.seconds, "here": seconds,
                    "ratio": _ratio(item.seconds, cost.seconds)},
        "speed": {"stated": _ratio(item.seconds, base["seconds"]),
                  "here": _ratio(cost.seconds, measured["default"][0].seconds)},
        "peak_memory_bytes": {**memory, "ratio": _ratio(*memory.values())},
    }


def _seconds(session: Session, setting: Setting, blocks: list[Block]) -> dict[str, Any]:
    calls = session.bench.costs(setting, blocks)
    found = median_interval([call.seconds for call in calls])
    return {"seconds": session.bench.cost(setting, blocks).seconds, "low": found.low,
            "high": found.high}


def _judge(session: Session) -> str:
    identity = session.scorer.identity
    return f"{identity['name']} {identity['digest']}"


def _verdict(
    stated: Estimate, here: Estimate, margin: float, same_judge: bool
) -> tuple[str, str]:
    """Return the verdict and why."""
    if here.high < 0.5 - margin:
        return "contradicted", f"here it loses to the default by more than {margin:g}"
    if same_judge and here.contradicts(stated) and here.win_rate < stated.win_rate:
        return "contradicted", ("each win rate lies outside the other's interval, and it is lower "
                                "here")
    if here.low <= 0.5 - margin:
        return "not shown", (f"the interval here does not exclude losing to the default by "
                             f"{margin:g}: more prompts would tell")
    if not same_judge:
        return "confirmed", (f"by another scorer: not worse than the default by {margin:g} here "
                             "either; win rates of two scorers are not compared")
    more = ", and better than stated" if here.contradicts(stated) else ""
    return "confirmed", f"not worse than the default by {margin:g} here either{more}"


def _ratio(one: float | None, other: float | None) -> float | None:
    return other / one if one and other is not None else None
