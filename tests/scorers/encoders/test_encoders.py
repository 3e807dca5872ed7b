"""Encoders of any CLIP, and the two caches in front of them."""

from concurrent.futures import ThreadPoolExecutor

import clips
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.scorers import encoders
from ldmopt.scorers.encoders import clip, statistics
from ldmopt.scorers.encoders.feature_cache import FeatureCache

from ..conftest import pictures_of


@pytest.mark.parametrize("kind", ["tower", "whole", "siglip"])
def test_a_tower_adds_its_columns_to_the_statistics(kind, request, tmp_path, renders):
    name = clips.save_siglip(tmp_path) if kind == "siglip" else request.getfixturevalue(kind)
    encoder = encoders.Tower(name)
    sizes = [renders[0], renders[1][:48], renders[2][:, :40]]
    table = encoder.encode(sizes)
    assert table.shape == (3, len(encoder.names)) and table.dtype == np.float32
    plain = statistics.statistics(sizes)
    assert encoder.names[: plain.shape[1]] == statistics.names()
    assert np.array_equal(table[:, : plain.shape[1]], plain)
    unit = table[:, encoders.embedding(encoder.names)]
    assert unit.shape[1] == (32 if kind == "siglip" else 24)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1.0, atol=1e-5)
    spread = [i for i, name in enumerate(encoder.names) if name.startswith("layer")]
    assert len(spread) == 2 * 32 and (table[:, spread] > 0).all()


def test_embedding_and_length_are_the_towers_own(tower, renders):
    encoder = encoders.Tower(tower)
    table = encoder.encode(renders[:2])
    columns = encoders.embedding(encoder.names)
    length = np.exp(table[:, encoder.names.index("embedding_length")])
    loaded, processor = clip.find(tower, "encoder").load_tower()
    with torch.no_grad():
        wanted = loaded(clip.prepared(processor, renders[:2])).image_embeds.numpy()
    assert np.allclose(table[:, columns] * length[:, None], wanted, atol=1e-5)


def test_the_identity_follows_the_files_not_the_name(tower, tmp_path):
    copied = clips.copy(tower, tmp_path / "copied")
    first, second = encoders.Tower(tower), encoders.Tower(str(copied))
    assert first.identity["digest"] == second.identity["digest"]
    other = encoders.Tower(clips.save_clip(tmp_path / "other", seed=1))
    assert other.identity["digest"] != first.identity["digest"]
    assert str(statistics.VERSION) in first.identity["digest"]


def test_damaged_weights_give_an_error_and_no_features(tower, tmp_path, renders):
    folder = clips.copy(tower, tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="no numbers"):
        encoders.Tower(str(folder)).encode(renders[:1])


def test_load_knows_folders_and_hints_at_slips(tower, tmp_path):
    assert encoders.load(tower) is encoders.load(tower)
    with pytest.raises(UserError, match="did you mean 'miniature'"):
        encoders.load("minature")
    with pytest.raises(UserError, match="does not exist"):
        encoders.load(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="hf download no-one/nothing-here"):
        encoders.load("no-one/nothing-here")


class Counting:
    """Mean colours, and how many pictures were looked at."""

    identity = {"encoder": "counting", "digest": "counting-1"}
    names = ("red", "green", "blue")

    def __init__(self):
        self.made = 0

    def encode(self, pictures):
        self.made += len(pictures)
        return np.stack([one.mean(axis=(0, 1)) for one in pictures]).astype(np.float32)


def unreadable(digest):
    """A stored picture that must not be opened."""
    def load():
        raise AssertionError("opened")

    return Picture.stored(digest, Block("a tree", 0), load)


def test_features_on_disk_open_no_picture(tmp_path, renders):
    disk = FeatureCache("counting-1", tmp_path / "features.db")
    pictures = pictures_of(renders[:80])
    first = Counting()
    wanted = encoders.Cached(first, disk=disk).features(pictures)
    assert first.made == 80
    second = Counting()
    again = encoders.Cached(second, disk=disk)
    stored = [unreadable(picture.digest) for picture in pictures]
    assert again.judgeable(stored) == [True] * 80
    assert np.array_equal(again.features(stored), wanted)
    assert second.made == 0


def test_only_what_is_new_is_encoded_and_order_is_kept(tmp_path, renders):
    disk = FeatureCache("counting-1", tmp_path / "features.db")
    encoder = Counting()
    encoders.Cached(encoder, disk=disk).features(pictures_of(renders[:2]))
    rows = encoders.Cached(encoder, disk=disk).features(pictures_of(renders[2::-1]))
    assert encoder.made == 3
    assert np.array_equal(rows, Counting().encode(renders[2::-1]))


def test_small_pictures_cannot_be_judged(renders):
    cached = encoders.Cached(Counting())
    assert cached.judgeable(pictures_of([renders[0], renders[0][:15]])) == [True, False]


def test_features_made_by_other_code_have_another_key(monkeypatch):
    encoders.made_by.cache_clear()
    before = encoders.made_by()
    monkeypatch.setattr(encoders, "version", lambda package: "0")
    encoders.made_by.cache_clear()
    assert encoders.made_by() != before
    encoders.made_by.cache_clear()


def test_threads_share_one_cache(renders):
    encoder = Counting()
    cached = encoders.Cached(encoder, limit=5)
    pictures = pictures_of(renders[:40])
    wanted = Counting().encode(renders[:40])
    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(lambda at: cached.features(pictures[at : at + 8]), [0, 8, 16] * 20))
    for at, table in zip([0, 8, 16] * 20, tables, strict=True):
        assert np.array_equal(table, wanted[at : at + 8])
