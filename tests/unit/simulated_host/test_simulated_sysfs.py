# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What writes to files of the simulated sysfs do, and with which errno they are refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NIC = "0000:01:00.0"
PF = "0000:05:00.0"


@pytest.fixture
def on_sysfs(play: Any) -> Callable[[Callable[[Any], None]], None]:
    """Runs a test body against the sysfs of a host."""

    def run(body: Callable[[Any], None], **machine: Any) -> None:
        async def script(toolstack: Any) -> None:
            body(toolstack.host)

        play(script, **machine)

    return run


def write(host: Any, path: str, text: str) -> None:
    """What a write(2) does to a file, named by any path that leads to it."""
    real = os.path.realpath(host.run.sys / path)
    host.sysfs.write(os.path.relpath(real, os.path.realpath(host.run.sys)), text.encode())


def refused(host: Any, path: str, text: str) -> str:
    with pytest.raises(OSError) as caught:
        write(host, path, text)
    return errno.errorcode[caught.value.errno or 0]


def driver_of(host: Any, address: str) -> str | None:
    link = host.run.sys / "bus/pci/devices" / address / "driver"
    return link.resolve().name if link.is_symlink() else None


def test_the_way_from_the_driver_to_pciback_and_back(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        interface = host.run.sys / "bus/pci/devices" / NIC / "net/eth0"
        assert driver_of(host, NIC) == "e1000e"
        assert (interface / "address").read_text() == "52:54:00:00:01:01\n"
        assert refused(host, "bus/pci/drivers/pciback/bind", NIC) == "EBUSY"
        write(host, f"bus/pci/devices/{NIC}/driver/unbind", NIC)
        assert not interface.exists()
        assert not (host.run.sys / "class/net/eth0").exists()
        assert refused(host, "bus/pci/drivers/pciback/bind", NIC) == "ENODEV", "it is not among the slots"
        write(host, "bus/pci/drivers/pciback/new_slot", NIC)
        write(host, "bus/pci/drivers/pciback/new_slot", NIC)
        assert (host.run.sys / "bus/pci/drivers/pciback/slots").read_text() == f"{NIC}\n"
        write(host, "bus/pci/drivers/pciback/bind", f"{NIC}\n")
        assert driver_of(host, NIC) == "pciback"
        assert (host.run.sys / "bus/pci/drivers/pciback" / NIC).is_symlink()
        assert refused(host, "bus/pci/drivers/pciback/bind", NIC) == "EBUSY"
        assert refused(host, "bus/pci/drivers/e1000e/unbind", NIC) == "ENODEV"
        write(host, "bus/pci/drivers/pciback/unbind", NIC)
        write(host, "bus/pci/drivers/pciback/remove_slot", NIC)
        assert refused(host, "bus/pci/drivers/pciback/remove_slot", NIC) == "ENOENT"
        write(host, "bus/pci/drivers/e1000e/bind", NIC)
        assert (host.run.sys / "class/net/eth0/address").exists()

    on_sysfs(body)


def test_driver_override_needs_no_slot_and_keeps_others_off(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        override = host.run.sys / "bus/pci/devices" / NIC / "driver_override"
        assert override.read_text() == "(null)\n"
        write(host, f"bus/pci/devices/{NIC}/driver_override", "pciback")
        assert override.read_text() == "pciback\n"
        write(host, f"bus/pci/devices/{NIC}/driver/unbind", NIC)
        assert refused(host, "bus/pci/drivers/e1000e/bind", NIC) == "ENODEV"
        write(host, "bus/pci/drivers_probe", NIC)
        assert driver_of(host, NIC) == "pciback"
        write(host, f"bus/pci/devices/{NIC}/driver_override", "\n")
        assert override.read_text() == "(null)\n"

    on_sysfs(body)


@pytest.mark.parametrize(
    ("path", "text", "error"),
    [
        ("bus/pci/drivers/pciback/new_slot", "nonsense", "EINVAL"),
        ("bus/pci/drivers/pciback/new_slot", "01:*.0", "EINVAL"),
        ("bus/pci/drivers/pciback/permissive", "0000:02:00.0", "ENODEV"),
        ("bus/pci/drivers/e1000e/unbind", "01:00.0", "ENODEV"),
        ("bus/pci/drivers/e1000e/unbind", "0000:77:00.0", "ENODEV"),
        (f"bus/pci/devices/{NIC}/reset", "2", "EINVAL"),
        (f"bus/pci/devices/{NIC}/vendor", "1", "EACCES"),
        (f"bus/pci/devices/{PF}/sriov_numvfs", "5", "ERANGE"),
        (f"bus/pci/devices/{PF}/sriov_numvfs", "many", "EINVAL"),
    ],
)
def test_refusals(on_sysfs: Any, path: str, text: str, error: str) -> None:
    def body(host: Any) -> None:
        assert refused(host, path, text) == error

    on_sysfs(body)


def test_a_wildcard_lists_all_functions(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        write(host, "bus/pci/drivers/pciback/new_slot", "00:08.*")
        slots = (host.run.sys / "bus/pci/drivers/pciback/slots").read_text().split()
        assert slots == [f"0000:00:08.{function}" for function in range(8)]

    on_sysfs(body)


def test_a_listed_bridge_covers_what_is_behind_it(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        write(host, "bus/pci/drivers/pciback/new_slot", "0000:00:1c.0")
        write(host, f"bus/pci/devices/{NIC}/driver/unbind", NIC)
        write(host, "bus/pci/drivers/pciback/bind", NIC)
        assert driver_of(host, NIC) == "pciback"

    on_sysfs(body)


def test_permissive_stays_until_the_device_leaves_pciback(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        permissive = host.run.sys / "bus/pci/drivers/pciback/permissive"
        for path, text in (
            (f"bus/pci/devices/{NIC}/driver/unbind", NIC),
            ("bus/pci/drivers/pciback/new_slot", NIC),
            ("bus/pci/drivers/pciback/bind", NIC),
            ("bus/pci/drivers/pciback/permissive", NIC),
        ):
            write(host, path, text)
        assert permissive.read_text() == f"{NIC}\n"
        host.pciback.put_back(host.bus.find(NIC))
        assert permissive.read_text() == f"{NIC}\n"
        write(host, "bus/pci/drivers/pciback/unbind", NIC)
        assert permissive.read_text() == ""

    on_sysfs(body)


def test_virtual_functions_come_and_go(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        devices = host.run.sys / "bus/pci/devices"
        write(host, f"bus/pci/devices/{PF}/sriov_numvfs", "4")
        assert (devices / PF / "sriov_numvfs").read_text() == "4\n"
        assert (devices / PF / "virtfn3").resolve().name == "0000:05:00.4"
        assert (devices / "0000:05:00.4" / "physfn").resolve().name == PF
        assert refused(host, f"bus/pci/devices/{PF}/sriov_numvfs", "2") == "EBUSY"
        write(host, "bus/pci/drivers/pciback/new_slot", "0000:05:00.2")
        write(host, "bus/pci/drivers/pciback/bind", "0000:05:00.2")
        assert refused(host, f"bus/pci/devices/{PF}/sriov_numvfs", "0") == "EPERM", "one is with pciback"
        write(host, "bus/pci/drivers/pciback/unbind", "0000:05:00.2")
        write(host, f"bus/pci/devices/{PF}/sriov_numvfs", "0")
        assert not (devices / "0000:05:00.1").exists()
        assert not (devices / PF / "virtfn0").exists()
        write(host, f"bus/pci/devices/{PF}/driver/unbind", PF)
        assert refused(host, f"bus/pci/devices/{PF}/sriov_numvfs", "1") == "ENOENT"

    on_sysfs(body)


def test_autoprobe_off_leaves_virtual_functions_without_driver(on_sysfs: Any) -> None:
    nic = {"at": "07:00.0", "model": "igb", "mac": "52:54:00:00:07:00"}

    def body(host: Any) -> None:
        for text, expected in (("0", None), ("1", "igbvf")):
            write(host, "bus/pci/devices/0000:07:00.0/sriov_drivers_autoprobe", text)
            write(host, "bus/pci/devices/0000:07:00.0/sriov_numvfs", "1")
            assert driver_of(host, "0000:07:00.1") == expected
            write(host, "bus/pci/devices/0000:07:00.0/sriov_numvfs", "0")

    on_sysfs(body, devices=[nic])


def test_a_reset_that_fails_says_so(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        device = host.bus.find(NIC)
        write(host, f"bus/pci/devices/{NIC}/reset", "1")
        assert device.reset_count == 1
        device.broken_reset = True
        assert refused(host, f"bus/pci/devices/{NIC}/reset", "1") == "ENOTTY"

    on_sysfs(body)


def test_remove_and_rescan(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        write(host, f"bus/pci/devices/{NIC}/remove", "1")
        assert not (host.run.sys / "bus/pci/devices" / NIC).exists()
        write(host, "bus/pci/rescan", "1")
        assert driver_of(host, NIC) == "e1000e"

    on_sysfs(body)


def test_what_is_hidden_at_boot_is_with_pciback_and_belongs_to_dom0(on_sysfs: Any) -> None:
    def body(host: Any) -> None:
        assert driver_of(host, NIC) == "pciback"
        assert host.hypervisor.owner(host.bus.find(NIC).address) == 0

    on_sysfs(body, hidden=[NIC])


def test_capabilities_can_be_walked(on_sysfs: Any) -> None:
    """By the chains of the PCI specification, with nothing but the bytes."""

    def body(host: Any) -> None:
        def space(address: str) -> bytes:
            return Path(host.run.sys / "bus/pci/devices" / address / "config").read_bytes()

        def standard(data: bytes) -> list[int]:
            offset, found = data[0x34], []
            while offset:
                found.append(data[offset])
                offset = data[offset + 1]
            return found

        def extended(data: bytes) -> dict[int, int]:
            offset, found = 0x100, {}
            while offset:
                header = int.from_bytes(data[offset : offset + 4], "little")
                found[header & 0xFFFF] = offset
                offset = header >> 20
            return found

        nic, physical = space(NIC), space(PF)
        assert len(nic) == 4096
        assert standard(nic) == [0x01, 0x11, 0x10]
        serial = extended(nic)[0x0003]
        assert nic[serial + 4 : serial + 12][::-1].hex("-") == "52-54-00-ff-ff-00-01-01"
        sriov = extended(physical)[0x0010]
        assert int.from_bytes(physical[sriov + 0x0E : sriov + 0x10], "little") == 4, "TotalVFs"
        assert space("0000:00:08.0")[0x0E] == 0x80, "multi-function"

    on_sysfs(body)


def test_xen_hears_of_devices_that_leave_and_come(on_sysfs: Any) -> None:
    """A device that comes back is dom0's, whoever had it before."""

    def body(host: Any) -> None:
        virtual = "0000:05:00.1"
        for name, leave, come in (
            (NIC, (f"bus/pci/devices/{NIC}/remove", "1"), ("bus/pci/rescan", "1")),
            (virtual, (f"bus/pci/devices/{PF}/sriov_numvfs", "0"), (f"bus/pci/devices/{PF}/sriov_numvfs", "1")),
        ):
            if name == virtual:
                write(host, *come)
            device = host.bus.find(name)
            host.hypervisor.assign(0x7FF1, device.address.sbdf)
            write(host, *leave)
            assert host.hypervisor.owner(device.address) == 0
            write(host, *come)
            assert host.hypervisor.owner(host.bus.find(name).address) == 0
            host.hypervisor.assign(0x7FF1, device.address.sbdf)

    on_sysfs(body)
