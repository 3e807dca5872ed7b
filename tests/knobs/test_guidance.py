"""Switching guidance off on the way: how many calls still cost two."""

from dataclasses import replace

import numpy as np
import pytest

from ldmopt.contracts import Setting
from ldmopt.knob import Context, all_knobs
from ldmopt.knobs.guidance import guided_calls
from ldmopt.model import describe
from ldmopt.testing import BLOCK, open_space

pytestmark = pytest.mark.real


def make(worker, **values):
    """Return a picture of a setting and how many network calls of each kind it took."""
    plan = worker.prepare(open_space(worker).canonical({"steps": 6, "guidance": 4.0, **values}))
    with worker.edited(plan):
        pictures, cost = worker.calls(plan, [BLOCK])
    counts = {kind: call.count for kind, call in cost.calls_by_kind.items() if kind != "step"}
    return pictures[0], counts


@pytest.mark.parametrize(
    ("fraction", "timesteps", "guided"),
    [(0.5, 6, 3), (0.5, 5, 3), (0.7, 10, 7), (0.05, 4, 1), (1, 9, 9), (0.99, 10, 10)],
)
def test_the_fraction_is_rounded_up(fraction, timesteps, guided):
    assert guided_calls(fraction, timesteps) == guided


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"sampler": "euler"}, {"guided": 3, "unguided": 3}),
        ({"sampler": "heun"}, {"guided": 6, "unguided": 5}),
        ({"sampler": "euler", "batch": 2}, {"guided": 3, "unguided": 3}),
        ({"sampler": "euler", "backend": "onnx"}, {"guided": 3, "unguided": 3}),
    ],
)
def test_later_calls_are_unguided(miniature, values, counts):
    assert make(miniature, guidance_end=0.5, **values)[1] == counts
    # Nothing of it is left for the next picture.
    assert set(make(miniature, **values)[1]) == {"guided"}


@pytest.mark.parametrize("shape", ["sdxl", "sd3"])
def test_later_calls_are_unguided_in_other_families(family, shape):
    worker = family(shape)
    sampler = open_space(worker).default["sampler"] if shape == "sdxl" else "flow_euler"
    counts = make(worker, guidance_end=0.5, sampler=sampler)[1]
    assert counts == {"guided": 3, "unguided": 3}


def test_an_end_after_the_last_step_is_no_end(miniature):
    whole, _ = make(miniature, sampler="euler")
    late, counts = make(miniature, sampler="euler", guidance_end=0.95)
    assert counts == {"guided": 6}
    assert np.array_equal(whole, late)


def test_they_act_on_guided_pictures_only(miniature):
    found = open_space(miniature).canonical({"guidance": 1.0, "rescale": 0.5, "guidance_end": 0.5})
    assert not {"rescale", "guidance_end"} & set(found)


def test_pipelines_that_cannot_are_refused():
    knobs = all_knobs()
    flux = Context(replace(describe("miniature"), pipeline="FluxPipeline"))
    for name, value in (("guidance_end", 0.5), ("rescale", 0.5), ("eta", 0.5)):
        assert "FluxPipeline" in knobs[name].refuse(value, Setting(), flux)
        assert knobs[name].refuse(knobs[name].default, Setting(), flux) is None
