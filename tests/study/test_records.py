"""Trials that were raced out are read apart from those that finished."""

import optuna
from optuna.trial import TrialState, create_trial

from ldmopt.contracts import BlockWin, Cost, Quality, Setting
from ldmopt.study import records

SEEN = Quality(0.1, 0.0, 0.6, (BlockWin("a", 0, 0.1),))


def trial(steps, state, cost=True):
    setting, scorer = Setting(steps=steps), {"name": "none", "digest": ""}
    done = state == TrialState.COMPLETE
    attrs = records.attributes(setting, Cost(1.0, 1.0), SEEN, ["00"], scorer) if done else \
        records.raced_attributes(setting, Cost(1.0, 1.0) if cost else None, SEEN, ["00"], scorer,
                                 3, 2.0)  # fmt: skip
    values = [0.1, 1.0, 0.0] if done else None
    return create_trial(state=state, values=values, user_attrs=attrs)


def test_raced_out():
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    study.add_trials([trial(50, TrialState.COMPLETE), trial(4, TrialState.PRUNED),
                      trial(8, TrialState.PRUNED, cost=False), trial(4, TrialState.PRUNED),
                      trial(12, TrialState.PRUNED), trial(12, TrialState.COMPLETE)])  # fmt: skip
    assert [row.setting["steps"] for row in records.finished(study)] == [50, 12]
    found = records.raced_out(study, {trial.setting for trial in records.finished(study)})
    assert [(row.setting["steps"], row.raced_out, row.measured) for row in found] == [
        (4, True, False), (8, True, False)]  # fmt: skip
    assert found[0].quality == SEEN
    assert found[1].cost is None
