"""A recommendation in use: the pictures of the study, from the command line and from Python."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import ldmopt
from ldmopt.cli import app
from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.rulebook import Rulebook
from ldmopt.testing import fingerprint
from tests.exports.conftest import QUICKSTART

PROMPT = "a house by a lake, at night"
# An end to guidance is a call-back, karras an edit, the batch a number of prompts.
SETTING = {"sampler": "dpmpp_2m", "sigmas": "karras", "steps": 4, "guidance": 4.0, "batch": 2,
           "guidance_end": 0.5, "size": "96x64", "precision": "bf16"}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def rulebook(tmp_path_factory):
    data = json.loads(QUICKSTART.read_text())
    items = [{**data["recommendations"][0], "id": "mine", "setting": SETTING}]
    file = tmp_path_factory.mktemp("book") / "rulebook.json"
    Rulebook.from_data({**data, "recommendations": items}).write(file)
    return file


@pytest.fixture(scope="module")
def ready(rulebook):
    with ldmopt.pipeline(Rulebook.read(rulebook).find("mine")) as found:
        yield found


def digest(image, seed=3):
    return Picture(np.asarray(image), Block(PROMPT, seed)).digest


def test_generate_makes_the_hosts_picture_and_says_how(rulebook, ready, tmp_path):
    """The study's pictures are the host's; both ways of using a rulebook give the same one."""
    from typer.testing import CliRunner

    out = tmp_path / "a.png"
    done = CliRunner().invoke(app, ["generate", "--rulebook", str(rulebook), "--id", "mine",
                                    "--prompt", PROMPT, "--seed", "3", "-o", str(out)])
    assert done.exit_code == 0, done.output
    with Image.open(io.BytesIO(out.read_bytes())) as image:
        text = image.text["parameters"]
        made = digest(image.convert("RGB"))
    prompt, line = text.split("\n")
    assert prompt == PROMPT
    assert line.startswith("Steps: 4, Sampler: DPM++ 2M Karras, CFG scale: 4.0, Size: 96x64, "
                           "Seed: 3, Model: miniature")
    assert digest(ready(PROMPT, seed=3).images[0]) == made


def test_a_batch_of_seeds(ready):
    both = ready([PROMPT, PROMPT], seed=3).images
    assert both[0].size == (96, 64)
    named = ready([PROMPT, PROMPT], seed=[4, 3]).images
    assert [digest(image) for image in both] == [digest(image) for image in named[::-1]]
    assert ready.batch == 2


def test_arguments_of_the_call_win(ready):
    import torch

    assert ready(PROMPT, seed=3, width=64).images[0].size == (64, 64)
    source = torch.Generator("cpu").manual_seed(3)
    assert ready(PROMPT, generator=source, output_type="np").images.shape == (1, 64, 96, 3)
    assert digest(ready(PROMPT).images[0]) != digest(ready(PROMPT).images[0])


def test_it_is_the_diffusers_pipeline(ready):
    assert type(ready.pipeline).__name__ == "StableDiffusionPipeline"
    assert ready.scheduler.config.use_karras_sigmas
    assert ready.unet.dtype == ready.pipeline.unet.dtype
    with pytest.raises(AttributeError):
        _ = ready.no_such_thing


def test_knobs_turn_back():
    with ldmopt.pipeline({"sampler": "euler", "attention": "eager", "channels_last": "on"}) as one:
        plan = one._plan
        turned = fingerprint(one.pipeline, plan)
    assert fingerprint(one.pipeline, plan) != turned
    assert type(one.scheduler).__name__ == "PNDMScheduler"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: ldmopt.pipeline({"sampler": "eulr"}), "did you mean 'euler'"),
    (lambda: ldmopt.pipeline({"precision": "fp16"}, device="cpu"), "does not run on a CPU"),
    (lambda: ldmopt.pipeline({}, model="nobody/nothing"), "hf download"),
    (lambda: ldmopt.generate({}, " "), "prompt is empty"),
])
def test_refusals(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_seeds_must_fit(ready):
    with pytest.raises(UserError, match="2 seeds do not fit 1 prompt"):
        ready(PROMPT, seed=[1, 2])
    with pytest.raises(UserError, match="empty list"):
        ready([])
