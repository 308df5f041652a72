# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xl's configuration files: every text that xl reads is read, and a change touches nothing else."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.xl_config import (
    Value,
    XlConfigError,
    parse,
    string_of,
    with_item,
    with_setting,
    with_value,
    without_item,
)

NAMES = st.from_regex(r"[a-z][._0-9a-z]{0,8}", fullmatch=True)
NUMBERS = st.from_regex(r"[0-9][0-9a-fx]{0,5}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_characters="\n\\'\"", exclude_categories=["Cs"]), max_size=8)
SINGLE = st.builds("'{}'".format, st.one_of(PLAIN, st.sampled_from([r"it\'s", 'a "word"', "# none, [0] = ;", r"\\"])))
DOUBLE = st.builds('"{}"'.format, st.one_of(PLAIN, st.sampled_from([r"a \"word\"", "it's", "x = [ # ;", r"\n\t"])))
ATOMS = st.one_of(NUMBERS, SINGLE, DOUBLE)
BLANKS = st.sampled_from(["", " ", "\t", "   "])
COMMENTS = st.builds(
    "#{}\n".format, st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8)
)
NEWLINES = st.one_of(st.just("\n"), COMMENTS)
GAPS = st.lists(st.one_of(BLANKS, NEWLINES), max_size=3).map("".join)


@st.composite
def lists(draw: st.DrawFn, items: st.SearchStrategy[str]) -> str:
    """A list in any layout: comments and ends of lines wherever xl allows them."""
    chosen = draw(st.lists(items, max_size=4))
    text = "[" + draw(GAPS)
    for index, item in enumerate(chosen):
        last = index == len(chosen) - 1
        comma = not last or draw(st.booleans())
        text += draw(BLANKS) + item + draw(GAPS) + ("," + draw(GAPS) if comma else "")
    return text + draw(BLANKS) + "]"


VALUES = st.recursive(ATOMS, lists, max_leaves=5)


@st.composite
def assignments(draw: st.DrawFn) -> tuple[str, str, str]:
    """Name, value as written, and the text of both."""
    name, value = draw(NAMES), draw(VALUES)
    operator = draw(st.sampled_from(["=", "+="]))
    return name, value, draw(BLANKS) + name + draw(BLANKS) + operator + draw(BLANKS) + value + draw(BLANKS)


@st.composite
def configs(draw: st.DrawFn) -> tuple[list[tuple[str, str]], str]:
    """What is set, in order, and a whole file that sets it."""
    settings, text = [], draw(GAPS)
    for name, value, written in draw(st.lists(assignments(), max_size=4)):
        settings.append((name, value))
        text += written + draw(st.one_of(NEWLINES, st.just(";"))) + draw(GAPS)
    if settings and draw(st.booleans()):
        name, value, written = draw(assignments())
        settings.append((name, value))
        text += written  # the last one needs no end of line
    return settings, text


def written(text: str, value: Value) -> str:
    return text[value.start : value.end]


@given(configs())
def test_every_setting_is_found_where_it_stands(config: tuple[list[tuple[str, str]], str]) -> None:
    settings, text = config
    found = parse(text)
    assert [(one.name, written(text, one.value)) for one in found] == settings
    assert [one.line for one in found] == sorted(one.line for one in found)


@given(configs(), st.integers(min_value=0), ATOMS)
def test_a_changed_value_changes_nothing_else(
    config: tuple[list[tuple[str, str]], str], which: int, value: str
) -> None:
    settings, text = config
    assume(settings)
    setting = parse(text)[which % len(settings)]
    after = with_value(text, setting, value)
    assert after.startswith(text[: setting.value.start]) and after.endswith(text[setting.value.end :])
    settings[which % len(settings)] = (setting.name, value)
    assert [(one.name, written(after, one.value)) for one in parse(after)] == settings


@given(configs(), NAMES, ATOMS)
def test_a_new_setting_comes_last(config: tuple[list[tuple[str, str]], str], name: str, value: str) -> None:
    settings, text = config
    after = with_setting(text, name, value)
    assert after.startswith(text)
    assert [(one.name, written(after, one.value)) for one in parse(after)] == [*settings, (name, value)]


@given(BLANKS, lists(ATOMS), st.one_of(NEWLINES, st.just("")), ATOMS)
def test_an_item_more_is_the_last_one(before: str, listed: str, after: str, item: str) -> None:
    text = f"{before}pci = {listed}{after}"
    items = [written(text, one) for one in parse(text)[0].value.items]
    changed = with_item(text, parse(text)[0].value, item)
    assert [written(changed, one) for one in parse(changed)[0].value.items] == [*items, item]
    assert _is_subsequence(text.strip(" \t"), changed) or not items


@given(lists(ATOMS), st.integers(min_value=0), st.one_of(NEWLINES, st.just("")))
def test_an_item_less_leaves_the_others(listed: str, which: int, after: str) -> None:
    text = f"pci = {listed}{after}"
    items = [written(text, one) for one in parse(text)[0].value.items]
    assume(items)
    index = which % len(items)
    changed = without_item(text, parse(text)[0].value, index)
    assert [written(changed, one) for one in parse(changed)[0].value.items] == items[:index] + items[index + 1 :]
    assert _is_subsequence(changed, text)
    assert changed.endswith(f"]{after}")


def _is_subsequence(shorter: str, longer: str) -> bool:
    characters = iter(longer)
    return all(character in characters for character in shorter)


@pytest.mark.parametrize(
    ("before", "item", "after"),
    [
        ("pci = []", "'x'", "pci = ['x']"),
        ("pci = [ ]", "'x'", "pci = ['x']"),
        ("pci = ['a']", "'x'", "pci = ['a', 'x']"),
        ("pci = [ 'a' ]", "'x'", "pci = [ 'a', 'x' ]"),
        ("pci = ['a', ]", "'x'", "pci = ['a', 'x', ]"),
        ("pci = [\n    'a',  # one\n]\n", "'x'", "pci = [\n    'a',  # one\n    'x',\n]\n"),
        ("pci = [\n\t'a'  # one\n]\n", "'x'", "pci = [\n\t'a',  # one\n\t'x'\n]\n"),
        ("pci = [ 'a'\n      , 'b' # two\n      ]\n", "'x'", "pci = [ 'a'\n      , 'b', 'x' # two\n      ]\n"),
        ("pci = [\n    # none yet\n]\n", "'x'", "pci = [\n    'x',\n    # none yet\n]\n"),
        ("pci = ['a'\n,\n]", "'x'", "pci = ['a', 'x'\n,\n]"),
    ],
)
def test_a_new_item_is_laid_out_like_the_last(before: str, item: str, after: str) -> None:
    assert with_item(before, parse(before)[0].value, item) == after


@pytest.mark.parametrize(
    ("before", "index", "after"),
    [
        ("pci = ['a']", 0, "pci = []"),
        ("pci = [ 'a', 'b', 'c' ]", 0, "pci = [ 'b', 'c' ]"),
        ("pci = ['a', 'b', 'c']", 0, "pci = ['b', 'c']"),
        ("pci = ['a', 'b', 'c']", 1, "pci = ['a', 'c']"),
        ("pci = ['a', 'b', 'c']", 2, "pci = ['a', 'b']"),
        ("pci = ['a', 'b', ]", 1, "pci = ['a', ]"),
        ("pci = [\n    'a',  # one\n    'b',  # two\n]\n", 0, "pci = [\n    'b',  # two\n]\n"),
        ("pci = [\n    'a',  # one\n    'b'  # two\n]\n", 1, "pci = [\n    'a'  # one\n]\n"),
        ("pci = [\n    'a', 'b',\n    'c',\n]\n", 0, "pci = [\n    'b',\n    'c',\n]\n"),
        ("pci = [ 'a'\n      , 'b' # two\n      ]\n", 1, "pci = [ 'a'\n      ]\n"),
        ("pci = [\n  # of the rack\n  'a', 'b']", 1, "pci = [\n  # of the rack\n  'a']"),
    ],
)
def test_a_removed_item_leaves_no_trace(before: str, index: int, after: str) -> None:
    assert without_item(before, parse(before)[0].value, index) == after


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("pci = [", "line 1: the list of pci has no end"),
        ("a = 1\npci = 'x' 'y'", "line 2: \"'y'\" is out of place: the setting pci should have ended before it"),
        ("pci = ['a' 'b']", "line 1: \"'b'\" is out of place: items of pci are separated by commas"),
        ("pci = [,]", "line 1: ',' is out of place: pci needs a string, a number or a list"),
        ("pci = ['a',,]", "line 1: ',' is out of place"),
        ("pci\n= []", "line 1: 'the end of the line' is out of place: after pci there must be = and a value"),
        ("pci", "line 1: 'pci' is out of place: after pci there must be = and a value"),
        ("pci =", "line 1: 'pci' is out of place: pci needs a string, a number or a list"),
        ("'pci' = 1", "line 1: \"'pci'\" is out of place: a setting begins with its name"),
        ("name = 'web01", 'line 1: "\'web01"'),
        ("import os\n", "line 1: 'os' is out of place"),
        ("a = 1\nPCI = []\n", "line 2: 'PCI = []'"),
        ("a = 1\r\n", "line 1: '\\r'"),
        ("a = 1 + 1\n", "line 1: '+ 1'"),
        ("a = 1\n# no line feed", "line 2: '# no line feed': the comment at the end needs a line feed"),
        (f"a = {'[' * 999}{']' * 999}", "line 1: '[' is out of place: a needs a string, a number or a list"),
    ],
)
def test_what_xl_refuses_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(XlConfigError) as refused:
        parse(text)
    assert str(refused.value).startswith(why)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        settings = parse(text)
    except XlConfigError:
        return
    assert all(0 <= one.value.start < one.value.end <= len(text) for one in settings)


def test_what_strings_stand_for() -> None:
    assert string_of("12") == "12"
    assert string_of(r"'it\'s'") == "it's"
    assert string_of(r'"a\\b\t"') == "a\\b\t"
    with pytest.raises(XlConfigError, match=r"\\x4"):
        string_of(r"'\x41'")
    with pytest.raises(XlConfigError):
        string_of(r"'\q'")
