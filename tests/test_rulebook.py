"""The rulebook's file: what is written is read, what is broken is refused in one line."""

import copy
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from ldmopt import schema as own_schema
from ldmopt.distillation import distill
from ldmopt.errors import UserError
from ldmopt.rulebook import NothingFits, Rulebook, schema, validate
from tests.distillation.simulate import Study, grid


@pytest.fixture(scope="module")
def data():
    made = Study(12, 2, np.random.default_rng(4))
    settings = grid(["pndm", "unipc", "lms"], [4, 8, 30], [1.0, 5.0, 12.0], ["sdpa", "eager"])
    confirm = [s for s in settings if s["sampler"] == "unipc" and s["guidance"] == 5.0]
    evidence = made.evidence(settings, confirm, {settings[0]: "nan"})
    return json.loads(json.dumps(distill(evidence).data))


@pytest.fixture
def path(data, tmp_path):
    Rulebook(data).write(tmp_path / "rulebook.json")
    return tmp_path / "rulebook.json"


def refusal(path):
    with pytest.raises(UserError) as caught:
        validate(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip(path, data):
    assert Rulebook.read(path).data == data
    assert Rulebook.read(path.parent).data == data
    assert [p.name for p in path.parent.iterdir()] == ["rulebook.json"]


def test_the_shipped_schema_is_a_schema_and_agrees_with_jsonschema(data):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    judge = jsonschema.Draft202012Validator(schema())
    assert judge.is_valid(data)
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = copy.deepcopy(data)
        damage(broken, rng)
        fault = own_schema.first_fault(broken, schema())
        assert (fault is None) == judge.is_valid(broken), fault


def damage(data, rng):
    """Drop, add or replace something at a random place."""
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[rng.integers(len(keys))]
        inner = node[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.75:
            node = inner
            continue
        kind = rng.integers(3)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node["surprise"] = 1
        else:
            choices = [None, -1, 2.5, "x", True, [], {}, float("nan")]
            node[key] = choices[rng.integers(len(choices) - 1)]
        return


def test_truncated_and_malformed(path):
    text = path.read_text()
    for end in (0, 1, len(text) // 2, len(text) - 3):
        path.write_text(text[:end])
        assert "not JSON" in refusal(path)
    path.write_text(text.replace('"margin": 0.05', '"margin": NaN'))
    assert "NaN" in refusal(path)
    path.write_bytes(b"\xff\xfe\x00rulebook")
    assert "is no UTF-8 text; write it again" in refusal(path)
    path.write_text("[1, 2]")
    assert "schema_version" in refusal(path)
    path.write_text("[" * 100_000)
    assert "not JSON" in refusal(path)


def test_older_and_newer_are_told_apart(path, data):
    for version, word in ((0, "older"), (2, "newer"), (None, "schema_version"), (True, "whole")):
        path.write_text(json.dumps({**data, "schema_version": version}))
        assert word in refusal(path)


def test_two_older_schemas_are_read(path, data, monkeypatch):
    """As they would be, once there are some: step by step, from the oldest that has one."""
    from ldmopt import rulebook

    def renamed(found):
        return {**{key: value for key, value in found.items() if key != "title"},
                "study": found["title"]}

    monkeypatch.setattr(rulebook, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(rulebook, "UPGRADES", {1: renamed, 2: dict})
    shape = schema()
    shape["properties"]["schema_version"]["const"] = 3
    monkeypatch.setattr(rulebook, "schema", lambda: shape)
    older = {key: value for key, value in data.items() if key != "study"}
    path.write_text(json.dumps({**older, "schema_version": 1, "title": "old"}))
    found = Rulebook.read(path)
    assert (found.data["study"], found.data["schema_version"]) == ("old", 3)
    path.write_text(json.dumps({**data, "schema_version": 2}))
    assert Rulebook.read(path).data["front"] == data["front"]
    path.write_text(json.dumps({**data, "schema_version": 0}))
    assert "older rulebook (schema 0, this ldmopt reads 1 and later)" in refusal(path)
    path.write_text(json.dumps({**older, "schema_version": 1}))
    assert "not a valid rulebook of schema 1: KeyError('title')" in refusal(path)


def test_faults_name_the_place(path, data):
    def with_change(change):
        broken = copy.deepcopy(data)
        change(broken)
        path.write_text(json.dumps(broken))
        return refusal(path)

    assert "front[0].quality.win_rate must be at most 1" in with_change(
        lambda d: d["front"][0]["quality"].update(win_rate=1.5)
    )
    assert "lacks 'default'" in with_change(lambda d: d.pop("default"))
    assert "rules is not a key" in with_change(lambda d: d.update(rules=[]))
    assert "effects[0].verdict must be one of" in with_change(
        lambda d: d["effects"][0].update(verdict="great")
    )
    assert "twice" in with_change(lambda d: d["recommendations"].append(d["recommendations"][0]))


def test_missing_file_and_folder(tmp_path):
    assert "no rulebook" in refusal(tmp_path / "nowhere.json")
    assert "no rulebook" in refusal(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_unwritable_folder(tmp_path, data):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write"):
        Rulebook(data).write(tmp_path / "rulebook.json")


def test_a_failed_write_leaves_the_old_file(path, data, monkeypatch):
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        Rulebook({**data, "study": "other"}).write(path)
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["rulebook.json"]


def point(name, win, seconds, memory, latency=None):
    cost = {
        "seconds": seconds,
        "low": seconds,
        "high": seconds,
        "memory_kind": "rss",
        "latency_seconds": latency or seconds,
        "batch": 1,
        "peak_memory_bytes": memory,
        "source": "measured",
    }
    quality = {"win_rate": win, "low": win, "high": win, "scorer": {}, "human": None}
    return {"setting": {"sampler": name}, "quality": quality, "cost": cost}


@pytest.fixture
def rulebook(data):
    front = [
        point("fast", 0.4, 0.2, 5.1e9),
        point("good", 0.6, 1.0, 6e9),
        point("small-good", 0.6, 1.2, 5.5e9),
        point("best", 0.7, 3.0, 9e9),
        point("batched", 0.65, 0.5, 12e9, latency=4.0),
    ]
    return Rulebook.from_data({**data, "front": front, "recommendations": []})


@pytest.mark.parametrize(("limits", "chosen"), [
    ({}, "best"),
    ({"max_seconds": 2.0}, "small-good"),
    ({"max_seconds": 1.1}, "good"),
    ({"max_memory_bytes": 5.2e9}, "fast"),
    ({"max_seconds": 3.5, "max_memory_bytes": 13e9}, "best"),
    ({"min_win_rate": 0.55}, "batched"),
    ({"min_win_rate": 0.55, "max_seconds": 3.0}, "good"),
    ({"min_win_rate": 0.7}, "best"),
])  # fmt: skip
def test_recommend(rulebook, limits, chosen):
    assert rulebook.recommend(**limits).setting["sampler"] == chosen


def test_nothing_fits(rulebook):
    with pytest.raises(NothingFits, match=r"the smallest that exists needs 5\.1 GB"):
        rulebook.recommend(max_memory_bytes=4e9)
    with pytest.raises(NothingFits, match=r"the fastest that exists needs 0\.2 s"):
        rulebook.recommend(max_seconds=0.1)
    with pytest.raises(NothingFits, match=r"the best that exists wins 0\.70"):
        rulebook.recommend(min_win_rate=0.9)
    with pytest.raises(NothingFits, match="fastest.*smallest"):
        rulebook.recommend(max_seconds=0.3, max_memory_bytes=5e9)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_seconds": 0},
        {"max_memory_bytes": -1},
        {"min_win_rate": 1.5},
        {"max_seconds": float("nan")},
    ],
)
def test_limits_are_checked(rulebook, limits):
    with pytest.raises(UserError, match=next(iter(limits))):
        rulebook.recommend(**limits)


def test_unknown_memory_never_fits_a_memory_limit(data):
    front = [point("unknown", 0.9, 1.0, None)]
    rulebook = Rulebook.from_data({**data, "front": front})
    assert rulebook.recommend().win_rate == 0.9
    with pytest.raises(NothingFits, match="not measured"):
        rulebook.recommend(max_memory_bytes=1e12)


def test_find(data):
    rulebook = Rulebook(data)
    assert rulebook.find("balanced").id == "balanced"
    with pytest.raises(UserError, match="did you mean 'balanced'"):
        rulebook.find("balance")


def test_the_command_answers_without_the_heavy_libraries(path):
    code = (
        "import sys; from ldmopt.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: code = ended.code\n"
        "else: code = 0\n"
        "heavy = {'torch', 'diffusers', 'scipy', 'sklearn', 'matplotlib', 'optuna', 'sqlalchemy'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else code)"
    )
    command = [sys.executable, "-c", code, "recommend", str(path)]
    for limits, ends in (([], 0), (["--json"], 0), (["--max-memory-gb", "1e-9"], 1)):
        done = subprocess.run([*command, *limits], capture_output=True, text=True)
        assert done.returncode == ends, done.stderr
    assert done.stdout == "" and done.stderr.count("\n") == 1
    assert "the smallest that exists needs" in done.stderr


def test_python_answers_without_numpy(path):
    code = (
        "import sys, ldmopt.rulebook as r;"
        f"r.Rulebook.read({str(path)!r}).recommend(max_seconds=100).to_dict();"
        "heavy = {'torch', 'scipy', 'matplotlib', 'optuna', 'numpy'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    print(f"answered in {time.perf_counter() - began:.2f} s")
    assert done.returncode == 0, done.stderr
