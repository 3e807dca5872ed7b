"""The alarm: the user is told, with the pictures, when a second opinion contradicts the scorer.

The second opinion is the alignment scorer where the study has one and the scorer does not look at
captions itself; else the prior on damage in the package where another scorer judges. Where that
prior judges alone there is no second opinion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from ldmopt.contracts import Aligned, Block, Pixels, Quality, Setting, Trial
from ldmopt.distillation.front import pareto
from ldmopt.distillation.second_opinion import (
    ALPHA,
    Agreement,
    Contradiction,
    Opinion,
    agreement,
    of_alignment,
    of_wins,
)
from ldmopt.scorers.exam import STANDIN
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import Judges

ATTRIBUTE = "second_opinion"
EVERY = 10
"""Trials between looks during the search."""
INTERIM_ALPHA = ALPHA / 5
"""Of each such look, because there are several."""
MOST_SETTINGS, COLUMNS, ROWS = 12, 5, 4


@dataclass(frozen=True)
class _Shown:
    """A setting with its pictures and what is known of them."""

    setting: Setting
    pictures: tuple[str, ...]
    quality: Quality
    aligned: Aligned | None


def look_at_search(
    study: optuna.Study, judges: Judges, trials: Sequence[Trial], alpha: float = ALPHA
) -> str:
    """Ask for a second opinion on the front of a search; return the alarm's line, or nothing.

    Args:
        study: the generation; its attribute `ATTRIBUTE` keeps what was found.
        judges: what judges it.
        trials: the finished ones, the default's first.
        alpha: chance of a false alarm.
    """
    front = [_Shown(t.setting, t.pictures, t.quality, t.aligned)
             for t in pareto(trials)[:MOST_SETTINGS] if t.quality is not None]
    frozen = study.user_attrs[records.FROZEN]
    blocks = [Block(*row) for row in frozen["blocks"]]
    # Of an imported table, some settings may lack prompts that the default has.
    front = [item for item in front if len(item.pictures) == len(blocks)]
    return _look(study, judges, "search", front, blocks, trials[0], alpha)


def look_at_confirmed(study: optuna.Study, judges: Judges) -> str:
    """Ask for a second opinion on the confirmed settings; see `look_at_search`."""
    found = records.read_confirmations(study)
    frozen = study.user_attrs[records.FROZEN]
    default = found.get(Setting(frozen["default"]))
    if default is None:
        return ""
    shown = [_Shown(c.setting, c.pictures, c.quality, c.aligned) for c in found.values()]
    blocks = [Block(*row) for row in frozen["held_out"]]
    return _look(study, judges, "confirm", shown, blocks, default, ALPHA)


def _look(
    study: optuna.Study, judges: Judges, stage: str, shown: Sequence[_Shown],
    blocks: Sequence[Block], default: Any, alpha: float,
) -> str:
    """Compare opinions, keep what was found, draw and word the alarm."""
    against = tuple(default.pictures)
    distinct = {item.pictures: item for item in reversed(shown) if item.pictures != against}
    rows = list(distinct.values())[::-1]
    second = _second(judges, rows, blocks, against)
    if second is None:
        return ""
    name, identity, wins = second
    opinions = [Opinion(row.setting, of_wins(row.quality.blocks), win)
                for row, win in zip(rows, wins, strict=True)]
    found = agreement(opinions, alpha)
    kept = {**study.user_attrs.get(ATTRIBUTE, {}), "by": dict(identity), "name": name}
    study.set_user_attr(ATTRIBUTE, {**kept, stage: found.to_dict()})
    if not found.contradictions:
        return ""
    by_setting = {row.setting: row for row in rows}
    _draw(judges.folder, name, found, opinions, by_setting, blocks, against, default.setting)
    return _line(name, stage, found, default.setting, judges.folder)


def _second(
    judges: Judges, rows: Sequence[_Shown], blocks: Sequence[Block], against: Sequence[str]
) -> tuple[str, Mapping[str, Any], list[dict[str, float]]] | None:
    """Return the second opinion's name, identity and wins by prompt of each setting."""
    if judges.scorer.identity.get("name") == STANDIN or not rows:
        return None
    if judges.alignment is not None and "captions" not in judges.scorer.identity:
        aligned = [row.aligned for row in rows if row.aligned is not None]
        if len(aligned) < len(rows):
            return None
        name = f"alignment by {judges.alignment.identity.get('model', 'a CLIP')}"
        return name, judges.alignment.identity, of_alignment(aligned)
    from ldmopt.scorers import default

    prior = default()
    if judges.scorer.identity.get("digest") == prior.identity["digest"]:
        return None
    asked = Judges(judges.folder, prior)
    wins = [of_wins(asked.quality(blocks, row.pictures, against).blocks) for row in rows]
    return "the prior on damage", prior.identity, wins


def _line(
    name: str, stage: str, found: Agreement, default: Setting, folder: RunFolder
) -> str:
    """Word the alarm in one line: its strongest case, how many there are, and what to do."""
    first = found.contradictions[0]
    more = len(found.contradictions) - 1
    liked = first.liked.changes(default)
    over = "the default" if first.over is None else first.over.changes(default)
    return (f"ALARM: {name} contradicts the scorer on the front ({stage}): the scorer puts {liked} "
            f"above {over} (win rate {first.first:+.2f}), {name} below it ({first.second:+.2f})"
            + (f", and {more} more such pairs" if more else "")
            + f"; look at {folder.path / 'disagreement.png'} before you believe the scorer, and "
            "label such pictures")


def _draw(
    folder: RunFolder, name: str, found: Agreement, opinions: Sequence[Opinion],
    shown: Mapping[Setting, _Shown], blocks: Sequence[Block], against: Sequence[str],
    default: Setting,
) -> None:
    """Write disagreement.png: what the scorer likes and the second opinion does not."""
    from ldmopt.exports.sheet import INK, SOFT, WARNING, Stack, write_stacks

    told = {opinion.setting: opinion for opinion in opinions}
    rows = _rows(found.contradictions[0], told, blocks)

    def pixels(digests: Sequence[str]) -> list[Pixels]:
        return [folder.picture(digests[row], blocks[row]).pixels for row in rows]

    about = [("0.50 by definition", SOFT), (f"second: {name}", SOFT)]
    stacks = [Stack("default", about, pixels(against), INK)]
    for setting, role in _columns(found.contradictions):
        opinion, liked = told[setting], role == "liked"
        said = [f"scorer {_mean(opinion.first):.2f}, second {_mean(opinion.second):.2f}"]
        lines = [(said[0], INK), *((f"{key} {value}", SOFT) for key, value in setting.items()
                                   if default.get(key) != value)]
        notes = [(f"scorer {opinion.first[blocks[row].prompt]:.2f}, second "
                  f"{opinion.second[blocks[row].prompt]:.2f}", SOFT) for row in rows]
        head = "the scorer likes" if liked else "the second prefers"
        stacks.append(Stack(head, lines, pixels(shown[setting].pictures),
                            WARNING if liked else INK, notes))
    write_stacks(stacks, [blocks[row].prompt for row in rows], folder.path / "disagreement.png",
                 "win rates against the\ndefault; the prompts in\nwhich the two differ most")


def _columns(contradictions: Sequence[Contradiction]) -> list[tuple[Setting, str]]:
    """Return the settings to show: first those liked, each before what it was put above."""
    found: dict[Setting, str] = {}
    for item in contradictions:
        found.setdefault(item.liked, "liked")
        if item.over is not None:
            found.setdefault(item.over, "over")
    return list(found.items())[:COLUMNS]


def _rows(
    first: Contradiction, told: Mapping[Setting, Opinion], blocks: Sequence[Block]
) -> list[int]:
    """Return the first block of the prompts in which the strongest case is strongest."""
    liked, over = told[first.liked], None if first.over is None else told[first.over]
    places = {block.prompt: row for row, block in reversed(list(enumerate(blocks)))}

    def gap(prompt: str) -> float:
        base = (0.5, 0.5) if over is None else (over.first[prompt], over.second[prompt])
        return (liked.first[prompt] - base[0]) - (liked.second[prompt] - base[1])

    common = [prompt for prompt in places if prompt in liked.first and prompt in liked.second
              and (over is None or (prompt in over.first and prompt in over.second))]
    return [places[prompt] for prompt in sorted(common, key=gap, reverse=True)[:ROWS]]


def _mean(wins: Mapping[str, float]) -> float:
    return sum(wins.values()) / len(wins)
