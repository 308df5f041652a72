# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux' view of PCI: devices and their drivers, pciback's files, resets; all through sysfs.

Policy has no place here, nor has the question who uses a disk or a network interface (see `usage.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..model.host import BlockUse, ConfigFlags, NetInterface, PciDevice, Resource
from ..values.address import AddressError, Sbdf
from .config_space import ConfigSpace
from .usage import BlockGraph, NetGraph

PCIBACK = "pciback"
_VIRTFN = re.compile(r"virtfn\d+")
#: Six BARs and the ROM; what follows in `resource` are SR-IOV's and bridges' windows.
_RESOURCE_LINES = 7
_ADVICE = {
    errno.ENOENT: "the file or the driver does not exist; load the driver's module",
    errno.ENODEV: "the driver does not accept the device",
    errno.EBUSY: "something still uses the device; find out what and stop it",
    errno.EACCES: "permission is missing; run as root",
    errno.EPERM: "permission is missing; run as root on dom0",
    errno.EROFS: "sysfs is mounted read-only; remount it",
}


class SysfsError(Exception):
    """Sysfs refused or lacks something; `errno` is the kernel's number, 0 if it gave none."""

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.errno = number


class Sysfs:
    """The PCI part of a host's sysfs below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._bus = root / "bus" / "pci"

    @classmethod
    def from_environment(cls) -> Sysfs:
        """The tree that SYSFS_PATH names (as libsysfs reads it), else /sys."""
        return cls(Path(os.environ.get("SYSFS_PATH") or "/sys"))

    # ---- what is there

    def devices(self) -> dict[Sbdf, PciDevice]:
        """All functions of the host, in the order of their addresses. Raises SysfsError if there is no PCI bus."""
        try:
            names = sorted(os.listdir(self._bus / "devices"))
        except OSError as error:
            raise SysfsError(
                f"sysfs has no PCI bus ({self._bus / 'devices'}: {error.strerror}); is this a dom0 with sysfs mounted?",
                error.errno or 0,
            ) from error
        blocks, nets = BlockGraph(self.root).by_device(), NetGraph(self.root).by_device()
        found = {}
        for name in names:
            sbdf = Sbdf.parse(name)
            with contextlib.suppress(FileNotFoundError):  # unplugged while we were reading
                found[sbdf] = self._read_device(sbdf, blocks, nets)
        return found

    def device(self, sbdf: Sbdf) -> PciDevice:
        """One function. Raises SysfsError if it is gone."""
        try:
            return self._read_device(sbdf, BlockGraph(self.root).by_device(), NetGraph(self.root).by_device())
        except FileNotFoundError as error:
            raise SysfsError(
                f"the host has no PCI device {sbdf}; check the address with `lspci -D`", errno.ENOENT
            ) from error

    def exists(self, sbdf: Sbdf) -> bool:
        """Whether the host has such a function."""
        return self._directory(sbdf).exists()

    def driver_of(self, sbdf: Sbdf) -> str | None:
        """Name of the driver that holds the device now, None if there is none."""
        return _link_name(self._directory(sbdf) / "driver")

    def driver_path(self, sbdf: Sbdf) -> str | None:
        """The driver's directory as libxl records it, always in its canonical form below /sys."""
        name = self.driver_of(sbdf)
        return f"/sys/bus/pci/drivers/{name}" if name else None

    def drivers(self) -> frozenset[str]:
        """Names of all PCI drivers that are loaded."""
        return frozenset(_names(self._bus / "drivers"))

    def pciback_loaded(self) -> bool:
        """Whether pciback is there to take devices."""
        return (self._bus / "drivers" / PCIBACK).is_dir()

    def backend_device_exists(self, domid: int) -> bool:
        """Whether dom0's kernel still has the PCI backend of a domain."""
        return (self.root / "bus" / "xen-backend" / "devices" / f"pci-{domid}-0").exists()

    def kernel(self) -> tuple[int, int]:
        """Version of dom0's kernel, (0, 0) if its name does not begin with one."""
        match = re.match(r"(\d+)\.(\d+)", os.uname().release)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    def config_flags(self, sbdf: Sbdf) -> ConfigFlags:
        """What a driver has switched on in the device, from dom0's view. Raises SysfsError if it is gone."""
        with self._config(sbdf) as config:
            return config.flags()

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
        if str(sbdf) in self._slots():
            return False
        self._write(self._driver_file(PCIBACK, "new_slot"), str(sbdf), sbdf, "be put on pciback's list")
        return True

    def remove_slot(self, sbdf: Sbdf) -> bool:
        """Take the device off pciback's list. False if it was not on it."""
        try:
            self._write(self._driver_file(PCIBACK, "remove_slot"), str(sbdf), sbdf, "be taken off pciback's list")
        except SysfsError as error:
            if error.errno == errno.ENOENT and self.pciback_loaded():
                return False
            raise
        return True

    def driver_override(self, sbdf: Sbdf) -> str | None:
        """The only driver that may take the device, None if any may."""
        text = _text(self._directory(sbdf) / "driver_override")
        return None if text in (None, "", "(null)") else text

    def clear_driver_override(self, sbdf: Sbdf) -> None:
        """Let any driver take the device again."""
        self._write(self._directory(sbdf) / "driver_override", "\n", sbdf, "be freed of its driver_override")

    # ---- how

    def _directory(self, sbdf: Sbdf) -> Path:
        return self._bus / "devices" / str(sbdf)

    def _driver_file(self, driver: str, name: str) -> Path:
        return self._bus / "drivers" / driver / name

    def _slots(self) -> list[str]:
        slots = []
        for word in (_text(self._driver_file(PCIBACK, "slots")) or "").split():
            with contextlib.suppress(AddressError):
                slots.append(str(Sbdf.parse(word)))
        return slots

    def _write(self, file: Path, text: str, sbdf: Sbdf, purpose: str) -> None:
        try:
            descriptor = os.open(file, os.O_WRONLY)
            try:
                os.write(descriptor, text.encode("ascii"))
            finally:
                os.close(descriptor)
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "the kernel log (dmesg) says more")
            raise SysfsError(
                f"{sbdf} could not {purpose}: writing to {file} failed ({error.strerror}); {advice}", error.errno or 0
            ) from error

    @contextlib.contextmanager
    def _config(self, sbdf: Sbdf) -> Iterator[ConfigSpace]:
        file = self._directory(sbdf) / "config"
        try:
            descriptor = os.open(file, os.O_RDONLY)
        except OSError as error:
            raise SysfsError(
                f"the configuration space of {sbdf} cannot be read: opening {file} failed ({error.strerror});"
                " check that the device is still there and that we are root",
                error.errno or 0,
            ) from error
        try:
            yield ConfigSpace(lambda offset, length: os.pread(descriptor, length, offset))
        finally:
            os.close(descriptor)

    def _read_device(
        self,
        sbdf: Sbdf,
        blocks: dict[Sbdf, list[BlockUse]],
        nets: dict[Sbdf, list[NetInterface]],
    ) -> PciDevice:
        directory = Path(os.path.realpath(self._directory(sbdf)))
        names = set(os.listdir(directory))
        with self._config(sbdf) as config:
            header_type, serial, flags = config.header_type(), config.serial_number(), config.flags()
        return PciDevice(
            sbdf=sbdf,
            vendor=_hexadecimal(directory / "vendor"),
            device=_hexadecimal(directory / "device"),
            subsystem_vendor=_hexadecimal(directory / "subsystem_vendor"),
            subsystem_device=_hexadecimal(directory / "subsystem_device"),
            class_code=_hexadecimal(directory / "class"),
            revision=_hexadecimal(directory / "revision"),
            modalias=_text(directory / "modalias") or "",
            driver=_link_name(directory / "driver") if "driver" in names else None,
            numa_node=_integer(directory / "numa_node", -1),
            irq=_integer(directory / "irq", 0),
            header_type=header_type,
            serial=serial,
            nvme_serial=_nvme_serial(directory) if "nvme" in names else None,
            reset_methods=_reset_methods(directory, names),
            resources=_resources(_text(directory / "resource") or ""),
            physfn=_link_sbdf(directory / "physfn") if "physfn" in names else None,
            virtfns=_sbdfs(_link_name(directory / name) for name in names if _VIRTFN.fullmatch(name)),
            sriov_totalvfs=_integer(directory / "sriov_totalvfs", 0) if "sriov_totalvfs" in names else 0,
            children=_sbdfs(name for name in names if name[-2:-1] == "."),
            config=flags,
            net=tuple(nets.get(sbdf, ())),
            block=tuple(blocks.get(sbdf, ())),
        )


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _hexadecimal(file: Path) -> str:
    return (_text(file) or "").lower().replace("0x", "", 1)


def _integer(file: Path, default: int) -> int:
    try:
        return int(_text(file) or "")
    except ValueError:
        return default


def _link_name(link: Path) -> str | None:
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None


def _link_sbdf(link: Path) -> Sbdf | None:
    found = _sbdfs([_link_name(link)])
    return found[0] if found else None


def _sbdfs(names: Iterable[str | None]) -> tuple[Sbdf, ...]:
    found = []
    for name in names:
        with contextlib.suppress(AddressError):
            found.append(Sbdf.parse(name or ""))
    return tuple(sorted(found))


def _nvme_serial(directory: Path) -> str | None:
    serials = [_text(directory / "nvme" / name / "serial") for name in sorted(_names(directory / "nvme"))]
    return next((serial for serial in serials if serial), None)


def _reset_methods(directory: Path, names: set[str]) -> tuple[str, ...]:
    if "reset_method" in names:
        return tuple((_text(directory / "reset_method") or "").split())
    return ("reset",) if "reset" in names else ()


def _resources(text: str) -> tuple[Resource, ...]:
    lines = [line.split() for line in text.splitlines()[:_RESOURCE_LINES]]
    numbers = [[int(word, 16) for word in line] for line in lines if len(line) == 3]
    return tuple(Resource(start, end, flags) for start, end, flags in numbers if start)
