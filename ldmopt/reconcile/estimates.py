"""Win rates with intervals, compared and pooled on the logit scale.

A rulebook holds intervals, not the wins behind them. On the scale of log odds an interval of a win
rate is near enough symmetric, so its width gives a deviation, and win rates against one default
pool by inverse variance (the fixed-effect model of meta-analysis: Cochran 1954). Against another
default they go over by adding log odds, which is Bradley and Terry's model (1952).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

EDGE = 1e-4
"""Win rates are kept this far from 0 and 1, where log odds end."""

SURE = 1e-6
"""Deviation of what was not estimated but known, such as the default against itself."""


@dataclass(frozen=True)
class Estimate:
    """A win rate with its interval."""

    win_rate: float
    low: float
    high: float

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Estimate:
        """Read it from any entry that holds these three."""
        return cls(float(data["win_rate"]), float(data["low"]), float(data["high"]))

    def to_dict(self) -> dict[str, float]:
        """Return plain JSON data."""
        return {"win_rate": self.win_rate, "low": self.low, "high": self.high}

    def turned(self) -> Estimate:
        """Return the same of the other side."""
        return Estimate(1 - self.win_rate, 1 - self.high, 1 - self.low)

    def contradicts(self, other: Estimate) -> bool:
        """Tell whether each win rate lies outside the other's interval."""
        inside = self.low <= other.win_rate <= self.high
        return not inside and not other.low <= self.win_rate <= other.high


def log_odds(share: float) -> float:
    """Return the log odds of a share, kept off 0 and 1."""
    kept = min(max(share, EDGE), 1 - EDGE)
    return math.log(kept / (1 - kept))


def deviation(estimate: Estimate, confidence: float) -> float:
    """Return the standard deviation of the log odds that an interval stands for."""
    width = log_odds(estimate.high) - log_odds(estimate.low)
    return max(SURE, width / (2 * _quantile(confidence)))


def _quantile(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _estimate(center: float, spread: float, confidence: float) -> Estimate:
    reach = _quantile(confidence) * spread
    return Estimate(*(1 / (1 + math.exp(-at)) for at in (center, center - reach, center + reach)))


def pooled(estimates: Sequence[Estimate], confidence: float) -> Estimate:
    """Return one estimate of a single win rate, each weighted by its evidence."""
    weights = [deviation(one, confidence) ** -2 for one in estimates]
    center = sum(weight * log_odds(one.win_rate)
                 for weight, one in zip(weights, estimates, strict=True)) / sum(weights)
    return _estimate(center, sum(weights) ** -0.5, confidence)


def against(estimate: Estimate, between: Estimate, confidence: float) -> Estimate:
    """Return a win rate against another default.

    Args:
        estimate: against the one default.
        between: that default's win rate against the other one.
        confidence: of all intervals.
    """
    spread = math.hypot(deviation(estimate, confidence), deviation(between, confidence))
    return _estimate(log_odds(estimate.win_rate) + log_odds(between.win_rate), spread, confidence)
