import inspect

import pytest

from ldmopt.knobs.sampling import SAMPLERS, SIGMAS, _accept_sampler, a1111_name, slug_of


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


@pytest.mark.parametrize("slug", SAMPLERS)
def test_names_go_both_ways(slug):
    for sigmas in SIGMAS:
        found = _accept_sampler(a1111_name(slug, sigmas))
        assert found["sampler"] == slug
        assert found.get("sigmas", "default") == sigmas


def test_scheduler_classes_have_slugs():
    assert slug_of("PNDMScheduler") == "pndm"
    assert slug_of("SomethingElse") == "ddim"
