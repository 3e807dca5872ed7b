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


def test_a_call_for_several_pictures_is_shared_out():
    booked = {"encode": [0.4], "guided": [1.0, 1.0], "step": [0.2, 0.2], "decode": [0.8]}
    cost = assemble(4.0, booked, 4)
    assert (cost.seconds, cost.latency_seconds, cost.batch) == (1.0, 4.0, 4)
    assert cost.seconds_by_phase == pytest.approx(
        {"encode": 0.1, "denoise": 0.6, "decode": 0.2, "other": 0.1})
    # Each picture went through both network calls.
    assert cost.calls_by_kind["guided"].count == 2
    assert cost.calls_by_kind["guided"].seconds == pytest.approx(0.5)


def test_memory_that_was_freed_does_not_count():
    meter = CpuMeter()
    pieces = [np.ones(2**16, np.uint8) for _ in range(512)]
    del pieces
    meter.hold_baseline()
    again = [np.ones(2**16, np.uint8) for _ in range(512)]
    assert meter.peak()["peak_memory_bytes"] > 0.8 * sum(piece.nbytes for piece in again)
