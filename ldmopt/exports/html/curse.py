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
        tried: settings that the search measured.
        told: what to make of it, in a sentence or two.
    """

    rows: tuple[Row, ...]
    tried: int
    told: str


def curse(story: Story, known: Sequence[Entry]) -> Curse:
    """Hold the search's figures of confirmed settings against the held-out ones."""
    search = {trial.setting: trial.quality for trial in story.evidence.trials
              if trial.quality and trial.measured}
    tried = len(search)
    if not story.held_out:
        return Curse((), tried, (
            f"{tried} settings were compared and the best of them named by the same pictures: "
            "there are no prompts that the choice did not see. Expect a named setting to win less "
            "on new prompts than is said here; the more settings and the fewer prompts, the less."
        ))
    rows = tuple(Row(entry, quality) for entry in known[1:]
                 if (quality := search.get(entry.setting)) is not None)
    if not rows:
        return Curse((), tried, "No setting but the default was measured again on held-out "
                                "prompts, so none is recommended over it.")
    of = "one of them was" if len(rows) == 1 else f"{len(rows)} of them were"
    return Curse(rows, tried, (
        f"The search measured {tried} settings; {of} chosen for what they showed there and then "
        "measured again on prompts and seeds that it never saw. What is chosen for being the best "
        "is expected to fall then (the winner's curse): recommendations, front and budgets use "
        "held-out figures alone."
    ))
