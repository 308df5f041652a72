# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive the host as it is expected to be after a plan, so that what follows can be planned before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from ..model.device import PCIBACK, PciDevice, XenOwner
from ..model.host import Host
from ..model.physical_function import PhysicalFunction
from ..values.address import Sbdf
from .assignable_plan import AssignablePlan
from .device_steps import FinishRelease, Forget, MakePermissive, Quarantine, Rebind, Release, Take
from .domain_plan import DomainsPlan
from .function_plan import Configure, SetAutoprobe, SetCount
from .function_plan import Step as FunctionStep


def with_pciback(host: Host) -> Host:
    """Return the host with pciback loaded."""
    return replace(host, drivers=host.drivers | {PCIBACK})


def after_functions(host: Host, steps: Iterable[FunctionStep], drivers: Mapping[str, str] | None = None) -> Host:
    """Return the host with the virtual functions that the steps create, and without those that they remove.

    `drivers` has the driver that takes functions with a modalias, where the kernel offers them to drivers.
    """
    for step in steps:
        now = host.functions[step.pf]
        if isinstance(step, SetAutoprobe):
            now = replace(now, drivers_autoprobe=step.offer)
        elif isinstance(step, Configure):
            now = replace(now, settings={**now.settings, step.index: step.settings})
        else:
            host, now = _recounted(host, now, step, drivers or {})
        host = replace(host, functions={**host.functions, step.pf: now})
    return host


def _recounted(
    host: Host, now: PhysicalFunction, step: SetCount, drivers: Mapping[str, str]
) -> tuple[Host, PhysicalFunction]:
    virtual = {one.sbdf: one for one in virtual_functions(now, step.count)}
    if now.drivers_autoprobe:
        virtual = {sbdf: replace(one, driver=drivers.get(one.modalias)) for sbdf, one in virtual.items()}
    device = replace(now.device, virtfns=tuple(virtual), virtfns_probed=now.drivers_autoprobe)
    kept = {sbdf: other for sbdf, other in host.devices.items() if sbdf not in now.device.virtfns}
    devices = dict(sorted({**kept, device.sbdf: device, **virtual}.items()))
    return replace(host, devices=devices), replace(now, device=device, settings={})


def virtual_functions(physical: PhysicalFunction, count: int) -> list[PciDevice]:
    """Describe the first virtual functions of a physical one as they will be; none if the kernel does not say where.

    Linux computes the addresses in the same way (pci_iov_virtfn_bus and pci_iov_virtfn_devfn in drivers/pci/iov.c), and
    takes all but the device's number from the physical function (pci_iov_add_virtfn). They have no interrupt line, and
    they can be reset by themselves (PCI Express Base, 9.3.3 and 9.3.1).
    """
    if not physical.first_offset or (count > 1 and not physical.stride):
        return []
    pf = physical.device
    first = int(pf.sbdf) + physical.first_offset
    subsystem = pf.subsystem_vendor, pf.subsystem_device
    return [
        PciDevice(
            sbdf=Sbdf.from_int(first + index * physical.stride),
            vendor=pf.vendor,
            device=physical.vf_device,
            subsystem_vendor=subsystem[0],
            subsystem_device=subsystem[1],
            class_code=pf.class_code,
            revision=pf.revision,
            modalias=_modalias(pf, physical.vf_device),
            path=f"{pf.path}/vf{index}",
            numa_node=pf.numa_node,
            parent=pf.parent,
            port_type=pf.port_type,
            acs=pf.acs,
            message_interrupts=True,
            reset_methods=("flr",),
            physfn=pf.sbdf,
            vf_index=index,
        )
        for index in range(count)
    ]


def _modalias(pf: PciDevice, device: str) -> str:
    """Write the text by which the kernel finds a driver (modalias_show in drivers/pci/pci-sysfs.c)."""
    numbers = (pf.vendor, device, pf.subsystem_vendor, pf.subsystem_device)
    vendor, device, subsystem_vendor, subsystem_device = (f"{number.upper():0>8}" for number in numbers)
    kind, sub_kind, interface = (pf.class_code.upper()[at : at + 2] for at in (0, 2, 4))
    return f"pci:v{vendor}d{device}sv{subsystem_vendor}sd{subsystem_device}bc{kind}sc{sub_kind}i{interface}"


def after_assignment(host: Host, plan: AssignablePlan) -> Host:
    """Return the host with the devices where the plan puts them."""
    devices, owners, records = dict(host.devices), dict(host.xen_owners), dict(host.driver_paths)
    quarantined, gone = set(host.quarantined), dict(host.gone)
    for step in plan.steps:
        sbdf = step.sbdf
        if isinstance(step, Forget):
            gone.pop(sbdf, None)
            records.pop(sbdf, None)
        elif isinstance(step, (Release, FinishRelease)):
            driver = devices[sbdf].driver if step.bound else step.driver
            devices[sbdf] = replace(devices[sbdf], driver=driver, pciback_slots=0, permissive=False)
            for known in (owners, records):
                known.pop(sbdf, None)
            quarantined.discard(sbdf)
        elif isinstance(step, (Take, Quarantine)):
            devices[sbdf] = replace(devices[sbdf], driver=PCIBACK, pciback_slots=1)
            owners[sbdf] = XenOwner.HOST
            quarantined.add(sbdf)
            if isinstance(step, Take) and step.driver is not None:
                records[sbdf] = f"/sys/bus/pci/drivers/{step.driver}"
        elif isinstance(step, (Rebind, MakePermissive)):
            devices[sbdf] = replace(devices[sbdf], permissive=isinstance(step, MakePermissive))
    return replace(
        host,
        devices=devices,
        xen_owners=owners,
        driver_paths=records,
        quarantined=frozenset(quarantined),
        gone=gone,
    )


def after_domains(host: Host, plan: DomainsPlan) -> Host:
    """Return the host with the devices with the domains that are to have them, as far as libxl's markers say it."""
    removed = {device for step in plan.domains for device in step.remove}
    given = {device: step.domain.domid for step in plan.domains for device in step.add}
    host = host.assuming_free(removed)
    return replace(host, markers=dict(sorted({**host.markers, **given}.items())))
