"""The honest report, on made-up labels of simulated raters."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels
from ldmopt.exports.taste_plots import learning_plot, reliability_plot
from ldmopt.exports.taste_report import to_markdown
from ldmopt.labels import Keep, Labels, Pair, Rating
from ldmopt.scorers.prior.damage import damaged
from ldmopt.scorers.regressor import Regressor
from ldmopt.scorers.taste import crossfit, report
from ldmopt.scorers.taste import learning as taste
from ldmopt.scorers.taste.learning import learned, sight

PROMPTS = 16


@pytest.fixture(scope="module")
def pictures(renders: list[Pixels]) -> list[Picture]:
    """Give 4 pictures a prompt, from whole to blurred, in a random order."""
    rng = np.random.default_rng(0)
    return [
        Picture(damaged(renders[30 + number], "blur", level, rng), Block(f"prompt {number}", seed))
        for number in range(PROMPTS)
        for seed, level in enumerate(rng.permutation([0.2, 0.7, 1.1, 1.6]))
    ]


def detail(picture: Picture) -> float:
    """What these raters look at: how much neighbouring pixels differ."""
    light = picture.pixels.astype(float).mean(axis=2)
    return float(np.abs(np.diff(light, axis=0)).mean())


def rated(pictures: list[Picture], sign: float, rater: str, noise: float = 0.3) -> list[Rating]:
    rng = np.random.default_rng(len(rater))
    return [
        Rating(p.digest, rater, round(sign * detail(p) + noise * rng.standard_normal(), 2),
               simulated=True)
        for p in pictures
    ]


def made(small: Regressor, pictures: list[Picture], labels: Labels, **more):
    """Learn and report, with a short learning curve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossfit, "SIZES", (10, 30))
        patch.setattr(crossfit, "ROUNDS", ((9999, 2),))
        patch.setattr(taste, "MAP", "linear")
        seen = sight(small, pictures, labels)
        return report.honest(seen, labels, learned(seen, labels), **more)


@pytest.fixture(scope="module")
def two_raters(small: Regressor, pictures: list[Picture]):
    """Give the report on a rater who likes what is soft, and one who is vague about it."""
    labels = Labels.of([
        *rated(pictures, -1.0, "soft"), *rated(pictures[:16], -10.0, "vague", noise=40.0),
        Pair(pictures[0].digest, pictures[1].digest, "soft", "tie"),
    ])
    first = Pair(pictures[0].digest, pictures[1].digest, "soft", "left", "prompt 0", simulated=True)
    turned = replace(first, left=first.right, right=first.left)
    repeats = [(first, replace(turned, preferred="right")), (first, turned)]
    steps = []
    found = made(
        small, pictures, labels, repeats=repeats, about=["A sentence."],
        others={"by eye": np.array([-detail(p) for p in pictures])[_order(labels, pictures)]},
        progress=lambda done, of: steps.append((done, of)),
    )
    return found, steps


def _order(labels: Labels, pictures: list[Picture]) -> list[int]:
    place = {picture.digest: index for index, picture in enumerate(pictures)}
    return [place[digest] for digest in labels.digests()]


def test_it_says_of_whom_and_of_what_it_learned(two_raters) -> None:
    found, _ = two_raters
    labels = found["labels"]
    assert (labels["human"], labels["simulated"]) == (1, 80)
    assert (labels["ratings"], labels["pairs"], labels["keeps"]) == (80, 1, 0)
    assert labels["by_rater"]["vague (simulated)"] == {
        "ratings": 16, "pairs": 0, "keeps": 0, "repeats": 0}
    assert labels["by_rater"]["soft (simulated)"]["repeats"] == 2
    assert labels["by_rater"]["soft"]["pairs"] == 1
    assert "RankIQA" in found["prior"]
    assert any("prior was trained on" in line for line in found["distrust"])
    assert found["distrust"][-1] == "A sentence."
    assert any("80 of the labels are a simulated rater's" in line for line in found["conclusions"])


def test_every_judge_stands_beside_the_others(two_raters) -> None:
    found, _ = two_raters
    judges = found["agreement"]["judges"]
    assert list(judges) == ["fitted", "prior", "statistics", "by eye"]
    soft = found["agreement"]["raters"]["soft (simulated)"]["judges"]
    # The prior likes what is sharp, this rater what is soft: labels override it.
    assert soft["prior"]["accuracy"]["high"] < 0.4
    assert soft["fitted"]["accuracy"]["value"] > 0.6
    assert soft["statistics"]["accuracy"]["value"] > 0.5
    assert soft["by eye"]["accuracy"]["value"] > 0.8
    assert soft["by eye"]["spearman"]["value"] > 0.8
    assert judges["by eye"]["brier"] is None and judges["prior"]["brier"] > 0
    assert found["agreement"]["gain"]["low"] > 0
    assert any(line.startswith("The labels helped") for line in found["conclusions"])


def test_raters_are_held_against_themselves_and_one_another(two_raters) -> None:
    found, _ = two_raters
    raters = found["agreement"]["raters"]
    assert raters["soft (simulated)"]["themselves"]["value"] == 0.5
    assert raters["soft (simulated)"]["themselves"]["count"] == 2
    assert raters["vague (simulated)"]["themselves"]["value"] is None
    others = raters["vague (simulated)"]["others"]
    assert 0.2 < others["accuracy"]["value"] < 0.9 and others["accuracy"]["count"] == 24
    assert -0.5 < others["spearman"]["value"] < 0.9
    assert set(found["agreement"]["raters"]) == {"soft", "soft (simulated)", "vague (simulated)"}


def test_it_is_plain_data_and_progress_is_told(two_raters) -> None:
    found, steps = two_raters
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == json.loads(json.dumps(found))
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] == 2 * 5 + 2 * 3 * 2
    assert [row["labels"] for row in found["learning_curve"]["points"]] == [10, 30]


def test_labels_that_mean_nothing_are_not_praised(small, pictures) -> None:
    rng = np.random.default_rng(1)
    labels = Labels.of([replace(row, rating=float(rng.integers(1, 6)))
                        for row in rated(pictures, 1.0, "noise")])
    found = made(small, pictures, labels)
    assert found["agreement"]["gain"]["high"] < 0.25
    assert any("Not shown that the labels helped" in line or "did harm" in line
               for line in found["conclusions"])
    assert any("Not shown to be better than guessing" in line for line in found["conclusions"])
    assert any("nothing here is about people" in line for line in found["conclusions"])
    assert any("One rater" in line for line in found["conclusions"])
    assert any("No pair was asked twice" in line for line in found["conclusions"])


def test_few_labels_say_that_they_are_few(small, pictures) -> None:
    labels = Labels.of(rated(pictures[:8], 1.0, "few"))
    found = made(small, pictures, labels)
    assert any("Too few labels" in line for line in found["conclusions"])
    assert found["learning_curve"]["points"] == []


def test_two_raters_of_the_same_pictures_without_prompts(small, pictures) -> None:
    bare = [Picture(p.pixels, Block("", 0)) for p in pictures]
    labels = Labels.of([*rated(bare, -1.0, "one"), *rated(bare, -1.0, "other")])
    found = made(small, bare, labels)
    judges = found["agreement"]["judges"]
    assert judges["prior"]["accuracy"]["high"] < 0.4
    assert judges["fitted"]["accuracy"]["low"] > 0.6
    assert judges["statistics"]["accuracy"]["low"] > 0.6
    assert found["reliability"]["ratio"] < 1.5
    assert found["agreement"]["raters"]["one (simulated)"]["others"]["accuracy"]["low"] > 0.6
    assert "pictures in 5 parts" in found["agreement"]["how"]


ODD = {
    "all ties": lambda d: [Pair(d[4 * i], d[4 * i + 1], "a", "tie") for i in range(8)],
    "one pair": lambda d: [Pair(d[0], d[1], "a", "left")],
    "one prompt": lambda d: [Pair(d[0], d[1], "a", "left"), Pair(d[1], d[2], "a", "right")],
    "equal ratings": lambda d: [Rating(digest, "a", 3.0) for digest in d[:20]],
    "all kept": lambda d: [Keep(digest, "a", True) for digest in d[:20]],
    "two ratings": lambda d: [Rating(d[0], "a", 1.0), Rating(d[1], "a", 2.0)],
    "huge scale": lambda d: [Rating(digest, "a", 1e9 * i) for i, digest in enumerate(d[:16])],
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("error")
def test_odd_labels_are_reported_without_a_stumble(small, pictures, tmp_path, kind) -> None:
    labels = Labels.of(ODD[kind]([picture.digest for picture in pictures]))
    found = made(small, pictures, labels)
    json.dumps(found, allow_nan=False)
    text = to_markdown(found, learning_plot(found, tmp_path / "l.png"),
                       reliability_plot(found, tmp_path / "r.png"))
    assert "nan" not in text.replace("nance", "") and "None" not in text
    assert any("Too few labels" in line for line in found["conclusions"]) or kind == "huge scale"


def test_unlike_pictures_are_noticed(small, pictures, renders) -> None:
    rng = np.random.default_rng(3)
    labels = Labels.of(rated(pictures, 1.0, "rater"))
    strange = [Picture(rng.integers(0, 256, (64, 64, 3), np.uint8), Block("strange", i))
               for i in range(20)]
    like = [Picture(damaged(renders[60 + i], "blur", 0.7, rng), Block(f"more {i}", 0))
            for i in range(20)]
    shares = [report._unlike(sight(small, pictures, labels, background=more))
              for more in (strange, like)]
    assert shares[0] == 1.0 and shares[1] < 0.5
