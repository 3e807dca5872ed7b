"""What a lent GPU is used for runs here in miniature, so that it works when there is one."""

import csv
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ldmopt.knob import Context, build_space
from ldmopt.model import describe

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.real
@pytest.mark.parametrize("shape", ["sd15", "sdxl"])
def test_cost_tables_of_shrunk_families(tmp_path, shape):
    out = tmp_path / "cost.csv"
    command = [sys.executable, "benchmarks/cost_table.py", "--shape", shape, "--shrink",
               "--out", str(out), "--most"]
    for most in ("1", "2"):
        subprocess.run([*command, most], cwd=ROOT, check=True)
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        # The second time goes on where the first one stopped.
        assert len(rows) == int(most)
    for row in rows:
        assert float(row["seconds"]) > 0
        assert int(row["peak_memory_bytes"]) > 0
        assert not row["failed"]
    assert out.with_suffix(".json").exists()


@pytest.mark.real
def test_a_gpu_session_tests_measures_and_tells_the_distance_to_the_floor(tmp_path):
    command = [sys.executable, "benchmarks/gpu_session.py", "--out", str(tmp_path), "--smoke",
               "--only", "tests", "cost-sd15"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    ended = json.loads((tmp_path / "session.json").read_text())
    assert {name: row["code"] for name, row in ended.items()} == {
        "tests": 0, "cost-sd15": 0}
    lines = [line for line in done.stdout.splitlines() if "times the floor" in line]
    assert len(lines) == 1 and "base" in lines[0]
    [path] = (tmp_path / "tables").glob("*.csv")
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["matmul_flops_per_second"]["fp32"] > 0 and facts["packages"]
    with path.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["over_floor"]) == pytest.approx(
        float(row["seconds"]) / float(row["floor_seconds"]))
    rate = facts["matmul_flops_per_second"][json.loads(row["setting"])["precision"]]
    assert float(row["floor_seconds"]) == pytest.approx(float(row["flops"]) / rate)


@pytest.mark.real
def test_the_benchmark_of_measuring_gives_every_figure(tmp_path):
    out = tmp_path / "execution.json"
    command = [sys.executable, "benchmarks/execution.py", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found = json.loads(out.read_text())
    assert found["quick"] and found["machine"]["device"] == "cpu"
    assert len(found["targets"]) == 5
    for name, row in found["targets"].items():
        assert row["value"] >= 0 and name in done.stdout
    results = found["results"]
    for row in (results["batch_1"], results["batch_2"]):
        assert row["best"] and row["decibels"]["worst"] >= 30
        assert row["low"] <= row["ratio"] <= row["high"]
    memory = results["memory"]
    assert memory["difference_bytes"] <= memory["allowed_bytes"]


def test_a_part_that_fails_or_hangs_stops_no_other(tmp_path):
    session = load("gpu_session")
    assert session.run("bad", [sys.executable, "-c", "raise SystemExit(3)"], 60.0, tmp_path)[
        "code"] == 3
    slow = [sys.executable, "-c", "print('begun', flush=True); import time; time.sleep(60)"]
    assert session.run("slow", slow, 1.0, tmp_path)["code"] == "out of time"
    assert (tmp_path / "bad.log").exists()


def test_flops_are_counted_by_hand_and_by_the_counter_alike():
    floor = load("floor")
    with torch.device("meta"):
        assert floor.counted(torch.nn.Linear(8, 4), torch.empty(3, 8)) == 2 * 3 * 8 * 4
        heads = torch.empty(1, 2, 16, 8)
        # Queries by keys, then weights by values.
        assert floor.counted(torch.nn.functional.scaled_dot_product_attention, heads, heads,
                             heads) == 2 * (2 * 2 * 16 * 16 * 8)
    counts = floor.flops(describe("miniature"), 64, 64)
    assert counts["guided"] == 2 * counts["unguided"] > counts["decode"] > 0
    assert floor.flops(describe("standin"), 64, 64) is None


def test_every_execution_value_is_measured_by_itself():
    table = load("cost_table")
    here = Context(describe("miniature"), "cuda", {"xformers": "1"})
    space = build_space({}, {}, here)
    found = table.settings(space, True)
    base = [setting for setting, changed in found.items() if not changed]
    assert [(one["precision"], one["guidance"]) for one in base] == [("fp16", 7.5), ("fp16", 1.0)]
    assert list(found)[:2] == base
    for name, values in table.execution_values(space).items():
        for value in values:
            one = space.canonical({**base[0], **space.knobs[name].enabling(base[0]), name: value})
            assert space.refusal(one) or one in found, (name, value)


def load(name):
    """Import a benchmark by its file's name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


def test_the_benchmark_of_taste_measures_what_it_says():
    taste = load("taste")
    utility, win = np.array([0.0, 1.0, 2.0, 2.0]), np.array([1.0, 0.0, 0.5, 1.0])
    left, right = np.array([1, 0, 3, 2]), np.array([0, 2, 0, 3])
    assert taste.accuracy(utility, left, right, win) == pytest.approx((1 + 1 + 0.5) / 3)
    rng = np.random.default_rng(0)
    rating = rng.normal(size=200)
    row = {"rating": rating, "rater": np.repeat(["a", "b"], 100), "group": np.arange(200) % 20,
           "ridge": rng.normal(size=200), "fitted": rating + 0.1 * rng.normal(size=200),
           "known": rating}  # fmt: skip
    told = taste.compared([row], resamples=20)
    for name in ("spearman", "rmse", "pairs of a prompt"):
        assert told[name]["low"] > 0 and told[name]["better"] > 0.3
    assert told["spearman"]["fitted"] == pytest.approx(1.0)
    found = taste.speed_alone(rated=50, pairs=60, columns=8)
    assert found["peak_bytes"] > 0 and found["chosen"] in ("linear", "rbf")


def test_the_benchmark_of_intervals_and_verdicts_prints_every_cell(capsys):
    rulebook = load("rulebook")
    rulebook.coverage(50, 1)
    table, rows = "", {}
    for line in capsys.readouterr().out.splitlines():
        if line[:32].strip() in rulebook.DRAWS:
            rows.setdefault(table, []).append(line[32:].split())
        elif " / prompts: " in line:
            table = line
    told = [[share.rstrip("*") for row in found for share in row]
            for title, found in rows.items() if title.endswith("coverage")]
    assert [len(found) for found in rows.values()] == [len(rulebook.DRAWS)] * 6
    assert len(told) == 2
    assert all(0.7 <= float(share) <= 1 for shares in told for share in shares)
    assert rulebook.limits_of_share(0, 200) == pytest.approx((0.0, 1 - 0.025 ** (1 / 200)))
    [low, high] = rulebook.limits_of_share(10, 200)
    assert low < 0.05 < high and high == pytest.approx(0.09, abs=0.005)


def test_verdicts_of_what_is_not_there_are_told_from_true_ones():
    rulebook = load("rulebook")
    study = rulebook.Study(8, 2, np.random.default_rng(0), rulebook.steps_alone)
    settings = rulebook.small_grid(np.random.default_rng(0))
    effects = [{"knob": knob, "from": 8, "to": 16, "verdict": verdict} for knob, verdict in (
        ("steps", "worth it"), ("steps", "harmful"), ("guidance", "worth it"))]
    rules = [{"when": when} for when in (
        {"steps": {"max": 16}}, {"steps": {"min": 30}}, {"sampler": "ddim"},
        {"sampler": "ddim", "steps": {"max": 8}})]
    wrong = rulebook.false_verdicts("steps alone", study, settings, effects, rules)
    assert len(wrong) == 5 and not any("'max': 16" in one for one in wrong)
    assert "steps 8 -> 16: worth it" not in wrong


def test_the_rulebook_is_timed_as_a_user_would_see_it():
    command = [sys.executable, "benchmarks/rulebook_speed.py", "--quick", "--part", "report"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(",")[0].split("  ")[0] for line in lines] == [
        "ldmopt import", "ldmopt rulebook", "ldmopt report"]
