"""A recommendation measured again: what holds, what does not, and what cannot be told."""

import json
import os

import pytest

import ldmopt
from ldmopt.cli import app
from ldmopt.errors import UserError
from ldmopt.reconcile.estimates import Estimate
from ldmopt.study.folder import held
from ldmopt.study.remeasuring import _verdict


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("remeasure")
    path = place / "study.toml"
    path.write_text("""
name = "again"
model = "standin"
prompts = {search = 3, confirm = 4}
seeds = 1
[default]
steps = 20
[space]
steps = [6, 30]
[budget]
trials = 3
[scorer]
encoder = "standin"
""")
    ldmopt.run(path, place / "run")
    return place / "run"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ldmopt" / "remeasured"


def test_an_interrupted_one_goes_on_and_a_whole_one_is_made_anew(run, cache):
    id = json.loads((run / "rulebook.json").read_text())["recommendations"][0]["id"]
    made = []

    def stop_at_seven(state):
        made.append(state.pictures)
        if state.pictures == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ldmopt.remeasure(run, id, count=5, report=stop_at_seven)
    (kept,) = cache.iterdir()
    assert len(list(kept.glob("pictures/*/*.png"))) == 7
    states = []
    whole = ldmopt.remeasure(run, id, count=5, report=states.append)
    assert states[-1].pictures == 3 and "going on" in states[-1].notes[0]
    assert whole["prompts"] == 5 and not list(cache.iterdir())
    states.clear()
    again = ldmopt.remeasure(run, id, count=5, report=states.append)
    assert states[-1].pictures == 10 and not states[-1].notes
    assert again["quality"] == whole["quality"]


def test_what_was_left_behind_goes_after_a_week(run, cache):
    """Unless it is what goes on now, is younger, or is held by another process."""
    id = json.loads((run / "rulebook.json").read_text())["recommendations"][0]["id"]

    def interrupt(state):
        if state.pictures == 2:
            raise KeyboardInterrupt

    def leave(count):
        before = set(cache.glob("*"))
        with pytest.raises(KeyboardInterrupt):
            ldmopt.remeasure(run, id, count=count, report=interrupt)
        [made] = set(cache.glob("*")) - before
        return made

    old, going_on, busy, young = (leave(count) for count in (2, 3, 4, 5))
    for place in (old, going_on, busy):
        os.utime(place / "run.lock", (0, 0))
    states = []
    with held(busy / "run.lock", "it", "wait"):
        os.utime(busy / "run.lock", (0, 0))
        ldmopt.remeasure(run, id, count=3, report=states.append)
    assert "going on" in states[-1].notes[0]
    assert set(cache.iterdir()) == {busy, young}


def test_in_its_run_folder_on_prompts_never_seen(run):
    book = json.loads((run / "rulebook.json").read_text())
    item = book["recommendations"][0]
    before = sorted(path.name for path in run.iterdir())
    found = ldmopt.remeasure(run, item["id"], count=5)
    assert found["prompts"] == 5 and "neither search nor confirmation" in found["which_prompts"]
    assert found["verdict"] in ("confirmed", "not shown", "contradicted") and found["why"]
    assert found["scorer"]["same"]
    assert found["quality"]["stated"]["win_rate"] == item["quality"]["win_rate"]
    here = found["seconds"]["here"]
    assert here["low"] <= here["seconds"] <= here["high"]
    assert found["seconds"]["ratio"] == pytest.approx(here["seconds"] / item["cost"]["seconds"])
    assert found["peak_memory_bytes"]["here"] > 0
    assert sorted(path.name for path in run.iterdir()) == before


def test_alone_from_the_command_line(run, tmp_path):
    from typer.testing import CliRunner

    book = tmp_path / "rulebook.json"
    book.write_text((run / "rulebook.json").read_text())
    id = json.loads(book.read_text())["recommendations"][0]["id"]
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a house\n\na tree\na house\n")
    done = CliRunner().invoke(app, ["remeasure", str(book), id, "--prompts", str(prompts)])
    assert done.exit_code == 0, done.output
    for word in ("win rate  stated", "on 2 prompts: given", "seconds   stated", "memory    stated"):
        assert word in done.output


@pytest.mark.parametrize(("how", "words"), [
    ({"id": "bets"}, "no recommendation 'bets'"),
    ({"prompts": "/no/such/file"}, "cannot be read"),
    ({"prompts": [" "]}, "prompts: there is none"),
    ({"count": 0}, "count must be 1 or more"),
])
def test_refusals(run, how, words):
    ids = [row["id"] for row in json.loads((run / "rulebook.json").read_text())["recommendations"]]
    with pytest.raises(UserError, match=words):
        ldmopt.remeasure(run, **{"id": ids[0], **how})


def test_a_model_without_prompts(run, tmp_path):
    data = json.loads((run / "rulebook.json").read_text())
    data["scope"]["model"] = "nobody/nothing"
    (tmp_path / "rulebook.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="give prompts as a text file"):
        ldmopt.remeasure(tmp_path, data["recommendations"][0]["id"])


@pytest.mark.parametrize(("stated", "here", "same", "verdict"), [
    ((0.7, 0.6, 0.8), (0.65, 0.55, 0.75), True, "confirmed"),
    ((0.7, 0.6, 0.8), (0.9, 0.85, 0.95), True, "confirmed"),
    ((0.7, 0.65, 0.75), (0.55, 0.5, 0.6), True, "contradicted"),
    ((0.7, 0.65, 0.75), (0.55, 0.5, 0.6), False, "confirmed"),
    ((0.7, 0.6, 0.8), (0.55, 0.3, 0.75), True, "not shown"),
    ((0.6, 0.3, 0.8), (0.4, 0.36, 0.44), False, "contradicted"),
])
def test_verdicts(stated, here, same, verdict):
    assert _verdict(Estimate(*stated), Estimate(*here), 0.05, same)[0] == verdict
