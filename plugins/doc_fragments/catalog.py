# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option C(catalog), which several modules have.

The list of keys is written by tools/reference.py from the table in plugins/module_utils/values/keys.py.
"""

from __future__ import annotations


class ModuleDocFragment:
    """The fragment; ansible-doc finds it by the name of the class attribute."""

    DOCUMENTATION = r"""
options:
  catalog:
    description:
      - Names of devices, each with what the device is. The value of a name is an address, or a dictionary with some of
        the keys below. All keys that are given must fit.
      - A name means one device, and exactly one device of the host must fit. With any of the keys V(select), V(count),
        V(numa_node) and V(free) it means a pool, which is all devices that fit, or V(count) of them.
      - A device that has a name of its own is in no pool. What was chosen for a pool before stays in it.
      - M(xen.pci.host_info) returns the values of a host's devices.
      # begin: keys of a device
      - >-
        V(address) (str, a PCI address such as 0000:03:00.0). Where the device is. Beside a key that only this device
        has (V(serial), V(nvme_serial), V(mac), V(slot), V(path), V(label), V(vf)), it is the last known place, and the
        device is found elsewhere if it has moved. Otherwise it must be there. Example: C(address: "0000:03:00.0").
      - >-
        V(vendor) (str, 4 hexadecimal digits in quotes). Vendor, as C(lspci -nn) shows it. Example: C(vendor: "8086").
      - >-
        V(device) (str, 4 hexadecimal digits in quotes). Device of this vendor, as C(lspci -nn) shows it. Example:
        C(device: "10d3").
      - >-
        V(subsystem_vendor) (str, 4 hexadecimal digits in quotes). Vendor of the card. Example: C(subsystem_vendor:
        "8086").
      - >-
        V(subsystem_device) (str, 4 hexadecimal digits in quotes). Card of this vendor. Example: C(subsystem_device:
        "a01f").
      - >-
        V(subsystem) (str, vendor and device such as 8086:a01f). V(subsystem_vendor) and V(subsystem_device) in one.
        Example: C(subsystem: "8086:a01f").
      - >-
        V(class) (str, 2, 4 or 6 hexadecimal digits in quotes). Class, with or without subclass and programming
        interface. V(02) are network cards, V(0108) is NVMe. Example: C(class: "0108").
      - >-
        V(serial) (str, eight bytes such as 52-54-00-ff-ff-00-01-01). PCI Express device serial number, as C(lspci -v)
        shows it. Example: C(serial: "52-54-00-ff-ff-00-01-01").
      - >-
        V(nvme_serial) (str, text in quotes). Serial number of an NVMe controller. Only its driver can read it. While
        pciback holds the device, what was read before counts. Example: C(nvme_serial: "S4EV0A1").
      - >-
        V(mac) (str, six bytes such as 52:54:00:00:01:01 in quotes). MAC address of a network card. Only its driver can
        read it, as with V(nvme_serial). Example: C(mac: "52:54:00:00:01:01").
      - >-
        V(slot) (str, text in quotes). The firmware's name of the slot, a directory in C(/sys/bus/pci/slots). Example:
        C(slot: "3").
      - >-
        V(function) (int from 0 to 7). Number of the function, for cards that have several. Example: C(function: 0).
      - >-
        V(path) (str, segment, root bus and the way from there such as 0000:00/1c.2/00.0). The way to the device, by
        slot and function of each bridge and of the device. It stays the same when buses get other numbers. Example:
        C(path: "0000:00/1c.2/00.0").
      - >-
        V(label) (str, text in quotes). The firmware's name of an on-board device. Example: C(label: "Onboard LAN 1").
      - >-
        V(pf) (str, a name of the catalog or an address). Physical function of the virtual function V(vf), or of all
        virtual functions that a pool is chosen from. Example: C(pf: uplink).
      - >-
        V(vf) (int from 0 to 65535). Number of the virtual function among those of V(pf). Example: C(vf: 1).
      - >-
        V(select) (str, a JMESPath expression). Expression over the V(devices) that M(xen.pci.host_info) returns. It
        yields devices or their addresses, and their order counts. Example: C(select: "[?numa_node==`0`]").
      - >-
        V(count) (int from 1 to 65536). How many devices the pool has. Without it, all that fit. Example: C(count: 4).
      - >-
        V(numa_node) (int from -1 to 65536). NUMA node of the devices, V(-1) if the host does not say. Example:
        C(numa_node: 0).
      - >-
        V(free) (bool, default V(true)). Whether to leave out devices that the host needs. What pciback holds counts as
        free. Example: C(free: false).
      - >-
        V(required) (bool, default V(true)). Whether a device that is absent, or a pool with too few devices, is an
        error. Example: C(required: false).
      - >-
        V(functions) (str, all). With V(all), the name means all functions of the card that the other keys find,
        whichever of them they fit: those in its slot, and those below a bridge of the card. Not for pools, and not with
        V(function) or V(vf). Example: C(functions: all).
      - >-
        V(waive) (dict of checks to the reasons for overruling them, default V({})). Checks that are overruled for this
        device, each with the reason as text. Example: C(waive: {shared-interrupt: the other device is not in use}).
      - >-
        V(permissive) (str, a text that gives the reason). Why the guest may write all of the device's configuration
        space. Without it the guest may not. Example: C(permissive: its driver writes vendor-specific registers).
      - >-
        V(rdm_policy) (str, strict or relaxed). Whether Xen gives the device to a guest although firmware keeps it at
        the same memory as other devices (V(relaxed)). It also needs a waiver of V(reserved-memory). If not given,
        V(strict); what a guest has already stays as it is, as with the keys below. Example: C(rdm_policy: relaxed).
      - >-
        V(msitranslate) (bool). Whether the device uses MSI although the guest uses its interrupt line. HVM guests only.
        QEMU ignores it since Xen no longer has qemu-traditional. Example: C(msitranslate: true).
      - >-
        V(power_mgmt) (bool). Whether the guest may change the device's power state. HVM guests only, as
        V(msitranslate). Example: C(power_mgmt: true).
      - >-
        V(vslot) (str, a hexadecimal number from 1 to 1f in quotes). Slot of the guest's bus. HVM guests only: for a PV
        guest, pciback chooses it. Not for pools and whole cards. Example: C(vslot: "8").
      # end
    type: dict
    default: {}
"""
