"""Hypervolume of two and three objectives, and how much of it a candidate is expected to add.

All objectives are maximised here. What a front does not dominate, above the reference point, is cut
into boxes by a sweep along the first objective; there are about two for each member (the idea of
Lacour, Klamroth and Fonseca 2017). Then

- for independent normal objectives the expected improvement is exactly the sum over the boxes of
  the product of `psi(low) - psi(high)`, where `psi(u) = E max(0, y - u)` (Yang et al. 2019,
  "Multi-objective Bayesian global optimization using expected hypervolume improvement gradient");
- where only the first objective is uncertain, and a candidate brings a whole front of the other two
  (one picture setting, run in every way), it is the sum over the boxes of the area that this front
  shares with the box times `psi(low)` along the first.

No draws are needed, and candidates are compared exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

CHUNK = 2_000_000
"""Elements of a temporary array at the most, for memory's sake."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """What a front leaves undominated, as disjoint boxes that are unbounded along the first axis.

    Attributes:
        low: `(r, 3)`.
        high: `(r, 3)`; the first column is infinite.
    """

    low: Floats
    high: Floats


def padded(points: Floats) -> Floats:
    """Return points of one to three objectives as points of three; what is missing is 1."""
    return np.concatenate([points, np.ones((len(points), 3 - points.shape[1]))], axis=1)


def undominated(front: Floats, reference: Floats) -> Boxes:
    """Cut what no point of `front` dominates, above `reference`, into boxes.

    Args:
        front: `(n, 3)`; dominated points and those below the reference do no harm.
        reference: `(3,)`.
    """
    rectangles, stairs = _sweep(front, reference)
    # What is left: one strip a stair, up to infinity.
    lefts = np.array([reference[1], *(y for y, _ in stairs)])
    heights = np.array([*(z for _, z in stairs), reference[2]])
    strips = np.stack([
        np.full(len(lefts), reference[0]), lefts, heights,
        np.full(len(lefts), np.inf), np.append(lefts[1:], np.inf), np.full(len(lefts), np.inf),
    ], axis=1)
    cut = np.array([(x, y0, z0, np.inf, y1, z1) for x, y0, z0, y1, z1 in rectangles])
    table = np.concatenate([strips, cut.reshape(-1, 6)])
    return Boxes(table[:, :3], table[:, 3:])


def hypervolume(front: Floats, reference: Floats) -> float:
    """Return the volume that points dominate above a reference point.

    Args:
        front: `(n, d)` for one to three objectives.
        reference: `(d,)`.
    """
    whole = np.append(np.asarray(reference, np.float64), np.zeros(3 - len(reference)))
    rectangles, _ = _sweep(padded(np.asarray(front, np.float64)), whole)
    return float(sum((x - whole[0]) * (y1 - y0) * (z1 - z0) for x, y0, z0, y1, z1 in rectangles))


def nondominated(points: Floats) -> NDArray[np.bool_]:
    """Tell which of `(n, d)` points no other dominates; of equal points the first counts."""
    left = np.argsort(-points.sum(axis=1), kind="stable")
    found = np.zeros(len(points), bool)
    while len(left):
        # Nothing that is left has a greater sum, so nothing dominates the first of them.
        best, left = left[0], left[1:]
        found[best] = True
        left = left[(points[left] > points[best]).any(axis=1)]
    return found


def expected_improvement(boxes: Boxes, mean: Floats, deviation: Floats) -> Floats:
    """Return the expected hypervolume improvement of candidates with independent objectives.

    Args:
        boxes: from `undominated`.
        mean: `(m, 3)`; an objective that does not exist is 1, without deviation.
        deviation: `(m, 3)`.
    """
    total = np.zeros(len(mean))
    width = max(1, CHUNK // max(1, len(boxes.low)))
    for start in range(0, len(mean), width):
        rows = slice(start, start + width)
        product: Floats | float = 1.0
        for axis in range(3):
            ends = np.concatenate([boxes.low[:, axis], boxes.high[:, axis]])
            places, inverse = np.unique(ends, return_inverse=True)
            over = excess(mean[rows, axis, None], deviation[rows, axis, None], places[None])
            low, high = np.split(inverse, 2)
            product = product * (over[:, low] - over[:, high])
        total[rows] = np.asarray(product).sum(axis=1)
    return total


def shared_areas(boxes: Boxes, steps: Floats) -> tuple[Floats, Floats]:
    """Return how much area of each box's face the cost front of each candidate covers.

    Args:
        boxes: from `undominated`.
        steps: `(m, p, 2)` each candidate's points in the second and third objective, best in the
            second first; unused places are -inf.

    Returns:
        Levels `(u,)` of the first objective, and `(m, u)` areas of the boxes that begin there.
    """
    levels, inverse = np.unique(boxes.low[:, 0], return_inverse=True)
    areas = np.zeros((len(steps), len(levels)))
    # A stair's strip reaches from the next point's place to its own.
    right, top = steps[:, :, 0], steps[:, :, 1]
    left = np.concatenate([right[:, 1:], np.full((len(steps), 1), -np.inf)], axis=1)
    width = max(1, CHUNK // max(1, len(boxes.low) * steps.shape[1]))
    for start in range(0, len(steps), width):
        rows = slice(start, start + width)
        across = (np.minimum(right[rows, :, None], boxes.high[:, 1])
                  - np.maximum(left[rows, :, None], boxes.low[:, 1]))
        upwards = np.minimum(top[rows, :, None], boxes.high[:, 2]) - boxes.low[:, 2]
        shared = (np.maximum(across, 0.0) * np.maximum(upwards, 0.0)).sum(axis=1)
        for level in range(len(levels)):
            areas[rows, level] = shared[:, inverse == level].sum(axis=1)
    return levels, areas


def staircase_improvement(
    levels: Floats, areas: Floats, mean: Floats, deviation: Floats
) -> Floats:
    """Return the expected improvement of candidates whose other two objectives are known.

    Args:
        levels: `(u,)`, areas `(m, u)`: from `shared_areas`.
        areas: see above.
        mean: `(m,)` of the first objective.
        deviation: `(m,)`.
    """
    return np.asarray((areas * excess(mean[:, None], deviation[:, None], levels[None])).sum(axis=1))


def excess(mean: Floats, deviation: Floats, place: Floats) -> Floats:
    """Return `E max(0, y - place)` of a normal y; 0 at infinity."""
    away = mean - place
    safe = np.maximum(deviation, 1e-12)
    z = away / safe
    with np.errstate(invalid="ignore", over="ignore"):
        found = safe * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi) + away * ndtr(z)
    return np.where(np.isfinite(place), np.maximum(np.nan_to_num(found), 0.0), 0.0)


def _sweep(
    front: Floats, reference: Floats
) -> tuple[list[tuple[float, float, float, float, float]], list[tuple[float, float]]]:
    """Let points come in by falling first objective; note what each newly covers of the others.

    Returns:
        Rectangles `(x, y0, z0, y1, z1)`, newly covered at the level x; and the final stairs, by
        rising y and falling z.
    """
    above = front[(front > reference).all(axis=1)]
    rectangles: list[tuple[float, float, float, float, float]] = []
    stairs: list[tuple[float, float]] = []
    for x, y, z in above[np.lexsort(-above.T[::-1])].tolist():
        first = next((i for i, (_, height) in enumerate(stairs) if height <= z), len(stairs))
        after = next((i for i in range(first, len(stairs)) if stairs[i][0] > y), len(stairs))
        height = stairs[after][1] if after < len(stairs) else float(reference[2])
        left = stairs[first - 1][0] if first else float(reference[1])
        if left >= y or height >= z:
            continue
        for edge, low in stairs[first:after]:
            if edge > left and low < z:
                rectangles.append((x, left, low, edge, z))
            left = max(left, edge)
        if left < y:
            rectangles.append((x, left, height, y, z))
        stairs[first:after] = [(y, z)]
    return rectangles, stairs
