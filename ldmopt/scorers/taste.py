"""Folding human labels into a regressor: a Bayesian logistic head on top of the base.

Ratings become differences within one rater and one prompt (GOTCHAS 27: numbers of different
raters or prompts are never compared); pairs are differences already. A head of few weights is
fitted to them by MAP with a Laplace posterior; its prior is the base itself. How far it may go
from there is chosen by cross-validation over prompts, and the base's order stays unless going
further is better by more than one standard error: few labels cannot make the scorer worse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ldmopt.contracts import Picture
from ldmopt.errors import UserError
from ldmopt.labels import Labels
from ldmopt.scorers.regressor import Head, Regressor, judgeable, preference, with_report

Floats = NDArray[np.float64]
FREEDOMS = (0.1, 0.3, 1.0, 3.0)
"""Prior standard deviations of a head's weights, in logits per unit of an axis."""
SCALE_ONLY = 1e-4
"""The freedom of a head that only makes the base more or less sure of itself."""
LEAST_SCALE = 0.05
"""What such a head leaves of the base at least: its order stays."""
SCALE_FREEDOM = 0.5
"""Prior standard deviation of the base's own weight, about 1."""
FOLDS = 5
ROUNDS = 30


@dataclass(frozen=True, eq=False)
class Differences:
    """Labels as differences of two pictures.

    Attributes:
        left: `(n,)` index of the left picture.
        right: `(n,)` index of the right picture.
        win: `(n,)` 1 where left was preferred, 0 where right was, 1/2 for ties.
        weight: `(n,)`; the many differences of one rating count as one label.
        group: `(n,)` number of the prompt.
        unused: labels that could not be compared with any other.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    win: Floats
    weight: Floats
    group: NDArray[np.int64]
    unused: int

    def __len__(self) -> int:
        """Return the number of differences."""
        return len(self.left)


@dataclass(frozen=True, eq=False)
class Table:
    """Differences with what the base says of them.

    Attributes:
        inputs: `(n, 1 + k)` differences of the head's inputs.
        spread: `(n,)` variance of the base's difference, noise included.
        labels: the labels.
    """

    inputs: Floats
    spread: Floats
    labels: Differences

    def rows(self, chosen: NDArray[Any]) -> Table:
        """Return some of the rows."""
        kept = replace(
            self.labels,
            **{
                name: getattr(self.labels, name)[chosen]
                for name in ("left", "right", "win", "weight", "group")
            },
        )
        return Table(self.inputs[chosen], self.spread[chosen], kept)


def fit(base: Regressor, pictures: Iterable[Picture], labels: Labels) -> Regressor:
    """Return a regressor that takes these labels into account, with its report.

    Args:
        base: what to start from; a head it already has is dropped, so give all labels each time.
        pictures: the labelled pictures at least; further ones are ignored.
        labels: ratings and pairs, of people or of simulated raters (counted apart).

    Returns:
        A new regressor. Its report's ``labels`` says how many labels of whom, and how often base
        and new agree with held-out labels (cross-validated by prompt).

    Raises:
        UserError: no label can be compared with another one.
    """
    start = replace(base, head=None)
    by_digest = {picture.digest: picture for picture in pictures if judgeable(picture)}
    known = [digest for digest in labels.digests() if digest in by_digest]
    found = differences(labels, {digest: index for index, digest in enumerate(known)}, by_digest)
    if not len(found):
        raise UserError(
            f"fit: none of {len(labels)} labels can be used: no rater judged two pictures of one"
            " prompt differently side by side; label more pictures of the same prompt"
        )
    members, inputs = start.members([by_digest[digest] for digest in known])
    moved = members[:, found.left] - members[:, found.right]
    spread = moved.var(axis=0, ddof=1) if len(moved) > 1 else np.zeros(moved.shape[1])
    table = Table(inputs[found.left] - inputs[found.right], spread + start.noise, found)
    freedom = _freedom(table)
    head = _mode(table, freedom) if freedom else None
    return with_report(replace(start, head=head), labels=_report(table, labels, freedom))


def differences(
    labels: Labels, index: Mapping[str, int], pictures: Mapping[str, Picture]
) -> Differences:
    """Turn labels into differences within rater and prompt.

    Args:
        labels: ratings and pairs.
        index: digest -> number, of the pictures that can be judged.
        pictures: digest -> picture, for its prompt.
    """
    rows: list[tuple[int, int, float, float, str]] = []
    unused = 0
    groups: dict[tuple[str, bool, str], list[tuple[int, float]]] = defaultdict(list)
    for rating in labels.ratings:
        if rating.picture not in index:
            unused += 1
            continue
        prompt = pictures[rating.picture].block.prompt or rating.prompt
        groups[rating.rater, rating.simulated, prompt].append(
            (index[rating.picture], rating.rating)
        )
    for (_, _, prompt), rated in groups.items():
        if len(rated) < 2:
            unused += 1
        rows.extend(_of_ratings(rated, prompt))
    for pair in labels.pairs:
        if pair.left not in index or pair.right not in index:
            unused += 1
            continue
        prompt = pictures[pair.left].block.prompt or pair.prompt
        if prompt != (pictures[pair.right].block.prompt or pair.prompt):
            unused += 1
            continue
        rows.append((index[pair.left], index[pair.right], pair.win, 1.0, prompt))
    return _differences(rows, unused)


def _of_ratings(
    rated: Sequence[tuple[int, float]], prompt: str
) -> Iterable[tuple[int, int, float, float, str]]:
    """Yield every difference of one rater's ratings of one prompt, worth `n / 2` in all."""
    weight = 1.0 / max(1, len(rated) - 1)
    for place, (left, first) in enumerate(rated):
        for right, second in rated[place + 1 :]:
            yield left, right, 0.5 + 0.5 * float(np.sign(first - second)), weight, prompt


def _differences(rows: Sequence[tuple[int, int, float, float, str]], unused: int) -> Differences:
    prompts = {prompt: number for number, prompt in enumerate(sorted({row[4] for row in rows}))}
    return Differences(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[3] for row in rows], np.float64),
        np.array([prompts[row[4]] for row in rows], np.int64),
        unused,
    )


def _mode(table: Table, freedom: float) -> Head:
    """Return the MAP weights and their Laplace covariance, by Newton's method.

    The base's spread flattens each difference by a known factor, so it enters as a scale of
    that difference's inputs.
    """
    width = table.inputs.shape[1]
    flat = 1.0 / np.sqrt(1.0 + np.pi * table.spread / 8.0)
    inputs = table.inputs * flat[:, None]
    prior = np.full(width, freedom**-2)
    prior[0] = SCALE_FREEDOM**-2
    centre = np.zeros(width)
    centre[0] = 1.0
    weights = centre.copy()
    for _ in range(ROUNDS):
        chance = _logistic(inputs @ weights)
        gradient = inputs.T @ (table.labels.weight * (table.labels.win - chance))
        gradient -= prior * (weights - centre)
        curvature = table.labels.weight * chance * (1.0 - chance)
        hessian = (inputs * curvature[:, None]).T @ inputs + np.diag(prior)
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step * min(1.0, 5.0 / (np.abs(inputs @ step).max() + 1e-9))
        if np.abs(step).max() < 1e-8:
            break
    if freedom == SCALE_ONLY:
        weights[0] = max(weights[0], LEAST_SCALE)
    return Head(weights, np.asarray(np.linalg.inv(hessian), np.float64))


def _logistic(value: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * value))


def _chances(table: Table, head: Head | None) -> Floats:
    """Return the predictive probability that left was preferred."""
    if head is None:
        return preference(table.inputs[:, 0], table.spread)
    variance = np.einsum("ni,ij,nj->n", table.inputs, head.covariance, table.inputs)
    return preference(table.inputs @ head.weights, table.spread + variance)


def _surprise(table: Table, chances: Floats) -> Floats:
    """Return each difference's log loss in nats."""
    chances = np.clip(chances, 1e-9, 1.0 - 1e-9)
    win = table.labels.win
    return np.asarray(-(win * np.log(chances) + (1.0 - win) * np.log(1.0 - chances)))


def _folds(group: NDArray[np.int64]) -> Iterable[NDArray[np.bool_]]:
    """Yield what is held out, whole prompts at a time; nothing with a single prompt."""
    names = np.unique(group)
    order = np.random.default_rng(0).permutation(len(names))
    number = min(FOLDS, len(names))
    for fold in range(number if number > 1 else 0):
        yield np.isin(group, names[order[fold::number]])


def _freedom(table: Table) -> float:
    """Return the prior width to use, 0 for the base alone, by cross-validation over prompts.

    First the base may become more or less sure of itself; only a head that is better still by
    more than a standard error may change its order. Labels that are mere noise thus flatten the
    chances and leave the order alone.
    """
    held = list(_folds(table.labels.group))
    if not held:
        return 0.0
    best, chosen = _surprise(table, _chances(table, None)), 0.0
    flattened = _held_out(table, held, SCALE_ONLY)
    if _gain(table, best - flattened)[0] > 0.0:
        best, chosen = flattened, SCALE_ONLY
    most, reference = 0.0, best
    for freedom in FREEDOMS:
        gain, error = _gain(table, reference - _held_out(table, held, freedom))
        if gain > error and gain > most:
            most, chosen = gain, freedom
    return chosen


def _held_out(table: Table, held: Sequence[NDArray[np.bool_]], freedom: float) -> Floats:
    """Return each difference's log loss under a head that never saw its prompt."""
    losses = np.zeros(len(table.labels))
    for out in held:
        part = table.rows(out)
        losses[out] = _surprise(part, _chances(part, _mode(table.rows(~out), freedom)))
    return losses


def _gain(table: Table, gain: Floats) -> tuple[float, float]:
    """Return the summed gain and its standard error over prompts."""
    by_prompt = np.bincount(table.labels.group, weights=gain * table.labels.weight)
    return float(by_prompt.sum()), float(by_prompt.std(ddof=1) * np.sqrt(len(by_prompt)))


def _agreement(table: Table, chances: Floats) -> dict[str, float]:
    """Return weighted accuracy on decided labels, log loss and Brier score."""
    weight, win = table.labels.weight, table.labels.win
    decided = (win != 0.5) & (weight > 0)
    right = ((chances > 0.5) == (win > 0.5)) + 0.5 * (chances == 0.5) * (win < 0.5)
    share = weight[decided]
    accuracy = float((right[decided] * share).sum() / share.sum()) if decided.any() else 0.5
    return {
        "accuracy": min(accuracy, 1.0),
        "log_loss": float((_surprise(table, chances) * weight).sum() / weight.sum()),
        "brier": float((((chances - win) ** 2) * weight).sum() / weight.sum()),
    }


def _report(table: Table, labels: Labels, freedom: float) -> dict[str, Any]:
    """Say whose labels there were and how well base and head agree with held-out ones.

    The choice of the freedom is made again inside every fold, so the figures are honest.
    """
    chances = _chances(table, None)
    base = _agreement(table, chances)
    tested = chances.copy()
    held = list(_folds(table.labels.group))
    for out in held:
        inner = table.rows(~out)
        width = _freedom(inner)
        part = table.rows(out)
        tested[out] = _chances(part, _mode(inner, width) if width else None)
    return {
        "human": labels.human,
        "simulated": labels.simulated,
        "ratings": len(labels.ratings),
        "pairs": len(labels.pairs),
        "raters": list(labels.raters),
        "differences": len(table.labels),
        "prompts": int(len(np.unique(table.labels.group))),
        "unused": table.labels.unused,
        "freedom": freedom,
        "held_out": {"base": base, "fitted": _agreement(table, tested), "folds": len(held)},
    }
