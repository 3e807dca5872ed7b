"""How many pictures a call of the pipeline makes."""

from __future__ import annotations

from ldmopt.contracts import Plan
from ldmopt.knob import Number, Stage, knob


@knob(
    space=Number(1, 1024, whole=True),
    default=1,
    stage=Stage.CALL,
    changes_picture=False,
    touches={"batch"},
)
def batch(plan: Plan, value: int) -> None:
    """Pictures made in one call: cheaper each, but the first arrives with the last."""
    plan.batch = value
