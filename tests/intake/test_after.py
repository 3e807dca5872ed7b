"""What goes on with an imported run: label, fit, rescore, use; and what cannot without pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ldmopt
from ldmopt.errors import UserError
from ldmopt.labeling.choose import RandomChooser
from ldmopt.labeling.shelf import RunShelf
from ldmopt.rulebook import Recommendation
from ldmopt.study import fitting
from ldmopt.study.folder import RunFolder


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def grainy(place: Path, levels: tuple[int, ...] = (0, 1, 2), prompts: int = 6) -> list[
    dict[str, object]
]:
    """Pictures that a made-up rater likes the less grain they have; more steps, less grain."""
    rows: list[dict[str, object]] = []
    for prompt in range(prompts):
        rng = np.random.default_rng(prompt)
        scene = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        for level in levels:
            grain = rng.normal(0, 60 * level, scene.shape)
            name = f"{prompt}-{level}.png"
            Image.fromarray((scene + grain).clip(0, 255).astype(np.uint8)).save(place / name)
            rows.append({"sampler": "euler", "steps": 30 - 10 * level, "prompt": f"p{prompt}",
                         "seed": 0, "seconds": 3 - level, "picture": name, "rating": 4 - level,
                         "rater": "ann"})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a table without pictures."""
    place = tmp_path_factory.mktemp("bare")
    rows = [{key: value for key, value in row.items() if key != "picture"}
            for row in grainy(place)]
    return ldmopt.import_table(write(place / "t.csv", rows), place / "run").run


def test_fit_and_rescore_on_a_table_with_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "honest", lambda *_, **__: {})  # its report has tests of its own
    monkeypatch.setattr(fitting, "write_report", lambda *_: None)
    done = ldmopt.import_table(write(tmp_path / "t.csv", grainy(tmp_path)), tmp_path / "run")
    ldmopt.fit(done.run)
    book = ldmopt.rescore(done.run)
    assert book.data["generation"] == 2 and book.data["scope"]["scorer"].startswith("regressor")
    said = [row["quality"]["human"] for row in book.data["front"]]
    assert any(human and human["labels"] for human in said)  # ratings beside what was learned
    shelf = RunShelf(RunFolder(done.run), RandomChooser)
    assert len(shelf.blocks) == 18 and shelf.chooser.offers(1, [])


@pytest.mark.parametrize("what", [
    ldmopt.fit, ldmopt.rescore, lambda run: RunShelf(RunFolder(run), RandomChooser),
])
def test_without_pictures_there_is_nothing_to_look_at(bare, what):
    with pytest.raises(UserError, match="has no pictures.*import a table.*column 'picture'"):
        what(bare)
    assert ldmopt.report(bare).pictures == 0


def test_pictures_of_one_setting_a_prompt_cannot_be_compared(tmp_path):
    rows = [row for place, row in enumerate(grainy(tmp_path)) if place % 3 == place // 3 % 2]
    done = ldmopt.import_table(write(tmp_path / "t.csv", rows), tmp_path / "run")
    with pytest.raises(UserError, match="several settings have a picture of the same"):
        RunShelf(RunFolder(done.run), RandomChooser)


def test_what_needs_a_model_says_that_none_is_known(bare, tmp_path):
    book = ldmopt.Rulebook.read(bare)
    item: Recommendation = book.find("best")
    assert item.model is None
    with pytest.raises(UserError, match="which model made its pictures; name one with --model"):
        ldmopt.generate(item, "a house")
    with pytest.raises(UserError, match="import the table with --model"):
        ldmopt.remeasure(bare, "best")
    assert "Model: your-model" in json.loads(ldmopt.export(book, "a1111", id="best"))["infotext"]
    rows = [{key: value for key, value in row.items() if key != "picture"}
            for row in grainy(tmp_path)]
    named = ldmopt.import_table(write(tmp_path / "t.csv", rows), tmp_path / "run",
                                model="miniature")
    assert named.rulebook.find("best").model == "miniature"
