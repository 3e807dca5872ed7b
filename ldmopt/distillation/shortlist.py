"""Which settings a study should measure again on prompts that the search never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ldmopt.contracts import Evidence, Setting, Trial
from ldmopt.distillation.front import Bounds, Point, hypervolume
from ldmopt.distillation.intervals import prompt_means
from ldmopt.distillation.table import look_knobs

NOT_WORSE = 0.5
LEAST_WIN_RATE = 0.3
"""Settings that lose more often than this are not worth confirming while others are left."""


@dataclass(frozen=True)
class Candidate:
    """A setting with its win rate shrunk towards what settings win on the whole."""

    setting: Setting
    point: Point
    deviation: float


def candidates(evidence: Evidence, limit: int) -> list[Setting]:
    """Return the settings to confirm, most useful first, the default always among them.

    The best of many measured win rates is best partly by luck, so each is first shrunk towards
    the mean of all by the reliability that its prompts give it (James and Stein 1961; Efron and
    Morris 1975). Then in order: the default; what is likely to be called best, fastest not worse,
    balanced and smallest; then whatever adds most to the dominated hypervolume.

    Args:
        evidence: trials of the search; confirmations are not looked at.
        limit: how many settings at most, the default included.
    """
    rows = [row for row in shrunk(evidence) if row.setting != evidence.default]
    chosen: list[Setting] = [evidence.default]
    if rows and limit > 1:
        for pick in (_best, _fastest, _balanced, _smallest):
            found = pick(rows, NOT_WORSE)
            if found is not None and found.setting not in chosen:
                chosen.append(found.setting)
        bounds = _bounds([row.point for row in rows])
        chosen = _fill(chosen, rows, bounds, limit)
    return chosen[:limit]


def shrunk(evidence: Evidence) -> list[Candidate]:
    """Return the feasible settings, each once, with shrunk win rates."""
    trials: dict[Setting, Trial] = {}
    for trial in evidence.trials:
        if trial.feasible and trial.measured:
            trials.setdefault(trial.setting, trial)
    telling = look_knobs(evidence)
    looks: dict[Setting, tuple[float, float]] = {}
    for trial in trials.values():
        if trial.setting != evidence.default:
            looks.setdefault(trial.setting.only(telling), _mean_and_error(trial))
    posterior = dict(zip(looks, _shrink(list(looks.values())), strict=True))
    rows = []
    for trial in trials.values():
        look = trial.setting.only(telling)
        mean, deviation = posterior.get(look, (0.5, 0.0))
        if trial.cost is not None:
            rows.append(Candidate(trial.setting, Point.of(trial.cost, mean), deviation))
    return rows


def _mean_and_error(trial: Trial) -> tuple[float, float]:
    """A trial's win rate and its standard error over prompts, never quite 0."""
    if trial.quality and trial.quality.certain:
        return 0.5, 0.0
    blocks = trial.quality.blocks if trial.quality else ()
    values = np.array(list(prompt_means(blocks).values()), np.float64)
    if len(values) < 2:
        return (float(values.mean()) if len(values) else 0.5, 0.5)
    mean = float(values.mean())
    # two pseudo-prompts at 0 and 1 keep the error of all-alike wins above zero
    padded = float(((values - mean) ** 2).sum() + 0.5 * ((1 - mean) ** 2 + mean**2))
    return mean, math.sqrt(padded / len(values) / len(values))


def _shrink(figures: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Empirical Bayes with a normal prior whose variance is estimated by moments."""
    if not figures:
        return []
    means = np.array([mean for mean, _ in figures])
    errors = np.array([error**2 for _, error in figures])
    center = float(means.mean())
    between = max(0.0, float(means.var(ddof=1)) - float(errors.mean())) if len(means) > 1 else 1.0
    result = []
    for mean, error in zip(means.tolist(), errors.tolist(), strict=True):
        weight = between / (between + error) if between + error > 0 else 1.0
        result.append((center + weight * (mean - center), math.sqrt(weight * error)))
    return result


def _bounds(points: Sequence[Point]) -> Bounds:
    """Scales from the points themselves."""
    times = [point.latency_seconds for point in points]
    sizes = [size for point in points if (size := point.peak_memory_bytes)]
    whole = len(sizes) == len(points)
    return Bounds(
        min(times), max(times), min(sizes) if whole else None, max(sizes) if whole else None
    )


def _best(rows: Sequence[Candidate], floor: float) -> Candidate | None:
    return max(rows, key=lambda row: (row.point.win_rate, -row.point.seconds))


def _fastest(rows: Sequence[Candidate], floor: float) -> Candidate | None:
    return _least(rows, floor, lambda row: row.point.seconds)


def _smallest(rows: Sequence[Candidate], floor: float) -> Candidate | None:
    known = [row for row in rows if row.point.peak_memory_bytes is not None]
    return _least(known, floor, lambda row: row.point.peak_memory_bytes or 0.0)


def _balanced(rows: Sequence[Candidate], floor: float) -> Candidate | None:
    """The setting whose own box is the largest share of the hypervolume."""
    bounds = _bounds([row.point for row in rows])
    sound = [row for row in rows if row.point.win_rate >= floor]
    return max(sound, key=lambda row: hypervolume([row.point], bounds), default=None)


def _least(
    rows: Sequence[Candidate], floor: float, cost: Callable[[Candidate], float]
) -> Candidate | None:
    """Least cost among settings likely not worse, the better one of equals."""
    sound = [row for row in rows if row.point.win_rate >= floor]
    return min(sound, key=lambda row: (cost(row), -row.point.win_rate), default=None)


def _fill(
    chosen: list[Setting], rows: Sequence[Candidate], bounds: Bounds, limit: int
) -> list[Setting]:
    """Add settings greedily by the hypervolume that each adds to those already chosen."""
    held = [row.point for row in rows if row.setting in chosen]
    others = [row for row in rows if row.setting not in chosen]
    lost = [row for row in others if row.point.win_rate < LEAST_WIN_RATE]
    left = [row for row in others if row.point.win_rate >= LEAST_WIN_RATE]
    while left and len(chosen) < limit:
        whole = hypervolume(held, bounds)
        gains = [hypervolume([*held, row.point], bounds) - whole for row in left]
        if max(gains) <= 0:
            # nothing more is dominated: go on with the best of what is left
            break
        row = left.pop(int(np.argmax(gains)))
        chosen.append(row.setting)
        held.append(row.point)
    rest = sorted([*left, *lost], key=lambda row: -row.point.win_rate)
    return [*chosen, *(row.setting for row in rest)]
