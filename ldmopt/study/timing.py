"""From the calls that a setting was timed in to its cost, and when they are enough."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ldmopt.contracts import Calls, Cost
from ldmopt.distillation.intervals import median_interval

LEAST_CALLS = 6
"""Fewer values give no 95 % interval of their median, whatever they are."""

MOST_CALLS = 12
"""Calls after which nothing is timed again, however far apart they lie."""

PRECISE = 0.02
"""Width of the 95 % interval of the median, over the median, at which timing ends."""


def calls_wanted(costs: Sequence[Cost], made: int) -> int:
    """Return how many calls to time next: 0 when the median is known well enough.

    Args:
        costs: of each call so far.
        made: how many of them gave new pictures: timing alone at most doubles them, so that it
            never takes more than the pictures did, unless a setting has too few to tell anything.
    """
    if len(costs) < LEAST_CALLS:
        return LEAST_CALLS - len(costs)
    found = median_interval([cost.seconds for cost in costs])
    precise = found.high - found.low <= PRECISE * found.estimate
    return 0 if precise or len(costs) >= min(MOST_CALLS, 2 * made) else 1


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return a setting's cost: every figure the median over its calls; memory is left out.

    The warm-up is the longest seen, neighbours on the GPU are the most seen.

    Args:
        costs: at least one, of one setting.
    """
    seconds = median_interval([cost.seconds for cost in costs])
    first = costs[0]
    phases = {
        phase: float(statistics.median(cost.seconds_by_phase.get(phase, 0.0) for cost in costs))
        for phase in first.seconds_by_phase
    }
    calls = {
        kind: Calls(call.count, float(statistics.median(
            cost.calls_by_kind[kind].seconds for cost in costs if kind in cost.calls_by_kind)))
        for kind, call in first.calls_by_kind.items()
    }
    joules = [cost.joules for cost in costs if cost.joules is not None]
    warmups = [cost.warmup_seconds for cost in costs if cost.warmup_seconds is not None]
    foreign = [cost.foreign_processes for cost in costs if cost.foreign_processes is not None]
    return Cost(
        seconds=seconds.estimate,
        latency_seconds=float(statistics.median(cost.latency_seconds for cost in costs)),
        seconds_by_phase=phases,
        calls_by_kind=calls,
        joules=float(statistics.median(joules)) if joules else None,
        batch=first.batch,
        warmup_seconds=max(warmups, default=None),
        foreign_processes=max(foreign, default=None),
        repeats=len(costs),
        seconds_low=seconds.low,
        seconds_high=seconds.high,
    )
