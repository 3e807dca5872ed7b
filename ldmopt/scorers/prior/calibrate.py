"""From values to calibrated chances, on held-out ladders; and how well the ladders are seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.scorers.taste.chances import preference

Floats = NDArray[np.float64]
TIE = 0.025
"""Two pictures of a ladder whose losses differ by less are a tie."""


def ladder_pairs(
    quality: Floats, ladder: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Return every pair of each ladder: left, right, win of left, and weight (1 a ladder)."""
    left: list[NDArray[np.int64]] = []
    right: list[NDArray[np.int64]] = []
    weight: list[Floats] = []
    for number in np.unique(ladder):
        rows = np.flatnonzero(ladder == number)
        first, second = np.triu_indices(len(rows), 1)
        left.append(rows[first])
        right.append(rows[second])
        weight.append(np.full(len(first), 1.0 / max(1, len(first))))
    lefts, rights = np.concatenate(left), np.concatenate(right)
    gap = quality[lefts] - quality[rights]
    win = np.where(np.abs(gap) < TIE, 0.5, (gap > 0).astype(np.float64))
    return lefts, rights, win, np.concatenate(weight)


def calibrated(
    values: Floats, quality: Floats, ladder: NDArray[np.int64]
) -> tuple[float, float, dict[str, Any]]:
    """Fit scale and noise of the chances to the order of held-out ladders by their log loss.

    Args:
        values: `(members, n)` raw values.
        quality: `(n,)`, only its order within a ladder counts.
        ladder: `(n,)` number of the ladder.

    Returns:
        Scale (logits a unit), noise (variance in squared logits), and figures for the report.
    """
    from scipy.optimize import minimize

    left, right, win, weight = ladder_pairs(quality, ladder)
    difference = values[:, left] - values[:, right]
    mean, spread = difference.mean(axis=0), difference.var(axis=0, ddof=1)

    def loss(point: Floats) -> float:
        scale, noise = np.exp(point)
        chance = preference(scale * mean, scale**2 * spread + noise)
        return float((_surprise(chance, win) * weight).sum() / weight.sum())

    best = minimize(loss, np.log([20.0, 1.0]), method="Nelder-Mead", bounds=[(0, 6), (-6, 6)])
    scale, noise = (float(value) for value in np.exp(best.x))
    chance = preference(scale * mean, scale**2 * spread + noise)
    return scale, noise, {"log_loss": float(best.fun), **reliability(chance, win, weight)}


def reliability(chance: Floats, win: Floats, weight: Floats) -> dict[str, Any]:
    """Return Brier score and the reliability curve; both orders of each pair are counted."""
    chance = np.concatenate([chance, 1 - chance])
    win = np.concatenate([win, 1 - win])
    weight = np.concatenate([weight, weight])
    bins = np.minimum((chance * 10).astype(int), 9)
    rows = []
    for number in range(10):
        inside = bins == number
        total = weight[inside].sum()
        if total > 0:
            said = float((chance[inside] * weight[inside]).sum() / total)
            seen = float((win[inside] * weight[inside]).sum() / total)
            rows.append([round(said, 4), round(seen, 4), round(float(total / weight.sum()), 4)])
    brier = float((((chance - win) ** 2) * weight).sum() / weight.sum())
    return {"brier": brier, "curve_said_seen_share": rows}


def report(
    values: Floats, quality: Floats, ladder: NDArray[np.int64], kind: NDArray[np.str_]
) -> dict[str, Any]:
    """Return mean Spearman and share of pairs in the right order, in all and by kind."""
    from scipy.stats import spearmanr

    value = values.mean(axis=0)
    rows: dict[str, list[tuple[float, float]]] = {}
    for number in np.unique(ladder):
        inside = ladder == number
        if np.ptp(quality[inside]) < TIE:
            continue
        rho = 0.0
        if np.ptp(value[inside]) > 0:
            rho = float(spearmanr(value[inside], quality[inside]).statistic)
        first, second = np.triu_indices(int(inside.sum()), 1)
        gap = quality[inside][first] - quality[inside][second]
        seen = value[inside][first] - value[inside][second]
        clear = np.abs(gap) >= TIE
        right = float((np.sign(gap[clear]) == np.sign(seen[clear])).mean())
        rows.setdefault(str(kind[inside][0]), []).append((rho, right))
    every = np.array([row for part in rows.values() for row in part])
    return {
        "rho": round(float(every[:, 0].mean()), 4),
        "accuracy": round(float(every[:, 1].mean()), 4),
        "by_kind": {
            name: {
                "rho": round(float(np.mean([row[0] for row in part])), 4),
                "accuracy": round(float(np.mean([row[1] for row in part])), 4),
                "ladders": len(part),
            }
            for name, part in sorted(rows.items())
        },
    }


def _surprise(chance: Floats, win: Floats) -> Floats:
    chance = np.clip(chance, 1e-9, 1 - 1e-9)
    return np.asarray(-(win * np.log(chance) + (1 - win) * np.log(1 - chance)))
