"""Peak memory: one setting reads alike, whatever else is imported, in every process."""

from contextlib import closing

import pytest

from ldmopt import machine
from ldmopt.child.host import ProcessHost
from ldmopt.knob import Context, build_space
from ldmopt.model import describe


def readings(model, backends, values, **more):
    """Return the setting's peak bytes, read twice by one host."""
    facts = describe(model)
    setting = build_space({**values}, {}, Context(facts, "cpu", machine.packages())).default
    with closing(ProcessHost(facts, "cpu", backends=backends, **more)) as host:
        costs = [host.memory(setting) for _ in range(2)]
    assert {cost.memory_kind for cost in costs} == {"rss"}
    assert all(cost.baseline_bytes > 0 for cost in costs)
    return [cost.peak_memory_bytes for cost in costs]


def check_alike(peaks):
    assert max(peaks) - min(peaks) <= max(0.02 * min(peaks), 8 * 2**20)


def test_the_stand_in_reads_alike():
    check_alike(readings("standin", ["torch"], {}))


@pytest.mark.real
def test_what_is_imported_beside_does_not_count():
    alone = readings("miniature", ["torch"], {})
    beside = readings("miniature", ["torch", "onnx"], {}, log=None)
    check_alike(alone + beside)
    # Weights in single precision are part of it, pages of library code are not.
    assert 20e6 < min(alone + beside) and max(alone + beside) < 60e6


@pytest.mark.real
def test_a_batch_needs_more():
    assert min(readings("miniature", ["torch"], {"batch": 16})) > 1.2 * max(
        readings("miniature", ["torch"], {}))
