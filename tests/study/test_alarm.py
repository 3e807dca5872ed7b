"""The alarm in a study: told, kept, and shown with the pictures."""

import json

import numpy as np
import optuna
import pytest
from PIL import Image

import ldmopt
from ldmopt.contracts import Block, BlockWin, Cost, Picture, Setting, Trial
from ldmopt.distillation.alignment import aligned
from ldmopt.distillation.intervals import win_rate
from ldmopt.exports.markdown import to_markdown
from ldmopt.miniature.scenes import captions
from ldmopt.miniature.styles import render
from ldmopt.scorers import default
from ldmopt.scorers.canaries import CANARIES
from ldmopt.scorers.standin import StandInScorer
from ldmopt.study import alarm, records
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import Judges
from ldmopt.study.output import read_run


class Liar:
    """A scorer that is no prior and not the stand-in; its opinions come with the trials."""

    identity = {"name": "liar", "digest": "l"}


class Clip:
    """An alignment scorer whose opinions come with the trials."""

    identity = {"name": "alignment", "model": "tiny", "digest": "c"}


@pytest.fixture
def front(tmp_path):
    """Trials of renders (the default), of blurred and of noisy ones; scores are made up."""
    folder, blocks = RunFolder(tmp_path / "run"), []
    looks = {"none": lambda pixels: pixels, "blur": CANARIES["heavy blur"],
             "noise": CANARIES["noise"]}
    kept = {name: [] for name in looks}
    for index, (caption, scene) in enumerate(captions(8)):
        blocks.append(Block(caption, 0))
        for name, look in looks.items():
            pixels = np.array(look(render(scene)))
            pixels[0, 0] = index  # no two blocks share a picture
            Image.fromarray(pixels).save(tmp_path / "one.png")
            kept[name].append(folder.keep(Picture.from_png((tmp_path / "one.png").read_bytes(),
                                                           blocks[-1])))

    def trial(number, name, win, similarity):
        rng = np.random.default_rng(number)
        wins = [0.5 if not number else float(np.clip(win + rng.normal(0, 0.03), 0, 1))
                for _ in blocks]
        fits = [(b.prompt, b.seed, 0.3 + similarity + rng.normal(0, 0.004) * bool(number), 0.3)
                for b in blocks]
        quality = win_rate([BlockWin(b.prompt, b.seed, w)
                            for b, w in zip(blocks, wins, strict=True)])
        cost = Cost(1.0 / (1 + number), 1.0 / (1 + number), peak_memory_bytes=1)
        return Trial(number, Setting(look=name, steps=20 - number), cost, quality,
                     tuple(kept[name]), aligned=aligned(fits))

    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    study.set_user_attr(records.FROZEN, {
        "default": {"look": "none", "steps": 20}, "blocks": [[b.prompt, b.seed] for b in blocks],
        "held_out": [],
    })
    return folder, study, trial


def test_alignment_contradicts_a_fooled_scorer(front):
    folder, study, trial = front
    trials = [trial(0, "none", 0.5, 0.0), trial(1, "blur", 0.8, -0.05), trial(2, "noise", 0.6, 0)]
    line = alarm.look_at_search(study, Judges(folder, Liar(), Clip()), trials)
    assert line.startswith("ALARM: alignment by tiny contradicts the scorer on the front (search)")
    assert "look=blur" in line and "disagreement.png" in line and "\n" not in line
    kept = study.user_attrs[alarm.ATTRIBUTE]
    assert kept["by"] == Clip.identity and kept["search"]["contradictions"]
    assert json.loads(json.dumps(kept)) == kept
    with Image.open(folder.path / "disagreement.png") as sheet:
        assert sheet.width >= 2 * 224


def test_the_prior_is_the_second_opinion_of_other_scorers(front):
    folder, study, trial = front
    trials = [trial(0, "none", 0.5, 0.0), trial(1, "blur", 0.8, 0.0), trial(2, "noise", 0.7, 0.0)]
    line = alarm.look_at_search(study, Judges(folder, Liar()), trials)
    assert "the prior on damage contradicts" in line


def test_honest_scorers_are_left_in_peace(front):
    folder, study, trial = front
    trials = [trial(0, "none", 0.5, 0.0), trial(1, "blur", 0.2, -0.05),
              trial(2, "noise", 0.1, -0.06)]
    assert alarm.look_at_search(study, Judges(folder, Liar(), Clip()), trials) == ""
    assert study.user_attrs[alarm.ATTRIBUTE]["search"]["correlation"] > 0.5
    assert not (folder.path / "disagreement.png").exists()


def test_where_there_is_no_second_opinion_nothing_is_said(front):
    folder, study, trial = front
    trials = [trial(0, "none", 0.5, 0.0), trial(1, "blur", 0.9, -0.05)]
    for scorer in (default(), StandInScorer()):
        assert alarm.look_at_search(study, Judges(folder, scorer), trials) == ""
    assert alarm.ATTRIBUTE not in study.user_attrs


def test_a_study_tells_the_user(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(alarm, "look_at_confirmed", lambda *_: "ALARM: said by a test")
    states = []
    ldmopt.run(standin(), tmp_path / "run", report=states.append)
    assert states[-1].notes == ("ALARM: said by a test",)
    study = read_run(tmp_path / "run")[2]
    row = {"liked": {"steps": 4}, "over": None, "first": 0.3, "second": -0.2, "p": 0.01}
    seen = {"settings": 2, "prompts": 8, "correlation": -0.5, "low": -0.9, "high": 0.1}
    study.set_user_attr(alarm.ATTRIBUTE, {
        "by": {}, "name": "a test", "search": {**seen, "contradictions": [row]}})
    text = to_markdown(ldmopt.distill(tmp_path / "run"))
    assert "**Alarm** in the search: the scorer puts steps 4 above the default" in text
    assert "a test: CONTRADICTS the scorer; rank correlation -0.50 [-0.90, 0.10]" in text
