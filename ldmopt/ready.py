"""A recommendation as a diffusers pipeline in this process, ready to be called."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from ldmopt.apply import open_space, setting_and_model
from ldmopt.child.worker import Worker
from ldmopt.contracts import Plan, Setting, Value
from ldmopt.errors import UserError
from ldmopt.rulebook import Recommendation

SEEDS = 2**32
"""Seeds that are drawn where none is given are below it."""


class ReadyPipeline:
    """A diffusers pipeline with a recommendation's knobs turned.

    ``pipe(prompt)`` makes the recommended picture; arguments that a call adds win over the
    recommended ones. Attributes and methods that are not below are the diffusers pipeline's own.
    `close`, or leaving a ``with`` block, turns the knobs back.

    Attributes:
        pipeline: the diffusers pipeline itself.
        setting: the knobs' values, those included that a recommendation leaves at their default.
        batch: how many prompts a call should be given to cost what was measured.
    """

    def __init__(self, worker: Worker, plan: Plan, setting: Setting) -> None:
        """Take a worker that has loaded its pipeline, and turn the knobs of the plan."""
        self._worker, self._plan, self._edits = worker, plan, ExitStack()
        self.pipeline: Any = worker.pipeline
        self.setting = setting
        self.batch = plan.batch
        self._edits.enter_context(worker.edited(plan))

    def __call__(
        self, prompt: str | Sequence[str], *, seed: int | Sequence[int] | None = None, **more: Any
    ) -> Any:
        """Make pictures; return what the diffusers pipeline returns (``.images``).

        Args:
            prompt: what to paint, or several to paint in one call.
            seed: of the starting noise: one a prompt, or one that the further prompts count on
                from; drawn at random where it is None. The noise is the study's: prompt and seed
                give the picture that the study had.
            more: further arguments of the diffusers pipeline, such as ``negative_prompt``. With a
                ``generator`` or ``latents`` of yours, noise is drawn as diffusers does.

        Raises:
            UserError: no prompt, or as many seeds as do not fit the prompts.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if not prompts:
            raise UserError("prompt is an empty list; give at least one")
        call = {**self._plan.call, **more}
        if "generator" in more or "latents" in more:
            return self.pipeline(prompt=prompts, **call)
        with self._worker.inputs(prompts, _seeds(seed, len(prompts))) as inputs:
            return self.pipeline(**{**inputs, **call})

    def __getattr__(self, name: str) -> Any:
        """Look an attribute up on the diffusers pipeline."""
        if name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __enter__(self) -> ReadyPipeline:
        """Return the pipeline itself; its knobs are turned already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Turn the knobs back."""
        self.close()

    def close(self) -> None:
        """Turn the knobs back; the diffusers pipeline stays as it was loaded."""
        self._edits.close()


def _seeds(seed: int | Sequence[int] | None, count: int) -> list[int]:
    if seed is None:
        return [secrets.randbelow(SEEDS) for _ in range(count)]
    if isinstance(seed, int):
        return [seed + number for number in range(count)]
    if len(seed) != count:
        raise UserError(f"seed: {len(seed)} seeds do not fit {count} prompts; give one a prompt, "
                        "or a single one")
    return list(seed)


def pipeline(
    recommendation: Recommendation | Mapping[str, Value], *, model: str | None = None,
    device: str = "auto", plugins: Sequence[str] = (),
) -> ReadyPipeline:
    """Load a model and turn its knobs as recommended.

    Args:
        recommendation: a rulebook's, or knob values.
        model: as in a study; the recommendation's own, or the miniature for mere knob values,
            where it is None.
        device: as in a study.
        plugins: modules with further knobs, as the study had them.

    Raises:
        UserError: model or setting cannot be had here.
    """
    setting, model = setting_and_model(recommendation, model)
    space = open_space(model, device, setting, plugins)
    worker = Worker(space.context.model, device, list(plugins))
    return ReadyPipeline(worker, worker.prepare(space.default), space.default)
