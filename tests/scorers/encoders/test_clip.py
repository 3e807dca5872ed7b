"""CLIPs of the user's: what is found, what is refused, and what identifies them."""

import json
import shutil
from pathlib import Path

import clips
import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from fakes import change
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from ldmopt.errors import UserError
from ldmopt.scorers.encoders import clip


def test_a_tower_and_the_same_tower_in_a_whole_see_alike(whole, renders, tmp_path):
    found = clip.find(whole, "encoder")
    tower, processor = found.load_tower()
    model, _, _ = found.load_whole()
    assert isinstance(tower, transformers.CLIPVisionModelWithProjection)
    values = clip.prepared(processor, renders[:3])
    with torch.no_grad():
        assert torch.equal(tower(values).image_embeds, model.get_image_features(values))
        alone = clips.save_clip(tmp_path / "alone")
        tower.save_pretrained(alone)
        again, _ = clip.find(alone, "encoder").load_tower()
        assert torch.equal(tower(values).image_embeds, again(values).image_embeds)


def test_pictures_are_put_as_the_folder_says(tower, renders, tmp_path):
    other = clips.copy(tower, tmp_path / "other")
    change(other / "preprocessor_config.json", image_mean=[0.0, 0.0, 0.0], image_std=[1, 1, 1])
    first, second = clip.find(tower, "encoder"), clip.find(str(other), "encoder")
    plain = clip.prepared(second.load_tower()[1], renders[:1])
    assert 0.0 <= float(plain.min()) and float(plain.max()) <= 1.0
    assert float(clip.prepared(first.load_tower()[1], renders[:1]).min()) < 0.0
    assert first.digest != second.digest


def test_a_picture_of_three_rows_is_no_picture_of_three_channels(tower):
    _, processor = clip.find(tower, "encoder").load_tower()
    thin = np.zeros((3, 40, 3), np.uint8)
    assert clip.prepared(processor, [thin]).shape == (1, 3, clips.SIDE, clips.SIDE)


def test_the_digest_is_of_the_files_that_count(tower, whole, tmp_path):
    copied = clips.copy(tower, tmp_path / "copied")
    (copied / "README.md").write_text("a card")
    shutil.copy(copied / "model.safetensors", copied / "open_clip_model.safetensors")
    digest = clip.find(tower, "encoder").digest
    assert clip.find(str(copied), "encoder").digest == digest
    weights = load_file(copied / "model.safetensors")
    weights["visual_projection.weight"] *= 1.001
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    assert clip.find(str(copied), "encoder").digest != digest
    words = clips.copy(whole, tmp_path / "words")
    (words / "merges.txt").write_text("#version: 0.2\na b\n")
    first, second = clip.find(whole, "encoder"), clip.find(str(words), "encoder")
    assert (first.digest, first.whole_digest) != (second.digest, second.whole_digest)
    assert first.digest == second.digest


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def _other_model(folder: Path) -> None:
    change(folder / "config.json", model_type="bert")


def _no_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _of_another_program(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "open_clip_model.safetensors")


def _no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(("damage", "words"), [
    (_cut, "corrupt"), (_pickled, "no pickled weights"), (_other_model, "is a bert"),
    (_no_processor, "has no preprocessor_config.json"), (_no_config, "has no config.json"),
    (_no_json, "not valid JSON"), (_of_another_program, "no model.safetensors"),
])
def test_what_is_refused_before_anything_is_loaded(tower, tmp_path, damage, words):
    folder = clips.copy(tower, tmp_path / "damaged")
    damage(folder)
    with pytest.raises(UserError, match=words) as caught:
        clip.find(str(folder), "scorer.encoder")
    assert "\n" not in str(caught.value)
    assert "scorer.encoder" in str(caught.value)


def test_weights_that_lack_a_part_are_refused_and_not_made_up(tower, tmp_path):
    folder = clips.copy(tower, tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack visual_projection\.weight"):
        clip.find(str(folder), "encoder").load_tower()
    change(folder / "config.json", hidden_size=48)
    with pytest.raises(UserError, match="cannot be used") as caught:
        clip.find(str(folder), "encoder").load_tower()
    assert "\n" not in str(caught.value)


def test_code_in_a_folder_is_never_run(tower, tmp_path):
    folder = clips.copy(tower, tmp_path / "code")
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\n")
    change(folder / "config.json", auto_map={"AutoModel": "evil.Tower"})
    change(folder / "preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Tower"})
    clip.find(str(folder), "encoder").load_tower()
    assert not ran.exists()


def test_half_precision_files_alone_are_taken(tower, tmp_path):
    folder = clips.copy(tower, tmp_path / "half")
    weights = {name: tensor.half() for name, tensor in
               load_file(folder / "model.safetensors").items()}
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.fp16.safetensors", {"format": "pt"})
    found = clip.find(str(folder), "encoder")
    assert found.variant == "fp16"
    assert found.load_tower()[0].dtype == torch.float32


def test_an_image_tower_reads_no_captions(tower):
    with pytest.raises(UserError, match="reads no captions"):
        clip.find(tower, "scorer.alignment", whole=True)


def test_hub_ids_are_looked_up_in_the_local_cache_alone(tower, monkeypatch):
    asked = []

    def snapshot(name, **how):
        asked.append((name, how))
        if name == "someone/there":
            return tower
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert str(clip.find("someone/there@abc", "encoder").folder) == tower
    with pytest.raises(UserError, match="hf download someone/gone --revision v1"):
        clip.find("someone/gone@v1", "encoder")
    assert [how["revision"] for _, how in asked] == ["abc", "v1"]
    assert all(how["local_files_only"] for _, how in asked)


def test_siglip_has_a_tower_too(tmp_path, renders):
    found = clip.find(clips.save_siglip(tmp_path), "encoder")
    tower, processor = found.load_tower()
    assert isinstance(tower, transformers.SiglipVisionModel)
    with torch.no_grad():
        assert tower(clip.prepared(processor, renders[:2])).pooler_output.shape == (2, 32)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "siglip"
