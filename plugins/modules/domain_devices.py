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
  - Success is what was observed afterwards, not what was asked for. See O(converge).
  - Each device that changed hands, with its identity, the evidence and who was at work, is a line in the system's log.
  - Everything that can be wrong is checked before anything is touched. A change that a guest does not
    follow in time is taken back.
  - C(xl) sees the devices as its own. After a reboot of the guest it has those that it had before, no more and no less,
    since libxl's stored configuration of the domain is kept in step.
requirements:
  - pyxs on the Xen host (Debian's package is C(python3-pyxs))
  - jmespath on the Xen host, if the catalogue has pools with V(select)
  - Xen's Python binding C(xen.lowlevel.xc), or the C(libxenctrl) of the running Xen
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.actiongroup_pci
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
      - What each domain is to have, by the name of the domain.
      - Each value is a dictionary with the keys V(devices), V(exclusive), V(state) and V(config).
      - >-
        V(devices) is a list of host addresses (C(0000:03:00.0), the weakest identity) or of names from O(catalogue).
        The name of a pool stands for all its devices. A dictionary such as V({from: vf-pool, count: 2}) takes so many
        of them (one without V(count)). A domain keeps those that it has.
      - V(exclusive) (boolean, default O(exclusive)) takes every other device away from the domain.
        Only with it may V(devices) be empty.
      - V(state) is V(present) (default) or V(absent), which takes the listed devices away.
      - >-
        V(config) is the path of the file from which the domain is created (xl.cfg). Its C(pci) gets the same
        declaration as the domain, once the domain has converged; where it lists devices then, C(passthrough) and, for a
        PV guest, C(e820_host) allow for more. Everything else in it stays byte for byte. A file that is
        not understood, or is another domain's, is refused before anything is touched.
      - Domains that are not named keep what they have.
    type: dict
    required: true
  catalogue:
    description:
      - Names of devices, each with what the device is. The same as for M(xen.pci.assignable_devices), which says how
        devices are told apart, found again when they have moved, and chosen for pools.
      - A device that shares a page of memory or an interrupt line with one of another owner, that Xen can only assign
        together with it, or that is permissive without a declared reason is refused. V(waive) and V(permissive)
        give the reason for doing it nonetheless.
    type: dict
    default: {}
  exclusive:
    description:
      - Default of V(exclusive) for domains that do not say.
    type: bool
    default: false
  assume_assignable:
    description:
      - Addresses of devices that an earlier task of the play gives to pciback.
      - Only in check mode, where that task has only said so, they count as if pciback held them.
    type: list
    elements: str
    default: []
  converge:
    description:
      - How far a device must have come before the task calls it done.
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
      - Keep a copy of each V(config) file that is changed, beside it and with the time in its name.
    type: bool
    default: false
  repair:
    description:
      - What to do when the connections of the named domains, or the devices that they are to have, are in a bad state.
      - V(never) refuses and names M(xen.pci.repair). Only what a run of this module left that was killed is finished
        first in any case (entries of a removal, a closed connection, rights and markers without an entry).
      - V(first) mends every fault of these domains and devices that M(xen.pci.repair) knows, as that module would.
    type: str
    choices: [never, first]
    default: never
  timeout:
    description:
      - Seconds that each domain has for all its changes. Many slow devices (drivers probe one after
        the other in a guest) want more.
      - Also the time to wait until another run has finished with the host, and for repairs.
    type: int
    default: 60
notes:
  - HVM guests are changed through C(xl), one device at a time, whether their device model is in dom0 or in a stub
    domain. It is asked what came of it. That a guest was asked to eject a device cannot be taken back.
  - A domain's configuration must allow devices when the domain is created (C(passthrough="enabled"), and C(e820_host=1)
    for a PV guest). RV(xen.pci.host_info#module:domains[].hotplug_ready) tells which domains can take them, and why
    others cannot.
seealso:
  - module: xen.pci.assignable_devices
  - module: xen.pci.host_info
  - module: xen.pci.repair
"""

EXAMPLES = r"""
- name: Give two devices to web01 and wait until its drivers have taken them
  xen.pci.domain_devices:
    domains:
      web01:
        devices:
          - "0000:03:00.0"
          - "0000:04:00.0"
    converge: active

- name: Give each web server two virtual functions of a pool
  xen.pci.domain_devices:
    catalogue:
      uplink: {serial: "52-54-00-ff-ff-00-01-01"}
      vf-pool: {pf: uplink, count: 4}
    domains:
      web01:
        devices: [{from: vf-pool, count: 2}]
      web02:
        devices: [{from: vf-pool, count: 2}]

- name: Move scratch from web01 to web02, by name
  xen.pci.domain_devices:
    catalogue:
      uplink: {address: "0000:03:00.0", vendor: "8086"}
      scratch: {address: "0000:04:00.0"}
    domains:
      web01:
        devices: [uplink]
        exclusive: true
      web02:
        devices: [scratch]

- name: Have web01 begin with the same devices when it is created anew, too
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
  description: Each change in words; in check mode what a run would do.
  returned: always
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
  description: Faults that were mended before anything else was done, in words.
  returned: when not in check mode
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
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.xen.pci.plugins.module_utils.decisions.assignment import Situation
from ansible_collections.xen.pci.plugins.module_utils.decisions.diagnose import in_words
from ansible_collections.xen.pci.plugins.module_utils.decisions.plan import DesiredDomain, DomainPlan, Plan
from ansible_collections.xen.pci.plugins.module_utils.decisions.resolve import Resolution
from ansible_collections.xen.pci.plugins.module_utils.decisions.select import (
    JMESPATH_IMPORT_ERROR,
    NeedsJmespath,
    Share,
    parse_request,
    share_out,
    taken_away,
)
from ansible_collections.xen.pci.plugins.module_utils.decisions.splits import splits
from ansible_collections.xen.pci.plugins.module_utils.engine.assignment import ask_groups, observe_situation
from ansible_collections.xen.pci.plugins.module_utils.engine.audit import audit, audit_repair, record
from ansible_collections.xen.pci.plugins.module_utils.engine.converge import (
    Converged,
    Level,
    Refused,
    converge,
    prepare,
)
from ansible_collections.xen.pci.plugins.module_utils.engine.domain_files import FileChange, plan_files, write_files
from ansible_collections.xen.pci.plugins.module_utils.engine.naming import read_catalogue, resolve_names, wishes
from ansible_collections.xen.pci.plugins.module_utils.engine.outside import Outside, open_outside
from ansible_collections.xen.pci.plugins.module_utils.engine.repair import Scope, finish_unfinished, repair
from ansible_collections.xen.pci.plugins.module_utils.engine.report import DomainReport, Evidence
from ansible_collections.xen.pci.plugins.module_utils.interfaces.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.interfaces.notes import Note
from ansible_collections.xen.pci.plugins.module_utils.interfaces.run_lock import RunLockError, lock_unless
from ansible_collections.xen.pci.plugins.module_utils.interfaces.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.interfaces.xenstore import PYXS_IMPORT_ERROR, XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalogue import Entry
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
            "catalogue": {"type": "dict", "default": {}},
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
        with open_outside() as outside, lock_unless(module.check_mode, module.params["timeout"]):
            _run(module, outside)
    except NeedsJmespath:
        module.fail_json(msg=missing_required_lib("jmespath"), exception=JMESPATH_IMPORT_ERROR)
    except (XenStoreError, HypervisorError, SysfsError, AddressError, RunLockError) as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule, outside: Outside) -> None:
    situation, notes = observe_situation(outside)
    repaired: list[str] = []
    try:
        if module.check_mode:
            bound = [Sbdf.parse(address) for address in module.params["assume_assignable"]]
            situation = replace(situation, host=situation.host.assuming_bound(bound))
        catalogue = read_catalogue(module.params["catalogue"])
        desired, resolution, names = _desired(module.params, catalogue, situation, notes)
        if not module.check_mode:
            repaired = _repaired(module, outside, situation.host, desired)
            if repaired:
                situation, notes = observe_situation(outside)
                desired, resolution, names = _desired(module.params, catalogue, situation, notes)
        if not desired and resolution.missing:
            module.exit_json(changed=False, actions=[], domains=[], **_found(resolution))
        plan = prepare(situation.host, desired)
        asked = ask_groups(outside, situation, [one for step in plan.domains for one in step.add])
        refused = splits(asked, plan, wishes(catalogue, names))
        if refused:
            raise IdentityError([str(refusal) for refusal in refused])
        files = plan_files(desired, resolution.moved)
    except (Refused, IdentityError) as refusal:
        problems = refusal.conflicts if isinstance(refusal, Refused) else refusal.problems
        before = f"Mended first: {'; '.join(repaired)}. " if repaired else ""
        module.fail_json(
            msg=f"{before}Nothing{' else' if repaired else ''} was changed: {'; '.join(problems)}",
            conflicts=list(problems),
            actions=[],
            repaired=repaired,
            changed=bool(repaired),
        )
    for one in (*resolution.moved, *resolution.recalled):
        module.warn(f"{one}.")
    host = situation.host
    result: dict[str, Any] = {"actions": _actions(plan, files), "diff": _diff(plan, files), **_found(resolution)}
    if module.check_mode:
        domains = [{**_planned(step), **_file(step.domain.name, files)} for step in plan.domains]
        module.exit_json(changed=bool(result["actions"]), domains=domains, **result)
    began = time.monotonic()
    converged = converge(outside, host, plan, Level(module.params["converge"]), module.params["timeout"])
    failed = [report.name for report in converged.reports if report.error]
    files = write_files(files, resolution.moved, failed, module.params["backup"])
    result["seconds"] = round(time.monotonic() - began, 3)
    result["repaired"] = repaired
    record(module.log, audit(host, converged))
    changed = converged.changed or bool(repaired) or any(file.changed for file in files)
    result["diff"] = _observed_diff(converged, files)
    result["domains"] = [{**_reported(report), **_file(report.name, files)} for report in converged.reports]
    for warning in (warning for report in converged.reports for warning in report.warnings):
        module.warn(warning)
    errors = [*converged.errors, *[file.error for file in files if file.error]]
    if errors:
        module.fail_json(msg="; ".join(errors), changed=changed, **result)
    module.exit_json(changed=changed, **result)


def _repaired(module: AnsibleModule, outside: Outside, host: Host, desired: Sequence[DesiredDomain]) -> list[str]:
    """Mend what stands in the way, as far as asked; what was mended, in words."""
    scope = Scope(
        domains=frozenset(want.name for want in desired),
        devices=frozenset(device for want in desired for device in want.devices),
    )
    if not desired:
        return []
    if module.params["repair"] == "first":
        outcome = repair(outside, scope, module.params["timeout"])
    else:
        outcome = finish_unfinished(outside, host, scope, module.params["timeout"])
    record(module.log, audit_repair(outcome))
    return [in_words(treatment.finding) for treatment in outcome.treatments if treatment.mended]


def _desired(
    params: Mapping[str, Any], catalogue: Mapping[str, Entry], situation: Situation, notes: Mapping[Sbdf, Note]
) -> tuple[list[DesiredDomain], Resolution, dict[Sbdf, str]]:
    """The declaration with all names resolved, and the name of each device; raises IdentityError.

    A domain all of whose devices are absent and need not be there is left alone.
    """
    domains, problems = _validated(params["domains"])
    requests = {name: _requests(spec["devices"], catalogue, problems) for name, spec in domains.items()}
    for name, asked in requests.items():
        listed = Counter(one for one in asked if isinstance(one, str))
        problems += [f"{one} is declared twice for {name}; list it once" for one, count in listed.items() if count > 1]
    wanted = dict.fromkeys(one.pool if isinstance(one, Share) else one for asked in requests.values() for one in asked)
    resolution = resolve_names(catalogue, situation, notes, wanted)
    has = {domain.name: domain.devices for domain in situation.host.domains.values()}
    present = {name: asked for name, asked in requests.items() if domains[name]["state"] == "present"}
    given, shortages = share_out(present, resolution, has)
    for name, asked in requests.items():
        if name not in present:
            given[name] = taken_away(asked, resolution, has.get(name, ()))
    problems += [*resolution.problems, *([] if resolution.problems else shortages)]
    if problems:
        raise IdentityError(problems)
    desired = [
        DesiredDomain(
            name=name,
            devices=(*given[name], *_listed_again(requests[name], resolution)),
            exclusive=params["exclusive"] if spec["exclusive"] is None else spec["exclusive"],
            present=spec["state"] == "present",
            config=spec["config"],
        )
        for name, spec in domains.items()
    ]
    skipped = [one for one in desired if requests[one.name] and not one.devices and not (one.exclusive and one.present)]
    names = {sbdf: found for devices in given.values() for sbdf, found in devices.items()}
    return [one for one in desired if one not in skipped], resolution, names


def _listed_again(requests: Sequence[str | Share], resolution: Resolution) -> list[Sbdf]:
    """Devices of names that are there more than once, which the plan refuses."""
    names = [one for one in requests if isinstance(one, str)]
    return list(resolution.expand(name for at, name in enumerate(names) if name in names[:at]))


def _requests(devices: Sequence[Any], catalogue: Mapping[str, Entry], problems: list[str]) -> list[str | Share]:
    requests = []
    for one in devices:
        try:
            requests.append(parse_request(one, catalogue))
        except IdentityError as error:
            problems += error.problems
    return requests


def _found(resolution: Resolution) -> dict[str, list[str]]:
    return {"moved": [str(move) for move in resolution.moved], "missing": list(resolution.missing)}


def _validated(declared: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    domains, problems = {}, []
    for name, spec in declared.items():
        if not isinstance(spec, Mapping):
            problems.append(f"{name}: a domain is declared as a dictionary, such as {{devices: [...]}}")
            continue
        checked = ArgumentSpecValidator(DOMAIN_SPEC).validate(dict(spec))
        problems += [f"{name}: {message}" for message in checked.error_messages]
        if not checked.error_messages:
            domains[str(name)] = checked.validated_parameters
    return domains, problems


def _actions(plan: Plan, files: Sequence[FileChange]) -> list[str]:
    actions = []
    for step in plan.domains:
        actions += [f"{step.domain.name}: remove {device}" for device in step.remove]
        actions += [f"{step.domain.name}: add {device}" for device in step.add]
    return actions + [f"{file.want.name}: write {file.path}" for file in files if file.changed]


def _planned(step: DomainPlan) -> dict[str, Any]:
    return {
        "name": step.domain.name,
        "domid": step.domain.domid,
        "before": _texts(step.domain.devices),
        "after": _texts(step.after),
    }


def _reported(report: DomainReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "domid": report.domid,
        "before": _texts(report.before),
        "after": _texts(report.after),
        "backend_state": str(report.backend_state),
        "frontend_state": str(report.frontend_state),
        "devices": [_evidence(evidence) for evidence in report.evidence],
        "cycles": [
            {"added": _texts(cycle.added), "removed": _texts(cycle.removed), "seconds": cycle.seconds}
            for cycle in report.cycles
        ],
        "timeline": [{"seconds": one.seconds, "node": one.node, "value": one.value} for one in report.timeline],
        "warnings": list(report.warnings),
        "error": report.error,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {
        "address": str(evidence.device),
        "guest_address": str(evidence.guest_address or ""),
        "sub_state": int(evidence.sub_state or 0),
        "converged": "none" if not evidence.connected else "active" if evidence.active else "connected",
    }


def _file(name: str, files: Sequence[FileChange]) -> dict[str, Any]:
    """What became of a domain's file, if it has one; its error stands beside those of its devices."""
    for file in files:
        if file.want.name == name:
            told: dict[str, Any] = {"config": {"path": file.path, "changed": file.changed}}
            if file.backup_file is not None:
                told["config"]["backup_file"] = file.backup_file
            return {**told, "error": file.error} if file.error else told
    return {}


def _diff(plan: Plan, files: Sequence[FileChange]) -> Any:
    return _diffs({step.domain.name: (step.domain.devices, step.after) for step in plan.domains}, files)


def _observed_diff(converged: Converged, files: Sequence[FileChange]) -> Any:
    return _diffs({report.name: (report.before, report.after) for report in converged.reports}, files)


def _diffs(domains: Mapping[str, tuple[Sequence[Sbdf], Sequence[Sbdf]]], files: Sequence[FileChange]) -> Any:
    """The devices of all domains, and behind them, where there are any, the files that changed."""
    devices = {
        "before": {name: sorted(_texts(before)) for name, (before, _after) in domains.items()},
        "after": {name: sorted(_texts(after)) for name, (_before, after) in domains.items()},
    }
    texts = [
        {
            "before_header": file.path,
            "after_header": file.path,
            "before": _printable(file.before),
            "after": _printable(file.after),
        }
        for file in files
        if file.changed
    ]
    return [devices, *texts] if texts else devices


def _printable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _texts(devices: Sequence[object]) -> list[str]:
    return [str(device) for device in devices]


if __name__ == "__main__":
    main()
