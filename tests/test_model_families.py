"""Each family's facts come from its configuration; what cannot be used is refused in one line."""

import importlib.util
from dataclasses import replace

import pytest
from fakes import change, configured, safetensors

from ldmopt import families
from ldmopt.errors import UserError
from ldmopt.model import describe
from ldmopt.preview import plan
from ldmopt.study.spec import StudySpec

PUBLISHED = {
    # native size, sides divisible by, steps, guidance, prediction, never guided
    "sd15": (512, 8, 50, 7.5, "epsilon", False),
    "sd21": (768, 8, 50, 7.5, "v_prediction", False),
    "sdxl": (1024, 8, 50, 5.0, "epsilon", False),
    "sd3": (1024, 16, 28, 7.0, "flow", False),
    "pixart": (1024, 16, 20, 4.5, "epsilon", False),
    "flux": (1024, 16, 28, 3.5, "flow", True),
}


@pytest.mark.parametrize("shape", PUBLISHED)
def test_published_configurations(tmp_path, shape):
    found = describe(str(configured(shape, tmp_path)))
    assert PUBLISHED[shape] == (found.native_size, found.scale_factor, found.steps,
                                found.guidance, found.prediction, found.always_unguided)
    assert importlib.util.find_spec(found.module) is not None


def test_source_says_what_the_classes_say():
    import inspect

    from diffusers import AutoPipelineForText2Image  # noqa: F401
    from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING as table

    assert set(families.known()) == {kind.__name__ for kind in table.values()}
    for kind in table.values():
        found = families.family(kind.__name__)
        assert found is not None and found.module == kind.__module__
        call = inspect.signature(kind.__call__).parameters
        assert list(found.arguments) == [
            name for name, one in call.items() if name != "self" and one.kind is not one.VAR_KEYWORD
        ]
        for name in ("num_inference_steps", "guidance_scale"):
            if name in call:
                assert found.arguments[name] == call[name].default


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("StableDiffusionImg2ImgPipeline", "no text-to-image pipeline"),
        ("StableAudioPipeline", "no text-to-image pipeline"),
        ("WanPipeline", "no text-to-image pipeline"),
        ("HeliosPipeline", "num_frames"),
        ("StableDiffusionControlNetPipeline", "an image besides the prompt"),
        ("IFPipeline", "latents of a VAE"),
        (["mine", "MyPipeline"], "no text-to-image pipeline"),
    ],
)
def test_wrong_pipeline_class(tmp_path, pipeline, words):
    folder = configured("sd15", tmp_path)
    change(folder / "model_index.json", _class_name=pipeline)
    assert words in refused(folder)


def refused(model, **study):
    """Return the one line that planning a study with this model ends in."""
    spec = StudySpec(name="bad", model=str(model), device="cpu", **study)
    with pytest.raises(UserError) as caught:
        plan(spec, probe=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _no_weights(folder):
    (folder / "unet" / "model.safetensors").rename(folder / "unet" / "model.bin")


def _cut(folder):
    path = folder / "vae" / "model.safetensors"
    path.write_bytes(safetensors(4000)[:-1])


def _no_header(folder):
    (folder / "unet" / "model.safetensors").write_bytes(b"PK\x03\x04" * 8)


def _bad_header(folder):
    (folder / "unet" / "model.safetensors").write_bytes(b"\x04" + bytes(7) + b"oops")


def _empty_file(folder):
    (folder / "unet" / "model.safetensors").write_bytes(b"")


def _piece_missing(folder):
    (folder / "unet" / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model.safetensors", "b": "model-00002.safetensors"}}')


def _no_part(folder):
    for path in (folder / "text_encoder").iterdir():
        path.unlink()
    (folder / "text_encoder").rmdir()


def _own_code(folder):
    change(folder / "model_index.json", unet=["my_unet", "MyUNet"])


def _no_index(folder):
    (folder / "model_index.json").unlink()


def _broken_index(folder):
    (folder / "model_index.json").write_text("{")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_no_weights, ["unet", "no .safetensors", "safe_serialization"]),
        (_cut, ["vae", "corrupt", "promises", "bytes"]),
        (_no_header, ["unet", "corrupt", "no header"]),
        (_bad_header, ["unet", "corrupt", "no list of tensors"]),
        (_empty_file, ["unet", "corrupt", "0 bytes"]),
        (_piece_missing, ["model-00002.safetensors is missing"]),
        (_no_part, ["text_encoder", "missing", "save_pretrained"]),
        (_own_code, ["MyUNet of my_unet", "never run"]),
        (_no_index, ["no model_index.json"]),
        (_broken_index, ["model_index.json", "not valid JSON"]),
    ],
)
def test_harmed_folder(tmp_path, harm, words):
    folder = configured("sd15", tmp_path)
    harm(folder)
    line = refused(folder)
    for word in words:
        assert word in line


def test_sentencepiece_tokenizer(tmp_path):
    folder = configured("pixart", tmp_path)
    change(folder / "model_index.json", tokenizer=["transformers", "T5Tokenizer"])
    (folder / "tokenizer" / "spiece.model").write_bytes(b"")
    if importlib.util.find_spec("sentencepiece"):
        assert describe(str(folder)).pipeline == "PixArtSigmaPipeline"
    else:
        assert "pip install sentencepiece" in refused(folder)


@pytest.mark.parametrize(
    ("shape", "default", "words"),
    [
        ("sd15", {"steps": 4, "stesp": 5}, ["unknown knob 'stesp'", "'steps'"]),
        ("sd15", {"sampler": "eulr"}, ["'eulr'", "'euler'"]),
        ("sd15", {"steps": 0}, ["steps", "0"]),
        ("sd15", {"size": "516x512"}, ["divisible by 8", "516"]),
        ("sd3", {"size": "520x512"}, ["divisible by 16", "520"]),
        ("sd15", {"precision": "fp16"}, ["fp16", "CPU"]),
        ("sd15", {"attention": "xformers"}, ["xformers", "CUDA"]),
        ("sd15", {"sampler": "flow_euler"}, ["flow_euler", "epsilon", "take euler"]),
        ("sd3", {"sampler": "ddim"}, ["ddim", "flow matching", "take flow_euler"]),
        ("flux", {"sampler": "flow_heun"}, ["flow_heun", "FluxPipeline", "take flow_euler"]),
        ("flux", {"sampler": "unipc", "sigmas": "karras"}, ["karras", "take default"]),
        ("flux", {"attention": "eager"}, ["eager", "take sdpa"]),
        ("pixart", {"backend": "onnx"}, ["onnx", "PixArtSigmaPipeline"]),
    ],
)
def test_setting_that_a_family_refuses(tmp_path, shape, default, words):
    line = refused(configured(shape, tmp_path), default=default)
    for word in words:
        assert word in line


def test_half_precision_files_alone_are_loaded_as_such(tmp_path):
    folder = configured("sdxl", tmp_path)
    for path in folder.rglob("model.safetensors"):
        path.rename(path.with_name("model.fp16.safetensors"))
    assert describe(str(folder)).variant == "fp16"


def test_pinned_revision_in_the_hub_cache(tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    commit = "0123456789012345678901234567890123456789"
    folder = cache / "models--org--name" / "snapshots" / commit
    configured("sd15", folder)
    refs = cache / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "v1").write_text(commit)
    for name in ("org/name@v1", f"org/name@{commit}"):
        assert describe(name) == replace(describe(str(folder)), name=name)
    assert refused("org/name").endswith("fetch it with: hf download org/name")
    assert refused("org/name@v2").endswith("fetch it with: hf download org/name --revision v2")
