# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of a plan become one text: sorted, aligned, and each in one line whatever a device says of itself."""

from __future__ import annotations

import pytest
from ansible.plugins.callback import CallbackBase
from builders import device, function, host
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.model.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.results.device_labels import DeviceLabels
from ansible_collections.xen.pci.plugins.module_utils.results.plan_text import (
    CHANGES,
    GAINS,
    LOSES,
    Part,
    PlanLine,
    plan_diff,
    plan_text,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import read_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.identity import Remembered

A, B, C = (Sbdf(0, bus, 0, 0) for bus in (1, 2, 3))
LINES = (
    PlanLine(Part.DOMAINS, "web10", GAINS, "scratch", A, "nvme S4EV0A1", "from web2"),
    PlanLine(Part.DOMAINS, "web2", LOSES, "scratch", A, "nvme S4EV0A1", "to web10"),
    PlanLine(Part.DOMAINS, "web2", GAINS, "", B, "network 8086:10d3"),
    PlanLine(Part.ASSIGNMENT, "pciback", GAINS, "scratch", A, "nvme S4EV0A1", "from nvme, after a reboot: held"),
    PlanLine(Part.FUNCTIONS, "host", CHANGES, "uplink-a", C, "network 8086:1572", "virtual functions 0 -> 4"),
    PlanLine(Part.FUNCTIONS, "host", CHANGES, "uplink-a vf 2", change="VLAN 5"),
)
TEXT = """\
host     ~ uplink-a       0000:03:00.0 (network 8086:1572)  virtual functions 0 -> 4
host     ~ uplink-a vf 2                                    VLAN 5
pciback  + scratch        0000:01:00.0 (nvme S4EV0A1)       from nvme, after a reboot: held
web2     - scratch        0000:01:00.0 (nvme S4EV0A1)       to web10
web2     +                0000:02:00.0 (network 8086:10d3)
web10    + scratch        0000:01:00.0 (nvme S4EV0A1)       from web2
"""


@given(st.permutations(LINES))
def test_the_text_is_the_same_in_whatever_order_the_lines_come(lines: list[PlanLine]) -> None:
    assert plan_text(lines) == plan_text([*lines, lines[0]]) == TEXT


def test_ansible_prints_the_text_as_it_is() -> None:
    assert CallbackBase()._get_diff(plan_diff(LINES)) == TEXT


def test_nothing_to_do_is_no_text() -> None:
    assert (plan_text([]), plan_diff([])) == ("", [])
    assert plan_diff([], [{"before": "a", "after": "b"}]) == [{"before": "a", "after": "b"}]


def test_columns_that_no_line_needs_are_left_out() -> None:
    assert plan_text([PlanLine(Part.DOMAINS, "web01", GAINS, address=A)]) == "web01  +  0000:01:00.0\n"


@given(st.text(), st.text(), st.text())
def test_whatever_a_device_or_a_domain_is_called_makes_one_line(name: str, subject: str, serial: str) -> None:
    known = host([device(A, serial=serial)])
    line = DeviceLabels(known, {A: name}).line(Part.DOMAINS, subject, GAINS, A)
    text = plan_text([line])
    assert text.count("\n") == 1 and text.endswith("\n") and text[:-1].isprintable()
    assert len(line.what) <= len("network ") + 32


def test_a_device_is_called_as_in_the_inventory() -> None:
    catalog = read_catalog({"scratch": {"address": str(A)}, "pool": {"select": "[*]"}}).entries
    notes = {B: Note(name="pool"), C: Note(name=str(C))}
    labels = DeviceLabels(host([device(A), device(B), device(C)], notes=notes), {A: str(A), C: "web"}, catalog)
    assert [labels.name(one) for one in (A, B, C)] == ["scratch", "pool", "web"]
    assert DeviceLabels(labels.host).name(A) is DeviceLabels(labels.host).name(C) is None


def test_a_device_is_described_by_what_the_host_knows() -> None:
    disk, card = device(A, class_code="010802", nvme_serial="  S4EV  0A1 ", serial="00-01"), device(B, serial="00-02")
    other, vf = device(C, class_code="118000"), function("0000:02:02.1", B, 5)
    labels = DeviceLabels(host([disk, card, other, vf]), {B: "uplink"})
    assert labels.what(A) == "nvme S4EV 0A1"
    assert labels.what(B) == "network 00-02"
    assert labels.what(C) == "class 1180 8086:10d3"
    assert labels.what(vf.sbdf) == "VF 5 of uplink"
    assert labels.what(Sbdf(0, 9, 0, 0)) == ""


def test_a_serial_number_is_known_while_pciback_holds_the_device() -> None:
    known = host([device(A, class_code="010802")], notes={A: Note(identity=Remembered("S4EV0A1"))})
    assert DeviceLabels(known).what(A) == "nvme S4EV0A1"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"{A} shares a line with {B}, and with {C}.", f"uplink {A} shares a line with scratch {B}, and with {C}."),
        (f"x: refused_cycle ({A}, {B})", f"x: refused_cycle (uplink {A}, scratch {B})"),
        (f"{A} (for db) is not assignable", f"uplink {A} (for db) is not assignable"),
        (f"- {A} is a bridge\n- {A} is a disk", f"- uplink {A} is a bridge\n- uplink {A} is a disk"),
        (f"uplink moved {A} → {B}", f"uplink moved {A} → scratch {B}"),
    ],
)
def test_a_sentence_has_the_names_before_the_addresses(said: str, shown: str) -> None:
    labels = DeviceLabels(host([device(A), device(B), device(C)]), {A: "uplink", B: "scratch"})
    assert labels.named(said) == shown
    assert labels.named(shown) == shown


@pytest.mark.parametrize(
    "said",
    [
        f"'uplink' is at {A}; uplinks are not",
        f"run echo > /sys/bus/pci/devices/{A}/driver_override",
        f"the line '{A},permissive=1' is wrong",
        f"hide=({A})({B}) is set",
        "at 0000:01:00.00, 52:54:00:00:01:01, 1:0000:01:00.0",
    ],
)
def test_what_is_no_address_in_a_sentence_stays(said: str) -> None:
    assert DeviceLabels(host([device(A), device(B)]), {A: "uplink", B: "scratch"}).named(said) == said
