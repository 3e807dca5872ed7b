"""What a GPU alone can show; skipped where there is none, run by benchmarks/gpu_session.py."""

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_events_time_the_device_and_memory_is_read():
    from ldmopt.meters.cuda import CudaMeter

    meter = CudaMeter("cuda")
    meter.hold_baseline()
    square = torch.ones(4096, 4096, device="cuda")
    square @ square
    meter.reset_peak()
    meter.start()
    with meter.timed("guided"):
        for _ in range(20):
            square = (square @ square).clamp(0, 1)
    cost = meter.finish()
    assert 0 < cost.calls_by_kind["guided"].seconds <= cost.seconds
    held = torch.ones(256 * 2**20, dtype=torch.uint8, device="cuda")
    fields = meter.peak()
    assert fields["allocated_bytes"] >= held.numel()
    assert fields["reserved_bytes"] >= fields["allocated_bytes"]
    if fields["memory_kind"] == "nvml":
        assert fields["peak_memory_bytes"] >= held.numel()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("attention", ["sdpa", "eager", "sliced-max", "xformers"])
def test_the_miniature_runs_in_every_precision_and_kernel(precision, attention):
    from ldmopt.testing import check_knob, open_worker

    worker = open_worker("miniature", "cuda")
    check_knob(worker, "precision", precision)
    check_knob(worker, "attention", attention)
