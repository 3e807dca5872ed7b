"""Which runtime executes the networks, and in which number format."""

from __future__ import annotations

from ldmopt.contracts import Plan, Setting, Value
from ldmopt.families import exportable
from ldmopt.knob import Choice, Context, Stage, knob


def _refuse_backend(value: Value, setting: Setting, context: Context) -> str | None:
    if value != "onnx":
        return None
    missing = {"onnxruntime", "optimum-onnx"} - set(context.packages)
    if missing:
        return f"needs {' and '.join(sorted(missing))}; install ldmopt[onnx]"
    if context.device.startswith("cuda") and "onnxruntime-gpu" not in context.packages:
        return "runs on a GPU only by onnxruntime-gpu; uninstall onnxruntime, then install " \
               "ldmopt[onnx-gpu]"
    if context.model.module and context.model.pipeline not in exportable():
        return f"has no {context.model.pipeline}; take torch"
    return None


def _refuse_precision(value: Value, setting: Setting, context: Context) -> str | None:
    if value == "fp16" and context.device == "cpu":
        return "does not run on a CPU; take fp32 or bf16"
    if value == "bf16" and setting.get("backend") == "onnx":
        return "cannot be exported to ONNX; take fp32"
    return None


@knob(
    space=Choice(("torch", "onnx")),
    default="torch",
    stage=Stage.LOAD,
    changes_picture=False,
    touches={"pipeline"},
    refuse=_refuse_backend,
)
def backend(plan: Plan, value: str) -> None:
    """Which runtime executes the networks: PyTorch, or ONNX Runtime on an exported model."""
    plan.load["backend"] = value


@knob(
    space=Choice(("fp32", "fp16", "bf16")),
    default="fp32",
    stage=Stage.LOAD,
    changes_picture=False,
    touches={"weights"},
    refuse=_refuse_precision,
)
def precision(plan: Plan, value: str) -> None:
    """Number format of weights and activations."""
    plan.load["precision"] = value
