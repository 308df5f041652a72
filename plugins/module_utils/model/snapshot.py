# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an observed host as a JSON document, and read it: a plan made from it equals the plan made on the host.

The document follows the types of the model field by field, so no type needs code of its own. It is read strictly: a
missing or unknown field, or a value of another type, is an error that says where.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from operator import itemgetter
from typing import Any

from ..values.address import AddressError, GuestAddress, Sbdf
from ..values.errors import XenPciError
from ..values.plain import plain, untext, word
from .host import Host

#: To be raised when an old document could be misread: when a field is added, removed or changes its meaning.
SCHEMA = 1

_Reader = Callable[[Any], Any]


class SnapshotError(XenPciError):
    """The document is not a snapshot of a host; the text says what is wrong with it, and where."""

    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(f"the snapshot cannot be read: {f'{where}: ' if where else ''}{problem}")
        self.problem = problem
        self.where = where


def to_json(host: Host) -> dict[str, Any]:
    """Write the host as a document for `json.dumps`."""
    return {"schema": SCHEMA, "host": plain(host)}


def from_json(document: Any) -> Host:
    """Read the host from a document that `json.loads` has read. Raises SnapshotError."""
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA or isinstance(schema, bool):
        raise SnapshotError(
            f"its schema is {schema!r}, and this version of xen.pci reads schema {SCHEMA}; take the snapshot with the"
            " version that is to read it"
        )
    _expect(document.keys() == {"schema", "host"}, "an object with the keys schema and host", document)
    try:
        host: Host = _inside(_of_class(Host), document["host"], "", "host")
    except RecursionError:
        raise SnapshotError("it is nested too deeply") from None
    return host


def _inside(reader: _Reader, value: Any, mark: str, step: object) -> Any:
    """Read a part; an error in it says where the part is: `.name` or `[key]`."""
    try:
        return reader(value)
    except SnapshotError as error:
        raise SnapshotError(error.problem, f"{mark}{step}{']' if mark == '[' else ''}{error.where}") from None


def _expect(fits: bool, what: str, value: Any) -> None:
    if not fits:
        raise SnapshotError(f"{repr(value)[:80]} is not {what}")


def _text(value: Any) -> str:
    _expect(isinstance(value, str), "text", value)
    try:
        return untext(value)
    except ValueError as error:
        raise SnapshotError(f"{value[:80]!r} is not text in base64") from error


def _integer(value: Any) -> int:
    _expect(isinstance(value, int) and not isinstance(value, bool), "a whole number", value)
    return int(value)


def _boolean(value: Any) -> bool:
    _expect(isinstance(value, bool), "true or false", value)
    return bool(value)


def _number_key(value: str) -> int:
    number = int(value) if value.isascii() and value.lstrip("-").isdecimal() else None
    _expect(str(number) == value, "a whole number in decimal", value)
    return number or 0


def _address(kind: type[Sbdf] | type[GuestAddress]) -> _Reader:
    """Make the function that reads addresses, only in the form in which they are written, so that each has one key."""

    def read(value: Any) -> Sbdf | GuestAddress:
        try:
            address = kind.parse(value if isinstance(value, str) else "")
        except AddressError as error:
            raise SnapshotError(f"{repr(value)[:80]} is not an address") from error
        _expect(str(address) == value, "an address as it is written here", value)
        return address

    return read


def _member(kind: type[Enum]) -> _Reader:
    members = {word(member): member for member in kind}
    what = f"one of {', '.join(members)}"

    def read(value: Any) -> Enum:
        _expect(isinstance(value, str) and value in members, what, value)
        return members[value]

    return read


def _optional(reader: _Reader) -> _Reader:
    return lambda value: None if value is None else reader(value)


def _items(reader: _Reader, value: Any) -> list[Any]:
    _expect(isinstance(value, list), "a list", value)
    return [_inside(reader, item, "[", at) for at, item in enumerate(value)]


def _tuple(readers: list[_Reader]) -> _Reader:
    def read(value: Any) -> tuple[Any, ...]:
        _expect(isinstance(value, list) and len(value) == len(readers), "a list of the right length", value)
        return tuple(_inside(reader, item, "[", at) for at, (reader, item) in enumerate(zip(readers, value)))

    return read


def _set(reader: _Reader) -> _Reader:
    def read(value: Any) -> frozenset[Any]:
        found = frozenset(_items(reader, value))
        _expect(len(found) == len(value), "a list without repetitions", value)
        return found

    return read


def _mapping(key: _Reader, reader: _Reader) -> _Reader:
    """Make the function that reads a mapping, in the order of its keys as the model has it.

    The document may have been sorted as text on its way.
    """

    def read(value: Any) -> dict[Any, Any]:
        _expect(isinstance(value, dict), "an object", value)
        found = [
            (_inside(key, written, "[", written), _inside(reader, part, "[", written))
            for written, part in value.items()
        ]
        return dict(sorted(found, key=itemgetter(0)))

    return read


@cache
def _of_class(kind: type) -> _Reader:
    """Make the function that reads values of a class of the model."""
    direct: dict[type, _Reader] = {str: _text, int: _integer, bool: _boolean}
    if kind in direct:
        return direct[kind]
    if kind in (Sbdf, GuestAddress):
        return _address(kind)
    return _member(kind) if issubclass(kind, Enum) else lambda value: _object(kind, value)


def _object(kind: type, value: Any) -> Any:
    readers = _fields(kind)
    _expect(isinstance(value, dict), "an object", value)
    if value.keys() != readers.keys():
        wrong = [f"{name} is missing" for name in sorted(readers.keys() - value.keys())]
        wrong += [f"{name} is unknown" for name in sorted(map(str, value.keys() - readers.keys()))]
        raise SnapshotError(", ".join(wrong))
    return kind(**{name: _inside(reader, value[name], ".", name) for name, reader in readers.items()})


@cache
def _fields(kind: type) -> Mapping[str, _Reader]:
    names = {**vars(builtins), **vars(sys.modules[kind.__module__])}
    return {field.name: _of_hint(ast.parse(str(field.type), mode="eval").body, names) for field in fields(kind)}


def _of_hint(hint: ast.expr, names: Mapping[str, Any]) -> _Reader:
    """Make the function that reads values of an annotated type; Python 3.9 itself cannot evaluate `X | None`."""
    if isinstance(hint, ast.BinOp):
        return _optional(_of_hint(hint.left, names))
    if isinstance(hint, ast.Subscript):
        inner = hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]
        parts = [_of_hint(part, names) for part in inner if not isinstance(part, ast.Constant)]
        kind = names[ast.unparse(hint.value)]
        if kind is Mapping:
            return _mapping(_number_key if parts[0] is _integer else parts[0], parts[1])
        if kind is frozenset:
            return _set(parts[0])
        return _tuple(parts) if len(parts) == len(inner) else lambda value: tuple(_items(parts[0], value))
    return _of_class(names[ast.unparse(hint)])
