# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said to be known of shell variables is what a shell says, whatever the file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.shell_lexer import ShellError
from ansible_collections.xen.pci.plugins.module_utils.values.shell_variables import ShellVariables

NAMES = ("A", "B", "C")
#: Parts of words, plain and odd, that need each kind of quote or expansion.
PARTS = st.sampled_from(
    [
        *(
            "x",
            "y z",
            "\\ ",
            '\\"',
            "$A",
            "${B}",
            "${C:-d}",
            "${A:+e f}",
            "${B-g}",
            "${C+h}",
            "$",
            "#",
            "a=b",
            "(1)",
            "*",
        ),
        *("$(echo q)", "`echo r`", "${A:=s}", "'", '"', "\\$A", "\\\n", "&", ";", "|", "~", "%", "{u,v}", "${A%x}"),
    ]
)
VALUES = st.builds(
    lambda quote, parts: f"{quote}{''.join(parts)}{quote}",
    st.sampled_from(['"', "'", "", ""]),
    st.lists(PARTS, max_size=4),
)
ASSIGNMENTS = st.builds("{}{}={}".format, st.sampled_from(NAMES), st.sampled_from(["", "", "", "+"]), VALUES)
COMMANDS = st.one_of(
    ASSIGNMENTS,
    st.builds("export {}".format, ASSIGNMENTS),
    st.builds("unset {}".format, st.sampled_from(NAMES)),
    st.builds("{} true".format, ASSIGNMENTS),
    st.builds("true && {}".format, ASSIGNMENTS),
    st.builds("false || {}".format, ASSIGNMENTS),
    st.builds("if true; then {}; fi".format, ASSIGNMENTS),
    st.builds("if false; then {}; fi".format, ASSIGNMENTS),
    st.builds("for A in 1 2; do {}; done".format, ASSIGNMENTS),
    st.builds("f() {{ {}; }}".format, ASSIGNMENTS),
    st.builds("case x in\n x) {} ;;\nesac".format, ASSIGNMENTS),
    st.builds("( {} )".format, ASSIGNMENTS),
    st.builds("{{ {}; }}".format, ASSIGNMENTS),
    st.builds("{} # {}".format, ASSIGNMENTS, st.sampled_from(["x", "'"])),
    st.builds("echo x | {}".format, ASSIGNMENTS),
    st.sampled_from(
        ["f", "echo '$A' >/dev/null", "eval A=1", ". /dev/null", ": ${B:=1}", "", "# A=1", "read C </dev/null"]
    ),
)


def by_shell(text: str) -> list[str] | None:
    """What bash says of the variables; None where it does not come to the end of the text."""
    script = f'{text}\nprintf \'%s\\0\' "$A" "$B" "$C"\n'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=20, env={})
    values = done.stdout.split("\0")
    return values[-4:-1] if len(values) > 3 else None


@settings(max_examples=150, deadline=None)
@given(st.lists(COMMANDS, min_size=1, max_size=5), st.sampled_from(["\n", "; ", "\n\n"]))
def test_what_is_known_is_what_a_shell_says(commands: Sequence[str], between: str) -> None:
    text = between.join(commands) if not any("#" in command for command in commands) else "\n".join(commands)
    variables = ShellVariables()
    variables.run(text, "file")
    for name, value in zip(NAMES, by_shell(text) or (), strict=False):
        try:
            known = "".join(piece.text for piece in variables.value(name))
        except ShellError:
            continue
        assert known == value, f"{name} in {text!r}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('A="x $B"; B=1\nA="$A y"', "x  y"),
        ("A='x $B'", "x $B"),
        ("A=x\\ y", "x y"),
        ("A=a\"b c\"'d e'f", "ab cd ef"),
        ('A=1\nA+=" 2"', "1 2"),
        ('A="${B:-x} ${B:+no}"', "x "),
        ("export B=1 A=2", "2"),
        ('A=1 echo "hi"', ""),
        ("A=1 2>/dev/null # A=3", "1"),
        ("if true; then B=1; fi\nA=2", "2"),
    ],
)
def test_plain_settings_are_known(text: str, value: str) -> None:
    variables = ShellVariables()
    variables.run(text, "file")
    assert "".join(piece.text for piece in variables.value("A")) == value


def test_each_part_has_the_file_that_it_comes_from() -> None:
    variables = ShellVariables()
    variables.run("A=x", "one")
    variables.run('A="$A y"', "two")
    assert {(piece.text, piece.source) for piece in variables.value("A")} >= {("x", "one"), ("y", "two")}
    variables.run("eval B=1", "three")
    with pytest.raises(ShellError, match="three, line 1"):
        variables.value("A")
