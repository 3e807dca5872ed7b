"""kill -9 at random moments: at most the block in flight is made again, and nothing is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from tables import PROMPTS, write_table

from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run

COMMAND = [sys.executable, "-c", "from ldmopt.cli import main; main()", "run"]
LATEST = {"standin": 4.0, "miniature": 45.0}


def start(path, out, env):
    with open(out.parent / "output.txt", "ab") as output:
        return subprocess.Popen([*COMMAND, str(path), "--out", str(out)], env=env, stderr=output,
                                stdout=output)


def kill_often(path, out, moments, env):
    """Start the study and kill it after each of the moments; then let it finish."""
    for seconds in moments:
        running = start(path, out, env)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
        # Whatever was confirmed must be readable at once, without any repair.
        if RunFolder(out).journal.exists():
            for line in RunFolder(out).journal.read_bytes().split(b"\n")[:-1]:
                json.loads(line)
    assert start(path, out, env).wait(timeout=500) == 0


def check_nothing_lost(out):
    folder, _, study = read_run(out)
    lines = [line for line in folder.read_journal() if "digest" in line]
    made = Counter((json.dumps(line["setting"]), line["prompt"], line["seed"]) for line in lines)
    assert max(made.values()) == 1
    for line in lines:
        assert Path(folder.picture_path(line["digest"])).stat().st_size > 0
    settings = [trial.setting for trial in records.finished(study)]
    assert len(settings) == len(set(settings))
    assert (out / "rulebook.json").exists()
    return lines


def test_standin_at_seventeen_moments(standin, tmp_path, monkeypatch):
    path = standin(("[space]", 'watch = "on"\n[space]'), ("trials = 8", "trials = 30"))
    watched = tmp_path / "watched.txt"
    env = {**os.environ, "WATCH_FILE": str(watched)}
    random.seed(5)
    moments = sorted(random.uniform(0.5, LATEST["standin"]) for _ in range(17))
    random.shuffle(moments)
    kill_often(path, tmp_path / "run", moments, env)
    lines = check_nothing_lost(tmp_path / "run")
    repeats = [line for line in RunFolder(tmp_path / "run").read_journal() if "repeat" in line]
    lines += repeats
    prompts = {line["prompt"] for line in lines}
    made = sum(prompt in prompts for prompt in watched.read_text().splitlines())
    # One block in flight at each kill, at the most.
    assert len(lines) <= made <= len(lines) + len(moments)


REPLAYED = """
name = "replayed"
device = "replay:{table}"
prompts = {{source = {prompts}, search = 4, confirm = 2}}
seeds = 2
[default]
sampler = "pndm"
steps = 50
[space]
sampler = ["pndm", "euler", "heun"]
steps = [4, 8, 50]
guidance = [1.0, 7.5]
[budget]
trials = 12
"""


def kill_at(path, out, lines, env):
    """Start the study and kill it once the journal has so many lines, or let it end."""
    running = start(path, out, env)
    journal = RunFolder(out).journal
    while running.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
            os.kill(running.pid, signal.SIGKILL)
        time.sleep(0.001)
    return running.returncode


def test_our_own_search_killed_goes_on_as_one_that_was_not(tmp_path):
    """On recorded costs, so that both see the same: the same pictures, trials and rulebook."""
    table, path = write_table(tmp_path / "table"), tmp_path / "study.toml"
    prompts = [f"prompt {n}" for n in range(PROMPTS)]
    path.write_text(REPLAYED.format(table=table, prompts=prompts))
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert start(path, whole, dict(os.environ)).wait(timeout=300) == 0
    wanted = made(whole)
    random.seed(7)
    moments = sorted(random.sample(range(2, len(wanted)), 2))
    codes = [kill_at(path, out, lines, dict(os.environ)) for lines in moments]
    assert codes == [-signal.SIGKILL] * 2
    assert start(path, out, dict(os.environ)).wait(timeout=300) == 0
    check_nothing_lost(out)
    assert made(out) == wanted
    books = [json.loads((folder / "rulebook.json").read_text()) for folder in (whole, out)]
    for name in ("recommendations", "front", "effects"):
        one, other = (json.dumps(drop_trials(book[name])) for book in books)
        assert one == other
    settings = [[trial.setting for trial in records.finished(read_run(folder)[2])]
                for folder in (whole, out)]
    assert settings[0] == settings[1]


def made(out):
    """Return the journal without what was booked: recorded seconds are summed up in parts."""
    return [{**line, "busy_seconds": None} for line in RunFolder(out).read_journal()]


def drop_trials(data):
    """Leave out trial numbers: a killed trial keeps its own, and its setting gets another."""
    if isinstance(data, dict):
        return {key: drop_trials(value) for key, value in data.items() if key != "trials"}
    return [drop_trials(value) for value in data] if isinstance(data, list) else data


MINIATURE = """
name = "killed"
prompts = {search = 3, confirm = 2}
seeds = 1
[default]
sampler = "unipc"
steps = 10
guidance = 3.0
[space]
sampler = ["ddim", "dpmpp_2m"]
steps = [3, 5]
[budget]
trials = 4
"""


@pytest.mark.real
def test_real_host_at_three_moments(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(MINIATURE)
    random.seed(6)
    moments = [random.uniform(8.0, LATEST["miniature"]) for _ in range(3)]
    kill_often(path, tmp_path / "run", moments, dict(os.environ))
    assert check_nothing_lost(tmp_path / "run")


@pytest.mark.parametrize(("sent", "search"),
                         [(signal.SIGINT, "factored"), (signal.SIGTERM, "tpe")])
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(standin, tmp_path, sent, search):
    path = standin(("trials = 8", "trials = 500"), ('"tpe"', f'"{search}"'))
    out = tmp_path / "run"
    # A shell's background jobs are born with SIGINT ignored.
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    running = subprocess.Popen([*COMMAND, str(path), "--out", str(out)], stderr=subprocess.PIPE,
                               text=True, preexec_fn=heard)
    folder = RunFolder(out)
    # The default's pictures, those of the probe, and some of a proposal's.
    while len(folder.journal.read_bytes().splitlines() if folder.journal.exists() else ()) < 40:
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(sent)
    _, text = running.communicate(timeout=60)
    assert running.returncode == 130
    last = text.strip().splitlines()[-1]
    assert "what was finished is kept" in last
    assert "Traceback" not in text
    assert records.finished(read_run(out)[2])
