"""LAION's heads, with random weights: read, refused, and computed as torch would."""

import clips
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.scorers import encoders
from ldmopt.scorers.laion import LOGITS_PER_POINT, Laion, read_head

from .conftest import pictures_of

WIDTH = 24


def linear(width=WIDTH, seed=0):
    """V1."""
    torch.manual_seed(seed)
    return nn.Linear(width, 1)


class Improved(nn.Module):
    """V2, as its authors wrote it."""

    def __init__(self, width=WIDTH, seed=0):
        torch.manual_seed(seed)
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, 1024), nn.Dropout(0.2), nn.Linear(1024, 128), nn.Dropout(0.2),
            nn.Linear(128, 64), nn.Dropout(0.1), nn.Linear(64, 16), nn.Linear(16, 1),
        )

    def forward(self, value):
        return self.layers(value)


def unit(count, width=WIDTH):
    table = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize(("network", "version"), [(linear, 1), (Improved, 2)])
@pytest.mark.parametrize("width", [WIDTH, 512, 768])
def test_scores_are_those_of_the_network(tmp_path, ending, network, version, width):
    module = network(width).eval()
    path = tmp_path / f"head{ending}"
    if ending == ".pth":
        torch.save(module.state_dict(), path)
    else:
        save_file(module.state_dict(), path)
    head = read_head(path)
    assert (head.version, head.width) == (version, width)
    with torch.no_grad():
        wanted = module(torch.from_numpy(unit(7, width)))[:, 0].numpy()
    assert np.allclose(head(unit(7, width)), wanted, atol=1e-5)


def test_half_precision_heads_are_read(tmp_path):
    save_file({name: one.bfloat16() for name, one in linear().state_dict().items()},
              tmp_path / "head.safetensors")
    assert np.isfinite(read_head(tmp_path / "head.safetensors")(unit(2))).all()


class Evil:
    """Runs when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def _state(**changes):
    return {**Improved().state_dict(), **changes}


@pytest.mark.parametrize(("tensors", "words"), [
    ({"weight": torch.zeros(1, WIDTH)}, "neither V1"),
    ({}, "holds nothing"),
    (_state(extra=torch.zeros(1)), "neither V1"),
    ({name.replace("layers", "mlp"): one for name, one in _state().items()}, "neither V1"),
    (_state(**{"layers.2.weight": torch.zeros(128, 1000)}), "does not follow on 1024"),
    (_state(**{"layers.0.bias": torch.zeros(3)}), "no linear layer"),
    ({"weight": torch.zeros(2, WIDTH), "bias": torch.zeros(2)}, "ends with 2 outputs"),
    ({"weight": torch.zeros(WIDTH), "bias": torch.zeros(1)}, "no linear layer"),
    ({"weight": torch.full((1, WIDTH), torch.nan), "bias": torch.zeros(1)}, "no numbers"),
])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_other_networks_are_refused_in_one_line(tmp_path, tensors, words, ending):
    path = tmp_path / f"head{ending}"
    if ending == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    with pytest.raises(UserError, match=words) as caught:
        read_head(path)
    assert "\n" not in str(caught.value) and "head" in str(caught.value)


def test_code_in_a_file_is_never_run(tmp_path):
    ran = tmp_path / "ran"
    torch.save({"weight": Evil(ran)}, tmp_path / "head.pth")
    with pytest.raises(UserError, match="never run"):
        read_head(tmp_path / "head.pth")
    torch.save(linear(), tmp_path / "whole.pth")
    with pytest.raises(UserError, match="never run"):
        read_head(tmp_path / "whole.pth")
    assert not ran.exists()


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("damage", [
    lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: b"<html>" * 50,
])
def test_corrupt_files_are_refused_in_one_line(tmp_path, ending, damage):
    path = tmp_path / f"head{ending}"
    torch.save(linear().state_dict(), path) if ending == ".pth" else save_file(
        linear().state_dict(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"corrupt|damaged") as caught:
        read_head(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_head_at_all(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_head(tmp_path / "nowhere.safetensors")
    with pytest.raises(UserError, match="cannot be read"):
        read_head(tmp_path)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="no plain dictionary"):
        read_head(tmp_path / "list.pth")


@pytest.fixture
def scorer(tmp_path, tower):
    save_file(Improved().state_dict(), tmp_path / "head.safetensors")
    return Laion.load(tmp_path / "head.safetensors", tower)


def test_a_scorer_that_compares_by_the_difference_in_points(scorer, tower, renders):
    pictures = pictures_of(renders[:4])
    encoder = encoders.load(tower)
    columns = encoders.embedding(encoder.encoder.names)
    points = scorer.head(encoder.features(pictures)[:, columns])
    assert [score.value for score in scorer.score(pictures)] == pytest.approx(points.tolist())
    ahead = scorer.compare(pictures[:2], pictures[2:])
    back = scorer.compare(pictures[2:], pictures[:2])
    for index, (a, b) in enumerate(zip(ahead, back, strict=True)):
        gap = LOGITS_PER_POINT * (points[index] - points[index + 2])
        assert a.probability == pytest.approx(1 / (1 + np.exp(-gap)))
        assert a.probability + b.probability == 1.0
    assert scorer.compare(pictures[:1], pictures[:1])[0].probability == 0.5
    assert scorer.score([]) == [] and scorer.compare([], []) == []
    with pytest.raises(UserError, match="2 pictures on the left"):
        scorer.compare(pictures[:2], pictures[:1])


def test_small_pictures_lose(scorer, renders):
    [large] = pictures_of(renders[:1])
    small = Picture(renders[0][:8], Block("a tree", 0))
    assert scorer.score([small, large])[0] is None
    assert [one.probability for one in scorer.compare([small, large, small],
                                                      [large, small, small])] == [0, 1, 0.5]


def test_the_identity_pins_head_and_backbone(scorer, tower, tmp_path):
    save_file(Improved(seed=1).state_dict(), tmp_path / "other.safetensors")
    other_head = Laion.load(tmp_path / "other.safetensors", tower)
    backbone = clips.save_clip(tmp_path / "backbone", seed=1)
    other_tower = Laion.load(tmp_path / "head.safetensors", backbone)
    digests = {one.identity["digest"] for one in (scorer, other_head, other_tower)}
    assert len(digests) == 3
    assert scorer.identity["name"] == "laion-v2" and scorer.identity["human_labels"] == 0


def test_a_head_of_another_width_is_refused(tmp_path, tower):
    save_file(linear(768).state_dict(), tmp_path / "head.safetensors")
    with pytest.raises(UserError, match=r"takes 768 numbers.*gives 24.*clip-vit-large-patch14"):
        Laion.load(tmp_path / "head.safetensors", tower)
    with pytest.raises(UserError, match="gives 0"):
        Laion.load(tmp_path / "head.safetensors", "statistics")


def test_the_miniature_takes_a_head_of_its_width(tmp_path, renders):
    save_file(linear(128).state_dict(), tmp_path / "head.safetensors")
    assert Laion.load(tmp_path / "head.safetensors", "miniature").score(pictures_of(renders[:1]))
