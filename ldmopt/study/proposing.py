"""What proposes settings in a study: Optuna's samplers, or our own with what is known of costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from ldmopt.contracts import Cost, Quality, Setting
from ldmopt.distillation.intervals import prompt_means
from ldmopt.errors import UserError
from ldmopt.knob import Space, Stage
from ldmopt.search import make_sampler, suggest
from ldmopt.search.cost import CostModel
from ldmopt.search.factored import Earlier, FactoredSampler
from ldmopt.search.pricing import Limits, Pricing
from ldmopt.search.racing import partial_mean
from ldmopt.study import stopping
from ldmopt.study.confirming import CONFIRMED_SETTINGS
from ldmopt.study.loads import by_load
from ldmopt.study.probing import counter, heed, learn, probe_costs
from ldmopt.study.session import Session
from ldmopt.study.timing import LEAST_CALLS
from ldmopt.study.work import Work

GAIN = "expected_gain"
"""Trial attribute: share of the hypervolume that the proposal was expected to add."""

PRICED = "priced"
"""Study attribute: how many lines of the journal and how many trials the prices know."""

AT_ONCE = {"nsga2": 10, "random": 10, "grid": 10, "factored": 4}
"""Proposals that are made together where a searched LOAD knob changes the picture or is drawn
blindly, so that they can be ordered by it."""


@dataclass(eq=False)
class Proposer:
    """Asks for settings, a few at once where that spares loading.

    Attributes:
        work: the generation.
        earlier: what earlier studies know.
        prices: what settings cost; None where nothing is shared or another sampler proposes.
    """

    work: Work
    earlier: Sequence[Earlier] = ()
    prices: Pricing | None = field(init=False, default=None)
    _last: Setting | None = None

    def __post_init__(self) -> None:
        """Read what settings cost, where that is asked for, and make the sampler.

        What the prices were learned from is kept, so that a study that goes on proposes as one
        that was never stopped.
        """
        session, study = self.work.session, self.work.study
        spec = session.spec
        if spec.search != "factored" or not spec.share:
            # A sampler that starts from the same seed after a resume would propose the same again;
            # proposals of our own follow from the trials.
            done = 0 if spec.search == "factored" else len(study.get_trials(deepcopy=False))
            study.sampler = make_sampler(spec.search, spec.seed + done, session.space)
            return
        if PRICED not in study.user_attrs:
            self.work.tell("probe", "what settings cost")
            self._price(probe_costs(session), len(self.work.ledger.finished))
            return
        known = study.user_attrs[PRICED]
        bench = session.bench.as_of(known["lines"])
        self._make(learn(replace(session, bench=bench)), bench.failures)
        trials = self.work.ledger.trials
        if len(trials) != known["trials"]:
            # A kill may have come between the last trial and its look at the prices.
            self.heed(trials[-1].setting, trials[-1].cost)

    def _price(self, model: CostModel, trials: int) -> None:
        bench = self.work.session.bench
        self.work.study.set_user_attr(PRICED, {"lines": bench.lines, "trials": trials})
        self._make(model, bench.failures)

    def _make(self, model: CostModel, failed: Mapping[Setting, str]) -> None:
        self.prices = priced(self.work.session, model, dict(failed))
        self.work.study.sampler = factored(self.work, self.prices, self.earlier)

    def heed(self, setting: Setting, cost: Cost | None) -> None:
        """Hold a measured cost against the prices.

        They are made anew where it contradicts them, and now and then.
        """
        if self.prices is None or cost is None:
            return
        session, model = self.work.session, self.prices.model
        contradicted = model.contradicts(self.prices.counter.demand(setting), cost)
        count = len(self.work.ledger.read().finished)
        before = self.work.study.user_attrs[PRICED]["trials"]
        if contradicted or count >= 2 * max(4, before):
            self._price(heed(session, model, setting, cost), count)

    def ask(self) -> list[tuple[optuna.Trial, Setting]]:
        """Return what to try next, those of one pipeline together.

        Raises:
            UserError: no setting meets the caps, as far as costs are predicted.
        """
        space, study = self.work.session.space, self.work.study
        found = []
        for _ in range(self._at_once()):
            try:
                trial = study.ask()
                setting = space.canonical(suggest(trial, space))
            except ValueError as error:
                if self.prices is None or "within the limits" not in str(error):
                    raise
                raise UserError(nothing_fits(self.work.session, self.prices)) from error
            self._note_gain(trial)
            found.append((trial, setting))
        order = by_load([setting for _, setting in found], space, self._last)
        found.sort(key=lambda pair: order.index(pair[1]))
        self._last = found[-1][1]
        return found

    @property
    def kept(self) -> int:
        """Trials that are kept for ways of running that only the model knows."""
        space = self.work.session.space
        ways = [name for name in space.searched if name not in space.picture_knobs]
        return CONFIRMED_SETTINGS if self.prices is not None and ways else 0

    @property
    def used_up(self) -> bool:
        """Whether every setting was proposed, where the sampler tells."""
        sampler = self.work.study.sampler
        return (isinstance(sampler, optuna.samplers.GridSampler)
                and sampler.is_exhausted(self.work.study))

    def _note_gain(self, trial: optuna.Trial) -> None:
        sampler = self.work.study.sampler
        gain = sampler.expected_gain if isinstance(sampler, FactoredSampler) else None
        if self.work.session.spec.budget.gain is not None and gain is not None:
            trial.set_user_attr(GAIN, gain)

    def _at_once(self) -> int:
        """Return how many to propose together: one, where loading decides nothing."""
        space, name = self.work.session.space, self.work.session.spec.search
        loads = {knob for knob in space.searched if space.knobs[knob].stage is Stage.LOAD}
        if self.prices is not None:
            # Ways of running are chosen by their price, and seldom change from one to the next.
            loads &= space.picture_knobs
        budget = self.work.session.spec.budget
        if not loads or budget.gain is not None:
            return 1
        left = math.inf if budget.trials is None else budget.trials - len(self.work.ledger.finished)
        return int(max(1, min(AT_ONCE.get(name, 1), left)))


def priced(session: Session, model: CostModel, failed: Mapping[Setting, str]) -> Pricing:
    """Return what every setting costs, NaN where it failed or is over a cap."""
    caps = session.spec.caps
    limits = Limits(latency_seconds=caps.seconds,
                    memory_bytes=None if caps.memory_gb is None else caps.memory_gb * 1e9)
    return Pricing(model, session.space, counter(session), pictures=len(session.blocks),
                   calls=LEAST_CALLS, limits=limits, failed=failed)


def factored(
    work: Work, prices: Pricing, earlier: Sequence[Earlier]
) -> optuna.samplers.BaseSampler:
    """Return our own search, told what settings cost and what their qualities rest on."""
    from ldmopt.search.samplers.factored import make

    session = work.session
    prompts = len({block.prompt for block in session.blocks})
    return make(session.spec.seed, session.space, prices=prices, evidence=evidence(prompts),
                earlier=earlier, spent=lambda: stopping.share_spent(work))


def evidence(prompts: int) -> Callable[[FrozenTrial], tuple[float, float] | None]:
    """Return what reads a trial's win rate with its variance.

    Args:
        prompts: how many there are.
    """
    def read(trial: FrozenTrial) -> tuple[float, float] | None:
        quality = trial.user_attrs.get("quality")
        return None if quality is None else reading(Quality.from_dict(quality), prompts)

    return read


def reading(quality: Quality, prompts: int) -> tuple[float, float]:
    """Return a win rate with its variance as one over so many prompts."""
    return partial_mean(np.array(list(prompt_means(quality.blocks).values())), prompts)


def picture_params(space: Space, setting: Setting) -> dict[str, Any]:
    """Return the searched picture knobs of a setting."""
    return {name: setting[name] for name in space.searched
            if name in setting and name in space.picture_knobs}


def way_params(space: Space, setting: Setting) -> dict[str, Any]:
    """Return the searched execution knobs of a setting."""
    return {name: setting[name] for name in space.searched
            if name in setting and name not in space.picture_knobs}


def nothing_fits(session: Session, prices: Pricing) -> str:
    """Word that no setting can run, or that none is predicted to meet the caps, and the nearest."""
    from ldmopt.search import distributions
    from ldmopt.search.encoding import Encoding, levels

    space, caps, parts = session.space, session.spec.caps, []
    for wanted in (True, False):
        encoding = Encoding({name: item for name, item in distributions(space).items()
                             if (name in space.picture_knobs) == wanted})
        small = all(math.isfinite(levels(item)) for item in encoding.space.values())
        rows = (encoding.every() if small and encoding.size <= 256
                else encoding.draw(256, np.random.default_rng(0)))
        parts.append([encoding.params(row) for row in rows])
    seconds, peak = prices.nearest(*parts)
    failed = Counter(session.bench.failures.values())
    if failed and ((caps.seconds is None and caps.memory_gb is None) or not math.isfinite(seconds)):
        kinds = ", ".join(f"{count} {kind}" for kind, count in failed.most_common())
        return (f"no setting of [space] gives a usable picture, as far as it was tried ({kinds}); "
                f"change [space], with another --out, or look into {session.folder.log}")
    wanted_caps = []
    if caps.seconds is not None:
        wanted_caps.append(f"caps.seconds = {caps.seconds:g} (the fastest is predicted to take "
                           f"{seconds:.3g} s)")
    if caps.memory_gb is not None:
        wanted_caps.append(f"caps.memory_gb = {caps.memory_gb:g} (the smallest is predicted to "
                           f"take {peak / 1e9:.3g} GB)")
    return (f"no setting of [space] is predicted to meet {' and '.join(wanted_caps) or 'any cap'}; "
            "raise the caps, or offer cheaper values in [space], with another --out")
