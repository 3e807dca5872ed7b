"""How strongly the prompt steers the picture."""

from __future__ import annotations

from ldmopt.contracts import Plan
from ldmopt.knob import Number, Stage, knob


@knob(
    space=Number(0, 100),
    default=lambda model: model.guidance,
    stage=Stage.CALL,
    changes_picture=True,
    touches={"call.guidance_scale"},
)
def guidance(plan: Plan, value: float) -> None:
    """Classifier-free guidance (CFG) scale; at 1 and below it is off and a step costs half."""
    plan.call["guidance_scale"] = value
