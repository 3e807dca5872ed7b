"""Honest scorers pass the exam; blind ones and those with an odd taste are refused with a list."""

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Preference
from ldmopt.miniature.scenes import captions
from ldmopt.miniature.styles import render
from ldmopt.scorers import default
from ldmopt.scorers.alignment import load_alignment
from ldmopt.scorers.canaries import CANARIES
from ldmopt.scorers.exam import ANOTHER_PROMPT, examine, examine_alignment
from ldmopt.scorers.standin import StandInScorer


class Taste:
    """Prefers whatever has more of something; certain of itself."""

    identity = {"name": "odd", "digest": "0"}

    def __init__(self, amount):
        self.amount = amount

    def compare(self, left, right):
        gaps = [self.amount(a.pixels) - self.amount(b.pixels)
                for a, b in zip(left, right, strict=True)]
        return [Preference(0.5 + 0.5 * float(np.sign(gap))) for gap in gaps]


class Captions:
    """Says how well pictures fit captions by a table: one mean colour a caption."""

    identity = {"name": "alignment", "model": "table"}

    def __init__(self, known):
        self.known = known

    def similarity(self, pictures):
        return [-float(np.abs(self.known[p.block.prompt] - p.pixels.mean(axis=(0, 1))).sum())
                if p.block.prompt in self.known else None for p in pictures]


@pytest.fixture(scope="module")
def honest():
    return [Picture(render(scene), Block(caption, 0)) for caption, scene in captions(12)]


def failed(exam):
    return {result.kind for result in exam.failed}


def test_the_regressor_in_the_package_passes(honest):
    exam = examine(default(), honest)
    assert exam.passed and [result.kind for result in exam.results] == list(CANARIES)
    assert all(result.win < 0.1 and result.beaten <= 0.1 for result in exam.results)
    data = exam.to_dict()
    assert data["passed"] and len(data["canaries"]) == 6 and "exempt" not in data


@pytest.mark.parametrize("amount, fails", [
    (lambda pixels: 0, set(CANARIES)),
    (lambda pixels: -np.abs(np.diff(pixels.astype(float), axis=1)).mean(),
     {"black", "flat grey", "heavy blur"}),
    (lambda pixels: np.ptp(pixels.astype(float), axis=2).mean(), {"noise", "over-saturated"}),
    (lambda pixels: -pixels.mean(), {"black"}),
])  # fmt: skip
def test_blind_and_odd_scorers_fail_where_they_are_blind(honest, amount, fails):
    assert fails <= failed(examine(Taste(amount), honest))


@pytest.mark.parametrize("fooled, passes", [(0, True), (2, True), (3, False)])
def test_a_fifth_of_the_pictures_may_be_beaten(honest, fooled, passes):
    scorer = Taste(None)
    scorer.compare = lambda left, right: [Preference(0.9 if index < fooled else 0.1)
                                          for index in range(len(right))]
    assert examine(scorer, honest).passed == passes


def test_the_stand_in_is_exempt_and_says_so(honest):
    exam = examine(StandInScorer(), honest)
    assert exam.passed and not exam.results
    assert "stand-in judges nothing" in exam.to_dict()["exempt"]


def test_the_miniatures_own_towers_know_the_captions(honest):
    exam = examine_alignment(load_alignment("miniature", "miniature"), honest)
    assert exam.passed
    assert exam.results[0].kind == ANOTHER_PROMPT and exam.results[0].high < 0.5


def test_an_alignment_that_does_not_read_captions_fails():
    rng = np.random.default_rng(3)
    colours = [rng.integers(0, 256, 3) for _ in range(12)]
    pictures = [Picture(np.broadcast_to(colour, (32, 32, 3)).astype(np.uint8), Block(f"p{i}", 0))
                for i, colour in enumerate(colours)]
    knowing = Captions({f"p{i}": colour for i, colour in enumerate(colours)})
    assert examine_alignment(knowing, pictures).results[0].beaten == 0.0
    same = Captions({f"p{i}": colours[0] for i in range(12)})
    assert ANOTHER_PROMPT in failed(examine_alignment(same, pictures))
    unreadable = Captions({})
    assert ANOTHER_PROMPT in failed(examine_alignment(unreadable, pictures))


def test_similar_prompts_may_tie():
    """Every prompt has a twin of the same colour: ties alone do not refuse an honest scorer."""
    rng = np.random.default_rng(3)
    colours = [colour for _ in range(6) for colour in [rng.integers(0, 256, 3)] * 2]
    pictures = [Picture(np.broadcast_to(colour, (32, 32, 3)).astype(np.uint8), Block(f"p{i}", 0))
                for i, colour in enumerate(colours)]
    knowing = Captions({f"p{i}": colour for i, colour in enumerate(colours)})
    result = examine_alignment(knowing, pictures).results[0]
    assert result.beaten > 0.05 and result.passed


@pytest.mark.parametrize("size", [(16, 16), (64, 48), (300, 200)])
def test_canaries_keep_the_size_and_ruin_the_picture(size):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:size[0], 0:size[1]] / max(size)
    waves = [0.5 + 0.4 * np.sin(12 * rows * a + 9 * columns) for a in (1, 2, 3)]
    pixels = (255 * np.clip(np.stack(waves, -1) + 0.02 * rng.normal(size=(*size, 3)), 0, 1))
    pixels = pixels.astype(np.uint8)
    for kind, ruin in CANARIES.items():
        canary = ruin(pixels)
        assert canary.shape == pixels.shape and canary.dtype == np.uint8
        assert np.abs(canary.astype(float) - pixels).mean() > 4, kind
        assert np.array_equal(canary, ruin(pixels)), "the same every time"
