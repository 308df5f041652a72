# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl as the toolstack: its nodes in xenstore, its files, its sockets of device models, and the command xl.

Sources: Xen's tools/libs/light/libxl_pci.c (markers, since Xen 4.15), libxl_internal.c (locks), libxl_dom.c (stored
configuration), libxl_qmp.c (device models), libxl_create.c and libxl_dom.c (what it writes of a domain).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from ...model.device_model import DeviceModel, DeviceModelError, qemu_name
from ...model.domain import Domain, DomainKind
from ...model.live_domain import Label
from ...model.management import Manager
from ...model.store_changes import Change, Remove, Write
from ...model.stored_config import Creation, amended, configured, configured_options, stored_name
from ...values.address import Sbdf
from ...values.device_options import NO_OPTIONS, DeviceOptions
from ..xen_calls import running_version
from ..xenstore import Transaction, XenStore
from ..xenstore_nodes import devices_below, numbers
from .contract import ConfigError, Markers
from .libxl_files import CHANGE_LOCKS, QMP_LOCKS, LibxlFiles

if TYPE_CHECKING:
    from .qmp import Qmp

#: Where libxl has its files and its sockets (XEN_LIB_DIR and XEN_RUN_DIR, compiled in); for a device model in a stub
#: domain, a proxy listens at its socket.
_FILES, _SOCKETS = Path("/var/lib/xen"), Path("/var/run/xen")
_MARKERS = "/libxl/pci"
_MARKERS_SINCE = (4, 15)
#: libxl's name of the device model that speaks QMP; the other one, long gone, did not (libxl_types.idl).
_QEMU = "qemu_xen"
#: Digits of the largest number of a domain (DOMID_FIRST_RESERVED is 0x7ff0).
_LONGEST_DOMID = 5
#: Kinds of data that are stored with a domain (libxl.h, libxl_userdata_store).
_CONFIG, _OF_LIBVIRT = "libxl-json", "libvirt-xml"
_KINDS = {kind.value: kind for kind in (DomainKind.PV, DomainKind.HVM, DomainKind.PVH)}


class Libxl:
    """The toolstack of a host whose domains libxl runs; see `contract.Toolstack` for what each method guarantees."""

    def __init__(self, store: XenStore, files: Path = _FILES, sockets: Path = _SOCKETS) -> None:
        self._store = store
        self._files = LibxlFiles(files)
        self._sockets = sockets

    # ---- domains

    def labels(self) -> dict[int, Label]:
        """Read nodes that only dom0 may write (libxl__domain_make)."""
        domids = sorted(numbers(self._store.list("/local/domain")) - {0})
        nodes = [f"/local/domain/{domid}/{node}" for domid in domids for node in ("name", "vm")]
        texts = [text or "" for text in self._store.read_all(nodes)]
        return {
            domid: Label(name, vm.rpartition("/")[2])
            for domid, name, vm in zip(domids, texts[::2], texts[1::2])
            if name or vm
        }

    def domains(self, labels: Mapping[int, Label]) -> dict[int, Domain]:
        """Their nodes are read at once, then their configurations, then all device models are asked at once."""
        domids = sorted(labels)
        nodes = ("/libxl/{}/type", "/libxl/{}/dm-version")
        texts = self._store.read_all([node.format(domid) for domid in domids for node in nodes])
        found: list[Domain] = []
        speaking: list[Domain] = []
        for domid, kind, device_model in zip(domids, texts[::2], texts[1::2]):
            domain = self._domain(domid, *labels[domid], kind or "")
            found.append(domain)
            if domain.kind is DomainKind.HVM and device_model == _QEMU:
                speaking.append(domain)
        models = self._device_models(speaking)
        return {domain.domid: replace(domain, device_model=models.get(domain.domid)) for domain in found}

    def stubs(self, domains: Collection[Domain]) -> dict[int, int]:
        """libxl notes a stub domain with its guest (libxl__spawn_stub_dm in libxl_dm.c)."""
        guests = [domain.domid for domain in domains if domain.kind is DomainKind.HVM]
        texts = self._store.read_all([f"/local/domain/{domid}/image/device-model-domid" for domid in guests])
        return {domid: int(text) for domid, text in zip(guests, texts) if text is not None and text.isdecimal()}

    def device_model(self, domain: Domain) -> DeviceModel:
        """Its silence is a fact as well."""
        try:
            return self._qmp(domain).bus()
        except DeviceModelError as error:
            return DeviceModel(plugged=None, problem=str(error))

    def _domain(self, domid: int, name: str, uuid: str, kind: str) -> Domain:
        config, problem = None, ""
        try:
            config = self._files.read_config(domid, uuid)
        except ConfigError as error:
            problem = str(error)
        if config is None and not problem and kind and self._files.are_there:
            problem = "libxl has built the domain, but the file of its configuration is gone"
        return Domain(
            domid=domid,
            name=name,
            uuid=uuid,
            kind=_KINDS.get(kind, DomainKind.UNKNOWN),
            creation=Creation() if config is None else Creation.of(config),
            configured=None if config is None else configured(config),
            config_problem=problem,
            stored_name=None if config is None else stored_name(config),
            manager=self._manager(domid, uuid),
            configured_options={} if config is None else configured_options(config),
        )

    def _manager(self, domid: int, uuid: str) -> Manager:
        """libvirt stores its definition with each domain that it starts (libxlDomainStart)."""
        if self._files.has(_OF_LIBVIRT, domid, uuid):
            return Manager.LIBVIRT
        return Manager.XL if self._files.has(_CONFIG, domid, uuid) else Manager.UNKNOWN

    def _device_models(self, domains: Sequence[Domain]) -> dict[int, DeviceModel]:
        """All asked at once: each one that hangs takes its whole time."""
        if not domains:
            return {}
        with ThreadPoolExecutor(max_workers=len(domains)) as pool:
            return {domain.domid: model for domain, model in zip(domains, pool.map(self.device_model, domains))}

    # ---- markers: /libxl/pci/<device>/domid, which makes xl treat a device as taken, and .../driver_path

    def markers(self) -> Markers:
        """Read all markers: one that is left over makes its device unassignable for ever."""
        keys = devices_below(self._store, _MARKERS)
        holders = self._store.read_all([_holder_node(device) for device in keys])
        drivers = self._store.read_all([_driver_node(device) for device in keys])
        texts = {device: text for device, text in zip(keys, holders) if text is not None}
        return Markers(
            {device: int(text) for device, text in texts.items() if _is_domid(text)},
            {device: text for device, text in zip(keys, drivers) if text},
            {device: text for device, text in texts.items() if not _is_domid(text)},
        )

    def holders(self, devices: Collection[Sbdf]) -> dict[Sbdf, int]:
        """As `markers`, of these devices only."""
        return _holders(self._store, devices)

    def claim(self, domid: int, devices: Collection[Sbdf], along: Sequence[Change] = ()) -> dict[Sbdf, str]:
        """As xl does before anything else (libxl__device_pci_add): it may have given one to another guest since."""

        def body(transaction: Transaction) -> dict[Sbdf, str]:
            texts = zip(devices, transaction.read_all([_holder_node(device) for device in devices]))
            others = {device: text for device, text in texts if text is not None and text != str(domid)}
            if not others:
                transaction.apply([*(Write(_holder_node(device), str(domid)) for device in devices), *along])
            return others

        return self._store.transaction(body) if devices else {}

    def mark(self, domid: int, devices: Collection[Sbdf]) -> None:
        """libxl drops its marker when an attach fails, though rights may be left (device_pci_add_done)."""
        self._store.apply([Write(_holder_node(device), str(domid)) for device in devices])

    def unmark(
        self, domid: int, devices: Collection[Sbdf], along: Sequence[Change] = (), always: Sequence[Change] = ()
    ) -> None:
        """xl may have given a device to the next domain, which a guest that reboots is."""

        def body(transaction: Transaction) -> None:
            holders = _holders(transaction, devices)
            own = [Remove(_holder_node(device)) for device, holder in holders.items() if holder == domid]
            transaction.apply([*own, *always, *(along if len(own) == len(devices) else ())])

        if devices:
            self._store.transaction(body)

    def drop_unreadable(self, device: Sbdf) -> None:
        """Remove it in place of xl, which takes whatever is there for a domain (libxl_device_pci_assignable_list)."""

        def body(transaction: Transaction) -> None:
            text = transaction.read(_holder_node(device))
            if text is not None and not _is_domid(text):
                transaction.apply([Remove(_holder_node(device))])

        self._store.transaction(body)

    def trace(self, domain: Domain) -> str:
        """See when libxl last changed something in the directory of its files.

        Since Xen 4.15 it takes a lock of the domain for every hot-plug (libxl__device_pci_add_xenstore), and replaces a
        file of each domain that it has built (domcreate_complete): both change their directory.
        Two changes within one tick of the kernel's clock are as one. But libxl writes its marker and resets the device
        before it takes that lock (libxl__device_pci_add), which takes longer.
        """
        version = tuple(map(int, (running_version() or "0.0").split(".")[:2]))
        return self._files.last_change() if version >= _MARKERS_SINCE and domain.configured is not None else ""

    def record_driver(self, device: Sbdf, directory: str | None) -> None:
        """xl pci-assignable-remove -r reads it (libxl__device_pci_assignable_remove)."""
        node = _driver_node(device)
        self._store.apply([Remove(node) if directory is None else Write(node, directory)])

    # ---- stored configuration

    def locked(self, domain: Domain, timeout: float) -> AbstractContextManager[None]:
        """Take the two locks that libxl takes for a hot-plug, in its order."""
        return self._files.locked(CHANGE_LOCKS, domain.domid, domain.uuid, timeout)

    def amend(
        self,
        domain: Domain,
        add: Collection[Sbdf],
        remove: Collection[Sbdf],
        options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS,
    ) -> Callable[[], None]:
        """libxl merges it with xenstore when it builds the domain again: an entry too many is left out then."""
        if not add and not remove:
            return lambda: None
        before = self._files.read_config(domain.domid, domain.uuid)
        after = None if before is None else amended(before, add, remove, options)
        if before is None or after is None or after == before:
            return lambda: None
        self._files.write_config(domain.domid, domain.uuid, after)
        return lambda: self._files.write_config(domain.domid, domain.uuid, before)

    # ---- devices of a guest with a device model

    def attach(self, domain: Domain, device: Sbdf, options: DeviceOptions) -> None:
        """By `xl pci-attach`."""
        from . import xl  # noqa: PLC0415 - needed by changes of HVM guests only, and each import costs every run

        xl.attach(domain.domid, device, options)

    def unplug(self, domain: Domain, device: Sbdf) -> None:
        """By QMP's device_del."""
        self._qmp(domain).unplug(qemu_name(device))

    def detach(self, domain: Domain, device: Sbdf) -> None:
        """By a forced `xl pci-detach`, which does not ask the guest."""
        from . import xl  # noqa: PLC0415 - as in attach

        xl.detach(domain.domid, device)

    def _qmp(self, domain: Domain) -> Qmp:
        from .qmp import Qmp  # noqa: PLC0415 - needed on hosts with HVM guests only, and each import costs every run

        return Qmp(
            self._sockets / f"qmp-libxl-{domain.domid}",
            lambda timeout: self._files.locked(QMP_LOCKS, domain.domid, domain.uuid, timeout),
        )


def _holder_node(device: Sbdf) -> str:
    return f"{_MARKERS}/{device.libxl_key}/domid"


def _driver_node(device: Sbdf) -> str:
    return f"{_MARKERS}/{device.libxl_key}/driver_path"


def _holders(requests: XenStore | Transaction, devices: Collection[Sbdf]) -> dict[Sbdf, int]:
    texts = requests.read_all([_holder_node(device) for device in devices])
    return {device: int(text) for device, text in zip(devices, texts) if text is not None and _is_domid(text)}


def _is_domid(text: str) -> bool:
    """Whether a marker is a number, in the form in which libxl writes one."""
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_DOMID
