"""Cross-fitting and learning curves, with a learner that can be seen through."""

from __future__ import annotations

import numpy as np
import pytest

from ldmopt.scorers.taste import crossfit
from ldmopt.scorers.taste.judgements import Judgements, comparisons


class Memory:
    """Knows the pictures it learned from by heart, and nothing else."""

    def __init__(self, said: Judgements) -> None:
        self.known = set(map(int, [*said.left, *said.right, *said.rated]))
        self.size = len(said)

    def utility(self, pictures):
        return np.array([float(i) if int(i) in self.known else -1.0 for i in pictures])

    def chances(self, left, right):
        return 0.5 + 0.4 * np.sign(self.utility(left) - self.utility(right))

    def ratings(self, pictures, scale):
        assert scale == "ann"
        return np.full(len(pictures), 2.0), np.full(len(pictures), 1.0)


def said_of(prompts, count=60, seed=0):
    """Pairs and ratings of 40 pictures; the higher index is the better picture."""
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, 40, (2, 2000))
    left, right = (np.minimum(left, right), np.maximum(left, right))
    same = (left < right) & (left // 4 == right // 4 if prompts else True)
    left, right = left[same][:count], right[same][:count]
    swap = rng.random(len(left)) < 0.5
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    return Judgements(
        tuple(f"d{i}" for i in range(40)),
        np.arange(40) // 4 if prompts else np.full(40, -1),
        np.arange(0, 40, 2), np.arange(20) % 5 * 1.0, np.array(["ann"] * 20),
        left, right, (left > right).astype(float), np.array(["bob"] * len(left)),
    )  # fmt: skip


@pytest.mark.parametrize("prompts", [True, False])
def test_nothing_is_tested_that_was_learned(prompts):
    said = said_of(prompts)
    folds = said.folds()
    against = comparisons(said, folds)
    steps = []
    found = crossfit.held_out(Memory, said, against, folds, lambda: steps.append(1))
    assert len(steps) == 5
    assert (found.utility == -1.0).all()
    if prompts:
        assert (found.chance == 0.5).all()
    assert (found.mean == 2.0).all() and (found.deviation == 1.0).all()


def test_a_fixed_judge_sees_every_pair_by_its_values():
    said = said_of(True)
    against = comparisons(said, said.folds())
    own = against.only(against.rater == "bob")
    found = crossfit.fixed(np.arange(40.0), said, own)
    assert ((found.chance > 0.5) == (own.win > 0.5)).all()
    assert not found.chances and np.isnan(found.mean).all()


def test_a_learning_curve_grows_with_what_is_learned():
    said = said_of(True, count=200)
    sizes = []

    class Truth(Memory):
        def __init__(self, said: Judgements) -> None:
            super().__init__(said)
            sizes.extend([self.size] * bool(self.size))

        def utility(self, pictures):
            rng = np.random.default_rng(self.size)
            if not self.size:
                return np.zeros(len(pictures))
            return pictures + 100.0 / self.size * rng.standard_normal(40)[pictures]

    planned, steps = crossfit.plan(said), []
    curve = crossfit.learning_curve(Truth, said, planned, lambda: steps.append(1))
    points = curve["points"]
    assert curve["rounds"] == 4 and curve["prior"] == 0.5
    assert len(steps) == planned.fits == 4 * 3 * len(planned.sizes) == len(sizes)
    assert [row["labels"] for row in points] == [10, 20, 40, 80] == sorted(set(sizes))
    means = [float(np.mean(row["accuracy"])) for row in points]
    assert {len(row["accuracy"]) for row in points} == {4}
    assert means[0] < means[-1] and means[-1] > 0.7


def test_too_few_labels_give_no_curve():
    said = said_of(True, count=1).only(np.zeros(20, bool), np.ones(1, bool))
    planned = crossfit.plan(said)
    assert planned.fits == 0
    assert crossfit.learning_curve(Memory, said, planned)["points"] == []
