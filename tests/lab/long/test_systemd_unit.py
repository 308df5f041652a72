# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last resort: a unit takes devices from their drivers before guests start. Its commands are run as systemd would.

dom0 of the lab has no systemd; what that makes of the unit's other lines, systemd-analyze says in the unit tests.
"""

from __future__ import annotations

from collections.abc import Iterator

import playbook
import pytest
from independent_view import driver_in_dom0

from xenlab import Host, topology

NIC, EDU = topology.NICS[3], topology.EDUS[1]
DEVICES = [NIC.bdf, EDU.bdf]
UNIT = "/etc/systemd/system/xen-pci-assignable.service"
COMMANDS = f"sed -n 's/^ExecStart[A-Za-z]*=-*//p' {UNIT}"


@pytest.fixture
def without_grub(built_in_host: Host) -> Iterator[Host]:
    """A host that seems to have systemd, and to which GRUB cannot tell what pciback is to have."""
    built_in_host.run("mv /etc/default/grub /root/grub; mkdir -p /run/systemd/system")
    yield built_in_host
    playbook.task(built_in_host, "xen.pci.assignable_devices", {"devices": DEVICES, "state": "absent"})
    built_in_host.run("mv /root/grub /etc/default/grub; rmdir /run/systemd/system /run/systemd")


def test_the_units_commands_give_devices_to_pciback(without_grub: Host) -> None:
    host, task = without_grub, {"devices": DEVICES, "persistent": True}
    done = playbook.task(host, "xen.pci.assignable_devices", task)
    assert {one["held"] for one in done["devices"]} == {"both"}, done
    for bdf in DEVICES:
        host.run(["xl", "pci-assignable-remove", "-r", bdf])
    assert driver_in_dom0(host, NIC.bdf) == NIC.driver
    for command in host.run(COMMANDS).lines:
        host.run(command)
    assert [driver_in_dom0(host, bdf) for bdf in DEVICES] == ["pciback", "pciback"]
    assert not playbook.task(host, "xen.pci.assignable_devices", task)["changed"]
    released = playbook.task(host, "xen.pci.assignable_devices", {"devices": DEVICES, "state": "absent"})
    assert {one["held"] for one in released["devices"]} == {"neither"}
    assert host.run(f"ls {UNIT}", check=False).stdout == ""
