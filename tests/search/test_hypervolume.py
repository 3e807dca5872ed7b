import itertools

import numpy as np
import pytest

from ldmopt.search.hypervolume import (
    expected_improvement,
    hypervolume,
    nondominated,
    padded,
    shared_areas,
    staircase_improvement,
    undominated,
)

NOTHING = np.zeros(3)


def brute(points, reference):
    """Every cell of the grid that the points' own coordinates make, counted if dominated."""
    edges = [np.unique([low, *points[:, axis]]) for axis, low in enumerate(reference)]
    edges = [edge[edge >= low] for edge, low in zip(edges, reference, strict=True)]
    total = 0.0
    for index in itertools.product(*(range(1, len(edge)) for edge in edges)):
        corner = np.array([edge[i] for edge, i in zip(edges, index, strict=True)])
        if (points >= corner).all(axis=1).any():
            total += np.prod([edge[i] - edge[i - 1] for edge, i in zip(edges, index, strict=True)])
    return total


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_hypervolume_against_brute_force(objectives, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(0.3, 0.5, (rng.integers(1, 9), objectives))
    if seed % 2:
        points = np.round(points * 4) / 4  # ties
    reference = np.full(objectives, -0.1)
    assert hypervolume(points, reference) == pytest.approx(brute(points, reference), abs=1e-12)


def test_no_point_above_the_reference():
    assert hypervolume(np.array([[0.5, 0.0, 0.5], [-1.0, 2.0, 2.0]]), NOTHING) == 0.0
    assert hypervolume(np.zeros((0, 2)), np.zeros(2)) == 0.0


def test_nondominated_keeps_one_of_equals():
    points = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [0.5, 0.5]])
    assert nondominated(points).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("seed", range(8))
def test_certain_candidates_add_what_the_hypervolume_grows_by(seed):
    rng = np.random.default_rng(seed)
    front = np.round(rng.random((12, 3)) * 5) / 5
    new = rng.random((6, 3)) * 1.2
    gains = expected_improvement(undominated(front, NOTHING), new, np.zeros((6, 3)))
    for gain, point in zip(gains, new, strict=True):
        grown = hypervolume(np.vstack([front, point]), NOTHING)
        assert gain == pytest.approx(grown - hypervolume(front, NOTHING), abs=1e-9)


@pytest.mark.parametrize("objectives", [2, 3])
def test_expected_improvement_against_draws(objectives):
    rng = np.random.default_rng(0)
    front, reference = rng.random((5, objectives)), np.zeros(objectives)
    mean, deviation = np.full(objectives, 0.5), np.array([0.3, 0.2, 0.4])[:objectives]
    before = hypervolume(front, reference)
    draws = [hypervolume(np.vstack([front, mean + deviation * rng.normal(size=objectives)]),
                         reference) - before for _ in range(6000)]
    boxes = undominated(padded(front), NOTHING)
    unsure = np.append(deviation, np.zeros(3 - objectives))[None]
    gain = expected_improvement(boxes, padded(mean[None]), unsure)[0]
    assert gain == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / np.sqrt(len(draws)))


@pytest.mark.parametrize("seed", range(8))
def test_a_candidate_with_a_front_of_costs_adds_all_of_it(seed):
    rng = np.random.default_rng(seed)
    front = rng.random((10, 3))
    steps = np.sort(rng.random((5, 3, 2)), axis=1)
    steps = np.stack([steps[:, ::-1, 0], steps[:, :, 1]], axis=2)
    steps[0, 2] = -np.inf  # a shorter one
    quality = rng.random(5)
    levels, areas = shared_areas(undominated(front, NOTHING), steps)
    gains = staircase_improvement(levels, areas, quality, np.zeros(5))
    for gain, value, own in zip(gains, quality, steps, strict=True):
        cells = np.concatenate([np.full((3, 1), value), own], axis=1)
        grown = hypervolume(np.vstack([front, cells]), NOTHING)
        assert gain == pytest.approx(grown - hypervolume(front, NOTHING), abs=1e-9)


def test_uncertain_quality_against_draws():
    rng = np.random.default_rng(1)
    front, steps = rng.random((6, 3)), np.array([[[0.9, 0.3], [0.5, 0.8]]])
    levels, areas = shared_areas(undominated(front, NOTHING), steps)
    gain = staircase_improvement(levels, areas, np.array([0.6]), np.array([0.25]))[0]
    before = hypervolume(front, NOTHING)
    draws = [hypervolume(np.vstack([front, np.c_[[value] * 2, steps[0]]]), NOTHING) - before
             for value in rng.normal(0.6, 0.25, 6000)]
    assert gain == pytest.approx(np.mean(draws), abs=4 * np.std(draws) / np.sqrt(len(draws)))
