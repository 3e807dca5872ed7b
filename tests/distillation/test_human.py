"""What people said of settings, and joined with predictions; raters here are simulated."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from ldmopt.contracts import Aligned, Answer, Block, BlockWin
from ldmopt.distillation import candidates, distill
from ldmopt.distillation.human import Said, human_by_prompt, human_quality, join, powered
from ldmopt.distillation.intervals import mean_limits
from ldmopt.exports.markdown import to_markdown
from ldmopt.labels import Labels, Pair, Rating
from tests.distillation.simulate import SAMPLERS, Study, grid

SHOWN = {Block(p, s): (f"own-{p}-{s}", f"default-{p}-{s}") for p in "ab" for s in (0, 1)}


def pair(block, preferred, rater="r", swapped=False, simulated=False):
    own, default = SHOWN[block]
    left, right = (default, own) if swapped else (own, default)
    return Pair(left, right, rater, preferred, simulated=simulated)


def rating(digest, value, rater="r", simulated=False):
    return Rating(digest, rater, value, simulated=simulated)


def asked(ratings=(), pairs=()):
    return Said(Labels(tuple(ratings), tuple(pairs))).answers(SHOWN)


def test_pairs_count_one_nothing_and_a_half_whichever_side():
    a0, a1, b0 = Block("a", 0), Block("a", 1), Block("b", 0)
    answers = asked(pairs=[pair(a0, "left"), pair(a1, "left", swapped=True),
                           pair(b0, "both-bad"), pair(b0, "tie", "s"),
                           pair(b0, "withdrawn", "t")])
    assert [(x.prompt, x.seed, x.win) for x in answers] == [
        ("a", 0, 1.0), ("a", 1, 0.0), ("b", 0, 0.5), ("b", 0, 0.5)]
    assert human_by_prompt(answers) == {"a": 0.5, "b": 0.5}


def test_pairs_of_other_pictures_are_no_evidence():
    assert asked(pairs=[Pair("own-a-0", "default-a-1", "r", "left"),
                        Pair("own-a-0", "own-b-0", "r", "left")]) == ()


def test_ratings_compare_within_rater_and_block():
    answers = asked([rating("own-a-0", 4), rating("default-a-0", 2), rating("default-a-1", 5),
                     rating("own-b-0", 9, "s"), rating("default-b-0", 1, "t")])
    assert answers == (Answer("a", 0, "r", False, 1.0),)


def test_ratings_of_other_seeds_stand_in_where_there_is_nothing_better():
    answers = asked([rating("own-a-0", 3), rating("default-a-1", 2), rating("own-a-1", 2, "s"),
                     rating("default-a-0", 2, "s")])
    assert set(answers) == {Answer("a", None, "r", False, 1.0), Answer("a", None, "s", False, 0.5)}
    told = human_quality(answers, [], [])
    assert told["across_seeds"] == 2 and told["raters"] == 2 and told["prompts"] == 1


def test_seeds_are_averaged_before_prompts_and_answers_before_seeds():
    answers = [Answer("a", 0, "r", False, 1.0), Answer("a", 0, "s", False, 0.0),
               Answer("a", 1, "r", False, 1.0), Answer("b", 0, "r", False, 0.0)]
    assert human_by_prompt(answers) == {"a": 0.75, "b": 0.0}
    assert human_quality(answers, [], [])["win_rate"] == 0.375


def test_people_come_before_simulated_raters():
    a0 = Block("a", 0)
    both = [pair(a0, "left"), pair(a0, "right", "program", simulated=True)]
    assert [x.win for x in asked(pairs=both)] == [1.0]
    assert human_quality(asked(pairs=both[1:]), [], [])["simulated"] is True
    assert human_quality(asked(pairs=both), [], [])["simulated"] is False


def test_equal_pictures_are_no_question():
    shown = {Block("a", 0): ("same", "same")}
    said = Said(Labels((rating("same", 3),), (Pair("same", "same", "r", "left"),)))
    assert said.answers(shown) == ()
    assert human_quality((), [], []) is None


def draw(rng, prompts, bias, noise, base):
    """Prompts' answers of one simulated rater, and what a scorer that is off predicts."""
    taste = rng.normal(base, 1.5, (prompts, 2))
    said = (rng.random((prompts, 2)) < 1 / (1 + np.exp(-taste))).mean(axis=1)
    told = 1 / (1 + np.exp(-(taste + bias + rng.normal(0, noise, (prompts, 2)))))
    return said, told.mean(axis=1)


@pytest.mark.parametrize("labelled, bias, base", [(8, 0.8, 0.0), (12, -0.8, 2.0)])
def test_joined_intervals_cover_and_are_narrower(labelled, bias, base):
    """A scorer off by .8 logits; 95 % intervals must hold the raters' truth 90 % of the time."""
    rng = np.random.default_rng(5)
    truth = draw(np.random.default_rng(1), 200_000, bias, 0.4, base)[0].mean()
    wrong = abs(draw(np.random.default_rng(1), 200_000, bias, 0.4, base)[1].mean() - truth)
    held, widths, alone, errors = [], [], [], []
    for _ in range(150):
        said, told = draw(rng, labelled, bias, 0.4, base)
        joint = powered(said, told, draw(rng, 12, bias, 0.4, base)[1])
        low, high = mean_limits(said[None, :])
        held.append(joint.low <= truth <= joint.high)
        widths.append(joint.high - joint.low)
        alone.append(float(high[0] - low[0]))
        errors.append(joint.win_rate - truth)
    assert np.mean(held) >= 0.9
    assert np.mean(widths) < 0.95 * np.mean(alone)
    assert abs(np.mean(errors)) < 0.4 * wrong, "the scorer's own error is taken out"


def test_useless_predictions_leave_the_labels_alone():
    rng = np.random.default_rng(2)
    said, told, rest = rng.random(10), np.full(10, 0.5), np.full(12, 0.5)
    joint = powered(said, told, rest)
    low, high = mean_limits(said[None, :])
    assert (joint.weight, joint.win_rate) == (0.0, pytest.approx(said.mean()))
    assert (joint.low, joint.high) == (pytest.approx(low[0]), pytest.approx(high[0]))


def test_joining_needs_a_cross_fitted_prediction_of_every_labelled_prompt():
    answers = [Answer(f"p{i}", 0, "r", False, float(i % 2)) for i in range(6)]
    labelled = [BlockWin(f"p{i}", 0, 0.4) for i in range(6)]
    held_out = [BlockWin(f"h{i}", 0, 0.6) for i in range(6)]
    assert join(answers, labelled, held_out).labelled == 6
    assert join(answers, labelled[1:], held_out) is None
    assert join(answers, labelled, held_out[:2]) is None
    assert join(answers[:2], labelled, held_out) is None
    mixed = [*answers, Answer("h0", 0, "r", False, 1.0)]
    joint = join(mixed, labelled, held_out)
    assert (joint.labelled, joint.predicted) == (7, 5)


def test_predictions_are_of_the_blocks_that_were_labelled():
    answers = [Answer(f"p{i}", 1, "r", False, float(i % 2)) for i in range(6)]
    wins = [BlockWin(f"p{i}", seed, (i % 2) * 0.8 if seed else 0.5)
            for i in range(6) for seed in (0, 1)]
    held_out = [BlockWin(f"h{i}", 0, 0.2 * (i % 4)) for i in range(60)]
    assert join(answers, wins, held_out).weight > 0.5


@pytest.fixture(scope="module")
def evidence():
    made = Study(12, 2, np.random.default_rng(4))
    settings = grid(list(SAMPLERS), [4, 8, 30, 50], [1.0, 5.0])
    return made.evidence(settings, candidates(made.evidence(settings), 6))


def said_of(evidence, setting, win, prompts=10, simulated=True):
    return {setting: tuple(Answer(f"prompt {p}", 0, "r", simulated, win) for p in range(prompts))}


def crossed(evidence):
    return replace(
        evidence,
        trials=tuple(replace(t, cross_fitted=t.quality.blocks) for t in evidence.trials),
        confirmations={s: replace(c, cross_fitted=c.quality.blocks)
                       for s, c in evidence.confirmations.items()})


def test_without_labels_nothing_changes(evidence):
    created = datetime(2026, 1, 1)
    assert distill(crossed(evidence), created=created).data == distill(
        evidence, created=created).data


def test_labels_stand_apart_from_the_scorers_figures(evidence):
    plain = distill(evidence).data
    best = next(r for r in plain["recommendations"] if r["id"] == "best")
    setting = next(s for s in evidence.confirmations if s == best["setting"])
    told = replace(crossed(evidence), answers=said_of(evidence, setting, 1.0))
    rulebook = distill(told)
    found = next(r for r in rulebook.data["recommendations"] if r["id"] == "best")
    assert found["setting"] == best["setting"]
    assert {k: found["quality"][k] for k in ("win_rate", "low", "high", "scorer")} == {
        k: best["quality"][k] for k in ("win_rate", "low", "high", "scorer")}
    human = found["quality"]["human"]
    assert (human["win_rate"], human["labels"], human["prompts"]) == (1.0, 10, 10)
    assert human["simulated"] is True and human["joined"]["labelled_prompts"] == 10
    text = to_markdown(rulebook)
    assert "| use | scorer | human | joined | seconds" in text
    assert "10 simulated labels of 10 prompts" in text and "simulated raters, which are" in text
    assert "No human label" in text, "simulated raters are no people"
    people = distill(replace(told, answers=said_of(evidence, setting, 1.0, simulated=False)))
    assert "No human label" not in to_markdown(people)


def test_people_can_speak_against_what_the_scorer_likes(evidence):
    plain = distill(evidence).data
    best = next(r for r in plain["recommendations"] if r["id"] == "best")
    setting = next(s for s in evidence.confirmations if s == best["setting"])
    assert setting != evidence.default
    rulebook = distill(replace(
        crossed(evidence), answers=said_of(evidence, setting, 0.0, simulated=False)))
    for item in (*rulebook.data["recommendations"], *rulebook.data["front"]):
        assert item["setting"] != best["setting"]
    [left_out] = rulebook.data["scope"]["left_out"]
    assert left_out["setting"] == best["setting"] and "people prefer the default" in left_out["why"]
    assert "Left out though measured" in to_markdown(rulebook)


def test_a_floor_on_alignment_keeps_settings_out(evidence):
    def fits(ratio):
        return Aligned(0.3 * ratio, 0.3, ratio, ratio - 0.02, ratio + 0.02)

    settings = list(evidence.confirmations)
    ratios = {setting: 0.9 if index == 1 else 0.99 for index, setting in enumerate(settings)}
    told = replace(evidence, least_alignment=0.95, confirmations={
        setting: replace(item, aligned=fits(ratios[setting]))
        for setting, item in evidence.confirmations.items()})
    rulebook = distill(told)
    shown = [item["setting"] for item in rulebook.data["front"]]
    assert shown and settings[1] not in shown
    assert "keep 0.900" in rulebook.data["scope"]["left_out"][0]["why"]
    assert rulebook.data["front"][0]["quality"]["alignment"]["ratio"] == 0.99
    assert "| use | win rate | alignment | seconds" in to_markdown(rulebook)
    free = distill(replace(told, least_alignment=None))
    assert "left_out" not in free.data["scope"]
