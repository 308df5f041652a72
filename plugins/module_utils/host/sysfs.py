# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux' view of PCI: devices and their drivers, pciback's files, resets; all through sysfs.

Nothing is judged here. What uses a disk or a network interface is in `disk_usage.py` and `network_usage.py`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..model.device import PCIBACK, ConfigFlags, PciDevice
from ..model.usage import GuestDisk
from ..values.address import AddressError, Sbdf
from ..values.errors import HostError
from ..values.words import listed
from .config_space import ConfigSpace
from .device_files import VirtualPlace, driver_override, interrupt_line, open_config, read_device
from .disk_usage import BlockGraph
from .kernel_files import link_name, link_target, list_names, read_text
from .kernel_writes import KernelWrites, WriteHangs
from .network_usage import NetGraph
from .surroundings import Surroundings, consoles, reserved_memory, slot_names

#: pciback's files show one page; addresses have 13 bytes, so a longer list ends after this many.
_PAGE_OF_ADDRESSES = 4096 // 13
#: Kernels that take an entry twice drop all of them at once; one write each is tried in any case.
_MOST_DUPLICATES = 64
_CONNECTION = re.compile(r"pci-(\d{1,5})-0", re.ASCII)
_ADVICE = {
    errno.ENOENT: "the file or the driver does not exist; load the driver's module",
    errno.ENODEV: "the driver does not accept the device",
    errno.EBUSY: "something still uses the device; find out what and stop it",
    errno.EACCES: "permission is missing; run as root",
    errno.EPERM: "permission is missing; run as root on dom0",
    errno.EROFS: "sysfs is mounted read-only; remount it",
    errno.ENOTTY: "the kernel knows no way to do that with this device",
    errno.ENOMEM: "the host has too little free memory, or the firmware gave the device no address windows",
    errno.EIO: "the device did not answer; the kernel log (dmesg) says more",
}
#: What to do about a write that hangs.
HANGING_ADVICE = (
    "see what uses the device (open files of its nodes in /dev, `dmesg`) and end that; if the write does not return"
    " then, only a restart of dom0 ends it"
)


class SysfsError(HostError):
    """Sysfs refused or lacks something; `errno` is the kernel's number, 0 if it gave none."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.errno = number


class DeviceHangs(SysfsError):
    """A write to a device's files was given up and may go on, so it is not known what the device does."""


class Sysfs:
    """The PCI part of a host's sysfs below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.writes = KernelWrites(root)
        self._bus = root / "bus" / "pci"

    @classmethod
    def from_environment(cls) -> Sysfs:
        """Return the tree that SYSFS_PATH names (as libsysfs reads it), else /sys."""
        return cls(Path(os.environ.get("SYSFS_PATH") or "/sys"))

    # ---- what is there

    def devices(self, guest_disks: Iterable[GuestDisk] = ()) -> dict[Sbdf, PciDevice]:
        """All functions of the host, in the order of their addresses; `guest_disks` count as uses of disks.

        Raises SysfsError if there is no PCI bus.
        """
        try:
            names = os.listdir(self._bus / "devices")
        except OSError as error:
            raise SysfsError(
                f"sysfs has no PCI bus ({self._bus / 'devices'}: {error.strerror}); run on a dom0 with sysfs mounted",
                error.errno or 0,
            ) from error
        around = self._surroundings(guest_disks)
        found: dict[Sbdf, PciDevice] = {}
        virtual: dict[Sbdf, VirtualPlace] = {}
        # A physical function comes before its virtual ones, whose addresses begin behind it (pci_iov_virtfn_bus and
        # pci_iov_virtfn_devfn in drivers/pci/iov.c).
        for sbdf in sorted(_addresses(names)):
            with contextlib.suppress(FileNotFoundError):  # unplugged while we were reading
                found[sbdf] = read_device(self._real_directory(sbdf), sbdf, around, virtual.get(sbdf))
                virtual.update(VirtualPlace.below(found[sbdf]))
        return found

    def device(self, sbdf: Sbdf) -> PciDevice:
        """One function. Raises SysfsError if it is gone."""
        try:
            around = self._surroundings()
            device = read_device(self._real_directory(sbdf), sbdf, around)
            if device.physfn is None:
                return device
            physical = read_device(self._real_directory(device.physfn), device.physfn, around)
            place = VirtualPlace.below(physical)[sbdf]
            return replace(device, vf_index=place.number, path=place.path)
        except (FileNotFoundError, KeyError) as error:
            raise SysfsError(
                f"the host has no PCI device {sbdf}; check the address with `lspci -D`", errno.ENOENT
            ) from error

    def exists(self, sbdf: Sbdf) -> bool:
        """Whether the host has such a function."""
        return self._directory(sbdf).exists()

    def driver_of(self, sbdf: Sbdf) -> str | None:
        """Name of the driver that holds the device now, None if there is none."""
        return link_name(self._directory(sbdf) / "driver")

    def binding(self, sbdf: Sbdf) -> str:
        """Return what distinguishes one binding to a driver from the next one, empty if there is none.

        The kernel makes a new link at each (driver_sysfs_add in drivers/base/dd.c) and numbers links in turn
        (__kernfs_new_node).
        """
        return _identity_of(self._directory(sbdf) / "driver")

    def driver_path(self, sbdf: Sbdf) -> str | None:
        """Name the driver's directory as libxl records it, always in its canonical form below /sys."""
        name = self.driver_of(sbdf)
        return f"/sys/bus/pci/drivers/{name}" if name else None

    def drivers(self) -> frozenset[str]:
        """Names of all PCI drivers that are loaded."""
        return frozenset(list_names(self._bus / "drivers"))

    def drivers_of_module(self, module: str) -> list[str]:
        """Names of the PCI drivers that a loaded module has registered, by its name with underscores.

        The link is there also for a module that is built in and has parameters (module_add_driver). A driver of the
        same name counts where there is none.
        """
        links = list_names(self.root / "module" / module / "drivers")
        named = sorted(name for name in self.drivers() if name.replace("-", "_") == module)
        return sorted(link.partition(":")[2] for link in links if link.startswith("pci:")) or named

    def pciback_loaded(self) -> bool:
        """Whether pciback is there to take devices."""
        return (self._bus / "drivers" / PCIBACK).is_dir()

    def kernel_connections(self) -> frozenset[int]:
        """Domids of the PCI connections that dom0's kernel has, on its xen-backend bus."""
        try:
            names = os.listdir(self.root / "bus" / "xen-backend" / "devices")
        except OSError:
            return frozenset()  # no xen-backend bus: no backend driver is loaded
        return frozenset(int(match[1]) for name in names if (match := _CONNECTION.fullmatch(name)))

    def backend_device_exists(self, domid: int) -> bool:
        """Whether dom0's kernel still has the PCI backend of a domain."""
        return (self.root / "bus" / "xen-backend" / "devices" / f"pci-{domid}-0").exists()

    def backend_identity(self, domid: int) -> str:
        """Return what distinguishes dom0's PCI backend of a domain from the next one, empty if there is none."""
        return _identity_of(self.root / "bus" / "xen-backend" / "devices" / f"pci-{domid}-0")

    def kernel(self) -> tuple[int, int]:
        """Version of dom0's kernel, (0, 0) if its name does not begin with one."""
        match = re.match(r"(\d+)\.(\d+)", os.uname().release)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    def config_flags(self, sbdf: Sbdf) -> ConfigFlags:
        """Read what a driver has switched on in the device, from dom0's view. Raises SysfsError if it is gone."""
        with self._config(sbdf) as config:
            return config.flags()

    def interrupt_line(self, sbdf: Sbdf) -> int:
        """Its interrupt line as far as it shows now, else 0."""
        return interrupt_line(str(self._directory(sbdf)))

    def answers(self, sbdf: Sbdf) -> bool:
        """Whether the device answers at all. Raises SysfsError if it is gone."""
        with self._config(sbdf) as config:
            return config.answers()

    # ---- what changes something

    def reset(self, sbdf: Sbdf) -> bool:
        """Reset the function. False if the kernel knows no way to; SysfsError if the reset failed."""
        file = self._directory(sbdf) / "reset"
        if not file.exists():
            return False
        self._write(file, "1", sbdf, "be reset")
        return True

    def unbind(self, sbdf: Sbdf) -> None:
        """Take the device from the driver that holds it; without one nothing is done."""
        driver = self.driver_of(sbdf)
        if driver is not None:
            self._write(self._driver_file(driver, "unbind"), str(sbdf), sbdf, f"be taken from driver {driver}")

    def bind(self, sbdf: Sbdf, driver: str) -> None:
        """Give the device to a driver that is loaded."""
        self._write(self._driver_file(driver, "bind"), str(sbdf), sbdf, f"be given to driver {driver}")

    def probe(self, sbdf: Sbdf) -> bool:
        """Let the kernel find a driver among those loaded. False if none took the device, or not yet.

        A driver that wants to be asked again later shows as EINVAL (drivers_probe_store in drivers/base/bus.c).
        """
        try:
            self._write(self._bus / "drivers_probe", str(sbdf), sbdf, "be offered to the loaded drivers")
        except SysfsError as error:
            if error.errno != errno.EINVAL:
                raise
        return self.driver_of(sbdf) is not None

    def add_slot(self, sbdf: Sbdf) -> bool:
        """Put the device on pciback's list. False if it was on it.

        The file shows one page of the list only, and older kernels add the same entry twice;
        `remove_slot` drops all of them (pcistub_device_id_remove).
        """
        if sbdf in self._listed_by_pciback("slots"):
            return False
        self._write(self._driver_file(PCIBACK, "new_slot"), str(sbdf), sbdf, "be put on pciback's list")
        return True

    def remove_slot(self, sbdf: Sbdf) -> bool:
        """Take the device off pciback's list, however often it is there. False if it was not on it."""
        for removed in range(_MOST_DUPLICATES):
            try:
                self._write(self._driver_file(PCIBACK, "remove_slot"), str(sbdf), sbdf, "be taken off pciback's list")
            except SysfsError as error:
                if error.errno == errno.ENOENT and self.pciback_loaded():
                    return removed > 0
                raise
        return True

    def pciback_list(self) -> dict[Sbdf, int]:
        """How often pciback's list names each function, as far as the kernel shows it."""
        return dict(Counter(self._listed_by_pciback("slots")))

    def permissive(self, sbdf: Sbdf) -> bool:
        """Whether pciback lets the device's user write all of its configuration space."""
        return sbdf in self._listed_by_pciback("permissive")

    def permissive_for_all(self) -> bool:
        """Whether pciback was loaded to do so for every device."""
        return read_text(self.root / "module" / "xen_pciback" / "parameters" / "permissive") == "Y"

    def set_permissive(self, sbdf: Sbdf) -> None:
        """Have pciback let all writes to configuration space through, for as long as it holds the device."""
        self._write(self._driver_file(PCIBACK, "permissive"), str(sbdf), sbdf, "be made permissive")

    def driver_override(self, sbdf: Sbdf) -> str | None:
        """Read the only driver that may take the device, None if any may."""
        return driver_override(str(self._directory(sbdf)))

    def needs_driver_override(self, sbdf: Sbdf) -> bool:
        """Whether the kernel gives the device to no driver but the one in driver_override.

        So it is with virtual functions whose physical one is not to have them probed (pci_device_can_probe).
        """
        return read_text(self._directory(sbdf) / "physfn" / "sriov_drivers_autoprobe") == "0"

    def set_driver_override(self, sbdf: Sbdf, driver: str) -> None:
        """Let only this driver take the device."""
        self._write(self._directory(sbdf) / "driver_override", driver, sbdf, f"be reserved for driver {driver}")

    def clear_driver_override(self, sbdf: Sbdf) -> None:
        """Let any driver take the device again."""
        self._write(self._directory(sbdf) / "driver_override", "\n", sbdf, "be freed of its driver_override")

    # ---- how

    @contextlib.contextmanager
    def _config(self, sbdf: Sbdf) -> Iterator[ConfigSpace]:
        try:
            with open_config(str(self._directory(sbdf))) as config:
                yield config
        except OSError as error:
            raise SysfsError(
                f"the configuration space of {sbdf} cannot be read ({error.strerror});"
                " check that the device is still there and that we are root",
                error.errno or 0,
            ) from error

    def _directory(self, sbdf: Sbdf) -> Path:
        return self._bus / "devices" / str(sbdf)

    def _driver_file(self, driver: str, name: str) -> Path:
        return self._bus / "drivers" / driver / name

    def _real_directory(self, sbdf: Sbdf) -> str:
        return link_target(f"{self._bus}/devices/{sbdf}")

    def _surroundings(self, guest_disks: Iterable[GuestDisk] = ()) -> Surroundings:
        slots = Counter(self._listed_by_pciback("slots"))
        return Surroundings(
            blocks=BlockGraph(self.root, guest_disks).by_device(),
            nets=NetGraph(self.root).by_device(),
            consoles=consoles(self.root),
            slot_names=slot_names(self.root),
            pciback_slots=slots,
            pciback_slots_cut=sum(slots.values()) >= _PAGE_OF_ADDRESSES,
            permissive=frozenset(self._listed_by_pciback("permissive")),
            reserved_memory=reserved_memory(self.root),
            hanging=self.writes.hanging(),
        )

    def _listed_by_pciback(self, name: str) -> list[Sbdf]:
        return _addresses((read_text(self._driver_file(PCIBACK, name)) or "").split())

    def _state_of(self, sbdf: Sbdf) -> str:
        """Say who has the device while a write to it hangs: a driver, and processes that it may wait for."""
        from .open_nodes import open_nodes_of  # noqa: PLC0415 - not needed where no write hangs

        driver = self.driver_of(sbdf)
        state = f"{sbdf} {f'is still bound to {driver}' if driver else 'has no driver now'}"
        nodes = open_nodes_of(self.root, sbdf)
        return f"{state}, and {listed(nodes)} is open" if nodes else state

    def _write(self, file: Path, text: str, sbdf: Sbdf, purpose: str) -> None:
        try:
            self.writes.write(file, text, sbdf)
        except WriteHangs as error:
            raise DeviceHangs(
                f"{sbdf} could not {purpose}: writing to {file} hangs: {error.text}; {self._state_of(sbdf)};"
                f" {HANGING_ADVICE}"
            ) from error
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "the kernel log (dmesg) says more")
            raise SysfsError(
                f"{sbdf} could not {purpose}: writing to {file} failed ({error.strerror}); {advice}", error.errno or 0
            ) from error


def _addresses(words: Iterable[str]) -> list[Sbdf]:
    """Those of the words that are addresses, in their order."""
    found = []
    for word in words:
        with contextlib.suppress(AddressError):
            found.append(Sbdf.parse(word))
    return found


def _identity_of(link: Path) -> str:
    """Return what distinguishes a link of sysfs from the next one of its name, empty if there is none."""
    try:
        found = os.lstat(link)
    except OSError:
        return ""
    return f"{found.st_ino}-{found.st_ctime_ns}"
