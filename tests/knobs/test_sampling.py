import inspect

import pytest

from ldmopt.contracts import Setting
from ldmopt.knob import Context, all_knobs, build_space
from ldmopt.knobs.sampling import (
    AYS,
    AYS_MOST_STEPS,
    SAMPLERS,
    SIGMAS,
    _accept_sampler,
    a1111_name,
    aligned_timesteps,
    slug_of,
)
from ldmopt.model import describe
from ldmopt.testing import BLOCK, open_space


@pytest.mark.parametrize("slug", SAMPLERS)
def test_table_agrees_with_diffusers(slug):
    import diffusers

    row = SAMPLERS[slug]
    kind = getattr(diffusers, row.scheduler)
    if row.needs is not None:
        pytest.importorskip(row.needs)
    known = inspect.signature(kind.__init__).parameters
    assert set(row.flags) <= set(known)
    flags = {flag for flags in SIGMAS.values() for flag in flags}
    assert row.takes_sigmas == (flags <= set(known))
    assert row.takes_timesteps == ("timesteps" in inspect.signature(kind.set_timesteps).parameters)
    assert row.takes_eta == ("eta" in inspect.signature(kind.step).parameters)


@pytest.mark.parametrize("slug", SAMPLERS)
def test_names_go_both_ways(slug):
    for sigmas in SIGMAS:
        found = _accept_sampler(a1111_name(slug, sigmas))
        assert found["sampler"] == slug
        assert found.get("sigmas", "default") == sigmas


def test_scheduler_classes_have_slugs():
    assert slug_of("PNDMScheduler") == "pndm"
    assert slug_of("SomethingElse") == "ddim"


@pytest.mark.parametrize("name", AYS.values())
def test_aligned_steps_are_the_published_ones_and_fall_at_every_count(name):
    import numpy as np
    from diffusers.schedulers import AysSchedules, DDIMScheduler

    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    alphas = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
    levels = np.sqrt((1 - alphas) / alphas)
    published = AysSchedules[name]
    assert aligned_timesteps(published, levels, 10) == published
    for steps in range(1, AYS_MOST_STEPS + 1):
        found = aligned_timesteps(published, levels, steps)
        assert len(found) == len(set(found)) == steps
        assert found == sorted(found, reverse=True) and found[0] == 999
    # Twenty steps pass through the ten, and halve the way in log sigma between two.
    twenty = aligned_timesteps(published, levels, 20)
    assert twenty[::2] == published
    middle = np.sqrt(levels[published[3]] * levels[published[4]])
    assert levels[twenty[7]] == pytest.approx(middle, rel=0.01)


@pytest.mark.real
@pytest.mark.parametrize(
    "slug", [s for s, row in SAMPLERS.items() if row.takes_timesteps and row.takes_sigmas
             and row.noise])
def test_aligned_steps_reach_the_scheduler(miniature, slug):
    from diffusers.schedulers import AysSchedules

    setting = {"sampler": slug, "sigmas": "ays", "steps": 10}
    plan = miniature.prepare(open_space(miniature).canonical(setting))
    with miniature.edited(plan):
        miniature.call(plan, BLOCK)
        used = miniature.pipeline.scheduler.timesteps.unique().flip(0)
    assert used.tolist() == AysSchedules["StableDiffusionTimesteps"]


def test_aligned_steps_can_be_searched_beside_samplers_that_take_them():
    context = Context(describe("miniature"))
    space = build_space({"sampler": "unipc"}, {"sampler": ["unipc", "euler"], "sigmas": "all"},
                        context)
    assert "ays" in space.searched["sigmas"].values
    assert "takes timesteps" in space.refusal(space.canonical({"sigmas": "ays"}))
    assert space.refusal(space.canonical({"sigmas": "ays", "sampler": "euler"})) is None


@pytest.mark.parametrize(("change", "values", "words"), [
    ({"pipeline": "PixArtSigmaPipeline"}, {}, "not for PixArtSigmaPipeline"),
    ({"folder": "/nowhere"}, {}, "noise schedule"),
    ({}, {"sampler": "unipc"}, "takes timesteps"),
    ({}, {"steps": 51}, "50 steps at most"),
])
def test_aligned_steps_are_refused_elsewhere(change, values, words):
    from dataclasses import replace

    context = Context(replace(describe("miniature"), **change))
    setting = Setting({"sampler": "euler", "steps": 20, **values})
    assert words in all_knobs()["sigmas"].refuse("ays", setting, context)
    assert all_knobs()["sigmas"].refuse("karras", setting, context) is None
