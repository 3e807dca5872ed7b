"""The order of work: a pipeline is loaded again only where a LOAD knob changes."""

from __future__ import annotations

from collections.abc import Sequence

from ldmopt.contracts import Setting
from ldmopt.knob import Space, Stage


def load_part(setting: Setting, space: Space) -> Setting:
    """Return what decides which pipeline is loaded."""
    return setting.only({name for name, item in space.knobs.items() if item.stage is Stage.LOAD})


def by_load(
    settings: Sequence[Setting], space: Space, current: Setting | None = None
) -> list[Setting]:
    """Return settings so that each pipeline is loaded once, the one of `current` first.

    Within a pipeline, and between those that are still to be loaded, the order stays.
    """
    first = [] if current is None else [load_part(current, space)]
    order = list(dict.fromkeys([*first, *(load_part(one, space) for one in settings)]))
    return sorted(settings, key=lambda one: order.index(load_part(one, space)))
