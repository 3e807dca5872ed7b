"""A case for each rule, and the same case cured."""

import json

import pytest

from ldmopt import machine
from ldmopt.cli import app
from ldmopt.errors import UserError
from ldmopt.linting import lint, report
from ldmopt.rules import RULES

XL = {"pipeline": "StableDiffusionXLPipeline", "size": "1024x1024"}
ON_GPU = {"device": "cuda", "backend": "onnx"}

CASES = {
    "refused": ({"precision": "fp16", "device": "cpu"}, {"precision": "bf16"}),
    "inactive": ({"backend": "onnx", "attention": "eager"}, {"attention": "eager"}),
    "slicing-over-sdpa": ({"enable_attention_slicing": True}, {"enable_attention_slicing": False}),
    "last-attention-wins": (
        {"device": "cuda", "enable_attention_slicing": "max",
         "enable_xformers_memory_efficient_attention": True},
        {"enable_attention_slicing": "max"},
    ),
    "xformers-varies": ({"device": "cuda", "attention": "xformers"}, {"attention": "sdpa"}),
    "slicing-with-adapters": (
        {"enable_attention_slicing": "auto", "ip_adapter": "h94/IP-Adapter"},
        {"ip_adapter": "h94/IP-Adapter"},
    ),
    "slice-too-large": ({"enable_attention_slicing": 64}, {"enable_attention_slicing": 2}),
    "two-calls-a-step": ({"sampler": "heun", "steps": 30}, {"sampler": "heun", "steps": 15}),
    "sigmas-exclude-each-other": (
        {"sampler": "euler", "use_karras_sigmas": True, "use_beta_sigmas": True},
        {"sampler": "euler", "use_karras_sigmas": True, "use_beta_sigmas": False},
    ),
    "final-sigma-zero": (
        {"scheduler": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver"},
        {"scheduler": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver",
         "final_sigmas_type": "sigma_min"},
    ),
    "custom-timesteps": (
        {"sampler": "ddim", "timesteps": [999, 500]}, {"sampler": "euler", "timesteps": [999, 500]}
    ),
    "sdxl-dpmpp-artefacts": (
        {**XL, "sampler": "DPM++ 2M", "steps": 20}, {**XL, "sampler": "DPM++ 2M Karras"}
    ),
    "stopped-early": ({"denoising_end": 0.5}, {"denoising_end": 1.0}),
    "negative-prompt-unguided": (
        {"guidance_scale": 1.0, "negative_prompt": "blurry"},
        {"guidance_scale": 2.0, "negative_prompt": "blurry"},
    ),
    "size-not-divisible": ({"width": 500, "height": 512}, {"width": 512, "height": 512}),
    "sdxl-too-small": ({**XL, "size": "512x256"}, XL),
    "fp16-overflow": (
        {"device": "cuda", "torch_dtype": "torch.float16"},
        {"device": "cuda", "torch_dtype": "torch.bfloat16"},
    ),
    "tiling-shifts-tones": (
        {"enable_vae_tiling": True, "size": "128x128"}, {"enable_vae_tiling": True}
    ),
    "last-offload-wins": (
        {"device": "cuda", "enable_model_cpu_offload": True,
         "enable_sequential_cpu_offload": True},
        {"device": "cuda", "enable_model_cpu_offload": True},
    ),
    "moved-before-offload": (
        {"device": "cuda", "to": "cuda", "offload": "sequential"}, {"device": "cuda", "to": "cuda"}
    ),
    "compiled-twice": (
        {"compile": "default", "guidance_end": 0.5}, {"compile": "default", "guidance_end": 1}
    ),
    "safety-checker-blackens": ({"safety_checker": True}, {"safety_checker": None}),
    "watermark-differs": ({**XL, "add_watermarker": True}, {**XL, "add_watermarker": False}),
    "onnx-output-over-latents": (
        {**ON_GPU, "guidance": 1.0, "sampler": "ddim"},
        {**ON_GPU, "guidance": 1.0, "sampler": "euler"},
    ),
    "onnx-arena": (ON_GPU, {"device": "cpu", "backend": "onnx"}),
    "cudnn-benchmark-varies": ({"cudnn_benchmark": True}, {"cudnn_benchmark": False}),
}


def rules_of(setting):
    return {item["rule"] for item in lint(setting)["findings"]}


@pytest.mark.parametrize("name", CASES)
def test_rule_finds_its_case_and_lets_the_cured_one_pass(name):
    wrong, right = CASES[name]
    found = [item for item in lint(wrong)["findings"] if item["rule"] == name]
    assert found
    assert found[0]["severity"] == RULES[name].severity
    assert found[0]["reason"] and found[0]["fix"]
    assert name not in rules_of(right)


def test_every_rule_has_a_case():
    # The miniature is guided by CFG; what is not is tested below.
    assert set(CASES) | {"guidance-never-runs"} == set(RULES)


def test_guidance_that_never_runs(monkeypatch):
    from dataclasses import replace

    from ldmopt import linting

    plain = linting.describe
    monkeypatch.setattr(linting, "describe", lambda m: replace(plain(m), always_unguided=True))
    assert "guidance-never-runs" in rules_of({"negative_prompt": "blurry"})
    assert "refused" in rules_of({"guidance_end": 0.5})


def test_a_plain_setting_has_nothing_to_object_to():
    found = lint({"num_inference_steps": 20, "guidance_scale": 5, "scheduler": "Euler"})
    assert found["findings"] == [] and found["ignored"] == []
    assert found["setting"]["steps"] == 20
    assert report(found).startswith("nothing to object to")


@pytest.mark.parametrize("setting", [
    {"guidance": 1.0, "guidance_rescale": 0.7},
    {"guidance": 0.5, "guidance_end": 0.5},
    {"sampler": "ddim", "use_karras_sigmas": True},
    {"sampler": "euler", "eta": 1.0},
    {"enable_vae_slicing": True},
    {"enable_vae_tiling": True, "width": 64, "height": 64},
    {"backend": "onnx", "channels_last": True},
    {"backend": "onnx", "torch_compile": True},
])
def test_what_does_not_act_is_ignored(setting):
    assert rules_of(setting) == {"inactive"}


@pytest.mark.parametrize(("setting", "words"), [
    ({"attention": "xformers", "device": "cpu"}, "CUDA"),
    ({"offload": "model", "device": "cpu"}, "CUDA"),
    ({"compile": "default", "deepcache": 3}, "another path"),
    ({"sampler": "unipc", "sigmas": "ays"}, "takes timesteps"),
])
def test_what_is_refused_is_illegal(setting, words):
    found = [item for item in lint(setting)["findings"] if item["rule"] == "refused"]
    assert any(words in item["reason"] for item in found)


@pytest.mark.parametrize(("setting", "words"), [
    ({"num_inference_step": 20}, "did you mean 'num_inference_steps'"),
    ({"num_inference_steps": 20, "steps": 30}, "leave one out"),
    ({"scheduler": "NoSuchScheduler"}, "sampler has no value"),
    ({"torch_dtype": "float8"}, "precision has no value"),
    ({"pipeline": "StableDifusionPipeline"}, "did you mean 'StableDiffusionPipeline'"),
])
def test_bad_input_is_one_line(setting, words):
    with pytest.raises(UserError) as caught:
        lint(setting)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_command_ends_with_one_where_something_is_illegal(tmp_path):
    from typer.testing import CliRunner

    path = tmp_path / "setting.json"
    path.write_text('{"precision": "fp16"}')
    done = CliRunner().invoke(app, ["lint", str(path), "--device", "cpu", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"][0]["rule"] == "refused"
    path.write_text('{"guidance_scale": 1, "negative_prompt": "blurry"}')
    done = CliRunner().invoke(app, ["lint", str(path)])
    assert done.exit_code == 0
    assert "ignored: the negative prompt" in done.stdout


def test_gravest_come_first(monkeypatch):
    monkeypatch.setattr(machine, "packages", lambda: {})
    found = lint({"enable_attention_slicing": True, "backend": "torch", "sampler": "dpmpp_sde"})
    severities = [item["severity"] for item in found["findings"]]
    assert severities == ["illegal", "harmful", "harmful"]
