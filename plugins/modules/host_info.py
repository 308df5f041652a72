#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Xen host is like: its PCI functions and its domains, seen from every side."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Gather the PCI devices of a Xen host and the domains that have them
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Reports every PCI function of the host and every domain with the devices it has, as sysfs, xenstore, Xen
    and libxl see them.
  - Where these views contradict each other, says so in words.
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.info_module
  - xen.pci.attributes.actiongroup_pci
options:
  gather:
    description:
      - What to return. RV(disagreements) is returned in any case.
    type: list
    elements: str
    choices: [devices, domains]
    default: [devices, domains]
requirements:
  - pyxs on the target
notes:
  - Needs root in dom0.
seealso:
  - module: xen.pci.assignable_devices
  - plugin: xen.pci.select
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the host
  xen.pci.host_info:
  register: xen

- name: Show what could be given to a domain now
  ansible.builtin.debug:
    msg: "{{ xen.devices | selectattr('assignable') | selectattr('domain', 'none') | map(attribute='address') }}"

- name: Insist that all views agree
  ansible.builtin.assert:
    that: xen.disagreements | length == 0
    fail_msg: "{{ xen.disagreements | join(' ') }}"

- name: Insist that all guests can take devices
  ansible.builtin.assert:
    that: "'no' not in xen.domains | map(attribute='hotplug_ready')"
    fail_msg: "{{ xen.domains | map(attribute='hotplug_reasons') | flatten | map(attribute='reason') | join(' ') }}"

- name: Show why the other devices stay with the host
  ansible.builtin.debug:
    msg: "{{ xen.devices | rejectattr('free') | map(attribute='refusals') | flatten | map(attribute='reason') }}"
"""

RETURN = r"""
devices:
  description: All PCI functions, in the order of their addresses. Identifiers are hexadecimal without prefix.
  returned: when O(gather) contains V(devices)
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:03:00.0"
    path:
      description:
        - Way from the root bus by slots and functions; virtual functions by their number.
        - It stays the same when buses are numbered anew.
      type: str
      sample: 0000:00/1c.2/00.0
    slot:
      description: What the firmware calls the slot, V(null) if it says nothing.
      type: str
      sample: "3"
    label:
      description: What the firmware calls the device, V(null) if it says nothing.
      type: str
      sample: Onboard LAN 1
    vendor:
      description: Vendor.
      type: str
      sample: "8086"
    device:
      description: Device of the vendor.
      type: str
      sample: "10d3"
    subsystem_vendor:
      description: Vendor of the card.
      type: str
      sample: "8086"
    subsystem_device:
      description: Card of the vendor.
      type: str
      sample: "0000"
    class:
      description: Class, sub-class and programming interface.
      type: str
      sample: "020000"
    revision:
      description: Revision.
      type: str
      sample: "00"
    driver:
      description: Driver of the host that holds the function, V(null) if none does.
      type: str
      sample: pciback
    numa_node:
      description: NUMA node, -1 if unknown.
      type: int
      sample: -1
    serial:
      description: PCI Express device serial number, V(null) if the function has none or dom0 may not read it.
      type: str
      sample: 52-54-00-ff-ff-00-01-01
    nvme_serial:
      description: Serial number of an NVMe controller, read now or remembered from before pciback took it.
      type: str
      sample: NV1
    macs:
      description: MAC addresses, read now or remembered from before pciback took the function.
      type: list
      elements: str
      sample: ["52:54:00:00:01:01"]
    remembered:
      description:
        - Whether RV(devices[].nvme_serial) and RV(devices[].macs) are from an earlier boot of the host. They are shown
          for a function that pciback holds, is of the same make and has the same RV(devices[].serial), or the same
          RV(devices[].path) if it has no serial number.
      type: bool
      sample: false
    is_bridge:
      description: Whether it is a bridge, which cannot be given away.
      type: bool
      sample: false
    reset_methods:
      description:
        - Ways in which the kernel can reset the function.
        - A single V(reset) where the kernel does not tell them apart.
      type: list
      elements: str
      sample: [flr, bus]
    message_interrupts:
      description: Whether the function has MSI or MSI-X and can do without an interrupt line.
      type: bool
      sample: true
    vf_index:
      description: Number of a virtual function among those of its physical function.
      type: int
      sample: 0
    answers:
      description:
        - Whether it answers at all. One that does not is given to nobody, and a pool does not choose it.
      type: bool
      sample: true
    acs:
      description:
        - Whether access control services (ACS) of PCI Express keep it from reaching its neighbours past the IOMMU.
        - V(off) if it has them and not all that isolates is switched on; V(unknown) if its configuration space cannot
          be read that far. Xen switches on what is there.
      type: str
      choices: ["on", "off", absent, unknown]
      sample: "on"
    reserved_memory:
      description:
        - Memory that firmware keeps it at (RMRR in ACPI's table DMAR, which Intel's IOMMUs come with), first and last
          byte. What others share is among RV(devices[].refusals).
      type: list
      elements: str
      sample: ["0x7b800000-0x7bffffff"]
    physfn:
      description: Physical function of a virtual function.
      type: str
      sample: "0000:04:00.0"
    virtfns:
      description: Virtual functions of a physical function.
      type: list
      elements: str
      sample: ["0000:04:00.1"]
    sriov_totalvfs:
      description: How many virtual functions the function can have.
      type: int
      sample: 0
    disks:
      description: Disks of the host on this function, and what uses them.
      type: list
      elements: dict
      sample: [{name: nvme0n1, used_by: [nvme0n1p1 is mounted on /data]}]
    interfaces:
      description: Network interfaces of the host on this function, and the interfaces above them.
      type: list
      elements: dict
      sample: [{name: eth1, mac: "52:54:00:00:01:01", up: true, upper: [xenbr0]}]
    assignable:
      description: Whether pciback holds it.
      type: bool
      sample: true
    free:
      description: Whether nobody has it and nothing speaks against giving it away.
      type: bool
      sample: true
    refusals:
      description:
        - What speaks against giving it away; empty once pciback holds it.
        - The check V(group) is made for devices that are to be given away only, as each costs a call to Xen.
      type: list
      elements: dict
      contains:
        check:
          description: Name under which a declaration may overrule it.
          type: str
          sample: disk
        reason:
          description: Reason with its evidence.
          type: str
          sample: "0000:04:00.0 carries disk nvme0n1: nvme0n1p1 is mounted on /data; stop that use first."
        waivable:
          description: Whether it may be overruled at all.
          type: bool
          sample: true
    permissive:
      description: Whether pciback lets its user write all of its configuration space; that stays until pciback lets go.
      type: bool
      sample: false
    in_slots:
      description:
        - Whether pciback's list names it, which makes pciback seize it whenever it has no driver.
        - V(null) if that cannot be told, as the kernel shows 315 entries of a longer list only.
      type: bool
      sample: true
    quarantined:
      description: Whether it is known to go to Xen's quarantine when no domain has it; Xen itself does not tell.
      type: bool
      sample: true
    held:
      description:
        - When pciback holds it, now by sysfs, after a reboot by the files that the next boot reads.
        - V(after_reboot) is one that is with the host now and will not be after a reboot.
      type: str
      choices: [neither, now, after_reboot, both]
      sample: both
    recorded_driver:
      description: Driver that it had before pciback, as libxl and this collection record it.
      type: str
      sample: e1000e
    xen_owner:
      description: Who owns it in Xen's eyes; V(unknown) unless pciback holds it.
      type: str
      choices: [host, guest, unknown]
      sample: host
    domain:
      description: Name of the domain whose connection in xenstore lists it.
      type: str
      sample: web01
    marked_domid:
      description: Number of the domain that libxl has it down for.
      type: int
      sample: 3
domains:
  description: All domains but dom0.
  returned: when O(gather) contains V(domains)
  type: list
  elements: dict
  contains:
    domid:
      description: Number.
      type: int
      sample: 3
    name:
      description: Name.
      type: str
      sample: web01
    uuid:
      description: UUID, empty if unknown.
      type: str
      sample: 7b6e1c52-58d8-4dd4-9e0c-0b7aa0a5c0cd
    kind:
      description: How it is virtualised.
      type: str
      choices: [pv, hvm, pvh, unknown]
      sample: pv
    passthrough:
      description:
        - What it was created with in this regard, V(null) if not recorded.
        - V(default) leaves it to whether the domain has devices when it is built.
      type: str
      sample: enabled
    e820_host:
      description: Whether it was created with the memory map of the host, V(null) if not recorded.
      type: bool
      sample: true
    hotplug_ready:
      description:
        - Whether devices can be given to it while it runs. Most of that is decided when it is created.
        - V(unknown) if an attach may succeed; a guest shows only at its first device whether it has xen-pcifront.
      type: str
      choices: ["yes", "no", "unknown"]
      sample: "no"
    hotplug_reasons:
      description: What speaks against it; empty if nothing does.
      type: list
      elements: dict
      contains:
        reason:
          description: The reason, a sentence.
          type: str
          sample: web01 was created without IOMMU use, so Xen will give it no device.
        verdict:
          description: What it makes of RV(domains[].hotplug_ready); V(yes) if it matters only once the domain is built
            anew.
          type: str
          choices: ["yes", "no", "unknown"]
          sample: "no"
        config:
          description: Lines that its configuration (C(xl.cfg)) needs before it is created anew.
          type: list
          elements: str
          sample: ['passthrough="enabled"']
    backend_state:
      description: State of dom0's end of the PCI connection, V(null) if there is none.
      type: str
      sample: 4 (Connected)
    frontend_state:
      description: State of the guest's end, V(null) if there is no connection.
      type: str
      sample: 4 (Connected)
    error:
      description: Last error of dom0's kernel with this connection, empty if there is none.
      type: str
      sample: ""
    aer_state:
      description:
        - What pciback says of a PCI error (AER) that the guest could not handle, V(aerfail), empty if there was none.
        - One of its devices is dead then. Which one it is stands in the log of dom0's kernel.
      type: str
      sample: ""
    devices:
      description: The devices of the connection.
      type: list
      elements: dict
      contains:
        address:
          description: Address on the host, V(null) if unreadable.
          type: str
          sample: "0000:03:00.0"
        guest_address:
          description: Address in the guest, V(null) as long as pciback has not published it.
          type: str
          sample: "0000:00:00.00"
        state:
          description: State of this device in the connection, V(null) if it is none of the three.
          type: str
          choices: [to_add, exported, to_remove]
          sample: exported
disagreements:
  description:
    - Contradictions between xenstore, sysfs, Xen and libxl, and faults in what the next boot will read of pciback,
      a sentence each; empty on a host in order.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.faults.disagreements import disagreements
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.boot_config import BootConfigError
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe, with_boot
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import Holding
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.readiness import readiness, reasons_against


def main() -> None:
    """Entry point."""
    everything = ["devices", "domains"]
    module = AnsibleModule(
        argument_spec={
            "gather": {"type": "list", "elements": "str", "choices": everything, "default": everything},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    try:
        with open_host() as access:
            host = with_boot(access, observe(access))
    except (BootConfigError, SysfsError, HypervisorError, XenStoreError) as error:
        module.fail_json(msg=str(error))
    result: dict[str, Any] = {
        "changed": False,
        "disagreements": [*disagreements(host), *(host.boot.complaints if host.boot else ())],
    }
    if "devices" in module.params["gather"]:
        after_reboot = host.boot.held(host.devices) if host.boot else frozenset()
        result["devices"] = [
            {**facts, "held": Holding.of(sbdf in host.in_pciback, sbdf in after_reboot).value}
            for sbdf, facts in zip(host.devices, all_facts(host))
        ]
    if "domains" in module.params["gather"]:
        result["domains"] = [_domain(domain) for domain in host.domains.values()]
    module.exit_json(**result)


def _domain(domain: Domain) -> dict[str, Any]:
    backend, against = domain.own_connection, reasons_against(domain)
    return {
        "domid": domain.domid,
        "name": domain.name,
        "uuid": domain.uuid,
        "kind": domain.kind.value,
        "passthrough": domain.creation.passthrough,
        "e820_host": domain.creation.e820_host,
        "hotplug_ready": readiness(against).value,
        "hotplug_reasons": [
            {"reason": f"{one.text}.", "verdict": one.verdict.value, "config": list(one.lines)} for one in against
        ],
        "backend_state": _text(backend and backend.state),
        "frontend_state": _text(backend and backend.frontend_state),
        "error": backend.error if backend else "",
        "aer_state": backend.aer_state if backend else "",
        "devices": [
            {
                "address": _text(entry.device),
                "guest_address": _text(entry.guest_address),
                "state": entry.state.name.lower() if entry.state is not None else None,
            }
            for entry in (backend.entries if backend else ())
        ],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)


if __name__ == "__main__":
    main()
