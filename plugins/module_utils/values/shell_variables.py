# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the variables that shell files set, as far as that is certain without running them.

Assignments, quotes, expansions of other variables, `export` and `unset` are followed. What depends on a command, a
condition, a loop, a function or another file is unknown, and so is every variable that it may set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .shell_lexer import ShellError, Token, skip, tokens

_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.ASCII | re.DOTALL)
_SET_SOMEWHERE = re.compile(r"\b([A-Za-z_]\w*)\+?:?=", re.ASCII)
_SIMPLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
_CONDITIONAL = re.compile(r"\$\{([A-Za-z_]\w*)(:?)([-+])(.*)\}", re.ASCII | re.DOTALL)
#: What no shell divides or expands as a file name behind `export`: some do, where an assignment alone is left whole.
_WHOLE = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w.,:/=@%+-])*""", re.ASCII | re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
#: Compound commands by the word that begins each, with the one that ends it.
_COMPOUND = {"if": "fi", "for": "done", "while": "done", "until": "done", "select": "done", "case": "esac", "{": "}"}
_DECLARING = ("export", "readonly", "declare", "typeset", "local")
#: Commands that may set any variable, or end the file early.
_ANYTHING = (".", "source", "eval", "exec", "exit", "return", "trap", "alias", "shift", "break", "continue")
#: Parameters of the shell itself, behind a dollar.
_SPECIAL = tuple("$!@#?*-0123456789")
#: Commands that set the variables that they name.
_SETTING = ("read", "getopts", "let", "mapfile", "readarray", "printf", "unset", "wait")


@dataclass(frozen=True)
class Piece:
    """A part of a value, and the file that it was written in."""

    text: str
    source: str


@dataclass
class ShellVariables:
    """Variables after all files so far. `given` begin the names that the reader of the files sets beforehand."""

    given: tuple[str, ...] = ()
    _values: dict[str, tuple[Piece, ...]] = field(default_factory=dict)
    _unknown: dict[str, str] = field(default_factory=dict)
    _functions: set[str] = field(default_factory=set)
    #: Why no variable is known any more, empty as long as they are.
    lost: str = ""

    def value(self, name: str) -> tuple[Piece, ...]:
        """Return the parts of a value, none if it is not set. Raises ShellError with the reason if it is not known."""
        if self.lost or name in self._unknown:
            raise ShellError(self.lost or self._unknown[name])
        return self._values.get(name, ())

    def run(self, text: str, source: str) -> None:
        """Follow what one file does to the variables."""
        try:
            found = list(tokens(text))
        except ShellError as error:
            self.lost = self.lost or f"{source}: {error}"
            return
        at, conditional = 0, False
        while at < len(found):
            if found[at].operator:
                goes_on = found[at].text == "(" or (found[at].text == "\n" and at > 0 and found[at - 1].operator)
                conditional = found[at].text in ("&&", "||", "|", "&") or (conditional and goes_on)
                if found[at].text == "(":
                    at = self._skip_compound(found, at, ")", source)
                at += 1
                continue
            end = at
            while end < len(found) and not found[end].operator:
                end += 1
            first = found[at].text
            is_function = first == "function" or [token.text for token in found[end : end + 2]] == ["(", ")"]
            if is_function:
                self._functions.add(found[min(at + (first == "function"), end)].text)
            if first in _COMPOUND or is_function:
                closing = _COMPOUND.get(first, "}")
                at = self._skip_compound(found, at if first in _COMPOUND else _body(found, end), closing, source) + 1
                continue
            follows_pipe = found[end].text in ("|", "&")
            self._command(found[at:end], source, conditional or follows_pipe, found[end].text == "(")
            at = end

    def _skip_compound(self, found: Sequence[Token], at: int, closing: str, source: str) -> int:
        """Skip a compound command, whose variables are not known then; returns where it ends."""
        opening, begin, depth = found[at].text, at, 0
        while at < len(found):
            if _stands_alone(found, at):
                depth += found[at].text == opening or (closing == "done" and _COMPOUND.get(found[at].text) == "done")
                depth -= found[at].text == closing
            if not depth:
                break
            at += 1
        body = found[begin : at + 1]
        words = [token.text for token in body if not token.operator]
        reason = f"{source}, line {found[begin].line}: what {opening!r} does there is not followed"
        if at == len(found) or any(
            token.text in _ANYTHING for here, token in enumerate(body) if _begins_command(body, here)
        ):
            self.lost = self.lost or reason
        for word in words:
            for name in _SET_SOMEWHERE.findall(word):
                self._unknown[name] = reason
        for here, word in enumerate(words):
            if word in _SETTING or word in _DECLARING or word == "for":
                self._forget(words[here + 1 :], reason)
        return at

    def _forget(self, words: Iterable[str], reason: str) -> None:
        for word in words:
            if _NAME.fullmatch(word):
                self._unknown[word] = reason

    def _command(self, words: Sequence[Token], source: str, conditional: bool, is_array: bool) -> None:
        """Follow one simple command."""
        assignments = []
        for token in words:
            match = _ASSIGNMENT.fullmatch(token.text)
            if match is None:
                break
            assignments.append((token, match))
        rest = words[len(assignments) :]
        where = f"{source}, line {words[0].line}"
        for token in words:
            for name in re.findall(r"\$\{([A-Za-z_]\w*):?=", token.text):
                self._unknown[name] = f"{where}: {token.text} is not followed"
        if rest and rest[0].text in _DECLARING:
            assignments = [(token, match) for token in rest[1:] if (match := _ASSIGNMENT.fullmatch(token.text))]
            conditional = conditional or not all(_WHOLE.fullmatch(token.text) for token in rest[1:])
        elif rest:
            self._other_command([token.text for token in rest], where, conditional)
            return  # what stands before a command is set for that command alone
        for token, match in assignments:
            self._assign(match, source, f"{where}: {token.text}", conditional or is_array)

    def _other_command(self, words: Sequence[str], where: str, conditional: bool) -> None:
        name = words[0].lstrip("\\")
        if name in ("builtin", "command") and len(words) > 1:
            self._other_command(words[1:], where, conditional)
        elif name in _ANYTHING or name in self._functions or "$" in name or "`" in name:
            self.lost = self.lost or f"{where}: what {' '.join(words)!r} does is not followed"
        elif name == "unset" and not conditional:
            for word in words[1:]:
                self._values.pop(word, None)
                self._unknown.pop(word, None)
        elif name in _SETTING:
            self._forget(words[1:], f"{where}: what {name!r} does is not followed")

    def _assign(self, match: re.Match[str], source: str, where: str, conditional: bool) -> None:
        name, appends, written = match[1], match[2] == "+", match[3]
        if conditional:
            self._unknown[name] = f"{where} depends on more than is followed"
            return
        try:
            pieces = (*(self.value(name) if appends else ()), *self._expand(written, source))
        except ShellError as error:
            self._unknown[name] = str(error) if ": " in str(error) else f"{where}: {error}"
            return
        self._unknown.pop(name, None)
        self._values[name] = pieces

    def _expand(self, written: str, source: str, quoted: bool = False) -> list[Piece]:
        """Expand a word. Raises ShellError for what a command would have to say."""
        found: list[Piece] = []
        at = 0
        while at < len(written):
            char = written[at]
            end = skip(written, at) if char in "\\$`" or (char in "'\"" and not quoted) else at + 1
            part = written[at:end]
            if char == "\\":
                kept = part if quoted and part[1:] not in ("$", "`", '"', "\\", "\n") else part[1:]
                found.append(Piece(kept if part[1:] != "\n" else "", source))
            elif char == "$":
                if _SIMPLE.match(written, at):
                    end = _SIMPLE.match(written, at).end()  # type: ignore[union-attr]
                    part = written[at:end]
                elif part == char and written[end : end + 1] in (*_SPECIAL, *(() if quoted else "'\"")):
                    raise ShellError(f"{written[at : end + 1]} is not followed")
                found += self._expansion(part, source)
            elif char == "`" or (char == "~" and not quoted):
                raise ShellError(f"{part} is not followed")
            elif char == "'" and not quoted:
                found.append(Piece(part[1:-1], source))
            elif char == '"' and not quoted:
                found += self._expand(part[1:-1], source, quoted=True)
            else:
                found.append(Piece(part, source))
            at = end
        return found

    def _expansion(self, part: str, source: str) -> list[Piece]:
        simple, conditional = _SIMPLE.fullmatch(part), _CONDITIONAL.fullmatch(part)
        if simple is not None:
            return list(self._value_of(simple[1] or simple[2], source))
        if conditional is not None:
            name, or_empty, way, other = conditional.groups()
            now = self._value_of(name, source)
            is_set = name in self._values and (not or_empty or any(piece.text for piece in now))
            if is_set == (way == "+"):
                return self._expand(other, source)
            return list(now) if way == "-" else []
        if part == "$":
            return [Piece(part, source)]
        raise ShellError(f"{part} is not followed")

    def _value_of(self, name: str, source: str) -> tuple[Piece, ...]:
        if name not in self._values and name not in self._unknown and name.startswith(self.given):
            return (Piece("?", source),)  # set by what reads the files, such as the UUID of a file system
        return self.value(name)


def _stands_alone(found: Sequence[Token], at: int) -> bool:
    """Whether a reserved word may be here: an operator, or at the beginning of a command."""
    return found[at].operator or _begins_command(found, at)


def _begins_command(found: Sequence[Token], at: int) -> bool:
    before = found[at - 1] if at else None
    return not found[at].operator and (
        before is None or before.operator or before.text in ("then", "else", "elif", "do", "{", "!")
    )


def _body(found: Sequence[Token], at: int) -> int:
    """Find where the body of a function begins."""
    while at < len(found) and found[at].text != "{":
        at += 1
    return min(at, len(found) - 1)
