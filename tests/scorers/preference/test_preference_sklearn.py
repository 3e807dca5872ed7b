"""scikit-learn's own checks of an estimator."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from ldmopt.scorers.preference.estimator import PreferenceRegressor

EXPECTED_FAILURES: dict[str, str] = {}
"""Check -> reason why it does not apply: none is needed."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("base", [False, True])
def test_scikit_learns_checks_pass(base):
    estimator = PreferenceRegressor(base=base)
    failed = []
    for each, check in estimator_checks_generator(
        estimator, expected_failed_checks=EXPECTED_FAILURES
    ):
        try:
            check(each)
        except Exception as error:
            if type(error).__name__ not in ("SkipTest", "SkipTestWarning"):
                failed.append(f"{getattr(check, 'func', check).__name__}: {error}")
    assert not failed


def test_it_clones_and_works_in_cross_val_score():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 5))
    y = x @ rng.normal(size=5) + 0.3 * rng.normal(size=120)
    estimator = clone(PreferenceRegressor(map="linear", components=3))
    assert estimator.get_params()["components"] == 3
    estimator.set_params(components=32)
    scores = cross_val_score(estimator, x, y, groups=np.arange(120) // 6, cv=GroupKFold(4))
    assert scores.min() > 0.8
