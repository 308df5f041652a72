#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host devices pciback holds: arguments, plan, apply, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: assignable_devices
short_description: Give host PCI devices to Xen's pciback, or take them back
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Moves PCI devices of a Xen host from their drivers to pciback and puts them into Xen's quarantine,
    so that they can be given to domains; or returns them to the host and its drivers.
  - All devices of the list are moved, or none. A step that fails is undone, and so are those before it.
  - Everything that speaks against a move is found before anything is touched, and reported in one message.
  - The host is left as C(xl pci-assignable-add) and C(xl pci-assignable-remove -r) leave it,
    so both tools can be mixed.
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
  devices:
    description:
      - Devices by name, as O(catalogue) defines it, or by address, for example V(0000:03:00.0).
    type: list
    elements: str
    required: true
  catalogue:
    description:
      - What the named devices are. The value of a name is an address, or a dictionary with some of the keys
        V(address), V(vendor), V(device), V(subsystem_vendor), V(subsystem_device), V(class), V(serial),
        V(nvme_serial), V(mac).
      - All values are strings. Identifiers are hexadecimal as C(lspci -nn) shows them; V(class) may be
        its beginning, as V(0108) for NVMe.
      - V(serial) is the PCI Express device serial number as C(lspci -v) shows it.
      - All keys given must fit, and must fit one device only.
      - An NVMe serial number or a MAC address cannot be read while pciback holds the device. What was read before
        this module gave the device to pciback is remembered until the host reboots; otherwise the other keys decide.
    type: dict
    default: {}
  state:
    description:
      - With V(present), pciback holds the devices and Xen quarantines them.
      - With V(absent), the devices are back with the host and the drivers that they had before.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Whether devices that pciback holds but O(devices) does not list are given back to the host.
      - Only for O(state=present).
    type: bool
    default: false
  assume_free:
    description:
      - Addresses of devices that an earlier task of the play takes away from domains.
      - Only in check mode, where that task has only said so, they count as if no domain had them.
    type: list
    elements: str
    default: []
requirements:
  - pyxs on the target
notes:
  - Needs root in dom0.
  - Bridges, disks in use, physical functions that have virtual functions, and network interfaces that carry
    the default route or the connection of Ansible are refused.
  - Devices are held until the host reboots.
seealso:
  - module: xen.pci.host_info
"""

EXAMPLES = r"""
- name: Have pciback hold a network card and an NVMe
  xen.pci.assignable_devices:
    devices: [uplink-a, scratch]
    catalogue:
      uplink-a: {vendor: "8086", device: "10d3", serial: "52-54-00-ff-ff-00-01-01"}
      scratch: {class: "0108", nvme_serial: NV1}

- name: Have pciback hold this device and no other
  xen.pci.assignable_devices:
    devices: ["0000:03:00.0"]
    exclusive: true

- name: Give a device back to the host and its driver
  xen.pci.assignable_devices:
    devices: ["0000:03:00.0"]
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, a sentence for each step.
  returned: success
  type: list
  elements: str
  sample:
    - take 0000:03:00.0 from driver e1000e, give it to pciback and quarantine it
devices:
  description: The devices asked for, and those that O(exclusive) gave back.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:03:00.0"
    name:
      description: As it stands in O(devices); V(null) for a device that O(exclusive) gave back.
      type: str
      sample: uplink-a
    driver_before:
      description: Driver before the run, V(null) if there was none.
      type: str
      sample: e1000e
    driver_after:
      description:
        - Driver after the run, V(null) if there is none.
        - In check mode the one expected, V(null) if the kernel is to choose it.
      type: str
      sample: pciback
    quarantined:
      description:
        - Whether the device is known to be in Xen's quarantine after the run, or would be after it.
        - Also V(true) while a domain has the device, as Xen puts it back into quarantine after that.
      type: bool
      sample: true
    recorded_driver:
      description: Driver that a release will give the device to, V(null) if none is recorded.
      type: str
      sample: e1000e
"""

from dataclasses import replace

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.decisions.assignment import (
    PCIBACK,
    Plan,
    Release,
    Situation,
    Take,
    plan_absent,
    plan_present,
)
from ansible_collections.xen.pci.plugins.module_utils.engine.assignment import (
    AssignmentError,
    apply,
    observe_situation,
    remembered_identities,
)
from ansible_collections.xen.pci.plugins.module_utils.engine.outside import Outside, open_outside
from ansible_collections.xen.pci.plugins.module_utils.interfaces.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.interfaces.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.interfaces.xenstore import PYXS_IMPORT_ERROR, XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.identity import IdentityError, parse_catalogue, resolve


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "str", "required": True},
            "catalogue": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "exclusive": {"type": "bool", "default": False},
            "assume_free": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    if module.params["exclusive"] and module.params["state"] == "absent":
        module.fail_json(
            msg="exclusive says that no other device may be assignable: without meaning at state=absent, drop it."
        )
    try:
        with open_outside() as outside:
            _run(module, outside)
    except (AddressError, IdentityError, AssignmentError, SysfsError, HypervisorError, XenStoreError) as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule, outside: Outside) -> None:
    catalogue = parse_catalogue(module.params["catalogue"])
    situation, notes = observe_situation(outside)
    if module.check_mode:
        free = [Sbdf.parse(address) for address in module.params["assume_free"]]
        situation = replace(situation, host=situation.host.assuming_free(free))
    resolution = resolve(catalogue, situation.host.devices, module.params["devices"], remembered_identities(notes))
    plan = _plan(module, situation, list(resolution.found.values()))
    problems = (*resolution.problems, *plan.refusals)
    if problems:
        module.fail_json(msg=f"{' '.join(problems)} Nothing has been changed.", problems=list(problems))
    names = {sbdf: name for name, sbdf in resolution.found.items()}
    affected = dict.fromkeys([*names, *(step.sbdf for step in plan.steps)])
    if module.check_mode:
        after = {sbdf: _expected(situation, plan, sbdf) for sbdf in affected}
        recorded = _expected_records(situation, plan)
        quarantined = _expected_quarantine(situation, plan)
    else:
        apply(outside, situation.host, notes, plan.steps)
        seen, _notes = observe_situation(outside)
        after = {sbdf: seen.host.devices[sbdf].driver for sbdf in affected}
        recorded, quarantined = dict(seen.host.driver_paths), seen.quarantined
    before = {sbdf: situation.host.devices[sbdf].driver for sbdf in affected}
    result = {
        "changed": bool(plan.steps),
        "actions": [str(step) for step in plan.steps],
        "devices": [
            {
                "address": str(sbdf),
                "name": names.get(sbdf),
                "driver_before": before[sbdf],
                "driver_after": after[sbdf],
                "quarantined": after[sbdf] == PCIBACK and sbdf in quarantined,
                "recorded_driver": _last_part(recorded.get(sbdf)),
            }
            for sbdf in affected
        ],
    }
    if module._diff:
        result["diff"] = {
            "before": {str(sbdf): before[sbdf] or "no driver" for sbdf in affected},
            "after": {str(sbdf): after[sbdf] or "no driver" for sbdf in affected},
        }
    module.exit_json(**result)


def _plan(module: AnsibleModule, situation: Situation, devices: list[Sbdf]) -> Plan:
    if module.params["state"] == "absent":
        return plan_absent(situation, devices)
    return plan_present(situation, devices, module.params["exclusive"])


def _expected(situation: Situation, plan: Plan, sbdf: Sbdf) -> str | None:
    for step in plan.steps:
        if step.sbdf == sbdf:
            return step.driver if isinstance(step, Release) else PCIBACK
    return situation.host.devices[sbdf].driver


def _expected_records(situation: Situation, plan: Plan) -> dict[Sbdf, str]:
    released = {step.sbdf for step in plan.steps if isinstance(step, Release)}
    kept = {sbdf: path for sbdf, path in situation.host.driver_paths.items() if sbdf not in released}
    return kept | {step.sbdf: step.driver for step in plan.steps if isinstance(step, Take) and step.driver}


def _expected_quarantine(situation: Situation, plan: Plan) -> frozenset[Sbdf]:
    return situation.quarantined | {step.sbdf for step in plan.steps if not isinstance(step, Release)}


def _last_part(path: str | None) -> str | None:
    return path.rpartition("/")[2] if path else None


if __name__ == "__main__":
    main()
