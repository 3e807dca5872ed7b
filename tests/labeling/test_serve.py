"""`ldmopt label`: what it refuses, whom it lets in, and a study that runs meanwhile."""

import importlib
import json
import re
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ldmopt
from ldmopt.cli import app
from ldmopt.errors import UserError
from ldmopt.labeling import serve as serving
from ldmopt.labeling import shelf as shelves
from ldmopt.labeling.choose import RandomChooser
from ldmopt.labeling.shelf import RunShelf
from ldmopt.study.folder import RunFolder


@pytest.fixture
def ended(monkeypatch):
    """Makes a server that would be started end at once."""
    uvicorn = importlib.import_module("uvicorn")
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)


def lines(run, **how):
    said = []
    ldmopt.label(run, report=said.append, **how)
    return said


@pytest.mark.parametrize("options, words", [
    ({"port": 70_000}, ["port", "65535", "70000"]),
    ({"host": "no such host"}, ["no such host", "--host"]),
    ({"host": "203.0.113.7"}, ["203.0.113.7", "--host"]),
    ({"token": "short"}, ["token", "8", "short"]), ({"token": ""}, ["token"]),
    ({"token": "with spaces in it"}, ["token"]), ({"wanted": 0}, ["wanted", "0"]),
])
def test_options_that_cannot_be_used(run, ended, options, words):
    with pytest.raises(UserError) as error:
        lines(run, **options)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_no_run_no_pictures_and_a_port_in_use(run, tmp_path, ended):
    with pytest.raises(UserError, match="no run folder"):
        lines(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UserError, match="in use"):
            lines(run, port=taken.getsockname()[1])
    journal = RunFolder(run).journal
    rows = journal.read_bytes().splitlines(keepends=True)
    pictures = [row for row in rows if b'"digest"' in row]
    journal.write_bytes(rows[0] + pictures[0])
    with pytest.raises(UserError, match="no two pictures.*ldmopt run"):
        lines(run)
    journal.write_bytes(rows[0] + b"{damaged}\n")
    with pytest.raises(UserError, match="line 2 is damaged"):
        lines(run)
    result = CliRunner().invoke(app, ["label", str(tmp_path / "nothing")])
    assert isinstance(result.exception, UserError)


def test_missing_packages_are_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"ldmopt\[label\]"):
        lines(run)


def test_the_link_is_the_same_next_time_and_has_a_token_only_for_others(run, ended):
    first, second = lines(run)[0], lines(run)[0]
    assert first == second and re.search(r"http://127\.0\.0\.1:2\d{4}/$", first)
    with socket.create_server(("127.0.0.1", serving.usual_port(RunFolder(run)))):
        assert lines(run)[0] != first
    tokens = [re.search(r"\?token=([\w-]{32})$", lines(run, host="0.0.0.0")[0])[1] for _ in "ab"]
    assert tokens[0] != tokens[1]
    assert lines(run, token="given-by-hand")[0].endswith("/?token=given-by-hand")
    assert serving.address("::1", 80, None) == "http://[::1]:80/"


def test_a_browser_is_opened_only_on_a_desktop(run, ended, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    lines(run, browser=True)
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    lines(run, browser=True)
    lines(run)
    assert len(opened) == 1 and opened[0].startswith("http://127.0.0.1:")


def test_labelling_goes_on_while_a_study_holds_the_folder(run, serve):
    with RunFolder(run).lock():
        server = serve(run, process=True)
        with urllib.request.urlopen(f"{server.link}api/queue?rater=Ada") as answer:
            question = json.load(answer)["next"][0]
        row = {"rater": "Ada", "preferred": "tie",
               **{name: question[name] for name in ("page", "step", "left", "right")}}
        post = urllib.request.Request(f"{server.link}api/answers", json.dumps(row).encode(),
                                      {"content-type": "application/json"})
        with urllib.request.urlopen(post) as answer:
            assert json.load(answer)["answered"] == 1
    assert [row.preferred for row in server.pairs()] == ["tie"]
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 130


def test_pictures_that_a_running_study_adds_are_asked_about(run, monkeypatch):
    folder = RunFolder(run)
    journal = folder.journal
    whole = journal.read_bytes()
    rows = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(rows[: len(rows) // 3]))
    clock = [100.0]
    monkeypatch.setattr(shelves.time, "monotonic", lambda: clock[0])
    shelf = RunShelf(folder, RandomChooser)
    before = shelf.chooser.useful([])
    half = whole[:-20]
    journal.write_bytes(half)  # the last line is being written
    clock[0] += 1
    between = shelf.chooser.useful([])
    assert between > before and journal.read_bytes() == half
    journal.write_bytes(whole)
    assert shelf.chooser.useful([]) == between  # not read again at every request
    clock[0] += shelves.READ_AGAIN_SECONDS + 1
    assert shelf.chooser.useful([]) == 120 >= between
    assert len(shelf.blocks) == 48


def test_the_page_is_in_the_package():
    folder = Path(serving.__file__).parent / "page"
    from ldmopt.labeling.app import STATIC

    assert {path.name for path in folder.iterdir()} == {*STATIC, "page.html"}
    for path in folder.iterdir():  # nothing comes from elsewhere
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "//cdn" not in text
    import tomllib

    data = tomllib.loads((Path(ldmopt.__file__).parent.parent / "pyproject.toml").read_text())
    assert "labeling/page/*" in data["tool"]["setuptools"]["package-data"]["ldmopt"]
