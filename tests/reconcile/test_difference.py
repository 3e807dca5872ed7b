"""What changed between two rulebooks, and what cannot be right in both."""

import copy

import pytest

import ldmopt
from ldmopt.reconcile.difference import lines
from tests.exports.conftest import QUICKSTART


@pytest.fixture
def one():
    return ldmopt.Rulebook.read(QUICKSTART)


def changed(book, change):
    data = copy.deepcopy(dict(book.data))
    change(data)
    return ldmopt.Rulebook.from_data(data)


def put(row, win, low, high):
    row["quality"] |= {"win_rate": win, "low": low, "high": high}


def test_a_rulebook_and_itself(one):
    found = ldmopt.diff(one, QUICKSTART)
    assert found["contradictions"] == 0 and not found["scope"] and not found["default"]
    assert {row["status"] for row in found["recommendations"]} == {"same setting"}
    assert {row["status"] for row in found["effects"]} == {"same"}
    assert "0 contradictions among" in list(lines(found))[-1]


def test_outside_both_intervals_is_a_contradiction(one):
    def lower(data):
        for row in (*data["recommendations"], *data["front"]):
            if row["setting"] == data["recommendations"][0]["setting"]:
                put(row, 0.4, 0.3, 0.5)

    found = ldmopt.diff(one, changed(one, lower))
    wrong = [row for row in found["settings"] if row["contradicts"]]
    assert len(wrong) == found["contradictions"] == 1
    assert wrong[0]["quality"][1] == {"win_rate": 0.4, "low": 0.3, "high": 0.5}
    assert any("CONTRADICTION" in line for line in lines(found))
    # One inside the other's interval is none, nor are win rates against another default.
    inside = ldmopt.diff(one, changed(one, lambda d: put(d["recommendations"][0], 0.7, 0.69, 0.71)))
    assert inside["contradictions"] == 0

    def elsewhere(data):
        lower(data)
        data["default"]["setting"]["steps"] = 30

    other = ldmopt.diff(one, changed(one, elsewhere))
    assert other["contradictions"] == 0 and other["default"] == {"steps": [50, 30]}
    assert not other["comparable"]["win_rates"]
    assert "win rates cannot be compared: another default" in list(lines(other))


def test_another_device_has_other_costs(one):
    found = ldmopt.diff(one, changed(one, lambda d: d["scope"].update(device="cuda: other")))
    assert found["comparable"]["win_rates"] and not found["comparable"]["costs"]
    assert all(row["seconds_ratio"] is None for row in found["settings"])
    assert "seconds and memory cannot be compared: another device" in list(lines(found))


def test_recommendations_come_go_and_change(one):
    def change(data):
        rows = data["recommendations"]
        rows[0]["setting"]["steps"] = 9
        rows[1]["id"] = "under-9s"

    found = ldmopt.diff(one, changed(one, change))
    rows = {row["id"]: row for row in found["recommendations"]}
    assert rows["best"]["changed"] == {"steps": [7, 9]}
    assert rows["balanced"]["status"] == "gone" and rows["under-9s"]["status"] == "new"


def effect(**more):
    return {"knob": "steps", "from": 10, "to": 20, "given": {}, "win_rate": 0.6, "low": 0.55,
            "high": 0.65, "seconds_ratio": 2.0, "memory_ratio": 1.0, "verdict": "worth it",
            "evidence": {}, **more}


def test_an_effect_told_the_other_way_round_is_the_same(one):
    a = changed(one, lambda d: d.update(effects=[effect()]))
    turned = effect(**{"from": 20, "to": 10, "win_rate": 0.4, "low": 0.35, "high": 0.45,
                       "seconds_ratio": 0.5, "verdict": "harmful"})
    b = changed(one, lambda d: d.update(effects=[turned]))
    (row,) = ldmopt.diff(a, b)["effects"]
    assert row["status"] == "same" and not row["contradicts"]
    assert row["quality"][1]["low"] == pytest.approx(0.55)
    assert row["seconds_ratio"] == [2.0, 2.0]
    c = changed(one, lambda d: d.update(effects=[effect(verdict="harmful", win_rate=0.57)]))
    (row,) = ldmopt.diff(a, c)["effects"]
    assert row["contradicts"] and row["verdict"] == ["worth it", "harmful"]


def test_avoid_rules(one):
    found = ldmopt.diff(one, changed(one, lambda d: d.update(avoid=[])))
    assert len(found["avoid"]["gone"]) == len(one.data["avoid"]) and not found["avoid"]["new"]
