"""The Pareto front and the hypervolume against brute force."""

import math

import numpy as np
import pytest

from ldmopt.contracts import Cost, Quality, Setting, Trial
from ldmopt.distillation.front import (
    Bounds,
    Point,
    contributions,
    hypervolume,
    nondominated,
    pareto,
)


def random_points(rng, count, memory=True):
    return [
        Point(
            rng.random(),
            s := float(rng.uniform(0.1, 5)),
            s,
            float(rng.uniform(1e9, 8e9)) if memory else None,
        )
        for _ in range(count)
    ]


def test_front_against_the_definition():
    points = random_points(np.random.default_rng(0), 60)
    kept = nondominated(points)
    for index, point in enumerate(points):
        beaten = any(
            o.win_rate >= point.win_rate
            and o.seconds <= point.seconds
            and o.peak_memory_bytes <= point.peak_memory_bytes
            and o != point
            for o in points
        )
        assert (index in kept) is not beaten


def test_equal_points_stay_once_and_empty_is_empty():
    point = Point(0.6, 1.0, 1.0, 1e9)
    assert nondominated([point, point]) == [0]
    assert nondominated([]) == []


def test_unknown_memory_leaves_memory_out():
    assert nondominated([Point(0.6, 1.0, 1.0, 5e9), Point(0.5, 2.0, 2.0, None)]) == [0]


@pytest.mark.parametrize("memory", [True, False])
def test_hypervolume_against_counting(memory):
    rng = np.random.default_rng(1)
    points = random_points(rng, 12, memory)
    bounds = Bounds(0.1, 5.0, 1e9, 8e9) if memory else Bounds(0.1, 5.0)
    draws = rng.random((200_000, 3))
    inside = np.zeros(len(draws), bool)
    for point in points:
        top = math.log(5.5)
        time = (top - math.log(point.seconds)) / (top - math.log(0.1))
        size = 1.0
        if memory:
            top = math.log(8.8e9)
            size = (top - math.log(point.peak_memory_bytes)) / (top - math.log(1e9))
        inside |= (draws < [point.win_rate, time, size]).all(axis=1)
    assert hypervolume(points, bounds) == pytest.approx(inside.mean(), abs=0.005)


def test_contributions_and_bounds():
    bounds = Bounds(1.0, 10.0)
    good, poor = Point(0.8, 1.0, 1.0), Point(0.5, 2.0, 2.0)
    assert contributions([good, poor], bounds)[1] == pytest.approx(0.0)
    assert hypervolume([Point(1.0, 1.0, 1.0)], bounds) == pytest.approx(1.0)
    assert hypervolume([Point(1.0, 99.0, 99.0)], bounds) == 0.0
    assert hypervolume([], bounds) == 0.0


def test_trials_front_skips_what_failed_or_breaks_a_cap():
    def trial(number, win, seconds, **more):
        return Trial(
            number,
            Setting(steps=number),
            Cost(seconds, seconds, peak_memory_bytes=10),
            Quality(win, win, win),
            **more,
        )

    rows = [
        trial(0, 0.5, 1.0),
        trial(1, 0.9, 0.5, feasible=False),
        trial(2, 0.7, 2.0),
        Trial(3, Setting(steps=3), None, None, (), {"kind": "nan", "reason": ""}, False),
    ]
    assert [t.number for t in pareto(rows)] == [2, 0]
