"""The front plot: win rate against seconds, what was tried faint, what was confirmed in front."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldmopt.contracts import Evidence, Trial
from ldmopt.exports._place import place
from ldmopt.exports._words import bytes_text
from ldmopt.rulebook import Rulebook, replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FAINT, ACCENT, CAP = "#1a1a1a", "#5c5c5c", "#b3b3b3", "#0072b2", "#d55e00"
LEAST_AREA, MOST_AREA = 18.0, 150.0
"""Marker areas of the smallest and the largest memory, in points squared."""


def front_plot(
    rulebook: Rulebook,
    trials: Evidence | Sequence[Trial],
    path: str | Path,
    max_seconds: float | None = None,
    max_memory_bytes: float | None = None,
) -> None:
    """Write the front plot as PNG.

    Args:
        rulebook: whose front and recommendations stand out, with held-out intervals.
        trials: what the search measured, drawn faint; failed ones and ones that were raced out
            are left out.
        path: the file, written whole or not at all.
        max_seconds: a cap on seconds, drawn as a line.
        max_memory_bytes: a cap on memory: trials above it are drawn as crosses.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tried = trials.trials if isinstance(trials, Evidence) else trials
    rows = [trial for trial in tried if not trial.raced_out]
    figure = Figure(figsize=(9.6, 6.2), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.075, 0.105, 0.905, 0.76))
    area = Areas(rulebook, rows)
    _axes(axes, rulebook, rows)
    _search(axes, rows, area, max_memory_bytes)
    _confirmed(axes, rulebook, area)
    if max_seconds is not None:
        _cap(axes, max_seconds)
    crosses = any(t.quality and not t.failure and not _fits(t, max_memory_bytes) for t in rows)
    _headings(figure, rulebook, area, crosses)
    _labels(figure, axes, rulebook, rows)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    replace_file(Path(path), stream.getvalue())


class Areas:
    """Marker areas by memory: linear between the smallest and the largest; equal when alike."""

    def __init__(self, rulebook: Rulebook, trials: Sequence[Trial]) -> None:
        """Read the range of memory from trials and confirmed settings."""
        sizes = [t.cost.peak_memory_bytes for t in trials if t.cost and t.cost.peak_memory_bytes]
        sizes += [i["cost"]["peak_memory_bytes"] for i in _points(rulebook)]
        known = [float(size) for size in sizes if size]
        self.low, self.high = (min(known), max(known)) if known else (0.0, 0.0)
        self.varies = self.high > 1.05 * self.low > 0

    def __call__(self, size: float | None) -> float:
        """Return a marker's area."""
        if not self.varies or not size:
            return 55.0
        share = (size - self.low) / (self.high - self.low)
        return LEAST_AREA + share * (MOST_AREA - LEAST_AREA)


def _points(rulebook: Rulebook) -> list[dict[str, Any]]:
    """Confirmed settings to draw: the front, and recommendations that are not on it, each once."""
    rows = [*rulebook.data["front"], *rulebook.data["recommendations"]]
    found: list[dict[str, Any]] = []
    for row in rows:
        known = any(row["setting"] == other["setting"] for other in found)
        if not known and row["setting"] != rulebook.data["default"]["setting"]:
            found.append(row)
    return found


def _axes(axes: Axes, rulebook: Rulebook, trials: Sequence[Trial]) -> None:
    """Scales, ticks and the line of the default."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    times = [t.cost.latency_seconds for t in trials if t.cost and t.quality]
    times += [row["cost"]["latency_seconds"] for row in _points(rulebook)]
    times.append(rulebook.data["default"]["cost"]["latency_seconds"])
    low, high = min(times) / 1.25, max(times) * 1.35
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    wins = [t.quality.win_rate for t in trials if t.quality and not t.failure]
    wins += [row["quality"]["high"] for row in _points(rulebook)]
    top = min(1.0, max(0.6, *wins) + 0.06) if wins else 1.0
    axes.set_ylim(-0.02, top)
    axes.xaxis.set_major_locator(FixedLocator(_round_numbers(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("seconds until the picture arrives (log scale)", color=SOFT)
    axes.set_ylabel("win rate against the default", color=SOFT)
    quiet(axes)
    axes.axhline(0.5, color=SOFT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)


def quiet(axes: Axes) -> None:
    """Draw grid, ticks and spines so that the data stands out."""
    axes.tick_params(colors=SOFT, length=3)
    axes.grid(True, color="#ececec", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)


def _round_numbers(low: float, high: float) -> list[float]:
    """1, 2, 5 x 10^k within the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return [value for value in values if low <= value <= high]


def _search(
    axes: Axes, trials: Sequence[Trial], area: Areas, max_memory_bytes: float | None
) -> None:
    """What was tried, faint; what breaks a cap as a cross."""
    kept = [t for t in trials if t.cost and t.quality and not t.failure]
    for fits in (True, False):
        rows = [(t.cost, t.quality) for t in kept if _fits(t, max_memory_bytes) is fits]
        if not rows:
            continue
        axes.scatter(
            [cost.latency_seconds for cost, _ in rows if cost],
            [quality.win_rate for _, quality in rows if quality],
            s=[area(cost.peak_memory_bytes) for cost, _ in rows if cost],
            marker="o" if fits else "x",
            color=FAINT,
            alpha=0.45,
            linewidths=0.0 if fits else 1.2,
            zorder=2,
        )


def _fits(trial: Trial, max_memory_bytes: float | None) -> bool:
    size = trial.cost.peak_memory_bytes if trial.cost else None
    over = max_memory_bytes is not None and size is not None and size > max_memory_bytes
    return trial.feasible and not over


def _confirmed(axes: Axes, rulebook: Rulebook, area: Areas) -> None:
    """The confirmed settings with their intervals, the steps of the front, and the default."""
    _steps(axes, rulebook)
    for row in _points(rulebook):
        quality, cost = row["quality"], row["cost"]
        x, y = cost["latency_seconds"], quality["win_rate"]
        axes.plot([x, x], [quality["low"], quality["high"]], color=ACCENT, lw=1.4, zorder=3)
        axes.scatter(
            [x], [y], s=area(cost["peak_memory_bytes"]), color=ACCENT, edgecolors="white",
            linewidths=0.9, zorder=4,
        )  # fmt: skip
    cost = rulebook.data["default"]["cost"]
    axes.scatter(
        [cost["latency_seconds"]], [0.5], marker="D", s=62, color=INK, edgecolors="white",
        linewidths=0.9, zorder=5,
    )  # fmt: skip


def _steps(axes: Axes, rulebook: Rulebook) -> None:
    """The highest confirmed win rate within so many seconds."""
    rows = sorted(
        (item["cost"]["latency_seconds"], item["quality"]["win_rate"])
        for item in rulebook.data["front"]
    )
    xs: list[float] = []
    ys: list[float] = []
    for x, y in rows:
        if not ys or y > ys[-1]:
            xs.append(x)
            ys.append(y)
    if xs:
        xs.append(axes.get_xlim()[1])
        ys.append(ys[-1])
        axes.plot(xs, ys, drawstyle="steps-post", color=ACCENT, lw=1.2, alpha=0.35, zorder=2)


def _cap(axes: Axes, seconds: float) -> None:
    low, high = axes.get_xlim()
    axes.set_xlim(low, max(high, seconds * 1.2))
    axes.axvline(seconds, color=CAP, linewidth=1.2, zorder=1)
    axes.annotate(
        f"cap: {seconds:g} s", (seconds, 0.0), xytext=(-5, 4), textcoords="offset points",
        rotation=90, ha="right", va="bottom", color=CAP, fontsize=9,
    )  # fmt: skip


def _headings(figure: Figure, rulebook: Rulebook, area: Areas, crosses: bool) -> None:
    """Title, what is drawn, and the key of sizes."""
    percent = f"{rulebook.data['confidence']:.0%}"
    scope = rulebook.data["scope"]
    figure.text(0.02, 0.955, "Win rate against seconds", fontsize=15, weight="bold", color=INK)
    where = ", ".join(text for text in (scope["model"], scope["device"]) if text)
    figure.text(0.02, 0.922, f"{rulebook.data['study']}: {where}"[:120], fontsize=9, color=SOFT)
    imported = "imported" in scope
    told = [
        f"blue: the front of the imported table ({percent} intervals)" if imported else
        f"blue: measured again on held-out prompts ({percent} intervals), and their front",
        "grey: its other settings" if imported else "grey: tried in the search",
        *(["crosses: over a cap"] if crosses else []),
        "dashed: as good as the default",
    ]
    figure.text(0.02, 0.888, "  ·  ".join(told), fontsize=8.6, color=SOFT)
    if area.varies:
        _size_key(figure, area)


def _size_key(figure: Figure, area: Areas) -> None:
    """Two circles that say what their size means."""
    axes = figure.add_axes((0.72, 0.945, 0.26, 0.045))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.text(0.0, 0.5, "memory", va="center", fontsize=9, color=SOFT)
    for x, size in ((0.28, area.low), (0.63, area.high)):
        axes.scatter([x], [0.5], s=area(size), color=FAINT)
        axes.text(x + 0.05, 0.5, bytes_text(size), va="center", fontsize=9, color=SOFT)


def _labels(figure: Figure, axes: Axes, rulebook: Rulebook, trials: Sequence[Trial]) -> None:
    """Names beside their points, placed where they cover neither points nor each other."""
    default = rulebook.data["default"]
    groups: list[tuple[list[str], float, float, str]] = [
        (["default"], default["cost"]["latency_seconds"], 0.5, INK)
    ]
    settings = [default["setting"]]
    for item in rulebook.data["recommendations"]:
        if item["setting"] in settings:
            groups[settings.index(item["setting"])][0].append(item["id"])
        else:
            settings.append(item["setting"])
            point = (item["cost"]["latency_seconds"], item["quality"]["win_rate"])
            groups.append(([item["id"]], *point, ACCENT))
    bars = [
        (row["cost"]["latency_seconds"], float(y))
        for row in _points(rulebook)
        for y in _between(row["quality"]["low"], row["quality"]["high"])
    ]
    bars.append((default["cost"]["latency_seconds"], 0.5))
    dots = [(t.cost.latency_seconds, t.quality.win_rate) for t in trials if t.cost and t.quality]
    texts = [("\n".join(ids), x, y, colour) for ids, x, y, colour in groups]
    place(figure, axes, texts, bars, dots)


def _between(low: float, high: float) -> list[float]:
    """Points along an interval's bar, close enough that no label slips through."""
    return [low + (high - low) * step / 16 for step in range(17)]
