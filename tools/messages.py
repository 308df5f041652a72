# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/messages.md: every text that the product can show, read from its source.

On that page an editor can read all texts of the product together. `tests/unit/test_messages.py` fails when the page is
old. Run `make messages` after a change of any text.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "messages.md"
#: Calls whose first argument is the code of a refusal, and where reason and advice are among the others.
_REFUSALS = {"Refusal": (2, 3), "refused": (2, 3), "against": (2, 3), "_against": (2, 3)}
#: A text has so many words at least; shorter ones are names, keys and verbs.
_FEWEST_WORDS = 3
_HEAD = """# All messages

All texts that xen.pci can show, by the file that contains them. Parts in braces are replaced by values. Each refusal
has a code in front. Playbooks should test the code: a text may change in any version, a code does not. This page is
made by `make messages`.
"""


@dataclass(frozen=True)
class Message:
    """One text, and the code of the refusal that shows it, if it is one."""

    text: str
    code: str = ""


def messages(source: str) -> list[Message]:
    """All texts of a file, in the order of their lines."""
    tree = ast.parse(source)
    documentation = set(_documentation(tree))
    codes = dict(_codes(tree))
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    found: dict[Message, int] = {}
    for node in ast.walk(tree):
        whole = isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner
        )
        if not whole or id(node) in documentation:
            continue
        text = _text(node)
        # Files that are written, and regular expressions, are no messages.
        if len(text.split()) >= _FEWEST_WORDS and text.strip().isprintable() and not set("\\|") & set(text):
            found.setdefault(Message(text.strip(), codes.get(id(node), "")), node.lineno)
    return sorted(found, key=lambda message: found[message])


def _documentation(tree: ast.Module) -> Iterator[int]:
    """Docstrings, and the constants that hold a module's documentation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                yield id(first.value)
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id in ("DOCUMENTATION", "EXAMPLES", "RETURN")
            for target in node.targets
        ):
            yield id(node.value)


def _codes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts that refusals use, directly or by a variable of the same function, with their codes.

    A variable that is used again has the texts that were assigned since its last use.
    """
    for function in (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Module))):
        assigned: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned.setdefault(node.targets[0].id, []).append(node.value)
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        for call in sorted(calls, key=lambda call: call.lineno):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name in _REFUSALS and call.args:
                code = _code(call)
                for position in _REFUSALS[name]:
                    for value in _values(call, position, assigned):
                        yield id(value), code


def _code(call: ast.Call) -> str:
    for argument in call.args[:2]:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            return argument.value
        if (
            isinstance(argument, ast.Attribute)
            and isinstance(argument.value, ast.Name)
            and argument.value.id == "Check"
        ):
            return argument.attr.lower().replace("_", "-")
    return ""


def _values(call: ast.Call, position: int, assigned: dict[str, list[ast.expr]]) -> list[ast.expr]:
    if position >= len(call.args):
        return []
    argument = call.args[position]
    if not isinstance(argument, ast.Name):
        return [argument]
    values = assigned.get(argument.id, [])
    used = [value for value in values if value.lineno <= call.lineno]
    assigned[argument.id] = [value for value in values if value not in used]
    return used


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    parts = []
    for part in node.values if isinstance(node, ast.JoinedStr) else []:
        parts.append(str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}")  # type: ignore[attr-defined]
    return "".join(parts)


def page() -> str:
    """The whole page."""
    sections = [_HEAD]
    for file in sorted((ROOT / "plugins").rglob("*.py")):
        found = messages(file.read_text(encoding="utf-8"))
        if found:
            sections.append("\n".join([f"## {file.relative_to(ROOT)}", "", *map(_line, found), ""]))
    return "\n".join(sections)


def _line(message: Message) -> str:
    code = f"**{message.code}**: " if message.code else ""
    text = message.text.replace("`", "'")
    return f"- {code}`{text}`"


def main() -> None:
    """Write the page, or with --check say whether it is as it must be."""
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == text else f"{PAGE} is old: run make messages")
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
