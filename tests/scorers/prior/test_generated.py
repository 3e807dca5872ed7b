"""Ladders made with the miniature itself, and the calibration of chances."""

from __future__ import annotations

import numpy as np
import pytest

from ldmopt.contracts import Pixels
from ldmopt.scorers.prior import calibrate, generated, ladders
from ldmopt.scorers.prior.studio import SAMPLERS, Studio, Take

PROMPTS = ["a tree by the sea at noon, the sun on the left, flat vector art"] * 2


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


def test_a_take_repeats_and_seeds_differ(studio: Studio) -> None:
    take = Take(2, 3.0, sampler="ddim")
    first, second = studio.generate(take, PROMPTS, [1, 2])
    assert first.shape == (64, 64, 3)
    assert (first != second).any()
    alone = studio.generate(take, PROMPTS[:1], [1])[0]
    assert np.abs(alone.astype(int) - first.astype(int)).max() <= 2


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_runs(studio: Studio, sampler: str) -> None:
    made = studio.generate(Take(3, 3.0, 48, 32, sampler), PROMPTS[:1], [1])
    assert made[0].shape == (32, 48, 3)


def test_stopping_early_leaves_noise(studio: Studio) -> None:
    whole = studio.generate(Take(8, 3.0, sampler="ddim"), PROMPTS[:1], [1])[0]
    near, far = (
        generated.distance(
            whole, studio.generate(Take(8, 3.0, sampler="ddim", stop=stop), PROMPTS[:1], [1])[0]
        )
        for stop in (6, 1)
    )
    assert 0 < near < far


def test_latents_go_there_and_back(studio: Studio, renders: list[Pixels]) -> None:
    back = studio.decode(studio.encode(renders[:4]))
    gaps = [generated.distance(a, b) for a, b in zip(renders, back, strict=False)]
    others = [generated.distance(a, b) for a, b in zip(renders, renders[5:9], strict=False)]
    assert np.mean(gaps) < 0.5 * np.mean(others)


def test_ladders_are_ordered(studio: Studio, renders: list[Pixels]) -> None:
    rng = np.random.default_rng(0)
    made = [
        ladder
        for kind in ladders.LATENT_DAMAGES
        for ladder in ladders.of_latents(studio, renders[:2], kind, 0, rng)
    ]
    made.append(ladders.honest_sizes(renders[0], 0, rng))
    made.append(ladders.of_pixels(renders[0], "blur", 0, 0.1, rng))
    for ladder in made:
        losses = [rung.loss for rung in ladder.rungs]
        assert losses == sorted(losses), ladder.kind
        assert 0 <= losses[0] and losses[-1] <= 1
        assert all(rung.pixels.dtype == np.uint8 for rung in ladder.rungs)


def test_chances_are_calibrated_to_the_noise() -> None:
    rng = np.random.default_rng(0)
    ladder = np.repeat(np.arange(300), 4)
    quality = np.tile([1.0, 0.8, 0.6, 0.4], 300)
    for noise in (0.1, 0.4):
        common = quality + noise * rng.standard_normal(len(quality))
        values = common + 0.02 * rng.standard_normal((3, len(quality)))
        scale, extra, facts = calibrate.calibrated(values, quality, ladder)
        assert scale > 0 and extra > 0
        for said, seen, share in facts["curve_said_seen_share"]:
            if share > 0.03:
                assert abs(said - seen) < 0.1


def test_ties_are_ties() -> None:
    left, right, win, weight = calibrate.ladder_pairs(
        np.array([0.9, 0.89, 0.5, 0.7]), np.array([0, 0, 0, 1])
    )
    assert list(zip(left, right, strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert list(win) == [0.5, 1.0, 1.0]
    assert weight.sum() == pytest.approx(1.0)
