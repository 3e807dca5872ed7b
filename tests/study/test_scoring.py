"""What a study's [scorer] and [caps] may say, and the scorers that come of it."""

from dataclasses import replace

import clips
import pytest
import torch
from safetensors.torch import save_file

import ldmopt
from ldmopt.errors import UserError
from ldmopt.scorers import default
from ldmopt.scorers.laion import Laion
from ldmopt.study.folder import RunFolder
from ldmopt.study.scoring import find_regressor, load_alignment, load_scorer
from ldmopt.study.spec import StudySpec, parse_spec


def spec_of(model="standin", caps=None, **scorer):
    return StudySpec.model_validate(
        {"name": "a", "model": model, "scorer": scorer, "caps": caps or {}})


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    return clips.save_clip(tmp_path_factory.mktemp("tower"))


@pytest.fixture
def head(tmp_path):
    save_file({"weight": torch.ones(1, 24), "bias": torch.zeros(1)}, tmp_path / "head.safetensors")
    return str(tmp_path / "head.safetensors")


@pytest.mark.parametrize(("text", "words"), [
    ('[scorer]\nencoder = "statistic"', r"scorer\.encoder.*did you mean 'statistics'"),
    ('[scorer]\nencoder = "clip"', r"hub id \(org/name\)"),
    ('[scorer]\nalignment = "nonne"', r"scorer\.alignment.*did you mean 'none'"),
    ('[scorer]\nencodr = "auto"', r"unknown key 'scorer\.encodr' \(did you mean 'encoder'"),
    ('[scorer]\nregressor = "a"\nlaion = "b"\nencoder = "o/n"', "two judges"),
    ('[scorer]\nlaion = "b"', "judges embeddings of a CLIP"),
    ('[scorer]\nlaion = "b"\nencoder = "statistics"', "judges embeddings of a CLIP"),
    ('[scorer]\nlaion = "b"\nencoder = "standin"', "stand-in"),
    ('[scorer]\nregressor = "b"\nencoder = "standin"', "stand-in"),
    ("[caps]\nalignment = 0", r"caps\.alignment.*greater than 0"),
    ("[caps]\nalignment = 1.6", r"caps\.alignment.*less than or equal to 1\.5"),
    ('[caps]\nalignment = "high"', r"caps\.alignment.*number"),
    ('[scorer]\nalignment = "none"\n[caps]\nalignment = 0.9', r"caps\.alignment needs"),
])
def test_bad_keys_are_refused_in_one_line(text, words):
    with pytest.raises(UserError, match=words) as caught:
        parse_spec(f'name = "a"\n{text}')
    assert "\n" not in str(caught.value)


def test_good_keys():
    spec = parse_spec('name = "a"\n[scorer]\nencoder = "org/name@rev"\nlaion = "x.pth"\n'
                      'alignment = "./clip"\n[caps]\nalignment = 0.95')
    assert spec.scorer.encoder == "org/name@rev" and spec.caps.alignment == 0.95
    plain = parse_spec('name = "a"')
    assert (plain.scorer.encoder, plain.scorer.alignment) == ("auto", "auto")
    assert plain.scorer.regressor is plain.scorer.laion is plain.caps.alignment is None


def test_the_package_judges_unless_told_otherwise(folder):
    assert load_scorer(spec_of(), folder, fitted=False) is default()
    assert load_scorer(spec_of(encoder="standin"), folder, False).identity["name"] == "standin"


def test_an_encoder_that_is_not_there_is_refused_at_the_start(folder, tower, tmp_path):
    assert load_scorer(spec_of(encoder=tower), folder, False) is default()
    with pytest.raises(UserError, match="does not exist"):
        load_scorer(spec_of(encoder=str(tmp_path / "gone")), folder, False)
    with pytest.raises(UserError, match="hf download no-one/nothing"):
        load_scorer(spec_of(encoder="no-one/nothing"), folder, False)


def test_a_regressor_of_another_run(folder, tmp_path):
    other = RunFolder(tmp_path / "other")
    default().save(other.regressor)
    for name in (other.path, other.regressor):
        found = load_scorer(spec_of(regressor=str(name)), folder, False)
        assert found.identity["digest"] == default().digest
    assert find_regressor(str(other.path)) == other.regressor
    with pytest.raises(UserError, match="does not exist"):
        find_regressor(str(tmp_path / "gone"))
    folder.path.mkdir()
    with pytest.raises(UserError, match=r"no fitted regressor; make one with: ldmopt fit"):
        find_regressor(str(folder.path))


def test_the_runs_own_regressor_comes_before_the_studys(folder, tmp_path):
    default().save(folder.regressor)
    spec = spec_of(regressor=str(tmp_path / "gone"))
    assert load_scorer(spec, folder, fitted=True).identity["digest"] == default().digest


def test_a_regressor_of_another_encoder_is_refused_with_the_reason(folder, tower):
    named = {"regressor": str(default().save(folder.regressor))}
    assert load_scorer(spec_of(encoder="statistics", **named), folder, fitted=False)
    with pytest.raises(UserError, match=r"is not what the regressor.*was fitted on, 'statistics'"):
        load_scorer(spec_of(encoder=tower, **named), folder, fitted=False)
    # The run's own was fitted later than the study was written, perhaps with --encoder.
    assert load_scorer(spec_of(encoder=tower), folder, fitted=True)


def test_a_head_of_laions(folder, tower, head):
    found = load_scorer(spec_of(encoder=tower, laion=head), folder, False)
    assert isinstance(found, Laion) and found.identity["encoder"] == tower
    with pytest.raises(UserError, match="takes 24 numbers"):
        load_scorer(spec_of(encoder="miniature", laion=head), folder, False)


def test_alignment_is_the_models_own_or_the_users():
    assert load_alignment(spec_of(model="standin")) is None
    assert load_alignment(spec_of(model="miniature")).identity["model"] == "miniature"
    assert load_alignment(spec_of(model="miniature", alignment="none")) is None
    with pytest.raises(UserError, match=r"caps\.alignment needs a CLIP"):
        load_alignment(spec_of(model="standin", caps={"alignment": 0.9}))


def test_a_whole_run_judged_by_a_head_of_laions(standin, tower, head, tmp_path):
    study = standin(('encoder = "standin"', f'encoder = "{tower}"\nlaion = "{head}"'))
    rulebook = ldmopt.run(study, tmp_path / "run", trials=3)
    assert rulebook.data["scope"]["scorer"].startswith("laion-v1")
    assert rulebook.data["scope"]["human_labels"] == 0
    # The same study goes on with the same judge.
    assert ldmopt.run(study, tmp_path / "run", trials=4).data["scope"]["scorer"] == (
        rulebook.data["scope"]["scorer"])


def test_a_run_is_judged_anew_by_what_its_study_names(standin, tmp_path):
    judge = default().save(tmp_path / "judge")
    study = standin(('encoder = "standin"', f'regressor = "{judge}"'))
    first = ldmopt.run(study, tmp_path / "run", trials=3)
    surer = replace(default(), scale=default().scale * 3)
    surer.save(judge)
    with pytest.raises(UserError, match="judge all pictures anew with: ldmopt rescore"):
        ldmopt.run(study, tmp_path / "run", trials=4)
    second = ldmopt.rescore(tmp_path / "run")
    assert (first.data["generation"], second.data["generation"]) == (1, 2)
    assert surer.digest in second.data["scope"]["scorer"]
    assert ldmopt.run(study, tmp_path / "run", trials=4).data["generation"] == 2
