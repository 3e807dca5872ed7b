"""Labels in, a fitted regressor out, all pictures judged anew; by a simulated rater."""

import csv

import optuna
import pytest
from optuna.trial import TrialState

import ldmopt
from ldmopt.errors import UserError
from ldmopt.scorers.standin import StandInScorer
from ldmopt.study import records
from ldmopt.study.folder import RunFolder
from ldmopt.study.output import read_run


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


def test_a_rescored_run_goes_on_in_its_newest_generation(done, tmp_path):
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    ldmopt.fit(done)
    ldmopt.rescore(done)
    rulebook = ldmopt.run(done / "study.toml", done, trials=9)
    assert rulebook.data["generation"] == 2
    assert len(records.finished(read_run(done)[2])) == 9


def test_failed_and_raced_out_trials_go_along(done, tmp_path):
    _, _, study = read_run(done)
    default, other = study.get_trials()[:2]
    failure = {"kind": "crash", "reason": "made up"}
    failed = optuna.create_trial(
        values=[0.0, 9.0, 9.0], params=other.params, distributions=other.distributions,
        user_attrs={"setting": {**other.user_attrs["setting"], "steps": 3}, "failure": failure},
        constraints={"failure": 1.0},
    )
    quality = dict(other.user_attrs["quality"], blocks=other.user_attrs["quality"]["blocks"][:3])
    raced = optuna.create_trial(
        state=TrialState.PRUNED, params=other.params, distributions=other.distributions,
        user_attrs={"setting": {**other.user_attrs["setting"], "steps": 4}, "quality": quality,
                    "pictures": other.user_attrs["pictures"][:3]},
    )
    study.add_trials([failed, raced])
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    fitted = ldmopt.fit(done)
    rulebook = ldmopt.rescore(done)
    _, _, second = read_run(done)
    again = {trial.user_attrs["setting"]["steps"]: trial for trial in second.get_trials()}
    assert len(second.get_trials()) == len(study.get_trials())
    assert again[3].user_attrs["failure"] == failure and again[3].constraints == {"failure": 1.0}
    assert again[3].values == [0.0, 9.0, 9.0]
    assert again[4].state == TrialState.PRUNED and again[4].values is None
    judged = again[4].user_attrs
    assert [row[:2] for row in judged["quality"]["blocks"]] == [
        row[:2] for row in quality["blocks"]]
    assert judged["quality"] != quality and judged["scorer"]["digest"] == fitted.digest
    assert [t.constraints for t in second.get_trials()[:2]] == [default.constraints,
                                                                other.constraints]
    assert rulebook.data["scope"]["scorer"].startswith(f"regressor {fitted.digest}: learned from")


def test_a_fit_on_another_encoder_than_the_study_names_may_judge(done, tmp_path):
    path = done / "study.toml"
    path.write_text(path.read_text().replace('encoder = "auto"', 'encoder = "statistics"'))
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    assert ldmopt.fit(done).encoder == "statistics"
    fitted = ldmopt.fit(done, encoder="miniature")
    assert fitted.digest in ldmopt.rescore(done).data["scope"]["scorer"]


def test_confirmations_are_judged_anew(done, tmp_path):
    before = records.read_confirmations(read_run(done)[2])
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    ldmopt.fit(done)
    ldmopt.rescore(done)
    after = records.read_confirmations(read_run(done)[2])
    assert after.keys() == before.keys() and len(before) > 1
    for setting, item in after.items():
        old = before[setting]
        assert (item.cost, item.pictures) == (old.cost, old.pictures)
        assert [(b.prompt, b.seed) for b in item.quality.blocks] == [
            (b.prompt, b.seed) for b in old.quality.blocks]
    assert [i.quality.win_rate for i in after.values()] != [
        i.quality.win_rate for i in before.values()]


def test_a_kill_in_the_middle_leaves_the_old_generation(done, tmp_path, monkeypatch):
    write_ratings(done, tmp_path / "ratings.csv")
    ldmopt.labels_import(done, tmp_path / "ratings.csv")
    ldmopt.fit(done)
    with monkeypatch.context() as patch:
        def killed(self, trials):
            self.add_trial(trials[0])
            self.add_trial(trials[1])
            raise KeyboardInterrupt

        patch.setattr(optuna.Study, "add_trials", killed)
        with pytest.raises(KeyboardInterrupt):
            ldmopt.rescore(done)
    assert read_run(done)[2].study_name == "standin/g1"
    assert ldmopt.distill(done).data["generation"] == 1
    assert ldmopt.rescore(done).data["generation"] == 2
    assert len(records.finished(read_run(done)[2])) == 8


def test_bad_labels_are_refused_whole(done, tmp_path):
    path = tmp_path / "ratings.csv"
    write_ratings(done, path, column="simulatd")
    with pytest.raises(UserError, match="simulatd"):
        ldmopt.labels_import(done, path)
    with pytest.raises(UserError, match="has no labels"):
        ldmopt.fit(done)
    with pytest.raises(UserError, match="no fitted regressor"):
        ldmopt.rescore(done)
