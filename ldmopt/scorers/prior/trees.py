"""Boosted trees as plain arrays: taken from scikit-learn, evaluated by numpy alone.

scikit-learn compares a float32 feature with a float64 threshold, so rounding the threshold down
to float32 changes no branch: both give the same leaf for every picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

REMEMBERED = 20_000  # rows
BATCH = 128  # rows at a time: what is looked up stays in the processor's cache


@dataclass(frozen=True, eq=False)
class Forest:
    """Several boosted models (members) over the same features.

    Attributes:
        feature: `(nodes,)` int16, the column a node looks at.
        threshold: `(nodes,)` float32; a value up to it goes left. Leaves hold +inf.
        left: `(nodes,)` int32 index of the left child; a leaf's is the leaf itself.
        right: `(nodes,)` int32 index of the right child.
        value: `(nodes,)` float32, what a leaf adds, learning rate included.
        roots: `(members, trees)` int32.
        base: `(members,)` float64, what a member predicts before any tree.
        depth: the longest way from a root to a leaf.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    roots: NDArray[np.int32]
    base: NDArray[np.float64]
    depth: int

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return `(members, n)` predictions for `(n, columns)` features."""
        features = np.ascontiguousarray(features, np.float32)
        parts = [
            self._predict(features[start : start + 128]) for start in range(0, len(features), 128)
        ]
        if not parts:
            return np.zeros((len(self.base), 0))
        return np.concatenate(parts, axis=1)

    def remembered(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what `predict` returns; rows that were seen before are looked up.

        The default's pictures are compared with those of every setting, and every picture once for
        each taste.
        """
        used = np.ascontiguousarray(features[:, : int(self.feature.max()) + 1], np.float32)
        keys = [row.tobytes() for row in used]
        found = {key: value for key in keys if (value := self._known.get(key)) is not None}
        new = {key: row for row, key in enumerate(keys) if key not in found}
        if new:
            found.update(zip(new, self.predict(used[list(new.values())]).T, strict=True))
            if len(self._known) > REMEMBERED:
                self._known.clear()
            self._known.update(found)
        return np.array([found[key] for key in keys]).reshape(len(keys), len(self.base)).T

    @cached_property
    def _known(self) -> dict[bytes, NDArray[np.float64]]:
        return {}

    def _predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        count, columns = features.shape
        offset = np.arange(count, dtype=np.int32)[:, None] * columns
        flat = features.ravel()
        place = np.repeat(self.roots.reshape(1, -1), count, axis=0)
        for _ in range(self.depth):
            goes_left = flat[offset + self.feature[place]] <= self.threshold[place]
            place = np.where(goes_left, self.left[place], self.right[place])
        leaves = self.value[place].reshape(count, *self.roots.shape)
        return np.asarray(leaves.sum(axis=2, dtype=np.float64).T + self.base[:, None])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store, by name."""
        return {
            "feature": self.feature,
            "threshold": self.threshold,
            "left": self.left,
            "right": self.right,
            "value": self.value,
            "roots": self.roots,
            "base": self.base,
            "depth": np.array([self.depth], np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Forest:
        """Read what `arrays` gave."""
        values = {name: arrays[name] for name in cls.__dataclass_fields__ if name != "depth"}
        return cls(**values, depth=int(arrays["depth"][0]))


def from_sklearn(models: Sequence[Any], means: Sequence[float]) -> Forest:
    """Take the trees out of fitted `GradientBoostingRegressor(init="zero")` models.

    Args:
        models: the members; all with the same number of trees.
        means: what was subtracted from each member's targets before fitting.
    """
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "value")
    }
    roots: list[list[int]] = []
    start, depth = 0, 0
    for model in models:
        roots.append([])
        for estimator in model.estimators_[:, 0]:
            tree = estimator.tree_
            roots[-1].append(start)
            depth = max(depth, tree.max_depth)
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            parts["feature"].append(np.where(leaf, 0, tree.feature))
            parts["threshold"].append(np.where(leaf, np.inf, rounded_down(tree.threshold)))
            parts["left"].append(np.where(leaf, own, tree.children_left) + start)
            parts["right"].append(np.where(leaf, own, tree.children_right) + start)
            parts["value"].append(np.where(leaf, tree.value[:, 0, 0] * model.learning_rate, 0.0))
            start += tree.node_count
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    return Forest(
        feature=joined["feature"].astype(np.int16),
        threshold=joined["threshold"].astype(np.float32),
        left=joined["left"].astype(np.int32),
        right=joined["right"].astype(np.int32),
        value=joined["value"].astype(np.float32),
        roots=np.array(roots, np.int32),
        base=np.array(means, np.float64),
        depth=depth,
    )


def rounded_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 that is not above each float64."""
    near = threshold.astype(np.float32)
    below = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) > threshold, below, near).astype(np.float32)
