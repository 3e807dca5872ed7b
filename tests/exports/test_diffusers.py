"""The exported program makes, pixel by pixel, the pictures that ldmopt's host makes."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import ldmopt
from ldmopt import machine
from ldmopt.contracts import Block
from ldmopt.knob import Context, build_space
from ldmopt.testing import open_worker

PROMPT = 'a "small" house\\ under a yellow sun, it\'s """night"""'
FAST = {"size": "64x64", "steps": 3}

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def worker():
    return open_worker("miniature")


def of_host(worker, setting, seed=11):
    context = Context(worker.model, "cpu", machine.packages())
    whole = build_space(setting, {}, context).default
    plan = worker.prepare(whole)
    with worker.edited(plan):
        pictures, _ = worker.calls(plan, [Block(PROMPT, seed + n) for n in range(plan.batch)])
    return whole, pictures


def program(book, whole, seed=11, **more):
    return ldmopt.export(book(**whole), "diffusers", id="item", prompt=PROMPT, seed=seed, **more)


def pictures_of(folder, count, seed=11):
    return [np.asarray(Image.open(folder / f"picture-{seed + n}.png")) for n in range(count)]


SETTINGS = {
    "plain": {"sampler": "pndm", "guidance": 7.5},
    "karras": {"sampler": "dpmpp_2m", "sigmas": "karras", "guidance": 4.0, "size": "96x64"},
    "sde-bf16": {"sampler": "dpmpp_2m_sde", "guidance": 3.0, "precision": "bf16"},
    "ancestral-batch": {"sampler": "euler_a", "guidance": 3.0, "batch": 2},
    "eta-end-rescale": {"sampler": "ddim", "eta": 0.5, "guidance": 5.0, "guidance_end": 0.5,
                        "rescale": 0.6, "steps": 4},
    "ays": {"sampler": "euler", "sigmas": "ays", "guidance": 3.0, "steps": 7},
    "brownian": {"sampler": "dpmpp_sde", "guidance": 2.0},
    "unguided-eager": {"sampler": "unipc", "guidance": 1.0, "attention": "eager",
                       "channels_last": "on"},
    "sliced-tiled": {"sampler": "heun", "guidance": 2.0, "attention": "sliced-max",
                     "vae_tiling": "on", "size": "128x64"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_same_picture(worker, book, name, tmp_path, monkeypatch):
    import torch

    try:
        whole, wanted = of_host(worker, {**FAST, **SETTINGS[name]})
    except ldmopt.UserError as error:
        if "needs the package" in str(error):
            pytest.skip(str(error))
        raise
    text = program(book, whole)
    assert "Not as it was measured" not in text
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "randn", torch.randn)
    exec(compile(text, name, "exec"), {"__name__": "program"})
    for found, ours in zip(pictures_of(tmp_path, len(wanted)), wanted, strict=True):
        np.testing.assert_array_equal(found, ours)


def test_it_runs_by_itself(worker, book, tmp_path):
    """In a process of its own, in which ldmopt cannot be imported."""
    whole, wanted = of_host(worker, {**FAST, "sampler": "euler", "guidance": 3.0})
    text = program(book, whole)
    bar = "import sys\nsys.modules['ldmopt'] = None\n"
    done = subprocess.run([sys.executable, "-c", bar + text], cwd=tmp_path, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    digests = [hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()
               for picture in (pictures_of(tmp_path, 1)[0], wanted[0])]
    assert digests[0] == digests[1]


def test_what_it_does_not_do_it_says(book):
    setting = {"sampler": "restart", "backend": "onnx", "deepcache": 3, "hyper": 0.5, **FAST}
    text = program(book, setting)
    compile(text, "program", "exec")
    head = text.split('"""')[1]
    for word in ("backend=onnx", "hyper=0.5", "sampler=restart", "deepcache"):
        assert word in head
    gone = program(book, setting, model="nobody/nothing")
    assert "not on this machine" in gone.split('"""')[1] and "'nobody/nothing'" in gone


def test_switches_that_this_machine_has_not(book):
    text = program(book, {**FAST, "precision": "fp16", "offload": "sequential", "batch": 3,
                          "attention": "xformers", "compile": "max-autotune",
                          "token_merging": 0.5, "vae_slicing": "on"})
    compile(text, "program", "exec")
    for line in ("torch_dtype=torch.float16", "pipe.enable_sequential_cpu_offload()",
                 "pipe.enable_xformers_memory_efficient_attention()", "ratio=0.5",
                 "pipe.unet.compile(mode='max-autotune', dynamic=False)",
                 "pipe.vae.enable_slicing()", "[PROMPT] * 3"):
        assert line in text
    assert "pipe.to(DEVICE)" not in text
