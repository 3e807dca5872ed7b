"""What a report tells of, and the settings on it: each with its figures and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ldmopt.contracts import Block, Confirmation, Cost, Evidence, Pixels, Quality, Setting, Trial
from ldmopt.exports._sentences import grouped
from ldmopt.exports._words import differing, telling
from ldmopt.rulebook import Rulebook

MOST_CONFIRMED = 12
"""Confirmed settings with pictures of every prompt; those of front and recommendations come first,
and all of them stay."""

MOST_TRIED = 400
"""Settings of the search that are drawn; of more, those spread evenly over the seconds."""


@dataclass(frozen=True)
class Story:
    """All that a report tells of.

    Attributes:
        rulebook: as its file has it.
        evidence: what it was distilled from.
        read: returns a picture's pixels, and raises a UserError where it is gone or damaged.
        taste: the report of the regressor that was fitted in the run, or None.
        environment: the run's environment.json.
        study: the text of study.toml.
        run: the run folder's name, for the commands.
    """

    rulebook: Rulebook
    evidence: Evidence
    read: Callable[[str, Block], Pixels]
    taste: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    study: str = ""
    run: str = "RUN"

    @property
    def data(self) -> Mapping[str, Any]:
        """The rulebook's data."""
        return self.rulebook.data

    @property
    def default(self) -> Setting:
        """What everything is compared with."""
        return Setting(self.data["default"]["setting"])

    @property
    def held_out(self) -> bool:
        """Whether recommendations were measured on prompts that the search never saw."""
        return all(item["evidence"]["held_out"] for item in self.data["recommendations"])


@dataclass(frozen=True)
class Entry:
    """One setting on the page.

    Attributes:
        place: its number among the page's entries; the default's is 0.
        letter: what stands for it in plots; empty for the default and for settings of the search.
        names: the recommendations that it is.
        setting: its knobs.
        changes: knob, value there, value here, for each knob that differs; the default's own
            telling knobs have no value here.
        quality: win rate, interval and more, as the rulebook has them; None for the default.
        cost: as the rulebook has it.
        shown: the digest of each block's picture.
        wins: the chance of being preferred in each block.
        confirmed: whether its figures are those of the confirmation.
    """

    place: int
    letter: str
    names: tuple[str, ...]
    setting: Setting
    changes: tuple[tuple[str, Any, Any], ...]
    quality: Mapping[str, Any] | None
    cost: Mapping[str, Any]
    shown: Mapping[Block, str]
    wins: Mapping[Block, float]
    confirmed: bool = True

    @property
    def title(self) -> str:
        """What it is called."""
        if not self.place:
            return "default"
        return self.names[0] if self.names else ("on the front" if self.confirmed else "tried")


def entries(story: Story) -> list[Entry]:
    """Return the default, the recommended settings, the rest of the front, what was confirmed."""
    data, default = story.data, story.default
    names: dict[Setting, tuple[str, ...]] = {}
    rows: dict[Setting, Mapping[str, Any]] = {}
    for ids, item in grouped(data["recommendations"]):
        names[Setting(item["setting"])] = tuple(ids)
        rows[Setting(item["setting"])] = item
    for item in data["front"]:
        rows.setdefault(Setting(item["setting"]), item)
    for setting, confirmed in story.evidence.confirmations.items():
        if len(rows) < MOST_CONFIRMED and setting != default:
            rows.setdefault(setting, _point(confirmed))
    rows.pop(default, None)
    own = telling(default, rows)
    base = story.evidence.confirmations.get(default)
    result = [
        Entry(
            0, "", names.get(default, ()), default,
            tuple((name, value, None) for name, value in own.items()),
            None, data["default"]["cost"], base.shown if base else {}, {},
        )
    ]  # fmt: skip
    for place, (setting, item) in enumerate(rows.items(), 1):
        found = story.evidence.confirmations.get(setting)
        result.append(Entry(
            place, letter(place), names.get(setting, ()), setting, changes(setting, default),
            item["quality"], item["cost"], found.shown if found else {}, _wins(found),
        ))  # fmt: skip
    return result


def tried(story: Story, known: Sequence[Entry]) -> list[Entry]:
    """Return the settings of the search that have figures and are not on the page already.

    Failed and raced-out trials have none that could be compared, and are left out.
    """
    taken = {entry.setting for entry in known}
    rows = [
        (trial, trial.cost, trial.quality) for trial in story.evidence.trials
        if trial.measured and trial.cost and trial.quality and trial.setting not in taken
    ]  # fmt: skip
    if len(rows) > MOST_TRIED:
        rows.sort(key=lambda row: row[1].latency_seconds)
        rows = [rows[i * len(rows) // MOST_TRIED] for i in range(MOST_TRIED)]
    return [
        Entry(
            place, "", (), trial.setting, changes(trial.setting, story.default),
            _figures(quality), _cost(cost, trial.setting), trial.shown, _wins(trial), False,
        ) for place, (trial, cost, quality) in enumerate(rows, len(known))
    ]  # fmt: skip


def changes(setting: Setting, default: Setting) -> tuple[tuple[str, Any, Any], ...]:
    """Return knob, the default's value and this one's, for each knob that differs."""
    return tuple(
        (name, default.get(name), value) for name, value in differing(setting, default).items()
    )


def letter(place: int) -> str:
    """A for 1, B for 2, and so on; nothing once the letters are used up."""
    return chr(64 + place) if place <= 26 else ""


def _wins(item: Trial | Confirmation | None) -> dict[Block, float]:
    if item is None or item.quality is None:
        return {}
    return {Block(row.prompt, row.seed): row.win for row in item.quality.blocks}


def _point(found: Confirmation) -> dict[str, Any]:
    """A confirmed setting that the rulebook does not list, in the rulebook's words."""
    cost = _cost(found.cost, found.setting)
    return {
        "setting": dict(found.setting),
        "quality": _figures(found.quality),
        "cost": {**cost, "low": found.seconds_low, "high": found.seconds_high},
    }


def _figures(quality: Quality) -> dict[str, Any]:
    return {"win_rate": quality.win_rate, "low": quality.low, "high": quality.high, "human": None}


def _cost(cost: Cost, setting: Setting) -> dict[str, Any]:
    """A measured cost in the rulebook's words; an untimed one has no seconds."""
    timed = cost.timed
    return {
        "seconds": cost.seconds if timed else None,
        "low": cost.seconds_low,
        "high": cost.seconds_high,
        "latency_seconds": cost.latency_seconds if timed else None,
        "batch": int(setting.get("batch", 1)),
        "peak_memory_bytes": cost.peak_memory_bytes,
        "memory_kind": cost.memory_kind,
    }


def by_prompt(blocks: Sequence[Block]) -> Iterator[Block]:
    """Go through blocks so that every prompt comes once before any comes twice."""
    left = list(blocks)
    while left:
        seen: set[str] = set()
        rest = []
        for block in left:
            if block.prompt in seen:
                rest.append(block)
            else:
                seen.add(block.prompt)
                yield block
        left = rest
