"""`ldmopt report` on a finished run of the stand-in, and on what cannot be reported."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

import ldmopt
from ldmopt.cli import app
from ldmopt.errors import UserError
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_evidence, read_run
from ldmopt.study.reporting import report_run


def refusal(*where, **how):
    with pytest.raises(UserError) as caught:
        ldmopt.report(*where, **how)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_report_of_a_run(done, tmp_path):
    shares = []
    found = report_run(done, progress=shares.append)
    assert found.file == done / "report.html" and not found.missing
    assert found.size == found.file.stat().st_size and shares[-1] == 1.0
    text = found.file.read_text(encoding="utf-8")
    assert "standin" in text and "plugins = " in text
    said = CliRunner().invoke(app, ["report", str(done), "--out", str(tmp_path / "a.html"),
                                    "--json"])
    assert json.loads(said.stdout)["pictures"] == found.pictures > 8
    assert (tmp_path / "a.html").read_bytes() == found.file.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".a")]


def test_gone_and_damaged_pictures_are_named(done):
    folder = RunFolder(done)
    _, spec, study = read_run(done)
    evidence = read_evidence(folder, spec, study)
    known = sorted(set(evidence.confirmations[evidence.default].pictures))[:4]
    paths = [folder.picture_path(digest) for digest in known]
    paths[0].unlink()
    paths[1].write_bytes(b"no picture")
    shutil.copy(paths[2], paths[3])
    said = CliRunner().invoke(app, ["report", str(done)])
    assert said.exit_code == 0
    named = [digest for digest in known[:4] if digest in said.stderr]
    assert named == [d for d in known[:4] if d != known[2]]
    assert "3 pictures are missing" in (done / "report.html").read_text().replace("<b>", "")
    assert str(done) not in (done / "report.html").read_text()


def test_what_cannot_be_reported(done, tmp_path):
    assert "no run folder" in refusal(tmp_path)
    assert "is a folder" in refusal(done, done)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal(done, tmp_path / "file" / "report.html")
    book = json.loads((done / "rulebook.json").read_text())
    (done / "rulebook.json").write_text(json.dumps({**book, "generation": 7}))
    assert "generation 7" in refusal(done) and "ldmopt rulebook" in refusal(done)
    (done / "rulebook.json").write_text("{")
    assert "not JSON" in refusal(done)
    os.unlink(done / "rulebook.json")
    assert "no rulebook.json yet" in refusal(done)
    assert not (done / "report.html").exists()
