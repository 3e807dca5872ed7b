"""Exports of simulated studies: what must be in them is, and pictures are as drawn."""

import numpy as np
import pytest
from PIL import Image

from ldmopt.contracts import Cost, Quality, Setting
from ldmopt.distillation import candidates, distill
from ldmopt.errors import UserError
from ldmopt.exports._words import differing
from ldmopt.exports.markdown import to_markdown
from ldmopt.exports.plots import front_plot
from ldmopt.exports.sheet import CELL, Column, picture_sheet
from ldmopt.rulebook import Rulebook
from tests.distillation.simulate import SAMPLERS, Study, grid


@pytest.fixture(scope="module")
def study():
    made = Study(16, 2, np.random.default_rng(4))
    settings = grid(list(SAMPLERS), [4, 8, 30, 50], [1.0, 5.0, 12.0])
    failures = {settings[5]: "out-of-memory"}
    chosen = candidates(made.evidence(settings, failures=failures), 6)
    evidence = made.evidence(settings, chosen, failures)
    return evidence, distill(evidence)


def test_markdown_says_it_all(study):
    _, rulebook = study
    text = to_markdown(rulebook)
    for item in rulebook.data["recommendations"]:
        assert item["id"] in text
    for heading in (
        "## How to read this",
        "## What each knob is worth",
        "## Avoid",
        "## Where this holds",
        "## Reproduce",
    ):
        assert heading in text
    assert "| default | 0.50 |" in text
    assert "simulated model" in text
    assert "out-of-memory" in text
    assert "No human label" in text
    tables = [line for line in text.splitlines() if line.startswith("| ") or line == "| | |"]
    headline = tables.index(next(line for line in tables if line.startswith("| use")))
    assert len({line.count("|") for line in tables[headline : headline + 3]}) == 1


def test_markdown_of_an_empty_study_is_honest():
    rulebook = distill(Study(8, 1, np.random.default_rng(0)).evidence([]))
    text = to_markdown(rulebook)
    assert "no setting was shown to be a better bargain than the default" in text
    assert "nothing was shown to beat the default" in text
    assert "## Avoid" not in text


def test_an_empty_avoid_list_says_what_it_means(study):
    data = {**study[1].data, "avoid": []}
    row = {**data["effects"][0], "verdict": "harmful", "knob": "size", "from": "64x64",
           "to": "48x48"}
    text = to_markdown(Rulebook(data={**data, "effects": [row]}))
    assert "No setting failed, and no condition was shown to lose by more than 0.05" in text
    assert "harmful is size 64x64 → 48x48" in text


def test_changes_leave_out_what_nobody_turned():
    default = {"sampler": "pndm", "steps": 50}
    assert differing({"sampler": "euler", "steps": 50, "sigmas": "default"}, default) == {
        "sampler": "euler"}
    assert differing({"sampler": "euler", "steps": 50, "sigmas": "karras"}, default) == {
        "sampler": "euler", "sigmas": "karras"}
    turned = {**default, "sigmas": "karras"}
    assert differing({**default, "sigmas": "default"}, turned) == {"sigmas": "default"}
    assert differing({**default, "own": 0}, default) == {"own": 0}


def test_front_plot(study, tmp_path):
    evidence, rulebook = study
    front_plot(rulebook, evidence, tmp_path / "front.png")
    front_plot(rulebook, evidence.trials, tmp_path / "capped.png", 0.5, 60_000_000)
    with Image.open(tmp_path / "front.png") as picture:
        assert picture.width >= 1200
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (np.abs(colours.astype(int) - (0, 114, 178)).sum(axis=1) < 6).sum() > 200
    with Image.open(tmp_path / "capped.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (np.abs(colours.astype(int) - (213, 94, 0)).sum(axis=1) < 6).sum() > 200


def test_labels_never_overlap(study):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ldmopt.exports._place import place

    figure = Figure(figsize=(9, 6), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    rng = np.random.default_rng(3)
    points = 0.5 + 0.12 * rng.standard_normal((7, 2))
    labels = [(f"under-{i}s\nbalanced", *p, "black") for i, p in enumerate(points)]
    place(figure, axes, labels, [tuple(p) for p in points])
    boxes = [text.get_window_extent() for text in axes.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        for x, y in axes.transData.transform(points):
            assert not box.contains(x, y)


def column(name, value, count=2, size=(64, 64)):
    pixels = np.full((*size, 3), value, np.uint8)
    cost = Cost(0.5, 0.5, peak_memory_bytes=60_000_000)
    setting = Setting(sampler=name, steps=8)
    return Column(name, setting, Quality(0.6, 0.5, 0.7), cost, [pixels] * count)


def test_picture_sheet(tmp_path):
    columns = [column("default", 40), column("best", 200, size=(48, 96))]
    picture_sheet(columns, ["a hut by the sea", "a very long prompt " * 30], tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert ((pixels == 40).sum(), (pixels == 200).sum()) >= (CELL * CELL * 2, CELL * CELL // 2)
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]


def test_picture_sheet_refuses(tmp_path):
    with pytest.raises(UserError, match="1 pictures for 2 prompts"):
        picture_sheet([column("default", 1, count=1)], ["a", "b"], tmp_path / "s.png")
    with pytest.raises(UserError, match="at least one"):
        picture_sheet([], [], tmp_path / "s.png")
    with pytest.raises(UserError, match="cannot write"):
        picture_sheet([column("default", 1)], ["a", "b"], tmp_path / "nowhere" / "s.png")
