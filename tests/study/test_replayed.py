"""A study of a recorded table runs like any other, in recorded seconds, and resumes."""

import pytest
from tables import PROMPTS, write_table

import ldmopt
from ldmopt.errors import UserError
from ldmopt.study.spec import parse_spec


def study(table, **more):
    text = f"""
name = "replayed"
device = "replay:{table}"
prompts = {{source = {[f"prompt {n}" for n in range(PROMPTS)]}, search = 4, confirm = 2}}
seeds = 2
[space]
sampler = ["pndm", "euler", "heun"]
steps = [4, 8, 50]
guidance = [1.0, 7.5]
batch = [1, 2]
[budget]
trials = {more.get("trials", 6)}
"""
    return parse_spec(text)


def test_a_table_is_searched_and_confirmed_without_a_device(tmp_path):
    table = write_table(tmp_path / "table")
    seen = []
    book = ldmopt.run(study(table), tmp_path / "run", report=seen.append)
    assert "replay" in book.data["scope"]["scorer"]
    best = next(item for item in book.data["recommendations"] if item["id"] == "best")
    assert best["evidence"]["held_out"]
    # Recorded, not measured: 51 network calls of 12 ms and what else a picture takes.
    default = book.data["default"]["cost"]["seconds"]
    assert default == pytest.approx(0.012 + 51 * 0.012 + 50 * 0.0003, rel=1e-3)
    spent = seen[-1].spent_seconds
    ldmopt.run(study(table), tmp_path / "run", report=seen.append)
    assert seen[-1].spent_seconds == spent


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match="no-table"):
        ldmopt.run(study(tmp_path / "no-table"), tmp_path / "run")
