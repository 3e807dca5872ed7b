"""Two rulebooks as one: weighted by evidence, contradictions shown and never averaged away.

What is decided here, and why:

- Another model, scorer, or constant that verdicts rest on: refused. Two judges' win rates are not
  one figure.
- Another default: each one must have measured the other's; the second's win rates then go over to
  the first's default on the log-odds scale. Where the two measurements of that step contradict
  each other, the merge is refused: everything would rest on it.
- Another device: pictures do not depend on it, so win rates are pooled; seconds and bytes are
  those of the first one's device alone, and a setting that it did not measure is not recommended.
- A contradiction (each win rate outside the other's interval) keeps the lower win rate and an
  interval around both; effects that contradict become "depends", with a side a study.
- A rulebook does not hold its prompts. Where the picture of the default is the very same in both,
  so are the prompts: nothing is pooled then, of two intervals the wider one stays. Otherwise they
  are taken to be different ones. Two distillations of one run are refused, as far as they can be
  recognised.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ldmopt.contracts import Setting
from ldmopt.distillation.constants import Constants
from ldmopt.distillation.front import Point, nondominated
from ldmopt.errors import UserError
from ldmopt.exports._words import setting_text
from ldmopt.reconcile.estimates import Estimate, against, pooled
from ldmopt.reconcile.matching import Row, changed, effect_key, measured, same_way
from ldmopt.rulebook import Rulebook


@dataclass(frozen=True)
class _Found:
    """A setting with what both know of it.

    Attributes:
        quality: as rulebook.json has it, against the first one's default.
        cost: on the first one's device; None where it is not known there.
        contradicts: whether the two win rates cannot both be right.
    """

    quality: dict[str, Any]
    cost: dict[str, Any] | None
    contradicts: bool


class _Merge:
    """The merging of two rulebooks' data."""

    def __init__(self, one: Row, other: Row) -> None:
        self.books = (one, other)
        self.confidence: float = one["confidence"]
        self.worth = _constants(one)["worth"]
        self.default = Setting(one["default"]["setting"])
        self.second = Setting(other["default"]["setting"])
        self.rows = (measured(one), measured(other))
        self.same_device = one["scope"]["device"] == other["scope"]["device"]
        self.names = [f"{book['study']} of {book['created']}" for book in self.books]
        pictures = [book["default"]["picture"] for book in self.books]
        self.same_prompts = pictures[0] is not None and pictures[0] == pictures[1]
        self.between = None if self.default == self.second else self._between()
        settings = dict.fromkeys([*self.rows[0], *self.rows[1]])
        self.found = {setting: self._found(setting) for setting in settings}

    def _between(self) -> Estimate:
        """The second default's win rate against the first, from both."""
        mine, theirs = self.rows[0].get(self.second), self.rows[1].get(self.default)
        if mine is None or theirs is None:
            turned = ", ".join(f"{name} {pair[0]} against {pair[1]}"
                               for name, pair in changed(self.default, self.second).items())
            raise UserError(f"merge: the rulebooks have different defaults ({turned}), and "
                            f"{'the first' if mine is None else 'the second'} did not measure the "
                            "other's; run it again with that setting in its space")
        both = [Estimate.of(mine["quality"]), Estimate.of(theirs["quality"]).turned()]
        if both[0].contradicts(both[1]):
            raise UserError("merge: the rulebooks contradict each other on their two defaults "
                            f"({both[0].win_rate:.2f} against {both[1].win_rate:.2f}), so nothing "
                            "can go over from one to the other; see ldmopt diff")
        return pooled(both, self.confidence)

    def _estimates(self, setting: Setting) -> list[tuple[int, Estimate]]:
        """What each says of a setting, against the first default."""
        if setting == self.default:
            return [(0, Estimate(0.5, 0.5, 0.5))]
        if self.between is not None and setting == self.second:
            return [(0, self.between)]
        told = []
        for number, rows in enumerate(self.rows):
            if setting in rows:
                estimate = Estimate.of(rows[setting]["quality"])
                if number and self.between is not None:
                    estimate = against(estimate, self.between, self.confidence)
                told.append((number, estimate))
        return told

    def _found(self, setting: Setting) -> _Found:
        told = self._estimates(setting)
        one, contradicts = self._joined([estimate for _, estimate in told])
        humans = [rows[setting]["quality"]["human"] for rows in self.rows if setting in rows]
        humans = [human for human in humans if human]
        sources = [{"study": self.names[number], **estimate.to_dict()} for number, estimate in told]
        quality = {
            **one.to_dict(), "human": humans[0] if len(humans) == 1 else None,
            "scorer": {**one.to_dict(), "sources": sources, "contradiction": contradicts},
        }
        return _Found(quality, self._cost(setting), contradicts)

    def _joined(self, estimates: Sequence[Estimate]) -> tuple[Estimate, bool]:
        """One estimate, and whether it spans a contradiction."""
        if len(estimates) == 1:
            return estimates[0], False
        if estimates[0].contradicts(estimates[1]):
            return Estimate(min(one.win_rate for one in estimates),
                            min(one.low for one in estimates),
                            max(one.high for one in estimates)), True
        if self.same_prompts:
            return max(estimates, key=lambda one: one.high - one.low), False
        return pooled(estimates, self.confidence), False

    def total(self, figures: Sequence[int]) -> int:
        """What both saw together: of the same prompts not more than of either."""
        return max(figures) if self.same_prompts else sum(figures)

    def _cost(self, setting: Setting) -> dict[str, Any] | None:
        """Costs on the first device; of two measurements the dearer, with limits around both."""
        books = self.books if self.same_device else self.books[:1]
        costs = [rows[setting]["cost"] for rows in self.rows[: len(books)] if setting in rows]
        costs += [book["default"]["cost"] for book in books
                  if Setting(book["default"]["setting"]) == setting]
        costs = [cost for cost in costs if cost["seconds"] is not None]
        if not costs:
            return None
        dearer = max(costs, key=lambda cost: cost["seconds"])
        memory = [cost["peak_memory_bytes"] for cost in costs]
        ends = {"low": [cost["low"] for cost in costs], "high": [cost["high"] for cost in costs]}
        return {
            **dearer,
            **{end: None if None in values else (min if end == "low" else max)(values)
               for end, values in ends.items()},
            "peak_memory_bytes": max((size for size in memory if size is not None), default=None),
        }

    def front(self) -> list[dict[str, Any]]:
        """The settings that no other beats, best first."""
        rows = [(setting, found) for setting, found in self.found.items() if found.cost]
        points = [Point(found.quality["win_rate"], found.cost["seconds"],
                        found.cost["latency_seconds"], found.cost["peak_memory_bytes"])
                  for _, found in rows if found.cost]
        kept = [rows[index] for index in nondominated(points)]
        kept.sort(key=lambda row: -row[1].quality["win_rate"])
        return [{"setting": dict(setting), "quality": found.quality, "cost": found.cost}
                for setting, found in kept]

    def recommendations(self) -> list[dict[str, Any]]:
        """Of each name the better of the two settings, by what the name wishes."""
        ids = dict.fromkeys(row["id"] for book in self.books for row in book["recommendations"])
        return [row for id in ids if (row := self._recommendation(id))]

    def _recommendation(self, id: str) -> dict[str, Any] | None:
        rows = [row for book in self.books for row in book["recommendations"] if row["id"] == id]
        when = rows[0]["when"]
        settings = dict.fromkeys(Setting(row["setting"]) for row in rows)
        usable = [setting for setting in settings if self._fits(id, setting, when)]
        if not usable:
            return None
        usable.sort(key=lambda setting: self._order(id, setting))
        chosen, others = usable[0], usable[1:]
        own = [row for row in rows if Setting(row["setting"]) == chosen]
        return {
            "id": id, "when": when, "setting": dict(chosen), **self._entry(chosen),
            "runner_up": {"setting": dict(others[0]), **self._entry(others[0])} if others else {},
            "evidence": {
                "trials": [],
                **{key: self.total([row["evidence"][key] for row in own])
                   for key in ("prompts", "pictures", "human_labels")},
                "held_out": all(row["evidence"]["held_out"] for row in own),
                "studies": len(own), "contradiction": self.found[chosen].contradicts,
            },
        }

    def _entry(self, setting: Setting) -> dict[str, Any]:
        return {"quality": self.found[setting].quality, "cost": self.found[setting].cost}

    def _fits(self, id: str, setting: Setting, when: Row) -> bool:
        found = self.found[setting]
        if found.cost is None:
            return False
        limits = (("max_seconds", "latency_seconds"), ("max_memory_bytes", "peak_memory_bytes"))
        for limit, key in limits:
            if when[limit] is not None and not (found.cost[key] or 0) <= when[limit]:
                return False
        floor = 0.5 if id == "best" else 0.5 - self.books[0]["margin"]
        wished = id in ("best", "fastest-not-worse", "smallest")
        return setting == self.default or not wished or bool(found.quality["low"] > floor)

    def _order(self, id: str, setting: Setting) -> tuple[float, ...]:
        cost: Any = self.found[setting].cost
        first = {"fastest-not-worse": cost["seconds"],
                 "smallest": cost["peak_memory_bytes"] or 0.0}.get(id, 0.0)
        return (first, -self.found[setting].quality["win_rate"], cost["seconds"])

    def effects(self) -> list[dict[str, Any]]:
        """Both ones' effects; those that both have as one."""
        rows = [{effect_key(row): row for row in book["effects"]} for book in self.books]
        found = []
        for key in dict.fromkeys([*rows[0], *rows[1]]):
            told = [part[key] for part in rows if key in part]
            names = [name for part, name in zip(rows, self.names, strict=True) if key in part]
            found.append(self._effect([same_way(row, told[0]) for row in told], names))
        return found

    def _effect(self, rows: list[Row], names: list[str]) -> dict[str, Any]:
        one, contradicts = self._joined([Estimate.of(row) for row in rows])
        verdicts = [row["verdict"] for row in rows]
        sides = [{"when": {"study": name}, **Estimate.of(row).to_dict(), "verdict": row["verdict"]}
                 for name, row in zip(names, rows, strict=True)]
        contradicts = contradicts or set(verdicts) == {"worth it", "harmful"}
        evidence = {**rows[0]["evidence"], "studies": sides, "contradiction": contradicts}
        if contradicts:
            evidence["depends_on"] = {"sides": sides}
        return {**rows[0], **one.to_dict(), "evidence": evidence,
                "verdict": "depends" if contradicts else _verdict(one, verdicts, self.worth)}

    def contradictions(self) -> list[str]:
        """Each one in a line."""
        told = [
            f"{setting_text(setting, self.default)}: win rates "
            + " and ".join(f"{source['win_rate']:.2f} [{source['low']:.2f}, {source['high']:.2f}] "
                           f"({source['study']})" for source in found.quality["scorer"]["sources"])
            for setting, found in self.found.items() if found.contradicts
        ]
        return told + [
            f"{row['knob']} {row['from']} -> {row['to']}: "
            + " and ".join(f"{side['win_rate']:.2f}, {side['verdict']} ({side['when']['study']})"
                           for side in row["evidence"]["studies"])
            for row in self.effects() if row["evidence"]["contradiction"]
        ]

    def listed(self, block: str) -> list[dict[str, Any]]:
        """The rows of a block of either, each with the study it is from; equal ones once."""
        found: list[dict[str, Any]] = []
        for book, name in zip(self.books, self.names, strict=True):
            for row in book[block]:
                told = {key: value for key, value in row.items() if key != "evidence"}
                known = next((one for one in found if told.items() <= one.items()), None)
                if known is not None:
                    known["evidence"] = {**known["evidence"],
                                         "studies": [*known["evidence"]["studies"], name]}
                else:
                    found.append({**told, "evidence": {**row.get("evidence", {}),
                                                       "studies": [name]}})
        return found


def _verdict(one: Estimate, verdicts: Sequence[str], worth: float) -> str:
    """The verdict of a pooled effect; where both agree, theirs."""
    if len(set(verdicts)) == 1:
        return verdicts[0]
    if "depends" in verdicts:
        return "depends"
    if one.low > 0.5 and one.win_rate >= 0.5 + worth:
        return "worth it"
    if one.high < 0.5 and one.win_rate <= 0.5 - worth:
        return "harmful"
    return "not worth it" if "not worth it" in verdicts else "no difference shown"


def merge(a: Rulebook | str | os.PathLike[str], b: Rulebook | str | os.PathLike[str]) -> Rulebook:
    """Return two rulebooks as one, against the first one's default and on its device.

    ``scope.merged`` says what it was made of: ``from``, ``contradictions`` in words, and whether
    defaults or devices differed. Each entry's ``quality.scorer.sources`` has what each one said.

    Args:
        a: a rulebook, or its file or run folder.
        b: another one, of the same model and scorer.

    Raises:
        UserError: they cannot be one; the message says what differs.
    """
    books = [item.data if isinstance(item, Rulebook) else Rulebook.read(item).data
             for item in (a, b)]
    one, other = books
    _refuse(one, other)
    work = _Merge(one, other)
    scopes = [book["scope"] for book in books]
    scope = {
        **scopes[0],
        "prompts": work.total([scope["prompts"] for scope in scopes]),
        "pictures": sum(scope["pictures"] for scope in scopes),
        "seeds": min(scope["seeds"] for scope in scopes),
        "human_labels": max(scope["human_labels"] for scope in scopes),
        "merged": {
            "from": [{**{key: book[key] for key in ("study", "generation", "created")},
                      "device": book["scope"]["device"], "versions": book["scope"]["versions"],
                      "prompts": book["scope"]["prompts"]} for book in books],
            "contradictions": work.contradictions(),
            "weights": "none, for both saw the same prompts: of two intervals the wider"
            if work.same_prompts else "inverse variance of the log odds of each win rate",
            "costs": "of both" if work.same_device else "of the first device alone",
            "defaults": "the same" if work.between is None else "the second's win rates went over "
                        f"by log odds; its default wins {work.between.win_rate:.3f}",
        },
    }
    names = list(dict.fromkeys(book["study"] for book in books))
    return Rulebook.from_data({
        **one, "study": "+".join(names), "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "scope": scope, "recommendations": work.recommendations(), "front": work.front(),
        "effects": work.effects(),
        **{block: work.listed(block) for block in ("plateaus", "equivalent", "avoid")},
    }, "the merged rulebook")


def _constants(book: Row) -> dict[str, float]:
    """What a rulebook's verdicts rest on; the usual value where it does not say."""
    return {**Constants().to_dict(), **book.get("constants", {}),
            "confidence": book["confidence"], "margin": book["margin"]}


def _refuse(one: Row, other: Row) -> None:
    """Refuse what cannot be one rulebook."""
    scopes: list[Mapping[str, Any]] = [one["scope"], other["scope"]]
    for key, why in (("model_digest", "they are rules for different models"),
                     ("scorer", "two judges' win rates are not one figure; rescore one of them")):
        if scopes[0][key] != scopes[1][key]:
            raise UserError(f"merge: scope.{key} differs ({scopes[0][key]!r} against "
                            f"{scopes[1][key]!r}): {why}")
    first, second = map(_constants, (one, other))
    for key, value in first.items():
        if value != second[key]:
            raise UserError(f"merge: {key} differs ({value:g} against {second[key]:g}); distill "
                            "both runs with the same (ldmopt rulebook RUN, or the study's "
                            "[rulebook])")
    if one["default"]["cost"] == other["default"]["cost"] and one["study"] == other["study"]:
        raise UserError(f"merge: both rulebooks are of one run of {one['study']!r}, whose evidence "
                        "would count twice; give two runs")
