"""Checks JSON data against a JSON Schema, in a few milliseconds and without an import.

Covers the part of JSON Schema 2020-12 that ldmopt's own schemas use; a schema with any other
keyword is refused, so nothing is ever skipped in silence. The `jsonschema` package takes 0.2 s to
import, as long as all the rest of `ldmopt recommend`; the tests hold both to the same answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_ANNOTATIONS = {"$schema", "$defs", "title", "description"}
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def first_fault(data: object, schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong first, as ``where: what``, or None when the data fits.

    Raises:
        ValueError: the schema uses a keyword that is not covered.
    """
    return next(_faults(data, schema, schema, ""), None)


def _faults(
    data: object, schema: Mapping[str, Any], root: Mapping[str, Any], where: str
) -> Iterator[str]:
    """Yield every fault of a value, depth first."""
    for keyword, rule in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword == "$ref":
            yield from _faults(data, root["$defs"][rule.rsplit("/", 1)[1]], root, where)
        elif keyword == "anyOf":
            yield from _any_of(data, rule, root, where)
        elif keyword in ("properties", "required", "additionalProperties"):
            if isinstance(data, dict):
                yield from _member_faults(keyword, data, schema, root, where)
        elif keyword == "items":
            if isinstance(data, list):
                for index, item in enumerate(data):
                    yield from _faults(item, rule, root, f"{where}[{index}]")
        else:
            fault = _plain_fault(keyword, rule, data)
            if fault:
                yield f"{where or 'the file'} {fault}"


def _any_of(
    data: object, rules: Sequence[Mapping[str, Any]], root: Mapping[str, Any], where: str
) -> Iterator[str]:
    """The data must fit one of the rules; else the fault that lies deepest is told."""
    found = []
    for rule in rules:
        fault = next(_faults(data, rule, root, where), None)
        if fault is None:
            return
        found.append(fault)
    yield max(found, key=len)


def _member_faults(
    keyword: str,
    data: Mapping[str, Any],
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    where: str,
) -> Iterator[str]:
    """Faults of an object's members."""
    properties = schema.get("properties", {})
    if keyword == "required":
        for name in schema["required"]:
            if name not in data:
                yield f"{where or 'the file'} lacks {name!r}"
        return
    for name, value in data.items():
        path = f"{where}.{name}" if where else name
        if keyword == "properties" and name in properties:
            yield from _faults(value, properties[name], root, path)
        elif keyword == "additionalProperties" and name not in properties:
            if schema[keyword] is False:
                yield f"{path} is not a key that is known here"
            elif schema[keyword] is not True:
                yield from _faults(value, schema[keyword], root, path)


def _plain_fault(keyword: str, rule: Any, data: object) -> str | None:
    """What is wrong with a single value, or None."""
    number = isinstance(data, int | float) and not isinstance(data, bool)
    if keyword == "type":
        kinds = [rule] if isinstance(rule, str) else rule
        if not any(_is(data, kind) for kind in kinds):
            return f"must be {' or '.join(kinds)}, got {_shown(data)}"
    elif keyword == "enum":
        if data not in rule:
            return f"must be one of {', '.join(map(repr, rule))}, got {_shown(data)}"
    elif keyword == "const":
        if data != rule or isinstance(data, bool) != isinstance(rule, bool):
            return f"must be {rule!r}, got {_shown(data)}"
    elif keyword == "minimum":
        if number and not data >= rule:
            return f"must be at least {rule}, got {_shown(data)}"
    elif keyword == "maximum":
        if number and not data <= rule:
            return f"must be at most {rule}, got {_shown(data)}"
    elif keyword == "minLength":
        if isinstance(data, str) and len(data) < rule:
            return "must not be empty"
    elif keyword == "minItems":
        if isinstance(data, list) and len(data) < rule:
            return f"must hold at least {rule} items, got {len(data)}"
    else:
        raise ValueError(f"the schema keyword {keyword!r} is not covered")
    return None


def _is(data: object, kind: str) -> bool:
    """JSON types: a boolean is no number, 3.0 is an integer, infinity is nothing."""
    if isinstance(data, bool):
        return kind == "boolean"
    if isinstance(data, float) and not math.isfinite(data):
        return False
    if kind == "integer":
        return isinstance(data, int) or (isinstance(data, float) and data.is_integer())
    return isinstance(data, _TYPES[kind])


def _shown(data: object) -> str:
    """A value, short enough for one line."""
    text = repr(data)
    return text if len(text) <= 40 else text[:37] + "..."
