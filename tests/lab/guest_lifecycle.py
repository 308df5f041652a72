# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of guest g2 with two devices: attached by us or by xl, rebooted, saved; what libxl has stored of a guest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import playbook
from independent_view import drivers

from xenlab import Host, topology

NIC, TWIN = topology.NICS[0], topology.DUAL_NIC[1]
PARTS = (NIC, TWIN)
#: What xl 4.17 itself stores of them.
STORED = [
    {"bus": 1, "vfunc_mask": 1, "rdm_policy": "strict"},
    {"func": 1, "dev": 8, "vfunc_mask": 1, "rdm_policy": "strict"},
]


def by_us(host: Host, *parts: topology.Device, guest: str = "g2") -> None:
    """Declare exactly these devices for a guest, and see it hold."""
    declared = {guest: {"devices": [part.bdf for part in parts], "exclusive": True}}
    result = playbook.task(host, "xen.pci.domain_devices", {"domains": declared, "converge": "active", "timeout": 300})
    assert not result["failed"], result["msg"]


def by_xl(host: Host, *parts: topology.Device) -> None:
    """Attach one by one, each when the guest has the one before."""
    for count, part in enumerate(parts, 1):
        host.run(["xl", "pci-attach", "g2", part.bdf])
        eventually(lambda count=count: len(drivers(host.guest("g2"))) == count)


def from_outside(host: Host) -> None:
    host.run(["xl", "reboot", "g2"])


def from_inside(host: Host) -> None:
    host.guest("g2").run("reboot -f", timeout=5, check=False)  # nobody is left to answer


def reboot(host: Host, way: Callable[[Host], None]) -> None:
    """Until xl has built the guest anew and that answers; xl waits 10 s for each device of the old one."""
    old = host.guest("g2").domid
    way(host)
    eventually(lambda: host.run("xl domid g2", check=False).stdout.strip() not in ("", str(old)))
    eventually(lambda: host.guest("g2").run("true", timeout=20, check=False).status == 0)


def eventually(check: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(1)


def stored_config(host: Host, guest: str) -> str:
    """Where libxl stores the configuration of a running guest.

    By its uuid: a host that was rebooted still has the files of an earlier boot, and gives out the same domids again.
    """
    domid = host.guest(guest).domid
    uuid = host.run(f"xenstore-read /local/domain/{domid}/vm").stdout.strip().rpartition("/")[2]
    return f"/var/lib/xen/userdata-d.{domid}.{uuid}.libxl-json"


def stored(host: Host, guest: str = "g2") -> list[dict[str, Any]]:
    """Devices of a guest in libxl's stored configuration."""
    text = host.run(["cat", stored_config(host, guest)]).stdout
    assert text.endswith("}\n\0")
    return json.loads(text.rstrip("\0")).get("pcidevs", [])


def store(host: Host, devices: list[dict[str, Any]], guest: str = "g2") -> None:
    """Have libxl's stored configuration list these, and nothing else know of it, as if a toolstack had died then."""
    path = stored_config(host, guest)
    config = json.loads(host.run(["cat", path]).stdout.rstrip("\0"))
    host.run(["tee", path], stdin=json.dumps({**config, "pcidevs": devices}) + "\n\0")


def listed(host: Host, guest: str = "g2") -> list[dict[str, Any]]:
    """Devices of a guest in what xl shows of its configuration, from which it builds the guest anew at a reboot."""
    [shown] = json.loads(host.run(["xl", "list", "-l", guest]).stdout)
    return shown["config"].get("pcidevs", [])


def saved(host: Host) -> list[dict[str, Any]]:
    """Save g2, which ends it; its devices in the configuration at the head of the file."""
    host.run("xl save g2 /root/g2.save", timeout=300)
    head = host.run("head -c 16384 /root/g2.save | tr -d '\\000' | tr -cd '[:print:]\\n'; rm /root/g2.save").stdout
    config, _end = json.JSONDecoder().raw_decode(head[head.index("{\n") :])
    return config.get("pcidevs", [])


@contextmanager
def assignable_parts(host: Host) -> Iterator[Host]:
    """The devices with pciback and a fresh g2; afterwards again, and the devices with dom0."""
    for part in PARTS:
        host.run(["xl", "pci-assignable-add", part.bdf])
    yield host
    host.run("xl destroy g2", check=False)
    host.run("xl create -q /etc/xen/g2.cfg")
    host.guest("g2").run("true", timeout=120)
    for part in PARTS:
        host.run(["xl", "pci-assignable-remove", "-r", part.bdf])
    # xl leaves the closed connection of a guest that rebooted behind.
    assert not playbook.task(host, "xen.pci.repair", {})["failed"]
