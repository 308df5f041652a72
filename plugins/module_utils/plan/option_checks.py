# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refuse options of devices that cannot have an effect, and changes of options that only a new attachment makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..model.domain import Domain, DomainKind
from ..model.host import Host
from ..values.address import Sbdf
from ..values.device_options import NO_OPTIONS, DeviceOptions
from ..values.refusal import Refusal
from .domain_lookup import find_domain
from .domain_plan import DesiredDomain

#: libxl hands these to a device model only (libxl_pci.c); pciback chooses the slots of a PV guest itself.
_FOR_DEVICE_MODELS = ("msitranslate", "power_mgmt", "vslot")


def option_refusals(host: Host, desired: Sequence[DesiredDomain]) -> list[Refusal]:
    """Check the options of all declared devices; of a domain that does not run, those that its file is to have."""
    found: list[Refusal] = []
    for want in desired:
        found_domain = find_domain(host, want.name, want.uuid)
        domain = found_domain if isinstance(found_domain, Domain) else None
        if want.present:
            found += _without_effect(want, _is_pv(host, want, domain)) if want.options else ()
            found += _changed(host, want, domain) if domain is not None else ()
            found += _taken_slots(want, domain)
    return found


def _is_pv(host: Host, want: DesiredDomain, domain: Domain | None) -> bool:
    """Whether it is a PV guest; of a domain that does not run, its file says so."""
    if domain is not None:
        return domain.kind is DomainKind.PV
    from ..model.xl_file import is_for_pv_guest  # noqa: PLC0415 - for domains with a file; each import costs every run
    from ..values.xl_config import XlConfigError  # noqa: PLC0415 - as above

    try:
        return is_for_pv_guest(host.config_files.get(want.config or "", ""))
    except XlConfigError:  # refused already
        return False


def _without_effect(want: DesiredDomain, in_pv: bool) -> Iterator[Refusal]:
    if not in_pv:
        return
    for device, options in want.options.items():
        for name in _FOR_DEVICE_MODELS:
            if getattr(options, name):
                reason = f"{device} (for {want.name}) is declared with {name}, which has no effect in a PV guest"
                yield Refusal("option", str(device), reason, f"remove {name}")


def _changed(host: Host, want: DesiredDomain, domain: Domain) -> Iterator[Refusal]:
    """Refuse other options for a device that the domain has: they are set when it gets the device."""
    for device in domain.devices:
        declared = want.options.get(device, DeviceOptions())
        now = domain.options[device]
        if domain.kind is DomainKind.PV and device in host.devices:
            # What pciback does, which xen.pci.assignable_devices sets at any time.
            now = replace(now, permissive=host.devices[device].permissive)
        different = declared.differences(now)
        if different:
            reason = (
                f"{want.name} has {device} with {', '.join(different)}, and options are set when a device is attached"
            )
            advice = "detach it (state: absent), then attach it again with these options"
            yield Refusal("option-change", str(device), reason, advice)


def _taken_slots(want: DesiredDomain, domain: Domain | None) -> Iterator[Refusal]:
    """Refuse a slot that two devices would have."""
    now = domain.options if domain is not None else NO_OPTIONS
    has: dict[Sbdf, int | None] = {device: options.vslot for device, options in now.items()}
    if want.exclusive:
        has = {device: slot for device, slot in has.items() if device in want.devices}
    wanted = {device: options.vslot for device, options in want.options.items() if device in want.devices}
    slots = {**has, **{device: slot for device, slot in wanted.items() if slot is not None}}
    taken = Counter(slot for slot in slots.values() if slot is not None)
    for device, slot in wanted.items():
        if slot is not None and taken[slot] > 1:
            others = [str(other) for other, its in slots.items() if its == slot and other != device]
            reason = (
                f"{device} (for {want.name}) is declared with vslot {slot:x}, which is that of {' and '.join(others)}"
            )
            yield Refusal("option", str(device), reason, "choose another slot")
