# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guests that cannot take devices are known before anything is touched, on real Xen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import playbook
import pytest
from independent_view import traces_of

from xenlab import Host, topology

NIC = topology.NICS[1]
PLAIN = 'sed \'s/"g2"/"g4"/; /^passthrough/d; /^e820_host/d\' /etc/xen/g2.cfg > /root/g4.cfg'


def domains(host: Host) -> dict[str, dict[str, Any]]:
    facts = playbook.task(host, "xen.pci.host_info", {"gather": ["domains"]})
    return {domain["name"]: domain for domain in facts["domains"]}


def declare(host: Host, guest: str, *parts: topology.Device) -> Any:
    arguments = {"domains": {guest: {"devices": [part.bdf for part in parts], "exclusive": True}}, "timeout": 300}
    return playbook.task(host, "xen.pci.domain_devices", arguments)


def verdicts(domain: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(one["verdict"], one["config"]) for one in domain["hotplug_reasons"]]


@pytest.fixture
def assignable(host: Host) -> Iterator[Host]:
    """A NIC with pciback; afterwards it is with dom0 again, and the guest of a test gone."""
    host.run(["xl", "pci-assignable-add", NIC.bdf])
    yield host
    host.run("xl destroy g4", check=False)
    host.run(["xl", "pci-assignable-remove", "-r", NIC.bdf])


def test_a_guest_created_without_passthrough_is_told_and_refused(assignable: Host) -> None:
    host = assignable
    host.run(f"{PLAIN}; xl create -q /root/g4.cfg")
    told = domains(host)["g4"]
    assert told["hotplug_ready"] == "no"
    assert verdicts(told) == [("no", ['passthrough="enabled"']), ("unknown", ["e820_host=1"]), ("unknown", [])]
    result = declare(host, "g4", NIC)
    assert result["failed"] and not result["changed"]
    assert playbook.codes(result) == [("not-ready", "g4")]
    assert 'passthrough="enabled"' in result["msg"]
    assert traces_of(host, [NIC]) == []
    # And it is true: Xen does refuse it to xl.
    refused = host.run(["xl", "pci-attach", "g4", NIC.bdf], check=False)
    assert refused.status != 0 and "Operation not supported" in refused.stderr


def test_a_guest_created_with_a_device_is_ready_and_told_that_it_depends_on_having_one(assignable: Host) -> None:
    host = assignable
    host.run(f"{PLAIN}; echo 'pci = [\"{NIC.bdf}\"]' >> /root/g4.cfg; xl create -q /root/g4.cfg")
    host.guest("g4").run("true", timeout=120)
    told = domains(host)["g4"]
    assert told["hotplug_ready"] == "yes"
    assert verdicts(told) == [("yes", ['passthrough="enabled"'])]
    assert told["e820_host"] is True, "xl turns it on by itself where there are devices"
    assert not declare(host, "g4")["failed"]
    assert not declare(host, "g4", NIC)["failed"]
    assert not declare(host, "g4")["failed"]


def test_a_guest_made_for_it_is_ready_once_its_frontend_has_answered(assignable: Host) -> None:
    host = assignable
    before = domains(host)
    assert [before[name]["hotplug_ready"] for name in ("g2", "g3")] == ["unknown", "unknown"]
    assert not declare(host, "g2", NIC)["failed"]
    told = domains(host)["g2"]
    assert (told["hotplug_ready"], told["hotplug_reasons"]) == ("yes", [])
    assert not declare(host, "g2")["failed"]
