"""What stands between a picture's features and the linear model: the map phi.

Features are standardised; where there are many, their main axes are kept (PCA). That is the
linear map; whitening the axes did worse on rated miniature pictures. The other map adds Gaussian
bumps: the Nystroem approximation (Williams and Seeger 2001, scikit-learn's `Nystroem`) of an RBF
kernel on the same axes. Both are scaled so that a typical picture has length 1 in each part: a
weight's prior deviation is then the part's deviation of utility in logits.

A map is plain arrays; applying one needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
FARTHEST = 6.0
"""Standardised features are clipped here: what was never seen is not extrapolated."""
LANDMARKS = 150
BANDWIDTHS = (0.25, 0.6)
"""Gammas of the RBF kernel; typical squared distances are 2."""


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """A fitted map.

    Attributes:
        base: the first feature is a utility and goes through as it is.
        mean: `(d,)` of the features (without the base).
        scale: `(d,)` 1 / deviation, 0 for features that never vary.
        axes: `(d, k)`; the standardised features times these are the linear part.
        landmarks: `(l, k)` in that part; none for a linear map.
        normaliser: `(l, l)` of the Nystroem features.
        gamma: of the RBF kernel, 0 for a linear map.
    """

    base: bool
    mean: Floats
    scale: Floats
    axes: Floats
    landmarks: Floats
    normaliser: Floats
    gamma: float

    @property
    def parts(self) -> tuple[slice, ...]:
        """Where the linear part and the bumps stand in phi, after the base."""
        first = int(self.base)
        second = first + self.axes.shape[1]
        parts = [slice(first, second)] if second > first else []
        if len(self.landmarks):
            parts.append(slice(second, second + len(self.landmarks)))
        return tuple(parts)

    @property
    def width(self) -> int:
        """The number of columns of phi."""
        return int(self.base) + int(self.axes.shape[1]) + len(self.landmarks)

    def __call__(self, features: NDArray[np.floating]) -> Floats:
        """Return phi, `(n, width)`, of `(n, d)` features."""
        return self.expanded(*self.projected(features))

    def projected(self, features: NDArray[np.floating]) -> tuple[Floats, Floats]:
        """Return the base, `(n, 0 or 1)`, and the linear part, `(n, k)`."""
        return np.asarray(features[:, : int(self.base)], np.float64), self.linear(features)

    def expanded(self, base: Floats, linear: Floats) -> Floats:
        """Return phi of what `projected` gave."""
        columns = [base, linear]
        if len(self.landmarks):
            columns.append(_kernel(linear, self.landmarks, self.gamma) @ self.normaliser)
        return np.concatenate(columns, axis=1)

    def linear(self, features: NDArray[np.floating]) -> Floats:
        """Return the linear part."""
        inputs = np.asarray(features[:, int(self.base) :], np.float64)
        return standardised(inputs, self.mean, self.scale) @ self.axes

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays by name."""
        names = ("mean", "scale", "axes", "landmarks", "normaliser")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats], base: bool, gamma: float) -> FeatureMap:
        """Put a map together again."""
        return cls(base, gamma=gamma, **arrays)


def standardised(inputs: Floats, mean: Floats, scale: Floats) -> Floats:
    """Return features in deviations from the mean, clipped."""
    return np.clip((inputs - mean) * scale, -FARTHEST, FARTHEST)


def linear_map(
    rows: Floats,
    group: NDArray[np.int64],
    background: Floats,
    components: int,
    *,
    base: bool,
) -> FeatureMap:
    """Fit the linear map; no label is looked at.

    Args:
        rows: `(n, d)` features.
        group: `(n,)` prompt of each row: axes are those along which pictures of one prompt
            differ. Where hardly any two rows share a prompt: axes of all rows.
        background: `(k, d)` features of further pictures, for mean and scale.
        components: the most main axes to keep.
        base: the first feature is a utility.
    """
    inputs, further = rows[:, int(base) :], background[:, int(base) :]
    count = len(inputs) + len(further)
    mean = (inputs.sum(axis=0) + further.sum(axis=0)) / count
    squares = np.square(inputs - mean).sum(axis=0) + np.square(further - mean).sum(axis=0)
    deviation = np.sqrt(squares / count)
    floor = 1e-9 * np.maximum(1.0, np.abs(mean))
    scale = np.where(deviation > floor, 1.0 / np.maximum(deviation, floor), 0.0)
    inside = within(standardised(inputs, mean, scale), group)
    axes = _main_axes(inside, components)
    length = np.sqrt((np.square(inside @ axes)).sum(axis=1).mean()) if axes.size else 0.0
    axes = axes / length if length > 0 else axes[:, :0]
    none = np.zeros((0, axes.shape[1]))
    return FeatureMap(base, mean, scale, axes, none, np.zeros((0, 0)), 0.0)


def base_alone(linear: FeatureMap) -> FeatureMap:
    """Return the map that passes on the base and nothing else."""
    axes = np.zeros((len(linear.mean), 0))
    none = np.zeros((0, 0))
    return FeatureMap(True, linear.mean, linear.scale, axes, none, none, 0.0)


def with_bumps(linear: FeatureMap, inputs: Floats, gamma: float, seed: int) -> FeatureMap:
    """Return a linear map with RBF features beside it.

    Args:
        linear: the map to add to.
        inputs: `(n, k)` distinct linear parts, of which some become landmarks.
        gamma: of the kernel.
        seed: decides which.
    """
    from sklearn.kernel_approximation import Nystroem

    count = min(LANDMARKS, len(inputs))
    fitted = Nystroem(gamma=gamma, n_components=count, random_state=seed).fit(inputs)
    return FeatureMap(
        linear.base,
        linear.mean,
        linear.scale,
        linear.axes,
        np.ascontiguousarray(fitted.components_, np.float64),
        np.ascontiguousarray(fitted.normalization_.T, np.float64),
        float(gamma),
    )


def within(rows: Floats, group: NDArray[np.int64]) -> Floats:
    """Return rows less the mean of their group; less that of all where groups leave nothing."""
    numbers, where = np.unique(group, return_inverse=True)
    if len(rows) < 2 * len(numbers):
        return np.asarray(rows - rows.mean(axis=0))
    sums = group_sums(where.reshape(-1), rows)
    return np.asarray(rows - (sums / np.bincount(where)[:, None])[where])


def group_sums(group: NDArray[np.int64], rows: Floats) -> Floats:
    """Return the sums of `(n, k)` rows by the number of their group, `(groups, k)`."""
    from scipy.sparse import csr_matrix

    members = csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))))
    return np.asarray(members @ rows)


def _main_axes(inside: Floats, components: int) -> Floats:
    """Return `(d, k)` main axes; features as they are where they are few."""
    width = inside.shape[1]
    if width <= components:
        return np.eye(width)
    from scipy.linalg import eigh

    matrix = inside.T @ inside / max(1, len(inside))
    values, vectors = eigh(matrix, subset_by_index=(width - components, width - 1))
    order = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-12))[::-1]
    return np.asarray(vectors[:, order])


def _kernel(rows: Floats, landmarks: Floats, gamma: float) -> Floats:
    """Return the RBF kernel of `(n, k)` rows with the landmarks, `(n, l)`."""
    squares = (rows * rows).sum(axis=1)[:, None] + (landmarks * landmarks).sum(axis=1)
    distance = np.maximum(squares - 2.0 * (rows @ landmarks.T), 0.0)
    return np.asarray(np.exp(-gamma * distance))
