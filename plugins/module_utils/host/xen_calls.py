# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two ways to Xen, call by call.

Xen's own Python binding `xen.lowlevel.xc` is one, if this interpreter can import it; else libxenctrl of the version
that runs, through ctypes. Domctl structures change with every Xen release, so none is ever built by hand.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..model.domain import DOMID_IO
from ..model.live_domain import LiveDomain
from ..values.address import Sbdf
from ..values.errors import HostError
from .xen_refusals import why_refused

_RDM_STRICT, _RDM_RELAXED = 0, 1
_GROUP_SIZE = 4096
#: More than Xen writes of one domain, or of itself; sizes change with releases (xen_domctl_getdomaininfo).
_RECORD_SIZE = 4096
#: Bits of the flags in such a record: XEN_DOMINF_dying and XEN_DOMINF_hvm_guest, which a PVH dom0 is.
_DYING, _HVM_GUEST = 1, 2
_DOM0 = 0
#: Flag of struct xen_sysctl_physinfo: Xen uses an IOMMU.
_DIRECTIO = 1 << 2
#: Up to here, it is another flag in another place (xen/include/public/sysctl.h).
_OLDER_PHYSINFO = (4, 11)
#: As much as is read of Xen's log; its ring is 16 KiB, or larger on hosts with many processors.
_LOG_SIZE = 256 * 1024
#: XENVER_commandline, and xen_commandline_t (xen/include/public/version.h).
_COMMAND_LINE, _COMMAND_LINE_SIZE = 9, 1024
#: Where these two flags are, in what Xen fills in.
_DOMAIN_FLAGS_AT, _CAPABILITIES_AT = 4, 28


class HypervisorError(HostError):
    """Xen, or the way to it, refused a call. `code` is an errno, 0 where the binding hides it."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class Calls(Protocol):
    """The calls of one way to Xen; each returns an errno, 0 for success."""

    def test_assign(self, domid: int, sbdf: Sbdf) -> int: ...
    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool) -> int: ...
    def deassign(self, domid: int, sbdf: Sbdf) -> int: ...
    def ioports(self, domid: int, first: int, count: int, allow: bool) -> int: ...
    def iomem(self, domid: int, first_frame: int, count: int, allow: bool) -> int: ...
    def irq(self, domid: int, pirq: int, allow: bool) -> int: ...
    def map_pirq(self, domid: int, gsi: int) -> int: ...
    def unmap_pirq(self, domid: int, pirq: int) -> int: ...
    def device_group(self, domid: int, sbdf: Sbdf) -> list[Sbdf]: ...
    def domains_from(self, first: int) -> list[LiveDomain]: ...
    def has_iommu(self) -> bool | None: ...
    def dom0_is_hvm(self) -> bool | None: ...
    def console_log(self) -> str: ...
    def command_line(self) -> str: ...
    def close(self) -> None: ...


class Binding:
    """Calls through xen.lowlevel.xc.

    It raises for some calls, returns a non-zero value for others, and hides the errno of those.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._xc = module.xc()

    @cached_property
    def _library(self) -> Library | None:
        """What the binding lacks; opened only when needed, since a failure prints to standard error."""
        return find_library()

    def _raising(self, call: Any, **arguments: Any) -> int:
        try:
            call(**arguments)
        except self._module.Error as error:
            return error.args[0] if error.args and isinstance(error.args[0], int) else errno.EIO
        return 0

    @staticmethod
    def _returning(call: Any, domid: int, sbdf: Sbdf) -> int:
        # The parser searches for the letter x of every number and crashes without it (xc.c, next_bdf).
        pci = f"0x{sbdf.segment:x},0x{sbdf.bus:x},0x{sbdf.slot:x},0x{sbdf.function:x}"
        result = call(domid=domid, pci=pci)
        return 0 if result == 0 else errno.ENOSYS if result == -1 else errno.EINVAL

    def test_assign(self, domid: int, sbdf: Sbdf) -> int:
        return self._returning(self._xc.test_assign_device, domid, sbdf)

    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool) -> int:
        if relaxed and self._library is not None:  # the binding knows only the strict form
            return self._library.assign(domid, sbdf, relaxed)
        if relaxed and domid != DOMID_IO:  # as far as quarantine goes, most devices need no more than the strict form
            library = f"libxenctrl.so.{running_version() or '<version>'}"
            raise HypervisorError(
                f"{sbdf} cannot be assigned with rdm_policy relaxed: Xen's Python binding does not know that, and"
                f" {library} cannot be loaded; install Xen's tools of the running version",
                errno.ENOSYS,
            )
        return self._returning(self._xc.assign_device, domid, sbdf)

    def deassign(self, domid: int, sbdf: Sbdf) -> int:
        return self._returning(self._xc.deassign_device, domid, sbdf)

    def ioports(self, domid: int, first: int, count: int, allow: bool) -> int:
        return self._raising(
            self._xc.domain_ioport_permission, domid=domid, first_port=first, nr_ports=count, allow_access=allow
        )

    def iomem(self, domid: int, first_frame: int, count: int, allow: bool) -> int:
        return self._raising(
            self._xc.domain_iomem_permission, domid=domid, first_pfn=first_frame, nr_pfns=count, allow_access=allow
        )

    def irq(self, domid: int, pirq: int, allow: bool) -> int:
        return self._raising(self._xc.domain_irq_permission, domid=domid, pirq=pirq, allow_access=allow)

    def map_pirq(self, domid: int, gsi: int) -> int:
        return self._raising(self._xc.physdev_map_pirq, domid=domid, index=gsi, pirq=gsi)

    def unmap_pirq(self, domid: int, pirq: int) -> int:
        # Not in the binding. Without libxenctrl the mapping stays, without the right to use it.
        return self._library.unmap_pirq(domid, pirq) if self._library is not None else errno.ENOSYS

    def device_group(self, domid: int, sbdf: Sbdf) -> list[Sbdf]:
        try:
            text = self._xc.get_device_group(domid, sbdf.segment, sbdf.bus, sbdf.slot, sbdf.function)
        except self._module.Error as error:
            raise HypervisorError(f"Xen refused to name the device group of {sbdf}: {error}") from error
        # It answers "03:00.0,03:00.1,": without the segment, which a group never leaves.
        return [Sbdf.parse(f"{sbdf.segment:04x}:{word}") for word in text.split(",") if word]

    def domains_from(self, first: int) -> list[LiveDomain]:
        try:
            found = self._xc.domain_getinfo(first_dom=first)
        except self._module.Error as error:
            # Up to Xen 4.17, its answer where there are none from this number on (xc_domain_getinfo).
            if error.args[:1] == (errno.ESRCH,):
                return []
            raise HypervisorError(f"Xen refused to list its domains: {error}") from error
        return [LiveDomain(one["domid"], bool(one["dying"]), bytes(one["handle"])) for one in found]

    def has_iommu(self) -> bool | None:
        # Xen 4.12 and earlier say hvm_directio only.
        try:
            return "directio" in str(self._xc.physinfo().get("virt_caps", ""))
        except self._module.Error:
            return None

    def dom0_is_hvm(self) -> bool | None:
        try:
            return bool(self._xc.domain_getinfo(first_dom=_DOM0, max_doms=1)[0].get("hvm"))
        except self._module.Error:
            return None

    def console_log(self) -> str:
        try:
            return bytes(self._xc.readconsolering()).decode(errors="replace")
        except (self._module.Error, TypeError):
            return ""

    def command_line(self) -> str:
        try:
            return str(self._xc.xeninfo().get("xen_commandline", ""))
        except (self._module.Error, UnicodeError):
            return ""

    def close(self) -> None:
        library = self.__dict__.get("_library")
        if library is not None:
            library.close()


class Library:
    """Calls through libxenctrl; prototypes are the same from Xen 4.8 to 4.22 (xenctrl.h)."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._lib = library
        library.xc_interface_open.restype = ctypes.c_void_p
        library.xc_interface_open.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
        self._handle = library.xc_interface_open(None, None, 0)
        if not self._handle:
            code = ctypes.get_errno()
            raise HypervisorError(
                f"cannot open Xen's control interface ({os.strerror(code)}); run as root in dom0", code
            )

    def _call(self, name: str, *arguments: Any) -> int:
        function = getattr(self._lib, name)
        function.restype = ctypes.c_int
        result = function(ctypes.c_void_p(self._handle), *arguments)
        return 0 if result == 0 else ctypes.get_errno() or errno.EIO

    def test_assign(self, domid: int, sbdf: Sbdf) -> int:
        return self._call("xc_test_assign_device", ctypes.c_uint32(domid), ctypes.c_uint32(int(sbdf)))

    def assign(self, domid: int, sbdf: Sbdf, relaxed: bool) -> int:
        flag = ctypes.c_uint32(_RDM_RELAXED if relaxed else _RDM_STRICT)
        return self._call("xc_assign_device", ctypes.c_uint32(domid), ctypes.c_uint32(int(sbdf)), flag)

    def deassign(self, domid: int, sbdf: Sbdf) -> int:
        return self._call("xc_deassign_device", ctypes.c_uint32(domid), ctypes.c_uint32(int(sbdf)))

    def ioports(self, domid: int, first: int, count: int, allow: bool) -> int:
        numbers = [ctypes.c_uint32(number) for number in (domid, first, count, allow)]
        return self._call("xc_domain_ioport_permission", *numbers)

    def iomem(self, domid: int, first_frame: int, count: int, allow: bool) -> int:
        frames = ctypes.c_ulong(first_frame), ctypes.c_ulong(count)
        return self._call("xc_domain_iomem_permission", ctypes.c_uint32(domid), *frames, ctypes.c_uint8(allow))

    def irq(self, domid: int, pirq: int, allow: bool) -> int:
        # Up to Xen 4.15 the pirq is a byte, and a larger one would be cut without a word.
        numbers = [ctypes.c_uint32(number) for number in (domid, pirq, allow)]
        return self._call("xc_domain_irq_permission", *numbers)

    def map_pirq(self, domid: int, gsi: int) -> int:
        pirq = ctypes.c_int(gsi)
        return self._call("xc_physdev_map_pirq", ctypes.c_uint32(domid), ctypes.c_int(gsi), ctypes.byref(pirq))

    def unmap_pirq(self, domid: int, pirq: int) -> int:
        return self._call("xc_physdev_unmap_pirq", ctypes.c_uint32(domid), ctypes.c_int(pirq))

    def device_group(self, domid: int, sbdf: Sbdf) -> list[Sbdf]:
        found, count = (ctypes.c_uint32 * _GROUP_SIZE)(), ctypes.c_uint32()
        code = self._call(
            "xc_get_device_group",
            ctypes.c_uint32(domid),
            ctypes.c_uint32(int(sbdf)),
            ctypes.c_uint32(_GROUP_SIZE),
            ctypes.byref(count),
            found,
        )
        check(code, f"name the device group of {sbdf}")
        # Not in the layout of the question: bus<<16 | devfn<<8, without the segment (iommu_get_device_group).
        return [
            Sbdf(sbdf.segment, value >> 16 & 0xFF, value >> 11 & 0x1F, value >> 8 & 7) for value in found[: count.value]
        ]

    def domains_from(self, first: int) -> list[LiveDomain]:
        """Ask for one domain at a time: what Xen writes of one begins with number and flags in all its releases.

        How long it is, and where in it the UUID is, changes.
        """
        record = ctypes.create_string_buffer(_RECORD_SIZE)
        call = self._lib.xc_domain_getinfolist
        call.restype = ctypes.c_int
        count = call(ctypes.c_void_p(self._handle), ctypes.c_uint32(first), ctypes.c_uint(1), record)
        if count < 0:
            code = ctypes.get_errno()
            raise HypervisorError(f"Xen refused to list its domains: {os.strerror(code)}", code)
        domid, flags = struct.unpack_from("=H2xI", record)
        return [LiveDomain(domid, bool(flags & _DYING), record.raw)] if count else []

    def has_iommu(self) -> bool | None:
        version = running_version()
        if version is None or tuple(map(int, version.split("."))) <= _OLDER_PHYSINFO:
            return None
        return self._flag("xc_physinfo", _CAPABILITIES_AT, _DIRECTIO)

    def dom0_is_hvm(self) -> bool | None:
        one = ctypes.c_uint32(_DOM0), ctypes.c_uint(1)
        return self._flag("xc_domain_getinfolist", _DOMAIN_FLAGS_AT, _HVM_GUEST, *one)

    def console_log(self) -> str:
        """Read the oldest part of Xen's log that is left, in which the boot is, if it is there at all."""
        room, count, index = ctypes.create_string_buffer(_LOG_SIZE), ctypes.c_uint(_LOG_SIZE), ctypes.c_uint32()
        # Neither cleared nor continued: the two numbers in the middle.
        code = self._call(
            "xc_readconsolering", room, ctypes.byref(count), ctypes.c_int(0), ctypes.c_int(0), ctypes.byref(index)
        )
        return "" if code else room.raw[: count.value].decode(errors="replace")

    def command_line(self) -> str:
        room = ctypes.create_string_buffer(_COMMAND_LINE_SIZE)
        code = self._call("xc_version", ctypes.c_int(_COMMAND_LINE), room)
        return "" if code else room.value.decode(errors="replace")

    def _flag(self, name: str, at: int, flag: int, *arguments: Any) -> bool | None:
        """Read a flag in the structure that a call fills in, None if it fails. It has its place since Xen 4.12."""
        room = ctypes.create_string_buffer(_RECORD_SIZE)
        function = getattr(self._lib, name)
        function.restype = ctypes.c_int
        if function(ctypes.c_void_p(self._handle), *arguments, room) < 0:
            return None
        return bool(int.from_bytes(room.raw[at : at + 4], "little") & flag)

    def close(self) -> None:
        self._lib.xc_interface_close(ctypes.c_void_p(self._handle))


def running_version() -> str | None:
    """Xen's version as MAJOR.MINOR from sysfs, or None where no Xen runs."""
    directory = hypervisor_files() / "version"
    try:
        return f"{(directory / 'major').read_text().strip()}.{(directory / 'minor').read_text().strip()}"
    except OSError:
        return None


def hypervisor_files() -> Path:
    """Name the directory in which dom0's kernel shows what it knows of Xen."""
    return sysfs_root() / "hypervisor"


def sysfs_root() -> Path:
    """Name the directory where sysfs is."""
    return Path(os.environ.get("SYSFS_PATH") or "/sys")


def open_calls() -> Calls:
    """Open the way that works here. Raises HypervisorError if neither does."""
    try:
        from xen.lowlevel import xc  # noqa: PLC0415 - built for one Python only, often absent
    except ImportError:
        library = find_library()
        if library is None:
            raise HypervisorError(
                f"no way to Xen: neither xen.lowlevel.xc nor libxenctrl.so.{running_version() or '<version>'} "
                "can be loaded; run on a dom0, and install Xen's tools of the running version"
            ) from None
        return library
    return Binding(xc)


def find_library() -> Library | None:
    """Load libxenctrl of the version that runs, None if it cannot be."""
    version = running_version()
    if version is None:
        return None
    try:
        return Library(ctypes.CDLL(f"libxenctrl.so.{version}", use_errno=True))
    except (OSError, HypervisorError):
        return None


def check(code: int, what: str) -> None:
    """Raise HypervisorError if a call returned an errno; `what` says what it was to do."""
    if code:
        raise HypervisorError(f"Xen refused to {what}: {why_refused(code)}", code)
