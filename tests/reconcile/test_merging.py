"""Two rulebooks as one: pooled where they agree, shown where they do not, refused where not one."""

import copy
import json
import sys

import pytest

import ldmopt
from ldmopt.errors import UserError
from ldmopt.exports.markdown import to_markdown
from ldmopt.reconcile.estimates import Estimate, against, deviation, pooled
from tests.exports.conftest import QUICKSTART


@pytest.fixture
def one():
    return ldmopt.Rulebook.read(QUICKSTART)


def other(book, change=lambda data: None):
    """Return a second study's rulebook, changed."""
    data = copy.deepcopy(dict(book.data))
    data["study"], data["created"] = "second", "2026-11-25T00:00:00+00:00"
    data["default"]["picture"] = "f" * 64  # of other prompts
    change(data)
    return ldmopt.Rulebook.from_data(data)


def each(data, setting):
    """Yield the quality of every row of a setting."""
    for row in (*data["recommendations"], *data["front"],
                *(r["runner_up"] for r in data["recommendations"] if r["runner_up"])):
        if row["setting"] == setting:
            yield row["quality"]


def test_pooling_halves_the_variance():
    estimate = Estimate(0.7, 0.6, 0.78)
    both = pooled([estimate, estimate], 0.95)
    assert both.win_rate == pytest.approx(0.7)
    assert deviation(both, 0.95) == pytest.approx(deviation(estimate, 0.95) / 2**0.5, rel=1e-6)
    narrow = Estimate(0.6, 0.58, 0.62)
    assert abs(pooled([estimate, narrow], 0.95).win_rate - 0.6) < 0.01
    there = against(estimate, Estimate(0.4, 0.35, 0.45), 0.95)
    back = against(there, Estimate(0.6, 0.55, 0.65), 0.95)
    assert back.win_rate == pytest.approx(0.7) and back.high - back.low > 0.18


def test_the_same_prompts_are_no_further_evidence(one):
    same = other(one, lambda data: data["default"].update(picture=one.data["default"]["picture"]))
    wider = other(same, lambda data: [quality.update(low=quality["low"] - 0.1) for row in
                  data["recommendations"] for quality in (row["quality"],)])
    wider = ldmopt.Rulebook.from_data({**wider.data, "default": same.data["default"],
                                       "front": [], "effects": []})
    found = ldmopt.merge(one, wider).data
    best, was = found["recommendations"][0], one.data["recommendations"][0]
    assert best["quality"]["high"] == was["quality"]["high"]
    assert best["quality"]["low"] == pytest.approx(was["quality"]["low"] - 0.1)
    assert best["evidence"]["prompts"] == was["evidence"]["prompts"]
    assert found["scope"]["prompts"] == one.data["scope"]["prompts"]
    assert "the same prompts" in found["scope"]["merged"]["weights"]


def test_agreement_is_pooled(one):
    found = ldmopt.merge(one, other(one)).data
    best, was = found["recommendations"][0], one.data["recommendations"][0]
    assert best["setting"] == was["setting"]
    assert best["quality"]["win_rate"] == pytest.approx(was["quality"]["win_rate"], abs=0.002)
    width = [row["quality"]["high"] - row["quality"]["low"] for row in (best, was)]
    assert width[0] == pytest.approx(width[1] / 2**0.5, rel=0.02)
    assert best["evidence"]["prompts"] == 2 * was["evidence"]["prompts"]
    assert found["scope"]["merged"]["contradictions"] == []
    assert found["study"] == "quickstart+second"
    assert [row["verdict"] for row in found["effects"]] == \
        [row["verdict"] for row in one.data["effects"]]
    assert len(found["avoid"]) == len(one.data["avoid"])
    assert "second of 2026-11-25" in json.dumps(found["avoid"])
    assert "# Rulebook: quickstart+second" in to_markdown(ldmopt.Rulebook.from_data(found))


def test_a_contradiction_is_shown_not_averaged(one):
    setting = one.data["recommendations"][0]["setting"]

    def worse(data):
        for quality in each(data, setting):
            quality.update(win_rate=0.3, low=0.2, high=0.4)

    merged = ldmopt.merge(one, other(one, worse))
    (line,) = merged.data["scope"]["merged"]["contradictions"]
    assert "0.72 [0.62, 0.79]" in line and "0.30 [0.20, 0.40]" in line
    quality = next(each(merged.data, setting), None)
    assert quality is None or quality["win_rate"] == 0.3
    assert all(row["setting"] != setting for row in merged.data["recommendations"]
               if row["id"] in ("best", "fastest-not-worse"))


def effect(**more):
    return {"knob": "steps", "from": 10, "to": 20, "given": {}, "win_rate": 0.6, "low": 0.55,
            "high": 0.65, "seconds_ratio": 2.0, "memory_ratio": 1.0, "verdict": "worth it",
            "evidence": {}, **more}


def test_effects_that_contradict_depend(one):
    first = ldmopt.Rulebook.from_data({**one.data, "effects": [effect()]})
    wrong = effect(win_rate=0.4, low=0.35, high=0.45, verdict="harmful")
    found = ldmopt.merge(first, other(one, lambda d: d.update(effects=[wrong]))).data
    (row,) = found["effects"]
    assert row["verdict"] == "depends" and (row["low"], row["high"]) == (0.35, 0.65)
    assert "depends: study quickstart" in to_markdown(ldmopt.Rulebook.from_data(found))
    weak = effect(win_rate=0.56, low=0.49, high=0.63, verdict="no difference shown")
    (row,) = ldmopt.merge(first, other(one, lambda d: d.update(effects=[weak]))).data["effects"]
    assert row["verdict"] == "worth it" and 0.56 < row["win_rate"] < 0.6


def test_another_device_gives_win_rates_alone(one):
    def elsewhere(data):
        data["scope"]["device"] = "cuda: other"
        data["recommendations"][0]["setting"]["steps"] = 11
        for row in (*data["recommendations"], *data["front"]):
            row["cost"]["seconds"] = 99.0

    found = ldmopt.merge(one, other(one, elsewhere)).data
    assert found["scope"]["device"] == one.data["scope"]["device"]
    assert found["scope"]["merged"]["costs"] == "of the first device alone"
    rows = [*found["recommendations"], *found["front"]]
    assert all(row["cost"]["seconds"] < 1 and row["setting"]["steps"] != 11 for row in rows)


def defaults(one, measured=True, win=0.4):
    """Return two rulebooks, the second with the first's `best` as its default."""
    best = one.data["recommendations"][0]["setting"]
    was = one.data["default"]["setting"]

    def change(data):
        data["default"]["setting"] = dict(best)
        data["default"]["cost"] = dict(data["recommendations"][0]["cost"])
        rows = [*data["recommendations"], *data["front"]]
        rows += [row["runner_up"] for row in data["recommendations"] if row["runner_up"]]
        for row in rows:
            if row["setting"] == was:
                row["setting"] = {**was, "steps": 49}
            if row["setting"] == best:
                row["setting"] = dict(was) if measured else {**was, "steps": 48}
                row["quality"].update(win_rate=win, low=win - 0.1, high=win + 0.1)

    return one, other(one, change)


def test_other_defaults_go_over_where_each_measured_the_other(one):
    a, b = defaults(one, win=0.3)
    found = ldmopt.merge(a, b).data
    assert found["default"]["setting"] == one.data["default"]["setting"]
    assert "went over by log odds" in found["scope"]["merged"]["defaults"]
    best = next(each(found, one.data["recommendations"][0]["setting"]))
    assert 0.69 < best["win_rate"] < 0.73
    with pytest.raises(UserError, match="the second did not measure the other's"):
        ldmopt.merge(*defaults(one, measured=False))
    with pytest.raises(UserError, match="contradict each other on their two defaults"):
        ldmopt.merge(*defaults(one, win=0.7))


@pytest.mark.parametrize(("change", "words"), [
    (lambda d: d["scope"].update(model_digest="x"), "scope.model_digest differs"),
    (lambda d: d["scope"].update(scorer="x"), "scope.scorer differs"),
    (lambda d: d.update(margin=0.1), "margin differs"),
    (lambda d: d.update(confidence=0.9), "confidence differs"),
    (lambda d: d.update(constants={"worth": 0.1}),
     r"worth differs \(0.02 against 0.1\); distill both runs with the same"),
    (lambda d: d.update(constants={"close": 0.2}), "close differs"),
    (lambda d: d.update(study="quickstart"), "of one run of 'quickstart'"),
])
def test_refusals(one, change, words):
    with pytest.raises(UserError, match=words):
        ldmopt.merge(one, other(one, change))


def call(capsys, *arguments):
    from ldmopt.cli import main

    before, sys.argv = sys.argv, ["ldmopt", *map(str, arguments)]
    try:
        main()
    except SystemExit as ended:
        return ended.code, *capsys.readouterr()
    finally:
        sys.argv = before
    return 0, *capsys.readouterr()


def test_from_the_command_line(one, tmp_path, capsys):
    second, joint = tmp_path / "second.json", tmp_path / "joint.json"
    other(one).write(second)
    code, text, _ = call(capsys, "merge", QUICKSTART, second, "-o", joint)
    assert code == 0 and "0 contradictions" in text
    assert call(capsys, "validate", joint)[0] == 0
    assert call(capsys, "recommend", joint, "--json")[0] == 0
    before = joint.read_bytes()
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for command in (["merge", QUICKSTART, QUICKSTART, "-o", joint],
                    ["merge", QUICKSTART, broken, "-o", joint], ["diff", QUICKSTART, broken],
                    ["diff", tmp_path / "none.json", QUICKSTART],
                    ["export", broken, "--to", "a1111"], ["export", QUICKSTART, "--to", "a111"],
                    ["export", QUICKSTART, "--to", "a1111", "--id", "bst"],
                    ["export", QUICKSTART, "--to", "a1111", "-o", tmp_path / "second.json" / "x"],
                    ["remeasure", broken, "best"], ["remeasure", QUICKSTART, "bst"],
                    ["generate", "--rulebook", QUICKSTART, "--prompt", "", "-o", joint]):
        code, _, errors = call(capsys, *command)
        assert code == 1 and errors.startswith("error: "), command
        assert len(errors.splitlines()) == 1, errors
    assert joint.read_bytes() == before
