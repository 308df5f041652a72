# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Divide shell text into words and operators, as POSIX's token recognition does, without expanding anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .errors import XenPciError

_OPERATORS = (";;", "&&", "||", "<<", ";", "&", "|", "(", ")")
_BLANKS = " \t\r"
#: What joins a line to the next one.
_CONTINUED = "\\\n"
_CLOSING = {"{": "}", "(": ")"}


class ShellError(XenPciError, ValueError):
    """The text is not shell that ends where it should."""


@dataclass(frozen=True)
class Token:
    """A word with all its quotes, an operator, or the end of a line (`\\n`), and the line that it is on."""

    text: str
    line: int
    operator: bool = False


def tokens(text: str) -> Iterator[Token]:
    """Yield all tokens but redirections, which change no variable. Raises ShellError."""
    at, line = 0, 1
    while at < len(text):
        char = text[at]
        if char in _BLANKS:
            at += 1
        elif text.startswith(_CONTINUED, at):
            line += 1
            at += len(_CONTINUED)
        elif char == "#":
            at = _until(text, at, "\n", len(text))
        elif char == "\n":
            yield Token("\n", line, True)
            line += 1
            at += 1
        elif (end := _redirection(text, at)) is not None:
            at = end
        elif operator := next((one for one in _OPERATORS if text.startswith(one, at)), ""):
            if operator == "<<":
                raise ShellError(f"line {line} begins a here-document")
            yield Token(operator, line, True)
            at += len(operator)
        else:
            end = _word_end(text, at, line)
            word = text[at:end]
            yield Token(word, line)
            line += word.count("\n")
            at = end
    yield Token("\n", line, True)


def _until(text: str, at: int, what: str, missing: int) -> int:
    found = text.find(what, at)
    return missing if found < 0 else found


def _redirection(text: str, at: int) -> int | None:
    """Find the end of a redirection that begins here, with its target; None if none does."""
    end = at
    while end < len(text) and text[end].isdigit():
        end += 1
    if text.startswith("<<", end) or text[end : end + 1] not in ("<", ">"):
        return None
    while text[end : end + 1] in ("<", ">", "&", "|") or text[end : end + 1] in tuple(_BLANKS):
        end += 1
    return _word_end(text, end, 0)


def _word_end(text: str, at: int, line: int) -> int:
    while at < len(text) and text[at] not in f"{_BLANKS}\n;&|()<>":
        at = skip(text, at, line)
    return at


def skip(text: str, at: int, line: int = 0) -> int:
    """Find the end of what begins here: a quotation, an expansion, an escaped character, or a character."""
    char = text[at]
    if char == "\\":
        return min(at + 2, len(text))
    if char == "'":
        return _closed(text.find("'", at + 1), line, "'") + 1
    if char in '"`':
        end = at + 1
        while end < len(text) and text[end] != char:
            end = skip(text, end, line) if text[end] in "\\$`" else end + 1
        return _closed(end if end < len(text) else -1, line, char) + 1
    if char == "$" and text[at + 1 : at + 2] in _CLOSING:
        closing, end = _CLOSING[text[at + 1]], at + 2
        opening = text[at + 1]
        depth = 1
        while end < len(text):
            if text[end] == closing:
                depth -= 1
                if not depth:
                    return end + 1
            depth += text[end] == opening
            end = skip(text, end, line)
        return _closed(-1, line, closing)
    return at + 1


def _closed(end: int, line: int, what: str) -> int:
    if end < 0:
        raise ShellError(f"{what} is missing behind line {line}")
    return end
