"""The regressor in the package, on renders it never saw."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ldmopt.scorers
from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.miniature.scenes import sample_scenes
from ldmopt.miniature.styles import render
from ldmopt.scorers import default
from ldmopt.scorers.prior.damage import damaged

FOLDER = Path(ldmopt.scorers.__file__).parent / "prior" / "default"


def wrapped(pixels: list[Pixels]) -> list[Picture]:
    return [Picture(part, Block("a tree", seed)) for seed, part in enumerate(pixels)]


def test_it_is_small_and_free_of_pickles() -> None:
    files = list(FOLDER.iterdir())
    assert {path.suffix for path in files} == {".safetensors", ".json"}
    assert sum(path.stat().st_size for path in files) < 1_500_000


def test_day_zero_stays_what_it_was() -> None:
    """Trials of earlier versions name this digest: what they were judged by is still here."""
    assert default().digest == "b1e3674bcfc58874"
    assert default().taste is None


def test_it_says_that_it_is_a_prior() -> None:
    said = default().identity["is"]
    assert "prior learned from ladders of known damage" in said
    assert "RankIQA, Liu et al. 2017" in said and said.endswith("no labels")


@pytest.mark.parametrize(
    ("kind", "level"),
    [("blur", 1.3), ("noise", 0.1), ("burn", 2.0), ("jpeg", 10), ("posterize", 3), ("tile", 2)],
)
def test_damage_is_seen(renders: list[Pixels], kind: str, level: float) -> None:
    rng = np.random.default_rng(1)
    hurt = [damaged(part, kind, level, rng) for part in renders]
    chances = [row.probability for row in default().compare(wrapped(renders), wrapped(hurt))]
    assert float(np.mean([chance > 0.5 for chance in chances])) > 0.9


def test_canaries_lose(renders: list[Pixels]) -> None:
    rng = np.random.default_rng(2)
    rows, columns = np.indices((64, 64))
    board = np.where((rows // 8 + columns // 8) % 2, 235, 20).astype(np.uint8)
    canaries = [
        rng.integers(0, 256, (64, 64, 3), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.full((64, 64, 3), 128, np.uint8),
        np.repeat(board[..., None], 3, axis=2),
    ]
    honest = [score.value for score in default().score(wrapped(renders)) if score]
    for score in default().score(wrapped(canaries)):
        assert score is not None
        assert score.value < min(honest)


def test_size_alone_is_no_gift(renders: list[Pixels]) -> None:
    from PIL import Image

    for side in (48, 96):
        other = [
            np.asarray(Image.fromarray(part).resize((side, side), Image.Resampling.LANCZOS))
            for part in renders
        ]
        chances = [row.probability for row in default().compare(wrapped(other), wrapped(renders))]
        assert 0.2 < float(np.mean(chances)) < 0.6


def test_it_is_fast(renders: list[Pixels]) -> None:
    default().score(wrapped(renders[:1]))
    new = [np.roll(part, 1, axis=1) for part in renders]
    started = time.process_time()
    default().score(wrapped(new))
    assert (time.process_time() - started) / len(new) < 0.02  # about 5 ms on an idle core


def test_the_report_says_what_it_learned_from() -> None:
    report = default().report
    assert report["labels"] == {"human": 0, "simulated": 0}
    assert "no captions" in report["trained_on"]
    assert report["ladder_exam"]["rho"] > 0.7


def test_a_second_sun_is_seen() -> None:
    scenes = [scene for scene in sample_scenes(800, seed=4242, split="test")
              if scene.light.startswith("sun")][:100]
    places = ("sun left", "sun middle", "sun right")
    one, two = [], []
    for number, scene in enumerate(scenes):
        elsewhere = [place for place in places if place != scene.light][number % 2]
        honest = render(scene)
        both = np.maximum(honest, render(replace(scene, light=elsewhere)))
        one.append(Picture(honest, Block("a scene", number)))
        two.append(Picture(both, Block("a scene", number)))
    chances = [found.probability for found in default().compare(one, two)]
    assert np.mean([chance > 0.5 for chance in chances]) > 0.8
