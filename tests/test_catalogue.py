from pathlib import Path

import pytest

from ldmopt.catalogue import insert, knob_table
from ldmopt.knob import all_knobs

README = Path(__file__).resolve().parent.parent / "README.md"


def test_readme_has_the_knobs_as_they_are():
    text = README.read_text()
    assert text == insert(text), "write the table anew: python -m ldmopt.catalogue README.md"


def test_every_knob_has_a_row():
    table = knob_table()
    for name, item in all_knobs().items():
        assert f"| `{name}` |" in table and item.help in table


def test_what_needs_a_gpu_says_so():
    table = knob_table()
    assert "xformers (CUDA)" in table and "model (CUDA)" in table and "fp16 (CUDA)" in table
    assert "sdpa (CUDA)" not in table and "default (CUDA)" not in table


def test_where_a_knob_acts_is_said_in_words():
    rows = {line.split("`")[1]: line for line in knob_table().splitlines() if "`" in line}
    assert "guidance above 1" in rows["rescale"]
    assert "the sizes at which the VAE decodes in more than one tile" in rows["vae_tiling"]
    assert "sampler ddim" in rows["eta"]
    assert "sampler other than ddim, ddpm" in rows["sigmas"]
    assert "| always |" in rows["steps"]


def test_a_text_without_marks_is_an_error():
    with pytest.raises(ValueError, match="<!-- knobs"):
        insert("no table here")
