import time

import numpy as np
import pytest

from ldmopt.meters import assemble
from ldmopt.meters.cpu import CpuMeter, peak_resident_bytes, resident_bytes


def test_calls_are_booked_under_their_kind():
    meter = CpuMeter()
    meter.start()
    for kind in ("encode", "guided", "guided", "step", "decode"):
        with meter.timed(kind):
            time.sleep(0.002)
    cost = meter.finish()
    assert cost.calls_by_kind["guided"].count == 2
    assert cost.network_evaluations == 2
    assert set(cost.seconds_by_phase) == {"encode", "denoise", "decode", "other"}
    assert sum(cost.seconds_by_phase.values()) == pytest.approx(cost.seconds)
    assert cost.seconds >= 0.01


def test_a_call_that_raises_is_booked_too():
    meter = CpuMeter()
    meter.start()
    with pytest.raises(ValueError), meter.timed("guided"):
        raise ValueError
    assert meter.finish().calls_by_kind["guided"].count == 1
    meter.start()
    assert not meter.finish().calls_by_kind


def test_the_peak_is_seen_and_forgotten():
    meter = CpuMeter()
    meter.hold_baseline()
    meter.reset_peak()
    block = np.ones(64 * 2**20, np.uint8)
    del block
    fields = meter.peak()
    assert fields["memory_kind"] == "rss"
    assert 48 * 2**20 < fields["peak_memory_bytes"] < 96 * 2**20
    meter.reset_peak()
    assert meter.peak()["peak_memory_bytes"] < 16 * 2**20
    assert peak_resident_bytes() >= resident_bytes() * 0.9


def test_nothing_booked_is_all_other():
    cost = assemble(1.0, {})
    assert cost.seconds_by_phase["other"] == 1.0
    assert cost.network_evaluations == 0
