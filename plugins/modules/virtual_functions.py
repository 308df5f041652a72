#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many virtual functions devices have: arguments, plan, apply, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: virtual_functions
short_description: Give SR-IOV devices of a Xen host their virtual functions
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Creates or removes the virtual functions of SR-IOV devices, and sets MAC address, VLAN and spoof check, which the
    physical function's driver enforces.
  - The physical function stays with its driver in dom0. Domains get its virtual functions.
  - Linux changes their number only by removing all of them first. So the number is not changed while pciback or a
    domain has one of them, or the host itself uses one. The message names it.
  - Everything that speaks against a change is found before anything is touched, and reported in one message. A step
    that fails is undone, and so are those before it.
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.actiongroup_pci
  - xen.pci.catalog
  - xen.pci.host
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  physical_functions:
    description: Physical functions and what they are to have. Others are left alone.
    type: list
    elements: dict
    required: true
    suboptions:
      pf:
        description: Physical function by its name in O(catalog), or by address, for example V(0000:3b:00.0).
        type: str
        required: true
      count:
        description: Number of virtual functions.
        type: int
        required: true
      drivers_autoprobe:
        description:
          - Whether drivers of the host may take virtual functions that are created from now on. Set V(false) if they
            are for domains only. If not given, this stays as it is.
          - With V(false), Linux binds them only to the driver that C(driver_override) names. For pciback too,
            M(xen.pci.assignable_devices) sets it. C(xl pci-assignable-add) does not, and fails.
        type: bool
      vfs:
        description: Settings of single virtual functions. They need a physical function with a network interface.
        type: list
        elements: dict
        default: []
        suboptions:
          index:
            description: Number of the virtual function, from 0.
            type: int
            required: true
          mac:
            description: MAC address.
            type: str
          vlan:
            description: VLAN of its frames, 0 for none.
            type: int
          spoof_check:
            description: Whether frames with another source address are dropped.
            type: bool
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host, which may be rebuilding the initramfs. If it has
        not finished by then, the task fails and nothing is changed.
      - The run itself has no time limit.
    type: int
    default: 300
requirements:
  - iproute2 on the Xen host, if O(physical_functions[].vfs) is used
notes:
  - Virtual functions are gone after a reboot. Run the play again then.
  - A name of a pool in O(catalog) cannot be used here.
seealso:
  - module: xen.pci.assignable_devices
  - module: xen.pci.host_info
"""

EXAMPLES = r"""
- name: Create eight virtual functions for domains, the first one in VLAN 20
  xen.pci.virtual_functions:
    physical_functions:
      - pf: uplink0
        count: 8
        drivers_autoprobe: false
        vfs:
          - {index: 0, mac: "02:00:5e:3b:01:00", vlan: 20, spoof_check: true}
    catalog:
      uplink0: {vendor: "8086", device: "1572", mac: "02:00:5e:3b:00:00"}

- name: Remove all virtual functions
  xen.pci.virtual_functions:
    physical_functions:
      - {pf: "0000:3b:00.0", count: 0}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, a sentence for each step.
  returned: success
  type: list
  elements: str
  sample:
    - create 8 virtual functions of 0000:3b:00.0
problems:
  description: Why nothing was touched, a sentence each.
  returned: when the declaration was refused
  type: list
  elements: str
physical_functions:
  description: The physical functions asked for, as they are after the run.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:3b:00.0"
    pf:
      description: As it stands in O(physical_functions).
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
          description: Which one, from 0.
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
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.apply.function_steps import apply_functions
from ansible_collections.xen.pci.plugins.module_utils.apply.undo import StepFailed
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess, open_host
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe, with_functions
from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import RunLockError, check_timeout
from ansible_collections.xen.pci.plugins.module_utils.host.sriov import SriovError
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.physical_function import PhysicalFunction, VfSettings
from ansible_collections.xen.pci.plugins.module_utils.plan.function_plan import (
    Configure,
    DesiredFunctions,
    Plan,
    SetAutoprobe,
    plan_functions,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.names import Lookup, resolve
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.identity import IdentityError

_FAILURES = (
    AddressError,
    HypervisorError,
    IdentityError,
    RunLockError,
    SriovError,
    SysfsError,
    XenStoreError,
)


def main() -> None:
    """Entry point."""
    settings = {
        "index": {"type": "int", "required": True},
        "mac": {"type": "str"},
        "vlan": {"type": "int"},
        "spoof_check": {"type": "bool"},
    }
    function = {
        "pf": {"type": "str", "required": True},
        "count": {"type": "int", "required": True},
        "drivers_autoprobe": {"type": "bool"},
        "vfs": {"type": "list", "elements": "dict", "default": [], "options": settings},
    }
    module = AnsibleModule(
        argument_spec={
            "physical_functions": {"type": "list", "elements": "dict", "required": True, "options": function},
            "catalog": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    try:
        check_timeout(module.params["timeout"])
        with open_host() as access, nullcontext() if module.check_mode else access.run_lock(module.params["timeout"]):
            _run(module, access)
    except StepFailed as error:
        module.fail_json(msg=str(error), changed=bool(error.left))
    except _FAILURES as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule, access: HostAccess) -> None:
    host = observe(access)
    desired = _desired(module, host)
    host = with_functions(
        access, host, [one.pf for one in desired.values()], {one.pf for one in desired.values() if one.settings}
    )
    before = host.functions
    plan = plan_functions(host, list(desired.values()))
    if plan.refusals:
        _refuse(module, plan.refusals)
    if not module.check_mode:
        apply_functions(access, plan.steps)
    seen = host if module.check_mode or not plan.steps else observe(access)
    result: dict[str, Any] = {
        "changed": bool(plan.steps),
        "actions": [str(step) for step in plan.steps],
        "physical_functions": [
            {
                "address": str(one.pf),
                "pf": name,
                "count_before": len(before[one.pf].device.virtfns),
                "count": one.count,
                "vfs": _functions(seen, one.pf),
            }
            for name, one in desired.items()
        ],
    }
    if module._diff:
        result["diff"] = _diff(plan, before, desired)
    module.exit_json(**result)


def _desired(module: AnsibleModule, host: Host) -> dict[str, DesiredFunctions]:
    """What is declared, by the words for the physical function."""
    declared: list[dict[str, Any]] = module.params["physical_functions"]
    where = Lookup(host.devices, host.remembered)
    words = [one["pf"] for one in declared]
    resolution = resolve(parse_catalog(module.params["catalog"]), where, words)
    problems = [*resolution.problems, *(f"{name!r} is not on this host." for name in resolution.missing)]
    problems += [f"{name!r} is listed more than once." for name in dict.fromkeys(words) if words.count(name) > 1]
    for one in declared:
        indices = [vf["index"] for vf in one["vfs"]]
        problems += [
            f"{one['pf']!r}: virtual function {index} is listed more than once."
            for index in dict.fromkeys(indices)
            if indices.count(index) > 1
        ]
    if problems:
        _refuse(module, problems)
    return {
        one["pf"]: DesiredFunctions(
            resolution.found[one["pf"]],
            one["count"],
            one["drivers_autoprobe"],
            {vf["index"]: VfSettings(_mac(vf["mac"]), vf["vlan"], vf["spoof_check"]) for vf in one["vfs"]},
        )
        for one in declared
    }


def _mac(text: str | None) -> str | None:
    return None if text is None else text.strip().lower().replace("-", ":")


def _refuse(module: AnsibleModule, problems: list[str] | tuple[str, ...]) -> None:
    module.fail_json(msg=f"{' '.join(problems)} Nothing has been changed.", problems=list(problems))


def _functions(host: Host, pf: Sbdf) -> list[dict[str, Any]]:
    functions = [(sbdf, host.devices.get(sbdf)) for sbdf in host.devices[pf].virtfns]
    return [
        {"index": index, "address": str(sbdf), "driver": device.driver if device else None}
        for index, (sbdf, device) in enumerate(functions)
    ]


def _diff(
    plan: Plan, before: Mapping[Sbdf, PhysicalFunction], desired: dict[str, DesiredFunctions]
) -> dict[str, dict[str, Any]]:
    """Numbers always, the rest where it changes."""
    old: dict[str, Any] = {str(pf): {"count": len(one.device.virtfns)} for pf, one in before.items()}
    new: dict[str, Any] = {str(one.pf): {"count": one.count} for one in desired.values()}
    for step in plan.steps:
        if isinstance(step, SetAutoprobe):
            old[str(step.pf)]["drivers_autoprobe"] = not step.offer
            new[str(step.pf)]["drivers_autoprobe"] = step.offer
        elif isinstance(step, Configure):
            seen = before[step.pf].settings.get(step.index)
            old[str(step.pf)][f"vf {step.index}"] = str(seen) if seen else "new"
            new[str(step.pf)][f"vf {step.index}"] = str(step.settings)
    return {"before": old, "after": new}


if __name__ == "__main__":
    main()
