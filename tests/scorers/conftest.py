"""A small regressor on weights-free statistics, trained in seconds, and pictures to judge."""

from __future__ import annotations

from collections.abc import Iterator

import clips
import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.miniature.scenes import sample_scenes
from ldmopt.miniature.styles import render
from ldmopt.scorers.prior import ladders, train
from ldmopt.scorers.prior.damage import DAMAGES
from ldmopt.scorers.regressor import Regressor


@pytest.fixture(scope="session")
def renders() -> list[Pixels]:
    """Give renders that no training uses."""
    return [render(scene) for scene in sample_scenes(90, seed=991, split="test")]


def some_ladders() -> Iterator[ladders.Ladder]:
    rng = np.random.default_rng(0)
    for group, scene in enumerate(sample_scenes(70, seed=990)):
        for kind in rng.choice(list(DAMAGES), 4, replace=False):
            yield ladders.of_pixels(render(scene), str(kind), group, 0.0, rng)


@pytest.fixture(scope="session")
def table() -> train.Table:
    """Give encoded ladders of 70 scenes."""
    return train.encoded(some_ladders(), "statistics")


@pytest.fixture(scope="session")
def small(table: train.Table) -> Regressor:
    """Give a regressor trained on them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "TREES", 60)
        return train.fitted(table, "statistics", 0, {"scenes": 70})


def pictures_of(pixels: list[Pixels], prompt: str = "a tree") -> list[Picture]:
    """Wrap pixels as pictures of one prompt."""
    return [Picture(part, Block(prompt, seed)) for seed, part in enumerate(pixels)]


@pytest.fixture(scope="session")
def tower(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a CLIP image tower with random weights."""
    return clips.save_clip(tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the folder of a whole CLIP with random weights."""
    return clips.save_clip(tmp_path_factory.mktemp("whole"), whole=True)
