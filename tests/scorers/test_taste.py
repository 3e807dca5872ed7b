"""Folding labels in, with simulated raters, which are called so wherever they appear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.errors import UserError
from ldmopt.labels import Labels, Pair, Rating
from ldmopt.scorers import Regressor, fit
from ldmopt.scorers.damage import damaged

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


def test_a_simulated_rater_is_learned(small: Regressor, pictures: list[Picture]) -> None:
    train, test = pictures[: 4 * 20], pictures[4 * 20 :]
    fitted = fit(small, pictures, Labels.of(simulated(train)))
    assert accuracy(fitted, test) > accuracy(small, test) + 0.15
    labels = fitted.report["labels"]
    assert (labels["human"], labels["simulated"]) == (0, 80)
    assert labels["raters"] == ["warm rater (simulated)"]
    held_out = labels["held_out"]
    assert held_out["fitted"]["accuracy"] > held_out["base"]["accuracy"] + 0.1
    assert fitted.identity["human_labels"] == 0
    assert fitted.digest != small.digest


def test_pairs_are_learned_too(small: Regressor, pictures: list[Picture]) -> None:
    rng = np.random.default_rng(1)
    pairs = []
    for start in range(0, 4 * 20, 4):
        for _ in range(3):
            a, b = (pictures[start + int(i)] for i in rng.choice(4, 2, replace=False))
            gap = warmth(a) - warmth(b)
            outcome = "tie" if abs(gap) < 5 else ("left" if gap > 0 else "right")
            pairs.append(Pair(a.digest, b.digest, "warm rater", outcome, simulated=True))  # type: ignore[arg-type]
    fitted = fit(small, pictures, Labels.of(pairs))
    assert accuracy(fitted, pictures[80:]) > accuracy(small, pictures[80:]) + 0.1


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


def test_a_scale_of_ones_own_does_not_matter(small: Regressor, pictures: list[Picture]) -> None:
    ratings = simulated(pictures[:80])
    stretched = [replace(row, rating=10 * row.rating + 7, low=0, high=100) for row in ratings]
    first, second = (fit(small, pictures, Labels.of(part)) for part in (ratings, stretched))
    assert first.digest == second.digest


def test_a_fitted_regressor_is_fair_and_keeps(
    small: Regressor, pictures: list[Picture], tmp_path: object
) -> None:
    fitted = fit(small, pictures, Labels.of(simulated(pictures[:80])))
    there = [row.probability for row in fitted.compare(pictures[:20], pictures[20:40])]
    back = [row.probability for row in fitted.compare(pictures[20:40], pictures[:20])]
    np.testing.assert_allclose(np.add(there, back), 1.0, atol=1e-12)
    assert {row.probability for row in fitted.compare(pictures[:5], pictures[:5])} == {0.5}
    loaded = Regressor.load(fitted.save(str(tmp_path)))
    assert loaded.digest == fitted.digest
    pairs = zip(
        loaded.compare(pictures[:9], pictures[9:18]),
        fitted.compare(pictures[:9], pictures[9:18]),
        strict=True,
    )
    assert all(abs(a.probability - b.probability) < 1e-12 for a, b in pairs)
    again = fit(fitted, pictures, Labels.of(simulated(pictures[:80])))
    assert again.digest == fitted.digest


def test_unknown_pictures_are_counted(small: Regressor, pictures: list[Picture]) -> None:
    ratings = simulated(pictures[:40])
    ratings.append(Rating("f" * 64, "warm rater", 3, simulated=True))
    fitted = fit(small, pictures[:40], Labels.of(ratings))
    assert fitted.report["labels"]["unused"] == 1
