"""Every family makes pictures through the worker, from noise that no execution setting changes."""

import numpy as np
import pytest

from ldmopt import machine
from ldmopt.contracts import Block
from ldmopt.knob import Context, build_space
from ldmopt.shapes import SHAPES
from ldmopt.testing import open_worker

BLOCKS = [Block("a small house", 7), Block("a red boat", 8)]
SAMPLERS = {
    "sd15": ["pndm", "euler_a"], "sd21": ["ddim", "dpmpp_2m"], "sdxl": ["euler", "unipc"],
    "sd3": ["flow_euler", "flow_heun", "dpmpp_2m", "dpmpp_single", "unipc", "deis"],
    "pixart": ["dpmpp_2m", "heun"], "flux": ["flow_euler", "dpmpp_2m", "unipc", "deis"],
}
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def workers(shaped):
    opened = {}

    def worker(shape):
        if shape not in opened:
            opened[shape] = open_worker(shaped(shape))
        return opened[shape]

    return worker


def made(worker, blocks=BLOCKS[:1], seen=None, **knobs):
    """Make one call's pictures; `seen` takes the latents that the sampler is first given."""
    context = Context(worker.model, "cpu", machine.packages())
    setting = build_space({"steps": 2, "batch": len(blocks), **knobs}, {}, context).default
    plan = worker.prepare(setting)
    with worker.edited(plan):
        if seen is not None:
            draw = worker.pipeline.prepare_latents

            def watched(*args, **more):
                drawn = draw(*args, **more)
                seen.append((drawn[0] if isinstance(drawn, tuple) else drawn).clone())
                return drawn

            worker.pipeline.prepare_latents = watched
        try:
            pictures, cost = worker.calls(plan, blocks)
        finally:
            vars(worker.pipeline).pop("prepare_latents", None)
    return pictures, cost


@pytest.mark.parametrize(("shape", "sampler"), [(s, one) for s in SAMPLERS for one in SAMPLERS[s]])
def test_picture(workers, shape, sampler):
    pictures, cost = made(workers(shape), sampler=sampler, size="64x96")
    assert pictures[0].shape == (96, 64, 3)
    assert pictures[0].std() > 1
    assert set(cost.calls_by_kind) == {"unguided" if shape == "flux" else "guided", "step"}
    assert all(cost.seconds_by_phase[phase] > 0 for phase in ("encode", "denoise", "decode"))


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_the_same_in_half_precision_and_in_a_batch(workers, shape):
    single, half, both = [], [], []
    worker = workers(shape)
    made(worker, seen=half, precision="bf16")
    made(worker, seen=single)
    made(worker, BLOCKS, seen=both)
    assert half[0].dtype != single[0].dtype
    # Some pipelines scale what they drew, which rounds once more.
    np.testing.assert_allclose(half[0].float(), single[0], rtol=0.01)
    assert (both[0][:1] == single[0]).all()
    assert not (both[0][1:] == single[0]).all()


def test_ancestral_noise_is_the_same_in_a_batch(workers):
    alone = [made(workers("sd15"), [block], sampler="euler_a")[0][0] for block in BLOCKS]
    together = made(workers("sd15"), BLOCKS, sampler="euler_a")[0]
    for one, other in zip(alone, together, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_safety_checker_and_watermark_are_off(workers):
    made(workers("sd15"))
    assert workers("sd15").pipeline.safety_checker is None
    made(workers("sdxl"))
    assert workers("sdxl").pipeline.watermark is None


def test_size_is_not_rounded_to_a_list_of_the_family(workers):
    assert workers("pixart").model.rounds_sizes
    pictures, _ = made(workers("pixart"), size="80x64")
    assert pictures[0].shape == (64, 80, 3)
