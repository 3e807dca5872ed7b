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


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(standin, tmp_path, sent):
    path = standin(("trials = 8", "trials = 500"))
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
