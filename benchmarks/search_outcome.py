"""What a search's runs come to: recommendations and their regret, the summary, the plot."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from cost_model import session_of
from numpy.typing import NDArray
from search_table import Table, win_rates

from ldmopt.contracts import Setting
from ldmopt.distillation.intervals import mean_interval
from ldmopt.recording import QUALITY, Recording
from ldmopt.search.hypervolume import nondominated
from ldmopt.search.pricing import Pricing
from ldmopt.study.probing import Probe, counter, learn

Floats = NDArray[np.float64]
SHARES = ("0.9", "0.95", "0.98", "0.99")
COLORS = {"factored": "#b3261e", "tpe": "#1f5fa8", "nsga2": "#c77800", "gp": "#2e7d4f",
          "qlognehvi": "#7b4bb0", "random": "#6b6b6b", "grid": "#a88f6a"}


def predicted(table: Table, limit: float) -> tuple[Floats, Floats, float]:
    """Let a study's own probe read costs on the table.

    Args:
        table: answers with what was recorded.
        limit: device seconds that readings of seconds, and of memory, may take each.

    Returns:
        Predicted seconds and bytes `(m, e)`, and the device seconds of the probe.
    """
    with session_of(table.recording) as session:
        probe = Probe(session, limit)
        for _ in itertools.chain(probe.seconds(), probe.memory()):
            pass
        # Each way as it acts: ONNX Runtime in half precision would be refused, not run in full.
        first = {way: place for place, way in reversed(list(enumerate(table.acting)))}
        ways = [first[way] for way in table.acting]
        found = Pricing(learn(session), session.space, counter(session), table.blocks).predict(
            table.pictures, table.executions)
        return found.seconds[:, ways], found.memory[:, ways], session.bench.spent_seconds


def front(seconds: Floats, memory: Floats) -> list[int]:
    """Return the undominated ways of running by seconds and memory, `(e,)` each."""
    return [int(place) for place in np.flatnonzero(
        nondominated(np.stack([-seconds, -memory], axis=1)))]


def budgets(table: Table, count: int) -> Floats:
    """Return limits of seconds a picture, evenly in logarithm over where quality can be had."""
    best = table.quality.max(axis=1)
    useful = table.seconds[best >= 0.1].min()
    return np.geomspace(1.5 * useful, table.seconds[best.argmax()].max(), count)


def recommended(table: Table, pictures: list[int], count: int) -> list[dict[str, Any]]:
    """Return for each budget the best picture setting of those known, and its regret.

    Regret is in the table's own win rate, against the best of all settings within the budget. What
    a known setting costs is measured before it is recommended, so the recorded seconds count.
    """
    if not pictures or not table.factors:
        return []
    known, found = np.array(pictures), []
    least = table.seconds.min(axis=1)
    quality = table.quality[:, 0]
    for limit in budgets(table, count):
        inside = known[least[known] <= limit]
        best = int(np.argmax(np.where(least <= limit, quality, -1.0)))
        chosen = int(inside[np.argmax(quality[inside])]) if len(inside) else None
        regret = quality[best] - (0.0 if chosen is None else quality[chosen])
        found.append({"seconds": round(float(limit), 4),
                      "picture": None if chosen is None else table.pictures[chosen],
                      "best": table.pictures[best],
                      "regret": round(float(regret), 5)})
    return found


def held_out(table: Table, runs: list[dict], folder: Path) -> dict[str, Any] | None:
    """Hold what was recommended against exhaustive search's choice, on prompts that none saw.

    Returns:
        The mean difference of win rates (recommended minus exhaustive) over runs and budgets, with
        its 95 % interval over prompts, and how far exhaustive search's own choices fall from the
        search's prompts to these; None where nothing of it is recorded.
    """
    name = f"held-out-{QUALITY}"
    told = [item for run in runs if run["search"] == "factored" for item in run["recommended"]]
    if not told or not (folder / name).exists():
        return None
    recording = Recording.read(folder, name)
    wins = win_rates(recording)
    row = {setting: place for place, setting in enumerate(recording.settings)}
    known = [item for item in told
             if item["picture"] and {Setting(item["picture"]), Setting(item["best"])} <= set(row)]
    if not known:
        return None
    seen = {Setting(item): place for place, item in enumerate(table.pictures)}
    ours, best = (np.mean([wins[row[Setting(item[kind])]] for item in known], axis=0)
                  for kind in ("picture", "best"))
    gap = mean_interval(ours - best, ends=(-1.0, 1.0), reference=0.0)
    search = np.mean([table.quality[seen[Setting(item["best"])], 0] for item in known])
    return {"prompts": wins.shape[1], "settings": len(row), "recommendations": len(known),
            "of": len(told), "difference": gap.estimate, "low": gap.low, "high": gap.high,
            "exhaustive_on_search_prompts": float(search),
            "exhaustive_on_held_out": float(best.mean()), "ours_on_held_out": float(ours.mean())}


def summary(runs: list[dict]) -> dict[str, Any]:
    """Return search -> share -> quartiles of device seconds; None where it was not reached."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run["search"] for run in runs):
        own = [run for run in runs if run["search"] == name]
        row: dict[str, Any] = {"seeds": len(own)}
        for share in SHARES:
            reached = [math.inf if run["reached"][share] is None else run["reached"][share]
                       for run in own]
            quartiles = np.quantile(reached, [0.25, 0.5, 0.75], method="inverted_cdf")
            row[share] = [float(q) if math.isfinite(q) else None for q in quartiles]
        row["trials"] = float(np.median([run["trials"] for run in own]))
        row["share"] = float(np.median([run["share"] for run in own]))
        row["saved_by_racing"] = float(np.median([run["saved_by_racing"] for run in own]))
        row["proposing_ms"] = [float(np.median([run["proposing_ms"][0] for run in own])),
                               max(run["proposing_ms"][1] for run in own)]
        regrets = [item["regret"] for run in own for item in run["recommended"]]
        row["regret"] = [float(np.mean(regrets)), max(regrets)] if regrets else None
        found[name] = row
    return found


def text(facts: dict[str, Any]) -> str:
    """Return the summary as lines of Markdown."""
    lines = [f"{facts['source']}. All picture settings made once, run as the default is: "
             f"{facts['picture_grid_seconds']:.0f} device seconds; every cell: "
             f"{facts['grid_seconds']:.0f}.", "",
             "| search | seeds | 90 % | 95 % | 98 % | 99 % | at the end | proposing, ms |",
             "|---|---|---|---|---|---|---|---|"]
    for name, row in facts["summary"].items():
        cells = []
        for share in SHARES:
            low, middle, high = ("-" if v is None else f"{v:.0f}" for v in row[share])
            cells.append(f"{middle} ({low} to {high})" if middle != "-" else "-")
        lines.append(f"| {name} | {row['seeds']} | {' | '.join(cells)} | {row['share']:.1%} | "
                     f"{row['proposing_ms'][0]:.0f} |")
    for kind in ("plain", "shared"):
        ratio = facts["ratios"].get(kind)
        if ratio:
            lines += ["", f"98 % against the best {kind} one ({ratio['search']}): factored needs "
                          f"{ratio['ratio']:.1f} times fewer device seconds (medians)."]
    own = facts["summary"].get("factored")
    if own and own["regret"]:
        lines += ["", f"Recommendations of factored at 8 budgets after {facts['limit']:.0f} device "
                      f"seconds: mean regret {own['regret'][0]:.4f} of win rate, largest "
                      f"{own['regret'][1]:.4f}; racing saved {own['saved_by_racing']:.0f} s."]
    gap = facts.get("held_out")
    if gap:
        lines += ["", f"On {gap['prompts']} held-out prompts they are {gap['difference']:+.4f} "
                      f"[{gap['low']:+.4f}, {gap['high']:+.4f}] of win rate from what exhaustive "
                      "search on the table's prompts would have chosen, which itself falls from "
                      f"{gap['exhaustive_on_search_prompts']:.3f} to "
                      f"{gap['exhaustive_on_held_out']:.3f}."]
    return "\n".join(lines) + "\n"


def ratios(found: dict[str, Any]) -> dict[str, Any]:
    """Return how many times fewer device seconds factored takes to 98 % than the best others."""
    own = found.get("factored", {}).get("0.98", [None] * 3)[1]
    result = {}
    for kind in ("plain", "shared"):
        others = {name: row["0.98"][1] for name, row in found.items() if name != "factored"
                  and name.endswith("-shared") == (kind == "shared") and row["0.98"][1]}
        if own and others:
            best = min(others, key=lambda name: others[name])
            result[kind] = {"search": best, "seconds": others[best],
                            "ratio": others[best] / own}
    return result


def tell(
    table: Table, runs: list[dict], facts: dict[str, Any], out: Path, folder: Path
) -> None:
    """Write search.json, search.md and search.png; print the summary."""
    found = summary(runs)
    facts = {**facts, "summary": found, "ratios": ratios(found),
             "held_out": held_out(table, runs, folder)}
    (out / "search.json").write_text(json.dumps(facts, indent=1) + "\n")
    (out / "search.md").write_text(text(facts))
    if runs:
        plot(runs, facts, out / "search.png")
    print(text(facts), end="")


def plot(runs: list[dict], facts: dict[str, Any], path: Path) -> None:
    """Draw the median share of the hypervolume that is found over device seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 5), layout="constrained")
    start = min(run["curve"][1][0] for run in runs if len(run["curve"]) > 1)
    grid = np.geomspace(start, max(run["spent"] for run in runs), 400)
    for name in dict.fromkeys(run["search"] for run in runs):
        curves = []
        for run in (run for run in runs if run["search"] == name):
            seconds, shares = zip(*run["curve"], strict=True)
            at = np.searchsorted(seconds, grid, side="right") - 1
            curves.append(np.where(at >= 0, np.array(shares)[np.maximum(at, 0)], 0.0))
        low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
        color = COLORS[name.split("-")[0]]
        style = "-" if name == "factored" else ":" if name.endswith("-shared") else "--"
        own = name == "factored"
        axes.plot(grid, middle, style, color=color, label=name, linewidth=2.5 if own else 1.3)
        if own:
            axes.fill_between(grid, low, high, color=color, alpha=0.15, linewidth=0)
    axes.axhline(0.98, color="0.7", linewidth=0.8)
    axes.set(xscale="log", ylim=(0.5, 1.005), xlim=(start, grid[-1]),
             xlabel="device seconds, as recorded in the table",
             ylabel="share of the true hypervolume (median)")
    axes.set_title(facts["source"], fontsize=9)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="lower right", ncols=2)
    figure.savefig(path, dpi=130)
