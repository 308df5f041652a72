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
  - xen.pci.attributes.actiongroup_pci
  - xen.pci.catalog
  - xen.pci.host
  - xen.pci.host.pools
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
        the domain. Example: C(state: absent).
      - >-
        V(config) (str, the path of a file). File from which the domain is created (xl.cfg). Its C(pci) list gets the
        same devices once the domain has them, and C(passthrough) and C(e820_host) where they are needed. Example:
        C(config: /etc/xen/web01.cfg).
      # end
      - >-
        An element of V(devices) is a name of O(catalog), a host address such as V(0000:03:00.0), or a part of a pool
        such as V({from: vf-pool, count: 2}), which means one device if V(count) is not given. The name of a pool means
        all its devices.
      - The file V(config) is written once the domain has its devices. Everything else in it stays byte for byte. A file
        that cannot be parsed, or that is another domain's, is refused before anything is touched.
    type: dict
    required: true
  exclusive:
    description:
      - Default of V(exclusive) for domains that do not set it.
    type: bool
    default: false
  assume_assignable:
    description:
      - Addresses of devices that an earlier task of the play gives to pciback.
      - Only in check mode, where that task did not do so, they count as if pciback held them.
    type: list
    elements: str
    default: []
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
      - V(first) repairs every fault of these domains and devices that M(xen.pci.repair) knows, as that module would.
    type: str
    choices: [never, first]
    default: never
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host. If it has not finished by then, the task fails
        and nothing is changed.
      - Then also the seconds for repairs, and for all changes of each domain. Allow more for many or slow devices, as
        their drivers in a guest start one after the other.
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
    others cannot. One that surely cannot is refused. Where it is in doubt, the task warns before it changes anything.
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
  returned: unless the host could not be looked at
  type: list
  elements: str
  sample: ["web01: add 0000:03:00.0"]
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
conflicts:
  description: Why nothing was touched, one sentence each.
  returned: when the declaration was refused
  type: list
  elements: str
repaired:
  description: Faults that were mended before anything else was done, in words; in check mode those that would be.
  returned: unless the host could not be looked at
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
      description: Its number.
      type: int
      returned: success
    before:
      description: Host addresses of its devices before the run.
      type: list
      elements: str
      returned: success
    after:
      description: Host addresses of its devices after the run; in check mode, as planned.
      type: list
      elements: str
      returned: success
    error:
      description: What went wrong with this domain and what is left; empty if nothing.
      type: str
      returned: when applied
    warnings:
      description: What was noticed on the way.
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
          description: Whether it was, or in check mode would be, written. It is not if the domain failed.
          type: bool
          returned: success
        backup_file:
          description: Path of the copy of what it was before.
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
      returned: when applied
seconds:
  description: Time that applying took, without observing before and after.
  returned: when applied
  type: float
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import AnsibleValidationError, UnsupportedError

from ansible_collections.xen.pci.plugins.module_utils.apply.config_files import write_files
from ansible_collections.xen.pci.plugins.module_utils.apply.converge import ConvergeLevel, Refused, converge
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess, open_host
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import RunLockError, check_timeout
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import read_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.pools import JMESPATH_IMPORT_ERROR, NeedsJmespath
from ansible_collections.xen.pci.plugins.module_utils.repair.domain_decision import (
    Decision,
    Declaration,
    FirstAid,
    decide,
)
from ansible_collections.xen.pci.plugins.module_utils.repair.run import RepairInterrupted
from ansible_collections.xen.pci.plugins.module_utils.results.audit import audit, audit_repair, record
from ansible_collections.xen.pci.plugins.module_utils.results.domain_results import (
    config_file,
    found,
    observed_diff,
    planned,
    planned_actions,
    planned_diff,
    reported,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.identity import IdentityError

DOMAIN_SPEC = {
    "devices": {"type": "list", "elements": "raw", "required": True},
    "exclusive": {"type": "bool"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "config": {"type": "path"},
}


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "domains": {"type": "dict", "required": True},
            "catalog": {"type": "dict", "default": {}},
            "exclusive": {"type": "bool", "default": False},
            "assume_assignable": {"type": "list", "elements": "str", "default": []},
            "converge": {"type": "str", "choices": ["connected", "active"], "default": "connected"},
            "backup": {"type": "bool", "default": False},
            "repair": {"type": "str", "choices": ["never", "first"], "default": "never"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    try:
        check_timeout(module.params["timeout"])
        with open_host() as access, nullcontext() if module.check_mode else access.run_lock(module.params["timeout"]):
            _run(module, access)
    except NeedsJmespath:
        module.fail_json(msg=missing_required_lib("jmespath"), exception=JMESPATH_IMPORT_ERROR)
    except (XenStoreError, HypervisorError, SysfsError, AddressError, RunLockError) as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule, access: HostAccess) -> None:
    aid = FirstAid()
    try:
        decision = decide(access, _declaration(module), aid)
    except (Refused, IdentityError) as refusal:
        _refuse(module, refusal.conflicts if isinstance(refusal, Refused) else refusal.problems, aid)
        return
    except RepairInterrupted as error:
        record(module.log, [str(error)])
        module.fail_json(msg=f"{error}.", actions=[], repaired=[], changed=True)
    except (XenStoreError, HypervisorError, SysfsError) as error:
        if not aid.changed:
            raise
        _refuse(module, [str(error)], aid)
        return
    finally:
        if aid.outcome is not None:
            record(module.log, audit_repair(aid.outcome))
    for one in (*decision.resolution.moved, *decision.resolution.recalled, *decision.plan.doubts):
        module.warn(f"{one}.")
    if module.check_mode:
        _foretell(module, decision, aid)
    else:
        _apply(module, access, decision, aid)


def _declaration(module: AnsibleModule) -> Declaration:
    params = module.params
    domains, problems = _validated(params["domains"])
    return Declaration(
        domains=domains,
        problems=problems,
        exclusive=params["exclusive"],
        catalog=read_catalog(params["catalog"]),
        assumed_bound=[Sbdf.parse(address) for address in params["assume_assignable"]],
        repair_all=params["repair"] == "first",
        only_look=module.check_mode,
        timeout=params["timeout"],
    )


def _refuse(module: AnsibleModule, problems: Sequence[str], aid: FirstAid) -> None:
    repaired, not_repaired = "; ".join(aid.repaired), "; ".join(aid.not_repaired)
    told = f"Nothing was changed: {'; '.join(problems)}"
    if repaired and module.check_mode:
        told = f"{told}; but a run would first mend this: {repaired}"
    elif repaired or not_repaired:
        before = [f"Mended first: {repaired}."] * bool(repaired) + [f"Tried in vain to mend {not_repaired}."] * bool(
            not_repaired
        )
        told = f"{' '.join(before)} Nothing else was changed: {'; '.join(problems)}"
    changed = aid.changed or (module.check_mode and bool(aid.repaired))
    module.fail_json(msg=told, conflicts=list(problems), actions=[], repaired=aid.repaired, changed=changed)


def _foretell(module: AnsibleModule, decision: Decision, aid: FirstAid) -> None:
    plan, files = decision.plan, decision.files
    actions = planned_actions(plan, files)
    module.exit_json(
        changed=bool(actions or aid.repaired),
        actions=actions,
        repaired=aid.repaired,
        diff=planned_diff(plan, files),
        domains=[{**planned(step), **config_file(step.domain.name, files)} for step in plan.domains],
        **found(decision.resolution),
    )


def _apply(module: AnsibleModule, access: HostAccess, decision: Decision, aid: FirstAid) -> None:
    plan, moved = decision.plan, decision.resolution.moved
    began = time.monotonic()
    converged = converge(
        access, decision.host, plan, ConvergeLevel(module.params["converge"]), module.params["timeout"]
    )
    failed = [report.name for report in converged.reports if report.error]
    files = write_files(decision.files, moved, failed, module.params["backup"])
    seconds = round(time.monotonic() - began, 3)
    record(module.log, audit(decision.host, converged))
    for warning in (warning for report in converged.reports for warning in report.warnings):
        module.warn(warning)
    result = {
        "changed": converged.changed or aid.changed or any(file.changed for file in files),
        "actions": planned_actions(plan, decision.files),
        "repaired": aid.repaired,
        "diff": observed_diff(converged, files),
        "domains": [{**reported(report), **config_file(report.name, files)} for report in converged.reports],
        "seconds": seconds,
        **found(decision.resolution),
    }
    errors = [*converged.errors, *[file.error for file in files if file.error]]
    if errors:
        module.fail_json(msg="; ".join(errors), **result)
    module.exit_json(**result)


def _validated(declared: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    domains, problems = {}, []
    for name, spec in declared.items():
        if not isinstance(spec, Mapping):
            problems.append(f"{name}: a domain is declared as a dictionary, such as {{devices: [...]}}")
            continue
        checked = ArgumentSpecValidator(DOMAIN_SPEC).validate(dict(spec))
        problems += [f"{name}: {_option_problem(error)}" for error in checked.errors]
        if not checked.error_messages:
            domains[str(name)] = checked.validated_parameters
    return domains, problems


def _option_problem(error: AnsibleValidationError) -> str:
    """ansible-core leaves it to the caller to say what is wrong with an option that it does not know."""
    return f"unsupported option {error.msg}" if isinstance(error, UnsupportedError) else str(error.msg)


if __name__ == "__main__":
    main()
