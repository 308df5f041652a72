# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide whether a running domain can be given devices, and what would have to change so that it can.

Most of it is decided when a domain is created, so it is known before anything is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..model.domain import Domain, DomainKind
from ..model.xen import BOOT_PV_DOM0, ENABLE_IOMMU, NO_IOMMU, PVH_DOM0, Xen
from ..values.states import XenbusState

_PASSTHROUGH = 'passthrough="enabled"'
_PV, _QEMU = 'type="pv"', 'device_model_version="qemu-xen"'
_E820 = "e820_host=1"
_SAYS_NOTHING = Xen()


class Ready(Enum):
    """Whether devices can be given to a running domain."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reason:
    """A reason against giving a domain a device.

    `verdict` is NO if no attach can succeed, UNKNOWN if one may, and YES if the reason matters only once the domain has
    been created again. `lines` are what the domain's configuration must say then. If the reason is the host's, `code`
    names it, and `of_host` says what to do there.
    """

    text: str
    verdict: Ready
    lines: tuple[str, ...] = ()
    code: str = "not-ready"
    of_host: str = ""

    @property
    def advice(self) -> str:
        """What to do about the reason, empty if nothing can be done."""
        if self.of_host:
            return self.of_host
        return f"set {' and '.join(self.lines)} in its configuration, then destroy and create it" if self.lines else ""

    @property
    def remedy(self) -> str:
        """The reason with what to do about it."""
        return f"{self.text}; {self.advice}" if self.advice else self.text


def readiness(reasons: Sequence[Reason]) -> Ready:
    """Return the verdict of all reasons together, which is that of the worst one."""
    verdicts = {reason.verdict for reason in reasons}
    return next((verdict for verdict in (Ready.NO, Ready.UNKNOWN) if verdict in verdicts), Ready.YES)


def only_at_creation(reasons: Sequence[Reason]) -> bool:
    """Whether no attach can succeed, but a creation with the settings that we write into a file with devices would."""
    final = [reason for reason in reasons if reason.verdict is Ready.NO]
    return bool(final) and all(reason.lines and set(reason.lines) <= {_PASSTHROUGH, _E820} for reason in final)


def reasons_against(domain: Domain, xen: Xen = _SAYS_NOTHING) -> list[Reason]:
    """List all reasons against giving this domain a device; none if it is known to take them, now and later.

    `xen` is what Xen says of the host.
    """
    kind = wrong_kind(domain)
    if kind is not None:
        return [kind]
    iommu = _no_iommu(xen) or _iommu(domain)
    if domain.kind is DomainKind.HVM:
        return [*iommu, *_pvh_dom0(domain, xen), *_on_demand(domain), *_device_model(domain)]
    return [*iommu, *_pvh_dom0(domain, xen), *_memory_map(domain), *_frontend(domain)]


def wrong_kind(domain: Domain) -> Reason | None:
    """Say why the devices of a domain of this kind can never be changed; None if they can."""
    name, kind = domain.called, domain.kind
    if domain.serves is not None:
        text = f"{name} is the stub domain of domain {domain.serves} and gets that guest's devices; name the guest"
        return Reason(text, Ready.NO)
    if kind is DomainKind.PV or (kind is DomainKind.HVM and domain.device_model is not None):
        return None
    if kind is DomainKind.PVH:
        return Reason(f"{name} is a PVH guest, and Xen has no PCI passthrough for PVH guests on x86", Ready.NO, (_PV,))
    if kind is DomainKind.HVM:
        text = f"{name} has a device model that xen.pci does not support"
        return Reason(text, Ready.NO, (_QEMU,))
    return Reason(f"{name} is not known to be a PV or an HVM guest: libxl does not say what it is", Ready.NO)


def _no_iommu(xen: Xen) -> list[Reason]:
    """Check that Xen has an IOMMU at all; without one, what the domain was created with does not matter."""
    return [Reason(NO_IOMMU, Ready.NO, code="no-iommu", of_host=ENABLE_IOMMU)] if xen.iommu is False else []


def _pvh_dom0(domain: Domain, xen: Xen) -> list[Reason]:
    """Check that dom0 can give interrupts to the PV domain that makes the handshake: the guest or its stub domain."""
    by_handshake = domain.kind is DomainKind.PV or domain.stub is not None
    if not xen.dom0_is_pvh or not by_handshake:
        return []
    return [Reason(PVH_DOM0, Ready.NO, code="pvh-dom0", of_host=BOOT_PV_DOM0)]


def _iommu(domain: Domain) -> list[Reason]:
    """Check that the domain uses the IOMMU: as Xen says, or, if Xen cannot be asked, as its creation asked for."""
    name, asked, used = domain.called, domain.creation.passthrough, domain.uses_iommu
    if used is None and not domain.devices:
        used = {"disabled": False, "default": None, None: None}.get(asked, True)
        if used is None:
            text = f"it is not known whether {name} was created with IOMMU use"
            return [Reason(text, Ready.UNKNOWN, (_PASSTHROUGH,))]
    if used is False:
        text = f"{name} was created without IOMMU use, so Xen gives it no device"
        return [Reason(text, Ready.NO, (_PASSTHROUGH,))]
    if asked == "default":
        # libxl decides by the devices that the domain has when it is built, also for a reboot or a migration.
        text = f"{name} uses the IOMMU only because it was created with a device; without one, it would not"
        return [Reason(text, Ready.YES, (_PASSTHROUGH,))]
    return []


def _on_demand(domain: Domain) -> list[Reason]:
    """Check that the domain has all of its memory: devices could reach memory that it does not have yet.

    So Xen allows populate-on-demand or devices, but not both.
    """
    if not domain.creation.on_demand:
        return []
    text = f"{domain.called} began with less memory than its maximum (populate-on-demand), so Xen gives it no device"
    return [Reason(text, Ready.NO, (f"maxmem={domain.creation.memory}",))]


def _device_model(domain: Domain) -> list[Reason]:
    """Check that the device model answers, because it plugs the devices in."""
    if domain.device_model is None or domain.device_model.plugged is not None:
        return []
    return [Reason(f"{domain.called} cannot take devices now: {domain.device_model.problem}", Ready.UNKNOWN)]


def _memory_map(domain: Domain) -> list[Reason]:
    """Check that a PV guest has the host's memory map; without it, its memory may be where a device has windows."""
    if domain.creation.e820_host is not False:
        return []
    text = f"{domain.called} was created without the host's memory map, so there may be no room for a device's windows"
    return [Reason(text, Ready.UNKNOWN, (_E820,))]


def _frontend(domain: Domain) -> list[Reason]:
    """Check that the guest has pcifront, which can be seen only if there is a connection."""
    backend, name = domain.own_connection, domain.called
    if backend is None:
        text = f"it is not known whether {name} has xen-pcifront loaded, which its first device shows"
        return [Reason(text, Ready.UNKNOWN)]
    if backend.frontend_state is XenbusState.INITIALISING:
        return [Reason(f"{name} has not answered on its PCI connection; load xen-pcifront in the guest", Ready.UNKNOWN)]
    return []
