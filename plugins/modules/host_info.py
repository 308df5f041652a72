#!/usr/bin/python
# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gather what a Xen host shows of its PCI functions and its domains: arguments, observe, result."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_info
short_description: Gather the PCI devices of a Xen host and the domains that have them
version_added: 0.1.0
author:
  - xen.pci contributors (@xen-pci)
description:
  - Reports every PCI function of the host and every domain with the devices it has, as sysfs, xenstore, Xen
    and libxl see them.
  - Names the known faults of the host, such as contradictions between these views, as M(xen.pci.repair) does. This
    module looks once, so a change that is under way can look like a fault. M(xen.pci.repair) in check mode looks again
    until a fault stays the same.
extends_documentation_fragment:
  - xen.pci.attributes
  - xen.pci.attributes.info_module
  - xen.pci.attributes.actiongroup_pci
  - xen.pci.host
options:
  gather:
    description:
      - What to return. RV(host), RV(findings) and RV(boot_problems) are always returned.
      - V(snapshot) reads more than the others, such as the IOMMU group of each device, which Xen is asked for.
    type: list
    elements: str
    choices: [devices, domains, snapshot]
    default: [devices, domains]
  config_files:
    description:
      - Configuration files of domains (C(xl.cfg)) whose text becomes a part of RV(snapshot). A plan made from it needs
        those that C(config) names in O(xen.pci.domain_devices#module:domains).
      - Only if O(gather) contains V(snapshot).
      - The text is returned as it is, including any password in it. Use C(no_log) then.
    type: list
    elements: path
    default: []
seealso:
  - module: xen.pci.assignable_devices
  - module: xen.pci.repair
  - plugin: xen.pci.select
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Look at the host
  xen.pci.host_info:
  register: xen

- name: Show what could be given to a domain now
  ansible.builtin.debug:
    msg: "{{ xen.devices | selectattr('assignable') | selectattr('domain', 'none') | map(attribute='address') }}"

- name: Require that nothing is wrong
  ansible.builtin.assert:
    that: xen.findings == [] and xen.boot_problems == []
    fail_msg: "{{ xen.findings | map(attribute='meaning') | join(' ') }} {{ xen.boot_problems | join(' ') }}"

- name: Require that all guests can take devices
  ansible.builtin.assert:
    that: "'no' not in xen.domains | map(attribute='hotplug_ready')"
    fail_msg: "{{ xen.domains | map(attribute='hotplug_reasons') | flatten | map(attribute='reason') | join(' ') }}"

- name: Observe the whole host
  xen.pci.host_info:
    gather: [snapshot]
    config_files: [/etc/xen/web01.cfg]
  register: observed

- name: Keep it on the controller
  ansible.builtin.copy:
    content: "{{ observed.snapshot | to_json }}"
    dest: "snapshots/{{ inventory_hostname }}.json"
    mode: "0600"
  delegate_to: localhost

- name: Show why the other devices stay with the host
  ansible.builtin.debug:
    msg: "{{ xen.devices | rejectattr('free') | map(attribute='refusals') | flatten | map(attribute='reason') }}"
"""

RETURN = r"""
devices:
  description: All PCI functions, in the order of their addresses. Identifiers are hexadecimal without prefix.
  returned: when O(gather) contains V(devices)
  type: list
  elements: dict
  contains:
    address:
      description: Address on the host.
      type: str
      sample: "0000:03:00.0"
    path:
      description:
        - Way from the root bus by slots and functions; virtual functions by their number.
        - It stays the same when buses get other numbers.
      type: str
      sample: 0000:00/1c.2/00.0
    slot:
      description: What the firmware calls the slot, V(null) if it says nothing.
      type: str
      sample: "3"
    label:
      description: What the firmware calls the device, V(null) if it says nothing.
      type: str
      sample: Onboard LAN 1
    vendor:
      description: Vendor.
      type: str
      sample: "8086"
    device:
      description: Device of the vendor.
      type: str
      sample: "10d3"
    subsystem_vendor:
      description: Vendor of the card.
      type: str
      sample: "8086"
    subsystem_device:
      description: Card of the vendor.
      type: str
      sample: "0000"
    class:
      description: Class, sub-class and programming interface.
      type: str
      sample: "020000"
    revision:
      description: Revision.
      type: str
      sample: "00"
    modalias:
      description: The line by which the kernel finds drivers for it.
      type: str
      sample: pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00
    driver:
      description: Driver of the host that holds the function, V(null) if none does.
      type: str
      sample: pciback
    driver_override:
      description:
        - The only driver that the kernel lets take the function, V(null) if any may.
        - Where a function has no driver, this may be the cause. V(pciback) is what this collection sets for virtual
          functions that the kernel does not offer to drivers.
      type: str
      sample: vfio-pci
    numa_node:
      description: NUMA node, -1 if unknown.
      type: int
      sample: -1
    serial:
      description: PCI Express device serial number, V(null) if the function has none or dom0 may not read it.
      type: str
      sample: 52-54-00-ff-ff-00-01-01
    nvme_serial:
      description: Serial number of an NVMe controller, read now or remembered from before pciback took it.
      type: str
      sample: NV1
    macs:
      description: MAC addresses, read now or remembered from before pciback took the function.
      type: list
      elements: str
      sample: ["52:54:00:00:01:01"]
    remembered:
      description:
        - Whether RV(devices[].nvme_serial) and RV(devices[].macs) are from an earlier boot of the host. They are shown
          for a function that pciback holds, is of the same make and has the same RV(devices[].serial), or the same
          RV(devices[].path) if it has no serial number.
      type: bool
      sample: false
    is_bridge:
      description: Whether it is a bridge, which cannot be given away.
      type: bool
      sample: false
    header_type:
      description: Type of its configuration header, 1 for a bridge.
      type: int
      sample: 0
    port_type:
      description:
        - What PCI Express calls it, as a number (0 an endpoint, 4 a root port, 5 and 6 the upstream and downstream
          ports of a switch), V(null) for conventional PCI.
      type: int
      sample: 0
    parent:
      description: The bridge above it, V(null) on a root bus.
      type: str
      sample: "0000:00:1c.0"
    behind:
      description:
        - The Intel VMD that makes the segment of a function which Xen has no number for, V(null) for all others.
        - Disks and network interfaces on such a function are listed as the VMD's.
      type: str
      sample: "0000:00:0e.0"
    children:
      description: Functions directly behind it, if it is a bridge.
      type: list
      elements: str
      sample: []
    config:
      description:
        - What a driver has switched on in its configuration space. C(bus_master), C(msi) or C(msix) show that a driver
          runs the function, also one in a guest.
      type: dict
      sample: {memory: true, bus_master: true, msi: false, msix: true}
    resources:
      description: Its windows of memory and ports, first and last address as numbers.
      type: list
      elements: dict
      sample: [{kind: memory, first: 4271898624, last: 4272029695}]
    irq:
      description: Number of its interrupt line, 0 if it has none or uses MSI instead.
      type: int
      sample: 16
    interrupt_pin:
      description: Which of the four interrupt lines of its slot it uses, 0 for none.
      type: int
      sample: 1
    reset_methods:
      description:
        - Ways in which the kernel can reset the function.
        - A single V(reset) where the kernel does not distinguish them.
      type: list
      elements: str
      sample: [flr, bus]
    message_interrupts:
      description: Whether the function has MSI or MSI-X and can do without an interrupt line.
      type: bool
      sample: true
    hvm_needs:
      description: What it needs in an HVM guest beyond what all devices need, in sentences; empty for most devices.
      type: list
      elements: str
      sample: []
    pf_up:
      description: Of a virtual function whether an interface of its physical function is up, without which it has no
        link; V(null) of other functions, and if the physical one has no interface.
      type: bool
      sample: true
    vf_index:
      description: Number of a virtual function among those of its physical function.
      type: int
      sample: 0
    hanging_write:
      description: A write to its files that an earlier run has given up and that goes on in the kernel; empty if none
        does. Nothing can be done with the device then.
      type: str
      sample: ""
    answers:
      description:
        - Whether it answers at all. One that does not is given to no domain, and no pool chooses it.
      type: bool
      sample: true
    acs:
      description:
        - Whether access control services (ACS) of PCI Express keep it from reaching its neighbors past the IOMMU.
        - V(off) if it has them and not all that isolates is switched on; V(unknown) if its configuration space cannot
          be read that far. Xen switches on what is there.
      type: str
      choices: ["on", "off", absent, unknown]
      sample: "on"
    reserved_memory:
      description:
        - Memory that firmware keeps it at (RMRR in ACPI's table DMAR, which Intel's IOMMUs come with), first and last
          byte. What others share is among RV(devices[].refusals).
      type: list
      elements: str
      sample: ["0x7b800000-0x7bffffff"]
    reserved_memory_shared_with:
      description: The others that firmware keeps at the same memory, by their RV(devices[].path).
      type: list
      elements: str
      sample: []
    physfn:
      description: Physical function of a virtual function.
      type: str
      sample: "0000:04:00.0"
    virtfns:
      description: Virtual functions of a physical function.
      type: list
      elements: str
      sample: ["0000:04:00.1"]
    virtfns_probed:
      description: Of a physical function, whether the kernel offers its virtual functions to drivers.
      type: bool
      sample: true
    sriov_totalvfs:
      description: How many virtual functions the function can have.
      type: int
      sample: 0
    disks:
      description: Disks of the host on this function, and what uses them.
      type: list
      elements: dict
      sample: [{name: nvme0n1, used_by: [nvme0n1p1 is mounted on /data]}]
    interfaces:
      description: Network interfaces of the host on this function, and the interfaces above them.
      type: list
      elements: dict
      sample: [{name: eth1, mac: "52:54:00:00:01:01", up: true, promiscuous: false, upper: [xenbr0]}]
    interface_elsewhere:
      description:
        - Whether its driver makes a network interface that is not here, so that another network namespace or a program
          may use it.
      type: bool
      sample: false
    inputs:
      description: Keyboards and mice on it, whatever buses are between.
      type: list
      elements: str
      sample: [keyboard Logitech K120]
    peripherals:
      description:
        - Smart card readers, security keys and power supplies (UPS) on it, and devices that are connected to it over
          Thunderbolt.
      type: list
      elements: str
      sample: [smart card reader Gemalto USB Reader]
    data:
      description:
        - What its disks hold that nothing uses now, as udev has read it. Where udev has not, the disk is read, and said
          to be not empty or to be unreadable.
      type: list
      elements: str
      sample: ["sdb holds a part of a volume group, a pool or an array (LVM2_member)"]
    processes:
      description: Programs of the host that have its device nodes open.
      type: list
      elements: str
      sample: [/dev/dri/card0 in Xorg (812)]
    consoles:
      description: How the host's console depends on it; empty if it does not.
      type: list
      elements: str
      sample: [the firmware's display]
    assignable:
      description:
        - Whether pciback holds it, so that it can be given to a domain.
        - V(false) for what is never given away though pciback holds it, such as a bridge, see RV(devices[].refusals).
      type: bool
      sample: true
    free:
      description: Whether neither the host nor a domain uses it and no check refuses it.
      type: bool
      sample: true
    refusals:
      description:
        - What speaks against giving it away. Once pciback holds it, only what it is counts (V(bridge), V(segment),
          V(mainboard)), and it was probably hidden by mistake.
        - The check V(group) is made only when a device is given away, because it costs a call to Xen for each device.
      type: list
      elements: dict
      contains:
        check:
          description: Name under which a declaration can waive it.
          type: str
          sample: disk
        reason:
          description: Reason with its evidence.
          type: str
          sample: "0000:04:00.0 carries disk nvme0n1: nvme0n1p1 is mounted on /data."
        advice:
          description: What to do about it, empty if that depends on the case.
          type: str
          sample: stop that use first
        waivable:
          description: Whether it can be waived.
          type: bool
          sample: true
    permissive:
      description: Whether pciback lets its user write all of its configuration space, until it leaves pciback.
      type: bool
      sample: false
    lost_hold:
      description:
        - What pciback said when it kept the function for no domain after a change that it had refused; empty if it has
          not. Only a restart of dom0 ends that.
      type: str
      sample: ""
    pciback_slots:
      description: How often pciback's list names it; V(null) as for RV(devices[].in_slots).
      type: int
      sample: 1
    in_slots:
      description:
        - Whether pciback's list names it, which makes pciback seize it whenever it has no driver.
        - V(null) if that is not known, because the kernel shows no more than 315 entries of the list.
      type: bool
      sample: true
    quarantined:
      description: Whether it is known to go to Xen's quarantine when no domain has it. Xen itself does not say.
      type: bool
      sample: true
    held:
      description:
        - When pciback holds it, now by sysfs, after a reboot by the files that the next boot reads.
        - V(after_reboot) is one that is with the host now and will not be after a reboot.
        - V(unknown) says that it cannot be derived what pciback holds after a reboot, RV(devices[].held_unknown) why.
      type: str
      choices: [neither, now, after_reboot, both, unknown]
      sample: both
    held_unknown:
      description: Why it is not known whether pciback holds it after a reboot; empty if it is.
      type: str
      sample: ""
    recorded_driver:
      description: Driver that it had before pciback, as libxl and this collection record it.
      type: str
      sample: e1000e
    xen_owner:
      description: Who owns it according to Xen; V(unknown) unless pciback holds it.
      type: str
      choices: [host, guest, unknown]
      sample: host
    noted_name:
      description: Name under which it was last declared, as noted when pciback got it; empty if that is not known.
      type: str
      sample: web-nic
    noted_domain:
      description: Name of the last domain that this collection gave it to since pciback has it; empty for none.
      type: str
      sample: web01
    noted_domid:
      description: Number of the domain that this collection gave it to and has not taken it from; V(null) for none.
      type: int
      sample: 3
    noted_line:
      description: Interrupt line that went to that domain with it, V(0) for none.
      type: int
      sample: 16
    noted_waivers:
      description: Checks that were waived for it since pciback has it, and the reason for each.
      type: dict
      sample: {shared-interrupt: The other device is not used.}
    companions:
      description:
        - Other functions of the same graphics card, such as its audio and USB functions. Its driver may need them.
        - C(functions=all) in the catalog declares all functions of a card.
      type: list
      elements: str
      sample: ["0000:01:00.1"]
    libvirt:
      description:
        - Definitions of libvirt that name it. libvirt resets the device when it gives it to such a domain, or takes it,
          also while another domain uses it.
      type: list
      elements: str
      sample: [domain db01]
    domain:
      description: Name of the domain whose connection in xenstore lists it.
      type: str
      sample: web01
    marked_domid:
      description: Number of the domain that libxl's marker gives it to.
      type: int
      sample: 3
domains:
  description: All domains but dom0.
  returned: when O(gather) contains V(domains)
  type: list
  elements: dict
  contains:
    domid:
      description: Number.
      type: int
      sample: 3
    name:
      description: Name.
      type: str
      sample: web01
    uuid:
      description: UUID, empty if unknown.
      type: str
      sample: 7b6e1c52-58d8-4dd4-9e0c-0b7aa0a5c0cd
    manager:
      description: What decides which devices it has when it starts again; V(unknown) if neither libvirt nor libxl has
        stored anything of it.
      type: str
      choices: [xl, libvirt, qubes, xapi, unknown]
      sample: xl
    kind:
      description: How it is virtualized.
      type: str
      choices: [pv, hvm, pvh, unknown]
      sample: pv
    passthrough:
      description:
        - What it was created with in this regard, V(null) if not recorded.
        - V(default) leaves it to whether the domain has devices when it is built.
      type: str
      sample: enabled
    e820_host:
      description: Whether it was created with the memory map of the host, V(null) if not recorded.
      type: bool
      sample: true
    memory:
      description: Memory that it was created with, in MiB, V(null) if not recorded.
      type: int
      sample: 2048
    maximum_memory:
      description: Memory that it may have at most, in MiB, V(null) if not recorded.
      type: int
      sample: 2048
    uses_iommu:
      description: Whether it uses the IOMMU, as Xen says; V(null) where Xen cannot be asked.
      type: bool
      sample: true
    hotplug_ready:
      description:
        - Whether devices can be given to it while it runs. Most of that is decided when it is created.
        - V(unknown) if an attach may succeed; a guest shows only at its first device whether it has xen-pcifront.
      type: str
      choices: ["yes", "no", "unknown"]
      sample: "no"
    hotplug_reasons:
      description: What speaks against it; empty if nothing does.
      type: list
      elements: dict
      contains:
        reason:
          description: The reason, a sentence.
          type: str
          sample: web01 was created without IOMMU use, so Xen will give it no device.
        advice:
          description: What to do about it, empty if nothing can be done.
          type: str
          sample: set passthrough="enabled" in its configuration, then destroy and create it
        verdict:
          description: What it makes of RV(domains[].hotplug_ready); V(yes) if it matters only once the domain is built
            again.
          type: str
          choices: ["yes", "no", "unknown"]
          sample: "no"
        config:
          description: Lines that its configuration (C(xl.cfg)) needs before it is created again.
          type: list
          elements: str
          sample: ['passthrough="enabled"']
    stored_name:
      description: Name that it was created with, V(null) where libxl stores nothing of it.
      type: str
      sample: web01
    configured:
      description: Devices that a reboot of the guest would give it, V(null) where libxl stores nothing of it.
      type: list
      elements: str
      sample: ["0000:03:00.0"]
    config_problem:
      description: Why what libxl has stored of it cannot be read, empty if it can be, or if libxl stores nothing of it.
      type: str
      sample: ""
    configured_options:
      description:
        - With which options a reboot would give it each of these devices, by address. The options are C(permissive),
          C(rdm_policy), C(msitranslate), C(power_mgmt) and C(vslot), V(null) if not known or not set.
      type: dict
      sample:
        "0000:03:00.0": {permissive: false, rdm_policy: strict, msitranslate: false, power_mgmt: false, vslot: null}
    device_model:
      description:
        - What the device model (QEMU) of an HVM guest says of the guest's PCI bus, V(null) for other guests.
      type: dict
      sample:
        answers: true
        problem: ""
        free_slots: 27
        devices: [{name: pci-pt-03_00.0, guest_address: "0000:00:04.00", enabled: true}]
    stub_domid:
      description: Number of the domain that its device model runs in, V(null) if that is dom0.
      type: int
      sample: null
    serves:
      description: Number of the guest whose device model it runs, V(null) if it is not such a domain.
      type: int
      sample: null
    frontend_alone:
      description: Whether the guest's end of a PCI connection is there, and dom0's is not.
      type: bool
      sample: false
    to_come_back:
      description: Devices of a connection that M(xen.pci.repair) has removed and is to make again.
      type: list
      elements: str
      sample: []
    backend_state:
      description: State of dom0's end of the PCI connection, V(null) if there is none.
      type: str
      sample: 4 (Connected)
    frontend_state:
      description: State of the guest's end, V(null) if there is no connection.
      type: str
      sample: 4 (Connected)
    online:
      description: Whether the connection is to stay, V(false) once its end was asked for, V(null) if there is none.
      type: bool
      sample: true
    connection_problems:
      description: What is wrong with the nodes of the connection, so that no change may begin.
      type: list
      elements: str
      sample: []
    error:
      description: Last error of dom0's kernel with this connection, empty if there is none.
      type: str
      sample: ""
    aer_state:
      description:
        - What pciback says of a PCI error (AER) that the guest could not handle, V(aerfail), empty if there was none.
        - One of its devices is dead then. The log of dom0's kernel says which one.
      type: str
      sample: ""
    devices:
      description: The devices of the connection.
      type: list
      elements: dict
      contains:
        address:
          description: Address on the host, V(null) if unreadable.
          type: str
          sample: "0000:03:00.0"
        guest_address:
          description: Address in the guest, V(null) as long as pciback has not published it.
          type: str
          sample: "0000:00:00.00"
        state:
          description: State of this device in the connection, V(null) if it is none of the three.
          type: str
          choices: [to_add, exported, to_remove]
          sample: exported
        options:
          description:
            - Options with which the domain has it, as libxl lists them. V(null) for what is not known or not set. What
              pciback lets be written is RV(devices[].permissive).
          type: dict
          sample: {permissive: false, rdm_policy: strict, msitranslate: false, power_mgmt: false, vslot: "4"}
snapshot:
  description:
    - All that was observed of the host, as a document. A plan that is made from it elsewhere, such as on the
      controller, is the plan that would be made on the host.
    - C(schema) is the version of its form, C(host) the data. Only the same version of this collection is sure to
      understand it.
    - It has the names of guests and interfaces, addresses, serial numbers and the texts of O(config_files).
  returned: when O(gather) contains V(snapshot)
  type: dict
  sample: {schema: 1, host: {}}
host:
  description: What is known of the host beyond single devices and domains.
  returned: success
  type: dict
  contains:
    kernel:
      description: Version of dom0's kernel.
      type: str
      sample: "6.12"
    xen:
      description: What Xen says of itself and of dom0, V(null) where it does not say.
      type: dict
      contains:
        iommu:
          description: Whether Xen uses an IOMMU (directio in C(virt_caps) of C(xl info)). Without it, no device can be
            assigned.
          type: bool
          sample: true
        dom0_is_pvh:
          description: Whether dom0 is a PVH domain, which cannot give devices to PV guests.
          type: bool
          sample: false
        interrupt_remapping:
          description:
            - Whether Xen lets each device raise only the interrupts that are its own. Without it, any device is refused
              to guests (V(interrupt-remapping)).
            - It is read from Xen's log. If the log has lost the boot, it is derived from Xen's command line and the
              firmware's table.
          type: bool
          sample: true
        dom0_iommu:
          description: What the IOMMU lets dom0's own devices reach, all memory (V(passthrough)), all but Xen's own
            (V(relaxed)) or only dom0's (V(strict)); empty if that is not known.
          type: str
          sample: relaxed
    drivers:
      description: PCI drivers that dom0's kernel has now.
      type: list
      elements: str
      sample: [e1000e, nvme, pciback]
    permissive_for_all:
      description: Whether pciback was loaded so that it lets all guests write all of configuration space.
      type: bool
      sample: false
    network:
      description:
        - Interfaces that carry the default route, those that carry the connection that Ansible uses, and the networks
          that each interface has an address in.
        - V(connection_ends) says where the way of that connection ends without a card, so that each card that is up and
          in use may carry it, and V(connection_guests) which guests are there, by domid. V(routed) are the interfaces
          with any route.
      type: dict
      sample:
        default_route: [xenbr0]
        connection: [eth0, xenbr0]
        networks: {xenbr0: [192.0.2.0/24]}
        routed: [xenbr0]
        connection_ends: []
        connection_guests: []
    markers:
      description: Number of the domain that libxl's marker gives each device to, also of devices that are gone.
      type: dict
      sample: {"0000:03:00.0": 3}
    unreadable_markers:
      description: Texts of markers that name no domain.
      type: dict
      sample: {}
    manager:
      description:
        - What manages the host, by its files. With V(libvirt), there are definitions of libvirt, or libvirt has run
          since the host booted; domains of C(xl) may run beside those of libvirt, see RV(domains[].manager).
        - V(unknown) where there are no files of libxl either.
      type: str
      choices: [xl, libvirt, qubes, xapi, unknown]
      sample: xl
    manager_evidence:
      description: File or directory that shows it, empty if none does.
      type: str
      sample: /var/lib/xen
    libvirt:
      description:
        - What libvirt has, by its files. Each of C(claims) is a device that a definition of libvirt names (C(device)),
          or an interface any of whose virtual functions it may take (C(interface)), with that definition (C(owner),
          C(uuid)). libvirt resets such a device when it gives it to a domain, also while another domain uses it, and
          takes it from its driver if it is C(managed).
        - C(defined) and C(running) are UUIDs of domains, C(unreadable) are definitions that cannot be read.
      type: dict
      sample:
        claims: [{owner: domain db01, uuid: 5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11, device: "0000:03:00.0",
          interface: null, managed: true, persistent: true}]
        defined: [5f1c3a52-8d0e-4c1b-9a57-0d6f3b2e7c11]
        running: []
        unreadable: []
    dying:
      description: Numbers of domains that are dead, and that Xen keeps as long as others use memory of them.
      type: list
      elements: int
      sample: []
    stale_names:
      description: Names that xenstore has for domains that Xen does not have, with the number of each (C(domid)).
      type: list
      elements: dict
      sample: []
    kept_holds:
      description: Devices that pciback keeps for an HVM guest that does not have them any more, with the number of that
        domain. No PV guest can get them until the HVM guest has no device.
      type: dict
      sample: {"0000:03:00.0": 5}
    orphaned_connections:
      description:
        - PCI connections that xenstore keeps of domains that do not live. Beside the number of the domain (C(domid)),
          they have the keys of a domain's connection, such as RV(domains[].backend_state) and RV(domains[].devices).
      type: list
      elements: dict
      sample: []
    gone_devices:
      description:
        - Devices that the host does not have, and of which something is left. C(pciback_slots) is how often pciback's
          list names the address. The others are what was noted of the device while the host had it.
        - M(xen.pci.assignable_devices) with V(state=absent) removes what is left.
      type: list
      elements: dict
      sample:
        - address: "0000:05:00.0"
          pciback_slots: 1
          noted_name: disk
          noted_domain: web01
          noted_nvme_serial: S4EV0A1
          noted_macs: []
    kernel_connections:
      description: Numbers of the domains with which dom0's kernel has a PCI connection.
      type: list
      elements: int
      sample: [3]
    kernel_errors:
      description: What dom0's kernel last reported of a PCI connection, by the number of its domain.
      type: list
      elements: dict
      sample: [{domid: 3, error: "22 Error reading number of devices"}]
    boot:
      description:
        - What the next boot will do with devices, as far as files and tools say it. C(pciback) is V(built in),
          V(module) or V(absent); C(hide) are all settings of pciback's parameter of that name, of which the last one
          counts, and with C(adds) other ways to hide devices, such as Qubes'; C(unit_devices) are devices that this
          collection's systemd unit gives to pciback.
        - C(loaders) are the boot loaders by which the host boots, as this boot and their files show it; empty if they
          do not. C(alternatives) are what pciback may read instead of C(hide), C(doubts) why it may read more than is
          known, C(rebuilt) what it reads once GRUB's configuration is made from its defaults again, C(remarks) what is
          wrong with these files.
        - C(others) are devices that a unit, a rule of udev or a start script of others may give to pciback, with the
          file. C(lost) are devices that are on pciback's list though a driver of the host has them.
        - C(modules_known) says whether the kernel's modules say which devices they are for.
        - C(files) are the texts of this collection's files by their path from the root, V(null) where there is none;
          C(taken) those of the paths at which another file is; C(stale) what is older than the files it is made from.
      type: dict
      sample:
        pciback: module
        hide:
          - source: /etc/modprobe.d/xen-pci.conf
            text: (0000:03:00.0)
            ours: true
            adds: false
            classes: []
        alternatives: []
        doubts: []
        rebuilt: null
        remarks: []
        lost: {}
        others: {}
        unit_devices: []
        files: {etc/modules-load.d/xen-pci.conf: null}
        taken: []
        stale: []
        has_initramfs: true
        initramfs_tool: update-initramfs
        modules_known: true
        loaders: [GRUB]
        has_grub: true
        has_systemd: true
findings:
  description: The known faults of the host, as M(xen.pci.repair) returns them; empty on a host in order.
  returned: success
  type: list
  elements: dict
  contains:
    fault:
      description: Its name, see O(xen.pci.repair#module:faults).
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
boot_problems:
  description:
    - What is wrong with the settings of pciback that the next boot reads, a sentence each; empty on a host in order.
      Also what C(hide=) names, or pciback holds, though it is never given away, and what cannot be derived.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.observe import (
    observe,
    observe_everything,
    with_boot,
    with_uses,
)
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_connection import PYXS_IMPORT_ERROR
from ansible_collections.xen.pci.plugins.module_utils.model.boot_facts import Kept
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_plan import Holding
from ansible_collections.xen.pci.plugins.module_utils.plan.boot_problems import boot_problems
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.host_facts import domain_facts, host_facts
from ansible_collections.xen.pci.plugins.module_utils.results.common import failure
from ansible_collections.xen.pci.plugins.module_utils.results.finding_results import finding_result
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.errors import HostError


def main() -> None:
    """Run as an Ansible module."""
    usual = ["devices", "domains"]
    module = AnsibleModule(
        argument_spec={
            "gather": {"type": "list", "elements": "str", "choices": [*usual, "snapshot"], "default": usual},
            "config_files": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    if PYXS_IMPORT_ERROR is not None:
        module.fail_json(msg=missing_required_lib("pyxs"), exception=PYXS_IMPORT_ERROR)
    try:
        with open_host() as access:
            if "snapshot" in module.params["gather"]:
                host = observe_everything(access, module.params["config_files"])
            else:
                host = with_uses(access, with_boot(access, observe(access)))
    except HostError as error:
        module.fail_json(**failure(error))
    result: dict[str, Any] = {
        "changed": False,
        "host": host_facts(host),
        "findings": [finding_result(finding) for finding in diagnose(host)],
        "boot_problems": boot_problems(host),
    }
    if "devices" in module.params["gather"]:
        result["devices"] = [{**facts, **_holding(host, sbdf)} for sbdf, facts in zip(host.devices, all_facts(host))]
    if "domains" in module.params["gather"]:
        result["domains"] = [domain_facts(domain, host.xen) for domain in host.domains.values()]
    if "snapshot" in module.params["gather"]:
        result["snapshot"] = snapshot(host)
    module.exit_json(**result)


def _holding(host: Host, sbdf: Sbdf) -> dict[str, str]:
    """Say when pciback holds a device, and why that is not known."""
    kept, unknown = host.boot_facts.kept(sbdf), host.boot_facts.why_unknown(sbdf)
    held = Holding.of(sbdf in host.in_pciback, kept is Kept.YES, kept is Kept.UNKNOWN)
    return {"held": held.value, "held_unknown": unknown if kept is Kept.UNKNOWN else ""}


def snapshot(host: Host) -> dict[str, Any]:
    """Write the host as a document; the code for it is loaded only if a snapshot is wanted."""
    from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import to_json  # noqa: PLC0415 - see above

    return to_json(host)


if __name__ == "__main__":
    main()
