import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy.optimize import approx_fprime

from ldmopt.search.encoding import Encoding
from ldmopt.search.kernel import Kernel
from ldmopt.search.likelihood import _Evidence, fitted
from ldmopt.search.process import JITTER, Process, refinement

ENCODING = Encoding(
    {"sampler": CategoricalDistribution(["a", "b", "c"]), "steps": IntDistribution(2, 50, log=True),
     "guidance": FloatDistribution(1, 9)},
    jumps={"guidance": 1.0},
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def points(rng):
    return ENCODING.features(ENCODING.draw(60, rng))


@pytest.fixture
def kernel(points):
    usual = Kernel.usual(points)
    return Kernel(usual.lengths * [0.7, 1.3], usual.weights, 1.4, 0.01)


def direct(kernel, points, values, noise, candidates):
    covariance = kernel(points, points) + np.diag(noise + kernel.noise + JITTER)
    across = kernel(points, candidates)
    solved = np.linalg.solve(covariance, across)
    return values @ solved, kernel.variance - np.einsum("ij,ij->j", across, solved)


def test_posterior_against_a_direct_solve(points, kernel, rng):
    known, candidates = points[:40], points[40:]
    values, noise = rng.normal(size=40), rng.random(40) * 0.3
    process = Process(kernel, candidates)
    process.extend(known, noise)
    mean, variance = direct(kernel, known, values, noise, candidates)
    assert process.mean(values) == pytest.approx(mean, abs=1e-9)
    assert process.variance == pytest.approx(variance, abs=1e-9)
    elsewhere = process.elsewhere(candidates[:7], values)
    assert elsewhere[0] == pytest.approx(mean[:7], abs=1e-9)
    assert elsewhere[1] == pytest.approx(variance[:7], abs=1e-9)
    smooth, _ = direct(kernel, known, values, noise, known)
    assert process.smoothed(values) == pytest.approx(smooth, abs=1e-8)


def test_one_at_a_time_is_all_at_once(points, kernel, rng):
    values, noise = rng.normal(size=50), rng.random(50) * 0.1
    whole, single = Process(kernel, points), Process(kernel, points)
    whole.extend(points[:50], noise)
    for index in range(50):
        single.extend(points[index : index + 1], noise[index : index + 1])
    assert single.mean(values) == pytest.approx(whole.mean(values), abs=1e-8)
    assert single.variance == pytest.approx(whole.variance, abs=1e-8)


def test_readings_taken_away_leave_no_trace(points, kernel, rng):
    values = rng.normal(size=20)
    process = Process(kernel, points)
    process.extend(points[:20], np.zeros(20))
    mean, variance = process.mean(values), process.variance.copy()
    process.extend(points[30:33], np.zeros(3))
    assert (process.variance[30:33] < variance[30:33]).all()
    process.shrink(20)
    assert process.mean(values) == pytest.approx(mean)
    assert process.variance == pytest.approx(variance, abs=1e-10)


def test_no_reading(points, kernel):
    process = Process(kernel, points)
    assert (process.mean(np.zeros(0)) == 0).all()
    assert process.variance == pytest.approx(np.full(len(points), kernel.variance))


def test_a_refined_reading_is_two_readings(points, kernel):
    first, second = (0.3, 0.04), (0.5, 0.01)
    more = refinement(first, second)
    twice, once = Process(kernel, points), Process(kernel, points)
    exact = Kernel(kernel.lengths, kernel.weights, kernel.signal, 0.0)
    for process in (twice, once):
        process.kernel = exact
    twice.extend(points[[3, 3]], np.array([first[1], more[1]]))
    once.extend(points[[3]], np.array([second[1]]))
    assert twice.mean(np.array([first[0], more[0]])) == pytest.approx(
        once.mean(np.array([second[0]])), abs=1e-5)
    assert refinement(second, first) is None
    assert refinement((0.2, 0.1), (0.4, 0.0)) == (0.4, 0.0)


def test_gradient_of_the_likelihood(points, rng):
    evidence = _Evidence.of(points, rng.normal(size=60), rng.random(60), Kernel.usual(points))
    at = evidence.start + rng.normal(size=len(evidence.start)) * 0.3
    numeric = approx_fprime(at, lambda point: evidence.loss(point)[0], 1e-6)
    assert evidence.loss(at)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_fitted_kernel_sees_what_matters(rng):
    rows = ENCODING.draw(80, rng)
    points = ENCODING.features(rows)
    kernel = fitted(points, np.sin(6 * points.coordinates[:, 0]), np.zeros(80),
                    Kernel.usual(points))
    assert kernel.lengths[0] * 3 < kernel.lengths[1]
    assert kernel.noise < 1e-3
    jump = np.where(points.coordinates[:, 1] > 0, 0.0, 1.0) + rng.normal(size=80) * 0.01
    assert fitted(points, np.zeros(80), np.zeros(80), kernel) is kernel
    rows[::2, 2] = 1.0
    points = ENCODING.features(rows)
    jump = (rows[:, 2] > 1.0) - 0.5
    kernel = fitted(points, jump * 2, np.zeros(80), Kernel.usual(points))
    assert kernel.weights[1] > kernel.weights[0]
