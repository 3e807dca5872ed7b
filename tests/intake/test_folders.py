"""`import_folder`: pictures in each program's own metadata layout, made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import ldmopt
from ldmopt.child.png import encode, parameters_text
from ldmopt.contracts import Block, Setting
from ldmopt.errors import UserError
from ldmopt.intake import metadata
from ldmopt.intake.embedded import read_folder
from ldmopt.intake.table import settled
from ldmopt.study import output

A1111 = (
    "a castle, (moonlight:1.2)\nNegative prompt: blurry, text\n"
    "Steps: {steps}, Sampler: {sampler}, Schedule type: {schedule}, CFG scale: 7, Seed: 42, "
    'Size: 64x64, Model hash: 6ce0161689, Model: v1-5, Lora hashes: "more: 3b8a, less: 39", '
    "Version: v1.10.1"
)
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 18446744073709551615, "steps": 12, "cfg": 6.5, "sampler_name": "euler_ancestral",
        "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0],
        "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red house", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "ugly", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}  # fmt: skip
INVOKEAI = {
    "generation_mode": "txt2img", "positive_prompt": "a lake", "negative_prompt": "",
    "width": 64, "height": 64, "seed": 7, "cfg_scale": 7.5, "steps": 30, "scheduler": "dpmpp_2m_k",
    "model": {"key": "1", "name": "sd-1", "model_name": "sd-1"}, "app_version": "5.0.0",
}  # fmt: skip
_numbers = iter(range(1, 10_000))


def save(path: Path, texts: dict[str, str] | None = None, comment: bytes = b"", **exif: str):
    """Write a picture that differs from every other one, with PNG texts or EXIF."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32] = next(_numbers) % 250 + 3
    image = Image.fromarray(pixels)
    if path.suffix == ".png":
        info = PngInfo()
        for name, text in (texts or {}).items():
            info.add_text(name, text)
        image.save(path, pnginfo=info)
        return
    found = Image.Exif()
    if comment:
        found.get_ifd(0x8769)[0x9286] = comment
    for tag, text in exif.items():
        found[{"make": 0x010F, "model": 0x0110}[tag]] = text
    image.save(path, exif=found.tobytes(), **({"lossless": True} if path.suffix == ".webp" else {}))


def made(path: Path) -> metadata.Made:
    """Return what one picture says."""
    with Image.open(path) as image:
        return metadata.read(image)


def a1111(steps: int = 20, sampler: str = "DPM++ 2M", schedule: str = "Karras") -> str:
    return A1111.format(steps=steps, sampler=sampler, schedule=schedule)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_a1111_and_its_forks_write_parameters(tmp_path, suffix):
    path = tmp_path / f"one{suffix}"
    save(path, {"parameters": a1111()}, b"UNICODE\0" + a1111().encode("utf-16-be"))
    found = made(path)
    assert found.cells == {"sampler": "dpmpp_2m", "sigmas": "karras", "steps": "20",
                           "guidance": "7", "size": "64x64"}
    assert (found.prompt, found.negative) == ("a castle, (moonlight:1.2)", "blurry, text")
    assert (found.seed, found.model) == (42, "v1-5")


@pytest.mark.parametrize("comment", [
    b"ASCII\0\0\0" + a1111().encode(), b"UNICODE\0" + a1111().encode("utf-16-le"),
])
def test_comments_in_other_encodings_are_read_too(tmp_path, comment):
    save(tmp_path / "one.jpg", comment=comment)
    assert made(tmp_path / "one.jpg").cells["sampler"] == "dpmpp_2m"


@pytest.mark.parametrize(("sampler", "schedule", "cells"), [
    ("DPM++ 2M Karras", "", ("dpmpp_2m", "karras")),
    ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
    ("Euler a", "Automatic", ("euler_a", None)), ("Euler", "Automatic", ("euler", "default")),
    ("DPM++ 3M SDE", "Exponential", ("DPM++ 3M SDE", "exponential")),
    ("Restart", "SGM Uniform", ("Restart", "sgm uniform")),
])  # fmt: skip
def test_schedules_stand_in_the_name_or_beside_it(tmp_path, sampler, schedule, cells):
    text = a1111(20, sampler, schedule)
    text = text if schedule else text.replace("Schedule type: , ", "")
    save(tmp_path / "one.png", {"parameters": text})
    found = made(tmp_path / "one.png").cells
    assert (found["sampler"], found.get("sigmas")) == cells


def test_comfyui_writes_its_graph_with_or_without_a_workflow(tmp_path):
    links = [[1, 4, 0, 3, 0, "MODEL"], [2, 6, 0, 3, 1, "CONDITIONING"],
             [3, 7, 0, 3, 2, "CONDITIONING"], [4, 4, 1, 6, 0, "CLIP"], [5, 4, 1, 7, 0, "CLIP"]]
    graph = json.dumps(GRAPH)
    save(tmp_path / "whole.png", {"prompt": graph, "workflow": json.dumps({"links": links})})
    save(tmp_path / "api.png", {"prompt": graph})
    save(tmp_path / "one.webp", model=f"prompt:{graph}", make='workflow:{"links": []}')
    for name in ("whole.png", "api.png", "one.webp"):
        found = made(tmp_path / name)
        assert found.cells == {"sampler": "euler_a", "steps": "12", "guidance": "6.5",
                               "size": "64x64"}, name
        assert (found.prompt, found.negative, found.seed) == ("a red house", "ugly", -1)
        assert found.model == "sd15.safetensors"


def test_two_samplers_make_no_setting(tmp_path):
    save(tmp_path / "one.png", {"prompt": json.dumps({**GRAPH, "13": GRAPH["3"]})})
    with pytest.raises(UserError, match="2 samplers worked on it"):
        made(tmp_path / "one.png")


def test_invokeai_writes_json(tmp_path):
    save(tmp_path / "one.png", {"invokeai_metadata": json.dumps(INVOKEAI)})
    found = made(tmp_path / "one.png")
    assert found.cells == {"sampler": "dpmpp_2m", "sigmas": "karras", "steps": "30",
                           "guidance": "7.5", "size": "64x64"}
    assert (found.prompt, found.seed, found.model) == ("a lake", 7, "sd-1")


def test_pictures_of_ldmopts_own_runs_read_back(tmp_path):
    setting = Setting(sampler="unipc", sigmas="karras", steps=9, guidance=4.0, size="64x64")
    text = parameters_text(setting, Block("a hill", 3), "miniature")
    (tmp_path / "one.png").write_bytes(encode(np.ones((64, 64, 3), np.uint8), text))
    raw = read_folder(tmp_path, lambda share: None).raw
    [found] = settled(raw, {}, with_sigmas=True)
    assert (found.setting, found.prompt, found.seed) == (setting, "a hill", 3)


def test_a_folder_becomes_a_run_and_what_cannot_be_read_is_listed(tmp_path, monkeypatch):
    from ldmopt.exports import plots

    monkeypatch.setattr(plots, "front_plot", lambda *a, **k: None)
    monkeypatch.setattr(output, "write_sheet", lambda *a, **k: None)
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for seed in range(3):
        for steps in (10, 20, 30):
            text = a1111(steps).replace("Seed: 42", f"Seed: {seed}")
            pixels = rng.integers(0, 255, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            info = PngInfo()
            info.add_text("parameters", text)
            Image.fromarray(pixels).save(folder / "more" / f"{seed}-{steps}.png", pnginfo=info)
    save(folder / "holiday.jpg")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    (folder / "copy.png").write_bytes((folder / "more" / "0-10.png").read_bytes())
    (folder / "notes.txt").write_text("not looked at")
    done = ldmopt.import_folder(folder, tmp_path / "run", default=["steps=20"])
    assert (done.settings, done.pictures, done.observations) == (3, 9, 9)
    reasons = dict(done.skipped)
    assert reasons["holiday.jpg"] == "it does not say how it was made"
    assert "same picture as copy.png" in reasons["more/0-10.png"]
    assert set(reasons) == {"broken.png", "holiday.jpg", "more/0-10.png"}
    assert done.rulebook.data["scope"]["model"] == "v1-5"
    assert any("3 files could not be read" in note for note in done.notes)
    assert any("no seconds" in note for note in done.notes)
    assert ldmopt.import_folder(folder, tmp_path / "run").added == 0


def test_what_differs_beside_the_knobs_becomes_a_knob(tmp_path):
    for model in ("v1-5", "other"):
        save(tmp_path / f"{model}.png", {"parameters": a1111().replace("v1-5", model)})
    found = read_folder(tmp_path, lambda share: None)
    assert "model" in found.raw.knobs and found.model == ""
    assert any("differ in model too" in note for note in found.notes)


def test_a_folder_without_such_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match="no PNG, JPEG or WebP file"):
        ldmopt.import_folder(tmp_path, tmp_path / "run")
    save(tmp_path / "one.png")
    with pytest.raises(UserError, match="none that says how it was made, for example one.png"):
        ldmopt.import_folder(tmp_path, tmp_path / "run")
    with pytest.raises(UserError, match="is no folder"):
        ldmopt.import_folder(tmp_path / "one.png", tmp_path / "run")
