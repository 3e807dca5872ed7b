"""Two pictures of how well a regressor learned a taste: accuracy by labels, and reliability."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldmopt.exports.plots import ACCENT, CAP, INK, SOFT, quiet
from ldmopt.rulebook import replace_file
from ldmopt.scorers.taste.agreement import ceiling

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SPAN = 0.3
"""Least range of accuracies that is shown, so that small differences look small."""


def learning_plot(report: Mapping[str, Any], path: str | Path) -> bool:
    """Write accuracy on held-out prompts against the number of labels as PNG.

    Args:
        report: a fitted regressor's report.
        path: the file, written whole or not at all.

    Returns:
        Whether there was a curve to draw.

    Raises:
        UserError: the file cannot be written.
    """
    curve = report.get("learning_curve") or {}
    points = curve.get("points")
    if not points:
        return False
    figure, axes = _canvas((0.085, 0.115, 0.79, 0.735))
    sizes = [row["labels"] for row in points]
    rounds = [row["accuracy"] for row in points]
    means = [sum(values) / len(values) for values in rounds]
    final = report["agreement"]["judges"]["fitted"]["accuracy"]
    low, high = [min(values) for values in rounds], [max(values) for values in rounds]
    axes.fill_between(sizes, low, high, color=ACCENT, alpha=0.16, linewidth=0)
    labels = report["labels"]
    ticks, ends = list(sizes), [low[-1], high[-1]]
    if labels["by_prompt"]:  # single pictures are compared with others in every round
        ticks.append(curve["labels_of_all"])
        means.append(final["value"])
        ends = [final["low"], final["high"]]
        axes.plot([ticks[-1]] * 2, ends, color=ACCENT, linewidth=1.4)
    axes.plot(ticks, means, color=ACCENT, linewidth=2.0, marker="o", markersize=5.5,
              markeredgecolor="white")  # fmt: skip
    lines = _references(report)
    for value, _, colour in lines:
        axes.axhline(value, color=colour, linewidth=1.3, linestyle=(0, (4, 3)), zorder=1)
    _log_labels(axes, ticks)
    values = [*low, *high, *ends, *(value for value, _, _ in lines)]
    middle, half = (min(values) + max(values)) / 2, (max(values) - min(values)) / 2
    half = max(half + 0.04, LEAST_SPAN / 2)
    axes.set_ylim(max(0.0, middle - half), min(1.01, middle + half))
    _beside(axes, [(means[-1], "prior + labels", ACCENT), *lines])
    axes.set_xlabel("labels learned from (log scale)", color=SOFT)
    axes.set_ylabel("comparisons ordered as the rater ordered them", color=SOFT)
    kind = "prompts" if labels["by_prompt"] else "pictures"
    _headings(
        figure,
        f"What more labels bring: accuracy on held-out {kind}",
        f"{whose(labels)}; encoder {report['encoder']}",
        f"band: from the worst to the best of {curve['rounds']} rounds, labels drawn anew in each"
        + ("  ·  last point: all labels, with its 95 % interval" if labels["by_prompt"] else ""),
    )
    _save(figure, path)
    return True


def reliability_plot(report: Mapping[str, Any], path: str | Path) -> bool:
    """Write how often "70 % sure" was right on held-out comparisons, as PNG.

    Args:
        report: a fitted regressor's report.
        path: the file, written whole or not at all.

    Returns:
        Whether there was a curve to draw.

    Raises:
        UserError: the file cannot be written.
    """
    found = report.get("reliability") or {}
    curve = found.get("curve")
    if not curve:
        return False
    figure, axes = _canvas((0.085, 0.115, 0.89, 0.735))
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for row in curve:
        x, share = row["said"], row["share"]
        axes.plot([x, x], [row["low"], row["high"]], color=ACCENT, linewidth=1.3, zorder=2)
        axes.scatter([x], [row["seen"]], s=24 + 1400 * share, color=ACCENT, edgecolors="white",
                     linewidths=1.0, zorder=3)  # fmt: skip
        axes.annotate(f"{share:.0%}", (x, row["seen"]), xytext=(5 + 16 * share**0.5, 0),
                      textcoords="offset points", va="center", fontsize=8, color=SOFT)  # fmt: skip
    axes.set_xlim(-0.03, 1.06)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("chance that the regressor gave", color=SOFT)
    axes.set_ylabel("share that the raters preferred (a tie is half)", color=SOFT)
    _headings(
        figure,
        "Are its chances to be believed? Held-out comparisons",
        f"{whose(report.get('labels', {}))}; Brier score {found['brier']:.3f}, best recalibration "
        f"{found['best_recalibration']:.3f}",
        "dashed: chances that come true  ·  bars: 95 % intervals  ·  number and area: share of the "
        "comparisons, both orders counted",
    )
    _save(figure, path)
    return True


def whose(labels: Mapping[str, Any]) -> str:
    """Return in words whose labels a report rests on."""
    human, simulated = labels.get("human", 0), labels.get("simulated", 0)
    parts = [f"{human} labels of people"] if human else []
    parts += [f"{simulated} labels of simulated raters"] if simulated else []
    return " and ".join(parts) or "no labels"


def _references(report: Mapping[str, Any]) -> list[tuple[float, str, str]]:
    """The prior, and what the raters' own agreement allows, to hold the curve against."""
    lines = [(float(report["learning_curve"]["prior"]), "prior alone,\nno labels", CAP)]
    themselves = report["agreement"]["themselves"]
    if themselves["value"] is not None:
        most = ceiling(themselves["value"])
        lines.append((most, f"most that {themselves['count']}\nrepeats allow", SOFT))
    return lines


def _beside(axes: Axes, texts: list[tuple[float, str, str]]) -> None:
    """Name lines at the right edge, none on top of another; close ones part about their middle."""
    low, high = axes.get_ylim()
    groups: list[list[tuple[float, float, str, str]]] = []  # place, height, text, colour
    for value, text, colour in sorted(texts):
        height = (0.045 + 0.035 * text.count("\n")) * (high - low)
        if groups:
            last, room, *_ = groups[-1][-1]
            lowest = last + (room + height) / 2
        if groups and value < lowest:
            groups[-1].append((lowest, height, text, colour))
            shift = (lowest - value) / len(groups[-1])
            groups[-1] = [(y - shift, tall, words, tint) for y, tall, words, tint in groups[-1]]
        else:
            groups.append([(value, height, text, colour)])
    for place, _, text, colour in (row for group in groups for row in group):
        axes.annotate(text, (1.0, place), xycoords=("axes fraction", "data"), xytext=(7, 0),
                      textcoords="offset points", va="center", fontsize=9.5, color=colour,
                      annotation_clip=False)  # fmt: skip


def _log_labels(axes: Axes, sizes: list[int]) -> None:
    """A logarithmic axis with the sizes themselves as ticks."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(sizes[0] / 1.12, sizes[-1] * 1.06)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(FixedFormatter([str(size) for size in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())


def _canvas(place: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 5.6), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(place)
    quiet(axes)
    return figure, axes


def _headings(figure: Figure, title: str, about: str, key: str) -> None:
    figure.text(0.02, 0.95, title, fontsize=14, weight="bold", color=INK)
    figure.text(0.02, 0.912, about[:130], fontsize=9, color=SOFT)
    figure.text(0.02, 0.876, key, fontsize=8.6, color=SOFT)


def _save(figure: Figure, path: str | Path) -> None:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    replace_file(Path(path), stream.getvalue())
