"""Which setting to try next, and what it will cost.

- `samplers`: Optuna's and our own, by name, one file each;
- `factored`: our own, as an Optuna sampler: `priced` where costs can be predicted, `plain` where
  nothing is known; on `encoding`, `kernel`, `process`, `likelihood`, `hypervolume`, `feasible`,
  and where there are prices, `prices`, `pool` and `known`;
- `racing`: which setting gets more prompts;
- `demand`: what a setting asks of the machine; `cost`, `surface`: seconds and peak memory of any
  setting from a few readings; `pricing`: those of a whole space at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ldmopt import registry
from ldmopt.contracts import Setting, Value
from ldmopt.knob import Choice, Domain, Number, Size, Space

if TYPE_CHECKING:
    import optuna

SAMPLES = 200
"""Settings drawn evenly from a space, which stand for it."""


def make_sampler(name: str, seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """Return one of the samplers, seeded, for a space.

    Raises:
        UserError: no sampler of that name, or one that cannot search this space.
    """
    module = registry.module("ldmopt.search.samplers", name)
    sampler: optuna.samplers.BaseSampler = module.make(seed, space)
    return sampler


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the distribution of every searched knob, in asking order."""
    return {name: distribution(space.searched[name]) for name in asking_order(space)}


def inside(space: Space, setting: Mapping[str, Value]) -> bool:
    """Tell whether the values of a setting's searched knobs are among those searched.

    A study's default need not be: it is measured whatever the space is.
    """
    for name, item in distributions(space).items():
        if name not in setting:
            continue
        try:
            if not item._contains(item.to_internal_repr(setting[name])):
                return False
        except (ValueError, TypeError):
            return False
    return True


def conditional(space: Space) -> dict[str, str]:
    """Return the searched knobs that act only under some searched values, each with the reason."""
    found = {}
    for name in space.searched:
        for other, fits in acting_under(space, name):
            if other in space.searched and any(fits) and not all(fits):
                found[name] = other
    return found


def acting_under(space: Space, name: str) -> Iterator[tuple[str, list[bool]]]:
    """Yield the knobs that a knob depends on, and for each of their values whether it then acts.

    Values are those searched, the ends alone of a range; of a knob that is not searched, the
    default's. Conditions that only the model's facts decide are left out.
    """
    for other, fitting in space.knobs[name].when.items():
        domain = space.searched.get(other)
        values: tuple[Value, ...] = ()
        if isinstance(domain, Number):
            values = (domain.low, domain.high)
        elif isinstance(domain, Choice):
            values = domain.values
        elif domain is None and other in space.default:
            values = (space.default[other],)
        if not callable(fitting):
            yield other, [value in fitting for value in values]


def distribution(domain: Domain) -> optuna.distributions.BaseDistribution:
    """Return Optuna's distribution of a domain; sizes are strings, so they are categorical."""
    from optuna import distributions as d

    if isinstance(domain, Choice):
        return d.CategoricalDistribution(domain.values)
    if isinstance(domain, Size):
        raise TypeError("a searched size is a list of sizes")
    if domain.whole:
        return d.IntDistribution(
            int(domain.low), int(domain.high), log=domain.log, step=int(domain.step or 1)
        )
    return d.FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """Let the sampler propose a value for every searched knob that acts.

    Knobs on which others depend come first, so that the rest can be left out where they do not
    act.
    """
    values: dict[str, Value] = {}
    for name in asking_order(space):
        if not space.knobs[name].active({**space.default, **values}):
            continue
        domain = space.searched[name]
        if isinstance(domain, Number) and domain.whole:
            values[name] = trial.suggest_int(name, int(domain.low), int(domain.high),
                                             step=int(domain.step or 1), log=domain.log)
        elif isinstance(domain, Number):
            values[name] = trial.suggest_float(name, domain.low, domain.high,
                                               step=domain.step, log=domain.log)
        else:
            choices: Any = domain.values if isinstance(domain, Choice) else ()
            values[name] = trial.suggest_categorical(name, choices)
    return values


def asking_order(space: Space) -> list[str]:
    """Return the searched knobs, those that others depend on first."""
    depended = {name for item in space.knobs.values() for name in item.when}
    return sorted(space.searched, key=lambda name: name not in depended)


def samples(space: Space, seed: int = 0) -> list[Setting]:
    """Draw settings evenly from the space; those that are refused are left out."""
    if not space.searched:
        return [space.default]
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    drawn = [space.canonical(suggest(study.ask(), space)) for _ in range(SAMPLES)]
    return [setting for setting in drawn if not space.refusal(setting)] or [space.default]
