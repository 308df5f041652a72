# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands that bring a simulated host into a bad state, each by what makes it so on a real one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from simulated import AMPLE, A, B, C, Host, marker

Break = Callable[[Host], object]


def back(domid: int, node: str) -> str:
    return f"/local/domain/0/backend/pci/{domid}/0/{node}"


def front(domid: int, node: str) -> str:
    return f"/local/domain/{domid}/device/pci/0/{node}"


def name(domid: int) -> str:
    return f"/local/domain/{domid}/name"


def pause(host: Host, paused: bool = True) -> None:
    host.ask("pause", domain="g1", paused=paused)


def wake(host: Host) -> None:
    pause(host, False)


def acting(*steps: tuple[str, ...]) -> Break:
    return lambda host: host.act(*steps)


def in_turn(*breaks: Break) -> Break:
    def make(host: Host) -> None:
        for one in breaks:
            one(host)

    return make


def xl(*words: str) -> Break:
    return lambda host: host.xl(*words)


def sysfs_unbind(device: str) -> Break:
    return acting(("unbind", device))


def release_hangs(host: Host) -> None:
    """A run that was to give a device back to the host, and that gave up on its driver."""
    host.inject("write-hangs", device=B, file="unbind")
    assert host.run("assignable_devices", {"devices": [B], "state": "absent", "timeout": 1})["failed"]


def kept_for_an_hvm_guest(host: Host) -> None:
    """A guest's first device leaves it, and another toolstack tries to give it to a PV guest."""
    host.ask("create", config={"name": "h1", "type": "hvm"})
    for devices in ([B, C], [C]):
        assert not host.devices(h1=devices).get("failed")
    host.xl("pci-attach", "g1", B)
    until(host, back(1, "state"), "5")
    host.repair(faults=["refused_cycle", "left_rights", "stale_configuration"])


def refused_by_pciback(host: Host) -> None:
    host.inject("refuse-export", device=B)
    host.xl("pci-attach", "g1", B)
    host.inject("refuse-export", device=B, refuse=False)


def wait(done: Callable[[], bool], complaint: str) -> None:
    deadline = time.monotonic() + AMPLE
    while not done():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


def until(host: Host, path: str, value: str) -> None:
    wait(lambda: host.nodes().get(path) == value, f"{path} is not {value}")


def stale_and_stuck(host: Host) -> None:
    """A removal that nobody compacted, and then another change on top of it."""
    host.act(("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")
    host.act(("write", back(1, "state"), "7"))
    until(host, front(1, "state"), "7")


def uncompacted(host: Host) -> None:
    host.act(("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")


def emptied(host: Host) -> None:
    uncompacted(host)
    gone = [("remove", back(1, f"{kind}-0")) for kind in ("dev", "key", "state", "vdev", "opts")]
    host.act(("write", back(1, "num_devs"), "0"), *gone)


def died(host: Host) -> None:
    host.ask("destroy", domain="g1")


def closed_by_guest(host: Host) -> None:
    """The guest reads no address of a device to remove, and gives up."""
    host.act(("remove", back(1, "vdev-0")), ("write", back(1, "state-0"), "5"), ("write", back(1, "state"), "7"))
    until(host, front(1, "state"), "5")
    until(host, back(1, "state"), "5")


def repair_killed(host: Host) -> None:
    """Behind the removal of the connection, before it is made anew."""
    removed = "after rm /local/domain/0/backend, then after commit"
    assert host.run("repair", {"settle": 0.5, "timeout": 15}, kill_at=removed) == {"killed": 9}


def close_unanswered(host: Host) -> None:
    pause(host)
    host.act(("write", back(1, "online"), "0"), ("write", back(1, "state"), "5"))


def close_unfinished(host: Host) -> None:
    host.act(("write", back(1, "online"), "0"), ("write", back(1, "state"), "5"))
    until(host, back(1, "state"), "6")


def missed_connect(host: Host) -> None:
    """A guest before Linux 6.1 sleeps when dom0 connects, and an impatient toolstack asks for the next change."""
    host.ask("destroy", domain="g1")
    host.ask("create", config={"name": "g1", "linux": "5.10"})
    number = host.guest("g1")["domid"]
    host.inject("pause-at", domain="0", step="backend:3", victim="g1")
    host.xl("pci-attach", "g1", A)
    until(host, back(number, "state"), "4")
    host.xl("pci-attach", "g1", B)
    wake(host)


def answered_late(host: Host) -> None:
    """The guest had read the request when it was paused; then the request was withdrawn."""
    host.inject("pause-at", domain="g1", step="frontend:7")
    host.devices(1, g1=[A, B])
    wake(host)
    until(host, front(1, "state"), "7")


def torn_down(host: Host) -> None:
    """Somebody tidied up in xenstore: neither kernel looks at that, and the guest goes on with its devices."""
    host.act(("remove", back(1, "").rpartition("/1/")[0]))


def backend_removed(host: Host) -> None:
    """As far down as here dom0's kernel looks: it takes its devices back. The guest hears nothing of it."""
    host.act(("remove", back(1, "")[:-1]))
    wait(lambda: not (host.directory / "sys/bus/xen-backend/devices/pci-1-0").exists(), "dom0's kernel has it still")


def unbound(host: Host) -> None:
    """And then tried to have dom0's kernel let go: its device stays on the bus."""
    torn_down(host)
    driver = host.directory / "sys" / "bus" / "xen-backend" / "drivers" / "xen-pciback"
    (driver / "unbind").write_text("pci-1-0")
    wait(lambda: not (driver / "pci-1-0").exists(), "pciback still has it")


def unheard_end(host: Host) -> None:
    """The connection vanishes while dom0's kernel hears nothing, as after a xenstored that lost its watches."""
    host.inject("deaf", domain="0")
    host.act(("remove", back(1, "")[:-1]), ("remove", front(1, "")[:-1]))
    host.inject("deaf", domain="0", deaf=False)


def leaked(host: Host) -> None:
    """pciback holds a device for a connection that failed, so it refuses it to everybody."""
    host.inject("refuse-export", device=B)
    host.xl("pci-attach", "g1", B)
    host.repair()


def stored(host: Host, name: str) -> Path:
    """libxl's stored configuration of a guest."""
    domid = host.guest(name)["domid"]
    return next((host.directory / "var" / "lib" / "xen").glob(f"userdata-d.{domid}.*.libxl-json"))


def unconfigured(host: Host) -> None:
    """Another toolstack attached it: xenstore has it, libxl's configuration does not."""
    file = stored(host, "g1")
    config = json.loads(file.read_text().rstrip("\0"))
    config["pcidevs"] = [one for one in config["pcidevs"] if one["bus"] != 1]
    file.write_text(json.dumps(config) + "\0")


def unmarked(host: Host) -> None:
    """The guest let A go, entry and marker were tidied away, but no right was taken: nothing names an owner."""
    host.act(("write", back(1, "state-1"), "5"), ("write", back(1, "state"), "7"))
    until(host, back(1, "state"), "4")
    gone = [("remove", back(1, f"{kind}-1")) for kind in ("dev", "key", "state", "vdev", "opts")]
    host.act(("write", back(1, "num_devs"), "1"), *gone, ("remove", marker(A)))
