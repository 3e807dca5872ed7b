"""Parts of the stages that need no host."""

import io
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pytest
from rich.console import Console

from ldmopt.contracts import Block, BlockWin, Cost, Preference, Quality, Setting, Trial
from ldmopt.display import counted, front_line, front_table, recommendations_table
from ldmopt.errors import UserError
from ldmopt.knob import Context, build_space
from ldmopt.model import describe
from ldmopt.search import distributions
from ldmopt.study.folder import RunFolder
from ldmopt.study.freezing import check_space
from ldmopt.study.judging import Judges
from ldmopt.study.loads import by_load
from ldmopt.study.proposing import reading
from ldmopt.study.raced import looks
from ldmopt.study.session import State
from ldmopt.study.spec import StudySpec, parse_spec
from ldmopt.study.stopping import gained, why_it_ends

CONTEXT = Context(describe("standin"), "cpu", {})


def spec(text):
    return parse_spec('name = "a"\n' + text)


def test_a_budget_of_nothing_is_an_error_with_a_way_out():
    with pytest.raises(UserError, match="needs device_seconds, trials or gain.*trials = 60"):
        spec("[budget]")
    assert spec("[budget]\ngain = 0.01").budget.patience == 10


def test_racing_is_on_by_default_for_our_own_search_alone_and_never_in_plain_mode():
    assert spec('search = "factored"').races and not spec('search = "tpe"').races
    assert spec('search = "tpe"\nrace = true').races
    assert not spec('search = "factored"\nshare = false').races
    with pytest.raises(UserError, match="race = true needs share = true"):
        spec("race = true\nshare = false")


def test_each_pipeline_is_loaded_once_and_the_present_one_comes_first():
    space = build_space({}, {"precision": ["fp32", "bf16"], "steps": [4, 8]}, CONTEXT)
    some = [space.canonical({"precision": p, "steps": s})
            for p, s in (("fp32", 4), ("bf16", 8), ("fp32", 8), ("bf16", 4))]
    assert by_load(some, space) == [some[0], some[2], some[1], some[3]]
    assert by_load(some, space, some[1]) == [some[1], some[3], some[0], some[2]]


def test_a_space_that_changed_is_said(tmp_path):
    space = build_space({}, {"precision": ["fp32", "bf16"]}, CONTEXT)
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(value=1.0, params={"precision": "bf16"},
                                        distributions=distributions(space)))
    check_space(study, space, RunFolder(tmp_path))
    less = build_space({}, {"precision": ["fp32"]}, CONTEXT)
    with pytest.raises(UserError, match="precision was one of fp32, bf16 and is now one of fp32"):
        check_space(study, less, RunFolder(tmp_path))


def test_a_setting_sees_whole_prompts_in_an_order_of_its_own():
    blocks = [Block(f"p{n}", seed) for n in range(8) for seed in (0, 1)]
    seen = list(looks(blocks, Setting(steps=3), 0))
    assert sorted((b.prompt, b.seed) for some in seen for b in some) == sorted(
        (b.prompt, b.seed) for b in blocks)
    assert all(len(some) == 2 and len({b.prompt for b in some}) == 1 for some in seen)
    assert seen == list(looks(blocks, Setting(steps=3), 0))
    assert seen != list(looks(blocks, Setting(steps=4), 0))
    assert [len(some) for some in looks(blocks, Setting(batch=4), 0)] == [4] * 4


def quality(*wins):
    return Quality(sum(wins) / len(wins), 0, 1,
                   tuple(BlockWin(f"p{n}", 0, win) for n, win in enumerate(wins)))


def test_a_win_rate_seen_on_all_prompts_is_exact_and_on_fewer_it_is_not():
    assert reading(quality(0.2, 0.4), 2) == (pytest.approx(0.3), 0.0)
    few, more = reading(quality(0.2, 0.4), 16)[1], reading(quality(*[0.2, 0.4] * 4), 16)[1]
    assert few > more > 0
    assert reading(quality(1.0, 1.0, 1.0), 16)[1] > 0


def trial(number, win, seconds):
    return Trial(number, Setting(steps=number), Cost(seconds, seconds, peak_memory_bytes=1),
                 quality(win))


def work(trials, budget, spent=0.0):
    ledger = SimpleNamespace(trials=trials, raced={}, finished=dict(enumerate(trials)))
    session = SimpleNamespace(spec=StudySpec(name="a", budget=budget), held_out=[1] * 4,
                              bench=SimpleNamespace(spent_seconds=spent))
    return SimpleNamespace(session=session, ledger=ledger)


def test_the_front_in_a_line():
    assert front_line([]) == ""
    two = [trial(1, 0.4, 0.5), trial(2, 0.6, 2.0)]
    assert front_line(two) == "0.60 in 2.000 s, 0.40 in 0.500 s"
    many = front_line([trial(n, n / 20, float(n)) for n in range(1, 13)]).split(", ")
    assert len(many) == 8 and many[-1] == "0.05 in 1.000 s" and many[-2] == "..."


def test_brackets_in_values_are_printed_as_they_are():
    base = trial(0, 0.5, 1.0)
    front = [replace(base, setting=Setting(steps=1, mood="[red]warm[/]"))]
    found = {"setting": dict(front[0].setting), "id": "balanced", "cost": base.cost.to_dict(),
             "runner_up": None,
             "quality": {"win_rate": 0.6, "low": 0.5, "high": 0.7, "human": None}}
    data = {"default": {"setting": {"steps": 0, "mood": "[/]"}, "cost": base.cost.to_dict()},
            "scope": {"scorer": "[x]"}, "recommendations": [found]}
    for table in (front_table(front, base), recommendations_table(data)):
        screen = Console(file=io.StringIO(), width=140)
        screen.print(table)
        assert "mood=[red]warm[/]" in screen.file.getvalue()
    assert "mood=[/]" in screen.file.getvalue()


def test_when_a_search_ends():
    some = [trial(n, 0.5, 1.0) for n in range(10)]
    assert why_it_ends(work(some, {"trials": 11})) == ""
    assert why_it_ends(work(some, {"trials": 10})) == "10 trials"
    assert why_it_ends(work(some, {"trials": 12}), kept=6) == "12 trials"
    assert why_it_ends(work(some, {"device_seconds": 100.0}, 59.0)) == ""
    assert why_it_ends(work(some, {"device_seconds": 100.0}, 75.0)) == "100 device seconds"
    rule = {"gain": 0.01, "patience": 3}
    assert why_it_ends(work(some, rule), [0.5, 0.001, 0.002, 0.02]) == ""
    assert "expected to gain less than 1.00%" in why_it_ends(work(some, rule),
                                                             [0.5, 0.001, 0.002, 0.005])
    assert why_it_ends(work(some, rule), [None, 0.001, None]) == ""
    assert "gained less" in why_it_ends(work(some, rule))


def test_what_the_last_trials_added():
    some = [trial(0, 0.5, 2.0), trial(1, 0.5, 1.0), trial(2, 0.4, 1.5)]
    assert gained(some, 1) == pytest.approx(0.0)
    assert gained(some, 2) > 0.1
    assert gained(some, 3) == 1.0


def test_progress_says_what_is_left_and_what_racing_saved():
    state = State("search", trials=10, raced=3, trials_wanted=40, spent_seconds=30.0,
                  budget_seconds=100.0, pictures=77, saved_pictures=20, saved_seconds=4.0)
    first, second = counted(state).splitlines()
    assert first == "13 of 40 trials   30 device seconds spent, 70 left   77 pictures made"
    assert second == "racing dropped 3 settings early: 20 pictures, about 4 device seconds saved"


class Nonsense:
    identity = {"name": "nonsense"}

    def compare(self, left, right):
        return [Preference(float("nan")) for _ in left]


def test_a_preference_that_is_no_number_is_said(tmp_path):
    judges = Judges(RunFolder(tmp_path), Nonsense())
    with pytest.raises(UserError, match="scorer nonsense gave the preference nan to .*seed 7"):
        judges.quality([Block("a", 7)], ["ab"], ["cd"])
