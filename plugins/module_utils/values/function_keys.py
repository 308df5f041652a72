# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The keys of a declaration of virtual functions, as values/keys.py has those of devices and domains."""

from __future__ import annotations

from collections.abc import Mapping

from .keys import Key

_FUNCTION = (
    Key(
        "pf",
        "str",
        "a name of the catalog or an address",
        "Physical function. The name of a pool cannot be used.",
        "uplink",
        required=True,
    ),
    Key(
        "count",
        "int",
        "a whole number from 0 to 65535",
        "Number of virtual functions.",
        "8",
        required=True,
        most=65535,
    ),
    Key(
        "drivers_autoprobe",
        "bool",
        "true or false",
        "Whether drivers of the host may take virtual functions that are created from now on. Set V(false) if they are"
        " for domains only. If not given, this stays as it is. With V(false), Linux binds them only to the driver that"
        " C(driver_override) names. For pciback too, M(xen.pci.assignable_devices) sets it."
        " C(xl pci-assignable-add) does not, and fails.",
        "false",
    ),
    Key(
        "vfs",
        "list",
        "a list of settings of single virtual functions",
        "Settings of single virtual functions. They need a physical function with a network interface.",
        "[{index: 0, vlan: 20}]",
        "[]",
    ),
)
_SETTING = (
    Key(
        "index",
        "int",
        "a whole number from 0 to 65534",
        "Number of the virtual function, from 0.",
        "0",
        required=True,
        most=65534,
    ),
    Key(
        "mac",
        "str",
        "six bytes such as 02:00:5e:00:00:01 in quotes, the first one even",
        "MAC address.",
        '"02:00:5e:00:00:01"',
        # An odd first byte is that of a multicast address, which drivers refuse.
        pattern="[0-9a-fA-F][02468aceACE]([-:][0-9a-fA-F]{2}){5}",
    ),
    # 802.1Q has twelve bits; 4095 is reserved.
    Key("vlan", "int", "a whole number from 0 to 4094", "VLAN of its frames, V(0) for none.", "20", most=4094),
    Key(
        "spoof_check",
        "bool",
        "true or false",
        "Whether frames with another source address are dropped.",
        "true",
    ),
)
#: Keys of a physical function, an element of `xen_pci_virtual_functions`.
FUNCTION_KEYS: Mapping[str, Key] = {key.name: key for key in _FUNCTION}
#: Keys of the settings of one virtual function, an element of `vfs`.
SETTING_KEYS: Mapping[str, Key] = {key.name: key for key in _SETTING}
