"""Racing over prompts: a setting gets more prompts only while it may still belong to the front.

Every setting sees the same prompts and seeds, so what decides is the paired difference per prompt
to a rival that costs no more: its spread is far below that of either win rate. A setting is dropped
once, with confidence over prompts, some such rival is at least as good; it is finished when it has
seen them all (Hoeffding races, Maron and Moore 1994; F-race, Birattari et al. 2002).

The test is a bet (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by
betting"): at each prompt a share of the stake is put on the setting being worse. If in truth it is
not, the stake is expected to shrink, and by Ville's inequality it ever grows to 1 / error with a
chance below the error. So it may be looked at after every prompt, few prompts can be enough, and
nothing is assumed of the differences but that they lie in [-1, 1]. Each rival gets its share of the
error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Verdict = Literal["keep", "drop", "finish"]

BOLDEST = 0.9
"""Share of the stake that is bet at the most."""

EXPECTED, SPREAD = -0.05, 0.25
"""Mean and deviation of a prompt's difference that the first bets go by."""


@dataclass(frozen=True)
class Race:
    """Rules of a race.

    Attributes:
        error: chance, over a whole race, that a setting is dropped although it is better than
            each of its rivals by `margin` or more.
        margin: what a setting must be better by to be worth keeping; 0 where every gain counts.
        least: prompts before anything is decided.
    """

    error: float = 0.05
    margin: float = 0.0
    least: int = 3

    def decide(self, differences: Sequence[Floats], total: int) -> Verdict:
        """Return what becomes of a setting.

        Args:
            differences: for each rival that costs no more, per prompt (seeds averaged) in the
                order in which they were seen, the setting's win rate minus the rival's, each in
                [-1, 1]; rivals may have been seen on fewer of the prompts.
            total: prompts that a finished setting has seen.
        """
        for rival in differences:
            if len(rival) >= self.least and evidence(rival, self.margin) >= (
                    len(differences) / self.error):
                return "drop"
        seen = max((len(rival) for rival in differences), default=total)
        return "finish" if seen >= total else "keep"


def evidence(differences: Floats, margin: float = 0.0) -> float:
    """Return the largest stake that was ever held, 1 at the start, by betting on worse.

    Args:
        differences: `(n,)` in [-1, 1], in order, no look ahead.
        margin: bets are on a mean below it; in [0, 1).
    """
    stake = best = 1.0
    # As if one difference had been seen already.
    count, total, squares = 1, EXPECTED, SPREAD**2 + EXPECTED**2
    for difference in np.asarray(differences, np.float64) - margin:
        mean, square = total / count, squares / count
        bet = min(BOLDEST, max(0.0, -mean / square))
        stake *= 1.0 - bet * difference
        best = max(best, stake)
        count, total, squares = count + 1, total + difference, squares + difference**2
    return float(best)


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
