"""When a search ends: by device seconds, by trials, or when little is left to be gained."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ldmopt.contracts import Trial
from ldmopt.distillation.front import Bounds, Point, hypervolume
from ldmopt.study.confirming import CONFIRMED_SETTINGS
from ldmopt.study.timing import LEAST_CALLS
from ldmopt.study.work import Work

LARGEST_RESERVE = 0.4
"""Share of the budget in device seconds that is kept for the confirmation at the most."""

FILL_SHARE = 0.2
"""Share of a budget in trials that is kept for ways of running that only a model knows."""

LEAST_TRIALS = 8
"""Trials before their gains are looked at."""


def why_it_ends(work: Work, gains: Sequence[float | None] = (), kept: int = 0) -> str:
    """Return why the search must stop; empty where it goes on.

    Args:
        work: the generation.
        gains: what each proposal was expected to gain, oldest first; None where nobody knew.
        kept: trials that are kept for later.
    """
    budget, tried = work.session.spec.budget, counted(work)
    if budget.trials is not None and tried + min(kept, int(FILL_SHARE * budget.trials)) >= (
            budget.trials):
        return f"{budget.trials} trials"
    if budget.device_seconds is not None and (
            work.session.bench.spent_seconds + reserve(work) >= budget.device_seconds):
        return f"{budget.device_seconds:g} device seconds"
    if budget.gain is not None and tried >= LEAST_TRIALS:
        known = any(gain is not None for gain in gains)
        last = gains[-budget.patience :]
        little = (len(last) == budget.patience
                  and all(gain is not None and gain < budget.gain for gain in last)
                  if known else gained(work.ledger.trials, budget.patience) < budget.gain)
        if little:
            return (f"{'expected to gain' if known else 'gained'} less than {budget.gain:.2%} of "
                    f"the hypervolume for {budget.patience} trials")
    return ""


def counted(work: Work) -> int:
    """Return how many settings count as tried: raced ones do, refused ones do not."""
    ledger = work.ledger
    return len(ledger.raced) + sum(
        1 for trial in ledger.trials if (trial.failure or {}).get("kind") != "refused")


def reserve(work: Work) -> float:
    """Return the device seconds that are kept for the confirmation.

    Our own search keeps some, too, to time ways of running that it has only predicted.
    """
    spec = work.session.spec
    seconds = spec.budget.device_seconds or 0.0
    costs = [trial.cost.seconds for trial in work.ledger.trials if trial.cost is not None]
    # Until others are known, a recommended setting is taken to cost a third of the default.
    typical = statistics.median(costs[1:] or [costs[0] / 3])
    wanted = len(work.session.held_out) * (costs[0] + CONFIRMED_SETTINGS * typical)
    if spec.search == "factored" and spec.share:
        wanted += CONFIRMED_SETTINGS * LEAST_CALLS * typical
    return float(min(wanted, LARGEST_RESERVE * seconds))


def share_spent(work: Work) -> float:
    """Return how much of the search's budget is spent, from 0 to 1; 0 without one."""
    budget, shares = work.session.spec.budget, [0.0]
    if budget.trials is not None:
        shares.append(counted(work) / budget.trials)
    if budget.device_seconds is not None:
        shares.append(work.session.bench.spent_seconds
                      / max(1e-9, budget.device_seconds - reserve(work)))
    return min(1.0, max(shares))


def gained(trials: Sequence[Trial], last: int) -> float:
    """Return what the last trials added to the hypervolume, as a share of it; 1 with too few."""
    def points(some: Sequence[Trial]) -> list[Point]:
        return [Point.of(trial.cost, trial.quality.win_rate) for trial in some
                if trial.feasible and trial.cost is not None and trial.quality is not None]

    every, before = points(trials), points(trials[: max(0, len(trials) - last)])
    if len(trials) <= last or not before:
        return 1.0
    sizes = [point.peak_memory_bytes for point in every if point.peak_memory_bytes]
    times, whole = [point.latency_seconds for point in every], len(sizes) == len(every)
    bounds = Bounds(min(times), max(times), min(sizes) if whole else None,
                    max(sizes) if whole else None)
    now = hypervolume(every, bounds)
    return (now - hypervolume(before, bounds)) / now if now > 0 else 1.0
