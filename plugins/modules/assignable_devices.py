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
      - With V(absent), the devices are back with the host and the drivers that they had before. A device without a
        record of such a driver, also one that others have left without any, gets one that fits it. Without a driver is
        right only where this kernel has none for the device, or is configured not to load it (C(blacklist) in
        C(/etc/modprobe.d)). Otherwise the task fails and says what keeps the driver from it.
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
      - Whether a C(hide=) counts is derived as the boot does it, from the files of the boot loader that this boot came
        from. Where that is not certain, or this boot shows that it did not count, the systemd unit is used. Without
        systemd the task is refused then.
      - Only files of this collection are written, and only if they carry its mark. pciback reads one C(hide=) only. If
        another file already sets it, the run is refused unless that covers the devices.
      - A device is kept by the address that it has today. If it moves, the next run finds it by its identity and
        corrects the files.
    type: bool
  timeout:
    description:
      - Seconds to wait for another run of this collection on the host, which may be rebuilding the initramfs. If it has
        not finished by then, the task fails and nothing is changed.
      - Then also the seconds for each write to the kernel, such as the one that takes a device from its driver. One
        that takes longer is given up, the steps before it are undone, and the task fails. The run as a whole has no
        limit.
    type: int
    default: 300
notes:
  - A device is refused if it is a bridge (check V(bridge)), is behind an Intel VMD and so has no number in Xen
    (V(segment)), carries the connection of Ansible (V(connection)) or does not answer (V(dead)). These checks cannot be
    waived.
  - What a device is (V(bridge), V(segment), V(mainboard)) is checked also if pciback holds it already.
    O(state=absent) gives it back.
  - A C(driver_override) that names another driver is cleared when pciback takes the device. A release clears it if it
    names pciback, or another driver than the one that the device had before.
  - It is refused as well, unless its V(waive) in O(catalog) gives a reason for that check, if it is a part of the
    mainboard (V(mainboard)), a disk on it is in use (V(disk)), a network interface on it is up and has an address,
    the default route or something above it (V(network)), a disk on it holds data (V(data)), a program has its device
    nodes open (V(processes)), a keyboard or a mouse hangs on it (V(input)) or a smart card reader, a security key, a
    power supply or a Thunderbolt device (V(peripheral)), it carries the console (V(console)), it has virtual
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
changes:
  description: The same as data, one entry for each change.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: V(pciback) for a device, V(boot) for a file or a stage of the next boot.
      type: str
      sample: pciback
    device:
      description: Address of the device, path of the file, or what is rebuilt (V(initramfs) or V(grub)).
      type: str
      sample: "0000:03:00.0"
    name:
      description: Its name in the inventory, or the one under which an earlier run took it; V(null) if it has none.
      type: str
      sample: uplink-a
    action:
      description: What is done with it.
      type: str
      sample: take
diff:
  description:
    - A text with a line for each device that changes, then the files of the next boot before and after.
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
      sample: "pciback  + scratch  0000:03:00.0 (nvme S4EV0A1)  from nvme, after a reboot: held\n"
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
  returned: success
  type: str
  sample: 5a1f0c3e9b7d4c2f8e6a1b0d9c3f7e21
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
  returned: success
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
devices:
  description: The devices of O(devices), and those that O(exclusive) gave back.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:03:00.0"
    name:
      description: Its name in O(devices), of a pool the pool's name; V(null) for a device that O(exclusive) gave back.
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
"""


from ansible.module_utils.basic import AnsibleModule

from ansible_collections.xen.pci.plugins.module_utils.host.access import HostAccess
from ansible_collections.xen.pci.plugins.module_utils.host.observe import observe
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import WantedDevices, read_wanted
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.stages.assignment_stage import AssignmentStage
from ansible_collections.xen.pci.plugins.module_utils.stages.module_run import on_host, plan_or_run


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "devices": {"type": "list", "elements": "raw", "required": True},
            "catalog": {"type": "dict", "default": {}},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "exclusive": {"type": "bool", "default": False},
            "require_reset": {"type": "bool", "default": False},
            "persistent": {"type": "bool"},
            "fingerprint": {"type": "str"},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    on_host(module, _run)


def _run(module: AnsibleModule, access: HostAccess) -> None:
    wanted = _wanted(module)
    stage = AssignmentStage.planned(access, observe(access), wanted)
    plan_or_run(module, stage, lambda: stage.carry_out(access))


def _wanted(module: AnsibleModule) -> WantedDevices:
    """Read the options of the task; what is wrong with them is refused later, with all other refusals."""
    params = module.params
    return read_wanted(
        devices=params["devices"],
        catalog=checked_catalog(params["catalog"]),
        present=params["state"] == "present",
        exclusive=params["exclusive"],
        require_reset=params["require_reset"],
        persistent=params["persistent"],
    )


if __name__ == "__main__":
    main()
