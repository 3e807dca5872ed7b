"""Bradley-Terry with ties against its definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ldmopt.scorers.preference import davidson

GAPS = st.floats(-60, 60)
TIES = st.floats(0.01, 10)


@given(GAPS, TIES)
def test_outcomes_are_davidsons(gap, nu):
    left, right, tie = (float(part[0]) for part in davidson.outcomes(np.array([gap]), nu))
    assert left + right + tie == pytest.approx(1.0)
    assert tie == pytest.approx(nu * np.sqrt(left * right))
    assert left * np.exp(-gap / 2) == pytest.approx(right * np.exp(gap / 2), rel=1e-6)
    win = float(davidson.expected_win(np.array([gap]), nu)[0])
    assert win == pytest.approx(left + tie / 2, abs=1e-9)


@given(st.floats(-1e6, 1e6), TIES)
def test_swapping_sides_gives_the_exact_complement(gap, nu):
    there = davidson.expected_win(np.array([gap]), nu)
    back = davidson.expected_win(np.array([-gap]), nu)
    assert (there + back == 1.0).all()


@pytest.mark.parametrize("win", [0.0, 0.5, 1.0])
def test_slopes_are_the_derivatives_of_the_likelihood(win):
    gaps, step = np.linspace(-5, 5, 41), 1e-4
    wins = np.full(41, win)

    def at(shift):
        return -davidson.surprise(gaps + shift, wins, 0.7)

    slope, curvature = davidson.slopes(gaps, wins, 0.7)
    np.testing.assert_allclose(slope, (at(step) - at(-step)) / (2 * step), atol=1e-6)
    second = (at(step) - 2 * at(0) + at(-step)) / step**2
    np.testing.assert_allclose(curvature, -second, atol=1e-5)


def test_surprise_is_the_chance_of_the_answer():
    gaps = np.array([-3.0, 0.4, 200.0])
    chances = davidson.outcomes(gaps, 0.3)
    for win, chance in zip((1.0, 0.0, 0.5), chances, strict=True):
        lost = davidson.surprise(gaps, np.full(3, win), 0.3)
        np.testing.assert_allclose(lost, -np.log(chance), rtol=1e-6)
