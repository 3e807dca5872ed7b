"""Trees as arrays: rows that were seen before are looked up, and are the same."""

import numpy as np
import pytest

from ldmopt.scorers import default
from ldmopt.scorers.prior import trees


def rows(count, seed=0, columns=0):
    forest = default().forest
    width = int(forest.feature.max()) + 1 + columns
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.fixture
def forest():
    return trees.Forest.from_arrays(default().forest.arrays())


def test_what_is_remembered_is_what_was_predicted(forest, monkeypatch):
    table = rows(300)
    wanted = forest.predict(table)
    assert np.array_equal(forest.remembered(table), wanted)
    mixed = np.concatenate([table[250:], rows(20, seed=1), table[:5]])
    assert np.array_equal(forest.remembered(mixed), forest.predict(mixed))
    monkeypatch.setattr(trees.Forest, "_predict", None)
    assert np.array_equal(forest.remembered(table[::-1]), wanted[:, ::-1])


def test_further_columns_change_nothing(forest):
    wide = rows(10, columns=7)
    assert np.array_equal(forest.remembered(wide), forest.predict(wide))


def test_no_rows(forest):
    assert forest.remembered(rows(0)).shape == forest.predict(rows(0)).shape


def test_memory_is_bounded(forest, monkeypatch):
    monkeypatch.setattr(trees, "REMEMBERED", 50)
    for seed in range(5):
        table = rows(40, seed)
        assert np.array_equal(forest.remembered(table), forest.predict(table))
        assert len(forest._known) <= 50 + 40
