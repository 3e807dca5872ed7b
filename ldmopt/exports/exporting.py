"""A recommendation in the form that another program reads.

What a format gets is a `Job`; what it leaves out it must say, which `Job.unsaid` makes easy.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ldmopt import registry
from ldmopt.contracts import Setting
from ldmopt.errors import UserError
from ldmopt.exports._words import bytes_text, seconds_text, win_text
from ldmopt.knob import all_knobs
from ldmopt.model import Model, describe
from ldmopt.rulebook import Rulebook

PACKAGE = "ldmopt.exports.formats"
PROMPT = "a lighthouse on a cliff at dusk, oil painting"
"""What is painted where nobody says otherwise."""

YOURS = "your-model"
"""What an export calls the model where nobody says which it is."""


@dataclass(frozen=True)
class Job:
    """One recommendation to be written for another program.

    Attributes:
        book: the whole rulebook's data.
        item: the recommendation, as the rulebook has it.
        prompt: what to paint.
        seed: of the starting noise.
        model: name or folder of the model.
    """

    book: Mapping[str, Any]
    item: Mapping[str, Any]
    prompt: str
    seed: int
    model: str

    @property
    def setting(self) -> Setting:
        """The knobs' values."""
        return Setting(self.item["setting"])

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, or None where the setting does not say."""
        from ldmopt.knobs.canvas import parse_size

        found = self.setting.get("size")
        return parse_size(str(found)) if found else None

    @property
    def sampler(self) -> str:
        """The sampler's slug, or the name that an imported table has for it; may be empty."""
        return str(self.setting.get("sampler", ""))

    @property
    def sigmas(self) -> str:
        """The sigma schedule."""
        return str(self.setting.get("sigmas", "default"))

    @property
    def guidance(self) -> float | None:
        """The guidance scale, where the setting has one."""
        found = self.setting.get("guidance")
        return None if found is None else float(found)

    @property
    def batch(self) -> int:
        """Pictures in one call."""
        return int(self.setting.get("batch", 1))

    @cached_property
    def described(self) -> Model | None:
        """The model's facts, or None where its files are not on this machine."""
        try:
            return describe(self.model)
        except UserError:
            return None

    @property
    def about(self) -> str:
        """Where the setting comes from and what it promises, in one line."""
        quality, cost, scope = self.item["quality"], self.item["cost"], self.book["scope"]
        return (
            f"{self.item['id']!r} of the study {self.book['study']!r} by ldmopt "
            f"{self.book['ldmopt_version']}: win rate {win_text(quality)} against its default, "
            f"{seconds_text(cost['seconds'])} a picture, peak memory "
            f"{bytes_text(cost['peak_memory_bytes'])}, on {scope['device']}"
        )

    def unsaid(
        self, said: Collection[str], reasons: Mapping[str, str], otherwise: str
    ) -> list[str]:
        """Return a line for each knob that an export leaves out, though it is turned.

        Args:
            said: knobs that the export says.
            reasons: why another one is left out, and what to do.
            otherwise: the same for knobs without a reason of their own.
        """
        return list(self._unsaid(said, reasons, otherwise))

    def _unsaid(
        self, said: Collection[str], reasons: Mapping[str, str], otherwise: str
    ) -> Iterator[str]:
        knobs = all_knobs()
        for name, value in self.setting.items():
            usual = knobs[name].default if name in knobs else None
            if name in said or (name in knobs and not callable(usual) and usual == value):
                continue
            yield f"{name}={value}: {reasons.get(name, otherwise)}"


def formats() -> dict[str, str]:
    """Return every format's name with one line on it."""
    found = {name: registry.module(PACKAGE, name) for name in registry.names(PACKAGE)}
    return {name: (inspect.getdoc(part) or "").split("\n")[0] for name, part in found.items()}


def export(
    rulebook: Rulebook, to: str, *, id: str = "balanced", prompt: str = PROMPT, seed: int = 0,
    model: str | None = None,
) -> str:
    """Return a recommendation in the form that another program reads.

    Args:
        rulebook: holds it.
        to: a format, such as ``diffusers`` or ``a1111``; `formats` lists them.
        id: which recommendation.
        prompt: what to paint.
        seed: of the starting noise.
        model: name or folder of the model, where it is another than the rulebook's.

    Raises:
        UserError: no such format or recommendation, or an empty prompt.
    """
    writer = registry.module(PACKAGE, to)
    if not prompt.strip():
        raise UserError("prompt is empty; say what to paint")
    if seed < 0:
        raise UserError(f"seed must be 0 or more, got {seed}")
    found = rulebook.find(id)
    job = Job(rulebook.data, found.data, prompt, seed, model or found.model or YOURS)
    text: str = writer.export(job)
    return text
