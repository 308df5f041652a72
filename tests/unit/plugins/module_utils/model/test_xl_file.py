# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The devices in a domain's xl.cfg: what is declared is there afterwards, and nothing else has changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.xl_file import devices_of, updated
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.xl_config import XlConfigError, parse

A, B, C = (Sbdf.parse(f"0000:{bus:02x}:00.0") for bus in (1, 2, 3))
OURS = {"pci", "passthrough", "e820_host"}
DEVICES = st.sets(st.builds(Sbdf, st.integers(0, 1), st.integers(0, 3), st.integers(0, 1), st.integers(0, 1)))
SPELLINGS = ("'{}'", '"{}"', "'{},permissive=1'", "'{}@5,msitranslate=1'", "'bdf={},seize=1'", "'permissive=1,bdf={}'")
OTHERS = (
    "memory = 160",
    "disk = [ 'phy:/dev/a,xvda,w', # root\n ]",
    "extra='pci=[] # no'; vcpus=2",
    "# pci = []\n",
    "",
)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A domain's file with its own words around what concerns PCI, which may be there or not."""
    listed = sorted(draw(DEVICES))
    lines = ['name = "web01"', *draw(st.lists(st.sampled_from(OTHERS), max_size=3))]
    if listed or draw(st.booleans()):
        entries = [draw(st.sampled_from(SPELLINGS)).format(one) for one in listed]
        joint = draw(st.sampled_from([", ", ",\n    ", " # here\n , "]))
        lines.append(f"pci {draw(st.sampled_from(['=', '+=']))} [ {joint.join(entries)} ]")
    lines += draw(st.lists(st.sampled_from(['passthrough="disabled"', "e820_host=0", 'type="pv"']), unique=True))
    lines = lines[:1] + draw(st.permutations(lines[1:]))
    return "\n".join(lines) + draw(st.sampled_from(["\n", ""]))


def others(text: str) -> list[tuple[str, str]]:
    return [(one.name, text[one.value.start : one.value.end]) for one in parse(text) if one.name not in OURS]


def without_ours(text: str) -> str:
    """The file without the settings that we may change."""
    for setting in sorted(parse(text), key=lambda one: -one.value.start):
        if setting.name in OURS:
            begin = text.rfind(setting.name, 0, setting.value.start)
            text = text[:begin] + text[setting.value.end :]
    return text.rstrip("\n")


@given(files(), DEVICES, DEVICES, st.booleans())
def test_it_has_what_is_declared_and_all_else_is_as_it_was(
    text: str, add: set[Sbdf], remove: set[Sbdf], only: bool
) -> None:
    after = updated(text, "web01", sorted(add), remove, only=only)
    had = set(devices_of(text))
    assert set(devices_of(after)) == (add if only else (had - remove) | add)
    assert others(after) == others(text)
    assert without_ours(after) == without_ours(text)
    assert updated(after, "web01", sorted(add), remove, only=only) == after
    settings = {one.name: one.value.atom for one in parse(after)}
    if devices_of(after):
        assert settings["passthrough"] in ('"enabled"', "'enabled'")
        assert settings["e820_host"] == "1"
    kept = [entry for entry in _entries(text) if entry in _entries(after)]
    assert [devices_of(f"pci = [{one}]")[0] for one in kept if one] == [
        one for one in devices_of(text) if one in devices_of(after)
    ]


def _entries(text: str) -> list[str]:
    listed = [one.value for one in parse(text) if one.name == "pci"]
    return [item.atom or "" for value in listed for item in value.items]


def test_a_first_device_and_what_it_needs() -> None:
    text = "name = 'web01'\nmemory = 160"
    assert updated(text, "web01", [A]) == (
        "name = 'web01'\nmemory = 160\npci = ['0000:01:00.0']\npassthrough = 'enabled'\ne820_host = 1\n"
    )


def test_entries_that_stay_keep_their_options_comments_and_places() -> None:
    text = """name = "web01"
pci = [
    '01:00.0,permissive=1',  # uplink
    "02:00.0@4",             # scratch
]
passthrough = "share_pt"
e820_host = "0x1"
# the rest
"""
    assert updated(text, "web01", [A, C], only=True) == text.replace(
        '    "02:00.0@4",             # scratch\n', "    '0000:03:00.0',\n"
    )


def test_the_last_device_leaves_the_domain_able_to_take_others() -> None:
    text = 'name = "web01"\npci = ["0000:01:00.0"]\npassthrough = "enabled"\ne820_host = 1\n'
    assert updated(text, "web01", only=True) == text.replace('["0000:01:00.0"]', "[]")


def test_a_domain_without_devices_is_left_as_it_is() -> None:
    text = 'name = "web01"\npassthrough = "disabled"\n'
    assert updated(text, "web01", remove=[A]) == text


@pytest.mark.parametrize("word", ['type = "hvm"', "type='pvh'", 'builder = "hvm"'])
def test_the_memory_map_is_for_pv_guests_only(word: str) -> None:
    after = updated(f'name = "web01"\n{word}\n', "web01", [A])
    assert "e820_host" not in after
    assert 'passthrough = "enabled"' in after


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("memory = 1\n", "it has no name"),
        ("name = 'web02'\n", "line 1: it is the configuration of 'web02', not of web01"),
        ("name = ['web01']\n", "line 1: name is a list"),
        ("name='web01'\npci='01:00.0'\n", "line 2: pci is not a list"),
        ("name='web01'\npci=[]\npci += ['01:00.0']\n", "pci is set more than once (lines 2 and 3)"),
        ("name='web01'\npci=['name=uplink']\n", "the entry 'name=uplink'"),
        ("name='web01'\npci=['01:00.*']\n", "the entry '01:00.*'"),
        ("name='web01'\npci=['0000-01-00-0']\n", "the entry '0000-01-00-0'"),
        ("name='web01'\npci=['01:00.0', '1:0.0,permissive=1']\n", "pci lists 0000:01:00.0 more than once, so xl"),
        ("name='web01'\npci=[['01:00.0']]\n", "pci contains a list"),
        ("name='web01'\npassthrough=1\n", "line 2: passthrough is '1', which is not one of disabled, enabled"),
        ("name='web01'\ne820_host='yes'\n", "line 2: e820_host is 'yes', but it must be 0 or 1"),
        ("name='web01'\ntype='vm'\n", "line 2: type is 'vm', which"),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(XlConfigError) as refused:
        updated(text, "web01", [B])
    assert str(refused.value).startswith(why)
