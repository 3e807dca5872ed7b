"""The fit report's Markdown and pictures, from a report written by hand."""

import copy

import numpy as np
import pytest
from PIL import Image

from ldmopt.errors import UserError
from ldmopt.exports.taste_plots import learning_plot, reliability_plot, whose
from ldmopt.exports.taste_report import figure_text, to_markdown


def figure(value, half=0.05, count=100):
    if value is None:
        return {"value": None, "low": None, "high": None, "count": 0, "units": 0}
    return {"value": value, "low": value - half, "high": value + half, "count": count, "units": 12}


@pytest.fixture
def report():
    judges = {name: {"accuracy": figure(value), "spearman": figure(value - 0.3)}
              for name, value in
              (("fitted", 0.78), ("prior", 0.61), ("statistics", 0.7), ("LAION V1", 0.55))}
    return {
        "prior": "a prior learned from ladders of known damage", "encoder": "statistics",
        "labels": {
            "human": 120, "simulated": 30, "ratings": 30, "pairs": 120, "keeps": 0, "unused": 2,
            "pictures": 90, "prompts": 12, "by_prompt": True,
            "by_rater": {"a | b": {"ratings": 0, "pairs": 120, "keeps": 0, "repeats": 11},
                         "c (simulated)": {"ratings": 30, "pairs": 0, "keeps": 0, "repeats": 0}},
        },
        "agreement": {
            "how": "Cross-validated: prompts in 5 parts.", "comparisons": 140,
            "judges": {name: {**row, "brier": 0.2 if name != "LAION V1" else None}
                       for name, row in judges.items()},
            "gain": figure(0.17), "gain_over_statistics": figure(0.08),
            "themselves": figure(0.86),
            "raters": {
                "a | b": {"judges": judges, "themselves": figure(0.86), "reliability": 1.2,
                          "others": {"accuracy": figure(0.66), "spearman": figure(None)}},
                "c (simulated)": {"judges": {name: {**row, "spearman": figure(None)}
                                             for name, row in judges.items()},
                                  "themselves": figure(None), "reliability": None,
                                  "others": {"accuracy": figure(0.66), "spearman": figure(None)}},
            },
        },
        "reliability": {
            "brier": 0.18, "best_recalibration": 0.176, "ratio": 1.0227,
            "curve": [{"said": x, "seen": x + 0.03, "low": x - 0.1, "high": x + 0.1, "share": 0.1}
                      for x in np.linspace(0.05, 0.95, 10)],
        },
        "rating_intervals": figure(0.91),
        "learning_curve": {"rounds": 4, "labels_of_all": 120, "prior": 0.61, "points": [
            {"labels": size, "accuracy": [value - 0.02, value, value + 0.02, value]}
            for size, value in ((10, 0.62), (20, 0.66), (40, 0.71), (80, 0.75))]},
        "map": {"chosen": "linear"},
        "conclusions": ["The labels helped."], "distrust": ["The prior was trained on ladders."],
    }


def test_markdown_says_it_all(report):
    text = to_markdown(report, True, True)
    assert "120 labels of people and 30 labels of simulated raters" in text
    assert "- **The labels helped.**" in text
    assert "| a \\| b | 0 | 120 | 0 | 11 |" in text
    assert "| prior + labels | 0.78 [0.73, 0.83] | 0.48 [0.43, 0.53] | 0.200 |" in text
    assert "| LAION V1 | 0.55 [0.50, 0.60] | 0.25 [0.20, 0.30] | - |" in text
    assert "+0.17 [+0.12, +0.22]" in text
    assert "| c (simulated) |" in text and "![Reliability of its chances](reliability.png)" in text
    assert "ratio 1.023" in text and "0.91 [0.86, 0.96]" in text
    assert "- The prior was trained on ladders." in text
    lines = text.splitlines()
    for start, line in enumerate(lines):  # every row of a table has as many cells as its head
        if line.startswith("|--") and not lines[start - 2].startswith("|"):
            cells = line.count("|")
            rows = [row.replace("\\|", "") for row in lines[start - 1 :]]
            for row in rows[: next(i for i, r in enumerate(rows) if not r.startswith("|"))]:
                assert row.count("|") == cells, row


def test_what_is_missing_is_left_out(report):
    bare = copy.deepcopy(report)
    bare["learning_curve"] = {"rounds": 4, "labels_of_all": 3, "points": []}
    bare["reliability"], bare["rating_intervals"] = {}, figure(None)
    bare["agreement"]["gain"] = figure(None)
    text = to_markdown(bare)
    assert "What more labels bring" not in text and "Brier score of" not in text
    assert "png" not in text and "None" not in text and "nan" not in text
    assert figure_text(figure(None)) == "-" and whose({}) == "no labels"


def test_pictures_are_drawn_whole(report, tmp_path):
    for name, plot in (("learning", learning_plot), ("reliability", reliability_plot)):
        path = tmp_path / f"{name}.png"
        assert plot(report, path)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(int)
        assert pixels.shape[1] > 1000 and pixels.shape[0] > 600
        blue = (pixels[..., 2] - pixels[..., 0] > 100).sum()
        assert blue > 500
        # Nothing is cut off: the outermost pixels are paper.
        for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
            assert (edge == 255).all()
    alone = copy.deepcopy(report)
    alone["labels"] |= {"by_prompt": False, "prompts": 0}
    assert learning_plot(alone, tmp_path / "alone.png")
    assert "90 pictures without prompts" in to_markdown(alone)
    assert not learning_plot({**report, "learning_curve": {"points": []}}, tmp_path / "none.png")
    assert not reliability_plot({**report, "reliability": {}}, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    with pytest.raises(UserError, match="cannot write"):
        learning_plot(report, tmp_path / "gone" / "learning.png")
