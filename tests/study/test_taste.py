"""Labels in, a fitted regressor out, all pictures judged anew; by a simulated rater."""

import csv

import pytest

import ldmopt
from ldmopt.errors import UserError
from ldmopt.scorers.standin import StandInScorer
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run


@pytest.fixture
def done(standin, tmp_path):
    """A finished run judged by the package's own regressor, on pictures of the stand-in."""
    out = tmp_path / "run"
    ldmopt.run(standin(('encoder = "standin"', 'encoder = "auto"')), out)
    return out


def write_ratings(out, path, column="simulated"):
    """Rate every stored picture by its grain; the rater is a program and says so."""
    folder = RunFolder(out)
    rows = {line["digest"]: line for line in folder.read_journal() if "digest" in line}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "rater", "rating", column])
        for digest, line in rows.items():
            picture = folder.picture(digest, ldmopt.Block(line["prompt"], line["seed"]))
            value = StandInScorer().score([picture])[0].value
            writer.writerow([digest, "simulated-smooth", f"{100 * value:.2f}", 1])
    return len(rows)


def test_labels_fit_rescore(done, tmp_path):
    path = tmp_path / "ratings.csv"
    count = write_ratings(done, path)
    taken = ldmopt.labels_import(done, path)
    assert taken.added == taken.simulated == count
    assert ldmopt.labels_import(done, path).added == 0
    assert sum(ldmopt.labels_export(done, tmp_path / "out.csv").values()) == count
    _, _, first = read_run(done)
    before = [trial.user_attrs["quality"] for trial in first.get_trials()]
    regressor = ldmopt.fit(done)
    assert regressor.identity["simulated_labels"] == count
    assert regressor.identity["human_labels"] == 0
    unchanged = [trial.user_attrs["quality"] for trial in read_run(done)[2].get_trials()]
    assert unchanged == before
    rulebook = ldmopt.rescore(done)
    assert rulebook.data["generation"] == 2
    assert rulebook.data["scope"]["human_labels"] == 0
    _, _, second = read_run(done)
    assert second.study_name == "standin/g2"
    digest = second.user_attrs[records.FROZEN]["scorer"]["digest"]
    assert digest == regressor.digest
    trials = records.finished(second)
    assert [t.setting for t in trials] == [t.setting for t in records.finished(first)]
    assert trials[0].quality.win_rate == 0.5
    # The simulated rater likes what is smooth; so must the generation that it judged.
    assert [t.quality.win_rate for t in trials] != [q["win_rate"] for q in before]


def test_a_rescored_run_goes_on_in_its_newest_generation(done, tmp_path, standin):
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    ldmopt.fit(done)
    ldmopt.rescore(done)
    rulebook = ldmopt.run(done / "study.toml", done, trials=9)
    assert rulebook.data["generation"] == 2
    assert len(records.finished(read_run(done)[2])) == 9


def test_bad_labels_are_refused_whole(done, tmp_path):
    path = tmp_path / "ratings.csv"
    write_ratings(done, path, column="simulatd")
    with pytest.raises(UserError, match="simulatd"):
        ldmopt.labels_import(done, path)
    with pytest.raises(UserError, match="has no labels"):
        ldmopt.fit(done)
    with pytest.raises(UserError, match="no fitted regressor"):
        ldmopt.rescore(done)
