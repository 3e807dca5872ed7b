"""Ratios of costs, above all where some knobs act beside some values of another only."""

from dataclasses import replace

import numpy as np
import pytest

from ldmopt.contracts import CostChange, Setting
from ldmopt.distillation.costs import MODELLED, PAIRED, cost_ratios
from ldmopt.distillation.table import Measured, Table, value_key

NONE = frozenset[str]()


def table(rows):
    """Return settings with their seconds as a table; memory is the same for all."""
    measured = [Measured(Setting(setting), seconds, 100) for setting, seconds in rows]
    return Table(tuple(measured), (), np.zeros((0, 0)), np.zeros(0, np.bool_),
                 np.zeros(0, np.intp), NONE, measured[0].setting)


def test_a_knob_that_never_varies_parts_no_pairs():
    torch = {"backend": "torch", "attention": "sdpa"}
    found, _ = cost_ratios(table([
        ({**torch, "steps": 4}, 1.0), ({**torch, "steps": 8}, 2.0),
        ({"backend": "onnx", "steps": 4}, 0.5), ({"backend": "onnx", "steps": 8}, 1.0),
    ]), "backend", ["torch"], ["onnx"])
    assert found.pairs == 2
    assert found.ratio == pytest.approx(0.5)


def test_the_cost_model_is_asked_first():
    rows = [({"precision": "fp32", "steps": steps}, float(steps)) for steps in (4, 8, 16)]
    rows += [({"precision": "bf16", "steps": steps}, 1.7 * steps) for steps in (4, 8, 16)]
    changes = {("precision", value_key("bf16")): CostChange("precision", "fp32", "bf16",
                                                            (np.log(0.6), 0.02)),
               ("precision", value_key("fp32")): CostChange("precision", "fp32", "fp32", (0, 0))}
    seconds, memory = cost_ratios(replace(table(rows), cost_changes=changes), "precision",
                                  ["fp32"], ["bf16"])
    assert (seconds.ratio, seconds.basis) == (pytest.approx(0.6), MODELLED)
    assert seconds.p < 1e-6
    # It read no memory: pairs tell.
    assert (memory.ratio, memory.basis) == (1.0, PAIRED)
    back, _ = cost_ratios(replace(table(rows), cost_changes=changes), "precision",
                          ["bf16"], ["fp32"])
    assert back.ratio == pytest.approx(1 / 0.6)


def test_a_knob_that_acts_beside_one_value_only_hides_no_ratio():
    factor = {"sdpa": 1.0, "eager": 1.3}
    rows = [({"backend": "torch", "attention": kind, "steps": steps}, factor[kind] * steps)
            for kind in factor for steps in (4, 8, 16)]
    rows += [({"backend": "onnx", "steps": steps}, 0.5 * steps) for steps in (4, 8, 16)]
    found, _ = cost_ratios(table(rows), "backend", ["torch"], ["onnx"])
    assert found.pairs == 0
    assert found.ratio == pytest.approx(0.5)  # against the first torch row, which is sdpa
