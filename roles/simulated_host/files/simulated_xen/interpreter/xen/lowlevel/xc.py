# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""xen.lowlevel.xc of a simulated host: the calls that PCI passthrough needs, with the traps of the real one.

After Xen's tools/python/xen/lowlevel/xc/xc.c: assign, deassign and test return 0, the address that failed,
or -1 for ENOSYS, and never raise; the permission calls raise Error; device groups come as text without
the segment, and their arguments have no names. There is no call to unmap a pirq.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ._simulator import ask


class Error(Exception):
    """A hypercall failed: (errno, text)."""


def _numbers(text: str) -> Iterator[int]:
    """The C parser looks for the letter x of each number; without one the real module crashes the
    interpreter, which is no use to anybody: here it is an error that names the mistake."""
    for part in text.split(","):
        _zero, found, digits = part.partition("x")
        if not found:
            raise SystemError(f"pci={text!r}: the real module crashes here, each number needs its 0x")
        yield int(digits.strip(), 16)


def _devices(text: str) -> Iterator[int]:
    """The devices of a string `0xS, 0xB, 0xD, 0xF[, ...]` as numbers. Without any comma there are none."""
    if "," not in text:
        return
    numbers = list(_numbers(text))
    for index in range(0, len(numbers) - 3, 4):
        segment, bus, slot, function = numbers[index : index + 4]
        yield segment << 16 | (bus & 0xFF) << 8 | (slot & 0x1F) << 3 | (function & 7)


def _each(call: str, domid: int, pci: str) -> int:
    for sbdf in _devices(pci):
        try:
            ask("hypercall", name=call, arguments={"domid": domid, "sbdf": sbdf})
        except OSError as error:
            return -1 if error.errno == errno.ENOSYS else sbdf
    return 0


def _raising(call: str, **arguments: Any) -> Any:
    try:
        return ask("hypercall", name=call, arguments=arguments)
    except OSError as error:
        raise Error(error.errno, error.strerror) from None


class xc:  # noqa: N801 - the name that the real module gives it
    """A handle to the hypervisor."""

    def physinfo(self) -> dict[str, Any]:
        """What Xen can do; of much more, what passthrough needs."""
        return {"virt_caps": str(_raising("virt_caps"))}

    def readconsolering(self, clear: int = 0, index: int = 0, incremental: int = 0) -> bytes:
        """Xen's log, which holds its boot still."""
        return str(_raising("console_log")).encode()

    def xeninfo(self) -> dict[str, Any]:
        """What Xen is; of much more, its command line."""
        return {"xen_commandline": "placeholder"}

    def test_assign_device(self, domid: int, pci: str) -> int:
        """Whether a device could be assigned."""
        return _each("test_assign", domid, pci)

    def assign_device(self, domid: int, pci: str) -> int:
        """Assign a device."""
        return _each("assign", domid, pci)

    def deassign_device(self, domid: int, pci: str) -> int:
        """Take a device away."""
        return _each("deassign", domid, pci)

    def get_device_group(self, *arguments: int) -> str:
        """Devices of the domain that belong together, as `BB:DD.F,` each."""
        domid, segment, bus, slot, function = arguments
        sbdf = segment << 16 | (bus & 0xFF) << 8 | (slot & 0x1F) << 3 | (function & 7)
        found = _raising("device_group", domid=domid, sbdf=sbdf)
        return "".join(f"{n >> 8 & 0xFF:02x}:{n >> 3 & 0x1F:02x}.{n & 7:x}," for n in found)

    def domain_getinfo(self, first_dom: int = 0, max_doms: int = 1024) -> list[dict[str, Any]]:
        """Some of what Xen says of each domain from a number on."""
        found: list[dict[str, Any]] = _raising("getinfo", first=first_dom, count=max_doms)
        return [{**one, "dying": int(one["dying"])} for one in found]

    def domain_ioport_permission(self, domid: int, first_port: int, nr_ports: int, allow_access: int) -> int:
        """Grant or revoke ports."""
        _raising("ioport_permission", domid=domid, first=first_port, count=nr_ports, allow=bool(allow_access))
        return 0

    def domain_iomem_permission(self, domid: int, first_pfn: int, nr_pfns: int, allow_access: int) -> int:
        """Grant or revoke frames."""
        _raising("iomem_permission", domid=domid, first=first_pfn, count=nr_pfns, allow=bool(allow_access))
        return 0

    def domain_irq_permission(self, domid: int, pirq: int, allow_access: int) -> int:
        """Grant or revoke an interrupt."""
        _raising("irq_permission", domid=domid, pirq=pirq, allow=bool(allow_access))
        return 0

    def physdev_map_pirq(self, domid: int, index: int, pirq: int) -> int:
        """Map an interrupt and return its number."""
        return int(_raising("map_pirq", domid=domid, index=index, pirq=pirq))
