#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a whole host to its declaration: arguments, observe, plan, apply, verify, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Bring all PCI devices of a Xen host to what is declared
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Takes the declaration of a host as a whole. It makes virtual functions, has pciback hold devices, now and after a
    reboot, gives domains their devices, and gives back to the host what nothing declares, if asked.
  - One plan is made for all of it. Everything that can be wrong is found before anything is touched, and reported in
    one message, also where a later step needs what an earlier one makes, such as virtual functions that are not there
    yet.
  - The order is what the steps need. First pciback is loaded, if the kernel has it as a module. Then come virtual
    functions, after devices that keep their number from changing are released. Then pciback takes and gives back
    devices, then domains get theirs, and last comes what is given back once domains have given it up.
  - It is made of the same parts as M(xen.pci.virtual_functions), M(xen.pci.assignable_devices) and
    M(xen.pci.domain_devices), which are there for one part alone. The role C(xen.pci.apply) and the playbook of that
    name run it with the variables of an inventory.
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
      - What each domain is to have, as O(xen.pci.domain_devices#module:domains). Domains that are not named keep what
        they have, but see O(undeclared_domains).
    type: dict
    default: {}
  virtual_functions:
    description:
      - Physical functions and what they are to have, as O(xen.pci.virtual_functions#module:physical_functions).
        Others are left alone.
    type: list
    elements: dict
    default: []
  exclusive:
    description:
      - Whether the domains that are named have no other devices than those listed.
    type: bool
    default: true
  release_undeclared:
    description:
      - Whether devices that pciback holds and nothing declares go back to the host. Declared are those that O(catalog)
        names, but for physical functions that others or O(virtual_functions) name as their V(pf), and those that a
        domain lists.
    type: bool
    default: false
  undeclared_domains:
    description:
      - What becomes of the devices of domains that O(domains) does not name, if O(release_undeclared=true).
      - With V(keep), they stay, and the task warns. With V(release), they are taken from the domains and go back to the
        host.
    type: str
    choices: [keep, release]
    default: keep
  persistent:
    description:
      - Whether pciback holds the declared devices after a reboot as well, as
        O(xen.pci.assignable_devices#module:persistent). If not given, that stays as it is.
    type: bool
  require_reset:
    description:
      - Whether devices that cannot be reset are refused. Otherwise a warning is given for each.
    type: bool
    default: false
  parts:
    description:
      - The parts of the declaration that are brought about. What is left out stays as it is; all of it is declared
        nonetheless.
    type: list
    elements: str
    choices: [virtual_functions, assignment, domains]
    default: [virtual_functions, assignment, domains]
  only:
    description:
      - Names of domains. If given, only these and the devices that they are to have are brought to what is declared.
        Nothing is released then.
    type: list
    elements: str
  variables:
    description:
      - Names of variables of the inventory. One that begins with C(xen_pci) and that this collection does not read is
        refused with the nearest one that it does, since a misspelled name would count as nothing declared.
    type: list
    elements: str
    default: []
  converge:
    description:
      - What must be seen before a device counts as attached, as O(xen.pci.domain_devices#module:converge).
    type: str
    choices: [connected, active]
    default: connected
  backup:
    description:
      - Keep a copy of each V(config) file of a domain that is changed, beside it and with the time in its name.
    type: bool
    default: false
  repair:
    description:
      - What to do when the connections of the named domains, or the devices that they are to have, are in a bad state,
        as O(xen.pci.domain_devices#module:repair).
    type: str
    choices: [never, first]
    default: never
  timeout:
    description:
      - Seconds for repairs, and for all changes of each domain. Allow more for many or slow devices, as their drivers
        in a guest start one after the other.
      - For another run of this collection on the host, and for each write to the kernel, at least 300 seconds are
        waited.
    type: int
    default: 60
notes:
  - Without O(persistent=true), pciback holds devices until the host reboots, and virtual functions are gone after each
    reboot. Run the task again then.
  - A virtual function that is not there yet is planned with the address that the kernel says it will get. In a run,
    everything behind it is planned once more when it is there.
  - The checks for which a device is refused are listed at M(xen.pci.assignable_devices) and
    M(xen.pci.domain_devices).
seealso:
  - module: xen.pci.host_info
  - module: xen.pci.repair
  - module: xen.pci.virtual_functions
  - module: xen.pci.assignable_devices
  - module: xen.pci.domain_devices
"""

EXAMPLES = r"""
- name: Bring the host to what the inventory declares
  xen.pci.host_state:
    catalog: "{{ xen_pci_devices }}"
    domains: "{{ xen_pci_domains }}"

- name: Make virtual functions, give each web server two, and release what nothing declares
  xen.pci.host_state:
    catalog:
      uplink: {serial: "52-54-00-ff-ff-00-01-01"}
      vf-pool: {pf: uplink, count: 4}
    virtual_functions:
      - {pf: uplink, count: 4, drivers_autoprobe: false}
    domains:
      web01:
        devices: [{from: vf-pool, count: 2}]
      web02:
        devices: [{from: vf-pool, count: 2}]
    release_undeclared: true

- name: Have pciback hold the devices of the catalog, also after a reboot, and leave domains as they are
  xen.pci.host_state:
    catalog: "{{ xen_pci_devices }}"
    domains: "{{ xen_pci_domains }}"
    parts: [virtual_functions, assignment]
    persistent: true

- name: Bring one guest to what is declared for it
  xen.pci.host_state:
    catalog: "{{ xen_pci_devices }}"
    domains: "{{ xen_pci_domains }}"
    only: [web01]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, a sentence for each step.
  returned: success
  type: list
  elements: str
  sample:
    - create 8 virtual functions of 0000:3b:00.0
    - take 0000:03:00.0 from driver nvme, give it to pciback and quarantine it
    - "web01: add 0000:03:00.0"
changes:
  description: The same as data, one entry for each change.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: Name of the domain, V(pciback), V(boot), V(host), or the address of a physical function.
      type: str
      sample: web01
    device:
      description: Address of the device, path of the file, or what is rebuilt or loaded.
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
    - A text with a line for each device that changes, then the files of the next boot and of domains before and after.
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
refusals:
  description: Every reason why nothing was touched, or, after a stage that changed the host, why no more was done.
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
physical_functions:
  description: The physical functions of O(virtual_functions), as they are after the run.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:3b:00.0"
    pf:
      description: Its name in O(virtual_functions).
      type: str
      sample: uplink0
    count_before:
      description: Number of virtual functions before the run.
      type: int
      sample: 0
    count:
      description: Number of virtual functions after the run, or in check mode the one expected.
      type: int
      sample: 8
    vfs:
      description: The virtual functions that are there, in the order of their indices.
      type: list
      elements: dict
      contains:
        index:
          description: Number of the virtual function, from 0.
          type: int
          sample: 0
        address:
          description: Address on the host.
          type: str
          sample: "0000:3b:02.0"
        driver:
          description: Driver that holds it, V(null) if none does.
          type: str
          sample: pciback
devices:
  description: The devices that pciback is to hold, and those that it gave back.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:03:00.0"
    name:
      description: Its name in O(catalog), of a pool the pool's name; V(null) for a device that was given back.
      type: str
      sample: uplink-a
    driver_before:
      description: Driver before the run, V(null) if there was none.
      type: str
      sample: e1000e
    driver_after:
      description:
        - Driver after the run, V(null) if there is none.
        - In check mode the expected one, V(null) if the kernel chooses it.
      type: str
      sample: pciback
    quarantined:
      description:
        - Whether the device is known to be in Xen's quarantine after the run, or would be after it.
        - Also V(true) while a domain has the device, as Xen puts it back into quarantine after that.
      type: bool
      sample: true
    held:
      description:
        - When pciback holds the device, after the run or in check mode as expected.
        - V(after_reboot) is a device that is with the host now and will not be after a reboot.
        - V(unknown) says that it cannot be derived what pciback holds after a reboot, RV(devices[].held_unknown) why.
      type: str
      choices: [neither, now, after_reboot, both, unknown]
      sample: both
    held_unknown:
      description: Why it is not known whether pciback holds the device after a reboot; empty if it is.
      type: str
      sample: ""
    recorded_driver:
      description: Driver that a release will give the device to, V(null) if none is recorded.
      type: str
      sample: e1000e
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
seconds:
  description: Seconds that the changes took, without observing before and after.
  returned: when applied
  type: float
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.validation import check_type_path

from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.host_declaration import (
    NOTHING_DECLARED,
    PARTS,
    HostOptions,
    read_host,
)
from ansible_collections.xen.pci.plugins.module_utils.stages.domain_stage import DomainOptions
from ansible_collections.xen.pci.plugins.module_utils.stages.host_run import HostRun
from ansible_collections.xen.pci.plugins.module_utils.stages.module_run import on_host, plan_or_run

#: The least time for the kernel and for other runs, in seconds: creating virtual functions takes some drivers minutes.
_PATIENCE = 300


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "catalog": {"type": "dict", "default": {}},
            "domains": {"type": "dict", "default": {}},
            "virtual_functions": {"type": "list", "elements": "dict", "default": []},
            "exclusive": {"type": "bool", "default": True},
            "release_undeclared": {"type": "bool", "default": False},
            "undeclared_domains": {"type": "str", "choices": ["keep", "release"], "default": "keep"},
            "persistent": {"type": "bool"},
            "require_reset": {"type": "bool", "default": False},
            "parts": {"type": "list", "elements": "str", "choices": list(PARTS), "default": list(PARTS)},
            "only": {"type": "list", "elements": "str"},
            "variables": {"type": "list", "elements": "str", "default": []},
            "converge": {"type": "str", "choices": ["connected", "active"], "default": "connected"},
            "backup": {"type": "bool", "default": False},
            "repair": {"type": "str", "choices": ["never", "first"], "default": "never"},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    on_host(module, _run, _PATIENCE)


def _run(module: AnsibleModule, access: HostAccess) -> None:
    declaration = read_host(_declared(module))
    if declaration.is_empty:
        module.warn(NOTHING_DECLARED)
    run = HostRun(access, declaration, DomainOptions.read(module.params, module.log, module._verbosity))
    plan = run.plan(observe(access))
    plan_or_run(module, plan, lambda: run.carry_out(plan))


def _declared(module: AnsibleModule) -> HostOptions:
    params = module.params
    return HostOptions(
        catalog=params["catalog"],
        domains=params["domains"],
        virtual_functions=params["virtual_functions"],
        exclusive=params["exclusive"],
        release_undeclared=params["release_undeclared"],
        undeclared_domains=params["undeclared_domains"],
        persistent=params["persistent"],
        require_reset=params["require_reset"],
        parts=params["parts"],
        only=params["only"],
        variables=params["variables"],
        as_path=check_type_path,
    )


if __name__ == "__main__":
    main()
