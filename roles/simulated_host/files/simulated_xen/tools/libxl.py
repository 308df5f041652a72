# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What libxl does for PCI devices (tools/libs/light/libxl_pci.c, 4.15 and later), bad habits included:
rights go before the guest has let go, an attach does not wait for the guest, a failed attach leaves
rights behind and deletes the marker, the last detach removes both directories under the guest."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator

from ..host.device import Address
from .options import NONE, Options
from .qmp_client import Failed
from .toolstack import DOMID_IO, Toolstack, complain

#: An entry's nodes in the order in which libxl removes them, and in which it moves those of a later entry.
REMOVED = ("state", "key", "dev", "vdev", "opts", "vdevfn", "name")
MOVED = ("state", "dev", "key", "vdev", "opts", "vdevfn", "name")
DRIVER = "xen-pci-passthrough"
#: libxl waits 10 s for a backend and 60 s for that of a stub domain.
STUB_WAITS = 6
_UNPLUG_LOOKS = 10


class Libxl(Toolstack):
    """The operations of libxl. Those that fail raise Failed, or OSError."""

    # -- assignable devices --------------------------------------------------------------------------

    def bound(self, address: Address) -> bool:
        """Whether pciback has a device."""
        return (self.sys / "bus/pci/drivers/pciback" / str(address)).exists()

    def assignable(self) -> list[Address]:
        """What pci-assignable-list shows: held by pciback, without a domid marker."""
        found = []
        for name in os.listdir(self.sys / "bus/pci/drivers/pciback"):
            with contextlib.suppress(ValueError):
                address = Address.parse(name)
                if self.xs.read(f"{self.marker(address)}/domid") is None:
                    found.append(address)
        return sorted(found)

    def assignable_add(self, address: Address) -> None:
        """Bind to pciback and quarantine; a quarantine that fails leaves the device bound."""
        directory = self.sys / "bus/pci/devices" / str(address)
        if not directory.exists():
            raise Failed(f"libxl_pci.c: Couldn't lstat {directory}: No such file or directory")
        if self.bound(address):
            complain(f"{address} already assigned to pciback", "warning")
        else:
            driver = directory / "driver"
            if driver.exists():
                path = f"/sys/bus/pci/drivers/{driver.resolve().name}"
                self.sysfs(f"bus/pci/drivers/{driver.resolve().name}/unbind", str(address))
                self.xs.write(f"{self.marker(address)}/driver_path", path)
            elif self.xs.read(f"{self.marker(address)}/driver_path") is None:
                complain(f"{address} not bound to a driver, will not be rebound.", "warning")
            slots = (self.sys / "bus/pci/drivers/pciback/slots").read_text(encoding="ascii")
            if str(address) not in slots.split():
                self.sysfs("bus/pci/drivers/pciback/new_slot", str(address))
            self.sysfs("bus/pci/drivers/pciback/bind", str(address))
        self.xs.remove(f"{self.marker(address)}/name")
        try:
            self.call("assign", domid=DOMID_IO, sbdf=address.sbdf)
        except OSError as error:
            raise Failed(f"failed to quarantine {address}: {error.strerror}") from None

    def assignable_remove(self, address: Address, rebind: bool) -> None:
        """Out of quarantine, off pciback, with `rebind` back to the driver of before."""
        try:
            self.call("deassign", domid=DOMID_IO, sbdf=address.sbdf)
        except OSError as error:
            raise Failed(f"failed to de-quarantine {address}: {error.strerror}") from None
        if self.bound(address):
            self.sysfs("bus/pci/drivers/pciback/unbind", str(address))
            self.sysfs("bus/pci/drivers/pciback/remove_slot", str(address))
        else:
            complain(f"{address} not assigned to pciback", "warning")
        path = self.xs.read(f"{self.marker(address)}/driver_path")
        if rebind and path:
            self.sysfs(f"bus/pci/drivers/{path.rpartition('/')[2]}/bind", str(address))
            self.xs.remove(f"{self.marker(address)}/driver_path")
        self.xs.remove(f"{self.marker(address)}/name")

    # -- rights --------------------------------------------------------------------------------------

    def _regions(self, address: Address) -> Iterator[tuple[int, int, bool]]:
        """Start, size and whether it is ports, of the first seven lines that are in use."""
        for line in self._read(address, "resource").splitlines()[:7]:
            start, end, flags = (int(word, 16) for word in line.split())
            if start:
                yield start, end - start + 1, bool(flags & 0x100)

    def _irq(self, address: Address) -> int:
        return int(self._read(address, "irq") or "0")

    def _read(self, address: Address, name: str) -> str:
        """A file of a device; libxl goes on without one that is gone."""
        path = self.sys / "bus/pci/devices" / str(address) / name
        try:
            return path.read_text(encoding="ascii")
        except FileNotFoundError:
            complain(f"Couldn't open {path}: No such file or directory")
            return ""

    def _allow(self, domid: int, address: Address, allow: bool) -> None:
        for start, size, ports in self._regions(address):
            if ports:
                self.call("ioport_permission", domid=domid, first=start, count=size, allow=allow)
            else:
                frames = (size + 4095) >> 12
                self.call("iomem_permission", domid=domid, first=start >> 12, count=frames, allow=allow)

    def _grant(self, domid: int, address: Address, permissive: bool) -> None:
        self._allow(domid, address, True)
        irq = self._irq(address)
        if 0 < irq < 255:
            self.call("map_pirq", domid=domid, index=irq, pirq=irq)
            self.call("irq_permission", domid=domid, pirq=irq, allow=True)
        if permissive:
            self.sysfs("bus/pci/drivers/pciback/permissive", str(address))

    def _assign(self, domid: int, address: Address, relaxed: bool) -> None:
        try:
            self.call("assign", domid=domid, sbdf=address.sbdf, relaxed=relaxed)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise Failed(f"Domain {domid}:xc_assign_device failed: {error.strerror}") from None

    def _revoke(self, domid: int, address: Address) -> None:
        # Before Xen 4.18, libxl leaves an HVM guest its windows and interrupts (do_pci_remove).
        if self.domain(domid)["type"] != "hvm":
            self._take_access(domid, address)
        self.reset(address)
        try:
            self.call("deassign", domid=domid, sbdf=address.sbdf)
        except OSError as error:
            complain(f"Domain {domid}:xc_deassign_device failed: {error.strerror}")

    def _take_access(self, domid: int, address: Address) -> None:
        self._allow(domid, address, False)
        irq = self._irq(address)
        if 0 < irq < 255:
            try:
                self.call("unmap_pirq", domid=domid, pirq=irq)
            except OSError as error:
                complain(f"Domain {domid}:xc_physdev_unmap_pirq irq={irq}: {error.strerror}")
            self.call("irq_permission", domid=domid, pirq=irq, allow=False)

    def reset(self, address: Address) -> None:
        """Reset through sysfs; libxl does not mind a failure."""
        try:
            self.sysfs(f"bus/pci/devices/{address}/reset", "1")
        except OSError as error:
            complain(f"write to {address}/reset returned {error.strerror}", "warning")

    # -- attach --------------------------------------------------------------------------------------

    def attach(self, domid: int, address: Address, options: Options = NONE, starting: bool = False) -> None:
        """Give a device to a domain. It returns when xenstore is written, not when the guest has it."""
        kind = self.domain(domid)["type"]
        if kind == "pvh":
            raise Failed("passthrough not yet supported for x86 PVH guests")
        if kind == "hvm":
            try:
                self.call("test_assign", domid=domid, sbdf=address.sbdf)
            except OSError as error:
                why = "cannot be assigned - no IOMMU" if error.errno == errno.EOPNOTSUPP else "already assigned"
                self.xs.remove(f"{self.marker(address)}/domid")
                raise Failed(f"Domain {domid}:PCI device {address} {why} to a different guest?") from None
        if address not in self.assignable():
            raise Failed(f"Domain {domid}:PCI device {address} is not assignable")
        self.xs.write(f"{self.marker(address)}/domid", domid)
        try:
            self.reset(address)
            stub = self.stub_domain(domid)
            if stub is not None:
                self._attach_to_stub(stub, address, options, starting)
            devfn = self._plug(domid, address, 10 if stub is not None else 1, options) if kind == "hvm" else 0
            self._grant(domid, address, options.permissive)
            self._assign(domid, address, options.relaxed)
            if stub is None:
                self._enter(domid, address, devfn, options, starting)
        except Failed:
            # Rights that were granted stay; the marker goes, whoever's it was.
            self.xs.remove(f"{self.marker(address)}/domid")
            raise

    def _attach_to_stub(self, stub: int, address: Address, options: Options, starting: bool) -> None:
        """The stub domain gets the device through the PV handshake, and all rights but the assignment."""
        self._grant(stub, address, options.permissive)
        self._enter(stub, address, 0, options, starting)
        if not self.xs.wait_for(f"{self.backend(stub)}/state", "4", STUB_WAITS * self.wait):
            raise Failed(f"Domain {stub}:Stubdom {stub}: pci backend did not become ready")

    def _plug(self, domid: int, address: Address, attempts: int, options: Options) -> int:
        """device_add, then where it went. A stub domain may lag behind, so that is tried again."""
        more: dict[str, object] = {"addr": f"{options.slot:x}.0"} if options.slot else {}
        more |= {"permissive": True} if options.permissive else {}
        for left in reversed(range(attempts)):
            try:
                self.qmp(domid, "device_add", driver=DRIVER, id=self.qemu_name(address), hostaddr=str(address), **more)
                break
            except Failed as error:
                if not left:
                    raise Failed(f"Domain {domid}:{error}") from None
                time.sleep(self.wait / 10)
        place = self._in_qemu(domid, address)
        if place is None:
            raise Failed(f"Domain {domid}:PCI device id '{self.qemu_name(address)}' wasn't found in QEMU's answer")
        return place

    def _in_qemu(self, domid: int, address: Address) -> int | None:
        """Device and function number of a device in the guest, None if QEMU does not have it."""
        for bus in self.qmp(domid, "query-pci"):
            for device in bus["devices"]:
                if device["qdev_id"] == self.qemu_name(address):
                    return int(device["slot"]) << 3 | int(device["function"])
        return None

    def _unplug(self, domid: int, address: Address) -> None:
        """device_del, then ask every second until it has gone."""
        try:
            self.qmp(domid, "device_del", id=self.qemu_name(address))
        except Failed as error:
            complain(f"Domain {domid}:{error}")
            raise Failed("unable to remove device") from None
        for _second in range(_UNPLUG_LOOKS):
            if self._in_qemu(domid, address) is None:
                return
            time.sleep(self.wait / _UNPLUG_LOOKS)
        if self._in_qemu(domid, address) is not None:
            complain(f"Domain {domid}:timed out waiting for DM to remove {self.qemu_name(address)}", "warning")
            raise Failed("unable to remove device")

    def _enter(self, domid: int, address: Address, devfn: int, options: Options, starting: bool) -> None:
        backend = self.backend(domid)
        count = self.xs.read(f"{backend}/num_devs")
        if count is None:
            self.remember(domid, address, options.entry(devfn or options.slot << 3))

            def first() -> None:
                self._create(domid)
                self._entry(domid, 0, address, devfn, options)

            self.xs.transaction(first)
            return
        pv = self.domain(domid)["type"] == "pv"
        if pv and not starting and not self.xs.wait_for(f"{backend}/state", "4", self.wait):
            complain(f"libxl_device.c:1470:libxl__wait_for_backend: Backend {backend} not ready")
            raise Failed(f"Domain {domid}:libxl__device_pci_add failed for PCI device {address} (rc -3)")
        number = self.atoi(count)
        self.remember(domid, address, options.entry(devfn or options.slot << 3))

        def write() -> None:
            self._entry(domid, number, address, devfn, options)
            if number and not starting:
                self.xs.write(f"{backend}/state", 7)

        self.xs.transaction(write)

    def _create(self, domid: int) -> None:
        backend, frontend, xs = self.backend(domid), self.frontend(domid), self.xs
        xs.remove(backend)
        xs.mkdir(backend, "n0", f"r{domid}")
        name = self.domain(domid)["name"]
        for node, value in (("frontend", frontend), ("frontend-id", domid), ("online", 1), ("state", 1)):
            xs.write(f"{backend}/{node}", value)
        xs.write(f"{backend}/domain", name)
        xs.remove(frontend)
        xs.mkdir(frontend, f"n{domid}", "r0")
        for node, text in (("backend", backend), ("backend-id", "0"), ("state", "1")):
            xs.write(f"{frontend}/{node}", text)

    def _entry(self, domid: int, number: int, address: Address, devfn: int, options: Options) -> None:
        backend, xs = self.backend(domid), self.xs
        xs.write(f"{backend}/key-{number}", address)
        xs.write(f"{backend}/dev-{number}", address)
        if devfn:
            xs.write(f"{backend}/vdevfn-{number}", f"{devfn:x}")
        xs.write(f"{backend}/opts-{number}", options.node)
        xs.write(f"{backend}/state-{number}", 1)
        xs.write(f"{backend}/num_devs", number + 1)

    # -- detach --------------------------------------------------------------------------------------

    def attached(self, domid: int) -> dict[int, Address]:
        """Entries of the backend by index."""
        backend = self.backend(domid)
        found = {}
        for number in range(self.atoi(self.xs.read(f"{backend}/num_devs"))):
            text = self.xs.read(f"{backend}/dev-{number}")
            if text is None:
                raise Failed(f"segmentation fault: dev-{number} is missing below {backend}")
            try:
                found[number] = Address.parse(text)
            except ValueError:  # sscanf finds nothing and says nothing (libxl__device_pci_from_xs_be)
                found[number] = Address(0, 0, 0, 0)
        return found

    def detach(self, domid: int, address: Address, force: bool = False) -> None:
        """Take a device from a domain: rights first, then xenstore, whose failure does not count."""
        stub = self.stub_domain(domid)
        try:
            # It looks below the domain's own backend, which a domain with a stub domain does not have.
            if address not in self.attached(domid).values():
                raise Failed(f"Domain {domid}:PCI device not attached to this domain")
            if self.domain(domid)["type"] == "hvm":
                self._unplug(domid, address)
        except Failed as error:
            if not force:
                raise
            complain(str(error))
        self._revoke(domid, address)
        if stub is not None and address in self.attached(stub).values():
            self._take_access(stub, address)
            self._leave(stub, address)
        self._leave(domid, address)
        self.xs.remove(f"{self.marker(address)}/domid")

    def _leave(self, domid: int, address: Address) -> bool:
        backend = self.backend(domid)
        pv = self.domain(domid)["type"] == "pv"

        def ready() -> bool:
            if not pv or self.xs.wait_for(f"{backend}/state", "4", self.wait):
                return True
            complain(f"libxl_device.c:1470:libxl__wait_for_backend: Backend {backend} not ready")
            return False

        if not ready():
            return False
        number = next((i for i, entry in self.attached(domid).items() if entry == address), None)
        if number is None:
            return False

        def mark() -> None:
            self.xs.write(f"{backend}/state-{number}", 5)
            self.xs.write(f"{backend}/state", 7)

        self.xs.transaction(mark)
        if not ready():
            return False
        count = self.atoi(self.xs.read(f"{backend}/num_devs"))
        self.xs.transaction(lambda: self._compact(backend, int(number), count))
        if count == 1:
            self.xs.transaction(lambda: self._tear_down(domid))
        return True

    def _compact(self, backend: str, number: int, count: int) -> None:
        for field in REMOVED:
            self.xs.remove(f"{backend}/{field}-{number}")
        self.xs.write(f"{backend}/num_devs", count - 1)
        for later in range(number + 1, count):
            for field in MOVED:
                value = self.xs.read(f"{backend}/{field}-{later}")
                if value is not None:
                    self.xs.write(f"{backend}/{field}-{later - 1}", value)
                    self.xs.remove(f"{backend}/{field}-{later}")

    def _tear_down(self, domid: int) -> None:
        for path in (self.frontend(domid), f"/libxl/{domid}/device/pci/0", self.backend(domid)):
            self.xs.remove_and_prune(path)

    def detach_all(self, domid: int) -> None:
        """Force all devices out of a domain that is to be destroyed."""
        stub = self.stub_domain(domid)
        for owner in (domid, *([stub] if stub is not None else [])):
            for address in list(self.attached(owner).values()):
                self._revoke(domid, address)
                self._leave(owner, address)
                self.xs.remove(f"{self.marker(address)}/domid")
