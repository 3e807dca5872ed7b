"""fit on a run and on a collection, with simulated raters that are called so everywhere."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import ldmopt
from ldmopt import cli
from ldmopt.contracts import Block
from ldmopt.errors import UserError
from ldmopt.labels import LabelStore, Pair
from ldmopt.scorers import Regressor, encoders
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Give a collection of 24 pictures of 6 prompts, grainier and grainier, by one rater."""
    where = tmp_path_factory.mktemp("collection")
    with (where / "r.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "rater", "rating", "prompt", "simulated"])
        for number in range(24):
            rng = np.random.default_rng(number)
            scene = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
            grain = rng.normal(0, 60 * (number % 4), scene.shape)
            Image.fromarray((scene + grain).clip(0, 255).astype(np.uint8)).save(
                where / f"{number}.png")
            writer.writerow([f"{number}.png", "smooth", 4 - number % 4, f"scene {number // 4}", 1])
    ldmopt.labels_import(where / "c", where / "r.csv")
    return where / "c"


def command(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["ldmopt", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_fit_leaves_a_report_for_people_and_one_for_programs(collection):
    shares = []
    found = ldmopt.fit(collection, progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    folder = collection / "regressor"
    assert json.loads((folder / "report.json").read_text()) == json.loads(
        json.dumps(dict(found.report)))
    text = (folder / "report.md").read_text()
    assert "Learned from 24 labels of simulated raters on top of a prior" in text
    assert "| smooth (simulated) | 24 | 0 | 0 | 0 |" in text
    assert "All labels are a simulated rater's" in text
    assert "png" not in text or (folder / "learning.png").is_file()
    assert (folder / "reliability.png").is_file()
    loaded = Regressor.load(folder)
    assert loaded.digest == found.digest
    assert loaded.report["agreement"]["judges"].keys() == {"fitted", "prior", "statistics"}


def test_fit_prints_a_short_table_and_what_to_do_next(collection, capsys, monkeypatch):
    out = command(capsys, monkeypatch, "fit", collection)
    for words in ("prior + labels", "prior alone (no labels)", "statistics alone", "smooth",
                  "RankIQA", "report.md", "[scorer] regressor ="):
        assert words in out.replace("\n", " ")
    data = json.loads(command(capsys, monkeypatch, "fit", collection, "--json"))
    assert data["identity"]["simulated_labels"] == 24 and data["identity"]["human_labels"] == 0
    assert data["report"]["labels"]["by_rater"]["smooth (simulated)"]["ratings"] == 24


def test_an_encoder_of_ones_own_and_a_head_beside_it(collection, tmp_path):
    width = len(encoders.embedding(encoders.load("miniature").encoder.names))
    head = {"weight": np.ones((1, width), np.float32), "bias": np.zeros(1, np.float32)}
    save_file(head, tmp_path / "head.safetensors")
    found = ldmopt.fit(collection, encoder="miniature", laion=str(tmp_path / "head.safetensors"))
    assert found.encoder == "miniature" == found.report["encoder"]
    judged = found.report["agreement"]["judges"]["LAION V1"]
    assert 0 <= judged["accuracy"]["value"] <= 1 and judged["brier"] is None
    assert "| LAION V1 |" in (collection / "regressor" / "report.md").read_text()
    before = sorted(path.stat().st_mtime_ns for path in (collection / "regressor").iterdir())
    with pytest.raises(UserError, match="did you mean 'miniature'"):
        ldmopt.fit(collection, encoder="minature")
    with pytest.raises(UserError, match="scorer.laion|LAION head"):
        ldmopt.fit(collection, encoder="miniature", laion="gone.safetensors")
    after = sorted(path.stat().st_mtime_ns for path in (collection / "regressor").iterdir())
    assert after == before


def test_a_repeat_is_told(collection):
    with LabelStore(collection / "labels.db") as store:
        one, two = sorted(row.picture for row in store.current().ratings
                          if row.prompt == "scene 0")[:2]
        pair = Pair(one, two, "ann", "left", "scene 0")
        store.add([pair, Pair(two, one, "ann", "right", "scene 0", repeat=True)])
    found = ldmopt.fit(collection)
    ann = found.report["agreement"]["raters"]["ann"]
    assert ann["themselves"]["value"] == 1.0 and ann["themselves"]["count"] == 1
    assert found.identity["human_labels"] == 1
    assert found.report["labels"]["by_rater"]["ann"] == {
        "ratings": 0, "pairs": 1, "keeps": 0, "repeats": 1}


def test_pictures_of_held_out_prompts_never_train(done):
    folder = RunFolder(done)
    held_out = {prompt for prompt, _ in
                read_run(done)[2].user_attrs[records.FROZEN]["held_out"]}
    blocks = folder.blocks()
    assert {block.prompt for block in blocks.values()} & held_out
    trained = [digest for digest, block in blocks.items() if block.prompt not in held_out]
    with LabelStore(folder.labels) as store:
        from ldmopt.labels import Rating

        store.add(Rating(digest, "rater", float(number % 5), simulated=True)
                  for number, digest in enumerate(blocks))
    found = ldmopt.fit(done)
    labels = found.report["labels"]
    assert labels["pictures"] == len(trained)
    assert labels["unused"] == len(blocks) - len(trained)
    assert not set(found.crossed.fold_of if found.crossed else ()) & held_out
    assert any("kept for confirmation never train" in line for line in found.report["distrust"])
    with folder.lock(), pytest.raises(UserError, match="in use"):
        ldmopt.fit(done)
    assert folder.picture(trained[0], Block("", 0)).digest == trained[0]
