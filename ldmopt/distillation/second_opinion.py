"""Whether a second opinion still agrees with the scorer about the settings on the front.

A search follows its scorer wherever that is wrong: what ends on the front may be there because
it is good or because it fools the scorer (GOTCHAS 28). Both opinions are asked about the same
pictures: in each prompt, how much a setting is preferred to the default.

**Rule of the alarm.** Of two settings (B may be the default), the first opinion likes A better
than B by `LIKED` or more in win rate, beyond chance over prompts (one-sided p at most 0.05). Among
all such pairs, the second opinion likes B better than A by more than `DISLIKED`, beyond chance
over prompts at `ALPHA` for all pairs together: by the largest t under random signs of the prompts
(Westfall and Young 1993). Prompts are the unit and everything is paired within prompt, so what a
prompt does to all settings cancels. Opinions that merely do not correlate
do not raise it, nor does a second opinion that sees no difference: it takes a contradiction.

Simulated (`tests/distillation/test_second_opinion.py`; 6 settings, 12 prompts, 2 seeds): see there
for how often it is raised by honest scorers and by ones that were fooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldmopt.contracts import Aligned, BlockWin, Setting
from ldmopt.distillation.intervals import prompt_means
from ldmopt.distillation.saddlepoint import Floats

LIKED, DISLIKED = 0.05, 0.02
ALPHA = 0.05
LEAST_PROMPTS = 5
"""With fewer, not even prompts that all agree are beyond chance."""
RESAMPLES, FLIPS = 400, 2000


@dataclass(frozen=True)
class Opinion:
    """Two opinions on one setting's pictures.

    Attributes:
        setting: the setting.
        first: the scorer's win rate against the default, by prompt.
        second: the second opinion's.
    """

    setting: Setting
    first: Mapping[str, float]
    second: Mapping[str, float]


@dataclass(frozen=True)
class Contradiction:
    """Two settings that the opinions order differently, each beyond chance.

    Attributes:
        liked: what the first opinion likes better.
        over: what the second opinion likes better; None is the default.
        first: by how much, win rate of ``liked`` minus that of ``over``, as the first sees it.
        second: as the second sees it; negative.
        p: of the second's, Holm-corrected.
    """

    liked: Setting
    over: Setting | None
    first: float
    second: float
    p: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        over = None if self.over is None else dict(self.over)
        return {"liked": dict(self.liked), "over": over, "first": self.first,
                "second": self.second, "p": self.p}  # fmt: skip


@dataclass(frozen=True)
class Agreement:
    """How far two opinions agree on a front.

    Attributes:
        settings: how many, the default not counted.
        prompts: how many all of them were seen in.
        correlation: rank correlation of the settings' win rates, the default's included; None
            for fewer than three.
        low: lower end of its 95 % bootstrap interval over prompts, or None.
        high: upper end of it.
        contradictions: those found, the first opinion's favourite first; any is an alarm.
    """

    settings: int
    prompts: int
    correlation: float | None
    low: float | None
    high: float | None
    contradictions: tuple[Contradiction, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "settings": self.settings, "prompts": self.prompts, "correlation": self.correlation,
            "low": self.low, "high": self.high,
            "contradictions": [item.to_dict() for item in self.contradictions],
        }  # fmt: skip


def agreement(opinions: Sequence[Opinion], alpha: float = ALPHA) -> Agreement:
    """Hold two opinions on settings of a front against each other.

    Args:
        opinions: on each setting but the default, on which both say 1/2 by definition.
        alpha: chance of a false alarm; less where it is asked again and again.
    """
    seen = [set(item.first) & set(item.second) for item in opinions]
    prompts = sorted(set.intersection(*seen)) if seen else []
    first = _table([item.first for item in opinions], prompts)
    second = _table([item.second for item in opinions], prompts)
    correlation, low, high = _correlation(first, second)
    contradictions: list[Contradiction] = []
    if len(prompts) >= LEAST_PROMPTS:
        contradictions = _contradictions(opinions, first, second, alpha)
    return Agreement(len(opinions), len(prompts), correlation, low, high, tuple(contradictions))


def _table(sides: Sequence[Mapping[str, float]], prompts: Sequence[str]) -> Floats:
    """Return rows x prompts, the default's 1/2 first."""
    return np.array([[0.5] * len(prompts), *([side[p] for p in prompts] for side in sides)])


def _contradictions(
    opinions: Sequence[Opinion], first: Floats, second: Floats, alpha: float
) -> list[Contradiction]:
    """Find the pairs of rows that the opinions order differently; row 0 is the default."""
    flips = _flips(first.shape[1])
    pairs = [(a, b) for a in range(1, len(first)) for b in range(len(first)) if a != b
             and (first[a] - first[b]).mean() >= LIKED]
    if not pairs:
        return []
    gaps = np.array([first[a] - first[b] for a, b in pairs])
    roots, flipped = _roots(gaps, flips)
    shown = (1 + (flipped >= roots).sum(axis=0)) / (1 + len(flips)) <= ALPHA
    pairs = [pair for pair, clear in zip(pairs, shown, strict=True) if clear]
    if not pairs:
        return []
    # the first's part only says which questions are put to the second, so only the second's
    # answers are corrected for their number
    against = np.array([second[b] - second[a] for a, b in pairs]) - DISLIKED
    roots, flipped = _roots(against, flips)
    p_values = (1 + (flipped.max(axis=1)[:, None] >= roots).sum(axis=0)) / (1 + len(flips))
    found = [
        Contradiction(
            opinions[a - 1].setting,
            opinions[b - 1].setting if b else None,
            float((first[a] - first[b]).mean()),
            float((second[a] - second[b]).mean()),
            float(p),
        )
        for (a, b), p in zip(pairs, p_values, strict=True)
        if p <= alpha
    ]
    wins = {item.setting: float(row.mean()) for item, row in zip(opinions, first[1:], strict=True)}
    return sorted(found, key=lambda item: (-wins[item.liked], -item.first))


def _flips(prompts: int) -> Floats:
    """Return vectors of signs, `(n, prompts)`: all but the given one, or `FLIPS` drawn ones."""
    if 2**prompts <= FLIPS:
        bits = np.arange(1, 2**prompts)[:, None] >> np.arange(prompts) & 1
        return np.asarray(1.0 - 2.0 * bits, np.float64)
    return np.random.default_rng(0).choice(np.array([-1.0, 1.0]), (FLIPS, prompts))


def _roots(gaps: Floats, flips: Floats) -> tuple[Floats, Floats]:
    """Return Student's t of each row, and of each row under each vector of signs `(n, rows)`."""
    count = gaps.shape[1]
    squares = (gaps**2).sum(axis=1)

    def root(means: Floats) -> Floats:
        spread = np.maximum(squares - count * means**2, 1e-12)
        return np.asarray(means / np.sqrt(spread / (count * (count - 1))), np.float64)

    return root(gaps.mean(axis=1)), root(flips @ gaps.T / count)


def _correlation(
    first: Floats, second: Floats
) -> tuple[float | None, float | None, float | None]:
    """Return the rank correlation of row means, with a percentile bootstrap over columns."""
    rows, columns = first.shape
    if rows < 3 or columns < 2:
        return None, None, None
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, columns, (RESAMPLES, columns))
    found = [_spearman(first[:, pick].mean(axis=1), second[:, pick].mean(axis=1))
             for pick in drawn]
    low, high = np.quantile(found, (0.025, 0.975))
    middle = _spearman(first.mean(axis=1), second.mean(axis=1))
    return middle, min(middle, float(low)), max(middle, float(high))


def _spearman(left: Floats, right: Floats) -> float:
    """Return Spearman's rho with middle ranks for ties; 0 where one side is all alike."""
    ranks = [_ranks(side) for side in (left, right)]
    centred = [rank - rank.mean() for rank in ranks]
    size = float(np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum()))
    return float((centred[0] * centred[1]).sum() / size) if size > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    below = (values[:, None] > values[None, :]).sum(axis=1)
    equal = (values[:, None] == values[None, :]).sum(axis=1)
    return np.asarray(below + (equal + 1) / 2.0, np.float64)


def of_wins(wins: Sequence[BlockWin]) -> dict[str, float]:
    """Return an opinion given as wins, by prompt."""
    return prompt_means(wins)


def of_alignment(rows: Sequence[Aligned]) -> list[dict[str, float]]:
    """Return the opinion of an alignment scorer on each setting, by prompt.

    Differences in similarity have no unit of preference: the logistic function makes wins of them,
    at the scale of the median difference from the default among all of these settings.

    Args:
        rows: what was measured of each setting.
    """
    gaps = [own - default for row in rows for _, _, own, default in row.blocks]
    sizes = [abs(gap) for gap in gaps if gap != 0.0]
    scale = float(np.median(sizes)) if sizes else 1.0
    return [
        prompt_means([
            BlockWin(prompt, seed, float(0.5 + 0.5 * np.tanh(0.5 * (own - default) / scale)))
            for prompt, seed, own, default in row.blocks
        ])
        for row in rows
    ]
