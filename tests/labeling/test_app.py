"""The JSON interface: what it takes, and what it refuses without writing anything."""

import json
import shutil
import sqlite3
import subprocess
import sys

import pytest
from starlette.testclient import TestClient

from ldmopt.contracts import Picture
from ldmopt.labeling.app import make_app
from ldmopt.labeling.choose import RandomChooser
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import RunShelf, bare_png
from ldmopt.labels import LabelStore, Pair
from ldmopt.study.folder import RunFolder

TOKEN = "a-token-of-the-tests"


@pytest.fixture
def store(run):
    with LabelStore(RunFolder(run).labels) as store:
        yield store


@pytest.fixture
def shelf(run):
    return RunShelf(RunFolder(run), RandomChooser)


@pytest.fixture
def site(store, shelf):
    return TestClient(make_app(Ledger(store), shelf, wanted=7), base_url="http://localhost:8000",
                      follow_redirects=False)


@pytest.fixture
def open_site(store, shelf):
    """A site for everybody who has the token."""
    return TestClient(make_app(Ledger(store), shelf, TOKEN), base_url="http://studio.example:8000",
                      follow_redirects=False)


def queue(site, rater="Ada"):
    return site.get("/api/queue", params={"rater": rater}).json()


def answer(site, question, preferred="left", rater="Ada", **changes):
    row = {"rater": rater, "preferred": preferred,
           **{name: question[name] for name in ("page", "step", "left", "right")}, **changes}
    return site.post("/api/answers", json=row)


def refused(response, status, words):
    """Check an error: its status, one line of JSON that holds these words, nothing else."""
    assert response.status_code == status, response.text
    data = response.json()
    assert list(data) == ["error"] and words in data["error"] and "\n" not in data["error"]
    assert "Traceback" not in response.text
    return True


def test_queue_asks_ahead_and_tells_nothing_of_settings(site):
    found = queue(site)
    assert (found["answered"], found["wanted"], found["useful"]) == (0, 7, 120)
    assert [question["page"] for question in found["next"]] == [1, 2, 3, 4, 5]
    assert set(found["next"][0]) == {"page", "step", "left", "right", "prompt"}
    assert queue(site) == found


def test_an_answer_is_stored_once_however_often_it_is_sent(site, store):
    question = queue(site)["next"][0]
    for _ in range(3):
        assert answer(site, question).json()["answered"] == 1
    (row,) = store.history().pairs
    assert (row.rater, row.preferred, row.page, row.repeat) == ("Ada", "left", 1, False)
    assert row.prompt == question["prompt"] and row.time
    refused(answer(site, question, "right"), 409, "another window")
    assert len(store.history().pairs) == 1


def test_undo_and_another_answer(site, store):
    question = queue(site)["next"][0]
    answer(site, question)
    assert answer(site, question, "withdrawn", step=1).json()["answered"] == 0
    assert answer(site, question, "withdrawn", step=1).json()["answered"] == 0
    again = queue(site)["next"][0]
    assert again == {**question, "step": 2}
    assert answer(site, again, "tie").json()["answered"] == 1
    assert [row.preferred for row in store.history().pairs] == ["left", "withdrawn", "tie"]


def test_rows_out_of_order_are_refused(site, store):
    question = queue(site)["next"][0]
    refused(answer(site, question, page=2), 409, "missing")
    refused(answer(site, question, step=2), 409, "missing")
    refused(answer(site, question, "withdrawn"), 422, "withdrawn")
    refused(answer(site, question, "withdrawn", step=1), 409, "missing")
    answer(site, question)
    refused(answer(site, question, "left", step=1), 422, "withdrawn")
    other = queue(site)["next"][1]
    refused(answer(site, other, "withdrawn", page=1, step=1), 409, "other pictures")
    assert len(store.history().pairs) == 1


def test_pictures_that_may_not_be_labelled(site, store, run):
    first, second = queue(site)["next"][:2]
    refused(answer(site, first, left="0" * 64), 404, "run")
    refused(answer(site, first, right=first["left"]), 422, "two pictures")
    blocks = RunShelf(RunFolder(run), RandomChooser).blocks
    other = next(d for d in blocks if blocks[d] != blocks[first["left"]])
    refused(answer(site, first, right=other), 422, "one prompt and seed")
    lines = RunFolder(run).read_journal()
    held_out = next(line["digest"] for line in lines if line.get("digest", first["left"]) not in
                    blocks and "digest" in line)
    assert RunFolder(run).picture_path(held_out).is_file()
    refused(answer(site, first, left=held_out), 404, "run")
    refused(site.get(f"/pictures/{held_out}.png"), 404, "picture")
    assert not store.history().pairs


@pytest.mark.parametrize("digest", [
    "../../study.toml", "..%2F..%2Fstudy.toml", "%2e%2e/%2e%2e/labels.db", "0" * 64, "A" * 64,
    "x", "", "0" * 5000,
])
def test_only_pictures_are_served(site, digest):
    for path in (f"/pictures/{digest}.png", f"/pictures/{digest}"):
        response = site.get(path)
        assert response.status_code == 404 and list(response.json()) == ["error"]


@pytest.mark.parametrize("changes, status, words", [
    ({"rater": ""}, 422, "rater"), ({"rater": " \t "}, 422, "rater"),
    ({"rater": "x" * 61}, 422, "rater"), ({"rater": "x" * 1001}, 422, "rater"),
    ({"rater": "a\x00b"}, 422, "rater"), ({"rater": "a\u202eb"}, 422, "rater"),
    ({"rater": 7}, 422, "rater"), ({"page": 0}, 422, "page"), ({"page": "1"}, 422, "page"),
    ({"page": 10**30}, 422, "page"), ({"step": -1}, 422, "step"),
    ({"left": "../labels.db"}, 422, "left"), ({"preferred": "both"}, 422, "preferred"),
    ({"preferred": None}, 422, "preferred"), ({"simulated": True}, 422, "simulated"),
])
def test_fields_that_cannot_be_used(site, store, changes, status, words):
    question = queue(site)["next"][0]
    assert refused(answer(site, question, **{"preferred": "left", **changes}), status, words)
    assert not store.history().pairs


@pytest.mark.parametrize("body, status, words", [
    (b"", 422, "JSON"), (b"{", 422, "JSON"), (b"[]", 422, "answer"), (b"null", 422, "answer"),
    (b"\xff\xfe", 422, "JSON"), (b'{"rater": "\\ud800"}', 422, ""), (b"{}", 422, "rater"),
    (b"[" * 4000, 422, "JSON"), (b'{"rater": "' + b"x" * 10_000 + b'"}', 413, "4096"),
])
def test_bodies_that_are_no_answer(site, store, body, status, words):
    response = site.post("/api/answers", content=body,
                         headers={"content-type": "application/json"})
    assert refused(response, status, words)
    assert not store.history().pairs


def test_names_are_checked_when_asking_too(site, store):
    for name in ("", "x" * 10_000, "a\nb\x07"):
        refused(site.get("/api/queue", params={"rater": name}), 422, "rater")
    refused(site.get("/api/queue"), 422, "rater")
    assert queue(site, "  Ada   Œ. ")["rater"] == "Ada Œ."
    digests = [f"{number:064}" for number in range(2)]
    store.add([Pair(*digests, "robot", "left", simulated=True)])
    refused(site.get("/api/queue", params={"rater": "robot"}), 409, "simulated")
    assert site.get("/api/raters").json()["raters"] == []


def test_foreign_names_and_foreign_pages_are_refused(site, store):
    question = queue(site)["next"][0]
    row = {"rater": "Ada", "preferred": "left",
           **{name: question[name] for name in ("page", "step", "left", "right")}}
    # A name that somebody else's server made to lead here (DNS rebinding).
    refused(site.get("/api/raters", headers={"host": "evil.example:8000"}), 403, "localhost")
    refused(site.get("/api/raters", headers={"host": "127.0.0.1.evil.example"}), 403, "localhost")
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"},
                    {"origin": "http://localhost:9"}, {"sec-fetch-site": "cross-site"}):
        refused(site.post("/api/answers", json=row, headers=headers), 403, "itself")
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        refused(site.post("/api/answers", content=json.dumps(row),
                          headers={"content-type": kind}), 415, "json")
    assert not store.history().pairs
    good = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert site.post("/api/answers", json=row, headers=good).status_code == 200
    for host in ("127.0.0.1:8000", "[::1]:8000", "localhost"):
        assert site.get("/api/raters", headers={"host": host}).status_code == 200
    for method, path in (("PUT", "/api/answers"), ("DELETE", "/api/queue"), ("GET", "/docs"),
                         ("GET", "/openapi.json"), ("GET", "/page.py"), ("GET", "/labels.db")):
        response = site.request(method, path, headers={"content-type": "application/json"})
        assert response.status_code in (404, 405) and list(response.json()) == ["error"]


def test_token(open_site, store):
    for headers in ({}, {"authorization": "Bearer wrong-token"}, {"authorization": TOKEN},
                    {"cookie": "ldmopt=x"}, {"authorization": "Bearer \u00e9".encode("latin-1")}):
        for path in ("/api/raters", "/api/queue?rater=Ada", f"/pictures/{'0' * 64}.png",
                     "/page.js", "/api/raters?token=wrong-token"):
            refused(open_site.get(path, headers=headers), 401, "token")
    refused(open_site.post("/api/answers", json={}), 401, "token")
    stranger = open_site.get("/")
    assert stranger.status_code == 401 and "token" in stranger.text
    assert open_site.get("/api/raters", headers={"authorization": f"Bearer {TOKEN}"}).is_success
    welcome = open_site.get(f"/?token={TOKEN}&rater=Ada")
    assert welcome.status_code == 303 and welcome.headers["location"] == "/?rater=Ada"
    cookie = welcome.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=lax" in cookie
    assert open_site.get("/").is_success and queue(open_site)["next"]  # by the cookie


def test_pictures_reach_the_browser_bare(site, run):
    question = queue(site)["next"][0]
    stored = RunFolder(run).picture_path(question["left"]).read_bytes()
    assert b"tEXt" in stored and b"steps" in stored.lower()
    response = site.get(f"/pictures/{question['left']}.png")
    assert response.headers["content-type"] == "image/png"
    for word in (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME", b"parameters", b"teps"):
        assert word not in response.content
    assert Picture.from_png(response.content, None).digest == question["left"]


@pytest.mark.parametrize("cut", [0, 7, 20, -1, -13])
def test_a_damaged_png_is_none(site, run, cut):
    question = queue(site)["next"][0]
    path = RunFolder(run).picture_path(question["left"])
    whole = path.read_bytes()
    with pytest.raises(ValueError):
        bare_png(whole[:cut])
    path.write_bytes(whole[:cut])
    refused(site.get(f"/pictures/{question['left']}.png"), 410, "damaged")
    path.unlink()
    refused(site.get(f"/pictures/{question['left']}.png"), 410, "gone")


def test_headers_keep_everything_at_home(site):
    for path in ("/", "/page.js", "/page.css", "/api/raters", "/nothing"):
        headers = site.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_run_deleted_meanwhile(site, store, run):
    first, second = queue(site)["next"][:2]
    answer(site, first)
    RunFolder(run).labels.rename(run / "elsewhere.db")
    refused(answer(site, second), 410, "labels.db")
    RunFolder(run).labels.touch()  # another file of that name is not ours either
    refused(answer(site, second), 410, "labels.db")
    shutil.rmtree(run)
    refused(answer(site, second), 410, "gone")
    refused(site.get("/api/queue", params={"rater": "Ada"}), 410, "gone")
    assert not run.exists()


def test_labels_that_come_from_elsewhere_meanwhile_count(site, store, run):
    first = queue(site)["next"][0]
    with LabelStore(RunFolder(run).labels) as other:
        other.add([Pair(first["left"], first["right"], "Ada", "tie", first["prompt"])])
    found = queue(site)
    keys = [{question["left"], question["right"]} for question in found["next"]]
    assert {first["left"], first["right"]} not in keys
    assert found["useful"] == 119 and found["answered"] == 0


def test_reading_the_store_keeps_its_locks(site, store, run):
    # Opening and closing the file by other means would drop SQLite's locks on it.
    queue(site)
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    command = [sys.executable, "-c", code, str(RunFolder(run).labels)]
    writer = sqlite3.connect(RunFolder(run).labels, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    try:
        assert queue(site)["answered"] == 0
        assert b"locked" in subprocess.run(command, capture_output=True).stderr
    finally:
        writer.close()
    assert subprocess.run(command).returncode == 0
