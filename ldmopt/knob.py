"""Knobs and the spaces they span.

A knob is a declaration and a few lines: which values it has, at which stage it acts, whether it
changes the picture or only what the picture costs, and a function that writes a `Plan`. Adding
one touches one file in ``ldmopt/knobs/``.
"""

from __future__ import annotations

import enum
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

from ldmopt import registry
from ldmopt.contracts import Plan, Setting, Value
from ldmopt.domain import Above, Choice, Domain, Number, Size
from ldmopt.errors import UserError, did_you_mean
from ldmopt.model import Model

__all__ = [
    "Above", "Choice", "Context", "Domain", "Knob", "Number", "Size", "Space", "Stage", "all_knobs",
    "build_plan", "build_space", "examples", "knob", "parse_setting", "refused",
]


class Stage(enum.Enum):
    """When a knob acts: on loading, on the loaded pipeline (and back), or in the call."""

    LOAD = "load"
    EDIT = "edit"
    CALL = "call"


@dataclass(frozen=True)
class Context:
    """Where a setting is to run: what values are refused depends on it.

    Attributes:
        model: facts of the model.
        device: ``cpu`` or ``cuda`` (or ``cuda:1``).
        packages: installed packages that knobs ask for, name to version.
    """

    model: Model
    device: str = "cpu"
    packages: Mapping[str, str] = field(default_factory=dict)


class Fitting(Protocol):
    """Values of one knob under which another acts; iterating gives at least one example."""

    def __contains__(self, value: object, /) -> bool:
        """Tell whether a value is one of them."""
        ...

    def __iter__(self) -> Iterator[Value]:
        """Give them all, or examples."""
        ...


Conditions: TypeAlias = Mapping[str, "Fitting | Callable[[Model], Fitting]"]
Refuse: TypeAlias = Callable[[Value, Setting, Context], "str | None"]
Accept: TypeAlias = Callable[[object], Mapping[str, Value]]


@dataclass(frozen=True)
class Knob:
    """One thing that a user can set.

    Attributes:
        name: as in TOML, CSV, JSON, command line and Python.
        apply: writes the value into a plan, inside the child process.
        space: every value that is ever legal.
        default: a value, or a function of the model's facts.
        stage: when it acts.
        changes_picture: a picture knob; otherwise it changes only cost.
        touches: parts of the pipeline that it changes.
        when: other knobs' values under which it acts at all; a function of the model's facts
            stands for values that depend on the model.
        refuse: returns why a value cannot be had here, or None.
        accept: turns foreign names of a value into values of one or more knobs.
        help: one line for people.
    """

    name: str
    apply: Callable[[Plan, Any], None]
    space: Domain
    default: Value | Callable[[Model], Value]
    stage: Stage
    changes_picture: bool
    touches: frozenset[str]
    when: Conditions
    refuse: Refuse | None
    accept: Accept | None
    help: str

    @property
    def changes_memory(self) -> bool:
        """Whether peak memory may depend on it, size and guidance aside, by what it touches.

        A sampler and a call's arguments leave memory alone; how the networks are loaded, run or
        patched does not, whether the picture changes or not.
        """
        patches = self.stage is not Stage.CALL and bool(self.touches - {"scheduler", "calls"})
        return patches or not self.changes_picture

    def default_for(self, model: Model) -> Value:
        """Return the model's own value."""
        return self.default(model) if callable(self.default) else self.default

    def for_model(self, model: Model) -> Knob:
        """Return the knob with its conditions settled for a model."""
        settled = {name: ok(model) if callable(ok) else ok for name, ok in self.when.items()}
        return replace(self, when=settled)

    def active(self, values: Mapping[str, Value]) -> bool:
        """Tell whether the knob acts, given the other knobs' values.

        A condition that waits for a model (see `for_model`) counts as met.
        """
        return all(name not in values or callable(ok) or values[name] in ok
                   for name, ok in self.when.items())

    def enabling(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the fewest other knobs' values, besides those given, under which it acts."""
        return {name: min(ok, key=str) for name, ok in self.when.items()
                if not callable(ok) and values.get(name) not in ok}

    def parse(self, raw: object) -> dict[str, Value]:
        """Return the knob values that `raw` means: usually one, sometimes two.

        Raises:
            UserError: it means nothing here.
        """
        if self.accept is not None:
            found = self.accept(raw)
            if found:
                return dict(found)
        return {self.name: self.space.parse(self.name, raw)}


def knob(
    *,
    space: Domain,
    default: Value | Callable[[Model], Value],
    stage: Stage,
    changes_picture: bool,
    touches: Iterable[str] = (),
    when: Mapping[str, list[Value] | Fitting | Callable[[Model], Fitting]] | None = None,
    refuse: Refuse | None = None,
    accept: Accept | None = None,
) -> Callable[[Callable[[Plan, Any], None]], Knob]:
    """Declare a knob: the decorated function writes its value into a plan.

    The function's name is the knob's name, and the first line of its docstring is its help.
    """

    def declare(apply: Callable[[Plan, Any], None]) -> Knob:
        return Knob(
            name=apply.__name__,
            apply=apply,
            space=space,
            default=default,
            stage=stage,
            changes_picture=changes_picture,
            touches=frozenset(touches),
            when={name: frozenset(ok) if isinstance(ok, list) else ok
                  for name, ok in (when or {}).items()},
            refuse=refuse,
            accept=accept,
            help=(inspect.getdoc(apply) or "").split("\n")[0],
        )

    return declare


def all_knobs(plugins: Sequence[str] = (), model: Model | None = None) -> dict[str, Knob]:
    """Return every knob by name: load stage first, then edits, then call; else as declared.

    Args:
        plugins: modules whose knobs join (a knob of the same name replaces the built-in one).
        model: settles the conditions that depend on a model; None leaves them open.
    """
    modules = [registry.module("ldmopt.knobs", name) for name in registry.names("ldmopt.knobs")]
    modules += registry.load_plugins(plugins)
    found = {item.name: item.for_model(model) if model else item
             for part in modules for item in vars(part).values() if isinstance(item, Knob)}
    order = list(Stage)
    return dict(sorted(found.items(), key=lambda pair: order.index(pair[1].stage)))


def build_plan(
    setting: Setting, knobs: Mapping[str, Knob], lacks: frozenset[str] = frozenset()
) -> Plan:
    """Let every knob that the setting names, and that acts, write the plan.

    Args:
        setting: canonical or not.
        knobs: every known knob.
        lacks: parts of a pipeline that the engine does not have; knobs that touch one are left
            out.
    """
    plan = Plan()
    for name, item in knobs.items():
        if name in setting and item.active(setting) and not item.touches & lacks:
            item.apply(plan, setting[name])
    return plan


@dataclass(frozen=True)
class Space:
    """The knobs of a study: what is searched, and what everything is compared with.

    Attributes:
        knobs: every known knob.
        searched: the domain of each knob that is searched; the rest stay at the default.
        default: the full default setting, canonical.
        picture_knobs: names of the knobs that change the picture; frozen with the study.
        context: where it runs.
    """

    knobs: Mapping[str, Knob]
    searched: Mapping[str, Domain]
    default: Setting
    picture_knobs: frozenset[str]
    context: Context

    def canonical(self, values: Mapping[str, Value]) -> Setting:
        """Fill in what is missing from the default and leave out knobs that do not act."""
        full = {name: item.default_for(self.context.model) for name, item in self.knobs.items()}
        full |= {**self.default, **values}
        return Setting({n: v for n, v in full.items() if self.knobs[n].active(full)})

    def refusal(self, setting: Setting) -> str | None:
        """Return why this setting cannot be had here, or None."""
        for name, value in setting.items():
            refuse = self.knobs[name].refuse
            reason = refuse(value, setting, self.context) if refuse else None
            if reason:
                return f"{name}={value}: {reason}"
        return None

    def acting(self, name: str) -> dict[str, Value] | None:
        """Return searched values of other knobs under which a knob acts; none where it does.

        None stands for a knob that acts nowhere in this study.
        """
        full = {n: item.default_for(self.context.model) for n, item in self.knobs.items()}
        full |= self.default
        found: dict[str, Value] = {}
        for other, fitting in self.knobs[name].when.items():
            if other not in full or callable(fitting) or full[other] in fitting:
                continue
            enabling = [v for v in examples(self.searched.get(other)) if v in fitting]
            if not enabling:
                return None
            found[other] = enabling[0]
        return found

    def picture(self, setting: Setting) -> Setting:
        """Return the part of a setting that decides the picture."""
        return setting.only(self.picture_knobs)

    def look(self, setting: Setting) -> Setting:
        """Return what tells the pictures of this study's settings apart.

        That is the picture part without knobs that nobody searches and that stand as in the
        default: some are there or not as other knobs, such as the backend, let them act.
        """
        usual = {name: item.default_for(self.context.model) for name, item in self.knobs.items()}
        usual |= self.default
        return Setting({
            name: value for name, value in self.picture(setting).items()
            if name in self.searched or value != usual[name]
        })

    def memory(self, setting: Setting) -> Setting:
        """Return the part of a setting that decides peak memory, size and guidance aside."""
        return Setting({n: v for n, v in setting.items() if self.knobs[n].changes_memory})

    def needs_memory_of(self, lesser: Setting, setting: Setting) -> bool:
        """Tell whether a setting needs at least the memory of another one that runs alike.

        It does where its picture is at least as large, and guided where the other is.
        """
        def extent(one: Setting) -> tuple[int, bool]:
            sides = str(one.get("size", "0x0")).split("x")
            return math.prod(map(int, sides)), float(one.get("guidance", 0)) > 1

        alike = self.memory(lesser) == self.memory(setting)
        return alike and all(a <= b for a, b in zip(extent(lesser), extent(setting), strict=True))

    def execution(self, setting: Setting) -> Setting:
        """Return the part of a setting that only decides the cost."""
        return Setting({n: v for n, v in setting.items() if n not in self.picture_knobs})


def parse_setting(
    raw: Mapping[str, object], knobs: Mapping[str, Knob], where: str = "setting"
) -> dict[str, Value]:
    """Read knob values as people write them, foreign names included.

    Raises:
        UserError: an unknown knob, an impossible value, or two keys that contradict each other.
    """
    values: dict[str, Value] = {}
    for name, text in raw.items():
        if name not in knobs:
            raise UserError(f"{where}: unknown knob {name!r}{did_you_mean(name, knobs)}")
        for key, value in knobs[name].parse(text).items():
            if key in values and values[key] != value:
                raise UserError(
                    f"{where}: {name} = {text!r} means {key}={value}, but {key}={values[key]} "
                    "is given too; leave one out"
                )
            values[key] = value
    return values


def build_space(
    default: Mapping[str, object],
    searched: Mapping[str, object],
    context: Context,
    plugins: Sequence[str] = (),
) -> Space:
    """Build a study's space from the ``[default]`` and ``[space]`` tables.

    Args:
        default: knob values; missing knobs take the model's own.
        searched: knob name to ``"all"``, a list, one value, or a range
            ``{low, high, step, log}``.
        context: where it runs; values refused here are left out of ``"all"``.
        plugins: modules with further knobs.

    Raises:
        UserError: an unknown knob, an impossible or refused value, an empty domain.
    """
    knobs = all_knobs(plugins, context.model)
    start = Setting(parse_setting(default, knobs, "[default]"))
    pictures = frozenset(name for name, item in knobs.items() if item.changes_picture)
    bare = Space(knobs, {}, start, pictures, context)
    full = bare.canonical({})
    _refuse(bare, full, "[default]")
    domains: dict[str, Domain] = {}
    for name, wanted in searched.items():
        if name not in knobs:
            raise UserError(f"[space]: unknown knob {name!r}{did_you_mean(name, knobs)}")
        domains[name] = _domain(knobs[name], wanted, bare, full)
    return Space(knobs, domains, full, pictures, context)


def _refuse(space: Space, setting: Setting, where: str) -> None:
    reason = space.refusal(setting)
    if reason:
        raise UserError(f"{where}: {reason}")


def _domain(item: Knob, wanted: object, space: Space, default: Setting) -> Domain:
    where = f"[space] {item.name}"
    if wanted == "all":
        if not isinstance(item.space, Choice):
            raise UserError(f"{where}: 'all' needs named values; give a list or {{low, high}}")
        fitting = [value for value in item.space.values if not refused(item, value, space)]
        return Choice(tuple(fitting))
    if isinstance(wanted, Mapping):
        unknown = set(wanted) - {"low", "high", "step", "log"}
        if unknown or not {"low", "high"} <= set(wanted):
            raise UserError(f"{where}: a range has low, high and maybe step or log, "
                            f"got {sorted(wanted)}")
        return item.space.narrow(item.name, wanted["low"], wanted["high"],
                                 wanted.get("step"), wanted.get("log", False))
    raws = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    if not raws:
        raise UserError(f"{where} is an empty list; name values or leave the knob out")
    values: list[Value] = []
    for raw in raws:
        parsed = item.parse(raw)
        others = {name: value for name, value in parsed.items() if name != item.name}
        if others:
            extra = ", ".join(f"{name}={value}" for name, value in others.items())
            raise UserError(f"{where}: {raw!r} also means {extra}; write {parsed[item.name]!r} "
                            f"here and list the rest under its own knob")
        reason = refused(item, parsed[item.name], space)
        if reason:
            raise UserError(f"{where}: {raw!r} {reason}")
        if parsed[item.name] not in values:
            values.append(parsed[item.name])
    return Choice(tuple(values))


def examples(domain: Domain | None) -> tuple[Value, ...]:
    """Return values of a domain: all that are named, or both ends of a range."""
    if isinstance(domain, Choice):
        return domain.values
    if not isinstance(domain, Number):
        return ()
    ends = (domain.low, domain.high)
    return tuple(dict.fromkeys(int(end) if domain.whole else end for end in ends))


def refused(item: Knob, value: Value, space: Space) -> str | None:
    """Say why a value is refused by itself: whatever the knobs are set to that it depends on."""
    if item.refuse is None:
        return None
    enabling = item.enabling(space.default)
    company = [enabling, *({**enabling, other: fitting} for other, ok in item.when.items()
                           if not callable(ok) for fitting in ok)]
    reasons = [item.refuse(value, space.canonical({**values, item.name: value}), space.context)
               for values in company]
    return reasons[0] if all(reasons) else None
