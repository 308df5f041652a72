# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timeline has each change of each node once, and an end."""

from __future__ import annotations

from ansible_collections.xen.pci.plugins.module_utils.apply.report import Recorder


def test_a_value_that_stays_is_noted_once_for_each_node() -> None:
    record = Recorder()
    for node, value in (("a", "4"), ("b", "4"), ("a", "4"), ("a", "7"), ("b", "4"), ("a", "4")):
        record.note(node, value)
    assert [(moment.node, moment.value) for moment in record.timeline] == [
        ("a", "4"),
        ("b", "4"),
        ("a", "7"),
        ("a", "4"),
    ]


def test_a_node_that_flaps_for_ever_is_noted_for_a_while() -> None:
    record = Recorder()
    for number in range(5000):
        record.note("frontend/state", str(number % 2))
    assert len(record.timeline) == 1000
