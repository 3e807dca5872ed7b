"""The exam inside a study: kept in the run, frozen with the generation, and able to refuse."""

import json

import numpy as np
import pytest
from PIL import Image

import ldmopt
from ldmopt.contracts import Block, Picture, Preference
from ldmopt.errors import UserError
from ldmopt.miniature.scenes import captions
from ldmopt.miniature.styles import render
from ldmopt.scorers import default
from ldmopt.scorers.alignment import load_alignment
from ldmopt.scorers.canaries import CANARIES
from ldmopt.study import exam, records
from ldmopt.study.folder import RunFolder
from ldmopt.study.judging import Judges
from ldmopt.study.output import read_run


def spec(**caps):
    return ldmopt.StudySpec.model_validate({"name": "s", "model": "miniature", "caps": caps})


@pytest.fixture
def folder(tmp_path):
    """A run folder with renders for pictures; returns it with blocks and digests."""
    kept, blocks, digests = RunFolder(tmp_path / "run"), [], []
    for caption, scene in captions(6):
        for seed in range(2):
            path = tmp_path / "one.png"
            picture = Picture(render(scene), Block(caption, seed))
            Image.fromarray(picture.pixels).save(path)
            blocks.append(picture.block)
            digests.append(kept.keep(Picture.from_png(path.read_bytes(), picture.block)))
    return kept, blocks, digests


class Blind:
    """Cannot tell any picture from another."""

    identity = {"name": "blind", "digest": "b", "human_labels": 3}

    def compare(self, left, right):
        return [Preference(0.5)] * len(left)


class Deaf:
    """Finds that all pictures fit all captions alike."""

    identity = {"name": "alignment", "model": "deaf", "digest": "d"}

    def similarity(self, pictures):
        return [0.3] * len(pictures)


def test_a_passed_exam_is_kept(folder):
    kept, blocks, digests = folder
    judges = Judges(kept, default(), load_alignment("miniature", "miniature"))
    sat = exam.sit_exam(judges, spec(), blocks, digests)
    assert sat.alignment_passed
    assert json.loads((kept.path / "exam.json").read_text()) == sat.data
    assert sat.data["passed"] and sat.data["pictures"] == 6
    with Image.open(kept.path / "exam.png") as sheet:
        assert sheet.width > 8 * 224 and np.asarray(sheet.convert("L")).std() > 20


def test_a_blind_scorer_is_refused_in_one_line(folder):
    kept, blocks, digests = folder
    with pytest.raises(UserError, match=r"scorer blind b fails .* prefers noise \(50%\), black"
                       r".*label more pictures and fit again.*exam\.png") as refused:
        exam.sit_exam(Judges(kept, Blind()), spec(), blocks, digests)
    assert "\n" not in str(refused.value)
    assert (kept.path / "exam.png").exists()
    assert not json.loads((kept.path / "exam.json").read_text())["passed"]


def test_a_deaf_alignment_is_left_out_or_refused_where_there_is_a_floor(folder):
    kept, blocks, digests = folder
    judges = Judges(kept, default(), Deaf())
    sat = exam.sit_exam(judges, spec(), blocks, digests)
    assert "alignment by deaf fails the exam" in sat.alignment_refusal
    assert "goes on without it" in sat.alignment_refusal
    with pytest.raises(UserError, match="another prompt.*another scorer.alignment"):
        exam.sit_exam(judges, spec(alignment=0.9), blocks, digests)


def test_a_ruined_default_does_not_make_an_honest_scorer_blind(folder):
    kept, blocks, _ = folder
    ruin, digests = CANARIES["over-saturated"], []
    for index, ((_, scene), block) in enumerate(zip([c for c in captions(6) for _ in range(2)],
                                                    blocks, strict=True)):
        pixels = np.array(ruin(render(scene)) if index < 6 else render(scene))
        Image.fromarray(pixels).save(kept.path / "one.png")
        digests.append(kept.keep(Picture.from_png((kept.path / "one.png").read_bytes(), block)))
    spec_ = spec()

    class Slips:
        """Honest, but takes what is over-saturated twice for no worse."""

        identity = {"name": "slips", "digest": "s"}

        def compare(self, left, right):
            wins = default().compare(left, right)
            twice = [np.array_equal(ruin(b.pixels), a.pixels) and b.digest in digests[:6]
                     for a, b in zip(left, right, strict=True)]
            return [Preference(0.55) if slip and index < 2 else win
                    for index, (slip, win) in enumerate(zip(twice, wins, strict=True))]

    sat = exam.sit_exam(Judges(kept, Slips()), spec_, blocks, digests)
    assert sat.data["passed"] and sat.data["on_renders"]["passed"]
    assert "may be ruined themselves: the scorer prefers over-saturated (33%)" in sat.doubt


def test_a_study_freezes_its_exam_and_a_failed_one_stops_it(standin, tmp_path, monkeypatch):
    ldmopt.run(standin(), tmp_path / "run")
    frozen = read_run(tmp_path / "run")[2].user_attrs[records.FROZEN]
    assert "stand-in" in frozen["exam"]["exempt"]
    monkeypatch.setattr(exam, "exemption", lambda model, table: "")
    path = standin(('encoder = "standin"', 'encoder = "auto"'))
    with pytest.raises(UserError, match="fails the exam and may not judge"):
        ldmopt.run(path, tmp_path / "other")
    assert (tmp_path / "other" / "exam.png").exists()
    lines = RunFolder(tmp_path / "other").read_journal()
    assert len({line["prompt"] for line in lines if "digest" in line}) == 4
    assert len([line for line in lines if "digest" in line]) == 8, "nothing beyond the default"


def test_an_older_generation_sits_the_exam_when_it_goes_on(standin, tmp_path):
    path = standin()
    ldmopt.run(path, tmp_path / "run")
    study = read_run(tmp_path / "run")[2]
    frozen = dict(study.user_attrs[records.FROZEN])
    del frozen["exam"]
    study.set_user_attr(records.FROZEN, frozen)
    (tmp_path / "run" / "exam.json").unlink()
    ldmopt.run(path, tmp_path / "run", trials=9)
    assert (tmp_path / "run" / "exam.json").exists()
