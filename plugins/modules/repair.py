#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name what is wrong with a host's PCI connections and mend it: arguments, repair, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repair
short_description: Name and mend faults of PCI passthrough on a Xen host
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Looks at everything that a Xen host shows of its PCI passthrough (xenstore, sysfs, Xen, libxl's records), names each
    known fault, and mends it by the recipe for that fault.
  - Nothing is assumed from earlier runs, neither of this collection nor of C(xl). A fault counts once it has looked
    the same for O(settle) seconds, so that a change that is under way is not taken for one.
  - A fault is called mended when a new look does not find it any more, not because a step succeeded. A closed
    connection is mended only if its guest has its devices again.
  - In check mode the faults are named with their recipes, and nothing is touched.
  - What was done about each fault, with the identity of its devices, the evidence and who was
    at work, is a line in the system's log.
  - The task fails if a fault is left that needs attention, or if mending one has cost a guest its devices.
    V(leaked_hold) is a suspicion and is reported only.
requirements:
  - pyxs on the Xen host (Debian's package is C(python3-pyxs))
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
      - Names of the domains whose faults are to be mended, and those of the stub domains that serve them. A domain
        that does not run is refused.
      - If neither O(domains) nor O(devices) is given, all faults of the host are, also those of domains that are gone.
    type: list
    elements: str
    default: []
  devices:
    description:
      - Host addresses of devices whose faults are to be mended, in whatever domain they are. One that the host does not
        have, and that nothing on it names, is refused.
    type: list
    elements: str
    default: []
  faults:
    description:
      - Only these faults are looked for and mended.
      - V(never_connected), V(sticky_permissive) and V(stale_configuration) may be as somebody wants it (a guest that
        still boots, a device that needs it) or do no harm. They are reported always and mended only if named here.
    type: list
    elements: str
    default: []
    choices:
      - aer_failure
      - closed_connection
      - dead_marker
      - device_gone
      - disordered_entries
      - empty_connection
      - ghost_connection
      - late_answer
      - leaked_hold
      - left_rights
      - lost_backend
      - lost_entry
      - lost_event
      - missed_connect
      - missing_marker
      - never_connected
      - not_configured
      - not_in_pciback
      - refused_cycle
      - rights_missing
      - shared_device
      - silent_device_model
      - silent_guest
      - stale_configuration
      - stale_record
      - sticky_permissive
      - stuck_cycle
      - stuck_kernel_device
      - unanswered_close
      - unexplained_owner
      - unexported_entry
      - unfinished_close
      - unfinished_removal
      - unfinished_repair
      - unlisted_device
      - unquarantined
      - wrong_marker
  settle:
    description:
      - Seconds for which a fault must look the same before it is one.
      - C(xl) needs some seconds for an attach. Longer resets, or guests that are slow to answer, want more.
      - Less than O(timeout), which it is a part of.
    type: float
    default: 2.0
  timeout:
    description:
      - Seconds for everything, and also for waiting until another run has finished with the host.
    type: int
    default: 60
seealso:
  - module: xen.pci.domain_devices
  - module: xen.pci.host_info
"""

EXAMPLES = r"""
- name: See what is wrong, and what would be done about it
  xen.pci.repair:
  check_mode: true
  register: diagnosis

- name: Mend whatever a crashed toolstack has left
  xen.pci.repair:

- name: Give up the connection of a guest that never answered
  xen.pci.repair:
    domains: [web01]
    faults: [never_connected, left_rights]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in words.
  returned: unless it was refused or the host could not be looked at
  type: list
  elements: str
  sample: ["web01: unfinished_removal (0000:03:00.0): drop the entries that nobody uses and close the gaps"]
findings:
  description: The faults that were found first.
  returned: unless it was refused or the host could not be looked at
  type: list
  elements: dict
  contains:
    fault:
      description: Its name, see O(faults).
      type: str
      returned: success
    domain:
      description: Name of the domain, empty if it is none of one that runs.
      type: str
      returned: success
    domid:
      description: Number of the domain, or null.
      type: int
      returned: success
    devices:
      description: Host addresses of the devices concerned.
      type: list
      elements: str
      returned: success
    evidence:
      description: What shows it.
      type: str
      returned: success
    recipe:
      description: What mends it, empty if nothing does from here.
      type: str
      returned: success
    advice:
      description: What it means, and what a person can do.
      type: str
      returned: success
treatments:
  description:
    - What was done about each fault, in order. Mending one may have shown another that was not found first.
  returned: likewise, when not in check mode
  type: list
  elements: dict
  contains:
    fault:
      description: Its name.
      type: str
      returned: success
    domain:
      description: Name of the domain.
      type: str
      returned: success
    devices:
      description: Host addresses of the devices concerned.
      type: list
      elements: str
      returned: success
    recipe:
      description: What was done.
      type: str
      returned: success
    problem:
      description: What was refused on the way, empty if nothing.
      type: str
      returned: success
    mended:
      description: Whether a new look at the host did not find the fault any more, and the guest has kept its devices.
      type: bool
      returned: success
left:
  description: The faults that are there afterwards, as in RV(findings).
  returned: unless it was refused or the host could not be looked at
  type: list
  elements: dict
"""

from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import Finding, in_words, title
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess, open_host
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import RunLockError, check_timeout
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.repair.run import (
    RepairAttempt,
    Repaired,
    RepairInterrupted,
    Scope,
    repair,
)
from ansible_collections.xen.pci.plugins.module_utils.repair.settle import SETTLE_SECONDS, examine
from ansible_collections.xen.pci.plugins.module_utils.results.audit import audit_repair, record
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "domains": {"type": "list", "elements": "str", "default": []},
            "devices": {"type": "list", "elements": "str", "default": []},
            "faults": {
                "type": "list",
                "elements": "str",
                "default": [],
                "choices": sorted(fault.code for fault in Fault),
            },
            "settle": {"type": "float", "default": SETTLE_SECONDS},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    settle, timeout = module.params["settle"], module.params["timeout"]
    if not 0 <= settle < timeout:
        module.fail_json(
            msg=f"Nothing was changed: settle must be from 0 to less than timeout, which is {timeout}, not {settle:g}: "
            "with no time left nothing could be mended"
        )
    try:
        scope = Scope(
            domains=frozenset(module.params["domains"]),
            devices=frozenset(Sbdf.parse(address) for address in module.params["devices"]),
            named=frozenset(fault for fault in Fault if fault.code in module.params["faults"]),
        )
        check_timeout(module.params["timeout"])
        with open_host() as access, nullcontext() if module.check_mode else access.run_lock(module.params["timeout"]):
            _refuse_strangers(module, access, scope)
            (_expect if module.check_mode else _repair)(module, access, scope)
    except (XenStoreError, HypervisorError, SysfsError, AddressError, RunLockError) as error:
        module.fail_json(msg=str(error))


def _refuse_strangers(module: AnsibleModule, access: HostAccess, scope: Scope) -> None:
    """What is misspelled has no faults, and must not pass for healthy."""
    problems = []
    if scope.domains:
        running = set(access.toolstack.names().values())
        known = ", ".join(sorted(running)) or "none"
        unknown = [f"no domain named {name} runs on this host" for name in sorted(scope.domains - running)]
        problems += [f"{'; '.join(unknown)} (running: {known})"] if unknown else []
    if scope.devices:
        known_devices = observe(access).named_devices
        problems += [
            f"this host has no device {device}, and nothing on it names one"
            for device in sorted(scope.devices - known_devices)
        ]
    if problems:
        module.fail_json(msg=f"Nothing was changed: {'; '.join(problems)}", changed=False)


def _expect(module: AnsibleModule, access: HostAccess, scope: Scope) -> None:
    _host, findings = examine(access, scope.covers, module.params["settle"], module.params["timeout"])
    repaired = [one for one in findings if scope.repairs(one)]
    module.exit_json(
        changed=bool(repaired),
        actions=[in_words(one) for one in repaired],
        findings=[_finding(one) for one in findings],
        left=[_finding(one) for one in findings],
        diff={"before": _lines(findings), "after": _lines([one for one in findings if one not in repaired])},
    )


def _repair(module: AnsibleModule, access: HostAccess, scope: Scope) -> None:
    try:
        repaired = repair(access, scope, module.params["timeout"], module.params["settle"])
    except RepairInterrupted as error:
        record(module.log, [str(error)])
        module.fail_json(msg=f"{error}.", changed=True)
    record(module.log, audit_repair(repaired))
    result = {
        "changed": repaired.changed,
        "actions": [in_words(attempt.finding) for attempt in repaired.attempts],
        "findings": [_finding(one) for one in repaired.findings],
        "treatments": [_treatment(one) for one in repaired.attempts],
        "left": [_finding(one) for one in repaired.left],
        "diff": {"before": _lines(repaired.findings), "after": _lines(repaired.left)},
    }
    pressing = [one for one in repaired.left if scope.repairs(one) or not (one.recipe or one.fault.is_suspicion)]
    if pressing or any(one.cost_devices for one in repaired.attempts):
        module.fail_json(msg=_message(pressing, repaired, scope), **result)
    module.exit_json(**result)


def _message(pressing: list[Finding], repaired: Repaired, scope: Scope) -> str:
    tried = {one.finding.key: one.problem for one in repaired.attempts}
    sentences = []
    for one in pressing:
        problem = f" (tried: {tried[one.key]})" if tried.get(one.key) else ""
        if scope.repairs(one) and one.key not in tried:
            problem = " (time was over before anything was tried)"
        sentences.append(f"{title(one)}: {one.evidence}{problem}; {one.advice}")
    sentences += [
        f"{title(one.finding)}: {one.problem}; its devices are free, attach them again once the guest takes them"
        for one in repaired.attempts
        if one.cost_devices
    ]
    return "Not everything is mended. " + ". ".join(sentences)


def _lines(findings: Any) -> str:
    return "".join(f"{title(one)}: {one.evidence}\n" for one in findings)


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "fault": finding.fault.code,
        "domain": finding.domain,
        "domid": finding.domid,
        "devices": [str(device) for device in finding.devices],
        "evidence": finding.evidence,
        "recipe": finding.recipe.value if finding.recipe else "",
        "advice": finding.advice,
    }


def _treatment(attempt: RepairAttempt) -> dict[str, Any]:
    finding = attempt.finding
    return {
        "fault": finding.fault.code,
        "domain": finding.domain,
        "devices": [str(device) for device in finding.devices],
        "recipe": finding.recipe.value if finding.recipe else "",
        "problem": attempt.problem,
        "mended": attempt.repaired,
    }


if __name__ == "__main__":
    main()
