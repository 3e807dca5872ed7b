import shutil
from pathlib import Path

import pytest

import ldmopt
from ldmopt.scorers.taste import crossfit
from ldmopt.scorers.taste import learning as taste

STANDIN = """
name = "standin"
model = "standin"
search = "tpe"
prompts = {search = 4, confirm = 4}
seeds = 2
plugins = ["faults"]
deadline_seconds = 2
[default]
steps = 30
[space]
sampler = ["ddim", "dpmpp_2m", "lms"]
steps = {low = 2, high = 30, log = true}
guidance = {low = 1.0, high = 12.0, step = 0.5}
precision = ["fp32", "bf16"]
[budget]
trials = 8
[scorer]
encoder = "standin"
"""


@pytest.fixture
def standin(tmp_path):
    """Writes a study of the stand-in, with some lines replaced; returns its path."""

    def write(*changes, name="study.toml"):
        text = STANDIN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def _finished(tmp_path_factory):
    where = tmp_path_factory.mktemp("finished")
    path = where / "study.toml"
    path.write_text(STANDIN.replace('encoder = "standin"', 'encoder = "auto"'))
    ldmopt.run(path, where / "run")
    return where / "run"


@pytest.fixture
def done(_finished, tmp_path):
    """A finished run judged by the package's own regressor, on pictures of the stand-in."""
    return Path(shutil.copytree(_finished, tmp_path / "run"))


@pytest.fixture(autouse=True)
def short_reports(monkeypatch):
    """Reports of `fit` with a short learning curve and the quicker maps."""
    monkeypatch.setattr(crossfit, "SIZES", (10,))
    monkeypatch.setattr(crossfit, "ROUNDS", ((10**9, 1),))
    monkeypatch.setattr(taste, "MAP", "linear")
