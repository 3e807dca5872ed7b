"""The miniature's world: renders, splits and captions."""

import hashlib
import itertools
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from ldmopt.errors import UserError
from ldmopt.miniature import wording
from ldmopt.miniature.scenes import (
    FACTORS,
    SPLITS,
    Scene,
    captions,
    held_out_combinations,
    sample_scenes,
    training_combinations,
)
from ldmopt.miniature.styles import render


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, ldmopt.miniature, ldmopt.miniature.scenes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_scene_renders_to_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from ldmopt.miniature.scenes import sample_scenes;"
        "from ldmopt.miniature.styles import render;"
        "pictures = b''.join(render(s).tobytes() for s in sample_scenes(24, 5));"
        "print(hashlib.sha256(pictures).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    pictures = [render(scene) for scene in sample_scenes(24, 5)]
    here = hashlib.sha256(b"".join(p.tobytes() for p in pictures)).hexdigest()
    assert there.stdout.strip() == here
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in pictures)


@pytest.mark.parametrize("factor", FACTORS)
def test_every_value_of_every_factor_shows(factor: str) -> None:
    base = {
        "time": "day",
        "terrain": "hills",
        "light": "sun left",
        "thing": "tree",
        "style": "flat",
        "seed": 3,
    }
    pictures = [render(Scene(**{**base, factor: value})) for value in FACTORS[factor]]
    for a, b in itertools.combinations(pictures, 2):
        assert np.abs(a.astype(int) - b).max() > 40


def test_the_seed_changes_what_the_factors_leave_open() -> None:
    one, two = (render(Scene("day", "sea", "none", "tent", "flat", seed)) for seed in (1, 2))
    assert np.abs(one.astype(int) - two).mean() > 3


def test_a_tenth_of_the_combinations_is_held_out_and_covers_every_value() -> None:
    seen, held = training_combinations(), held_out_combinations()
    assert len(held) == 224 and len(seen) == 2016 and not held & set(seen)
    for index, values in enumerate(FACTORS.values()):
        assert {combination[index] for combination in held} == set(values)


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_keep_to_their_split(split: str) -> None:
    share = np.mean([scene.held_out for scene in sample_scenes(400, 1, split)])
    assert share == {"train": 0.0, "search": 0.1, "test": 1.0}[split]


@pytest.mark.parametrize("split", SPLITS)
def test_captions_parse_back_to_their_factors(split: str) -> None:
    prompts = captions(600, 0, split)
    assert len({text for text, _ in prompts}) == 600
    for text, scene in prompts:
        assert wording.parse(text) == scene.factors, text


def test_training_captions_name_nothing_false() -> None:
    rng = random.Random(0)
    whole = 0
    for scene in sample_scenes(1000, 2):
        said = wording.parse(wording.training_caption(scene, rng))
        assert said and said.items() <= scene.factors.items()
        whole += len(said) == len(FACTORS)
    assert 0.75 < whole / 1000 < 0.95


def test_shorter_lists_are_the_beginning_of_longer_ones() -> None:
    assert captions(10) == captions(200)[:10]
    assert captions(10, seed=1) != captions(10, seed=0)


def test_held_out_wording_never_reaches_training() -> None:
    rng = random.Random(1)
    texts = [wording.training_caption(scene, rng) for scene in sample_scenes(4000, 3)]
    new = [
        phrase
        for factor, values in wording.PHRASES.items()
        for value, forms in values.items()
        for form in forms
        for phrase in wording.phrases(factor, value, form, held_out=True)
        if len(phrase.split()) > 2 and factor != "light"
    ]
    words = [f" {' '.join(re.findall(r'[a-z0-9-]+', text))} " for text in texts]
    assert len(new) > 40
    for phrase in new:
        assert not any(f" {phrase} " in text for text in words), phrase


def test_test_captions_use_held_out_patterns_and_phrases() -> None:
    assert not set(wording.HELD_OUT_PATTERNS) & set(wording.FULL_PATTERNS)
    lists = [text for text, _ in captions(300, 0, "test") if text.count(", ") == 4]
    assert lists


def test_an_unknown_split_is_refused_with_a_hint() -> None:
    with pytest.raises(UserError, match=r"split.*'tets'.*did you mean 'test'"):
        captions(1, split="tets")
