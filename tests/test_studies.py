"""The ready study files: each can be planned on a machine that has its model."""

from pathlib import Path

import pytest

import ldmopt
from ldmopt import machine
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.preview import dropped
from ldmopt.study.spec import prompts_of, read_spec

STUDIES = sorted((Path(__file__).resolve().parent.parent / "studies").glob("*.toml"))
SHAPES = {"sd15-8gb": "sd15", "sdxl-12gb": "sdxl", "serving": "sd15", "taste-first": "sd15"}
"""Random weights stand in for models that have to be fetched."""


def planned(path, shaped):
    """Return a study and its space, as on a GPU with every package."""
    spec = read_spec(path)
    model = "miniature" if path.stem == "quickstart" else shaped(SHAPES[path.stem])
    packages = dict.fromkeys([*machine.PACKAGES, "onnxruntime-gpu", "triton"], "1")
    context = Context(describe(model), "cpu" if model == "miniature" else "cuda", packages)
    return spec, build_space(spec.default, spec.space, context, spec.plugins)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_can_be_planned(path, shaped):
    spec, space = planned(path, shaped)
    search, confirm = prompts_of(spec)
    assert not set(search) & set(confirm)
    assert set(space.searched) == set(spec.space)
    assert space.refusal(space.default) is None
    # Nothing stands in a file that could never act.
    assert not [row for row in dropped(spec.space, space) if row["value"] is None]


def test_there_is_one_for_each_purpose():
    assert {path.stem for path in STUDIES} == {"quickstart", *SHAPES}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_it_says_why(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# ")
    assert sum("#" in line for line in lines) >= 4


def test_what_the_quickstart_found_is_a_valid_rulebook():
    found = ldmopt.Rulebook.read(STUDIES[0].parent / "quickstart")
    assert found.data["study"] == "quickstart"
    assert {"best", "balanced", "fastest-not-worse"} <= {
        row["id"] for row in found.data["recommendations"]}
