"""A run of the stand-in, copied for each test, and the page over it in a process of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from functools import partial

import pytest
import uvicorn

import ldmopt
from ldmopt.labeling.app import make_app
from ldmopt.labeling.choose import RandomChooser
from ldmopt.labeling.ledger import Ledger
from ldmopt.labeling.shelf import RunShelf
from ldmopt.labels import LabelStore
from ldmopt.study.folder import RunFolder

STUDY = """
name = "labelled"
model = "standin"
prompts = {search = 4, confirm = 4}
seeds = 2
[default]
steps = 30
[space]
sampler = ["ddim", "dpmpp_2m", "lms"]
steps = {low = 2, high = 30, log = true}
[budget]
trials = 6
[scorer]
encoder = "standin"
"""


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    study = folder / "study.toml"
    study.write_text(STUDY)
    ldmopt.run(study, folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    return tmp_path / "run"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Thread:
    """The page in a thread of the tests."""

    def __init__(self, run, wanted=100):
        self.run = run
        folder = RunFolder(run)
        self.store = LabelStore(folder.labels)
        app = make_app(Ledger(self.store), RunShelf(folder, RandomChooser), run="test",
                       wanted=wanted)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.link = f"http://127.0.0.1:{self.port}/"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off",
                                                    timeout_graceful_shutdown=1))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def stop(self):
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()
        self.store.close()

    def pairs(self, rater=None):
        """Every stored row, of one rater or of all."""
        return [row for row in self.store.history().pairs if rater in (None, row.rater)]


class Process:
    """`ldmopt label` in a process of its own, to be killed and started again."""

    def __init__(self, run):
        self.run = run
        self.port = free_port()
        self.link = f"http://127.0.0.1:{self.port}/"
        self.process = None

    def start(self):
        code = "import sys; from ldmopt.cli import main; sys.argv[0] = 'ldmopt'; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "label", str(self.run), "--port", str(self.port),
             "--no-browser"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
            # A shell's background jobs are born with SIGINT ignored.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),
        )
        line = self.process.stdout.readline()
        assert self.link in line, line
        with urllib.request.urlopen(self.link) as page:
            assert page.status == 200
        return self

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        if self.process.poll() is None:
            self.kill()

    def pairs(self):
        """Every stored row."""
        with LabelStore(RunFolder(self.run).labels) as store:
            return list(store.history().pairs)


@pytest.fixture
def serve():
    """Starts servers, in a thread or in a process of their own; ends them after the test."""
    servers = []

    def start(run, process=False, **how):
        servers.append(Process(run) if process else Thread(run, **how))
        return servers[-1].start() if process else servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def visit(chromium):
    """Opens a page as one rater in a browser profile of its own; errors of the page fail."""
    contexts, faults = [], []

    def open_page(link, rater=None, **how):
        contexts.append(chromium.new_context(**how))
        page = contexts[-1].new_page()
        page.set_default_timeout(15000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text)
                if "Content Security Policy" in said.text else None)
        page.hosts = set()
        page.on("request", lambda request: page.hosts.add(request.url.split("/")[2]))
        page.goto(link)
        if rater is not None:
            page.fill("#name", rater)
            page.press("#name", "Enter")
            shown(page, 1)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


def shown(page, number):
    """Wait until the question of this number is there to be answered."""
    page.wait_for_selector(f"#ask[data-page='{number}']")
    page.wait_for_timeout(130)  # sooner answers count as slips


def press(page, key, number):
    """Answer the question of this number by a key."""
    shown(page, number)
    page.keyboard.press(key)


def stored(page):
    """Wait until the server has confirmed everything."""
    page.wait_for_selector("body[data-waiting='0']")


def told(page, words):
    """Wait until the status line says this."""
    page.locator("#status", has_text=words).wait_for()
