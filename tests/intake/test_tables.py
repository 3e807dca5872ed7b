"""`import_table`: what a table of observations becomes, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from PIL import Image

import ldmopt
from ldmopt.contracts import Setting
from ldmopt.errors import UserError
from ldmopt.intake.columns import failure_kind
from ldmopt.labels import LabelStore
from ldmopt.study import output
from ldmopt.study.folder import RunFolder

BASE = {"sampler": "euler", "steps": 20}


@pytest.fixture(autouse=True)
def without_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the plots out: what they show is tested elsewhere."""
    from ldmopt.exports import plots

    monkeypatch.setattr(plots, "front_plot", lambda *a, **k: None)
    monkeypatch.setattr(output, "write_sheet", lambda *a, **k: None)


@pytest.fixture
def table(tmp_path: Path):
    """Writes a table of rows, each a dictionary; returns its path."""

    def write(rows: list[dict[str, object]], name: str = "table.csv") -> Path:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        path = tmp_path / name
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def rated(prompts: int = 6, **settings: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield rows of two settings: more steps are rated higher by one, and take twice as long."""
    for steps, rating in ((20, 3), (40, 4)):
        for prompt in range(prompts):
            yield {"sampler": "euler", "steps": steps, "prompt": f"p{prompt}", "seed": 1,
                   "seconds": steps / 10, "peak_memory_bytes": 4e9, "rating": rating,
                   "rater": "ann", **settings}  # fmt: skip


def picture(path: Path, number: int) -> Path:
    """Write a small picture of its own colour."""
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), number, np.uint8)).save(path)
    return path


def quality(done: ldmopt.Intake, **values: object) -> dict[str, float]:
    """Return the figures of a setting in study.db."""
    return attributes(done, **values)["quality"]


def attributes(done: ldmopt.Intake, **values: object) -> dict[str, object]:
    _, _, study = output.read_run(done.run)
    [found] = [trial for trial in study.trials
               if values.items() <= trial.user_attrs["setting"].items()]
    return dict(found.user_attrs)


def test_ratings_become_win_rates_against_the_setting_observed_most(table, tmp_path):
    rows = [*rated(), {"sampler": "euler", "steps": 20, "prompt": "p6", "seed": 1,
                       "seconds": 2.0, "peak_memory_bytes": 4e9, "rating": 3, "rater": "ann"}]
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert done.default == Setting(sampler="euler", steps=20)
    assert done.why_default == "observed most, 7 rows"
    assert quality(done, steps=40)["win_rate"] == 1.0
    assert 0.3 < quality(done, steps=40)["low"] < 0.9  # six prompts only
    assert done.rulebook.data["default"]["cost"]["source"] == "imported"
    assert not done.rulebook.recommendations[0].data["evidence"]["held_out"]
    assert done.rulebook.data["scope"]["human_labels"] == 13
    study = output.read_run(done.run)[2]
    assert study.metric_names == ["win_rate", "seconds", "peak_memory_bytes"]
    assert study.trials[0].distributions["steps"] == optuna.distributions.IntDistribution(20, 40)


def test_the_better_and_dearer_setting_is_named_best(table, tmp_path):
    done = ldmopt.import_table(table(list(rated(24))), tmp_path / "run")
    best = done.rulebook.find("best").data
    assert best["setting"]["steps"] == 40
    assert best["cost"]["seconds"] == pytest.approx(4.0)
    [effect] = done.rulebook.data["effects"]
    assert (effect["from"], effect["to"], effect["verdict"]) == (20, 40, "worth it")
    assert effect["evidence"]["judged_by"] == "the ratings of the imported table"


def test_ties_are_half_and_raters_are_compared_with_themselves(table, tmp_path):
    rows = []
    for rater, low, high in (("ann", 1, 2), ("bob", 9, 9)):
        for steps, rating in ((20, low), (40, high)):
            rows.append({**BASE, "steps": steps, "prompt": "p", "seed": 1, "rater": rater,
                         "rating": rating})
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert quality(done, steps=40)["win_rate"] == 0.75
    assert any("one prompt only" in note for note in done.notes)


def test_a_tie_of_two_pictures_is_marked_and_no_certainty(table, tmp_path):
    """What was called equal here may be otherwise with the next prompt; one picture may not."""
    for number in range(12):
        picture(tmp_path / "pictures" / f"a{number}.png", number)
        picture(tmp_path / "pictures" / f"b{number}.png", 100 + number)
    rows = [{**BASE, "steps": steps, "prompt": f"p{prompt}", "seed": prompt, "rater": "ann",
             "rating": prompt % 3, "seconds": steps / 10, "picture": f"pictures/{name}{prompt}.png"}
            for steps, name in ((20, "a"), (30, "a"), (40, "b"))
            for prompt in range(12)]  # fmt: skip
    done = ldmopt.import_table(table(rows), tmp_path / "run", default={"steps": 20})
    for steps, tie in ((30, False), (40, True)):
        found = quality(done, steps=steps)
        assert {(row[2], row[3:] == [True]) for row in found["blocks"]} == {(0.5, tie)}
        assert (found["low"] < 0.4 < 0.6 < found["high"]) == tie
        assert (found["low"] == found["high"] == 0.5) == (not tie)
    effects = {row["from"]: row for row in done.rulebook.data["effects"]}
    assert effects[20]["low"] == effects[20]["high"] == 0.5
    assert effects[30]["low"] < 0.45 < 0.55 < effects[30]["high"]


def test_without_common_seeds_or_raters_the_same_prompt_is_compared_and_that_is_said(
    table, tmp_path
):
    rows = [{**BASE, "steps": steps, "prompt": f"p{prompt}", "seed": seed, "rating": rating,
             "rater": f"{who}{prompt}"}
            for steps, seed, rating, who in ((20, 1, 3, "a"), (40, 2, 4, "a"), (60, 1, 2, "b"))
            for prompt in range(3)]  # fmt: skip
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert quality(done, steps=40)["win_rate"] == 1.0
    assert quality(done, steps=60)["win_rate"] == 0.0
    [said] = [note for note in done.notes if "rest on" in note]
    assert "3 of 6" in said and "different raters" in said and "different seeds" in said


def test_a_pictures_cost_counts_once_and_warm_ups_not_at_all(table, tmp_path):
    rows = [{**BASE, "prompt": f"p{prompt}", "seconds": seconds, "rater": rater, "rating": 1,
             "warmup": int(seconds == 50), "peak_memory_bytes": 4e9 + (5e9 if seconds == 50 else 0)}
            for prompt, seconds in enumerate((1.0, 2.0, 4.0, 50.0))
            for rater in (("ann", "bob", "cy", "di") if seconds == 4.0 else ("ann",))]
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    cost = attributes(done)["cost"]
    assert (cost["seconds"], cost["repeats"], cost["peak_memory_bytes"]) == (2.0, 3, 4e9)


def test_a_setting_out_of_memory_is_avoided_and_never_best(table, tmp_path):
    rows = [*rated(24)]
    rows += [{**BASE, "steps": 80, "prompt": f"p{prompt}", "seed": 1, "rating": 5, "rater": "ann",
              "seconds": 0.1, "failed": "CUDA out of memory" if prompt else ""}
             for prompt in range(24)]  # fmt: skip
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert done.failed == 1
    assert attributes(done, steps=80)["failure"] == {
        "kind": "out-of-memory", "reason": "CUDA out of memory (in 23 of 24 pictures)"}
    named = [*done.rulebook.data["recommendations"], *done.rulebook.data["front"]]
    assert all(item["setting"]["steps"] != 80 for item in named)
    assert any(item["when"] == {"steps": 80} for item in done.rulebook.data["avoid"])
    study = output.read_run(done.run)[2]
    assert all(trial.user_attrs["setting"]["steps"] != 80 for trial in study.best_trials)


@pytest.mark.parametrize(("reason", "kind"), [
    ("OOM", "out-of-memory"), ("CUDA error: out of memory", "out-of-memory"),
    ("timed out", "deadline"), ("black picture", "black"), ("NaN in decode", "nan"),
    ("segfault", "crash"), ("whatever", "error"), ("illegal memory access", "error"),
])  # fmt: skip
def test_failures_are_told_apart(reason, kind):
    assert failure_kind(reason) == kind


def test_names_of_other_programs_are_normalised_and_unknown_values_kept(table, tmp_path):
    rows = [{"sampler": sampler, "steps": 20, "size": size, "cfg_rescale": more, "mood": mood,
             "prompt": "p", "seconds": 1}
            for sampler, size, more, mood in (
                ("DPM++ 2M Karras", "512x512", "0.5", "calm"), ("Euler a", 512, 1, "7"),
                ("DPMSolverMultistepScheduler", "500x500", "2", ""),
                ("DPM++ 3M SDE Karras", "512x512", "0", "x"))]  # fmt: skip
    done = ldmopt.import_table(table(rows), tmp_path / "run", knobs=["cfg_rescale", "mood"])
    settings = [trial.user_attrs["setting"] for trial in output.read_run(done.run)[2].trials]
    assert settings == [
        {"cfg_rescale": 0.5, "mood": "calm", "sampler": "dpmpp_2m", "sigmas": "karras",
         "size": "512x512", "steps": 20},
        {"cfg_rescale": 1, "mood": "7", "sampler": "euler_a", "size": "512x512", "steps": 20},
        {"cfg_rescale": 2, "sampler": "dpmpp_2m", "sigmas": "default", "size": "500x500",
         "steps": 20},
        {"cfg_rescale": 0, "mood": "x", "sampler": "DPM++ 3M SDE", "sigmas": "karras",
         "size": "512x512", "steps": 20},
    ]  # fmt: skip


def test_the_default_can_be_named(table, tmp_path):
    done = ldmopt.import_table(table([*rated()]), tmp_path / "a", default=["steps=40"])
    assert (done.default["steps"], done.why_default) == (40, "given")
    assert quality(done, steps=20)["win_rate"] == 0.0
    for words, given in (("no row has steps=30 \\(rows have 20, 40\\)", "steps=30"),
                         ("unknown knob 'stops' \\(did you mean 'steps'", "stops=3"),
                         ("must be knob=value", "steps"), ("must be a number", "steps=x")):
        with pytest.raises(UserError, match=words):
            ldmopt.import_table(table([*rated()]), tmp_path / "b", default=[given])
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("missing", "objectives", "said"), [
    ({"peak_memory_bytes": ""}, ["win_rate", "seconds"], "peak memory is not known"),
    ({"seconds": ""}, ["win_rate", "peak_memory_bytes"], "nothing can be concluded on speed"),
    ({"rating": 3}, ["win_rate", "seconds", "peak_memory_bytes"], "tell no two pictures apart"),
    ({"rating": ""}, ["win_rate", "seconds", "peak_memory_bytes"], "no ratings and no pictures"),
])  # fmt: skip
def test_partial_tables_say_what_cannot_be_concluded(table, tmp_path, missing, objectives, said):
    done = ldmopt.import_table(table([*rated(24, **missing)]), tmp_path / "run")
    assert output.read_run(done.run)[2].metric_names == objectives
    assert any(said in note for note in done.notes)
    assert said in (done.run / "rulebook.md").read_text().lower()
    best = done.rulebook.find("best").data
    assert best["setting"]["steps"] == (20 if "rating" in missing else 40)
    if "seconds" in missing:
        assert best["cost"]["seconds"] is None
        assert attributes(done, steps=40)["cost"]["seconds"] is None
        assert "fastest-not-worse" not in [item.id for item in done.rulebook.recommendations]


def test_one_sampler_only_says_that_nothing_is_known_of_samplers(table, tmp_path):
    done = ldmopt.import_table(table([*rated()]), tmp_path / "run")
    assert "beat the default after allowing for all settings that were compared (Holm)" in (
        done.run / "rulebook.md").read_text()
    words = "all settings have the same sampler (euler): nothing can be concluded on it"
    assert words in done.notes
    assert words[1:] in (done.run / "rulebook.md").read_text()
    assert not any(row["knob"] == "sampler" for row in done.rulebook.data["effects"])
    other = {"sampler": "ddim", "steps": 20, "prompt": "p0", "seed": 1, "seconds": 2}
    more = ldmopt.import_table(table([*rated(), other]), tmp_path / "run")
    assert not any("the same sampler" in note for note in more.notes)


def test_a_single_setting_is_a_rulebook_of_its_default(table, tmp_path):
    rows = [row for row in rated() if row["steps"] == 20]
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert any("one setting only" in note for note in done.notes)
    assert [item["setting"]["steps"] for item in done.rulebook.data["front"]] == [20]


def test_an_execution_knob_leaves_the_picture_alone_where_pictures_show_it(table, tmp_path):
    def rows(differ: int) -> list[dict[str, object]]:
        return [
            {"attention": attention, "prompt": "p", "seed": seed, "rating": seed + differ * place,
             "seconds": 1 + place, "picture": picture(tmp_path / f"{differ}{seed}{place}.png",
                                                      seed * 20 + differ * place).name}
            for place, attention in enumerate(("sdpa", "eager")) for seed in (1, 2)
        ]  # fmt: skip

    for differ, knobs in ((0, []), (1, ["attention"])):
        done = ldmopt.import_table(table(rows(differ)), tmp_path / f"run{differ}")
        frozen = output.read_run(done.run)[2].user_attrs["ldmopt"]
        assert frozen["picture_knobs"] == knobs
    assert quality(done, attention="eager")["win_rate"] == 1.0


def pictured(tmp_path: Path) -> list[dict[str, object]]:
    return [{**row, "picture": picture(tmp_path / "pics" / f"{place}.png", 10 * place).relative_to(
        tmp_path).as_posix()} for place, row in enumerate(rated(4))]


def test_ratings_of_pictures_become_labels_once(table, tmp_path):
    path = table(pictured(tmp_path))
    done = ldmopt.import_table(path, tmp_path / "run")
    folder = RunFolder(done.run)
    assert (done.pictures, done.labels) == (8, 8)
    for _ in range(2):
        with LabelStore(folder.labels) as store:
            labels = store.history()
        assert sorted(row.rating for row in labels.ratings) == [3] * 4 + [4] * 4
        assert labels.ratings[0].prompt == "p0" and labels.ratings[0].seed == 1
        assert len(folder.blocks()) == 8
        again = ldmopt.import_table(path, tmp_path / "run")
    assert again.added == 0
    item = again.rulebook.data["recommendations"][0]
    assert item["quality"]["human"] is None  # the ratings are the win rate: they count once
    shown = attributes(done, steps=40)["pictures"]
    assert len(shown) == 4 and all(folder.picture_path(digest).is_file() for digest in shown)


def test_without_ratings_the_regressor_judges_the_pictures(table, tmp_path):
    rows = [{**row, "rating": "", "rater": ""} for row in pictured(tmp_path)]
    rng = np.random.default_rng(0)
    for row in rows:  # the exam wants pictures that can be ruined
        pixels = rng.integers(0, 255, (4, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(tmp_path / str(row["picture"]))
    done = ldmopt.import_table(table(rows), tmp_path / "run")
    assert "regressor" in done.judged_by
    assert any("no human rated" in note for note in done.notes)
    assert (done.run / "exam.json").is_file()
    assert len(quality(done, steps=40)["blocks"]) == 4


def test_the_same_table_again_is_nothing_new_and_more_rows_are_added(table, tmp_path):
    rows = [*rated(8)]
    done = ldmopt.import_table(table(rows[:12]), tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (done.run).glob("*.csv")}
    again = ldmopt.import_table(table(rows[:12]), tmp_path / "run")
    assert (again.added, again.observations) == (0, 12)
    assert len(optuna.get_all_study_names(f"sqlite:///{done.run / 'study.db'}")) == 1
    assert before == {path.name: path.read_bytes() for path in (done.run).glob("*.csv")}
    more = ldmopt.import_table(table(rows), tmp_path / "run")
    assert (more.added, more.observations) == (4, 16)
    assert more.default == done.default
    assert more.rulebook.data["generation"] == 2
    with pytest.raises(UserError, match="row 2: column 'rating' says 5.0, where the run holds 3.0"):
        ldmopt.import_table(table([{**rows[0], "rating": 5}]), tmp_path / "run")
    with pytest.raises(UserError, match="stays for good"):
        ldmopt.import_table(table(rows), tmp_path / "run", default=["steps=40"])
    assert ldmopt.import_table(table(rows), tmp_path / "run").added == 0


def test_declared_knobs_are_remembered(table, tmp_path):
    rows = [{"steps": 20, "strength": one, "prompt": "p", "seconds": 1} for one in (1, 2)]
    ldmopt.import_table(table(rows), tmp_path / "run", knobs=["strength"])
    rows.append({"steps": 20, "strength": 2.5, "prompt": "p", "seconds": 1})
    more = ldmopt.import_table(table(rows), tmp_path / "run")
    assert (more.added, more.settings) == (1, 3)
    rows.append({"steps": 20, "strength": "high", "prompt": "p", "seconds": 1})
    with pytest.raises(UserError, match="holds names, where the run has numbers"):
        ldmopt.import_table(table(rows), tmp_path / "run")


REFUSED = {
    "row 1: unknown column 'step' (did you mean 'steps'?); declare it as a knob with --knob step":
        "step,seconds\n1,1\n",
    "row 1: the file is empty": "",
    "row 2: there is no observation": "steps,seconds\n",
    "row 1: cells are parted by ';'": "steps;seconds\n1;2\n",
    "row 1: column 'steps' appears twice": "steps,steps\n1,2\n",
    "row 1: no column is a knob": "seconds\n1\n",
    "row 3: has 3 cells, the header has 2": "steps,seconds\n1,2\n1,2,3\n",
    "row 3: column 'seconds' must be a plain number of seconds, got '1.2s'; write 1.2":
        "steps,seconds\n1,2\n2,1.2s\n",
    "column 'seconds' must be a plain number of seconds, got '830 ms'; write 0.83":
        "steps,seconds\n1,830 ms\n",
    "column 'peak_memory_bytes' must be a plain number of bytes, got '800 MB'; write 800000000":
        "steps,peak_memory_bytes\n1,800 MB\n",
    "column 'seconds' must be above 0 seconds": "steps,seconds\n1,0\n",
    "column 'rating' must be a number, got 'good'": "steps,rating\n1,good\n",
    "column 'seed' must be a whole number": "steps,seed\n1,1.5\n",
    "column 'warmup' must be 0 or 1": "steps,warmup\n1,yes\n",
    "column 'steps' must be a number, got 'many'": "steps,seconds\nmany,1\n",
    "column 'steps' must be a whole number": "steps,seconds\n1.5,1\n",
    "column 'size' must look like 512x512": "size,seconds\nbig,1\n",
    "column 'picture' must be a digest or the path of a picture": "steps,picture\n1,no.png\n",
    "column 'sigmas' means sigmas=beta, but sigmas=karras is given too":
        "sampler,sigmas,seconds\nDPM++ 2M Karras,beta,1\n",
    "row 3: repeats": "steps,prompt,seconds\n1,p,2\n1,p,2\n",
    "row 3: column 'seconds' says 3 of a picture that":
        "steps,prompt,rater,seconds\n1,p,a,2\n1,p,b,3\n",
    "row 4: column 'seconds' says 1990": "steps,repeat,seconds\n1,1,2\n1,2,2\n1,3,1990\n",
    "row 4: column 'peak_memory_bytes' says 4100":
        "steps,peak_memory_bytes\n1,4e9\n2,4e9\n3,4100\n",
    "no setting can be the default": "steps,seconds,failed\n1,1,OOM\n",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_wrong_is_one_line_that_names_row_and_column(words, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(REFUSED[words])
    with pytest.raises(UserError) as error:
        ldmopt.import_table(path, tmp_path / "run")
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_text_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("steps,prompt\n1,café\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 2: cell 2 is not UTF-8 text"):
        ldmopt.import_table(path, tmp_path / "run")


def test_declared_names_must_be_columns_and_not_reserved(table, tmp_path):
    with pytest.raises(UserError, match="--knob modd: .*did you mean 'mood'"):
        ldmopt.import_table(table([{"mood": 1}]), tmp_path / "run", knobs=["modd"])
    with pytest.raises(UserError, match="--knob rating: the name is reserved"):
        ldmopt.import_table(table([{"mood": 1, "rating": 1}]), tmp_path / "run", knobs=["rating"])


def test_an_imported_run_cannot_be_run_and_others_cannot_be_imported_into(table, tmp_path):
    done = ldmopt.import_table(table([*rated()]), tmp_path / "run")
    with pytest.raises(UserError, match="there is no model to make pictures with"):
        ldmopt.run(done.run / "study.toml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "study.toml").write_text('name = "mine"\n')
    with pytest.raises(UserError, match="holds the study 'mine'"):
        ldmopt.import_table(table([*rated()]), tmp_path / "other")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(UserError, match="holds 'thesis.txt'"):
        ldmopt.import_table(table([*rated()]), tmp_path / "full")


def test_an_import_that_was_killed_is_finished_by_the_same_words(table, tmp_path, monkeypatch):
    from ldmopt.intake import importing

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    path = table(pictured(tmp_path))
    for name in ("measured", "trials"):
        with monkeypatch.context() as patch:
            patch.setattr(importing, name, killed)
            with pytest.raises(KeyboardInterrupt):
                ldmopt.import_table(path, tmp_path / "run")
    done = ldmopt.import_table(path, tmp_path / "run")
    assert (done.observations, done.pictures, done.labels) == (8, 8, 8)
    assert done.rulebook.data["generation"] == 1


def test_the_command_line_says_what_was_done(table, tmp_path, capsys, monkeypatch):
    from ldmopt import cli

    path = table([*rated()])
    for more, words in ((["--json"], '"added": 12'), ([], "nothing new")):
        monkeypatch.setattr("sys.argv", ["ldmopt", "import", str(path), "--out",
                                         str(tmp_path / "run"), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr().out
        assert ended.value.code == 0 and words in said
    assert json.loads((tmp_path / "run" / "rulebook.json").read_text())["study"] == "run"
