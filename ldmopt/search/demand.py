"""What a setting asks of the machine, told without running it.

How often the network is called follows from the sampler's timesteps, the share of them that is
guided and how many calls reuse deep layers; what else a picture costs depends on how it runs and
on its size. A reading of a sampler tells its count for every other number of steps; without one
it is read off the sampler's own timesteps (diffusers), so there is no table to keep (GOTCHAS 4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ldmopt.contracts import Cost, Setting, Value
from ldmopt.knob import Number, Space, build_plan
from ldmopt.knobs.canvas import parse_size
from ldmopt.knobs.guidance import guided_calls

FORMS = ((1, 0), (1, 1), (2, -1), (2, 0))
"""Network calls as a multiple of the steps and a remainder: what samplers are known to make."""

TELLING_STEPS = 3
"""From so many steps on a count tells these apart."""


@dataclass(frozen=True)
class Demand:
    """What a setting asks of the machine.

    Attributes:
        execution: knob -> value of all that decides how a network call runs, batch left out; a
            float is a position in its knob's range.
        pixels: the picture's area.
        batch: pictures in a call.
        calls: kind of network call (``guided``, ``unguided``; ``cached`` and ``cached_unguided``,
            which a meter books as one) -> how many a picture goes through.
        steps: sampler steps a picture goes through.
        sampler: whose own arithmetic differs.
    """

    execution: Mapping[str, Value]
    pixels: int
    batch: int = 1
    calls: Mapping[str, int] = field(default_factory=dict)
    steps: int = 0
    sampler: str = ""

    @property
    def guided(self) -> bool:
        """Whether any call is guided, which decides memory and how many prompts are encoded."""
        return self.calls.get("guided", 0) > 0


class Counter:
    """Counts what settings of a space ask for."""

    def __init__(self, space: Space, guides: bool | None = None) -> None:
        """Remember the space.

        Args:
            space: of the study.
            guides: whether guidance doubles this model's network calls at all; by what is known
                of the model when None.
        """
        self._space = space
        self._guides = not space.context.model.always_unguided if guides is None else guides
        self._known: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._forms: dict[str, tuple[int, int]] = {}
        self._runs = frozenset(name for name, item in space.knobs.items()
                               if item.changes_memory and name != "batch")
        self._schedule = frozenset(name for name, item in space.knobs.items()
                                   if "scheduler" in item.touches)

    @cached_property
    def _scheduler(self) -> Any:
        """The model's own scheduler, or None for a model without one."""
        model = self._space.context.model
        if not (Path(model.folder) / "scheduler").is_dir() or not model.folder:
            return None
        import diffusers

        kind = getattr(diffusers, model.scheduler)
        return kind.from_pretrained(Path(model.folder) / "scheduler")

    def learn(self, setting: Setting, cost: Cost) -> None:
        """Take the counts of a reading for those of its sampler, at any number of steps."""
        count, steps = cost.network_evaluations, int(setting["steps"])
        if not count:
            return
        fitting = [form for form in FORMS if form[0] * steps + form[1] == count]
        if len(fitting) == 1 and steps >= TELLING_STEPS:
            self._forms[setting.only(self._schedule).json()] = fitting[0]
        self._known.clear()
        self._read[setting.only(self._schedule | {"steps"}).json()] = count
        if float(setting.get("guidance", 0)) > 1 and {"guided", "unguided"} & set(
                cost.calls_by_kind):
            self._guides = "guided" in cost.calls_by_kind

    def evaluations(self, setting: Setting) -> int:
        """Return how often the network is called for a picture."""
        steps = int(setting["steps"])
        key = setting.only(self._schedule | {"steps"}).json()
        if key in self._read:
            return self._read[key]
        if key not in self._known:
            schedule = setting.only(self._schedule)
            form = self._forms.get(schedule.json())
            if form is not None:
                self._known[key] = form[0] * steps + form[1]
            else:
                self._known[key] = self._timesteps(schedule, steps)
        return self._known[key]

    def _timesteps(self, schedule: Setting, steps: int) -> int:
        if self._scheduler is None:
            return steps
        knobs = {name: self._space.knobs[name] for name in schedule}
        edits: Sequence[Any] = build_plan(schedule, knobs).edits
        pipeline = SimpleNamespace(scheduler=self._scheduler)
        with ExitStack() as stack:
            try:
                for edit in edits:
                    stack.enter_context(edit(pipeline))
                pipeline.scheduler.set_timesteps(steps)
            except (TypeError, ValueError, RuntimeError):
                # A sampler that wants more than a number of steps calls the network once a step.
                return steps
            return len(pipeline.scheduler.timesteps)

    def guided(self, setting: Setting) -> bool:
        """Tell whether the setting's network calls are guided."""
        return self._guides and float(setting.get("guidance", 0)) > 1

    def demand(self, setting: Setting) -> Demand:
        """Return what a canonical setting asks for."""
        count = self.evaluations(setting)
        guided = guided_calls(float(setting.get("guidance_end", 1)), count) * self.guided(setting)
        return Demand(
            self.execution(setting), pixels_of(setting), int(setting.get("batch", 1)),
            calls_of(guided, count - guided, int(setting.get("deepcache", 1))), count,
            str(setting.get("sampler", "")),
        )

    def execution(self, setting: Setting) -> dict[str, Value]:
        """Return what decides how a call runs: positions in place of real numbers."""
        found: dict[str, Value] = {}
        for name in sorted(self._runs & set(setting)):
            value, domain = setting[name], self._space.knobs[name].space
            if name == "deepcache":
                # How many calls reuse layers is counted; each is the same.
                value = value != 1
            elif isinstance(domain, Number) and not domain.whole:
                value = (float(value) - domain.low) / (domain.high - domain.low)
            found[name] = value
        return found


def calls_of(guided: int, unguided: int, interval: int) -> dict[str, int]:
    """Return kind of call -> count, where in each run only every so many calls are whole.

    Args:
        guided: network calls until guidance ends.
        unguided: network calls from there on, where another run begins.
        interval: 1 where all calls are whole.
    """
    whole = {"guided": math.ceil(guided / interval), "unguided": math.ceil(unguided / interval)}
    counts = {**whole, "cached": guided - whole["guided"],
              "cached_unguided": unguided - whole["unguided"]}
    return {kind: count for kind, count in counts.items() if count}


def pixels_of(setting: Mapping[str, Any]) -> int:
    """Return the area of a setting's picture."""
    width, height = parse_size(str(setting["size"]))
    return width * height
