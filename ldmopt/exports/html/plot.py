"""The front as a drawing: places in percent of the plot, so that it fits every width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.exports._words import bytes_text, seconds_text
from ldmopt.exports.html.story import Entry

LEAST_RADIUS, MOST_RADIUS, RADIUS = 3.5, 9.0, 5.5
"""Of dots, in pixels: the smallest memory, the largest, and where memory says nothing."""

SAME_MEMORY = 1.05
"""Memory that varies by less than this draws dots of one size."""


@dataclass(frozen=True)
class Dot:
    """One setting in the plot.

    Attributes:
        entry: the setting.
        x: percent from the left.
        y: percent from the top.
        radius: in pixels.
        low: percent from the top, of the win rate's lower end.
        high: of its upper end.
        left: percent from the left, of the lower end of the seconds; None where there is none.
        right: of the upper end.
        row: how many rows its letter is raised, so that it lies on no other.
    """

    entry: Entry
    x: float
    y: float
    radius: float
    low: float
    high: float
    left: float | None = None
    right: float | None = None
    row: int = 0


@dataclass(frozen=True)
class Plot:
    """The front, ready to be drawn.

    Attributes:
        tried: what the search measured.
        confirmed: what was measured again.
        default: the default's dot.
        steps: lines of the highest confirmed win rate within so many seconds: x, y, x, y.
        ticks: places and words of the axis of seconds.
        levels: places and words of the axis of win rates.
        sizes: radii and words of the key of memory; empty where it says nothing.
        untimed: settings without seconds, which are not in the plot.
    """

    tried: tuple[Dot, ...]
    confirmed: tuple[Dot, ...]
    default: Dot
    steps: tuple[tuple[float, float, float, float], ...]
    ticks: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    sizes: tuple[tuple[float, str], ...]
    untimed: int

    @property
    def dots(self) -> list[Dot]:
        """All that can be looked at, in order of their seconds."""
        return sorted([*self.tried, *self.confirmed, self.default], key=lambda dot: dot.x)


def front_plot(known: Sequence[Entry], tried: Sequence[Entry], front: Sequence[Any]) -> Plot | None:
    """Lay the front out.

    Args:
        known: the default, then everything confirmed.
        tried: what the search measured.
        front: the rulebook's front.

    Returns:
        The plot, or None where no seconds are known of the default or of nothing else.
    """
    timed = [entry for entry in (*known, *tried) if seconds_of(entry) is not None]
    if len(timed) < 2 or seconds_of(known[0]) is None:
        return None
    scale = _Scale(timed)
    dots = {entry.place: scale.dot(entry) for entry in timed}
    confirmed = _raised([dots[e.place] for e in known[1:] if e.place in dots])
    return Plot(
        tuple(dots[entry.place] for entry in tried if entry.place in dots),
        tuple(confirmed),
        dots[0],
        tuple(scale.steps(front)),
        tuple(scale.ticks()),
        tuple((scale.y(level / 10), f"{level / 10:.1f}") for level in scale.levels()),
        scale.sizes(),
        len(known) + len(tried) - len(timed),
    )


def seconds_of(entry: Entry) -> float | None:
    """Return seconds until the picture arrives, None where they are not known."""
    value = entry.cost["latency_seconds"]
    return float(value) if value else None


class _Scale:
    """From figures to places."""

    def __init__(self, rows: Sequence[Entry]) -> None:
        times = [value for row in rows if (value := seconds_of(row))]
        self.low, self.high = min(times) / 1.18, max(times) * 1.22
        wins = [(e.quality["high"] if e.confirmed else e.quality["win_rate"])
                for e in rows if e.quality]
        lows = [(e.quality["low"] if e.confirmed else e.quality["win_rate"])
                for e in rows if e.quality]
        self.top: float = min(1.02, max([0.62, *wins]) + 0.04)
        self.bottom: float = max(-0.02, min([0.38, *lows]) - 0.04)
        sizes = [float(size) for row in rows if (size := row.cost["peak_memory_bytes"])]
        self.least, self.most = (min(sizes), max(sizes)) if sizes else (0.0, 0.0)

    def x(self, seconds: float) -> float:
        share = math.log(seconds / self.low) / math.log(self.high / self.low)
        return round(100.0 * min(1.0, max(0.0, share)), 2)

    def y(self, win_rate: float) -> float:
        share = (self.top - win_rate) / (self.top - self.bottom)
        return round(100.0 * min(1.0, max(0.0, share)), 2)

    def radius(self, size: float | None) -> float:
        """Areas grow with memory, linearly between the smallest and the largest."""
        if not size or self.most <= SAME_MEMORY * self.least:
            return RADIUS
        share = (size - self.least) / (self.most - self.least)
        least, most = LEAST_RADIUS * LEAST_RADIUS, MOST_RADIUS * MOST_RADIUS
        return round(math.sqrt(least + share * (most - least)), 2)

    def dot(self, entry: Entry) -> Dot:
        quality = entry.quality or {"win_rate": 0.5, "low": 0.5, "high": 0.5}
        cost, seconds = entry.cost, seconds_of(entry) or self.low
        left = right = None
        if cost["low"] and cost["high"] and cost["seconds"] == cost["latency_seconds"]:
            left, right = self.x(cost["low"]), self.x(cost["high"])
        return Dot(
            entry, self.x(seconds), self.y(quality["win_rate"]),
            self.radius(cost["peak_memory_bytes"]), self.y(quality["low"]),
            self.y(quality["high"]), left, right,
        )  # fmt: skip

    def steps(self, front: Sequence[Any]) -> list[tuple[float, float, float, float]]:
        rows = sorted((row["cost"]["latency_seconds"], row["quality"]["win_rate"])
                      for row in front if row["cost"]["latency_seconds"])
        corners: list[tuple[float, float]] = []
        for seconds, win in rows:
            if not corners or win > corners[-1][1]:
                corners.append((seconds, win))
        lines = []
        for i, (seconds, win) in enumerate(corners):
            end = corners[i + 1] if i + 1 < len(corners) else (self.high, win)
            y = self.y(win)
            lines.append((self.x(seconds), y, self.x(end[0]), y))
            if end[1] != win:
                lines.append((self.x(end[0]), y, self.x(end[0]), self.y(end[1])))
        return lines

    def ticks(self) -> list[tuple[float, str]]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        many = math.log10(self.high / self.low) > 2.0
        found = [digit * 10.0**p for p in powers for digit in ((1,) if many else (1, 2, 5))]
        return [(self.x(value), seconds_text(value)) for value in found
                if self.low <= value <= self.high]

    def levels(self) -> list[int]:
        first, last = math.ceil(self.bottom * 10 - 1e-9), math.floor(self.top * 10 + 1e-9)
        every = range(first, last + 1)
        return [level for level in every if level % 2 == 0 or level == 5 or len(every) < 6]

    def sizes(self) -> tuple[tuple[float, str], ...]:
        if self.most <= SAME_MEMORY * self.least:
            return ()
        return tuple((self.radius(size), bytes_text(size)) for size in (self.least, self.most))


def _raised(dots: Sequence[Dot]) -> list[Dot]:
    """Raise letters that would lie on each other: 2.2 % and 6 % are a letter's room."""
    found: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.x, dot.high)):
        row = dot.row
        while any(abs(dot.x - other.x) < 2.2
                  and abs((dot.high - 6 * row) - (other.high - 6 * other.row)) < 6
                  for other in found):
            row += 1
        found.append(Dot(**{**vars(dot), "row": row}))
    return sorted(found, key=lambda dot: dot.entry.place)

