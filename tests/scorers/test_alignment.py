"""Similarity of pictures and captions."""

import clips
import numpy as np
import pytest
import torch

from ldmopt import miniature
from ldmopt.contracts import Block, Picture
from ldmopt.errors import UserError
from ldmopt.miniature.scenes import captions
from ldmopt.miniature.styles import render
from ldmopt.scorers import alignment
from ldmopt.scorers.alignment import load_alignment
from ldmopt.scorers.encoders import clip


def captioned(renders, prompts):
    return [Picture(pixels, Block(prompt, seed))
            for seed, (pixels, prompt) in enumerate(zip(renders, prompts, strict=False))]


def test_the_miniature_tells_right_captions_from_wrong_ones():
    said = captions(24)
    pictures = [Picture(render(scene), Block(caption, 0)) for caption, scene in said]
    swapped = [Picture(one.pixels, Block(said[(i + 7) % 24][0], 0))
               for i, one in enumerate(pictures)]
    scorer = load_alignment("auto", "miniature")
    right, wrong = scorer.similarity(pictures), scorer.similarity(swapped)
    assert np.mean(np.array(right) > np.array(wrong)) > 0.85
    assert scorer.identity["name"] == "alignment" and scorer.notes == ()


def test_cosines_are_those_of_the_whole_model(whole, renders):
    model, processor, tokenizer = clip.find(whole, "a", whole=True).load_whole()
    prompts = ["a red house", "two trees", "a red house"]
    found = load_alignment(whole, "sd15").similarity(captioned(renders, prompts))
    with torch.no_grad():
        seen = model.get_image_features(clip.prepared(processor, renders[:3]))
        read = torch.cat([model.get_text_features(**tokenizer(one, return_tensors="pt"))
                          for one in prompts])
    wanted = torch.nn.functional.cosine_similarity(seen, read)
    assert found == pytest.approx(wanted.tolist(), abs=1e-5)


def test_pictures_without_a_prompt_have_no_alignment(whole, renders):
    scorer = load_alignment(whole, "sd15")
    found = scorer.similarity(captioned(renders, ["", "a red house", "  "]))
    assert found[0] is None and found[2] is None and -1 <= found[1] <= 1
    assert scorer.similarity(captioned(renders, [""])) == [None]
    assert scorer.similarity([]) == []


def test_long_prompts_are_cut_and_that_is_said_once(whole, renders):
    scorer = load_alignment(whole, "sd15")
    long = "a red house by the sea with two trees and a boat and a large moon " * 3
    [found] = scorer.similarity(captioned(renders, [long]))
    [note] = scorer.notes
    assert "too long" in note and "a red house" in note
    # What comes after the cut is not read.
    [again] = scorer.similarity(captioned(renders, [long + " and a sheep"]))
    assert again == found and scorer.notes == (note,)
    short = load_alignment(whole, "sd15")
    short.similarity(captioned(renders, ["a red house"]))
    assert short.notes == ()


def test_each_picture_and_each_caption_is_embedded_once(whole, renders, monkeypatch):
    made = []
    for name in ("embed_pictures", "embed_captions"):
        plain = getattr(clip.Both, name)
        monkeypatch.setattr(clip.Both, name, lambda self, things, plain=plain, name=name: (
            made.append((name, len(things))), plain(self, things))[1])
    scorer = load_alignment(whole, "sd15")
    pictures = captioned(renders[20:30], ["a red house", "two trees"] * 5)
    first = scorer.similarity(pictures)
    assert scorer.similarity(pictures[::-1]) == first[::-1]
    assert made == [("embed_captions", 2), ("embed_pictures", 10)]
    # Another process finds the pictures' embeddings on disk.
    assert load_alignment(whole, "sd15").similarity(pictures) == first
    assert made[2:] == [("embed_captions", 2)]


def test_the_digest_is_of_the_files(whole, tmp_path):
    other = clips.save_clip(tmp_path / "other", whole=True, seed=1)
    first, second = load_alignment(whole, "sd15"), load_alignment(other, "sd15")
    assert first.identity["digest"] != second.identity["digest"]
    copied = load_alignment(str(clips.copy(whole, tmp_path / "copied")), "sd15")
    assert copied.identity["digest"] == first.identity["digest"]


def test_auto_is_for_the_miniature_alone(tmp_path):
    assert load_alignment("auto", "some/model") is None
    assert load_alignment("none", "miniature") is None
    own = load_alignment("auto", str(miniature.folder()))
    assert own is not None and own.identity == load_alignment("miniature", "x").identity
    assert not alignment.is_miniature(str(tmp_path))


def test_bad_names_are_refused_before_anything_is_loaded(tower, tmp_path):
    with pytest.raises(UserError, match="did you mean 'none'"):
        load_alignment("non", "miniature")
    with pytest.raises(UserError, match="does not exist"):
        load_alignment(str(tmp_path / "gone"), "miniature")
    with pytest.raises(UserError, match="reads no captions"):
        load_alignment(tower, "miniature")


def test_a_clip_without_a_tokenizer_is_refused(whole, tmp_path, renders):
    folder = clips.copy(whole, tmp_path / "mute")
    for name in clip.TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(UserError, match="tokenizer") as caught:
        load_alignment(str(folder), "sd15").similarity(captioned(renders, ["a tree"]))
    assert "\n" not in str(caught.value)


