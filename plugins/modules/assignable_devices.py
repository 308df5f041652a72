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
  devices:
    description:
      - Devices by name, as O(catalog) defines it, or by address, for example V(0000:03:00.0).
      - The name of a pool means all its devices, and so does a dictionary with the key V(from), which
        M(xen.pci.domain_devices) takes as well.
    type: list
    elements: raw
    required: true
  state:
    description:
      - With V(present), pciback holds the devices and Xen quarantines them.
      - With V(absent), the devices are back with the host and the drivers that they had before.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Whether devices that pciback holds and O(devices) does not list are given back to the host.
      - Only with O(state=present).
    type: bool
    default: false
  require_reset:
    description:
      - Whether devices that cannot be reset are refused. Otherwise a warning is given for each.
    type: bool
    default: false
  persistent:
    description:
      - Whether pciback holds O(devices) after a reboot as well. If not given, that stays as it is. A device that is
        released is never kept over a reboot.
      - Where pciback is a module, C(/etc/modprobe.d/xen-pci.conf) says which devices it takes and makes the drivers of
        these devices load after it, and the initramfs gets both. Where pciback is built into the kernel,
        C(/etc/default/grub.d/zz-xen-pci.cfg) puts the list on the kernel's command line. Where neither lets pciback
        come first, for example because the driver is built in, a systemd unit takes the device from its driver before
        guests start.
      - The initramfs (initramfs-tools or dracut) and GRUB's configuration are rebuilt when they need to be. If that
        fails, the files are restored.
      - Only files of this collection are written, and only if they carry its mark. pciback reads one C(hide=) only. If
        another file already sets it, the run is refused unless that covers the devices.
      - A device is kept by the address that it has today. If it moves, the next run finds it by its identity and
        corrects the files.
    type: bool
  assume_free:
    description:
      - Addresses of devices that an earlier task of the play takes away from domains.
      - Only in check mode, where that task did not do so, they count as if no domain had them.
    type: list
    elements: str
    default: []
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host, which may be rebuilding the initramfs. If it has
        not finished by then, the task fails and nothing is changed.
      - The run itself has no time limit.
    type: int
    default: 300
notes:
  - A device is refused if it is a bridge (check V(bridge)), carries the connection of Ansible (V(connection)) or does
    not answer (V(dead)). These checks cannot be waived.
  - It is refused as well, unless its V(waive) in O(catalog) gives a reason for that check, if it is a part of the
    mainboard (V(mainboard)), a disk on it is in use (V(disk)), a network interface on it is up and has an address,
    the default route or something above it (V(network)), it carries the console (V(console)), it has virtual
    functions (V(virtual-functions)), it shares a page of memory or an interrupt line with a device that stays
    (V(shared-page), V(shared-interrupt)), it is in one IOMMU group with a device that stays (V(group)), a switch
    without ACS lets one reach the other (V(acs)), or firmware keeps it and others at the same memory
    (V(reserved-memory)).
    With O(require_reset=true) also if it cannot be reset (V(no-reset)).
  - A shared interrupt line is only warned about if the device has MSI or MSI-X, which keep the line silent.
  - A device that a guest had is reset before the host gets it back. If it cannot be reset, it is refused, unless
    its V(waive) in O(catalog) gives a reason for the check V(untrusted). Guests that got it by C(xl) alone are
    not remembered once they have given it back.
  - Without O(persistent=true), pciback holds the devices until the host reboots. Run the play again after a reboot in
    any case, because Xen's quarantine ends with it.
  - An NVMe serial number or a MAC address cannot be read while pciback holds the device. What was read before is
    remembered, over a reboot in C(/var/lib/xen.pci/devices.json). It counts for a device of the same make with the same
    V(serial), or at the same V(path) if it has no V(serial), and the task warns.
seealso:
  - module: xen.pci.host_info
  - module: xen.pci.domain_devices
  - module: xen.pci.virtual_functions
"""

EXAMPLES = r"""
- name: Have pciback hold a network card and an NVMe
  xen.pci.assignable_devices:
    devices: [uplink-a, scratch]
    catalog:
      uplink-a: {vendor: "8086", device: "10d3", serial: "52-54-00-ff-ff-00-01-01"}
      scratch: {class: "0108", nvme_serial: NV1}

- name: Have pciback hold four virtual functions of one card, whichever are free, and a disk in a certain slot
  xen.pci.assignable_devices:
    devices: [vf-pool, scratch]
    catalog:
      uplink-a: {serial: "52-54-00-ff-ff-00-01-01"}
      vf-pool: {pf: uplink-a, count: 4}
      scratch: {class: "0108", slot: "3", required: false}

- name: Overrule a check, and give the reason
  xen.pci.assignable_devices:
    devices: [old-card]
    catalog:
      old-card:
        path: 0000:00/1e.0/02.0
        waive:
          shared-interrupt: the sound card on the same line is not in use

- name: Have pciback hold this device and no other
  xen.pci.assignable_devices:
    devices: ["0000:03:00.0"]
    exclusive: true

- name: Have pciback hold a device also after a reboot, before its driver can touch it
  xen.pci.assignable_devices:
    devices: ["0000:03:00.0"]
    persistent: true

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
moved:
  description: Devices that are no longer where they were last known to be, a sentence each.
  returned: success
  type: list
  elements: str
  sample: ["uplink-a moved 0000:03:00.0 → 0000:04:00.0"]
missing:
  description: Names that are not on this host and need not be.
  returned: success
  type: list
  elements: str
  sample: [scratch]
problems:
  description: Why nothing was touched, a sentence each.
  returned: when the declaration was refused
  type: list
  elements: str
waived:
  description: Refusals that the declaration overrules.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:05:02.0"
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
      description: As it stands in O(devices), of a pool its name; V(null) for a device that O(exclusive) gave back.
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
    held:
      description:
        - When pciback holds the device, after the run or in check mode as expected.
        - V(after_reboot) is a device that is with the host now and will not be after a reboot.
      type: str
      choices: [neither, now, after_reboot, both]
      sample: both
    recorded_driver:
      description: Driver that a release will give the device to, V(null) if none is recorded.
      type: str
      sample: e1000e
"""

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.apply.assignable_steps import apply
from ansible_collections.xen.pci.plugins.module_utils.apply.undo import StepFailed
from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess, open_host
from ansible_collections.xen.pci.plugins.module_utils.host.boot_config import BootConfigError
from ansible_collections.xen.pci.plugins.module_utils.host.hypervisor import HypervisorError
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe, with_boot, with_groups
from ansible_collections.xen.pci.plugins.module_utils.host.run_lock import RunLockError, check_timeout
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore import XenStoreError
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import BootFacts
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.assignable_plan import (
    FinishRelease,
    Plan,
    Release,
    plan_absent,
    plan_present,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import BootPlan, Persistence
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import (
    device_policies,
    read_catalog,
    resolve_names,
)
from ansible_collections.xen.pci.plugins.module_utils.plan.pools import (
    JMESPATH_IMPORT_ERROR,
    NeedsJmespath,
    parse_request,
)
from ansible_collections.xen.pci.plugins.module_utils.results.assignable_results import (
    AssignmentState,
    diff,
    overruled,
    told,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import AddressError, Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import CatalogEntry
from ansible_collections.xen.pci.plugins.module_utils.values.identity import IdentityError

_FAILURES = (
    AddressError,
    BootConfigError,
    HypervisorError,
    IdentityError,
    RunLockError,
    SysfsError,
    XenStoreError,
)


def main() -> None:
    """CatalogEntry point."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "raw", "required": True},
            "catalog": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "exclusive": {"type": "bool", "default": False},
            "require_reset": {"type": "bool", "default": False},
            "persistent": {"type": "bool"},
            "assume_free": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    if module.params["exclusive"] and module.params["state"] == "absent":
        module.fail_json(
            msg="exclusive says that no other device may be assignable: without meaning at state=absent, drop it."
        )
    if module.params["persistent"] and module.params["state"] == "absent":
        module.fail_json(msg="A device that is given back to the host cannot be persistent; drop persistent.")
    try:
        check_timeout(module.params["timeout"])
        with open_host() as access, nullcontext() if module.check_mode else access.run_lock(module.params["timeout"]):
            _run(module, access)
    except NeedsJmespath:
        module.fail_json(msg=missing_required_lib("jmespath"), exception=JMESPATH_IMPORT_ERROR)
    except StepFailed as error:
        module.fail_json(msg=str(error), changed=bool(error.left))
    except _FAILURES as error:
        module.fail_json(msg=str(error))


def _run(module: AnsibleModule, access: HostAccess) -> None:
    catalog = read_catalog(module.params["catalog"])
    wanted = _names(module.params["devices"], catalog)
    free = [Sbdf.parse(address) for address in module.params["assume_free"]]
    host = observe(access)
    if module.check_mode:
        host = host.assuming_free(free)
    resolution = resolve_names(catalog, host, wanted)
    names = resolution.expand(wanted)
    host = with_boot(access, with_groups(access, host, _to_be_taken(host, names)), names)
    plan = _plan(module, host, names, catalog)
    boot = _boot(host)
    persistence = _persistence(module, names, plan)
    boot_plan = persistence.plan(boot)
    problems = (*resolution.problems, *plan.refusals, *boot_plan.refusals)
    if problems:
        module.fail_json(msg=f"{' '.join(problems)} Nothing has been changed.", problems=list(problems))
    for warning in (*(f"{one}." for one in (*resolution.moved, *resolution.recalled)), *plan.warnings):
        module.warn(warning)
    affected = list(dict.fromkeys([*names, *(step.sbdf for step in plan.steps)]))
    before = {sbdf: host.devices[sbdf].driver for sbdf in affected}
    if module.check_mode:
        after = AssignmentState.expected(host, plan, affected, persistence.expected(boot, affected))
    else:
        apply(access, host, plan.steps)
        after = _finish(module, access, plan, boot_plan, affected)
    result = {
        "changed": bool(plan.steps) or boot_plan.changes,
        "actions": [*map(str, plan.steps), *boot_plan.actions],
        "moved": [str(move) for move in resolution.moved],
        "missing": list(resolution.missing),
        "waived": [overruled(waived) for waived in plan.waived],
        "devices": told(before, after, names),
    }
    if module._diff:
        result["diff"] = diff(before, after, boot, boot_plan)
    module.exit_json(**result)


def _names(devices: list[Any], catalog: Mapping[str, CatalogEntry]) -> list[str]:
    """All names and addresses asked for; a part of a pool counts as the whole."""
    requests = [parse_request(one, catalog) for one in devices]
    names = [one if isinstance(one, str) else one.pool for one in requests]
    pools = {name for name in names if name in catalog and catalog[name].pool is not None}
    return [name for at, name in enumerate(names) if name not in pools or name not in names[:at]]


def _to_be_taken(host: Host, devices: Mapping[Sbdf, str]) -> list[Sbdf]:
    return [sbdf for sbdf in devices if not host.devices[sbdf].in_pciback]


def _plan(module: AnsibleModule, host: Host, names: Mapping[Sbdf, str], catalog: Mapping[str, CatalogEntry]) -> Plan:
    declared = device_policies(catalog, names)
    if module.params["state"] == "absent":
        return plan_absent(host, list(names), declared)
    return plan_present(host, list(names), module.params["exclusive"], declared, module.params["require_reset"])


def _finish(
    module: AnsibleModule, access: HostAccess, plan: Plan, boot_plan: BootPlan, devices: Collection[Sbdf]
) -> AssignmentState:
    """What comes once the devices have moved, and must not hide by its failure that they have."""
    changed = bool(plan.steps)
    try:
        if boot_plan.changes:
            access.boot.apply(boot_plan.files, boot_plan.stages)
        changed = changed or boot_plan.changes
        return _see(module, access, devices)
    except _FAILURES as error:
        module.fail_json(
            msg=f"The devices are where they shall be until the host reboots, but {error}.", changed=changed
        )
        raise  # not reached, which no type of AnsibleModule says


def _see(module: AnsibleModule, access: HostAccess, devices: Collection[Sbdf]) -> AssignmentState:
    """Where the devices stand after the run; what they tell now is remembered for the boots to come."""
    host = with_boot(access, observe(access))
    after_reboot = _boot(host).held(devices)
    forgotten = access.memory.remember(host)
    if forgotten:
        module.warn(forgotten)
    return AssignmentState.seen(host, devices, after_reboot)


def _boot(host: Host) -> BootFacts:
    """What `with_boot` has read."""
    if host.boot is None:
        raise ValueError("the next boot was not looked at")
    return host.boot


def _persistence(module: AnsibleModule, names: Mapping[Sbdf, str], plan: Plan) -> Persistence:
    """What the run wants of the next boot."""
    asked = frozenset(names)
    if module.params["state"] == "absent":
        return Persistence(asked, released=asked)
    released = frozenset(step.sbdf for step in plan.steps if isinstance(step, (Release, FinishRelease)))
    return Persistence(asked, released, module.params["persistent"], module.params["exclusive"])


if __name__ == "__main__":
    main()
