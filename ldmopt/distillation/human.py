"""What people said of settings, and how it is joined with what the scorer predicts.

**Human quality** of a setting, as DESIGN 3 has it: of a pair of its picture and the default's, 1,
0 or 1/2 (tie and both bad are 1/2); of ratings, whether the same rater rated it above the default's
picture of the same block, else, where a rater saw no such block, the chance that one of the
setting's rated pictures of the prompt is rated above one of the default's. Averaged over the
answers of a block, then the blocks of a prompt, then prompts, which are the unit of the interval.

**Joined**: labels lie on prompts of the search, as a rule a few of them; predictions are to be had
for the held-out prompts too. Prediction-powered inference (Angelopoulos et al. 2023, Science 382;
PPI++, Angelopoulos, Duchi and Zrnic 2023) takes the mean prediction over prompts without labels
and corrects it by what labels and predictions differ by where there are both:

    joined = lambda mean(f, held-out) + mean(y - lambda f, labelled),

with prompts as the units and lambda, the weight of the predictions, chosen for the narrowest
interval. Predictions f are cross-fitted by prompt (Zrnic and Candes 2024): that of a labelled
prompt comes from a scorer which learned from no label of that prompt, that of a held-out prompt
from the mean of all those scorers. So no label counts twice: as evidence of its own prompt it
enters y alone.

**What joined estimates** is how often *these raters* would prefer the setting's picture over all
prompts such as the study's: the estimand of human quality, not that of the scorer's win rate, which
is the mean of f and may be off by whatever the scorer does not see. It takes search and held-out
prompts for draws of one kind, which they are when the list of prompts has no order. Settings are
confirmed because the scorer liked them on the search's prompts, so f, and with it y, runs a little
high there: the correction by y - lambda f takes out most of that (all of it when lambda is the
regression's slope), human quality alone takes out nothing. Raters are not a unit: nothing is said
about people who were not asked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ldmopt.contracts import Answer, Block, BlockWin
from ldmopt.distillation.intervals import mean_limits, prompt_means
from ldmopt.distillation.saddlepoint import Floats
from ldmopt.labels import Labels

LEAST_PROMPTS = 3
"""Labelled prompts, and held-out ones, that joining needs: below, neither spread is known."""


@dataclass(frozen=True)
class Joined:
    """A win rate from labels and predictions together.

    Attributes:
        win_rate: the estimate.
        low: lower limit.
        high: upper limit.
        weight: lambda, of the predictions; 0 means that they did not help.
        labelled: prompts with labels.
        predicted: prompts without, of which there are predictions only.
    """

    win_rate: float
    low: float
    high: float
    weight: float
    labelled: int
    predicted: int


class Said:
    """Labels arranged for asking what was said of two pictures."""

    def __init__(self, labels: Labels) -> None:
        """Arrange the labels that count; where people answered, simulated raters are left out."""
        people = not all(label.simulated for label in labels.ratings)
        people = people or not all(label.simulated for label in labels.pairs)
        self._pairs: dict[frozenset[str], list[tuple[str, Answer]]] = defaultdict(list)
        self._ratings: dict[str, dict[tuple[str, bool], float]] = defaultdict(dict)
        for pair in labels.pairs:
            if pair.preferred != "withdrawn" and not (people and pair.simulated):
                answer = Answer(pair.prompt, pair.seed, pair.rater, pair.simulated, pair.win)
                self._pairs[frozenset((pair.left, pair.right))].append((pair.left, answer))
        for rating in labels.ratings:
            if not (people and rating.simulated):
                self._ratings[rating.picture][rating.rater, rating.simulated] = rating.rating

    def answers(self, shown: Mapping[Block, tuple[str, str]]) -> tuple[Answer, ...]:
        """Return what was said of a setting's pictures against the default's.

        Args:
            shown: digests of the setting's and the default's picture, by block; equal ones are
                left out, being no question.
        """
        asked = {block: pair for block, pair in shown.items() if pair[0] != pair[1]}
        found: list[Answer] = []
        for block, (own, default) in asked.items():
            for left, answer in self._pairs.get(frozenset((own, default)), ()):
                win = answer.win if left == own else 1.0 - answer.win
                found.append(_placed(answer, block, win))
            theirs = self._ratings.get(default, {})
            for (rater, simulated), value in self._ratings.get(own, {}).items():
                if (rater, simulated) in theirs:
                    win = _above(value, theirs[rater, simulated])
                    found.append(Answer(block.prompt, block.seed, rater, simulated, win))
        return (*found, *self._across_seeds(asked, found))

    def _across_seeds(
        self, asked: Mapping[Block, tuple[str, str]], found: Sequence[Answer]
    ) -> Iterable[Answer]:
        """Compare a prompt's ratings of different seeds, by raters who said nothing better."""
        done = {(answer.prompt, answer.rater, answer.simulated) for answer in found}
        sides: dict[tuple[str, str, bool], tuple[list[float], list[float]]] = {}
        for block, pair in asked.items():
            for side, digest in enumerate(pair):
                for (rater, simulated), value in self._ratings.get(digest, {}).items():
                    key = (block.prompt, rater, simulated)
                    sides.setdefault(key, ([], []))[side].append(value)
        for (prompt, rater, simulated), (own, default) in sides.items():
            if own and default and (prompt, rater, simulated) not in done:
                wins = [_above(a, b) for a in own for b in default]
                yield Answer(prompt, None, rater, simulated, sum(wins) / len(wins))


def _placed(answer: Answer, block: Block, win: float) -> Answer:
    return Answer(block.prompt, block.seed, answer.rater, answer.simulated, win)


def _above(left: float, right: float) -> float:
    return 0.5 if left == right else float(left > right)


def human_by_prompt(answers: Iterable[Answer]) -> dict[str, float]:
    """Return each prompt's mean over its blocks of the mean over each block's answers."""
    blocks: dict[tuple[str, int | None], list[float]] = defaultdict(list)
    for answer in answers:
        blocks[answer.prompt, answer.seed].append(answer.win)
    prompts: dict[str, list[float]] = defaultdict(list)
    for (prompt, _), wins in blocks.items():
        prompts[prompt].append(sum(wins) / len(wins))
    return {prompt: sum(wins) / len(wins) for prompt, wins in prompts.items()}


def human_quality(
    answers: Sequence[Answer], labelled: Sequence[BlockWin], held_out: Sequence[BlockWin],
    confidence: float = 0.95,
) -> dict[str, Any] | None:
    """Return the ``human`` entry of a setting's quality; None without an answer.

    Args:
        answers: what was said of the setting against the default.
        labelled: cross-fitted wins of blocks that may have answers, those of the search.
        held_out: cross-fitted wins of held-out blocks.
        confidence: of the intervals.
    """
    values = human_by_prompt(answers)
    if not values:
        return None
    wins = np.array(list(values.values()), np.float64)
    low, high = _limits(wins, (0.0, 1.0), confidence)
    joint = join(answers, labelled, held_out, confidence)
    found = {
        "win_rate": float(wins.mean()), "low": low, "high": high,
        "labels": len(answers), "raters": len({(a.rater, a.simulated) for a in answers}),
        "prompts": len(values), "simulated": any(answer.simulated for answer in answers),
        "joined": None if joint is None else {
            "win_rate": joint.win_rate, "low": joint.low, "high": joint.high,
            "weight": joint.weight, "labelled_prompts": joint.labelled,
            "predicted_prompts": joint.predicted,
        },
    }  # fmt: skip
    across = sum(answer.seed is None for answer in answers)
    return {**found, "across_seeds": across} if across else found


def join(
    answers: Sequence[Answer], labelled: Sequence[BlockWin], held_out: Sequence[BlockWin],
    confidence: float = 0.95,
) -> Joined | None:
    """Join labels with cross-fitted predictions; None where either covers too few prompts.

    Args:
        answers: what was said of the setting against the default.
        labelled: see `human_quality`.
        held_out: see `human_quality`; prompts with answers count as labelled.
        confidence: of the interval.
    """
    human = human_by_prompt(answers)
    predicted = _predicted(answers, (*labelled, *held_out))
    common = [prompt for prompt in human if prompt in predicted]
    rest = prompt_means([block for block in held_out if block.prompt not in human])
    if len(common) < LEAST_PROMPTS or len(rest) < LEAST_PROMPTS or len(common) < len(human):
        return None
    said = np.array([human[prompt] for prompt in common], np.float64)
    told = np.array([predicted[prompt] for prompt in common], np.float64)
    return powered(said, told, np.array(list(rest.values()), np.float64), confidence)


def _predicted(answers: Sequence[Answer], wins: Sequence[BlockWin]) -> dict[str, float]:
    """Average each prompt's predictions over the blocks that were labelled, else over all."""
    blocks = {(answer.prompt, answer.seed) for answer in answers}
    whole = {answer.prompt for answer in answers if answer.seed is None}
    return prompt_means([win for win in wins
                         if win.prompt in whole or (win.prompt, win.seed) in blocks])


def powered(said: Floats, told: Floats, rest: Floats, confidence: float = 0.95) -> Joined:
    """Return PPI++'s estimate of a mean within 0 and 1, with limits that stay safe near both.

    The weight is the variance-minimising one (PPI++, section 6), or 0 where the interval of the
    labels alone is narrower. The two means' limits, each of its own prompts, are joined as Zou and
    Donner (2008) join limits of a sum: distances from the estimates add in quadrature.

    Args:
        said: labelled prompts, what raters said.
        told: labelled prompts, the predictions.
        rest: further prompts, the predictions.
        confidence: of the interval.
    """
    alone = _limits(said, (0.0, 1.0), confidence)
    mean = float(said.mean())
    counts = len(said), len(rest)
    weight = _weight(said, told, rest)
    if weight > 0.0:
        left = said - weight * told
        low, high = _limits(left, (-weight, 1.0), confidence)
        below, above = _limits(rest, (0.0, 1.0), confidence)
        middle, far = float(left.mean()), float(rest.mean())
        estimate = min(1.0, max(0.0, middle + weight * far))
        lower = max(0.0, estimate - math.hypot(middle - low, weight * (far - below)))
        upper = min(1.0, estimate + math.hypot(high - middle, weight * (above - far)))
        if upper - lower < alone[1] - alone[0]:
            return Joined(estimate, lower, upper, weight, *counts)
    return Joined(mean, *alone, 0.0, *counts)


def _weight(said: Floats, told: Floats, rest: Floats) -> float:
    """Return lambda: covariance over variance, less for the error of the mean prediction."""
    spread = float(np.concatenate([told, rest]).var(ddof=1))
    if spread <= 1e-12:
        return 0.0
    moved = float(((said - said.mean()) * (told - told.mean())).sum() / (len(said) - 1))
    return float(np.clip(moved / ((1.0 + len(said) / len(rest)) * spread), 0.0, 1.0))


def _limits(
    values: Floats, ends: tuple[float, float], confidence: float
) -> tuple[float, float]:
    lows, highs = mean_limits(values[None, :], confidence, ends)
    return float(lows[0]), float(highs[0])
