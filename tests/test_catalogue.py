from pathlib import Path

import pytest

from ldmopt.catalogue import bought_table, insert, knob_table
from ldmopt.knob import all_knobs

README = Path(__file__).resolve().parent.parent / "README.md"


def test_readme_has_the_knobs_as_they_are():
    text = README.read_text()
    tables = README.parent / "benchmarks" / "tables"
    assert text == insert(text, tables), (
        "write the table anew: python -m ldmopt.catalogue README.md")


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


def test_what_was_bought_is_read_from_the_cost_tables(tmp_path):
    columns = "changed,setting,seconds,peak_memory_bytes,failed"
    guided, plain = '"{""guidance"": 7.5}"', '"{""guidance"": 1.0}"'
    rows = [f",{guided},2,100,", f",{plain},1,90,", f"backend=onnx,{guided},1,150,",
            f"batch=4,{guided},1.6,300,", f'"batch=4, vae_slicing=on",{guided},1.6,150,',
            f"compile=default,{guided},,,deadline", f"backend=onnx,{plain},0.9,1,"]
    (tmp_path / "a.csv").write_text("\n".join([columns, *rows]) + "\n")
    (tmp_path / "a.json").write_text('{"shape": "sd15", "device_name": "Some GPU"}')
    assert bought_table(tmp_path).splitlines()[2:] == [
        "| sd15, Some GPU | backend=onnx | 0.50x | 1.50x |",
        "| sd15, Some GPU | batch=4 | 0.80x | 3.00x |",
        "| sd15, Some GPU | batch=4, vae_slicing=on | 1.00x | 0.50x |",
        "| sd15, Some GPU | compile=default | failed: deadline | failed: deadline |",
    ]


def test_a_text_without_marks_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="<!-- knobs"):
        insert("no table here", tmp_path)
