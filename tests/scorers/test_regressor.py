"""The regressor: exact trees, fair comparisons, files."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture, Pixels, Scorer
from ldmopt.errors import UserError
from ldmopt.scorers.prior import train
from ldmopt.scorers.prior.damage import damaged
from ldmopt.scorers.prior.trees import Forest, from_sklearn, rounded_down
from ldmopt.scorers.regressor import Regressor
from ldmopt.scorers.taste.chances import preference


def wrapped(pixels: list[Pixels], prompt: str = "a tree") -> list[Picture]:
    return [Picture(part, Block(prompt, seed)) for seed, part in enumerate(pixels)]


def test_numpy_trees_are_scikit_learns(table: train.Table) -> None:
    from sklearn.ensemble import GradientBoostingRegressor

    means = [0.5, -1.0]
    models = [
        GradientBoostingRegressor(
            init="zero", n_estimators=25, max_depth=4, subsample=0.7, random_state=seed
        ).fit(table.features, table.quality - mean)
        for seed, mean in enumerate(means)
    ]
    forest = from_sklearn(models, means)
    ours = forest.predict(table.features)
    theirs = (
        np.stack([model.predict(table.features) for model in models]) + np.array(means)[:, None]
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    again = Forest.from_arrays(forest.arrays())
    assert (again.predict(table.features) == ours).all()
    assert forest.predict(table.features[:0]).shape == (2, 0)


def test_thresholds_round_down() -> None:
    exact = np.array([0.1, -0.1, 1 / 3, 1e-40, 5.0])
    near = rounded_down(exact)
    assert (near.astype(np.float64) <= exact).all()
    assert (np.nextafter(near, np.float32(np.inf)).astype(np.float64) > exact).all()


def test_it_is_a_scorer(small: Regressor) -> None:
    scorer: Scorer = small
    assert {"name", "digest", "human_labels", "trained_on"} <= scorer.identity.keys()


def test_comparisons_are_fair(small: Regressor, renders: list[Pixels]) -> None:
    rng = np.random.default_rng(0)
    left = wrapped(renders[:30])
    right = wrapped([damaged(part, "blur", 1.3, rng) for part in renders[:30]])
    there = np.array([row.probability for row in small.compare(left, right)])
    back = np.array([row.probability for row in small.compare(right, left)])
    np.testing.assert_allclose(there + back, 1.0, atol=1e-12)
    assert {row.probability for row in small.compare(left, left)} == {0.5}
    assert (there > 0.5).mean() > 0.9
    assert small.compare([], []) == []
    with pytest.raises(UserError, match="30 pictures on the left, 1 on the right"):
        small.compare(left, right[:1])


def test_scores_agree_with_comparisons(small: Regressor, renders: list[Pixels]) -> None:
    pictures = wrapped(renders[:20])
    scores = [score for score in small.score(pictures) if score]
    chances = [row.probability for row in small.compare(pictures[:10], pictures[10:])]
    for left, right, chance in zip(scores[:10], scores[10:], chances, strict=True):
        assert (left.value > right.value) == (chance > 0.5)
        assert left.deviation >= 0


def test_sizes_can_be_mixed_and_tiny_pictures_cannot_be_judged(
    small: Regressor, renders: list[Pixels]
) -> None:
    odd = [renders[0], renders[1][:48], renders[2][:16, :24], renders[3][:8, :8]]
    scores = small.score(wrapped(odd))
    assert [score is None for score in scores] == [False, False, False, True]
    chances = small.compare(wrapped([odd[0], odd[3], odd[3]]), wrapped([odd[3], odd[0], odd[3]]))
    assert [row.probability for row in chances] == [1.0, 0.0, 0.5]


def test_uncertainty_flattens_chances() -> None:
    mean = np.array([2.0, 2.0, -2.0, 0.0])
    chances = preference(mean, np.array([0.0, 9.0, 9.0, 1.0]))
    assert chances[0] > chances[1] > 0.5
    assert chances[1] + chances[2] == 1.0
    assert chances[3] == 0.5


def test_files_round_trip(small: Regressor, renders: list[Pixels], tmp_path: Path) -> None:
    small.save(tmp_path / "kept")
    loaded = Regressor.load(tmp_path / "kept")
    pictures = wrapped(renders[:10])
    assert loaded.score(pictures) == small.score(pictures)
    assert loaded.identity == small.identity
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} == {".safetensors", ".json"}


def test_bad_files_are_refused(small: Regressor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a regressor"):
        Regressor.load(tmp_path / "none")
    folder = small.save(tmp_path / "kept")
    facts = json.loads((folder / "regressor.json").read_text())
    for change, words in (
        ({"tastes": {"taste": {}}}, "not a regressor"),
        ({"schema_version": 99}, "newer ldmopt"),
        ({"schema_version": 0}, "older ldmopt"),
        ({"scale": 3.0}, "do not belong together"),
    ):
        (folder / "regressor.json").write_text(json.dumps({**facts, **change}))
        with pytest.raises(UserError, match=words):
            Regressor.load(folder)
    (folder / "regressor.json").write_text(json.dumps(facts))
    (folder / "regressor.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="not a regressor"):
        Regressor.load(folder)


def test_another_encoder_is_refused(small: Regressor, renders: list[Pixels]) -> None:
    other = replace(small, encoder_digest="statistics-0")
    with pytest.raises(UserError, match="made for encoder statistics statistics-0"):
        other.score(wrapped(renders[:1]))


def test_training_repeats(table: train.Table) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "TREES", 10)
        first, second = (train.fitted(table, "statistics", 3, {}) for _ in range(2))
    assert first.digest == second.digest


def test_the_report_is_honest_about_its_origin(small: Regressor) -> None:
    report = small.report
    assert "no human labels" in report["trained_on"]
    assert report["labels"] == {"human": 0, "simulated": 0}
    assert report["ladder_exam"]["rho"] > 0.5
    assert report["calibration"]["brier"] < 0.25
    said = [row[0] for row in report["calibration"]["curve_said_seen_share"]]
    assert said == sorted(said)


def test_importing_loads_nothing_heavy() -> None:
    program = (
        "import sys, ldmopt.scorers, ldmopt.labels;"
        "print(sorted({'torch', 'sklearn', 'scipy', 'sqlalchemy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
