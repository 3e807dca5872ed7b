"""How large the picture is."""

from __future__ import annotations

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.knob import Context, Size, Stage, knob


def parse_size(value: str) -> tuple[int, int]:
    """Return width and height in pixels of ``WIDTHxHEIGHT``."""
    width, height = value.split("x")
    return int(width), int(height)


def _refuse_size(value: Value, setting: Setting, context: Context) -> str | None:
    factor = context.model.scale_factor
    odd = [side for side in parse_size(str(value)) if side % factor]
    if odd:
        return f"is not divisible by {factor}, which this model's VAE needs; change {odd[0]}"
    return None


@knob(
    space=Size(multiple=8),
    default=lambda model: f"{model.native_size}x{model.native_size}",
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.width", "call.height"},
    refuse=_refuse_size,
)
def size(plan: Plan, value: str) -> None:
    """Width x height in pixels."""
    plan.call["width"], plan.call["height"] = parse_size(value)
