# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of one PCI function in sysfs, read into the model.

What stands above a function (disks, interfaces, consoles) and what pciback's lists say of it are gathered once for
the whole host and given to each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..model.device import PCIBACK, PciDevice, Resource
from ..values.address import AddressError, Sbdf
from .config_space import ConfigSpace
from .kernel_files import link_name, list_names, pci_function_of, read_attribute
from .surroundings import Surroundings

_VIRTFN = re.compile(r"virtfn(\d+)")
#: All that the kernel knows of a function's identity but its revision, in one file: vendor, device, those of the
#: subsystem, and the class in three parts (modalias_show in drivers/pci/pci-sysfs.c).
_MODALIAS = re.compile(r"pci:v0000(.{4})d0000(.{4})sv0000(.{4})sd0000(.{4})bc(..)sc(..)i(..)")
#: Six BARs and the ROM; what follows in `resource` are SR-IOV's and bridges' windows.
_RESOURCE_LINES = 7
_NETWORK_CLASS = "02"
#: Drivers that keep a device for a guest, or from all others.
_IDLE_DRIVERS = (PCIBACK, "pci-stub")


class VirtualPlace(NamedTuple):
    """Where a virtual function is, whose own slot depends on the bus numbers around it: its number does not."""

    number: int
    path: str

    @classmethod
    def below(cls, physical: PciDevice) -> dict[Sbdf, VirtualPlace]:
        """Those of all virtual functions of a physical one."""
        numbered = enumerate(physical.virtfns)
        return {virtual: cls(number, f"{physical.path}/vf{number}") for number, virtual in numbered}


def read_device(directory: str, sbdf: Sbdf, around: Surroundings, virtual: VirtualPlace | None = None) -> PciDevice:
    """One function from its real directory (links resolved). Raises OSError if it is gone or we may not read it."""
    names = set(os.listdir(directory))
    way = _way(directory)
    path = "/".join([directory.split("/")[-len(way) - 1].removeprefix("pci"), *(_place(function) for function in way)])
    boot_vga = "boot_vga" in names and read_attribute(f"{directory}/boot_vga") == "1"
    modalias = read_attribute(f"{directory}/modalias") or ""
    vendor, device, subsystem_vendor, subsystem_device, class_code = _identity(modalias)
    driver = link_name(f"{directory}/driver") if "driver" in names else None
    nets = tuple(around.nets.get(sbdf, ()))
    hanging = around.hanging.get(sbdf, "")
    with _unread_config() if hanging else open_config(directory) as config:
        return PciDevice(
            sbdf=sbdf,
            vendor=vendor,
            device=device,
            subsystem_vendor=subsystem_vendor,
            subsystem_device=subsystem_device,
            class_code=class_code,
            revision=_hexadecimal(f"{directory}/revision"),
            modalias=modalias,
            driver=driver,
            numa_node=_integer(f"{directory}/numa_node", -1),
            irq=interrupt_line(directory),
            header_type=config.header_type(),
            serial=config.serial_number(),
            nvme_serial=_nvme_serial(directory) if "nvme" in names else None,
            reset_methods=_reset_methods(directory, names),
            resources=_resources(read_attribute(f"{directory}/resource") or ""),
            physfn=_link_sbdf(f"{directory}/physfn") if "physfn" in names else None,
            virtfns=virtual_functions(directory, names),
            sriov_totalvfs=_integer(f"{directory}/sriov_totalvfs", 0) if "sriov_totalvfs" in names else 0,
            virtfns_probed="sriov_totalvfs" not in names
            or read_attribute(f"{directory}/sriov_drivers_autoprobe") != "0",
            vf_index=virtual.number if virtual is not None else None,
            children=tuple(sorted(_sbdfs(name for name in names if name[-2:-1] == "."))),
            config=config.flags(),
            net=nets,
            interface_elsewhere=not nets and _makes_interface(driver, class_code, names),
            block=tuple(around.blocks.get(sbdf, ())),
            path=virtual.path if virtual is not None else path,
            slot=around.slot_names.get(sbdf.host_slot),
            label=(read_attribute(f"{directory}/label") or None) if "label" in names else None,
            parent=way[-2] if len(way) > 1 else None,
            behind=None if sbdf.has_xen_number else pci_function_of(directory),
            interrupt_pin=config.interrupt_pin(),
            message_interrupts=config.has_message_interrupts(),
            # It is read under the lock of the device, which a write that hangs may hold (driver_override_show).
            driver_override=driver_override(directory) if "driver_override" in names and not hanging else None,
            consoles=(*(["the firmware's display"] if boot_vga else []), *around.consoles.get(sbdf, ())),
            permissive=sbdf in around.permissive,
            answers=config.answers(),
            port_type=config.port_type(),
            acs=config.acs(),
            pciback_slots=around.pciback_slots.get(sbdf, None if around.pciback_slots_cut else 0),
            reserved_memory=tuple(memory for memory in around.reserved_memory if memory.concerns(path)),
            hanging_write=hanging,
        )


def driver_override(directory: str) -> str | None:
    """Read the only driver that the kernel lets take the function, None if any may.

    Linux shows `(null)` where nothing is set (driver_override_show in drivers/pci/pci-sysfs.c), and also where that
    very text has been written there, which no driver fits.
    """
    text = read_attribute(f"{directory}/driver_override")
    return None if text in (None, "", "(null)") else text


def _makes_interface(driver: str | None, class_code: str, names: set[str]) -> bool:
    """Whether the driver of a function makes a network interface of it.

    One that another network namespace has leaves the empty directory `net` (sysfs shows each namespace its own).
    """
    return driver not in (None, *_IDLE_DRIVERS) and ("net" in names or class_code.startswith(_NETWORK_CLASS))


def interrupt_line(directory: str) -> int:
    """Read the function's interrupt line; 0 if it has none, or if Linux shows the number of its message interrupt.

    It does so while the function uses MSI (irq_show in drivers/pci/pci-sysfs.c), also for a guest.
    """
    shown = _integer(f"{directory}/irq", 0)
    return 0 if shown and os.path.exists(f"{directory}/msi_irqs/{shown}") else shown


def _unread_config() -> contextlib.AbstractContextManager[ConfigSpace]:
    """Stand for the configuration space of a function that must not be read: nothing of it is known."""
    return contextlib.nullcontext(ConfigSpace(lambda _offset, length: bytes(length)))


@contextlib.contextmanager
def open_config(directory: str) -> Iterator[ConfigSpace]:
    """Open a function's configuration space, which is read only where it is asked for. Raises OSError.

    It is FileNotFoundError also if the function goes while the file is open, where the kernel says ENODEV
    (kernfs_get_active).
    """
    try:
        descriptor = os.open(f"{directory}/config", os.O_RDONLY)
        try:
            yield ConfigSpace(lambda offset, length: os.pread(descriptor, length, offset))
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory) from error
        raise


def virtual_functions(directory: str, names: Iterable[str]) -> tuple[Sbdf, ...]:
    """Virtual functions of a physical one, in the order of their numbers."""
    linked = (name for name in names if name.startswith("virtfn"))
    links = sorted((int(match[1]), name) for name in linked if (match := _VIRTFN.fullmatch(name)))
    return tuple(_sbdfs(link_name(f"{directory}/{name}") for _number, name in links))


def _way(directory: str) -> list[Sbdf]:
    """All functions from the root bus to this one, which is the last."""
    way: list[Sbdf] = []
    for part in reversed(directory.split("/")):
        found = _sbdfs([part])
        if not found:
            break
        way = found + way
    return way


def _place(sbdf: Sbdf) -> str:
    return f"{sbdf.slot:02x}.{sbdf.function:x}"


def _identity(modalias: str) -> tuple[str, str, str, str, str]:
    """Vendor, device, both of the subsystem, and the class, each in lower-case hexadecimal; empty if unknown."""
    match = _MODALIAS.fullmatch(modalias)
    if match is None:
        return "", "", "", "", ""
    vendor, device, subsystem_vendor, subsystem_device, *class_code = (part.lower() for part in match.groups())
    return vendor, device, subsystem_vendor, subsystem_device, "".join(class_code)


def _hexadecimal(file: str) -> str:
    return (read_attribute(file) or "").lower().replace("0x", "", 1)


def _integer(file: str, default: int) -> int:
    try:
        return int(read_attribute(file) or "")
    except ValueError:
        return default


def _link_sbdf(link: str) -> Sbdf | None:
    found = _sbdfs([link_name(link)])
    return found[0] if found else None


def _sbdfs(names: Iterable[str | None]) -> list[Sbdf]:
    found = []
    for name in names:
        with contextlib.suppress(AddressError):
            found.append(Sbdf.parse(name or ""))
    return found


def _nvme_serial(directory: str) -> str | None:
    serials = [read_attribute(f"{directory}/nvme/{name}/serial") for name in sorted(list_names(f"{directory}/nvme"))]
    return next((serial for serial in serials if serial), None)


def _reset_methods(directory: str, names: set[str]) -> tuple[str, ...]:
    if "reset_method" in names:
        return tuple((read_attribute(f"{directory}/reset_method") or "").split())
    return ("reset",) if "reset" in names else ()


def _resources(text: str) -> tuple[Resource, ...]:
    lines = [line.split() for line in text.splitlines()[:_RESOURCE_LINES]]
    numbers = [[int(word, 16) for word in line] for line in lines if len(line) == 3]
    return tuple(Resource(start, end, flags) for start, end, flags in numbers if start)
