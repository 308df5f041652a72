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
  - xen.pci.attributes.actiongroup_declare
  - xen.pci.catalog
  - xen.pci.host
  - xen.pci.plan
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  physical_functions:
    description:
      - Physical functions and what they are to have. Others are left alone.
      - Each element is a dictionary with the keys below.
      # begin: keys of a physical function
      - >-
        V(pf) (str, a name of the catalog or an address, required). Physical function. The name of a pool cannot be
        used. Example: C(pf: uplink).
      - >-
        V(count) (int from 0 to 65535, required). Number of virtual functions. Example: C(count: 8).
      - >-
        V(drivers_autoprobe) (bool). Whether drivers of the host may take virtual functions that are created from now
        on. Set V(false) if they are for domains only. If not given, this stays as it is. With V(false), Linux binds
        them only to the driver that C(driver_override) names. For pciback too, M(xen.pci.assignable_devices) sets it.
        C(xl pci-assignable-add) does not, and fails. Example: C(drivers_autoprobe: false).
      - >-
        V(vfs) (list of settings of single virtual functions, default V([])). Settings of single virtual functions. They
        need a physical function with a network interface. Example: C(vfs: [{index: 0, vlan: 20}]).
      # end
      - Each element of V(vfs) is a dictionary with the keys below.
      # begin: keys of a virtual function
      - >-
        V(index) (int from 0 to 65534, required). Number of the virtual function, from 0. Example: C(index: 0).
      - >-
        V(mac) (str, six bytes such as 02:00:5e:00:00:01 in quotes, the first one even). MAC address. Example: C(mac:
        "02:00:5e:00:00:01").
      - >-
        V(vlan) (int from 0 to 4094). VLAN of its frames, V(0) for none. Example: C(vlan: 20).
      - >-
        V(spoof_check) (bool). Whether frames with another source address are dropped. Example: C(spoof_check: true).
      # end
    type: list
    elements: dict
    required: true
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host, which may be rebuilding the initramfs. If it has
        not finished by then, the task fails and nothing is changed.
      - Then also the seconds for each write to the kernel, such as the one that takes a device from its driver. One
        that takes longer is given up, the steps before it are undone, and the task fails. The run as a whole has no
        limit.
    type: int
    default: 300
requirements:
  - iproute2 on the Xen host, if V(vfs) is used in O(physical_functions)
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
changes:
  description: The same as data, one entry for each change.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: Address of the physical function.
      type: str
      sample: "0000:3b:00.0"
    device:
      description: The same, followed by the index of the virtual function (V(vf 0)) for a setting of one.
      type: str
      sample: "0000:3b:00.0"
    name:
      description: Its name in the inventory, or the one under which an earlier run took it; V(null) if it has none.
      type: str
      sample: uplink0
    action:
      description: What is done with it.
      type: str
      sample: set-count 8
diff:
  description:
    - A text with a line for each physical function and each setting of a virtual one that changes.
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
      sample: "host  ~ uplink0  0000:3b:00.0 (network 8086:1572)  virtual functions 0 -> 8\n"
fingerprint:
  description: Fingerprint of the plan, for O(fingerprint) of a later run that is to carry out this plan only.
  returned: success
  type: str
  sample: 5a1f0c3e9b7d4c2f8e6a1b0d9c3f7e21
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
physical_functions:
  description: The physical functions of O(physical_functions), as they are after the run.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:3b:00.0"
    pf:
      description: Its name in O(physical_functions).
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
"""


from ansible.module_utils.basic import AnsibleModule

from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.functions import read_functions
from ansible_collections.xen.pci.plugins.module_utils.stages.function_stage import FunctionStage
from ansible_collections.xen.pci.plugins.module_utils.stages.module_run import on_host, plan_or_run


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "physical_functions": {"type": "list", "elements": "dict", "required": True},
            "catalog": {"type": "dict", "default": {}},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    on_host(module, _run)


def _run(module: AnsibleModule, access: HostAccess) -> None:
    wanted = read_functions(module.params["physical_functions"], checked_catalog(module.params["catalog"]))
    stage = FunctionStage.planned(access, observe(access), wanted)
    plan_or_run(module, stage, lambda: stage.carry_out(access))


if __name__ == "__main__":
    main()
