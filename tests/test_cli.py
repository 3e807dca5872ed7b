"""Bad input: one line, exit code 1 (2 for wrong usage), and what was finished is still there."""

import errno
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ldmopt.cli import app, main
from ldmopt.errors import UserError
from ldmopt.study.folder import RunFolder

STUDY = """
name = "cli"
model = "standin"
prompts = {search = 2, confirm = 2}
seeds = 1
[default]
steps = 20
[space]
steps = [4, 10]
[budget]
trials = 3
[scorer]
encoder = "standin"
"""


def call(*arguments):
    """Run the command line as a user does; return exit code, output and errors."""
    done = subprocess.run([sys.executable, "-m", "ldmopt", *map(str, arguments)],
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def refused(capsys, *arguments):
    """Run the command line in this process; return its one line of complaint."""
    before = sys.argv
    sys.argv = ["ldmopt", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    text = capsys.readouterr().err
    assert ended.value.code == 1, text
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert text.splitlines()[-1] == lines[0]
    return lines[0]


@pytest.fixture
def study(tmp_path):
    def write(old="", new=""):
        assert old in STUDY
        path = tmp_path / "study.toml"
        path.write_text(STUDY.replace(old, new) if old else STUDY)
        return path

    return write


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds = 1", "sedes = 1", ["'sedes'", "did you mean 'seeds'"]),
        ("trials = 3", "trails = 3", ["'budget.trails'", "did you mean 'trials'"]),
        ("seeds = 1", 'seeds = "two"', ["seeds", "integer", "'two'"]),
        ("seeds = 1", "seeds = 0", ["seeds", "greater than or equal to 1", "0"]),
        ("seeds = 1", 'search = "tpee"', ["search", "tpe", "'tpee'"]),
        ("steps = 20", 'sampler = "eulr"', ["sampler", "'eulr'", "did you mean 'euler'"]),
        ("steps = 20", "steps = 0", ["steps", "between 1 and 1000", "0"]),
        ("steps = 20", 'size = "100x64"', ["size", "divisible by 8", "96"]),
        ("steps = [4, 10]", "steps = []", ["steps", "empty list"]),
        ("steps = [4, 10]", "stesp = [4]", ["unknown knob 'stesp'", "'steps'"]),
        ('model = "standin"', 'model = "/no/such/folder"', ["/no/such/folder", "does not exist"]),
        ('model = "standin"', 'model = "nobody/nothing"', ["hub cache", "hf download"]),
        ('model = "standin"', 'device = "gpu"', ["device", "cuda", "'gpu'"]),
        ('name = "cli"', "", ["'name' is missing"]),
        ('name = "cli"', 'name = "a/b"', ["name", "letters", "'a/b'"]),
        ("trials = 3", "trials = 3\n[", ["not valid TOML"]),
        ("search = 2", "search = 999999", ["prompts", "fewer than"]),
        ("search = 2", 'source = "gone.txt"', ["'gone.txt'", "text file"]),
        ("seeds = 1", 'plugins = ["no_such_module"]', ["no_such_module", "cannot be imported"]),
    ],
)
def test_bad_study(capsys, study, tmp_path, old, new, words):
    path = study(old, new)
    if "999999" in new:
        path.write_text(path.read_text().replace("prompts = {", 'prompts = {source = ["a", "b"], '))
    line = refused(capsys, "run", path, "--out", tmp_path / "run")
    for word in words:
        assert word in line
    assert not list((tmp_path / "run").glob("pictures/*")), "a picture was made"


def test_missing_study(capsys, tmp_path):
    assert "cannot be read" in refused(capsys, "run", tmp_path / "gone.toml")


def test_run_folder_that_cannot_be_written(capsys, study, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused(capsys, "run", study(), "--out", tmp_path / "file" / "run")
    assert "cannot be written" in line


@pytest.mark.parametrize("command", ["rulebook", "fit", "rescore"])
def test_no_run_folder(capsys, tmp_path, command):
    assert "is no run folder" in refused(capsys, command, tmp_path)


def test_bad_rulebook(capsys, tmp_path):
    (tmp_path / "rulebook.json").write_text('{"schema_version": 1')
    refused(capsys, "recommend", tmp_path / "rulebook.json")
    refused(capsys, "validate", tmp_path / "rulebook.json")
    refused(capsys, "recommend", tmp_path / "none.json")


def test_bad_setting(capsys, tmp_path):
    path = tmp_path / "setting.json"
    path.write_text('{"steps": 20, "sampler": "DPM++ 2M Karas"}')
    assert "did you mean" in refused(capsys, "lint", path, "--model", "standin")
    path.write_text("[1]")
    assert "JSON object" in refused(capsys, "lint", path, "--model", "standin")


def test_wrong_usage_ends_with_two():
    assert call("run")[0] == 2
    assert call("no-such-command")[0] == 2


def test_disk_full_loses_nothing(capsys, study, tmp_path, monkeypatch):
    out, plain, written = tmp_path / "run [red]", Path.write_bytes, []

    def full(self, data):
        if self.parent.parent.name == "pictures":
            written.append(self)
            if len(written) == 5:
                plain(self, data[: len(data) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
        return plain(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        line = refused(capsys, "run", study(), "--out", out)
    assert "disk is full" in line and "run again" in line
    assert not list(out.glob("pictures/*/.*")), "half a picture was left behind"
    finished = [row for row in RunFolder(out).read_journal() if "digest" in row]
    assert len(finished) == 4
    result = CliRunner().invoke(app, ["run", str(study()), "--out", str(out)])
    assert result.exit_code == 0
    assert f"In {out}: rulebook.md" in result.output
    assert result.output.count("ended: 3 trials") == 1
    again = [row for row in RunFolder(out).read_journal() if "digest" in row]
    assert again[:4] == finished


def test_full_disk_under_the_journal_leaves_whole_lines(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.append({"a": 1})
    folder.journal.write_bytes(folder.journal.read_bytes() + b'{"torn": ')
    assert folder.read_journal() == [{"a": 1}]
    folder.append({"b": 2})
    assert folder.read_journal() == [{"a": 1}, {"b": 2}]
    folder.journal.write_bytes(b'{"schema_version": 1}\nnonsense\n{"c": 3}\n')
    with pytest.raises(UserError, match="line 2 is damaged"):
        folder.read_journal()
    folder.journal.write_bytes(b'{"schema_version": 9}\n')
    with pytest.raises(UserError, match="schema_version 9"):
        folder.read_journal()


def test_the_whole_line(study, tmp_path):
    """Run, recommend, generate, rulebook, validate: as a user would, on the stand-in."""
    out = tmp_path / "run"
    code, text, errors = call("run", study(), "--out", out, "--json")
    assert code == 0, errors
    assert json.loads(text)["study"] == "cli"
    code, text, _ = call("recommend", out, "--json")
    assert code == 0 and json.loads(text)["setting"]
    code, text, errors = call("recommend", out, "--max-seconds", "0.0000001")
    assert code == 1 and errors.count("\n") == 1
    rulebook = out / "rulebook.json"
    identity = json.loads(rulebook.read_text())["recommendations"][0]["id"]
    code, _, errors = call("generate", "--rulebook", rulebook, "--id", identity, "--prompt",
                           "a [red] house", "-o", tmp_path / "a.png")
    assert code == 0, errors
    from PIL import Image

    with Image.open(tmp_path / "a.png") as image:
        assert image.text["parameters"].startswith("a [red] house\nSteps: ")
    assert call("rulebook", out)[0] == call("validate", rulebook)[0] == 0
    assert call("plan", study(), "--json")[0] == 0
    assert call("doctor", "--json")[0] == 0


def test_rulebook_takes_constants_and_refuses_those_that_mean_nothing(study, tmp_path):
    from typer.testing import CliRunner

    import ldmopt
    from ldmopt.cli import app

    out = tmp_path / "run"
    usual = ldmopt.run(study(), out).data

    def distilled(*words):
        return CliRunner().invoke(app, ["rulebook", str(out), *words])

    done = distilled("--margin", "0.2", "--worth", "0.3", "--confidence", "0.8", "--json")
    assert done.exit_code == 0
    book = json.loads(done.stdout)
    assert (book["margin"], book["confidence"]) == (0.2, 0.8)
    assert book["constants"] == {**usual["constants"], "margin": 0.2, "worth": 0.3,
                                 "confidence": 0.8}
    wide, narrow = (row["front"][0]["quality"] for row in (usual, book))
    assert narrow["low"] >= wide["low"] and narrow["high"] <= wide["high"]
    for name, value in (("margin", "0.5"), ("worth", "-1"), ("confidence", "95")):
        error = distilled(f"--{name}", value).exception
        assert isinstance(error, UserError) and str(error).startswith(f"{name} must be")
        assert "\n" not in str(error)
    assert book == json.loads((out / "rulebook.json").read_text())  # nothing was overwritten
    assert distilled().exit_code == 0
    assert json.loads((out / "rulebook.json").read_text())["constants"] == usual["constants"]


def test_help_is_quick_and_names_every_command():
    began = time.perf_counter()
    code, text, _ = call("--help")
    print(f"--help took {time.perf_counter() - began:.2f} s")
    assert code == 0
    for name in ("run", "plan", "rulebook", "recommend", "generate", "labels", "fit", "rescore",
                 "validate", "lint", "doctor"):
        assert name in text
