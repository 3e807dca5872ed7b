"""Statistics and encoders."""

from __future__ import annotations

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.errors import UserError
from ldmopt.scorers import encoders
from ldmopt.scorers.encoders.statistics import names, statistics
from ldmopt.scorers.prior.damage import DAMAGES, damaged


def column(pictures: list[Pixels], name: str) -> np.ndarray:
    return statistics(pictures)[:, names().index(name)]


def test_every_size_gives_finite_columns(renders: list[Pixels]) -> None:
    rng = np.random.default_rng(0)
    odd = [
        renders[0],
        renders[1][:48],
        renders[2][:16, :16],
        rng.integers(0, 256, (96, 128, 3), np.uint8),
        np.zeros((64, 64, 3), np.uint8),
        np.full((17, 33, 3), 255, np.uint8),
    ]
    table = statistics(odd)
    assert table.shape == (6, len(names()))
    assert table.dtype == np.float32
    assert np.isfinite(table).all()
    assert len(set(names())) == len(names())


def test_a_picture_is_judged_alone(renders: list[Pixels]) -> None:
    together = statistics(renders[:7])
    alone = np.concatenate([statistics([part]) for part in renders[:7]])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_columns_mean_what_they_say(renders: list[Pixels]) -> None:
    rng = np.random.default_rng(0)

    def hurt(kind: str, level: float) -> list[Pixels]:
        return [damaged(part, kind, level, rng) for part in renders[:30]]

    plain = renders[:30]
    more = {
        "noise_luma_q10": hurt("noise", 0.1),
        "colourfulness": hurt("saturate", 2.4),
        "clip_high": hurt("contrast", 4.0),
        "level_gaps": hurt("posterize", 3),
        "repeat_far": hurt("tile", 2),
    }
    for name, pictures in more.items():
        assert (column(pictures, name) > column(plain, name)).mean() > 0.7, name
    assert (column(hurt("blur", 2.0), "luma_gradient") < column(plain, "luma_gradient")).all()


def test_damage_grows_with_its_level(renders: list[Pixels]) -> None:
    from ldmopt.scorers.prior.generated import distance

    for kind, damage in DAMAGES.items():
        assert list(damage.losses) == sorted(damage.losses), kind
        assert len(damage.levels) == len(damage.losses), kind
        if kind in ("repeat", "tile", "desaturate", "patchy"):
            continue
        means = []
        for level in damage.levels:
            rng = np.random.default_rng(0)
            gaps = [distance(part, damaged(part, kind, level, rng)) for part in renders[:12]]
            means.append(np.mean(gaps))
        assert means == sorted(means), kind


def test_features_are_made_once(renders: list[Pixels]) -> None:
    class Counting:
        names = ("mean",)
        identity: dict[str, str] = {}
        made = 0

        def encode(self, pictures: list[Pixels]) -> np.ndarray:
            self.made += len(pictures)
            return np.array([[part.mean()] for part in pictures], np.float32)

    encoder = Counting()
    cached = encoders.Cached(encoder, limit=3)  # type: ignore[arg-type]
    pictures = [Picture(part, Block("", index)) for index, part in enumerate(renders[:3])]
    first = cached.features([*pictures, pictures[0]])
    assert encoder.made == 3
    assert (cached.features(pictures) == first[:3]).all()
    assert encoder.made == 3
    cached.features([Picture(renders[5], Block("", 0))])
    cached.features([pictures[0]])
    assert encoder.made == 5
    assert cached.features([]).shape == (0, 1)


def test_unknown_encoders_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'statistics'"):
        encoders.load("statistic")
    assert encoders.load("auto") is encoders.load("statistics")
