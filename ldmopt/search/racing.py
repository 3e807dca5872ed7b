"""Racing over prompts: a setting gets more prompts only while it may still belong to the front.

Every setting sees the same prompts and seeds, so what decides is the paired difference per prompt
to a rival that costs no more: its spread is far below that of either win rate. A setting is dropped
once, with confidence over prompts, some such rival is at least as good; it is finished when it has
seen them all (Hoeffding races, Maron and Moore 1994; F-race, Birattari et al. 2002).

The test is a bet (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
betting"): at each prompt a share of the stake is put on the setting being worse. If in truth it is
not, the stake is expected to shrink, and by Ville's inequality it ever grows to 1 / error with a
chance below the error. So it may be looked at after every prompt, few prompts can be enough, and
nothing is assumed of the differences but where they lie: no setting beats a rival by more than the
rival's own win rate leaves room for. Each rival gets its share of the error.

Prompts are drawn without replacement (section 5 there): had the setting, over all prompts, been as
good as its rival, then what it has lost so far it would have to win back in those that are left.
The order of prompts must be random for this to hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["keep", "drop", "finish"]

BOLDEST = 0.9
"""Share of the stake that is bet at the most."""

NEARLY = 1e-9
"""Differences this close are equal."""

EXPECTED, SPREAD = -0.05, 0.25
"""Mean and deviation of a prompt's difference that the first bets go by."""


@dataclass(frozen=True)
class Race:
    """Rules of a race.

    Attributes:
        error: chance, over a whole race, that a setting is dropped although over all prompts it is
            better than each of its rivals by `margin` or more.
        margin: what a setting must be better by to be worth keeping; 0 where every gain counts.
        least: prompts before anything is decided.
    """

    error: float = 0.05
    margin: float = 0.0
    least: int = 3

    def decide(
        self, differences: Sequence[Floats], total: int, rooms: Sequence[float] | None = None
    ) -> Verdict:
        """Return what becomes of a setting.

        Args:
            differences: for each rival that costs no more, per prompt (seeds averaged) in the
                order in which they were seen, the setting's win rate minus the rival's, each in
                [-1, 1]; rivals may have been seen on fewer of the prompts.
            total: prompts that a finished setting has seen.
            rooms: for each rival the largest difference that any prompt leaves room for; 1 each
                when None.
        """
        wanted = len(differences) / self.error
        for rival, room in zip(differences, rooms or [1.0] * len(differences), strict=True):
            if len(rival) >= self.least and evidence(rival, self.margin, total, room) >= wanted:
                return "drop"
        seen = max((len(rival) for rival in differences), default=total)
        return "finish" if seen >= total else "keep"


def evidence(
    differences: Floats, margin: float = 0.0, total: int | None = None, room: float = 1.0
) -> float:
    """Return the largest stake that was ever held, 1 at the start, by betting on worse.

    Infinite once what is left cannot make up for what was lost.

    Args:
        differences: `(n,)` in [-1, room], in order, no look ahead.
        margin: bets are on a mean below it; in [0, 1).
        total: how many there are to be seen in all; None where that is not known.
        room: no difference is larger.
    """
    stake = best = 1.0
    seen = lost = 0.0
    # As if one difference had been seen already.
    count, first, second = 1, EXPECTED, SPREAD**2 + EXPECTED**2
    for difference in np.asarray(differences, np.float64).tolist():
        level = margin
        if total is not None and total > seen:
            level += lost / (total - seen)
        if level > room - NEARLY:
            break
        mean = first / count
        short = level - mean
        square = second / count - 2.0 * level * mean + level**2
        bet = min(BOLDEST / (room - level), max(0.0, short / square))
        stake *= 1.0 + bet * (level - difference)
        best = max(best, stake)
        seen, lost = seen + 1, lost + margin - difference
        count, first, second = count + 1, first + difference, second + difference**2
    if total is not None and total > seen and margin + lost / (total - seen) > room + NEARLY:
        return math.inf
    return best


def partial_mean(values: Floats, total: int) -> tuple[float, float]:
    """Return the mean of some of a population, and its variance as the mean of all of it.

    What counts is the win rate over all prompts of a search: seen on all it is exact, on fewer it
    has the error of a sample drawn without replacement (Cochran 1977, section 2.6).

    Args:
        values: `(n,)` win rates of the prompts seen.
        total: how many prompts there are.
    """
    mean, seen = float(np.mean(values)), len(values)
    # Two half prompts at 0 and 1 keep the error of all-alike wins above zero.
    squares = float(np.square(values - mean).sum()) + 0.5 * ((1 - mean) ** 2 + mean**2)
    return mean, max(0.0, 1.0 - seen / total) * squares / seen / seen


def rivals(
    cost: Sequence[float], front_costs: Floats, front_quality: Floats, most: int = 3
) -> list[int]:
    """Return which front members a setting races against: the best of those that cost no more.

    Args:
        cost: `(k,)` the setting's costs.
        front_costs: `(n, k)`.
        front_quality: `(n,)` win rates.
        most: rivals at the most; each takes a share of the error.
    """
    cheaper = np.flatnonzero((front_costs <= np.asarray(cost)).all(axis=1))
    return [int(i) for i in cheaper[np.argsort(-front_quality[cheaper], kind="stable")][:most]]
