import pytest

STANDIN = """
name = "standin"
model = "standin"
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
