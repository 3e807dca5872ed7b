"""Raters who mind the caption: a taste may start from prior and caption, and labels decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.labels import Labels, Pair
from ldmopt.miniature.scenes import captions
from ldmopt.miniature.styles import render
from ldmopt.scorers import Regressor, fit
from ldmopt.scorers.alignment import Alignment, load_alignment

PROMPTS = 40


@pytest.fixture(scope="module")
def towers() -> Alignment:
    """Give the miniature's own towers."""
    found = load_alignment("auto", "miniature")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def told() -> list[tuple[Picture, Picture]]:
    """Give of each prompt a clean render of it, and one of another prompt."""
    return [(Picture(render(scene), Block(text, 0)), Picture(render(other), Block(text, 0)))
            for (text, scene), (_, other) in zip(
                captions(PROMPTS, seed=5), captions(PROMPTS, seed=6), strict=True)]


def simulated(told: list[tuple[Picture, Picture]]) -> Labels:
    """Answer as somebody who wants what the caption says."""
    answers = []
    for number, (own, other) in enumerate(told):
        first = bool(number % 2)
        left, right = (own, other) if first else (other, own)
        answers.append(Pair(left.digest, right.digest, "caption reader", "left" if first else
                            "right", own.block.prompt, simulated=True))
    return Labels.of(answers)


def accuracy(regressor: Regressor, told: list[tuple[Picture, Picture]]) -> float:
    chances = regressor.compare([own for own, _ in told], [other for _, other in told])
    return float(np.mean([chance.probability > 0.5 for chance in chances]))


@pytest.fixture(scope="module")
def reader(
    small: Regressor, towers: Alignment, told: list[tuple[Picture, Picture]]
) -> Regressor:
    """Give what answers to 30 prompts teach."""
    pictures = [picture for pair in told[:30] for picture in pair]
    return fit(small, pictures, simulated(told[:30]), aligned=towers)


def test_who_minds_the_caption_is_understood(
    small: Regressor, reader: Regressor, told: list[tuple[Picture, Picture]]
) -> None:
    assert accuracy(small, told[30:]) < 0.8  # both are clean renders: the prior cannot know
    assert accuracy(reader, told[30:]) >= 0.9
    assert reader.report["map"]["start"] == "prior and caption"
    assert reader.identity["captions"] == "miniature"
    assert "captions" not in small.identity


def test_who_wants_the_opposite_is_left_at_the_prior(
    small: Regressor, towers: Alignment, told: list[tuple[Picture, Picture]]
) -> None:
    pictures = [picture for pair in told for picture in pair]
    turned = {"left": "right", "right": "left"}
    contrary = Labels.of([replace(pair, preferred=turned[pair.preferred])
                          for pair in simulated(told).pairs])
    found = fit(small, pictures, contrary, aligned=towers)
    assert found.report["map"]["start"] == "prior"


def test_it_loads_bit_equal_and_refuses_other_towers(
    reader: Regressor, told: list[tuple[Picture, Picture]], tmp_path: Path
) -> None:
    again = Regressor.load(reader.save(tmp_path))
    assert again.digest == reader.digest
    left, right = [own for own, _ in told], [other for _, other in told]
    assert again.compare(left, right) == reader.compare(left, right)
    assert again.cross_fitted(left, right) == reader.cross_fitted(left, right)
    facts = json.loads((tmp_path / "regressor.json").read_text())
    other = {**facts, "caption": {**facts["caption"], "digest": "0" * 16}}
    (tmp_path / "regressor.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="files do not belong together"):
        Regressor.load(tmp_path)


def test_a_picture_without_a_caption_is_judged_too(
    reader: Regressor, told: list[tuple[Picture, Picture]]
) -> None:
    bare = [Picture(own.pixels, Block("", 0)) for own, _ in told[:4]]
    assert all(score is not None and np.isfinite(score.value) for score in reader.score(bare))


def test_without_towers_captions_play_no_part(
    small: Regressor, told: list[tuple[Picture, Picture]]
) -> None:
    pictures = [picture for pair in told[:30] for picture in pair]
    found = fit(small, pictures, simulated(told[:30]))
    assert found.caption is None
    assert found.report["map"]["start"] == "prior"
