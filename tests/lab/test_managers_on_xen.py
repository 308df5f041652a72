# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Definitions of libvirt beside real guests of xl: devices at risk are named, and left alone.

libvirt itself is not there; what it would do with such definitions was measured before, and is in the fault suite.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from disposable_host import Ward, ward
from independent_view import uuid_of

from xenlab import Host, topology

A, B = (part.bdf for part in topology.NICS[:2])
DEFINED = "/etc/libvirt/libxl"
OTHER = "5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11"


@pytest.fixture(scope="module")
def running(host: Host) -> Iterator[Ward]:
    with ward(host, topology.NICS[:2]) as found:
        yield found


@pytest.fixture
def on(running: Ward) -> Iterator[Ward]:
    yield running
    running.host.run("rm -rf /etc/libvirt")
    running.modules.devices({"g1": [], "g2": []})


def define(on: Ward, called: str, uuid: str, *devices: str) -> None:
    inside = "".join(
        "<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x{}' bus='0x{}' slot='0x{}'"
        " function='0x{}'/></source></hostdev>".format(*device.replace(".", ":").split(":"))
        for device in devices
    )
    text = f"<domain type='xen'><name>{called}</name><uuid>{uuid}</uuid><devices>{inside}</devices></domain>"
    on.host.run(f"mkdir -p {DEFINED} && cat > {DEFINED}/{called}.xml", stdin=text)


def seen(on: Ward) -> dict[str, Any]:
    return on.modules.run("host_info", {})


def test_a_device_that_libvirt_would_take_is_named(on: Ward) -> None:
    assert seen(on)["host"]["manager"] == "xl"
    assert not on.modules.devices({"g1": [A]}).get("failed")
    define(on, "other", OTHER, A, B)
    define(on, "g1", uuid_of(on.host, on.g1))
    facts = seen(on)
    assert facts["host"]["manager"] == "libvirt"
    assert {one["fault"] for one in facts["findings"]} == {"claimed_device", "other_definition"}
    refused = on.modules.devices({"g2": [B]})
    assert ("manager", B) in [(one["code"], one["subject"]) for one in refused["refusals"]]
    on.host.run("rm -rf /etc/libvirt")
    assert on.wrong({"g1": [A]}) == []
