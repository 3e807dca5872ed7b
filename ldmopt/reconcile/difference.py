"""What changed from one rulebook to another, and where they contradict each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ldmopt.exports._words import (
    bytes_text,
    condition_text,
    seconds_text,
    setting_text,
    telling,
    win_text,
)
from ldmopt.reconcile.estimates import Estimate
from ldmopt.reconcile.matching import (
    Row,
    changed,
    effect_key,
    measured,
    ratio,
    same_way,
)
from ldmopt.rulebook import Rulebook

SCOPE = ("model", "model_digest", "device", "scorer", "prompts", "seeds", "pictures",
         "human_labels", "versions")
OPPOSED = {frozenset({"worth it", "harmful"})}
"""Verdicts that cannot both be right."""


def diff(a: Rulebook | str | os.PathLike[str], b: Rulebook | str | os.PathLike[str]
         ) -> dict[str, Any]:
    """Compare two rulebooks.

    A contradiction is where each one's win rate lies outside the other's interval, or where one
    verdict is "worth it" and the other "harmful". Win rates are compared where the default, the
    model and the scorer are the same; seconds and memory where the device is.

    Args:
        a: the older one, or its file or run folder.
        b: the newer one.

    Returns:
        JSON data: ``scope`` and ``default`` (what differs), ``comparable`` (``win_rates`` and
        ``costs``, each with the reasons against), ``recommendations``, ``settings`` (those that
        both measured), ``effects``, ``avoid``, ``contradictions`` (how many). Pairs are ``[a, b]``.

    Raises:
        UserError: a file is no rulebook.
    """
    one, other = (item.data if isinstance(item, Rulebook) else Rulebook.read(item).data
                  for item in (a, b))
    default = changed(one["default"]["setting"], other["default"]["setting"])
    scope = {key: [one["scope"].get(key), other["scope"].get(key)] for key in SCOPE
             if one["scope"].get(key) != other["scope"].get(key)}
    wins: list[str] = [key for key in ("model_digest", "scorer") if key in scope]
    wins += ["default"] if default else []
    costs = [key for key in ("model_digest", "device") if key in scope]
    found: dict[str, Any] = {
        "a": _name(one), "b": _name(other), "scope": scope, "default": default,
        "comparable": {"win_rates": not wins, "costs": not costs,
                       "but": {"win_rates": wins, "costs": costs}},
        "recommendations": list(_recommendations(one, other, not wins, not costs)),
        "settings": list(_settings(one, other, not wins, not costs)),
        # An effect compares values with each other, whatever the default is.
        "effects": list(_effects(one, other, "model_digest" not in scope)),
        "avoid": _avoid(one, other),
    }
    found["contradictions"] = sum(row["contradicts"] for part in ("settings", "effects")
                                  for row in found[part])
    return found


def _name(book: Row) -> dict[str, Any]:
    return {key: book[key] for key in ("study", "generation", "created", "ldmopt_version")}


def _figures(one: Row, other: Row, wins: bool, costs: bool) -> dict[str, Any]:
    """Both measurements of a setting, or of two recommendations of one name."""
    qualities = [Estimate.of(row["quality"]) for row in (one, other)]
    pairs = {key: [row["cost"][key] for row in (one, other)]
             for key in ("seconds", "peak_memory_bytes")}
    return {
        "quality": [quality.to_dict() for quality in qualities], **pairs,
        "seconds_ratio": ratio(*pairs["seconds"]) if costs else None,
        "memory_ratio": ratio(*pairs["peak_memory_bytes"]) if costs else None,
        "contradicts": wins and qualities[0].contradicts(qualities[1]),
    }


def _recommendations(one: Row, other: Row, wins: bool, costs: bool) -> Iterator[dict[str, Any]]:
    rows = [{row["id"]: row for row in book["recommendations"]} for book in (one, other)]
    for id in dict.fromkeys([*rows[0], *rows[1]]):
        old, new = rows[0].get(id), rows[1].get(id)
        if old is None or new is None:
            kept = old or new or {}
            yield {"id": id, "status": "gone" if new is None else "new",
                   "setting": kept["setting"]}
            continue
        turned = changed(old["setting"], new["setting"])
        yield {"id": id, "status": "other setting" if turned else "same setting",
               "changed": turned, **_figures(old, new, wins, costs)}


def _settings(one: Row, other: Row, wins: bool, costs: bool) -> Iterator[dict[str, Any]]:
    mine, theirs = measured(one), measured(other)
    for setting, row in mine.items():
        if setting in theirs:
            yield {"setting": dict(setting), **_figures(row, theirs[setting], wins, costs)}


def _effects(one: Row, other: Row, same_model: bool) -> Iterator[dict[str, Any]]:
    rows = [{effect_key(row): row for row in book["effects"]} for book in (one, other)]
    for key in dict.fromkeys([*rows[0], *rows[1]]):
        old, new = rows[0].get(key), rows[1].get(key)
        row = old or new or {}
        told = {name: row[name] for name in ("knob", "from", "to", "given")}
        if old is None or new is None:
            yield {**told, "status": "gone" if new is None else "new", "contradicts": False,
                   "verdict": [old and old["verdict"], new and new["verdict"]]}
            continue
        new = same_way(new, old)
        both = [Estimate.of(old), Estimate.of(new)]
        verdicts = [old["verdict"], new["verdict"]]
        yield {
            **told, "status": "same" if verdicts[0] == verdicts[1] else "changed",
            "verdict": verdicts, "quality": [item.to_dict() for item in both],
            "seconds_ratio": [old["seconds_ratio"], new["seconds_ratio"]],
            "contradicts": same_model and (both[0].contradicts(both[1])
                                           or frozenset(verdicts) in OPPOSED),
        }


def _avoid(one: Row, other: Row) -> dict[str, list[Any]]:
    rows = [[row["when"] for row in book["avoid"]] for book in (one, other)]
    return {"gone": [when for when in rows[0] if when not in rows[1]],
            "new": [when for when in rows[1] if when not in rows[0]]}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Say in lines what `diff` found."""
    a, b = found["a"], found["b"]
    yield f"a: {a['study']}, generation {a['generation']}, {a['created']}"
    yield f"b: {b['study']}, generation {b['generation']}, {b['created']}"
    for key, pair in found["scope"].items():
        yield f"{key}: " + ("differ" if key == "versions" else f"{pair[0]} -> {pair[1]}")
    for what, words in (("win_rates", "win rates"), ("costs", "seconds and memory")):
        if not found["comparable"][what]:
            why = " and ".join(found["comparable"]["but"][what])
            yield f"{words} cannot be compared: another {why}"
    if found["default"]:
        yield f"default: {_changes(found['default'])}"
    for row in found["recommendations"]:
        yield f"{row['id']}: {_recommended(row)}"
    for row in found["settings"]:
        if row["contradicts"]:
            yield f"CONTRADICTION: {setting_text(telling(row['setting'], ()))}: {_wins(row)}"
    for row in found["effects"]:
        if row["contradicts"] or row["status"] != "same":
            yield _effect(row)
    for status, rows in found["avoid"].items():
        yield from (f"avoid, {status}: {condition_text(when)}" for when in rows)
    yield (f"{found['contradictions']} contradictions among {len(found['settings'])} settings "
           f"that both measured and {sum('quality' in row for row in found['effects'])} effects")


def _changes(turned: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {pair[0]} -> {pair[1]}" for name, pair in turned.items())


def _wins(row: Mapping[str, Any]) -> str:
    return " -> ".join(map(win_text, row["quality"]))


def _recommended(row: Mapping[str, Any]) -> str:
    if row["status"] in ("gone", "new"):
        return f"{row['status']} ({setting_text(telling(row['setting'], ()))})"
    turned = _changes(row["changed"]) or "same setting"
    costs = [" -> ".join(map(text, row[name]))
             for name, text in (("seconds", seconds_text), ("peak_memory_bytes", bytes_text))
             if any(value is not None for value in row[name])]
    mark = " CONTRADICTION" if row["contradicts"] and not row["changed"] else ""
    return "; ".join([turned, f"win rate {_wins(row)}", *costs]) + mark


def _effect(row: Mapping[str, Any]) -> str:
    given = f" ({condition_text(row['given'])})" if row["given"] else ""
    head = f"effect {row['knob']} {row['from']} -> {row['to']}{given}: "
    if "quality" not in row:
        return head + f"{row['status']}: {row['verdict'][0] or row['verdict'][1]}"
    mark = " CONTRADICTION" if row["contradicts"] else ""
    return head + f"{row['verdict'][0]} -> {row['verdict'][1]}; {_wins(row)}{mark}"
