# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read xl's domain configurations (xl.cfg) as xl reads them, and change single settings in their text.

A change leaves every other byte as it is. The grammar is that of Xen's tools/libs/util/libxlu_cfg_l.l and
libxlu_cfg_y.y. What xl would refuse is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..values.errors import XenPciError

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+)
    | (?P<newline>\n|\#[^\n]*\n)
    | (?P<name>[a-z][._0-9a-z]*)
    | (?P<number>[0-9][0-9a-fx]*)
    | (?P<string>'(?:[^'\\\n]|\\[^\n])*'|"(?:[^"\\\n]|\\[^\n])*")
    | (?P<mark>\+=|[,\[\]=;])""",
    re.VERBOSE | re.ASCII,
)
_ATOMS = ("string", "number")
#: Lists within lists are read to this depth. xl's parser has a limit, too; no setting needs more than two.
_DEEPEST = 20
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", '"': '"', "\\": "\\"}
_INDENT = "    "


class XlConfigError(XenPciError, ValueError):
    """The text is not a configuration that can be changed safely; the message says where and why."""


@dataclass(frozen=True)
class Value:
    """A value and its place in the text: an atom with its text as written, or a list with its items and commas."""

    start: int
    end: int
    atom: str | None = None
    items: tuple[Value, ...] = ()
    commas: tuple[int, ...] = ()

    @property
    def is_list(self) -> bool:
        """Whether the value is a list, written in brackets."""
        return self.atom is None


@dataclass(frozen=True)
class Setting:
    """One `name = value`; `line` counts from 1."""

    name: str
    value: Value
    line: int


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    line: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def parse(text: str) -> tuple[Setting, ...]:
    """Read all settings in their order. Raises XlConfigError."""
    return tuple(_Parser(text).settings())


def string_of(atom: str) -> str:
    """Read the string or number that an atom means. Raises XlConfigError for an escape by number.

    xl itself reads such escapes wrongly.
    """
    if atom[:1] not in ("'", '"'):
        return atom
    inside = atom[1:-1]
    unknown = next((match[0] for match in _ESCAPE.finditer(inside) if match[1] not in _ESCAPES), None)
    if unknown is not None:
        raise XlConfigError(f"{atom} has the escape {unknown}, which xl reads wrongly; write the character itself")
    return _ESCAPE.sub(lambda match: _ESCAPES[match[1]], inside)


def with_value(text: str, setting: Setting, written: str) -> str:
    """Return the text with another value of a setting."""
    return text[: setting.value.start] + written + text[setting.value.end :]


def with_setting(text: str, name: str, written: str) -> str:
    """Return the text with one more setting, on a line of its own at the end."""
    separator = "" if not text or text.endswith("\n") else "\n"
    return f"{text}{separator}{name} = {written}\n"


def with_item(text: str, listed: Value, written: str) -> str:
    """Return the text with one more item at the end of a list, laid out as the last item is."""
    if not listed.items:
        inside = text[listed.start + 1 : listed.end - 1]
        if not inside.strip(" \t"):
            return f"{text[: listed.start]}[{written}]{text[listed.end :]}"
        return f"{text[: listed.start + 1]}\n{_INDENT}{written},{text[listed.start + 1 :]}"
    last = listed.items[-1]
    comma = listed.commas[-1] if len(listed.commas) == len(listed.items) else None
    begin, end = _line(text, last)
    if not _is_alone(text, last, comma) or (comma is not None and comma >= end):
        return f"{text[: last.end]}, {written}{text[last.end :]}"
    indent, after = text[begin : last.start], "" if comma is None else ","
    separator = "," if comma is None else ""
    return f"{text[: last.end]}{separator}{text[last.end : end]}{indent}{written}{after}\n{text[end:]}"


def with_other_item(text: str, item: Value, written: str) -> str:
    """Return the text with another text in the place of an item."""
    return text[: item.start] + written + text[item.end :]


def without_item(text: str, listed: Value, index: int) -> str:
    """Return the text without an item of a list; a line that has only this item goes with its comment."""
    item = listed.items[index]
    follows = index < len(listed.commas)
    comma = listed.commas[index] if follows else listed.commas[index - 1] if index else None
    cuts = [_line(text, item)] if _is_alone(text, item, comma) else [_with_blanks(text, item, follows)]
    if comma is not None and not any(begin <= comma < end for begin, end in cuts):
        cuts.append((comma, comma + 1))
    for begin, end in sorted(cuts, reverse=True):
        text = text[:begin] + text[end:]
    return text


def _line(text: str, item: Value) -> tuple[int, int]:
    """Find the begin and the end of an item's line; a line ends after its line feed."""
    return text.rfind("\n", 0, item.start) + 1, (text.find("\n", item.end) + 1) or len(text)


def _is_alone(text: str, item: Value, comma: int | None) -> bool:
    """Whether the item's line has only the item, its comma and a comment."""
    begin, end = _line(text, item)
    before, after = text[begin : item.start], text[item.end : end]
    if comma is not None and begin <= comma < item.start:
        before = before[: comma - begin] + before[comma - begin + 1 :]
    if comma is not None and item.end <= comma < end:
        after = after[: comma - item.end] + after[comma - item.end + 1 :]
    return not before.strip(" \t") and re.fullmatch(r"[ \t]*(#[^\n]*)?\n", after) is not None


def _with_blanks(text: str, item: Value, comma_follows: bool) -> tuple[int, int]:
    """Find the begin and the end of an item with its comma and with the blanks that are not needed without it."""
    before = re.search(r"(?:,[ \t]*|[ \t]*)\Z" if not comma_follows else r"[ \t]*\Z", text[: item.start])
    begin = before.start() if before is not None else item.start
    comma = re.match(r"[ \t]*,", text[item.end :]) if comma_follows else None
    end = item.end + comma.end() if comma is not None else item.end
    if comma_follows and (begin == item.start or text[begin - 1 : begin] in ("", "\n")):
        blanks = re.match(r"[ \t]*", text[end:])
        return item.start, end + (blanks.end() if blanks is not None else 0)
    return begin, end


class _Parser:
    """Reads one text; `_at` is the index of the next token, blanks left out."""

    def __init__(self, text: str) -> None:
        self._tokens = [token for token in _tokens(text) if token.kind != "blank"]
        self._at = 0

    def settings(self) -> Iterator[Setting]:
        while (token := self._next()) is not None:
            if token.kind == "newline" or token.text == ";":
                continue
            if token.kind != "name":
                raise _misplaced(token, "a setting begins with its name")
            equals = self._next()
            if equals is None or equals.text not in ("=", "+="):
                raise _misplaced(equals or token, f"after {token.text} there must be = and a value")
            yield Setting(token.text, self._value(token, 0), token.line)
            end = self._next()
            if end is not None and end.kind != "newline" and end.text != ";":
                raise _misplaced(end, f"the setting {token.text} should have ended before it")

    def _next(self) -> _Token | None:
        if self._at == len(self._tokens):
            return None
        self._at += 1
        return self._tokens[self._at - 1]

    def _value(self, owner: _Token, depth: int) -> Value:
        token = self._next()
        if token is not None and token.kind in _ATOMS:
            return Value(token.start, token.end, token.text)
        if token is None or token.text != "[" or depth == _DEEPEST:
            raise _misplaced(token or owner, f"{owner.text} needs a string, a number or a list")
        items: list[Value] = []
        commas: list[int] = []
        while (end := self._past_newlines(owner)).text != "]":
            if len(items) > len(commas):
                if end.text != ",":
                    raise _misplaced(end, f"items of {owner.text} are separated by commas")
                commas.append(end.start)
                continue
            self._at -= 1
            items.append(self._value(owner, depth + 1))
        return Value(token.start, end.end, None, tuple(items), tuple(commas))

    def _past_newlines(self, owner: _Token) -> _Token:
        """Return the next token in a list, where lines may end anywhere."""
        while (token := self._next()) is not None:
            if token.kind != "newline":
                return token
        raise XlConfigError(f"line {owner.line}: the list of {owner.text} has no end")


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            rest = text[at:].partition("\n")[0]
            why = "the comment at the end needs a line feed" if rest.startswith("#") else "xl does not understand it"
            raise XlConfigError(f"line {line}: {rest[:40]!r}: {why}")
        yield _Token(str(match.lastgroup), match[0], at, line)
        at, line = match.end(), line + match[0].count("\n")


def _misplaced(token: _Token, why: str) -> XlConfigError:
    found = "the end of the line" if token.kind == "newline" else token.text
    return XlConfigError(f"line {token.line}: {found!r} is out of place: {why}")
