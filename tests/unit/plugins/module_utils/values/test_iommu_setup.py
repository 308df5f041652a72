# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Xen has set up the IOMMU: what its log says, and what is derived where the log has lost it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.xen.pci.plugins.module_utils.values.iommu_setup import dom0_mode, remaps_interrupts

#: As a host of the lab writes it.
LOG = (
    "(XEN) Intel VT-d iommu 0 supported page sizes: 4kB, 2MB, 1GB\n(XEN) I/O virtualisation {}abled\n"
    "(XEN)  - Dom0 mode: {}\n(XEN) Interrupt remapping {}abled\n(XEN) nr_sockets: 1\n"
)
CAN, CANNOT = bytes(37) + b"\x01", bytes(37) + b"\x02"
LOST = "(XEN) d1v0 something that a guest had Xen say\n"


@pytest.mark.parametrize("firmware", [CAN, CANNOT, None])
@pytest.mark.parametrize("command_line", ["", "iommu=no-intremap"])
@pytest.mark.parametrize("stamp", ["", "[2026-11-27 20:00:00] ", "[    0.123456] "])
def test_the_log_says_it(firmware: bytes | None, command_line: str, stamp: str) -> None:
    for said, on in (("en", True), ("dis", False)):
        log = LOG.format("en", "Relaxed", said).replace("(XEN) ", f"(XEN) {stamp}")
        assert remaps_interrupts(log, command_line, firmware) is on
        assert remaps_interrupts(log.replace("\n", "\r\n"), command_line, firmware) is on
        assert dom0_mode(log, "") == "relaxed"


@pytest.mark.parametrize(
    "log", ["", LOST, "(d1) Interrupt remapping enabled\n", "(XEN) x Interrupt remapping enabled\n"]
)
@pytest.mark.parametrize(
    ("command_line", "dmar", "ivrs", "remaps"),
    [
        ("placeholder console=com1", CAN, False, True),
        ("", CANNOT, False, False),
        ("", b"RMAD", False, None),
        ("", None, True, True),
        ("", None, False, None),
        ("iommu=verbose,no-intremap", CAN, False, False),
        ("iommu=intremap=off", None, True, False),
        ("iommu=on iommu=intremap=0", CAN, False, False),
        ("iommu=no-intremap iommu=intremap", CAN, False, True),
        ("iommu=no-intremap,intremap=yes", CAN, False, True),
        ("iommu=no-qinval", CAN, False, False),
        ("iommu=no-amd-iommu-perdev-intremap", None, True, False),
        ("iommu=no-amd-iommu-perdev-intremap", CAN, False, True),
        ("noiommu=no-intremap dom0-iommu=no-intremap", CAN, False, True),
    ],
)
def test_where_it_does_not_it_is_derived(
    log: str, command_line: str, dmar: bytes | None, ivrs: bool, remaps: bool | None
) -> None:
    assert remaps_interrupts(log, command_line, dmar, ivrs) is remaps


def test_one_table_for_all_devices_of_amd_is_none() -> None:
    log = LOG.format("en", "Strict", "en")
    assert remaps_interrupts(log, "iommu=no-amd-iommu-perdev-intremap", None, has_ivrs=True) is False


@pytest.mark.parametrize(
    ("log", "command_line", "mode"),
    [
        (LOG.format("en", "Passthrough", "en"), "dom0-iommu=strict", "passthrough"),
        (LOG.format("en", "Strict", "en"), "", "strict"),
        ("(XEN) - Dom0 mode: Strict\n", "", "strict"),
        (LOST, "dom0-iommu=passthrough", "passthrough"),
        (LOST, "iommu=on,dom0-passthrough", "passthrough"),
        (LOST, "dom0-iommu=passthrough,strict", "strict"),
        (LOST, "dom0-iommu=no-passthrough", ""),
        ("(d1) - Dom0 mode: Strict\n", "", ""),
    ],
)
def test_what_dom0s_devices_reach(log: str, command_line: str, mode: str) -> None:
    assert dom0_mode(log, command_line) == mode


@given(st.text(), st.text(), st.binary())
def test_nothing_breaks_it(log: str, command_line: str, table: bytes) -> None:
    assert remaps_interrupts(log, command_line, table) in (True, False, None)
    assert dom0_mode(log, command_line) in ("", "strict", "passthrough", "relaxed")
