"""Folding labels in, with simulated raters, which are called so wherever they appear."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.errors import UserError
from ldmopt.labels import Keep, Labels, Pair, Rating
from ldmopt.scorers import Regressor, fit
from ldmopt.scorers.prior.damage import damaged

PROMPTS = 30


@pytest.fixture(scope="module")
def pictures(renders: list[Pixels]) -> list[Picture]:
    """Give 4 pictures a prompt, warm and cold, whole and blurred."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(PROMPTS):
        scene = renders[number]
        for index in range(4):
            pixels = scene.astype(np.int64) + np.array([1, 0, -1]) * (25 if index % 2 else -25)
            pixels = np.clip(pixels, 0, 255).astype(np.uint8)
            if index >= 2:
                pixels = damaged(pixels, "blur", 0.6, rng)
            rows.append(Picture(pixels, Block(f"prompt {number}", index)))
    return rows


def warmth(picture: Picture) -> float:
    return float(picture.pixels[..., 0].mean() - picture.pixels[..., 2].mean())


def simulated(pictures: list[Picture], noise: float = 4.0, seed: int = 0) -> list[Rating]:
    """Rate as somebody would who likes warm pictures, on a scale of 1 to 5."""
    rng = np.random.default_rng(seed)
    ratings = []
    for picture in pictures:
        felt = warmth(picture) + noise * rng.standard_normal()
        value = float(np.clip(np.round(3 + felt / 25), 1, 5))
        ratings.append(
            Rating(picture.digest, "warm rater", value, picture.block.prompt, 0, 1, 5, True)
        )
    return ratings


def accuracy(regressor: Regressor, pictures: list[Picture]) -> float:
    """Return the share of same-prompt pairs that the regressor orders by warmth."""
    right = []
    for start in range(0, len(pictures), 4):
        group = pictures[start : start + 4]
        for first in range(4):
            for second in range(first):
                gap = warmth(group[first]) - warmth(group[second])
                chance = regressor.compare([group[first]], [group[second]])[0].probability
                if abs(gap) > 10:
                    right.append((chance > 0.5) == (gap > 0))
    return float(np.mean(right))


@pytest.fixture(scope="module")
def fitted(small: Regressor, pictures: list[Picture]) -> Regressor:
    """Give what 80 ratings of 20 prompts teach."""
    return fit(small, pictures, Labels.of(simulated(pictures[:80])))


def test_a_simulated_rater_is_learned(
    small: Regressor, pictures: list[Picture], fitted: Regressor
) -> None:
    assert accuracy(fitted, pictures[80:]) > accuracy(small, pictures[80:]) + 0.15
    labels = fitted.report["labels"]
    assert (labels["human"], labels["simulated"]) == (0, 80)
    assert labels["raters"] == ["warm rater (simulated)"]
    assert fitted.identity["human_labels"] == 0
    assert "80 labels of simulated raters" in fitted.identity["is"]
    assert fitted.digest != small.digest


def pairs_of(pictures: list[Picture], better: Callable[[Picture], float], seed: int = 1) -> Labels:
    """Compare three pairs of each prompt as somebody would who likes what is `better`."""
    rng = np.random.default_rng(seed)
    pairs = []
    for start in range(0, len(pictures), 4):
        for _ in range(3):
            a, b = (pictures[start + int(i)] for i in rng.choice(4, 2, replace=False))
            gap = better(a) - better(b)
            outcome = "tie" if abs(gap) < 5 else ("left" if gap > 0 else "right")
            pairs.append(Pair(a.digest, b.digest, "rater", outcome, simulated=True))  # type: ignore[arg-type]
    return Labels.of(pairs)


def test_pairs_are_learned_too(small: Regressor, pictures: list[Picture]) -> None:
    fitted = fit(small, pictures, pairs_of(pictures[:80], warmth))
    assert accuracy(fitted, pictures[80:]) > accuracy(small, pictures[80:]) + 0.1


def test_keeps_are_ratings_on_a_scale_of_their_own(
    small: Regressor, pictures: list[Picture]
) -> None:
    keeps = [Keep(p.digest, "warm rater", warmth(p) > 0, simulated=True) for p in pictures[:80]]
    fitted = fit(small, pictures, Labels.of(keeps))
    assert accuracy(fitted, pictures[80:]) > accuracy(small, pictures[80:]) + 0.1
    assert fitted.report["labels"]["keeps"] == 80
    both = fit(small, pictures, Labels.of([*keeps, *simulated(pictures[:80])]))
    assert both.taste is not None
    assert set(both.taste.raters) == {"warm rater (simulated)", "warm rater (simulated): keeps"}


def test_labels_override_the_prior_as_they_come(
    small: Regressor, pictures: list[Picture]
) -> None:
    """Somebody who likes what the prior calls damaged gets it, given enough labels."""
    values = {p.digest: s.value for p, s in zip(pictures, small.score(pictures), strict=True) if s}

    def worse(picture: Picture) -> float:
        return -10.0 * values[picture.digest]

    def agreement(regressor: Regressor) -> float:
        right = []
        for start in range(80, len(pictures), 4):
            group = pictures[start : start + 4]
            chances = regressor.compare(group[:2], group[2:])
            right += [(row.probability > 0.5) == (worse(a) > worse(b))
                      for row, a, b in zip(chances, group[:2], group[2:], strict=True)]
        return float(np.mean(right))

    assert agreement(small) == 0.0
    enough = fit(small, pictures, pairs_of(pictures[:80], worse))
    assert agreement(enough) > 0.8


def test_few_or_random_labels_do_no_harm(small: Regressor, pictures: list[Picture]) -> None:
    few = fit(small, pictures, Labels.of(simulated(pictures[:8])))
    assert accuracy(few, pictures[80:]) >= accuracy(small, pictures[80:]) - 0.1
    rng = np.random.default_rng(5)
    noise = [replace(row, rating=float(rng.integers(1, 6))) for row in simulated(pictures[:80])]
    fitted = fit(small, pictures, Labels.of(noise))
    assert abs(accuracy(fitted, pictures[80:]) - accuracy(small, pictures[80:])) <= 0.15


def test_ratings_are_never_compared_across_prompts_or_raters(
    small: Regressor, pictures: list[Picture]
) -> None:
    ratings = [replace(row, rater=f"rater {i}") for i, row in enumerate(simulated(pictures))]
    with pytest.raises(UserError, match="none of 120 labels can be used"):
        fit(small, pictures, Labels.of(ratings))
    one_each = simulated(pictures[::4])
    with pytest.raises(UserError, match="label more pictures of the same prompt"):
        fit(small, pictures, Labels.of(one_each))
    with pytest.raises(UserError, match="none of 0 labels"):
        fit(small, pictures, Labels())


def test_pictures_that_all_have_prompts_of_their_own_are_compared(
    small: Regressor, pictures: list[Picture]
) -> None:
    """A folder of rated pictures: there is nothing else to compare, and the report says so."""
    alone = [Picture(p.pixels, Block(f"of its own {i}", 0)) for i, p in enumerate(pictures[:60])]
    fitted = fit(small, alone, Labels.of(simulated(alone)))
    assert accuracy(fitted, pictures[80:]) > accuracy(small, pictures[80:])
    assert not fitted.report["labels"]["by_prompt"]
    assert fitted.crossed is None


def test_a_scale_of_ones_own_does_not_matter(
    small: Regressor, pictures: list[Picture], fitted: Regressor
) -> None:
    ratings = simulated(pictures[:80])
    stretched = [replace(row, rating=10 * row.rating + 7, low=0, high=100) for row in ratings]
    other = fit(small, pictures, Labels.of(stretched))
    for one, two in zip(
        fitted.compare(pictures[80:100], pictures[100:]),
        other.compare(pictures[80:100], pictures[100:]),
        strict=True,
    ):
        assert one.probability == pytest.approx(two.probability, abs=1e-6)


def test_a_fitted_regressor_is_fair_and_keeps(
    small: Regressor, pictures: list[Picture], fitted: Regressor, tmp_path: Path
) -> None:
    there = [row.probability for row in fitted.compare(pictures[:20], pictures[20:40])]
    back = [row.probability for row in fitted.compare(pictures[20:40], pictures[:20])]
    np.testing.assert_allclose(np.add(there, back), 1.0, atol=1e-12)
    assert {row.probability for row in fitted.compare(pictures[:5], pictures[:5])} == {0.5}
    loaded = Regressor.load(fitted.save(tmp_path))
    assert loaded.digest == fitted.digest and loaded.identity == fitted.identity
    assert loaded.score(pictures) == fitted.score(pictures)
    assert loaded.compare(pictures[:9], pictures[9:18]) == fitted.compare(
        pictures[:9], pictures[9:18])
    assert loaded.cross_fitted(pictures[:9], pictures[9:18]) == fitted.cross_fitted(
        pictures[:9], pictures[9:18])
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    again = fit(fitted, pictures, Labels.of(simulated(pictures[:80])))
    assert again.digest == fitted.digest


def test_a_taste_belongs_to_one_encoder(
    small: Regressor, pictures: list[Picture], fitted: Regressor, tmp_path: Path
) -> None:
    other = replace(fitted, encoder="miniature")
    with pytest.raises(UserError, match="made for encoder miniature statistics-1") as refused:
        other.score(pictures[:1])
    from ldmopt.scorers import encoders

    assert encoders.load("miniature").encoder.identity["digest"] in str(refused.value)
    with pytest.raises(UserError, match="encoder: must be"):
        fit(small, pictures, Labels.of(simulated(pictures[:80])), encoder="miniatur")
    wide = replace(small.space, mean=np.zeros(900, np.float32))
    prior = replace(small, encoder="miniature", encoder_digest="tower-1", space=wide)
    with pytest.raises(UserError, match="trained on encoder miniature tower-1.*with statistics"):
        fit(prior, pictures, Labels.of(simulated(pictures[:80])), encoder="statistics")
    folder = fitted.save(tmp_path)
    facts = json.loads((folder / "regressor.json").read_text())
    (folder / "regressor.json").write_text(json.dumps({**facts, "fold_of": {}}))
    with pytest.raises(UserError, match="do not belong together"):
        Regressor.load(folder)


def test_another_encoder_learns_on_top_of_the_same_prior(
    small: Regressor, pictures: list[Picture]
) -> None:
    fitted = fit(small, pictures[:80], Labels.of(simulated(pictures[:40])), encoder="miniature")
    assert fitted.encoder == "miniature" != small.encoder
    features = fitted.features(pictures[80:84])
    assert (fitted.prior(features) == small.prior(small.features(pictures[80:84]))).all()
    assert accuracy(fitted, pictures[80:]) >= accuracy(small, pictures[80:]) - 0.1


def test_cross_fitting_leaves_the_prompt_out(
    small: Regressor, pictures: list[Picture], fitted: Regressor
) -> None:
    crossed = fitted.crossed
    assert crossed is not None and len(crossed.tastes) == 5
    assert set(crossed.fold_of) == {f"prompt {number}" for number in range(20)}
    left, right = pictures[0:120:4], pictures[1:120:4]
    found = [row.probability for row in fitted.cross_fitted(left, right)]
    own = [row.probability for row in
           replace(fitted, taste=crossed.tastes[crossed.fold_of["prompt 0"]]).compare(left, right)]
    assert found[0] == own[0]
    each = [[row.probability for row in replace(fitted, taste=taste).compare(left, right)]
            for taste in crossed.tastes]
    np.testing.assert_allclose(found[25], np.mean([row[25] for row in each]))  # no label of it
    assert [row.probability for row in fitted.cross_fitted(left, left)] == [0.5] * 30
    assert small.cross_fitted(left, right) == small.compare(left, right)


def test_unknown_pictures_are_counted(small: Regressor, pictures: list[Picture]) -> None:
    ratings = simulated(pictures[:40])
    ratings.append(Rating("f" * 64, "warm rater", 3, simulated=True))
    fitted = fit(small, pictures[:40], Labels.of(ratings))
    assert fitted.report["labels"]["unused"] == 1
