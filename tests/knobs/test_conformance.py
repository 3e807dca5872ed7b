"""Every value of every knob, on the real miniature."""

import pytest

from ldmopt.knob import all_knobs
from ldmopt.testing import check_knob, knob_values

CASES = [(name, value) for name in all_knobs() for value in knob_values(name)]


@pytest.mark.real
@pytest.mark.parametrize(("name", "value"), CASES)
def test_conformance(miniature, name, value):
    check_knob(miniature, name, value)
