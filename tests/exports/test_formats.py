"""Each format says the whole setting, or says what it left out."""

import json

import pytest

import ldmopt
from ldmopt.errors import UserError
from ldmopt.exports.formats import a1111, comfyui, invokeai
from ldmopt.knob import all_knobs
from ldmopt.knobs.sampling import SAMPLERS, SIGMAS

PROMPT = "a house (red), [old]"
WHOLE = {"sampler": "dpmpp_2m", "sigmas": "karras", "steps": 12, "guidance": 5.5, "batch": 2,
         "size": "96x64"}
EVERYTHING = {
    **WHOLE, "attention": "eager", "backend": "onnx", "channels_last": "on", "compile": "default",
    "deepcache": 2, "eta": 0.3, "guidance_end": 0.5, "offload": "model", "precision": "bf16",
    "rescale": 0.4, "token_merging": 0.25, "vae_slicing": "on", "vae_tiling": "on", "mine": "x",
}  # fmt: skip


def export(book, to, setting, **more):
    return ldmopt.export(book(**setting), to, id="item", prompt=PROMPT, seed=5, **more)


def test_every_format_has_a_line_and_a_test():
    assert set(ldmopt.formats()) == {"a1111", "comfyui", "diffusers", "invokeai"}
    assert all(ldmopt.formats().values())


def test_everything_is_every_knob():
    assert set(EVERYTHING) == {*all_knobs(), "mine"}


def left_out(to, text):
    data = json.loads(text)
    if to == "comfyui":
        return data["1"]["_meta"]["not_expressed"]
    return data["not_expressed" if to == "a1111" else "ldmopt_not_expressed"]


@pytest.mark.parametrize(("to", "said"), [
    ("a1111", {"sampler", "sigmas", "steps", "guidance", "size", "batch", "eta",
               "token_merging"}),
    ("comfyui", {"sampler", "sigmas", "steps", "guidance", "guidance_end", "rescale", "size",
                 "batch", "vae_tiling", "token_merging"}),
    ("invokeai", {"sampler", "sigmas", "steps", "guidance", "size", "rescale"}),
])
def test_nothing_is_dropped_in_silence(book, to, said):
    text = export(book, to, EVERYTHING)
    told = {note.split("=")[0] for note in left_out(to, text)}
    assert told >= set(EVERYTHING) - said
    plain = left_out(to, export(book, to, {**WHOLE, "attention": "sdpa", "guidance_end": 1.0}))
    assert not any(note.startswith(("attention", "guidance_end")) for note in plain)
    assert "0.72 [0.62, 0.79]" in text and "quickstart" in text


def test_a1111(book):
    found = json.loads(export(book, "a1111", {**WHOLE, "token_merging": 0.5}))
    payload = found["txt2img"]
    assert payload["prompt"] == r"a house \(red\), \[old\]"
    wanted = {"sampler_name": "DPM++ 2M", "scheduler": "Karras", "steps": 12, "cfg_scale": 5.5,
              "width": 96, "height": 64, "seed": 5, "batch_size": 2}
    assert wanted.items() <= payload.items()
    assert payload["override_settings"] == {"randn_source": "CPU", "token_merging_ratio": 0.5}
    prompt, line = found["infotext"].split("\n")
    assert prompt == payload["prompt"]
    assert line.startswith("Steps: 12, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 5.5, "
                           "Seed: 5, Size: 96x64, Model: miniature, RNG: CPU, "
                           "Token merging ratio: 0.5")


def test_a1111_infotext_is_read_back_as_the_web_ui_reads_it(book):
    """By the web UI's own pattern for its fields, quotes included."""
    import re

    pattern = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
    line = json.loads(export(book, "a1111", EVERYTHING))["infotext"].split("\n")[-1]
    fields = dict(pattern.findall(line))
    assert fields["Sampler"] == "DPM++ 2M" and fields["Size"] == "96x64"
    assert "guidance_end" in json.loads(fields["ldmopt"])
    assert set(fields) == {"Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size",
                           "Model", "RNG", "Eta DDIM", "Token merging ratio", "ldmopt"}


def test_a1111_names_go_both_ways():
    for slug, row in a1111.SAMPLERS.items():
        if row.doubt or slug.startswith("flow_"):
            continue
        for sigmas in SIGMAS:
            name, schedule = a1111.names(slug, sigmas)
            back = a1111.knobs(name, schedule)
            assert back == {"sampler": slug, "sigmas": sigmas if row.scheduled else "default"}
    assert set(a1111.SAMPLERS) == set(SAMPLERS) and set(a1111.SCHEDULES) == set(SIGMAS)
    assert a1111.knobs("PLMS") == {"sampler": "pndm", "sigmas": "default"}
    assert a1111.knobs("DPM++ 2M Karras") == {"sampler": "dpmpp_2m", "sigmas": "karras"}
    assert a1111.knobs("DPM++ 2M SDE") == {"sampler": "dpmpp_2m_sde", "sigmas": "exponential"}
    assert a1111.knobs("Euler a", "uniform") == {"sampler": "euler_a", "sigmas": "default"}


@pytest.mark.parametrize(("names", "words"), [
    (("Restart", "Karras"), "'Restart'"), (("Euler", "Polyexponential"), "'Polyexponential'"),
    (("DPM++ 2S a", "Karras"), "none of ldmopt's"),
])
def test_a1111_names_that_ldmopt_has_not(names, words):
    with pytest.raises(UserError, match=words):
        a1111.knobs(*names)


def check_links(nodes):
    """Each input that is a link leads to a node, as ComfyUI's server demands."""
    for node in nodes.values():
        assert set(node) == {"class_type", "inputs", "_meta"}
        for value in node["inputs"].values():
            if isinstance(value, list):
                assert value[0] in nodes and isinstance(value[1], int)


def test_comfyui(book):
    nodes = json.loads(export(book, "comfyui", WHOLE))
    check_links(nodes)
    kinds = {node["class_type"]: node["inputs"] for node in nodes.values()}
    assert set(kinds) == {"CheckpointLoaderSimple", "CLIPTextEncode", "EmptyLatentImage",
                          "KSampler", "VAEDecode", "SaveImage"}
    assert kinds["EmptyLatentImage"] == {"width": 96, "height": 64, "batch_size": 2}
    wanted = {"seed": 5, "steps": 12, "cfg": 5.5, "sampler_name": "dpmpp_2m",
              "scheduler": "karras", "denoise": 1.0}
    assert wanted.items() <= kinds["KSampler"].items()
    assert nodes["2"]["inputs"]["text"] == r"a house \(red\), [old]"


def test_comfyui_says_more_with_more_nodes(book):
    nodes = json.loads(export(book, "comfyui", EVERYTHING))
    check_links(nodes)
    first, second = (nodes[name]["inputs"] for name in ("7", "8"))
    assert (first["end_at_step"], second["start_at_step"]) == (6, 6)
    assert (first["cfg"], second["cfg"]) == (5.5, 1.0)
    assert first["model"] == ["6", 0] and nodes["6"]["inputs"]["model"] == ["5", 0]
    assert nodes["9"]["class_type"] == "VAEDecodeTiled"
    nodes = json.loads(export(book, "comfyui", {**WHOLE, "sigmas": "ays"}))
    check_links(nodes)
    assert nodes["11"]["inputs"] == {"model_type": "SD1", "steps": 12, "denoise": 1.0}


def test_every_sampler_has_a_name_in_comfyui():
    assert set(comfyui.SAMPLERS) == set(SAMPLERS)
    assert {*comfyui.SCHEDULERS, "ays"} == set(SIGMAS)


def test_invokeai(book):
    found = json.loads(export(book, "invokeai", {**WHOLE, "rescale": 0.4}))
    wanted = {"generation_mode": "txt2img", "positive_prompt": PROMPT, "width": 96, "height": 64,
              "seed": 5, "cfg_scale": 5.5, "cfg_rescale_multiplier": 0.4, "steps": 12,
              "scheduler": "dpmpp_2m_k"}
    assert wanted.items() <= found.items()
    odd = json.loads(export(book, "invokeai", {**WHOLE, "sigmas": "beta"}))
    assert odd["scheduler"] == "dpmpp_2m"
    assert any(note.startswith("sigmas=beta") for note in odd["ldmopt_not_expressed"])


def test_invokeai_names_go_both_ways():
    assert {sampler for sampler, _ in invokeai.SCHEDULERS} == set(SAMPLERS)
    for (sampler, sigmas), name in invokeai.SCHEDULERS.items():
        if not sampler.startswith("flow_"):
            assert invokeai.knobs(name) == {"sampler": sampler, "sigmas": sigmas}
    assert invokeai.knobs("edm_euler") is None


@pytest.mark.parametrize("to", ["a1111", "comfyui", "invokeai"])
def test_samplers_of_other_programs_pass(book, to):
    text = export(book, to, {"sampler": "Restart", "sigmas": "Turbo"})
    assert "Restart" in text and "sampler=Restart" in text


@pytest.mark.parametrize(("more", "words"), [
    ({"to": "a111"}, "did you mean 'a1111'"), ({"id": "itme"}, "did you mean 'item'"),
    ({"prompt": " "}, "prompt is empty"), ({"seed": -1}, "seed must be 0 or more"),
])
def test_refusals(book, more, words):
    with pytest.raises(UserError, match=words):
        ldmopt.export(book(**WHOLE), **{"to": "a1111", "id": "item", **more})
