#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Name the faults of a host's PCI passthrough and repair them: arguments, repair, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: repair
short_description: Name and repair faults of PCI passthrough on a Xen host
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Looks at everything that a Xen host shows of its PCI passthrough (xenstore, sysfs, Xen, libxl's records), names each
    known fault, and repairs it by the recipe for that fault.
  - Nothing is assumed from earlier runs, neither of this collection nor of C(xl). A fault counts once it has looked
    the same for O(settle) seconds, so that a change that is under way is not taken for a fault.
  - A fault counts as repaired when a new look does not find it any more, not because a step succeeded. A closed
    connection is repaired only if its guest has its devices again.
  - In check mode the faults are named with their recipes, and nothing is touched.
  - Each attempt is a line in the system's log, with the identity of the devices, the evidence, and the user who
    started the run.
  - The task fails if a fault is left that needs attention, or if a repair has cost a guest its devices.
    V(leaked_hold) is only a suspicion and is only reported.
  - Before an entry, a right or a connection goes, the module looks whether a driver in a guest still runs the device.
    What would cost a guest a device that it uses is not done, unless the fault is named in O(faults). RV(findings)
    says what it would cost.
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.actiongroup_pci
  - xen.pci.host
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
      - Names or UUIDs of the domains whose faults are repaired, together with those of the stub domains that serve
        them. A domain that does not run is refused, and so is a name that several domains have.
      - If neither O(domains) nor O(devices) is given, all faults of the host are repaired, also those of domains that
        do not exist any more.
    type: list
    elements: str
    default: []
  devices:
    description:
      - Host addresses of devices whose faults are repaired, in whatever domain they are. A device that the host does
        not have, and that nothing on the host names, is refused.
    type: list
    elements: str
    default: []
  faults:
    description:
      - Look for these faults only, and repair them only.
      - V(never_connected), V(stale_configuration), V(sticky_permissive) and V(stray_slot) may be intended (a guest that
        still boots, a device that needs the setting) or do no harm. They are always reported, and repaired only if they
        are named here.
    type: list
    elements: str
    default: []
    choices:
      - aer_failure
      - altered_entry
      - altered_state
      - claimed_device
      - closed_connection
      - dead_marker
      - device_gone
      - disordered_entries
      - empty_connection
      - foreign_entry
      - hanging_write
      - kept_hold
      - late_answer
      - leaked_hold
      - left_rights
      - lost_backend
      - lost_entry
      - lost_event
      - lost_line
      - lost_name
      - lost_place
      - missed_connect
      - missing_marker
      - never_connected
      - not_configured
      - not_in_pciback
      - orphaned_connection
      - other_definition
      - refused_cycle
      - rights_missing
      - shared_device
      - shared_name
      - silent_device_model
      - silent_guest
      - stale_configuration
      - stale_name
      - stale_record
      - sticky_permissive
      - stray_slot
      - stuck_cycle
      - stuck_kernel_device
      - unanswered_close
      - unexplained_owner
      - unexported_entry
      - unfinished_close
      - unfinished_removal
      - unfinished_repair
      - unlisted_device
      - unnamed_domain
      - unquarantined
      - unreadable_configuration
      - unreadable_marker
      - wrong_marker
  settle:
    description:
      - Seconds for which a fault must look the same before it counts.
      - C(xl) needs some seconds for an attach. Increase it if resets take long or guests are slow to answer.
      - It is part of O(timeout) and must be less.
    type: float
    default: 2.0
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host. If it has not finished by then, the task fails
        and nothing is changed.
      - Then also the seconds for all repairs, with O(settle) as a part of them.
      - Then also the seconds for each write to the kernel, such as a reset. One that takes longer is given up.
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

- name: Repair whatever a crashed toolstack has left
  xen.pci.repair:

- name: Give up the connection of a guest that never answered
  xen.pci.repair:
    domains: [web01]
    faults: [never_connected, left_rights]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, a sentence for each fault.
  returned: unless it was refused or the host could not be observed
  type: list
  elements: str
  sample: ["web01: unfinished_removal (0000:03:00.0): drop the entries that nothing uses and close the gaps"]
changes:
  description: The same as data, for each device of each fault.
  returned: unless it was refused or the host could not be observed
  type: list
  elements: dict
  contains:
    subject:
      description: Name of the domain, its number if it does not exist any more, or C(host).
      type: str
      returned: success
    device:
      description: Host address of the device, empty if the fault is about none.
      type: str
      returned: success
    name:
      description: The name under which an earlier run took the device; V(null) if none is known.
      type: str
      returned: success
    action:
      description: C(repair) and the name of the fault.
      type: str
      returned: success
diff:
  description:
    - A text with a line for each device of each fault that was repaired, or in check mode would be.
    - Empty if nothing changes.
  returned: unless it was refused or the host could not be observed
  type: list
  elements: dict
  contains:
    prepared:
      description: The text.
      type: str
      returned: success
      sample: "web01  ~ scratch  0000:03:00.0 (nvme S4EV0A1)  repair unfinished_removal\n"
findings:
  description: The faults that were found first.
  returned: unless it was refused or the host could not be observed
  type: list
  elements: dict
  contains:
    fault:
      description: Its name, see O(faults).
      type: str
      returned: success
    domain:
      description: Name of the domain, empty if it is about none that runs.
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
      description: What was seen that shows it.
      type: str
      returned: success
    meaning:
      description: What the fault is, and what it does.
      type: str
      returned: success
    advice:
      description: What to do next.
      type: str
      returned: success
    recipe:
      description: How it is repaired, empty if no recipe is known.
      type: str
      returned: success
    repaired_by:
      description: Which run repairs it.
      type: str
      returned: success
      choices: [any run, a repair, a repair that names it, a person, nothing]
    costs:
      description: Host addresses of devices that the guest uses and that a repair of this fault would take from it.
      type: list
      elements: str
      returned: success
attempts:
  description:
    - What was done about each fault, in order. A repair may have uncovered another fault that was not found first.
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
    repaired:
      description: Whether a new look at the host did not find the fault any more, and the guest has kept its devices.
      type: bool
      returned: success
left:
  description: The faults that are there afterwards, as in RV(findings).
  returned: unless it was refused or the host could not be observed
  type: list
  elements: dict
refusals:
  description: Why nothing was changed.
  returned: when the task was refused
  type: list
  elements: dict
  contains:
    code:
      description: Name of the reason.
      type: str
      returned: success
    subject:
      description: What it is about.
      type: str
      returned: success
    name:
      description: The name under which an earlier run took the device; V(null) if none is known, or it is about none.
      type: str
      returned: success
    reason:
      description: What is wrong.
      type: str
      returned: success
    advice:
      description: What to do.
      type: str
      returned: success
    waivable:
      description: Always false here.
      type: bool
      returned: success
"""

from collections.abc import Iterable

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.faults.finding import in_words, title
from ansible_collections.xen.pci.plugins.module_utils.faults.scope import Scope
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault, RepairedBy
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.repair_limits import (
    against_repairs,
    domains_named,
    unknown_devices,
)
from ansible_collections.xen.pci.plugins.module_utils.repair.outcome import (
    Repaired,
    RepairInterrupted,
    in_words_of_cost,
)
from ansible_collections.xen.pci.plugins.module_utils.repair.run import repair
from ansible_collections.xen.pci.plugins.module_utils.repair.settle import SETTLE_SECONDS, observe_until_settled
from ansible_collections.xen.pci.plugins.module_utils.results.audit import audit_repair, record
from ansible_collections.xen.pci.plugins.module_utils.results.common import refusal_result
from ansible_collections.xen.pci.plugins.module_utils.results.device_labels import DeviceLabels
from ansible_collections.xen.pci.plugins.module_utils.results.finding_results import (
    attempt_result,
    finding_changes,
    finding_result,
    repair_diff,
)
from ansible_collections.xen.pci.plugins.module_utils.stages.module_run import on_host
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import read_addresses
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal
from ansible_collections.xen.pci.plugins.module_utils.values.words import itemized


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
    on_host(module, _run)


def _run(module: AnsibleModule, access: HostAccess) -> None:
    host = observe(access)
    scope, refusals = _scope(module, host)
    if not refusals:
        refusals = against_repairs(host, [finding for finding in diagnose(host) if scope.repairs(finding)])
    if refusals:
        module.fail_json(**refusal_result(tuple(dict.fromkeys(refusals)), labels=DeviceLabels(host)))
    (_exit_expected if module.check_mode else _repair)(module, access, scope)


def _scope(module: AnsibleModule, host: Host) -> tuple[Scope, list[Refusal]]:
    """Read the options of the task; returns also what is wrong with them."""
    devices, refusals = read_addresses("devices", module.params["devices"])
    domains, unknown = domains_named(host, module.params["domains"])
    scope = Scope(
        domains=domains,
        devices=frozenset(devices),
        named=frozenset(fault for fault in Fault if fault.code in module.params["faults"]),
    )
    times = _impossible_times(module.params["settle"], module.params["timeout"])
    return scope, [*times, *refusals, *unknown, *unknown_devices(host, scope.devices)]


def _impossible_times(settle: float, timeout: float) -> Iterable[Refusal]:
    if not 0 <= settle < timeout:
        reason = (
            f"settle ({settle:g}) must be at least 0 and less than timeout ({timeout}), or no time is left to repair"
        )
        yield Refusal("settle", "settle", reason, "correct settle or timeout")


def _exit_expected(module: AnsibleModule, access: HostAccess, scope: Scope) -> None:
    timeout, settle = module.params["timeout"], module.params["settle"]
    host, findings = observe_until_settled(access, scope.covers, settle, timeout)
    repaired = [finding for finding in findings if scope.repairs(finding)]
    labels = DeviceLabels(host)
    module.exit_json(
        changed=bool(repaired),
        actions=[in_words(finding) for finding in repaired],
        changes=finding_changes(labels, repaired),
        findings=[finding_result(finding) for finding in findings],
        left=[finding_result(finding) for finding in findings],
        diff=repair_diff(labels, repaired),
    )


def _repair(module: AnsibleModule, access: HostAccess, scope: Scope) -> None:
    try:
        repaired = repair(access, scope, module.params["timeout"], module.params["settle"])
    except RepairInterrupted as error:
        record(module.log, [str(error)])
        module.fail_json(msg=f"{error}.", changed=True)
    labels = DeviceLabels(repaired.before)
    record(module.log, map(labels.named, audit_repair(repaired)))
    tried = [attempt.finding for attempt in repaired.attempts]
    result = {
        "changed": repaired.changed,
        "actions": [in_words(finding) for finding in tried],
        "changes": finding_changes(labels, tried),
        "findings": [finding_result(finding) for finding in repaired.findings],
        "attempts": [attempt_result(attempt) for attempt in repaired.attempts],
        "left": [finding_result(finding) for finding in repaired.left],
        "diff": repair_diff(labels, (attempt.finding for attempt in repaired.attempts if attempt.repaired)),
    }
    sentences = [*map(labels.named, (*_left_in_words(repaired, scope), *_lost_devices_in_words(repaired)))]
    if sentences:
        module.fail_json(msg=f"Some faults remain:{itemized(sentences)}", **result)
    module.exit_json(**result)


def _left_in_words(repaired: Repaired, scope: Scope) -> Iterable[str]:
    """Say of each fault that is left and needs attention: its evidence, what was tried, and what to do."""
    tried = {attempt.finding.key: attempt.problem for attempt in repaired.attempts}
    for finding in repaired.left:
        problem = f" (tried: {tried[finding.key]})" if tried.get(finding.key) else ""
        if scope.repairs(finding) and finding.key not in tried:
            problem = " (the timeout passed before a repair was tried)"
        if scope.repairs(finding) or finding.costs or finding.repaired_by is RepairedBy.PERSON:
            yield f"{title(finding)}: {finding.evidence}{problem}. {finding.fault.meaning}. {finding.advice}."


def _lost_devices_in_words(repaired: Repaired) -> Iterable[str]:
    for attempt in repaired.attempts:
        if attempt.cost and not attempt.repaired:
            advice = "The devices are free. Attach them again once the guest answers"
            yield f"{title(attempt.finding)}: {attempt.problem or in_words_of_cost(attempt)}. {advice}."


if __name__ == "__main__":
    main()
