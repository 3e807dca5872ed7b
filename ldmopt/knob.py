"""Knobs and the spaces they span.

A knob is a declaration and a few lines: which values it has, at which stage it acts, whether it
changes the picture or only what the picture costs, and a function that writes a `Plan`. Adding
one touches one file in ``ldmopt/knobs/``.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ldmopt import registry
from ldmopt.contracts import Plan, Setting, Value
from ldmopt.domain import Choice, Domain, Number, Size
from ldmopt.errors import UserError, did_you_mean
from ldmopt.model import Model

__all__ = [
    "Choice", "Context", "Domain", "Knob", "Number", "Size", "Space", "Stage", "all_knobs",
    "build_plan", "build_space", "knob", "parse_setting",
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
        when: other knobs' values under which it acts at all.
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
    when: Mapping[str, frozenset[Value]]
    refuse: Refuse | None
    accept: Accept | None
    help: str

    def default_for(self, model: Model) -> Value:
        """Return the model's own value."""
        return self.default(model) if callable(self.default) else self.default

    def active(self, values: Mapping[str, Value]) -> bool:
        """Tell whether the knob acts, given the other knobs' values."""
        return all(name not in values or values[name] in ok for name, ok in self.when.items())

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
    when: Mapping[str, Iterable[Value]] | None = None,
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
            when={name: frozenset(values) for name, values in (when or {}).items()},
            refuse=refuse,
            accept=accept,
            help=(inspect.getdoc(apply) or "").split("\n")[0],
        )

    return declare


def all_knobs(plugins: Sequence[str] = ()) -> dict[str, Knob]:
    """Return every knob by name: load stage first, then edits, then call; else as declared.

    Args:
        plugins: modules whose knobs join (a knob of the same name replaces the built-in one).
    """
    modules = [registry.module("ldmopt.knobs", name) for name in registry.names("ldmopt.knobs")]
    modules += registry.load_plugins(plugins)
    found = {item.name: item for part in modules for item in vars(part).values()
             if isinstance(item, Knob)}
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

    def picture(self, setting: Setting) -> Setting:
        """Return the part of a setting that decides the picture."""
        return setting.only(self.picture_knobs)

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
    knobs = all_knobs(plugins)
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
        fitting = [value for value in item.space.values if not _refused(item, value, space)]
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
        reason = _refused(item, parsed[item.name], space)
        if reason:
            raise UserError(f"{where}: {raw!r} {reason}")
        if parsed[item.name] not in values:
            values.append(parsed[item.name])
    return Choice(tuple(values))


def _refused(item: Knob, value: Value, space: Space) -> str | None:
    """Say why a value is refused by itself: with whichever other knobs it needs to act at all."""
    if item.refuse is None:
        return None
    enabling = {name: min(values, key=str) for name, values in item.when.items()
                if space.default.get(name) not in values}
    setting = space.canonical({**enabling, item.name: value})
    return item.refuse(value, setting, space.context)
