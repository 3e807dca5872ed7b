"""Collections: rated picture files that are no run."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from rich.console import Console
from typer.testing import CliRunner

import ldmopt
from ldmopt.cli import app
from ldmopt.contracts import Block
from ldmopt.display import share_bar
from ldmopt.errors import UserError
from ldmopt.labels import LabelStore
from ldmopt.study.collection import Collection, Gallery, open_gallery
from ldmopt.study.folder import RunFolder


def paint(path, number, size=(8, 12), **options):
    """Write one picture file; equal numbers give equal pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def rated(path, *rows, columns="picture,rater,rating,prompt"):
    """Write a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(rows)
    return path


@pytest.fixture
def three(tmp_path):
    """A CSV that names three picture files by path, one of each format."""
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "secret prompt")
    paint(tmp_path / "pictures" / "one.png", 1, pnginfo=info)
    paint(tmp_path / "pictures" / "two.jpg", 2, quality=90)
    paint(tmp_path / "three.webp", 3, lossless=True)
    return rated(tmp_path / "ratings.csv",
                 ("pictures/one.png", "ann", 4, "a tree"), ("pictures/two.jpg", "ann", 2, "a tree"),
                 (tmp_path / "three.webp", "ann", 3, "a house"))


def snapshot(folder):
    """Return every file of a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_picture_files_become_a_collection(three, tmp_path):
    done = ldmopt.labels_import(tmp_path / "new", three)
    assert (done.added, done.pictures, done.without_prompt) == (3, 3, 0)
    gallery: Gallery = open_gallery(tmp_path / "new")
    assert isinstance(gallery, Collection)
    assert sorted(block.prompt for block in gallery.blocks().values()) == [
        "a house", "a tree", "a tree"]
    for digest, block in gallery.blocks().items():
        picture = gallery.picture(digest, block)
        assert picture.digest == digest
        assert picture.pixels.shape == (8, 12, 3)
        with Image.open(tmp_path / "new" / "pictures" / digest[:2] / f"{digest}.png") as image:
            assert image.info == {}
    assert {entry.source for entry in gallery.entries().values()} == {
        "one.png", "two.jpg", "three.webp"}
    assert json.loads(gallery.record.read_text())["schema_version"] == 1
    with LabelStore(gallery.labels) as store:
        assert set(store.current().digests()) == set(gallery.blocks())


def test_more_imports_add_to_it(three, tmp_path):
    where = tmp_path / "new"
    ldmopt.labels_import(where, three)
    before = set(open_gallery(where).blocks())
    assert ldmopt.labels_import(where, three).unchanged == 3
    paint(tmp_path / "four.png", 4)
    digest = sorted(before)[0]
    more = rated(tmp_path / "more.csv", ("four.png", digest[:10], "bob", "left"),
                 columns="left,right,rater,preferred")
    done = ldmopt.labels_import(where, more)
    assert (done.added, done.pictures, done.without_prompt) == (1, 1, 1)
    after = open_gallery(where).blocks()
    assert before < set(after) and len(after) == 4
    # What was not known may be told later, and what is known may not be changed.
    told = rated(tmp_path / "told.csv", ("four.png", "ann", 1, "a tree", 7),
                 columns="picture,rater,rating,prompt,seed")
    assert ldmopt.labels_import(where, told).without_prompt == 0
    assert Block("a tree", 7) in open_gallery(where).blocks().values()
    kept = snapshot(where)
    other = rated(tmp_path / "other.csv", ("four.png", "bob", 1, "a house"))
    with pytest.raises(UserError, match="row 2: column 'prompt' must be 'a tree', .*'a house'"):
        ldmopt.labels_import(where, other)
    assert snapshot(where) == kept


def test_labels_leave_a_collection_and_come_back(three, tmp_path):
    where = tmp_path / "new"
    ldmopt.labels_import(where, three)
    assert ldmopt.labels_export(where, tmp_path / "out.csv") == {tmp_path / "out.csv": 3}
    assert ldmopt.labels_import(where, tmp_path / "out.csv").unchanged == 3
    pairs = tmp_path / "pairs.csv"
    assert ldmopt.labels_export(where, pairs, "pairs") == {pairs: 0}


def test_pictures_are_taken_as_they_were_seen(tmp_path):
    upright = np.zeros((4, 6, 3), np.uint8)
    upright[:2] = 255
    turned = Image.fromarray(np.rot90(upright))
    exif = turned.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=100, subsampling=0)
    clear = np.dstack([np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)])
    Image.fromarray(clear, "RGBA").save(tmp_path / "clear.png")
    deep = np.full((4, 6), 0x8000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    names = ("turned.jpg", "clear.png", "deep.png")
    ldmopt.labels_import(tmp_path / "new", rated(
        tmp_path / "r.csv", *((name, "ann", 1, "p") for name in names)))
    gallery = open_gallery(tmp_path / "new")
    seen = {entry.source: gallery.picture(digest, Block("", 0)).pixels
            for digest, entry in gallery.entries().items()}
    assert seen["turned.jpg"].shape == (4, 6, 3)
    assert seen["turned.jpg"][0].min() > 250 and seen["turned.jpg"][3].max() < 5
    assert (seen["clear.png"] == 255).all()
    assert (seen["deep.png"] == 128).all()




@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text.png", "it is no PNG, JPEG or WebP picture"),
        ("empty.png", "it is no PNG, JPEG or WebP picture"),
        ("cut.png", "it cannot be read: "),
        ("folder", "it is no file"),
        ("../../../none/one.png", "there is no such file"),
        ("big.gif", "it is no PNG, JPEG or WebP picture"),
        ("loop", "there is no such file"),
        ("pipe", "it is no file"),
    ],
)
def test_a_bad_picture_is_named_and_nothing_is_written(tmp_path, three, name, words):
    paint(tmp_path / "whole.png", 9, size=(64, 64))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:4000])
    (tmp_path / "text.png").write_bytes(b"this is no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    paint(tmp_path / "big.gif", 9)
    path = rated(tmp_path / "bad.csv", ("three.webp", "ann", 1, "a house"), (name, "ann", 1, "p"))
    where = tmp_path / "new"
    with pytest.raises(UserError, match="row 3: column 'picture' must be a digest or the") as told:
        ldmopt.labels_import(where, path)
    assert words in str(told.value) and repr(name) in str(told.value)
    assert "\n" not in str(told.value)
    assert not where.exists()
    ldmopt.labels_import(where, three)
    before = snapshot(where)
    with pytest.raises(UserError, match="row 3"):
        ldmopt.labels_import(where, path)
    assert snapshot(where) == before


def test_symlinks_are_followed(tmp_path):
    paint(tmp_path / "there" / "one.png", 1)
    (tmp_path / "link.png").symlink_to(tmp_path / "there" / "one.png")
    (tmp_path / "back").mkdir()
    path = rated(tmp_path / "back" / "r.csv", ("../link.png", "ann", 1, "p"))
    assert ldmopt.labels_import(tmp_path / "new", path).pictures == 1


def test_a_wrong_folder_makes_no_collection(three, tmp_path, standin):
    where = tmp_path / "runs" / "typo"
    digests = rated(tmp_path / "digests.csv", ("a" * 64, "ann", 1, "p"))
    with pytest.raises(UserError, match="is no run folder and no collection, .*row 2.*give the RUN "
                                        "that .* or name picture files by path"):
        ldmopt.labels_import(where, digests)
    with pytest.raises(UserError, match="row 2: there is no label"):
        ldmopt.labels_import(where, rated(tmp_path / "none.csv"))
    with pytest.raises(UserError, match="is a file; the folder comes first"):
        ldmopt.labels_import(three, tmp_path / "new")
    assert not where.parent.exists()
    other = tmp_path / "documents"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="holds 'letter.txt'; give a run, or a new folder"):
        ldmopt.labels_import(other, three)
    assert os.listdir(other) == ["letter.txt"]
    with pytest.raises(UserError, match="is no run folder .no study.toml. and no collection"):
        ldmopt.labels_export(where, tmp_path / "out.csv")
    with pytest.raises(UserError, match="is no run folder"):
        ldmopt.fit(where)


def test_a_run_stays_a_run(three, tmp_path, standin):
    out = tmp_path / "run"
    folder = RunFolder(out)
    folder.create()
    folder.spec.write_text(standin().read_text())
    assert open_gallery(out).path == out
    before = snapshot(out)
    with pytest.raises(UserError, match="row 2: .*a picture that is not in this run"):
        ldmopt.labels_import(out, three)
    with pytest.raises(UserError, match="has no labels"):
        ldmopt.labels_export(out, tmp_path / "out.csv")
    assert snapshot(out) == before  # no empty labels.db either
    folder.spec.unlink()  # a run that lost its study is no collection
    folder.journal.write_text("")
    with pytest.raises(UserError, match="holds 'blocks.jsonl'"):
        ldmopt.labels_import(out, three)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is damaged"),
        ('{"schema_version": 99, "pictures": {}}', "schema_version 99.*upgrade"),
        ('{"schema_version": 0, "pictures": {}}', "schema_version 0.*import the CSV anew"),
        ('{"schema_version": 1, "pictures": {"aa": {"colour": 1}}}', "is damaged"),
        ("[]", "is damaged"),
    ],
)
def test_a_damaged_record_is_named(three, tmp_path, text, words):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "collection.json").write_text(text)
    with pytest.raises(UserError, match=f"collection.json.*{words}"):
        ldmopt.labels_import(tmp_path / "new", three)


@pytest.mark.parametrize("moment", range(4))
def test_a_killed_import_is_finished_by_the_same_command(tmp_path, moment):
    count = 60
    for number in range(count):
        paint(tmp_path / f"{number}.png", number, size=(64, 64))
    path = rated(tmp_path / "r.csv", *((f"{n}.png", "ann", n, "p") for n in range(count)))
    where = tmp_path / "new"
    program = f"import ldmopt; ldmopt.labels_import({str(where)!r}, {str(path)!r})"
    importing = subprocess.Popen([sys.executable, "-c", program])
    stages = [
        lambda: where.exists(),
        lambda: (where / "collection.json").exists(),
        lambda: len(list(where.glob("pictures/*/*.png"))) > 20,
        lambda: (where / "labels.db").exists(),
    ]
    deadline = time.monotonic() + 60
    while not stages[moment]() and importing.poll() is None and time.monotonic() < deadline:
        pass
    os.kill(importing.pid, signal.SIGKILL)
    importing.wait()
    assert stages[moment]()
    ldmopt.labels_import(where, path)
    gallery = open_gallery(where)
    assert len(gallery.blocks()) == count
    for digest, block in gallery.blocks().items():
        assert gallery.picture(digest, block).pixels.shape == (64, 64, 3)
    with LabelStore(gallery.labels) as store:
        assert sorted(row.rating for row in store.history().ratings) == list(range(count))


def test_two_imports_at_once_lose_nothing(tmp_path):
    programs = []
    for first, name in ((0, "ann"), (100, "bob")):
        for number in range(20):
            paint(tmp_path / name / f"{number}.png", first + number)
        path = rated(tmp_path / f"{name}.csv", *((f"{name}/{n}.png", name, n, "p")
                                                 for n in range(20)))
        programs.append(f"""
import ldmopt, time
from ldmopt.errors import UserError
for _ in range(600):
    try:
        ldmopt.labels_import({str(tmp_path / 'new')!r}, {str(path)!r})
        break
    except UserError as error:
        assert "in use" in str(error), error
        time.sleep(0.05)
""")
    running = [subprocess.Popen([sys.executable, "-c", program]) for program in programs]
    assert [item.wait() for item in running] == [0, 0]
    gallery = open_gallery(tmp_path / "new")
    assert len(gallery.blocks()) == 40
    with LabelStore(gallery.labels) as store:
        assert len(store.current()) == 40


def test_fit_works_on_a_collection(tmp_path):
    rows = []
    for number in range(24):
        rng = np.random.default_rng(number)
        scene = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        noise = rng.normal(0, 60 * (number % 4), scene.shape)
        Image.fromarray((scene + noise).clip(0, 255).astype(np.uint8)).save(
            tmp_path / f"{number}.png")
        rows.append((f"{number}.png", "simulated-smooth", 4 - number % 4,
                     f"scene {number // 4}", 1))
    path = rated(tmp_path / "r.csv", *rows, columns="picture,rater,rating,prompt,simulated")
    ldmopt.labels_import(tmp_path / "new", path)
    regressor = ldmopt.fit(tmp_path / "new")
    assert regressor.identity["simulated_labels"] == 24
    assert Path(tmp_path / "new" / "regressor").is_dir()


def said(*arguments):
    """Run the command line; return what it printed."""
    done = CliRunner().invoke(app, [str(item) for item in arguments])
    assert done.exit_code == 0, done.output
    assert done.stderr == ""  # no progress bar where there is no terminal
    return done.stdout


def test_the_command_line_says_what_it_did(three, tmp_path):
    where = tmp_path / "new"
    assert said("labels", "import", where, three) == "labels: 3 added, 3 picture files taken in\n"
    paint(tmp_path / "four.png", 4)
    pairs = rated(tmp_path / "pairs.csv", ("four.png", "three.webp", "robot", "tie", 1),
                  columns="left,right,rater,preferred,simulated")
    text = said("labels", "import", where, pairs)
    assert "1 by simulated raters" in text
    assert "1 of the pictures have no prompt: they are compared with one another" in text
    assert json.loads(said("labels", "import", where, pairs, "--json"))["unchanged"] == 1
    out = tmp_path / "out.csv"
    beside = tmp_path / "out.pairs.csv"
    assert said("labels", "export", where, out) == f"3 labels in {out}\n1 labels in {beside}\n"
    assert json.loads(said("labels", "export", where, out, "--kind", "pairs", "--json")) == {
        str(out): 1}
    wrong = CliRunner().invoke(app, ["labels", "export", str(where), str(out), "--kind", "pair"])
    assert "did you mean 'pairs'" in str(wrong.exception)


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_shown_on_a_terminal_only(terminal, capsys):
    console = Console(stderr=True, force_terminal=terminal, width=100)
    with share_bar(console, "importing labels") as tell:
        tell(0.5)
    shown = capsys.readouterr()
    assert ("importing labels" in shown.err) == terminal
    assert shown.out == ""


def test_an_import_tells_how_far_it_is(three, tmp_path):
    told = []
    ldmopt.labels_import(tmp_path / "new", three, progress=told.append)
    assert told == sorted(told) and told[-1] == 1.0
    assert told[0] == 0.5  # a file this small is read at once
