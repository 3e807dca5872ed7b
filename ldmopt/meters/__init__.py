"""Meters: what a picture took, as the same record on every device."""

from __future__ import annotations

from collections.abc import Mapping

from ldmopt.contracts import Calls, Cost

NETWORK_KINDS = ("guided", "unguided", "cached")


def assemble(total_seconds: float, booked: Mapping[str, list[float]], batch: int = 1) -> Cost:
    """Turn the seconds booked under each kind of call into the cost of one picture.

    Args:
        total_seconds: device seconds of the whole pipeline call.
        booked: kind (``encode``, ``guided``, ``unguided``, ``step``, ``decode``) to the seconds of
            each call, in order.
        batch: pictures that the pipeline call made.
    """
    sums = {kind: sum(seconds) / batch for kind, seconds in booked.items()}
    each = total_seconds / batch
    encode, decode = sums.get("encode", 0.0), sums.get("decode", 0.0)
    denoise = sum(sums.get(kind, 0.0) for kind in (*NETWORK_KINDS, "step"))
    phases = {
        "encode": encode,
        "denoise": denoise,
        "decode": decode,
        "other": each - encode - denoise - decode,
    }
    calls = {
        kind: Calls(len(booked[kind]), sums[kind])
        for kind in (*NETWORK_KINDS, "step")
        if kind in booked
    }
    return Cost(each, total_seconds, phases, calls, batch=batch)
