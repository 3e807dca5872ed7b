"""The factored search as an Optuna sampler.

It needs nothing of the rest of ldmopt. Told which parameters change the result ("picture"
parameters) and what settings cost, it learns quality alone and weighs what a setting promises
against the device seconds it takes (`ldmopt.search.priced`). Told nothing, it learns every
objective (`ldmopt.search.plain`).

    sampler = FactoredSampler(seed=0, picture={"steps", "guidance"}, prices=one_by_one(price))
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ldmopt.search.encoding import Coordinate, Encoding, Params, learned_conditions
from ldmopt.search.plain import Plain
from ldmopt.search.priced import Priced, Rules
from ldmopt.search.prices import Prices

Floats = NDArray[np.float64]
Evidence = Callable[[FrozenTrial], tuple[float, float] | None]

MOST_OBJECTIVES = 3

FIXED = "fixed_params"
"""Where Optuna notes the parameters of a trial that was enqueued."""


@dataclass(frozen=True)
class Earlier:
    """The first objective of a setting as another study read it.

    Attributes:
        params: of the setting; those that do not change the result may be left out.
        value: what was read.
        variance: how far it may be off here.
    """

    params: Params
    value: float
    variance: float


class FactoredSampler(optuna.samplers.BaseSampler):
    """Bayesian search that knows which parameters change the result and what each setting costs.

    Args:
        seed: of all that is random; the same seed and the same trials give the same proposals.
            Workers that share a study should share it, so that each knows what the others try.
        picture: parameters on which the first objective depends; all when None.
        prices: predicts the other objectives and the device seconds of an evaluation; without it
            they are learned.
        space: parameter -> distribution; what the trials so far had when None, so that the first
            proposals are random ones.
        rules: limits, reference point and how seconds count; for `prices` only.
        jumps: numeric parameter -> value above which the result may differ at once.
        ordered: categorical parameter -> what places a choice on a line.
        canonical: returns, of all parameters, those that act; learned from the trials when None.
        evidence: returns a trial's first objective with the variance of the reading, or None where
            it has none; the trial's value, taken as exact, when None. Read from pruned trials too.
            With it, a trial that FAILed says nothing: whoever weighs evidence tells settings that
            do not work by a violated constraint, and those of a worker that died come again.
        earlier: what is known of other studies, for `prices` only.
        spent: returns how much of the budget is spent, from 0 to 1; the power of the device
            seconds fades with it. Nothing fades when None.
        startup: proposals that are an even design before the first model, without `prices`.
    """

    def __init__(
        self, *, seed: int | None = None, picture: Collection[str] | None = None,
        prices: Prices | None = None, space: Mapping[str, BaseDistribution] | None = None,
        rules: Rules | None = None, jumps: Mapping[str, float] | None = None,
        ordered: Mapping[str, Coordinate] | None = None,
        canonical: Callable[[dict[str, Any]], Params] | None = None,
        evidence: Evidence | None = None, startup: int = 10,
        earlier: Sequence[Earlier] = (), spent: Callable[[], float] | None = None,
    ) -> None:
        """See the class."""
        self._seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._picture = None if picture is None else frozenset(picture)
        self._prices, self._rules = prices, rules or Rules()
        self._space = None if space is None else dict(space)
        self._jumps, self._ordered = dict(jumps or {}), dict(ordered or {})
        self._canonical, self._evidence, self._startup = canonical, evidence, startup
        self._earlier, self._spent = tuple(earlier), spent
        self._random = optuna.samplers.RandomSampler(seed=self._seed)
        self._lock = threading.Lock()
        self._log: _Log | None = None
        self._search: _Search | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be copied; the state follows from the trials."""
        return {**self.__dict__, "_lock": None, "_log": None, "_search": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew with the same arguments."""
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def expected_gain(self) -> float | None:
        """Share of the hypervolume found so far that the last proposal is expected to add.

        None where it was not weighed: without `prices`, at the start, or of an enqueued trial.
        """
        priced = None if self._search is None else self._search.priced
        return None if priced is None else priced.expected_gain

    def reseed_rng(self) -> None:
        """Reseed what is drawn independently; proposals differ by their trial's number."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the given space, or what all trials so far agree on."""
        with self._lock:
            known = self._read(study).space if self._space is None else self._space
            return {name: item for name, item in known.items() if not item.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the parameters of a trial.

        Raises:
            ValueError: more than three objectives, costs that are maximised, or no setting that
                can be run.
        """
        if not search_space or set(search_space) <= set(trial.system_attrs.get(FIXED, {})):
            return {}
        with self._lock:
            log = self._read(study)
            conditions = {} if self._canonical else log.conditions(search_space)
            key = (search_space, conditions)
            if self._search is None or self._search.key != key:
                self._search = self._begin(study, search_space, conditions)
            search = self._search
            for number in log.finished[search.taken :]:
                search.take(log.trials[number], self._evidence, log.proposed.pop(number, {}))
            search.taken = len(log.finished)
            params = search.propose(log.under_way(search, trial.number), trial.number)
            log.proposed[trial.number] = params
            return dict(params)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value of a parameter that no trial had before."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Hand on to the random sampler."""
        self._random.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Hand on to the random sampler."""
        self._random.after_trial(study, trial, state, values)

    def _read(self, study: Study) -> _Log:
        where = (id(study._storage), study._study_id)
        if self._log is None or self._log.where != where:
            self._log, self._search = _Log(where), None
        self._log.read(study)
        return self._log

    def _begin(
        self, study: Study, space: Mapping[str, BaseDistribution],
        conditions: Mapping[str, tuple[str, frozenset[float]]],
    ) -> _Search:
        signs = np.array([1.0 if direction == StudyDirection.MAXIMIZE else -1.0
                          for direction in study.directions])
        if len(signs) > MOST_OBJECTIVES:
            raise ValueError(f"FactoredSampler: {len(signs)} objectives; it searches up to three")
        whole = Encoding(space, self._jumps, self._ordered, conditions, self._canonical)
        picture = [name for name in space if self._picture is None or name in self._picture]
        key = (dict(space), dict(conditions))
        if self._prices is None:
            narrow = [picture, *[list(space)] * (len(signs) - 1)]
            return _Search(key, whole, signs, None,
                           Plain(whole, narrow, self._seed, self._startup), None)
        if (signs[1:] > 0).any() or signs[0] < 0:
            raise ValueError("FactoredSampler: with prices, the first objective is maximised "
                             "and the others are costs to minimise")
        parts = [
            Encoding({name: item for name, item in space.items() if (name in picture) == wanted},
                     self._jumps, self._ordered,
                     {name: rule for name, rule in conditions.items()
                      if (name in picture) == wanted == (rule[0] in picture)},
                     self._part_canonical(picture, wanted))
            for wanted in (True, False)
        ]
        priced = Priced(parts[0], parts[1], self._prices, self._rules, self._seed, self._spent)
        for item in self._earlier:
            params = _inside(item.params, parts[0])
            if params:
                priced.believe(parts[0].tidy(parts[0].row(params)[None])[0], item.value,
                               item.variance)
        return _Search(key, whole, signs, (parts[0], parts[1]), None, priced)

    def _part_canonical(
        self, picture: Collection[str], wanted: bool
    ) -> Callable[[dict[str, Any]], Params] | None:
        canonical = self._canonical
        if canonical is None:
            return None
        return lambda params: {name: value for name, value in canonical(params).items()
                               if name in params and (name in picture) == wanted}


@dataclass(eq=False)
class _Log:
    """What was seen of a study's trials, so that each is read once.

    Attributes:
        where: which study.
        trials: as last read.
        finished: numbers, in the order in which they were seen to be finished.
        running: numbers of the others, queued ones among them.
        space: parameters on which all finished trials agree.
        proposed: number of a running trial -> what was proposed.
        guessed: number of a running trial -> what another worker will have been proposed.
    """

    where: tuple[int, int]
    trials: list[FrozenTrial] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    space: dict[str, BaseDistribution] = field(default_factory=dict)
    proposed: dict[int, dict[str, Any]] = field(default_factory=dict)
    guessed: dict[int, dict[str, Any]] = field(default_factory=dict)
    _odd: set[str] = field(default_factory=set)
    _conditions: tuple[Any, dict[str, tuple[str, frozenset[float]]]] | None = None

    def read(self, study: Study) -> None:
        """Take note of new trials and of those that have finished since."""
        before = len(self.trials)
        self.trials = study.get_trials(deepcopy=False)
        self.running += range(before, len(self.trials))
        left = []
        for number in self.running:
            trial = self.trials[number]
            if trial.state == TrialState.RUNNING:
                left.append(number)
            elif trial.state.is_finished():
                self.finished.append(number)
                self._agree(trial)
            else:
                left.append(number)
        self.running = left

    def under_way(self, search: _Search, number: int) -> list[Params]:
        """Return what other trials than this one are trying or will try, as far as can be told.

        Optuna stores a parameter when it is suggested, which is after it was proposed: of an older
        trial that another worker has just asked for, nothing is known yet. With the same seed and
        the same trials it was proposed what would be proposed here.
        """
        found: list[Params] = []
        for other in self.running:
            if other == number:
                continue
            trial = self.trials[other]
            params = {**self.proposed.get(other, {}), **trial.params} or trial.system_attrs.get(
                FIXED, {})
            if not params and other < number:
                if other not in self.guessed:
                    self.guessed[other] = search.propose(found, other)
                params = self.guessed[other]
            if params:
                found.append(params)
        return found

    def _agree(self, trial: FrozenTrial) -> None:
        for name, item in trial.distributions.items():
            if name not in self._odd and self.space.setdefault(name, item) != item:
                # Its range differs between trials: no part of a common space.
                del self.space[name]
                self._odd.add(name)

    def conditions(
        self, space: Mapping[str, BaseDistribution]
    ) -> dict[str, tuple[str, frozenset[float]]]:
        """Return when each parameter acts, as far as the trials tell."""
        shapes = frozenset(
            (name in self.trials[number].params) for number in self.finished for name in space
        ) if len(self.finished) < 200 else None
        if shapes == frozenset({True}) or not self.finished:
            return {}
        # More trials can refine a condition, but each change costs a fresh start.
        key = (tuple(space), len(self.finished).bit_length())
        if self._conditions is None or self._conditions[0] != key:
            seen = [self.trials[number].params for number in self.finished
                    if self.trials[number].params]
            self._conditions = key, learned_conditions(space, seen)
        return self._conditions[1]


@dataclass(eq=False)
class _Search:
    """One of the two searches, with how trials are told to it.

    Attributes:
        key: space and conditions it was made for.
        whole: encoding of all parameters.
        signs: 1 for objectives that are maximised, else -1.
        parts: encodings of picture and execution parameters, with prices.
        plain: the search without prices, or None.
        priced: the search with prices, or None.
        taken: how many finished trials it has been told.
    """

    key: tuple[Any, Any]
    whole: Encoding
    signs: Floats
    parts: tuple[Encoding, Encoding] | None
    plain: Plain | None
    priced: Priced | None
    taken: int = 0

    def take(self, trial: FrozenTrial, evidence: Evidence | None, proposed: Params) -> None:
        """Tell a finished trial, where its parameters lie in the space.

        What was proposed may hold parameters that turned out not to act; it was tried all the
        same.
        """
        if proposed and all(proposed.get(name) == value for name, value in trial.params.items()):
            self._close(proposed)
        params = {name: value for name, value in trial.params.items()
                  if trial.distributions[name] == self.whole.space.get(name)}
        if not params:
            return
        values = trial.values
        if trial.state == TrialState.FAIL and evidence is not None:
            return
        failed = (trial.state == TrialState.FAIL
                  or any(value > 0 for value in trial.constraints.values())
                  or (values is not None and not np.isfinite(values).all()))
        quality = None
        if evidence is not None and not failed:
            quality = evidence(trial)
        elif values is not None:
            quality = (values[0], 0.0)
        if self.plain is not None:
            if failed:
                self.plain.add(self.whole.row(params), None)
            elif values is not None and quality is not None:
                oriented = self.signs * np.array([quality[0], *values[1:]], np.float64)
                self.plain.add(self.whole.row(params), oriented)
            return
        assert self.priced is not None and self.parts is not None
        picture, way = (part.row({name: params[name] for name in part.space if name in params})
                        for part in self.parts)
        if np.isnan(picture).all() and len(picture):
            return
        if failed:
            self.priced.failed(picture, way)
        elif quality is not None:
            whole = values is not None and trial.state == TrialState.COMPLETE
            costs = values[1:] if whole and values is not None else None
            self.priced.add(picture, way, quality[0], quality[1], costs)

    def _close(self, params: Params) -> None:
        if self.plain is not None:
            self.plain.close(self.whole.row(_inside(params, self.whole)))
        elif self.priced is not None and self.parts is not None:
            one, other = self.parts
            self.priced.close(one.row(_inside(params, one)), other.row(_inside(params, other)))

    def propose(self, pending: Sequence[Params], number: int) -> dict[str, Any]:
        """Return the parameters to try next."""
        if self.plain is not None:
            rows = [self.whole.row(_inside(item, self.whole)) for item in pending]
            return self.whole.params(self.plain.propose(rows, number))
        assert self.priced is not None and self.parts is not None
        pairs = [(self.parts[0].row(_inside(item, self.parts[0])),
                  self.parts[1].row(_inside(item, self.parts[1]))) for item in pending]
        picture, way = self.priced.propose(pairs, number)
        return {**self.parts[0].params(picture), **self.parts[1].params(way)}


def _inside(params: Params, encoding: Encoding) -> dict[str, Any]:
    """Return those parameters that an encoding knows, with values it can hold."""
    return {name: value for name, value in params.items()
            if name in encoding.space and _holds(encoding.space[name], value)}


def _holds(item: BaseDistribution, value: Any) -> bool:
    try:
        return bool(item._contains(item.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False
