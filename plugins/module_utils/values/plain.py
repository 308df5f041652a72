# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write our data as plain values, which are those of JSON; the same data is always written in the same way."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from operator import itemgetter
from typing import Any

from .address import GuestAddress, Sbdf

#: Prefix of text that JSON cannot carry as it is, such as the content of a file that is not UTF-8.
_ENCODED = "base64:"


def plain(value: Any) -> Any:
    """Write a value as objects (dict), lists, text, numbers, booleans and None.

    Data classes and mappings become objects, mappings in the order of their keys. Tuples and sets become lists, sets in
    sorted order. Addresses become text, and members of enumerations words.
    """
    kind: Any = type(value)
    return _writer(kind)(value)


def word(member: Enum) -> str:
    """Write a member of an enumeration: its value if that is text, else its name."""
    return member.value if isinstance(member.value, str) else member.name.lower()


def text(value: str) -> str:
    """Write text as it is if it is valid Unicode, else as base64; `untext` reads it back."""
    if value.isascii() and not value.startswith(_ENCODED):
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return _ENCODED + b64encode(value.encode("utf-8", "surrogatepass")).decode()
    return value if not value.startswith(_ENCODED) else _ENCODED + b64encode(value.encode()).decode()


def untext(written: str) -> str:
    """Read back what `text` has written. Raises ValueError if that cannot have written it."""
    if not written.startswith(_ENCODED):
        return written
    return b64decode(written[len(_ENCODED) :], validate=True).decode("utf-8", "surrogatepass")


@cache
def _writer(kind: type) -> Callable[[Any], Any]:
    """Choose the function that writes values of exactly this type."""
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if is_dataclass(kind):
        names = [field.name for field in fields(kind)]
        return lambda value: {name: plain(getattr(value, name)) for name in names}
    for base, write in _BY_BASE.items():
        if issubclass(kind, base):
            return write
    raise TypeError(f"{kind.__name__} has no plain form")


def _as_it_is(value: Any) -> Any:
    return value


def _object(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {text(str(key)): plain(part) for key, part in sorted(value.items(), key=itemgetter(0))}


def _list(value: Iterable[Any]) -> list[Any]:
    return [plain(part) for part in value]


def _sorted(value: Iterable[Any]) -> list[Any]:
    return sorted(map(plain, value))


_SIMPLE: Mapping[type, Callable[[Any], Any]] = {
    bool: _as_it_is,
    int: _as_it_is,
    type(None): _as_it_is,
    str: text,
    Sbdf: str,
    GuestAddress: str,
}
_BY_BASE: Mapping[type, Callable[[Any], Any]] = {
    Enum: word,
    Mapping: _object,
    tuple: _list,
    list: _list,
    frozenset: _sorted,
}
