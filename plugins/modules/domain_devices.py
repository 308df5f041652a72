#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declare the PCI devices of a host's domains: arguments, observe, plan, apply, verify, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: domain_devices
short_description: Attach and detach the PCI devices of Xen domains
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Brings the PCI devices of all named domains of a Xen host to what is declared, in one task.
  - All changes of a domain are made in one handshake with its guest, and those of different domains side by side.
    A device that moves from one domain to another is released by the first before the second gets it.
  - Success is what was observed afterwards, not what was requested. See O(converge).
  - Each device that changed hands is a line in the system's log, with its identity, the evidence and who ran the task.
  - Everything that can be wrong is checked before anything is touched, and reported in one message. A change that a
    guest does not follow in time is rolled back.
  - C(xl) sees the devices as its own. After a reboot of the guest it has those that it had before, no more and no less,
    since libxl's stored configuration of the domain is kept in step.
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.actiongroup_declare
  - xen.pci.catalog
  - xen.pci.host
  - xen.pci.host.pools
  - xen.pci.plan
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  domains:
    description:
      - What each domain is to have, by the name of the domain. Domains that are not named keep what they have.
      - Each value is a dictionary with the keys below.
      # begin: keys of a domain
      - >-
        V(devices) (list of names, addresses and parts of pools, required). Devices of the domain. The name of a pool
        means all devices of the pool. A domain keeps the devices of a pool that it has. Example: C(devices: [uplink,
        {from: vf-pool, count: 2}]).
      - >-
        V(exclusive) (bool). Whether the domain has no other devices, and loses those that it has. Only then may
        V(devices) be empty. Not with V(state=absent). If not given, what is set for all domains counts (O(exclusive),
        C(xen_pci_exclusive)). Example: C(exclusive: true).
      - >-
        V(state) (str, present or absent, default V(present)). With V(absent), the listed devices are taken away from
        the domain. They need not be on the host any more. Example: C(state: absent).
      - >-
        V(uuid) (str, a UUID such as 5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11). UUID of the domain, as C(xl vm-list) and
        M(xen.pci.host_info) show it. Then the UUID says which domain it is, and the name is only what you call it.
        Needed where two domains have one name. Example: C(uuid: "5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11").
      - >-
        V(config) (str, the path of a file). File from which the domain is created (xl.cfg). Its C(pci) list gets the
        same devices once the domain has them, and C(passthrough) and C(e820_host) where they are needed. See
        V(when_halted). Example: C(config: /etc/xen/web01.cfg).
      - >-
        V(when_halted) (str, config, skip or fail). What to do if the domain does not run. With V(config), its file is
        kept in step, which the key of that name must give; the same is done if the domain runs, but was created so that
        it can take no device before it is created again. With V(skip), nothing is done for it, and what it is to have
        of a pool is kept for it. With V(fail), the whole task is refused. If not given, V(config) if there is a file,
        else V(skip). Both warn. Example: C(when_halted: fail).
      # end
      - >-
        An element of V(devices) is a name of O(catalog), a host address such as V(0000:03:00.0), or a part of a pool
        such as V({from: vf-pool, count: 2}), which means one device if V(count) is not given. The name of a pool means
        all its devices.
      - A domain that does not run does not stop the task, see V(when_halted). A name that is another spelling of a
        running domain's, such as V(Web01), is refused and not skipped.
      - The file V(config) is written once the domain has its devices. Everything else in it stays byte for byte. A file
        that cannot be parsed, or that is another domain's, is refused before anything is touched.
    type: dict
    required: true
  exclusive:
    description:
      - Default of V(exclusive) for domains that do not set it.
    type: bool
    default: false
  converge:
    description:
      - What must be seen before a device counts as attached.
      - V(connected) means that pciback has exported it, both ends of the connection are at rest, and Xen
        says that a guest owns it. For an HVM guest, the guest's device model (QEMU) has it on its PCI bus, and
        Xen says that a guest owns it.
      - V(active) means also that a driver in the guest has enabled it, as its configuration space shows. Of an HVM
        guest, its device model shows that one of the device's windows is mapped.
        A device without a driver in the guest never becomes active. It stays attached then, and the task fails.
    type: str
    choices: [connected, active]
    default: connected
  backup:
    description:
      - Keep a copy of each V(config) file that is changed, beside it and with the time in its name. If the path is a
        link, as in C(/etc/xen/auto), the copy is beside the file that it leads to.
    type: bool
    default: false
  repair:
    description:
      - What to do when the connections of the named domains, or the devices that they are to have, are in a bad state.
      - V(never) refuses with the name of the fault, also where no device would have to be added or removed. Only what a
        killed run of this module left is finished first in any case (entries of a removal, a closed connection, rights
        and markers without an entry).
      - V(first) repairs every fault of these domains and devices that M(xen.pci.repair) knows, as that module would. A
        repair that would take a device from a guest that uses it is not done. The task
        fails and says what it would cost, in check mode as well.
    type: str
    choices: [never, first]
    default: never
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host. If it has not finished by then, the task fails
        and nothing is changed.
      - Then also the seconds for repairs, and for all changes of each domain. Allow more for many or slow devices, as
        their drivers in a guest start one after the other.
      - Then also the seconds for each write to the kernel, such as a reset. One that takes longer is given up.
    type: int
    default: 60
notes:
  - A device is refused if it shares a page of memory or an interrupt line with one of another owner, is in one IOMMU
    group with it, can be reached from it past the IOMMU, or is permissive without a declared reason. V(waive) and
    V(permissive) in O(catalog) give the reason for doing it nonetheless. M(xen.pci.assignable_devices) lists the
    checks.
  - HVM guests are changed through C(xl), one device at a time, whether their device model is in dom0 or in a stub
    domain. The device model is then asked for the result. A request to the guest to eject a device cannot be
    withdrawn.
  - A domain's configuration must allow devices when the domain is created (C(passthrough="enabled"), and C(e820_host=1)
    for a PV guest). RV(xen.pci.host_info#module:domains[].hotplug_ready) says which domains can take them, and why
    others cannot. One that surely cannot is refused. But if it only has to be created again, and V(config) names its
    file, the file gets the devices, with a warning, and RV(domains[].deferred) has them. Where it is in doubt, the task
    warns before it changes anything.
seealso:
  - module: xen.pci.assignable_devices
  - module: xen.pci.host_info
  - module: xen.pci.repair
"""

EXAMPLES = r"""
- name: Give two devices to web01 and wait until its drivers use them
  xen.pci.domain_devices:
    domains:
      web01:
        devices:
          - "0000:03:00.0"
          - "0000:04:00.0"
    converge: active

- name: Give each web server two virtual functions of a pool
  xen.pci.domain_devices:
    catalog:
      uplink: {serial: "52-54-00-ff-ff-00-01-01"}
      vf-pool: {pf: uplink, count: 4}
    domains:
      web01:
        devices: [{from: vf-pool, count: 2}]
      web02:
        devices: [{from: vf-pool, count: 2}]

- name: Move scratch from web01 to web02, by name
  xen.pci.domain_devices:
    catalog:
      uplink: {address: "0000:03:00.0", vendor: "8086"}
      scratch: {address: "0000:04:00.0"}
    domains:
      web01:
        devices: [uplink]
        exclusive: true
      web02:
        devices: [scratch]

- name: Have web01 start with the same devices when it is created again
  xen.pci.domain_devices:
    domains:
      web01:
        devices: ["0000:03:00.0", "0000:04:00.0"]
        exclusive: true
        config: /etc/xen/web01.cfg
    backup: true

- name: Keep only the file of web01 in step while it does not run, and do nothing at all if db01 does not run
  xen.pci.domain_devices:
    domains:
      web01: {devices: ["0000:03:00.0"], config: /etc/xen/web01.cfg, when_halted: config}
      db01: {devices: ["0000:04:00.0"], when_halted: fail}

- name: Take all devices away from web01
  xen.pci.domain_devices:
    domains:
      web01:
        devices: []
        exclusive: true
"""

RETURN = r"""
actions:
  description: Each change that was planned, in words. What came of it, if the task failed, is in RV(domains).
  returned: unless the host could not be observed
  type: list
  elements: str
  sample: ["web01: add 0000:03:00.0"]
changes:
  description: The same as data, one entry for each change.
  returned: unless the host could not be observed
  type: list
  elements: dict
  contains:
    subject:
      description: Name of the domain.
      type: str
      sample: web01
    device:
      description: Address of the device; path of the file if RV(changes[].action) is V(write).
      type: str
      sample: "0000:03:00.0"
    name:
      description: Its name in the inventory, or the one under which an earlier run took it; V(null) if it has none.
      type: str
      sample: scratch
    action:
      description: What is done with it.
      type: str
      sample: add
diff:
  description:
    - A text with a line for each device that changes, then the files of domains before and after.
    - Empty if nothing changes.
  returned: success
  type: list
  elements: dict
  contains:
    prepared:
      description:
        - The text. It has the same lines in check mode and in a run that goes as planned; nothing else is in it.
        - V(+) is what something gains, V(-) what it loses, V(~) what changes where it is. After the name in the
          inventory and the address comes what the host knows of the device.
      type: str
      sample: "web01  + scratch  0000:03:00.0 (nvme S4EV0A1)\n"
    before:
      description: Text of a file before.
      type: str
    after:
      description: Text of a file after.
      type: str
    before_header:
      description: Path of the file.
      type: str
    after_header:
      description: Path of the file.
      type: str
fingerprint:
  description: Fingerprint of the plan, for O(fingerprint) of a later run that is to carry out this plan only.
  returned: when the declaration was not refused
  type: str
  sample: 5a1f0c3e9b7d4c2f8e6a1b0d9c3f7e21
moved:
  description: Devices that are no longer where they were last known to be, a sentence each.
  returned: when the declaration was not refused
  type: list
  elements: str
  sample: ["uplink moved 0000:03:00.0 → 0000:04:00.0"]
missing:
  description: Names that are not on this host and need not be (V(required=false)).
  returned: when the declaration was not refused
  type: list
  elements: str
  sample: []
refusals:
  description: Every reason why nothing was touched.
  returned: when the task was refused
  type: list
  elements: dict
  contains:
    code:
      description: Name of the reason, the same in all versions. For a check, the name that V(waive) takes.
      type: str
      sample: disk
    subject:
      description: What it is about, such as the address of a device, the name of a domain, or an option.
      type: str
      sample: "0000:04:00.0"
    name:
      description: Name of the device in the inventory, if it is about one that has a name; else V(null).
      type: str
      sample: scratch
    reason:
      description: What is wrong, and where.
      type: str
      sample: "0000:04:00.0 carries disk nvme0n1: nvme0n1p1 is mounted on /data"
    advice:
      description: What to do; empty if that depends on the case.
      type: str
      sample: stop that use first
    waivable:
      description: Whether V(waive) can overrule it.
      type: bool
      sample: true
waived:
  description: Refusals that the declaration overrules.
  returned: when the declaration was not refused
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:05:02.0"
    name:
      description: Name of the device in the inventory.
      type: str
      sample: audio
    check:
      description: The check.
      type: str
      sample: shared-interrupt
    reason:
      description: Why the device would have been refused.
      type: str
      sample: "0000:05:02.0 shares interrupt line 17 with 0000:05:03.0."
    waiver:
      description: The reason that the declaration gives for doing it nonetheless.
      type: str
      sample: the sound card on the same line is not in use
repaired:
  description: Faults that were repaired before anything else was done, in words; in check mode those that would be.
  returned: unless the host could not be observed
  type: list
  elements: str
domains:
  description: Each named domain with its devices before and after, and what was observed.
  returned: when the declaration was not refused
  type: list
  elements: dict
  contains:
    name:
      description: Name of the domain.
      type: str
      returned: success
    domid:
      description: Its number, V(null) if it does not run.
      type: int
      returned: success
    running:
      description: Whether it runs. Of a domain that does not, only its file V(config) is kept in step.
      type: bool
      returned: success
    skipped:
      description: Whether nothing was done for it because it does not run (V(when_halted=skip)).
      type: bool
      returned: for a domain that was skipped
    deferred:
      description: Addresses of devices that its file lists from now on, and that it can only get when it is destroyed
        and created again from that, because it was created so that it takes no device.
      type: list
      elements: str
      returned: for a domain that runs
    before:
      description: Host addresses of its devices before the run; of a domain that does not run, those in its file.
      type: list
      elements: str
      returned: success
    after:
      description: Host addresses of its devices after the run; in check mode, as planned.
      type: list
      elements: str
      returned: success
    error:
      description: What went wrong with this domain, and what state it is in; empty if nothing went wrong.
      type: str
      returned: when applied
    warnings:
      description: What was noticed during the run.
      type: list
      elements: str
      returned: when applied
    backend_state:
      description: State of dom0's end of the connection.
      type: str
      returned: when applied
    frontend_state:
      description: State of the guest's end of the connection.
      type: str
      returned: when applied
    devices:
      description: The evidence for each attached device.
      type: list
      elements: dict
      returned: when applied
      contains:
        address:
          description: Host address.
          type: str
          returned: success
        name:
          description: Its name in the inventory, or the one under which an earlier run took it; V(null) if it has none.
          type: str
          returned: success
        guest_address:
          description: Address in the guest, as pciback publishes it, or the device model of an HVM guest has it.
          type: str
          returned: success
        sub_state:
          description: Its own state in the connection; 3 is exported.
          type: int
          returned: success
        converged:
          description: V(active), V(connected), or V(none) if neither.
          type: str
          returned: success
    config:
      description: What became of its file, if V(config) names one.
      type: dict
      returned: when declared
      contains:
        path:
          description: Its path.
          type: str
          returned: success
        changed:
          description: Whether it was written, or in check mode would be. It is not written if the domain failed.
          type: bool
          returned: success
        backup_file:
          description: Path of the copy of the file as it was before.
          type: str
          returned: with O(backup), when changed
    cycles:
      description: The handshakes made, with the devices of each and the time that the two kernels took.
      type: list
      elements: dict
      returned: when applied
    timeline:
      description: Every change of state that was seen, in order, with seconds since the start.
      type: list
      elements: dict
      returned: when applied, with C(-vv)
seconds:
  description: Seconds that the changes took, without observing before and after.
  returned: when applied
  type: float
"""

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_type_path

from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration
from ansible_collections.xen.pci.plugins.module_utils.plan.plan_document import (
    Document,
    against_fingerprint,
)
from ansible_collections.xen.pci.plugins.module_utils.repair.outcome import RepairInterrupted
from ansible_collections.xen.pci.plugins.module_utils.stages.domain_stage import DomainOptions, DomainStage
from ansible_collections.xen.pci.plugins.module_utils.stages.module_run import on_host
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domains
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "domains": {"type": "dict", "required": True},
            "catalog": {"type": "dict", "default": {}},
            "exclusive": {"type": "bool", "default": False},
            "converge": {"type": "str", "choices": ["connected", "active"], "default": "connected"},
            "backup": {"type": "bool", "default": False},
            "repair": {"type": "str", "choices": ["never", "first"], "default": "never"},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    on_host(module, _run)


def _run(module: AnsibleModule, access: HostAccess) -> None:
    stage, document = _planned(module, access)
    outcome = stage.expect() if module.check_mode else stage.carry_out(access)
    outcome.end(module, fingerprint=document["fingerprint"])


def _planned(module: AnsibleModule, access: HostAccess) -> tuple[DomainStage, Document]:
    """Plan, after repairs if this is no check mode; refuse any plan but the approved one before anything is touched."""
    declaration, options = _declaration(module), DomainOptions.read(module.params, module.log, module._verbosity)
    approved, only_looks = module.params["fingerprint"], module.check_mode
    host = observe(access)
    repairs = None
    if only_looks or approved:
        stage = DomainStage.planned(access, host, declaration, options)
        document = stage.document
        _refuse(module, stage, stage.refusals or against_fingerprint(document, approved))
        if only_looks:
            return stage, document
        repairs = stage.first.repaired
    try:
        stage = DomainStage.repaired(access, host, declaration, options)
    except RepairInterrupted as error:
        module.fail_json(msg=f"{error}.", actions=[], repaired=[], changed=True)
        raise  # fail_json does not return, which its type does not say
    document = stage.document if repairs is None else stage.document_with(repairs)
    _refuse(module, stage, stage.refusals or against_fingerprint(document, approved))
    return stage, document


def _refuse(module: AnsibleModule, stage: DomainStage, refusals: Sequence[Refusal]) -> None:
    if refusals:
        module.fail_json(**stage.refused(refusals, module.check_mode))


def _declaration(module: AnsibleModule) -> Declaration:
    """Read the options of the task; what is wrong with them is refused later, with all other refusals."""
    params = module.params
    domains = read_domains(params["domains"], params["exclusive"], check_type_path)
    return Declaration(domains, checked_catalog(params["catalog"]))


if __name__ == "__main__":
    main()
