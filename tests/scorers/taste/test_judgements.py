"""Labels as arrays, and the comparisons that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from ldmopt.contracts import Block, Picture
from ldmopt.labels import Keep, Labels, Pair, Rating
from ldmopt.scorers.taste.judgements import comparisons, judgements, pairs_of


def pictures(prompts):
    """Give one small picture a prompt that is named, by a digest of its own."""
    return {f"d{i}": Picture(np.zeros((1, 1, 3), np.uint8), Block(prompt, i))
            for i, prompt in enumerate(prompts)}


def test_every_kind_of_label_is_taken():
    said = judgements(
        Labels(
            (Rating("d0", "ann", 4), Rating("d1", "ann", 2), Rating("gone", "ann", 2)),
            (Pair("d0", "d1", "bob", "right", simulated=True), Pair("d0", "d2", "bob", "left"),
             Pair("d2", "d3", "bob", "withdrawn")),
            (Keep("d2", "ann", True), Keep("d3", "ann", False)),
        ),
        pictures(["p", "p", "q", "q"]),
    )
    assert len(said) == 5 and said.prompts == 2 and said.by_prompt
    assert said.unused == 3  # a picture that is gone, a pair across prompts, a withdrawn one
    assert said.raters == ("ann", "bob (simulated)")
    found = comparisons(said, said.folds())
    rows = {(str(r), said.digests[a], said.digests[b]): float(win)
            for a, b, win, r in zip(found.left, found.right, found.win, found.rater, strict=True)}
    assert rows == {("ann", "d0", "d1"): 1.0, ("ann", "d2", "d3"): 1.0,
                    ("bob (simulated)", "d0", "d1"): 0.0}


def test_people_and_simulated_raters_of_one_name_are_two():
    labels = Labels((Rating("d0", "ann", 1), Rating("d1", "ann", 2, simulated=True)))
    said = judgements(labels, pictures(["p", "p"]))
    assert said.raters == ("ann", "ann (simulated)")
    assert not len(comparisons(said, said.folds())) and not said.usable


def test_ratings_are_compared_within_rater_scale_and_prompt():
    labels = Labels(
        (Rating("d0", "ann", 1), Rating("d2", "ann", 5), Rating("d1", "bob", 9)),
        keeps=(Keep("d1", "ann", False),),
    )
    assert not judgements(labels, pictures(["p", "p", "q"])).usable


def test_the_prompt_of_a_label_serves_where_the_picture_has_none():
    labels = Labels((Rating("d0", "ann", 1, "p"), Rating("d1", "ann", 2, "p"),
                     Rating("d2", "ann", 2, "q")))
    said = judgements(labels, pictures(["", "", ""]))
    assert said.prompts == 2 and said.prompt[0] == said.prompt[1] != said.prompt[2]


def test_prompts_are_held_out_whole_and_pictures_without_one_by_one():
    names = [f"prompt {i // 4}" for i in range(40)]
    labels = Labels(tuple(Rating(f"d{i}", "ann", i % 5) for i in range(40)))
    said = judgements(labels, pictures(names))
    folds = said.folds()
    assert {len(set(folds[said.prompt == number])) for number in range(10)} == {1}
    assert sorted(np.bincount(folds)) == [8] * 5
    assert (said.folds(1) != folds).any() and (said.folds() == folds).all()
    alone = judgements(labels, pictures([""] * 40))
    assert not alone.by_prompt
    assert sorted(np.bincount(alone.folds())) == [8] * 5
    assert len(comparisons(alone, alone.folds())) == 5 * 28  # within each fold of 8 pictures
    one = judgements(labels, pictures(["same"] * 40))
    assert not one.by_prompt and len(comparisons(one, one.folds())) == 5 * 28


def test_what_is_held_out_is_nowhere_in_the_rest():
    rng = np.random.default_rng(0)
    labels = Labels(
        tuple(Rating(f"d{i}", "ann", float(rng.integers(5))) for i in range(30)),
        tuple(Pair(f"d{a}", f"d{b}", "bob", "left") for a, b in rng.choice(30, (60, 2))
              if a != b),
    )
    said = judgements(labels, pictures([""] * 30))
    folds = said.folds()
    tested = comparisons(said, folds)
    assert len(tested.only(tested.rater == "bob")) == len(said.left)
    for number in range(5):
        rest = said.without(folds == number)
        touched = set(rest.rated) | set(rest.left) | set(rest.right)
        assert not touched & set(np.flatnonzero(folds == number))
        assert not touched & set(tested.left[tested.fold == number])


def test_ratings_weigh_half_a_label_each_however_many_there_are():
    labels = Labels(tuple(Rating(f"d{i}", "ann", i) for i in range(100)))
    said = judgements(labels, pictures([""] * 100))
    found = comparisons(said, np.zeros(100, np.int64))
    assert found.weight.sum() == pytest.approx(50)
    assert len(found) == 100 * 15  # of many pictures only some are compared, as many of each
    assert (np.bincount(np.concatenate([found.left, found.right])) == 30).all()
    assert len({(min(a, b), max(a, b)) for a, b in zip(found.left, found.right, strict=True)}) == (
        len(found))


def test_pairs_read_the_same_from_both_sides():
    labels = Labels(pairs=(Pair("d1", "d0", "ann", "left"), Pair("d0", "d2", "ann", "both-bad")))
    said = judgements(labels, pictures(["p", "p", "p"]))
    index = {digest: i for i, digest in enumerate(said.digests)}
    low, high = sorted((index["d0"], index["d1"]))
    win = pairs_of(said)["ann"][low, high]
    assert win == (1.0 if index["d1"] == low else 0.0)
    assert 0.5 in pairs_of(said)["ann"].values()


def test_pictures_without_a_prompt_are_learned_from_in_small_groups():
    labels = Labels(tuple(Rating(f"d{i}", "ann", i % 5) for i in range(100)))
    mixed = judgements(labels, pictures([f"prompt {i // 4}" if i < 40 else "" for i in range(100)]))
    groups = mixed.together()
    assert list(groups[:40]) == [str(number) for number in mixed.prompt[:40]]
    names, sizes = np.unique(groups[40:], return_counts=True)
    assert len(names) >= 12 and 2 <= sizes.min() and sizes.max() <= 8
    alone = judgements(labels, pictures([""] * 100)).together()
    assert len(set(alone)) == 13 and len(set(alone[:8])) > 2
    assert (alone == judgements(labels, pictures([""] * 100)).together()).all()
