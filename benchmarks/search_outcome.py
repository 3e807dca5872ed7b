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
SLOW = 500.0
"""Milliseconds from which a search's proposing is told by number of trials."""

COLORS = {"factored": "#b3261e", "tpe": "#1f5fa8", "nsga2": "#c77800", "gp": "#2e7d4f",
          "gp-log": "#8fbf4d",
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


def ordered(runs: list[dict]) -> list[str]:
    """Return the searches that ran: ours, the plain ones, the shared ones."""
    ran = {run["search"] for run in runs}
    return [f"{name}{mode}" for mode in ("", "-shared") for name in COLORS
            if f"{name}{mode}" in ran]


def summary(runs: list[dict]) -> dict[str, Any]:
    """Return search -> share -> quartiles of device seconds; None where it was not reached."""
    found: dict[str, Any] = {}
    for name in ordered(runs):
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
        counts = sorted({int(at) for run in own for at in run.get("proposing_ms_at", {})})
        row["proposing_ms_at"] = {at: float(np.median(
            [run["proposing_ms_at"][str(at)] for run in own
             if str(at) in run.get("proposing_ms_at", {})])) for at in counts}
        regrets = [item["regret"] for run in own for item in run["recommended"]]
        row["regret"] = [float(np.mean(regrets)), max(regrets)] if regrets else None
        found[name] = row
    return found


def text(facts: dict[str, Any]) -> str:
    """Return the summary as lines of Markdown."""
    lines = [f"{facts['source']}. All picture settings made once, run as the default is: "
             f"{facts['picture_grid_seconds']:.0f} device seconds; every cell: "
             f"{facts['grid_seconds']:.0f}.", "",
             "| search | seeds | trials | 90 % | 95 % | 98 % | 99 % | at the end | proposing |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, row in facts["summary"].items():
        cells = []
        for share in SHARES:
            low, middle, high = ("-" if v is None else f"{v:.0f}" for v in row[share])
            cells.append(f"{middle} ({low} to {high})" if middle != "-" else "-")
        lines.append(f"| {name} | {row['seeds']} | {row['trials']:.0f} | {' | '.join(cells)} | "
                     f"{row['share']:.1%} | {row['proposing_ms'][0]:.3g} ms |")
    for kind, rival in facts["ratios"].items():
        lines += ["", f"{float(rival['share']):.0%} against the best {kind} one "
                      f"({rival['search']}): factored needs {rival['ratio']:.1f} times fewer "
                      f"device seconds (medians; {rival['own']:.0f} and {rival['seconds']:.0f})."]
    for name, row in facts["summary"].items():
        if row["proposing_ms"][0] > SLOW:
            at = ", ".join(f"{milliseconds / 1e3:.1f} s at {count}"
                           for count, milliseconds in row["proposing_ms_at"].items())
            most = facts["most_trials"][name.removesuffix("-shared")]
            lines += ["", f"{name} proposes slowly, hence {most} trials at the most and few seeds: "
                          f"{at} trials, with other work beside it."]
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
    """Return how many times fewer device seconds factored takes than the best of the others.

    To 98 %; where factored or all others stay below it, to the most that both come to.
    """
    own, result = found.get("factored", {}), {}
    for kind in ("plain", "shared"):
        for share in ("0.98", "0.95", "0.9"):
            others = {name: row[share][1] for name, row in found.items() if name != "factored"
                      and name.endswith("-shared") == (kind == "shared") and row[share][1]}
            if own and own[share][1] and others:
                best = min(others, key=lambda name: others[name])
                result[kind] = {"search": best, "share": share, "seconds": others[best],
                                "own": own[share][1], "ratio": others[best] / own[share][1]}
                break
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

    figure, axes = plt.subplots(figsize=(10.5, 5.4), layout="constrained")
    grid = np.geomspace(5, max(run["spent"] for run in runs), 600)
    first = grid[-1]
    most = max(sum(run["search"] == name for run in runs) for name in ordered(runs))
    for name in ordered(runs):
        own = [run for run in runs if run["search"] == name]
        # As far as half of the runs went: what a search that stopped would have found is unknown.
        end = float(np.median([run["curve"][-1][0] for run in own]))
        at = grid[grid <= end]
        low, middle, high = np.quantile([shares_at(run["curve"], at) for run in own],
                                        [0.25, 0.5, 0.75], axis=0)
        ours, shared = name == "factored", name.endswith("-shared")
        color = COLORS[name.removesuffix("-shared")]
        few = f" ({len(own)} of {most} seeds)" if len(own) < most else ""
        axes.plot(at, missing(middle), ":" if shared else "-", color=color, label=name + few,
                  linewidth=3 if ours else 1.6)
        axes.plot(at[-1], missing(middle[-1]), "o", color=color, markersize=7 if ours else 4)
        if ours:
            axes.fill_between(at, missing(low), missing(high), color=color, alpha=0.15,
                              linewidth=0)
        first = min(first, at[middle > 0.5][0] if (middle > 0.5).any() else first)
    ticks = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
    axes.set(xscale="log", yscale="log", xlim=(0.9 * first, 1.1 * grid[-1]),
             ylim=(0.5, missing(0.996)),
             xlabel="device seconds, as recorded in the table",
             ylabel="share of the true hypervolume, median")
    axes.set_yticks([missing(share) for share in ticks], [f"{share:.0%}" for share in ticks])
    axes.set_xticks(seconds := [at for at in (10, 30, 100, 300, 1000, 3000) if at > 0.9 * first],
                    [str(at) for at in seconds])
    axes.minorticks_off()
    axes.set_title(facts["source"], fontsize=9)
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside right center")
    figure.savefig(path, dpi=130)


def shares_at(curve: list[list[float]], seconds: Floats) -> Floats:
    """Return the shares that a run had found at these device seconds."""
    at, shares = zip(*curve, strict=True)
    place = np.searchsorted(at, seconds, side="right") - 1
    return np.where(place >= 0, np.array(shares)[np.maximum(place, 0)], 0.0)


def missing(share: Any) -> Any:
    """Return the share that is not found, drawn so that 98 and 99 % lie apart."""
    return np.maximum(1.0 - np.asarray(share), 1e-4)
