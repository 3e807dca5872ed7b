"""What choosing the best of many did to its figures: the search beside the held-out prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ldmopt.contracts import Quality
from ldmopt.exports.html.story import Entry, Story


@dataclass(frozen=True)
class Row:
    """One confirmed setting.

    Attributes:
        entry: the setting, with its held-out figures.
        before: its figures in the search.
    """

    entry: Entry
    before: Quality


@dataclass(frozen=True)
class Curse:
    """Every confirmed setting that the search had figures of.

    Attributes:
        rows: in the page's order.
        told: what to make of it, in a sentence or two.
    """

    rows: tuple[Row, ...]
    told: str


def curse(story: Story, known: Sequence[Entry]) -> Curse:
    """Hold the search's figures of confirmed settings against the held-out ones."""
    search = {trial.setting: trial.quality for trial in story.evidence.trials
              if trial.quality and trial.measured}
    if not story.held_out:
        return Curse((), (
            f"{len(search)} settings were compared and the best of them named by the same "
            "pictures: there are no prompts that the choice did not see. Expect a named setting to "
            "win less on new prompts than is said here; the more settings and the fewer prompts, "
            "the less."
        ))
    rows = tuple(Row(entry, quality) for entry in known[1:]
                 if (quality := search.get(entry.setting)) is not None)
    if not rows:
        return Curse((), "No setting but the default was measured again on held-out prompts, so "
                         "none is recommended over it.")
    many = "One setting was" if len(rows) == 1 else f"{len(rows)} settings were"
    return Curse(rows, (
        f"{many} chosen for what the search showed of them, and then measured again on prompts "
        "and seeds that it never saw. What is chosen for being the best is expected to fall then "
        "(the winner's curse): recommendations, front and budgets use held-out figures alone."
    ))
