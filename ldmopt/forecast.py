"""What a study would take, predicted from two short runs of its default.

``seconds = fixed + sum over kinds of call of count x seconds a call``: two runs at different
numbers of steps give fixed and per-call seconds, every other setting's count of calls is known.
Peak memory grows with the picture's area and the batch: two readings give the line. All of it is
a prediction at the default's execution: what another kernel or precision takes is not known
before it was tried.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldmopt.contracts import Block, Cost, Host, Setting
from ldmopt.errors import GenerationError, UserError
from ldmopt.knob import Number, Space, examples
from ldmopt.knobs.canvas import parse_size
from ldmopt.search.demand import Counter, pixels_of

SHORT_STEPS, LONG_STEPS = 2, 6
PROBE_CALLS = 2
"""Calls of the pipeline in each of the two runs."""

@dataclass(frozen=True)
class CostForm:
    """The known form of a picture's cost at one execution.

    Attributes:
        fixed_seconds: what does not depend on the picture's size, such as reading the prompt.
        decode_seconds: what grows with the picture's area but not with the steps.
        call_seconds: of one call of each kind seen (``guided``, ``unguided``, ``step``...).
        pixels: area that this was read at.
    """

    fixed_seconds: float
    decode_seconds: float
    call_seconds: Mapping[str, float]
    pixels: int

    @classmethod
    def fit(cls, runs: Sequence[Cost], pixels: int) -> CostForm:
        """Read the form from costs of one setting at several numbers of steps."""
        kinds = {kind for run in runs for kind in run.calls_by_kind}
        calls = {}
        for kind in kinds:
            found = [run.calls_by_kind[kind] for run in runs if kind in run.calls_by_kind]
            calls[kind] = sum(call.seconds for call in found) / sum(call.count for call in found)
        decode = statistics.median(run.seconds_by_phase.get("decode", 0.0) for run in runs)
        rest = statistics.median(
            run.seconds - sum(call.seconds for call in run.calls_by_kind.values()) for run in runs
        )
        return cls(max(0.0, rest - decode), decode, calls, pixels)

    def seconds(self, pixels: int, evaluations: int, guided: bool, steps: int) -> float:
        """Predict a picture's device seconds; time grows with the area.

        Without a reading, a call without guidance is taken to cost half of one with it.
        """
        area = pixels / self.pixels
        known = self.call_seconds
        if "guided" in known or "unguided" in known:
            full = known.get("guided", 2 * known.get("unguided", 0.0))
            call = full if guided else known.get("unguided", full / 2)
        else:
            call = 0.0
        denoise = evaluations * call * area + steps * known.get("step", 0.0)
        return self.fixed_seconds + self.decode_seconds * area + denoise


def probe(host: Host, space: Space) -> tuple[CostForm, Counter, float]:
    """Run the default at two numbers of steps.

    Returns:
        The cost's form, a counter of calls, and the default's seconds as the form has them.

    Raises:
        UserError: the default gives no usable picture.
    """
    default = space.default
    blocks = [Block("a house", seed) for seed in range(PROBE_CALLS * int(default.get("batch", 1)))]
    runs = []
    try:
        for steps in (SHORT_STEPS, LONG_STEPS):
            setting = space.canonical({"steps": steps})
            runs += [cost for _, cost in host.generate(setting, blocks)]
    except GenerationError as error:
        raise UserError(f"the default setting ({default}) gives no picture: {error}; "
                        "change [default], or plan with --no-probe") from error
    form = CostForm.fit(runs, pixels_of(default))
    unasked = float(default["guidance"]) <= 1
    counter = Counter(space, guides=unasked or "guided" in form.call_seconds)
    return form, counter, predicted_seconds(form, counter, default)


def predicted_seconds(form: CostForm, counter: Counter, setting: Setting) -> float:
    """Return a setting's device seconds a picture, as predicted."""
    return form.seconds(pixels_of(setting), counter.evaluations(setting),
                        counter.guided(setting), int(setting["steps"]))


@dataclass(frozen=True)
class MemoryLine:
    """Peak bytes as ``fixed + slope x pixels x batch``, through two readings."""

    fixed_bytes: float
    bytes_per_pixel: float

    @classmethod
    def through(cls, small: tuple[int, int], large: tuple[int, int]) -> MemoryLine:
        """Fit two readings, each (pixels x batch, bytes)."""
        slope = max(0.0, (large[1] - small[1]) / max(1, large[0] - small[0]))
        return cls(large[1] - slope * large[0], slope)

    def bytes(self, pixels: int, batch: int) -> int:
        """Predict the peak."""
        return round(self.fixed_bytes + self.bytes_per_pixel * pixels * batch)


def memory_line(host: Host, space: Space) -> tuple[MemoryLine, str]:
    """Read the default's peak at its own size and at a smaller one; return line and memory kind.

    Raises:
        UserError: the default gives no usable picture.
    """
    small = space.default.replace({"size": smaller(space)})
    readings = []
    try:
        for setting in (small, space.default):
            cost = host.memory(setting)
            extent = pixels_of(setting) * int(setting.get("batch", 1))
            readings.append((extent, int(cost.peak_memory_bytes or 0)))
    except GenerationError as error:
        raise UserError(f"the memory of the default ({space.default}) cannot be read: {error}; "
                        "change [default], or plan with --no-probe") from error
    return MemoryLine.through(*readings), cost.memory_kind


def smaller(space: Space) -> str:
    """Return half the default's sides, as the model allows."""
    factor = space.context.model.scale_factor
    sides = (max(factor, side // 2 // factor * factor)
             for side in parse_size(str(space.default["size"])))
    return "x".join(str(side) for side in sides)


def memory_rows(line: MemoryLine, space: Space, cap_bytes: float | None) -> list[dict[str, Any]]:
    """Predict the peak of every searched size and batch, and whether it fits the cap."""

    def searched(name: str) -> list[Any]:
        domain = space.searched.get(name)
        found = examples(domain)
        if isinstance(domain, Number) and name == "batch":
            doubled = [2**power for power in range(11)]
            found = (*found, *(n for n in doubled if domain.low < n < domain.high))
        return sorted({*found, *([space.default[name]] if name in space.default else [])}, key=str)

    rows = []
    for size in sorted(searched("size"), key=lambda size: pixels_of({"size": size})):
        for batch in sorted(int(batch) for batch in searched("batch") or [1]):
            peak = line.bytes(pixels_of({"size": size}), batch)
            rows.append({"size": size, "batch": batch, "predicted_bytes": peak,
                         "fits": None if cap_bytes is None else peak <= cap_bytes})
    return rows
