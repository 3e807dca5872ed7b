"""Ways of running that only the cost model knows: those worth it are measured before confirmation.

The search runs each picture setting one way. Its quality holds for all of them, so what the model
predicts of the others fills the front in; what would be confirmed is then measured on the blocks
of the search and becomes a trial like any other, or turns out to fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import optuna

from ldmopt.contracts import Cost, Setting, Trial
from ldmopt.distillation import candidates
from ldmopt.search import distributions, inside, suggest
from ldmopt.search.encoding import Encoding
from ldmopt.search.hypervolume import nondominated
from ldmopt.study.confirming import CONFIRMED_SETTINGS
from ldmopt.study.loads import by_load
from ldmopt.study.proposing import Proposer, picture_params
from ldmopt.study.trying import try_setting
from ldmopt.study.work import Work

ROUNDS = 3
"""How often what turned out otherwise than predicted is replaced by the next best."""

MOST_WAYS = 512
"""Ways of running that are looked at; of more, a sample."""

AFTER = "filled_after"
"""Study attribute: how many settings had been tried when this was done, so that it is done once."""

FILLED = -1
"""Number of what is no trial."""


def fill(work: Work, proposer: Proposer) -> None:
    """Measure what would be confirmed and was not run yet."""
    if proposer.prices is None or work.study.user_attrs.get(AFTER) == tried(work):
        return
    _fill(work, proposer)
    work.study.set_user_attr(AFTER, tried(work))


def tried(work: Work) -> int:
    """Return how many settings were tried."""
    ledger = work.ledger.read()
    return len(ledger.finished) + len(ledger.raced)


def _fill(work: Work, proposer: Proposer) -> None:
    session = work.session
    budget = session.spec.budget.trials
    last: Setting | None = None
    for _ in range(ROUNDS):
        ledger = work.ledger.read()
        evidence = work.evidence()
        every = replace(evidence, trials=(*evidence.trials, *cells(work, proposer)))
        wanted = candidates(every, 1 + CONFIRMED_SETTINGS)
        new = by_load([one for one in wanted if one not in ledger.finished], session.space, last)
        if budget is not None:
            new = new[: max(0, budget - tried(work))]
        if not new:
            return
        for setting in new:
            work.tell("search", f"measuring what is predicted: {work.changes(setting)}")
            trial = _asked(work, setting)
            proposer.heed(setting, try_setting(work, trial, setting, None))
            last = setting


def _asked(work: Work, setting: Setting) -> optuna.Trial:
    """Return a trial of a setting."""
    space = work.session.space
    work.study.enqueue_trial({name: value for name, value in setting.items()
                              if name in space.searched})
    trial = work.study.ask()
    suggest(trial, space)
    return trial


def cells(work: Work, proposer: Proposer) -> list[Trial]:
    """Return what no other beats among all ways of running the measured picture settings.

    Costs are predicted, qualities measured; what was run already is left out, and so is a default
    outside the searched space.
    """
    space, prices = work.session.space, proposer.prices
    rows = {space.look(trial.setting): trial for trial in work.ledger.trials
            if trial.feasible and trial.quality is not None and trial.cost is not None
            and inside(space, picture_params(space, trial.setting))}
    found = list(rows.values())
    ways = ways_of(work)
    if prices is None or not found:
        return []
    table = prices([picture_params(space, trial.setting) for trial in found], ways)
    at, way = np.nonzero(np.isfinite(table).all(axis=2))
    quality = np.array([trial.quality.win_rate for trial in found if trial.quality is not None])
    points = np.column_stack([quality[at], -table[at, way, 0], -table[at, way, 1]])
    if not len(points):
        return []
    result: list[Trial] = []
    for index in np.flatnonzero(nondominated(points)):
        trial, (seconds, peak) = found[at[index]], table[at[index], way[index], :2]
        setting = space.canonical({**space.default, **picture_params(space, trial.setting),
                                   **ways[way[index]]})
        if setting in work.ledger.finished or space.refusal(setting):
            continue
        batch = int(setting.get("batch", 1))
        cost = Cost(float(seconds), float(seconds) * batch, peak_memory_bytes=round(float(peak)),
                    batch=batch)
        result.append(replace(trial, number=FILLED, setting=setting, cost=cost))
    return result


def ways_of(work: Work) -> list[dict[str, Any]]:
    """Return the ways of running: all combinations of the searched execution knobs, or many."""
    space = work.session.space
    encoding = Encoding({name: item for name, item in distributions(space).items()
                         if name not in space.picture_knobs})
    rows = (encoding.every() if encoding.size <= MOST_WAYS
            else encoding.draw(MOST_WAYS, np.random.default_rng(work.session.spec.seed)))
    return [encoding.params(row) for row in rows]
