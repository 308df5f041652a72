# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find mistakes in an expression that JMESPath does not see: to it, a misspelled field is one that is null.

An expression is followed through the facts that it is about. A field is unknown if values are there and none has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from ..values.words import did_you_mean, listed

_Node = Mapping[str, Any]
_Values = Sequence[Any]

_LITERALS = "write text in single quotes, and numbers, true, false and null in backticks, such as `0`"
#: Facts whose keys are names of the user's or of checks, so that any may be right.
_OPEN = ("noted_waivers",)
_WORDS = {"true": "`true`", "false": "`false`", "null": "`null`"}
#: Functions whose result is their list, or a part of it.
_OF_THEIR_LIST = ("sort", "sort_by", "reverse", "to_array", "not_null")
_ONE_OF_THEIR_LIST = ("max_by", "min_by", "max", "min")
#: So many fields are listed in a message.
_FEW = 12
_JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", str: "text"}


class Mistake(ValueError):
    """An expression cannot mean what its author wants; the text says why, without full stop."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


def check_fields(parsed: _Node, facts: Sequence[Any]) -> None:
    """Check the fields that a parsed expression reads of these facts. Raises Mistake at the first that is unknown."""
    _values_of(parsed, [list(facts)])


def advice_on_syntax(expression: str) -> str:
    """Advise on an expression that cannot be parsed; empty if nothing is known to help."""
    without_literals = re.sub(r"`[^`]*`|'[^']*'", "''", expression)
    if re.search(r"[^=!<>]=[^=]", without_literals):
        return "write == to compare"
    return _LITERALS if re.search(r"[=<>]\s*-?[0-9]", without_literals, re.ASCII) else ""


def _values_of(node: _Node, of: _Values) -> list[Any]:
    """Return the values that a part of an expression can have, where it is applied to each of `of`."""
    read = _READERS.get(node["type"])
    if read is not None:
        return read(node, of)
    found = [_values_of(child, of) for child in node["children"] if isinstance(child, Mapping)]
    every = [value for values in found for value in values]
    if node["type"] in ("or_expression", "and_expression"):
        return every
    return [every] if node["type"] in ("multi_select_list", "key_val_pair") else []


def _chained(node: _Node, of: _Values) -> list[Any]:
    first, second = node["children"]
    return _values_of(second, _values_of(first, of))


def _projected(node: _Node, of: _Values) -> list[Any]:
    left, right, *condition = node["children"]
    values = _values_of(left, of)
    items = _items([list(value.values()) if isinstance(value, dict) else value for value in values])
    for part in condition:
        _values_of(part, items)
    return [_values_of(right, items)]


def _flattened(node: _Node, of: _Values) -> list[Any]:
    items = _items(_values_of(node["children"][0], of))
    return [[*(item for item in items if not isinstance(item, list)), *_items(items)]]


def _field(node: _Node, of: _Values) -> list[Any]:
    name, there = node["value"], [value for value in of if value is not None]
    if name in _OPEN:
        return []
    records = [value for value in there if isinstance(value, dict)]
    found = [value[name] for value in records if name in value]
    if there and not found and not (records and not any(records)):
        raise _unknown(name, there, records)
    return found


def _unknown(name: str, there: _Values, records: Sequence[Mapping[str, Any]]) -> Mistake:
    if name in _WORDS:
        return Mistake(f"{name} is the name of a field there, not a literal", f"write {_WORDS[name]}")
    known = dict.fromkeys(key for record in records for key in record)
    if known:
        advice = did_you_mean(name, known, f"{_fields(known)}; {_LITERALS}")
        return Mistake(f"no device has the field {name!r}" if "address" in known else f"{name!r} is no field", advice)
    what = "a list" if any(isinstance(value, list) for value in there) else "no dictionary"
    advice = "write [?...] to choose from a list, [] for each of its elements"
    return Mistake(f"{name!r} is read as a field of what is {what}", advice)


def _fields(known: Collection[str]) -> str:
    return f"the fields are {listed(known)}" if len(known) <= _FEW else "xen.pci.host_info returns all fields"


def _compared(node: _Node, of: _Values) -> list[Any]:
    """Check what is compared: a word without quotes is a field, and a number is never equal to text."""
    sides = [[] if _is_null(child) else _values_of_operand(child, of) for child in node["children"]]
    for child, compared in zip(reversed(node["children"]), sides):
        literal = child.get("value")
        types = {known for value in compared if (known := _type(value)) is not None}
        if child["type"] == "literal" and types and _type(literal) not in {*types, None}:
            reason = f"{literal!r} is {_type(literal)}, and it is compared with what is {' or '.join(sorted(types))}"
            raise Mistake(reason, _LITERALS)
    return []


def _is_null(node: _Node) -> bool:
    """Whether it is the word null without backticks, a field that nothing has: what its author wants."""
    return bool(node["type"] == "field" and node["value"] == "null")


def _values_of_operand(node: _Node, of: _Values) -> list[Any]:
    try:
        return _values_of(node, of)
    except Mistake as error:
        if node["type"] != "field" or node["value"] in _WORDS or "did you mean" in error.advice:
            raise
        raise Mistake(f"{node['value']!r} is the name of a field there, not text", _LITERALS) from error


def _type(value: Any) -> str | None:
    return _JSON_TYPES.get(type(value))


def _called(node: _Node, of: _Values) -> list[Any]:
    """Follow a function: what it does with each element of a list, and its result if that is the list or one of it."""
    arguments = node["children"]
    values = [_values_of(argument, of) for argument in arguments if argument["type"] != "expref"]
    for argument in arguments:
        if argument["type"] == "expref":
            _values_of(argument["children"][0], _items(value for found in values for value in found))
    if node["value"] in _OF_THEIR_LIST and values:
        return values[0]
    return _items(values[0]) if node["value"] in _ONE_OF_THEIR_LIST and values else []


def _items(values: Iterable[Any]) -> list[Any]:
    return [item for value in values if isinstance(value, list) for item in value]


_READERS: Mapping[str, Callable[[_Node, _Values], list[Any]]] = {
    **dict.fromkeys(("current", "identity", "slice"), lambda _node, of: list(of)),
    **dict.fromkeys(("subexpression", "pipe", "index_expression"), _chained),
    **dict.fromkeys(("projection", "value_projection", "filter_projection"), _projected),
    "field": _field,
    "index": lambda _node, of: _items(of),
    "flatten": _flattened,
    "comparator": _compared,
    "function_expression": _called,
}
