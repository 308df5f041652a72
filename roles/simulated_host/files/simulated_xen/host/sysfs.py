# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sysfs: shows the PCI bus as a tree of files, and turns writes to its files into actions on the bus."""

from __future__ import annotations

import errno
import os
from typing import Callable

from . import firmware
from .bus import PCIBACK, PciBus, refuse
from .device import Address, Device
from .files import READ_ONLY, READ_WRITE, WRITE_ONLY, Files
from .machine import vf_layout
from .pciback import PcibackDriver

DEVICES = "bus/pci/devices"
DRIVERS = "bus/pci/drivers"

Action = Callable[[str], None]


def whole_number(text: str) -> int:
    """What the kernel's kstrtoul takes; EINVAL otherwise."""
    try:
        return int(text, 0)
    except ValueError:
        raise refuse(errno.EINVAL) from None


def disk_number(name: str) -> str:
    """Device number of a disk, as Linux gives it: sdb is 8:16, nvme1n1 is 259:1."""
    if name.startswith("sd"):
        return f"8:{16 * (ord(name[2]) - ord('a'))}"
    digits = "".join(letter if letter.isdecimal() else " " for letter in name).split()
    return f"259:{digits[0] if digits else 0}"


class Sysfs:
    """The tree of one host. `write` is what a write(2) to one of its files does; `writes` counts them.

    `udev` is the place of what udev says of disks.
    """

    def __init__(self, files: Files, udev: Files, bus: PciBus, pciback: PcibackDriver) -> None:
        self._files = files
        self._udev = udev
        self._bus = bus
        self._pciback = pciback
        self._paths: dict[Address, str] = {}
        self._registered: dict[Address, list[str]] = {}
        self._class_links: dict[str, list[str]] = {}
        self.actions: dict[str, Action] = {}
        self.writes = 0
        self.on_directory: Callable[[str], None] = lambda directory: None
        bus.observer = self

    # -- building ------------------------------------------------------------------------------------

    def build(self) -> None:
        """Create everything that is there before any driver is bound."""
        for path in (DEVICES, "class/net", "class/nvme", "block", "class/block", "bus/pci/slots"):
            self._files.directory(path)
        for path, action in (("bus/pci/drivers_probe", self._drivers_probe), ("bus/pci/rescan", self._rescan)):
            self._files.attribute(path, "", WRITE_ONLY)
            self.actions[path] = action
        self._files.attribute("bus/pci/drivers_autoprobe", "1", READ_WRITE)
        for driver in self._bus.drivers:
            self._build_driver(driver)
        for device in self._bus.devices.values():
            self.added(device)
        self._platform()

    def _build_driver(self, driver: str) -> None:
        base = f"{DRIVERS}/{driver}"
        self._files.directory(base)
        actions: dict[str, Action] = {
            "bind": lambda text: self._bus.bind(self._bus.find(text), driver),
            "unbind": lambda text: self._bus.unbind(self._bus.find(text), driver),
            "new_id": lambda text: self._bus.add_new_id(driver, text),
            "remove_id": lambda text: self._bus.remove_id(driver, text),
        }
        if driver == PCIBACK:
            actions["new_slot"] = self._with_pciback_files(self._pciback.new_slot)
            actions["remove_slot"] = self._with_pciback_files(self._pciback.remove_slot)
            actions["permissive"] = self._with_pciback_files(self._pciback.set_permissive)
            actions["allow_interrupt_control"] = lambda text: None
            actions["quirks"] = lambda text: None
            actions["irq_handler_state"] = lambda text: None
            self._files.attribute(f"{base}/irq_handlers", "")
        for name, action in actions.items():
            readable = name in ("permissive", "quirks", "allow_interrupt_control")
            self._files.attribute(f"{base}/{name}", "", READ_WRITE if readable else WRITE_ONLY)
            self.actions[f"{base}/{name}"] = action
        if driver == PCIBACK:
            self._pciback_files()

    def _with_pciback_files(self, action: Action) -> Action:
        def run(text: str) -> None:
            action(text)
            self._pciback_files()

        return run

    def _pciback_files(self) -> None:
        base = f"{DRIVERS}/{PCIBACK}"
        self._files.attribute(f"{base}/slots", "\n".join(str(address) for address in self._pciback.slots))
        permissive = [str(address) for address, held in self._pciback.held.items() if held.permissive]
        self._files.attribute(f"{base}/permissive", "\n".join(permissive), READ_WRITE)

    def _platform(self) -> None:
        """What the rest of a dom0's sysfs says to a toolstack."""
        major, minor = self._bus.machine.xen
        texts = {
            "hypervisor/type": "xen",
            "hypervisor/uuid": "00000000-0000-0000-0000-000000000000",
            "hypervisor/guest_type": self._bus.machine.dom0.upper(),
            "hypervisor/version/major": str(major),
            "hypervisor/version/minor": str(minor),
            "hypervisor/version/extra": ".0",
            "hypervisor/properties/capabilities": "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64",
            "hypervisor/properties/features": "00000000,00000705",
            "module/xen_pciback/parameters/passthrough": "Y" if self._bus.machine.passthrough else "N",
            "module/xen_pciback/parameters/permissive": "N",
            "module/xen_pciback/parameters/hide": "".join(f"({a})" for a in self._bus.machine.hidden),
        }
        nodes = sorted({max(device.facts.numa, 0) for device in self._bus.devices.values()} | {0})
        for node in nodes:
            texts[f"devices/system/node/node{node}/cpulist"] = self._cpulist(node)
        texts["devices/system/node/online"] = f"0-{nodes[-1]}" if nodes[-1] else "0"
        regions = firmware.reserved(self._bus.devices.values())
        contents: dict[str, str | bytes] = {**texts, f"firmware/acpi/tables/{firmware.NAME}": firmware.table(regions)}
        for path, value in contents.items():
            self._files.directory(os.path.dirname(path))
            self._files.attribute(path, value)

    def _cpulist(self, node: int) -> str:
        count = self._bus.machine.cpus_per_node
        return f"{node * count}-{node * count + count - 1}"

    # -- devices -------------------------------------------------------------------------------------

    def path(self, device: Device) -> str:
        """Where a device's directory really is, from the root of the tree."""
        return self._paths[device.address]

    def added(self, device: Device) -> None:
        """Create a device's directory and its place in the lists."""
        above = f"devices/pci{device.address.segment:04x}:{device.address.bus:02x}"
        if device.parent is not None:
            above = self._paths[device.parent.address]
        base = f"{above}/{device}"
        self._paths[device.address] = base
        self._files.directory(f"{base}/power")
        for name, (value, mode) in self._attributes(device).items():
            self._files.attribute(f"{base}/{name}", value, mode)
        self._files.attribute(f"{base}/config", bytes(device.config), READ_WRITE)
        self._files.link(f"{base}/subsystem", "bus/pci")
        self._files.link(f"{DEVICES}/{device}", base)
        self._register(device, base)
        if device.physfn is not None:
            self._files.link(f"{base}/physfn", self.path(device.physfn))
        if device.driver is not None:
            self.changed(device, None)

    def _attributes(self, device: Device) -> dict[str, tuple[str, int]]:
        identity, facts = device.model.identity, device.facts
        texts = {
            "vendor": f"0x{identity.vendor:04x}",
            "device": f"0x{identity.device:04x}",
            "subsystem_vendor": f"0x{identity.subsystem_vendor:04x}",
            "subsystem_device": f"0x{identity.subsystem_device:04x}",
            "class": f"0x{identity.class_code:06x}",
            "revision": f"0x{identity.revision:02x}",
            "irq": str(device.irq),
            "resource": "\n".join(f"0x{r.start:016x} 0x{r.end:016x} 0x{r.flags:016x}" for r in device.regions),
            "modalias": device.modalias(),
            "local_cpulist": self._cpulist(max(facts.numa, 0)),
            "uevent": f"PCI_CLASS={identity.class_code:X}\nPCI_SLOT_NAME={device}\nMODALIAS={device.modalias()}",
        }
        result = {name: (value, READ_ONLY) for name, value in texts.items()}
        result["numa_node"] = (str(facts.numa), READ_WRITE)
        result["enable"] = ("0", READ_WRITE)
        result["d3cold_allowed"] = ("1", READ_WRITE)
        result["driver_override"] = ("(null)", READ_WRITE)
        result["remove"] = ("", WRITE_ONLY)
        result["rescan"] = ("", WRITE_ONLY)
        if identity.class_code >> 16 == 0x03:
            result["boot_vga"] = (str(int(facts.boot_vga)), READ_ONLY)
        if device.model.total_vfs:
            result["sriov_totalvfs"] = (str(device.model.total_vfs), READ_ONLY)
            result["sriov_numvfs"] = ("0", READ_WRITE)
            result["sriov_drivers_autoprobe"] = ("1", READ_WRITE)
            _total, offset, stride, vf_device = vf_layout(device.address, device.model.total_vfs, device.model.vf_model)
            result["sriov_offset"] = (str(offset), READ_ONLY)
            result["sriov_stride"] = (str(stride), READ_ONLY)
            result["sriov_vf_device"] = (f"{vf_device:x}", READ_ONLY)
        if device.resets:
            result["reset"] = ("", WRITE_ONLY)
            if self._bus.machine.linux >= (5, 15):
                result["reset_method"] = (" ".join(device.resets), READ_WRITE)
        return result

    def _register(self, device: Device, base: str) -> None:
        """What writes to the device's files do."""
        actions: dict[str, Action] = {
            "driver_override": lambda text: self._bus.set_override(device, text),
            "remove": lambda text: self._bus.remove(device),
            "rescan": self._rescan,
            "reset": lambda text: self._reset(device, text),
            "reset_method": lambda text: self._bus.set_reset_methods(device, text),
        }
        if device.model.total_vfs:
            actions["sriov_numvfs"] = lambda text: self._bus.set_numvfs(device, whole_number(text))
            actions["sriov_drivers_autoprobe"] = lambda text: self._autoprobe(device, text)
        self._registered[device.address] = list(actions)
        for name, action in actions.items():
            self.actions[f"{base}/{name}"] = action
        self.on_directory(base)

    def removed(self, device: Device) -> None:
        """Take a device's directory away."""
        base = self._paths.pop(device.address)
        self._drop_class_links(base)
        self._files.unlink(f"{DEVICES}/{device}")
        for name in self._registered.pop(device.address):
            del self.actions[f"{base}/{name}"]
        self._files.remove_tree(base)

    def changed(self, device: Device, before: str | None) -> None:
        """Bring links, attributes and children up to date."""
        base = self._paths.get(device.address)
        if base is None:
            return
        if before is not None and before != device.driver:
            self._files.unlink(f"{DRIVERS}/{before}/{device}")
            self._files.unlink(f"{base}/driver")
        if device.driver is not None:
            self._files.link(f"{base}/driver", f"{DRIVERS}/{device.driver}")
            self._files.link(f"{DRIVERS}/{device.driver}/{device}", base)
        self._files.attribute(f"{base}/driver_override", device.override or "(null)", READ_WRITE)
        self._files.attribute(f"{base}/enable", "1" if device.driver else "0", READ_WRITE)
        if device.resets and self._bus.machine.linux >= (5, 15):
            self._files.attribute(f"{base}/reset_method", " ".join(device.resets), READ_WRITE)
        self.config(device)
        self._virtual_functions(device, base)
        self._children(device, base)
        if PCIBACK in (before, device.driver):
            self._pciback_files()

    def config(self, device: Device) -> None:
        """Show a device's configuration space as it is now, and its interrupt."""
        base = self._paths.get(device.address)
        if base is not None:
            self._files.patch(f"{base}/config", bytes(device.config))
            if device.model.msi:
                self._interrupt(device, base)

    def _interrupt(self, device: Device, base: str) -> None:
        """Linux shows the number of the message in place of the line (irq_show in drivers/pci/pci-sysfs.c)."""
        self._files.remove_tree(f"{base}/msi_irqs")
        if device.message is not None:
            self._files.directory(f"{base}/msi_irqs")
            self._files.attribute(f"{base}/msi_irqs/{device.message}", "msi")
        self._files.attribute(f"{base}/irq", str(device.irq if device.message is None else device.message))

    def _virtual_functions(self, device: Device, base: str) -> None:
        if not device.model.total_vfs:
            return
        self._files.attribute(f"{base}/sriov_numvfs", str(len(device.vfs)), READ_WRITE)
        for index in range(device.model.total_vfs):
            self._files.unlink(f"{base}/virtfn{index}")
        for index, child in enumerate(device.vfs):
            self._files.link(f"{base}/virtfn{index}", self.path(child))

    # -- children of drivers -------------------------------------------------------------------------

    def _children(self, device: Device, base: str) -> None:
        kind = device.model.child
        if not kind:
            return
        top = {"net": "net", "nvme": "nvme", "ata": "ata1"}[kind]
        if device.names and self._files.has_directory(f"{base}/{top}"):
            return
        self._drop_class_links(base)
        self._files.remove_tree(f"{base}/{top}")
        for name in device.names:
            getattr(self, f"_make_{kind}")(device, f"{base}/{top}", name)

    def _drop_class_links(self, base: str) -> None:
        for link in self._class_links.pop(base, ()):
            self._files.unlink(link)

    def _make(self, path: str, texts: dict[str, str], links: list[str], owner: str) -> None:
        self._files.directory(path)
        for name, value in texts.items():
            self._files.directory(os.path.dirname(f"{path}/{name}"))
            self._files.attribute(f"{path}/{name}", value)
        self._files.link(f"{path}/device", owner)
        for link in links:
            self._files.link(link, path)
            self._class_links.setdefault(self._base_of(path), []).append(link)

    @staticmethod
    def _base_of(path: str) -> str:
        """The device's directory that a child's directory lies in."""
        parts = path.split("/")
        last = max(index for index, part in enumerate(parts) if part.count(":") == 2 and part[-2:-1] == ".")
        return "/".join(parts[: last + 1])

    def _make_net(self, device: Device, top: str, name: str) -> None:
        up = device.facts.up
        texts = {
            "address": device.facts.mac or "52:54:00:00:00:00",
            "operstate": "up" if up else "down",
            "flags": "0x1003" if up else "0x1002",
            "carrier": "1" if up else "0",
            "ifindex": "2",
            "type": "1",
        }
        self._make(f"{top}/{name}", texts, [f"class/net/{name}"], os.path.dirname(top))

    def _make_nvme(self, device: Device, top: str, name: str) -> None:
        texts = {
            "serial": device.facts.serial.ljust(20),
            "model": "Simulated NVMe",
            "firmware_rev": "1.0",
            "transport": "pcie",
            "address": str(device),
            "state": "live",
        }
        self._make(f"{top}/{name}", texts, [f"class/nvme/{name}"], os.path.dirname(top))
        self._make_disk(f"{top}/{name}", f"{name}n1")

    def _make_ata(self, device: Device, top: str, name: str) -> None:
        scsi = f"{top}/host0/target0:0:0/0:0:0:0"
        self._files.directory(scsi)
        self._make_disk(f"{scsi}/block", name)

    def _make_disk(self, top: str, name: str) -> None:
        number = disk_number(name)
        texts = {"size": "32768", "ro": "0", "removable": "0", "queue/logical_block_size": "512", "dev": number}
        self._udev.attribute(f"b{number}", "E:DEVTYPE=disk")  # udev has looked and found no signature
        owner = os.path.dirname(top) if top.endswith("/block") else top
        self._make(f"{top}/{name}", texts, [f"block/{name}", f"class/block/{name}"], owner)
        self._files.directory(f"{top}/{name}/holders")

    # -- writing -------------------------------------------------------------------------------------

    def write(self, path: str, data: bytes) -> None:
        """What a write(2) of `data` to a file does; `path` is from the root, links resolved. Raises OSError."""
        self.writes += 1
        action = self.actions.get(path)
        if action is None:
            raise refuse(errno.EACCES)
        action(data.decode("ascii", "replace").rstrip("\n\0").strip())

    def shown(self, path: str) -> None:
        """Put back what a file should say, after somebody wrote into the file itself."""
        name = os.path.basename(path)
        for device in self._bus.devices.values():
            if path == f"{self._paths[device.address]}/{name}":
                attributes = self._attributes(device)
                if name in attributes and attributes[name][1] == WRITE_ONLY:
                    self._files.attribute(path, "", WRITE_ONLY)
                self.changed(device, device.driver)
                return
        self._files.attribute(path, "", WRITE_ONLY)
        self._pciback_files()

    def _drivers_probe(self, text: str) -> None:
        if not self._bus.probe(self._bus.find(text)):
            raise refuse(errno.EINVAL)

    def _rescan(self, text: str) -> None:
        if whole_number(text):
            self._bus.rescan()

    def _reset(self, device: Device, text: str) -> None:
        if whole_number(text) != 1:
            raise refuse(errno.EINVAL)
        self._bus.reset(device, "dom0")

    def _autoprobe(self, device: Device, text: str) -> None:
        device.autoprobe = bool(whole_number(text))
        self._files.attribute(f"{self.path(device)}/sriov_drivers_autoprobe", str(int(device.autoprobe)), READ_WRITE)
