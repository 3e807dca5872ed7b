"""What is reused, merged and compiled, counted; libraries that are not installed are skipped."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from ldmopt.child.worker import Worker
from ldmopt.contracts import Block, Setting
from ldmopt.knob import Context, all_knobs
from ldmopt.model import describe
from ldmopt.study.equivalence import decibels
from ldmopt.testing import BLOCK, check_knob, open_space

KNOBS = all_knobs()
CPU = Context(describe("miniature"), "cpu", {"DeepCache": "0.1", "tomesd": "0.1"})


def make(worker, blocks=(BLOCK,), **values):
    """Return pictures of a setting and how many network calls of each kind they took."""
    setting = {"steps": 6, "guidance": 4.0, "sampler": "euler", **values}
    plan = worker.prepare(open_space(worker).canonical(setting))
    pictures = []
    with worker.edited(plan):
        for block in blocks:
            made, cost = worker.calls(plan, [block])
            pictures += made
    counts = {kind: call.count for kind, call in cost.calls_by_kind.items() if kind != "step"}
    return pictures, counts


@pytest.mark.real
@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"deepcache": 2}, {"guided": 3, "cached": 3}),
        ({"deepcache": 3}, {"guided": 2, "cached": 4}),
        ({"deepcache": 3, "guidance": 1.0}, {"unguided": 2, "cached": 4}),
        # Where guidance ends, what was kept has the wrong shape.
        ({"deepcache": 3, "guidance_end": 0.65},
         {"guided": 2, "unguided": 1, "cached": 3}),
        ({"deepcache": 2, "sampler": "heun"}, {"guided": 6, "cached": 5}),
    ],
)
def test_cheap_calls_are_counted_apart(miniature, values, counts):
    pytest.importorskip("DeepCache")
    assert make(miniature, **values)[1] == counts


@pytest.mark.real
@pytest.mark.parametrize(("name", "value"), [("deepcache", 3), ("token_merging", 0.5)])
def test_a_picture_does_not_depend_on_those_made_before(miniature, name, value):
    pytest.importorskip({"deepcache": "DeepCache", "token_merging": "tomesd"}[name])
    other = Block("three towers", 1)
    first, _ = make(miniature, [BLOCK, other], **{name: value})
    second, _ = make(miniature, [other, BLOCK], **{name: value})
    assert np.array_equal(first[0], second[1]) and np.array_equal(first[1], second[0])


@pytest.mark.real
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_batch_merges_the_same_tokens(miniature, guidance):
    pytest.importorskip("tomesd")
    alone, _ = make(miniature, token_merging=0.5, guidance=guidance)
    together, _ = make(miniature, token_merging=0.5, guidance=guidance, batch=2)
    assert decibels(alone[0], together[0]) > 40


@pytest.mark.real
@pytest.mark.parametrize(("name", "value"), [("deepcache", 3), ("token_merging", 0.5)])
@pytest.mark.parametrize("shape", ["sd15", "sdxl"])
def test_libraries_work_on_other_unets(family, shape, name, value):
    pytest.importorskip({"deepcache": "DeepCache", "token_merging": "tomesd"}[name])
    check_knob(family(shape), name, value)


@pytest.mark.parametrize(("name", "value", "package"), [
    ("deepcache", 2, "DeepCache"), ("token_merging", 0.5, "tomesd"),
])
def test_libraries_that_are_missing_or_do_not_fit_are_named(name, value, package):
    knob, bare = KNOBS[name], replace(CPU, packages={})
    assert f"pip install {package}" in knob.refuse(value, Setting(), bare)
    assert knob.refuse(knob.default, Setting(), bare) is None
    assert knob.refuse(value, Setting(), CPU) is None
    no_unet = replace(CPU, model=replace(CPU.model, folder="", pipeline="FluxPipeline"))
    assert "UNets" in knob.refuse(value, Setting(), no_unet)


def test_compilation_needs_a_compiler_and_stands_alone(monkeypatch):
    refuse = KNOBS["compile"].refuse
    assert "deepcache" in refuse("default", Setting(deepcache=3), CPU)
    assert "token_merging" in refuse("default", Setting(token_merging=0.5), CPU)
    assert "offload" in refuse("default", Setting(offload="model"), CPU)
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in refuse("default", Setting(), CPU)
    assert refuse("off", Setting(), CPU) is None
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert refuse("default", Setting(), CPU) is None
    assert "triton" in refuse("default", Setting(), replace(CPU, device="cuda"))


def test_compilation_happens_in_the_warm_up():
    worker, asked = Worker(describe("standin"), "cpu", []), []
    worker.call = lambda plan, block: asked.append(plan.call["guidance_scale"])
    setting = Setting(open_space(worker).default, compile="default", guidance_end=0.5)
    events = [answer["event"] for answer, _ in worker._warmed(setting, worker.prepare(setting))]
    # Guided and unguided calls are other graphs; a deadline is none of a picture's meanwhile.
    assert asked == [setting["guidance"], 1.0]
    assert events == ["loading", "loaded"]
    # Samplers differ in the number format of their timesteps: other graphs.
    warm = worker._warmth(setting)
    assert worker._warmth(setting.replace({"sampler": "lms"})) != warm
    assert worker._warmth(setting.replace({"steps": 9})) == warm
    plain = setting.replace({"compile": "off"})
    assert worker._warmth(plain.replace({"sampler": "lms"})) == worker._warmth(plain)
