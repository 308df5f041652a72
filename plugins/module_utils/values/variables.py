# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of the variables that an inventory may set, and the refusal of others that have their prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .keys import Key
from .refusal import Refusal
from .words import did_you_mean, listed

PREFIX = "xen_pci_"
_TABLE = (
    Key(
        "xen_pci_devices",
        "dict",
        "a dict of names to devices",
        "The catalog: what each name means. The playbook has pciback hold all devices of it, except physical functions"
        " that others name as their V(pf).",
        '{uplink: "0000:03:00.0"}',
        "{}",
    ),
    Key(
        "xen_pci_domains",
        "dict",
        "a dict of domains to their devices",
        "What each domain is to have, by the name of the domain. Domains that are not named keep what they have.",
        "{web01: {devices: [uplink]}}",
        "{}",
    ),
    Key(
        "xen_pci_virtual_functions",
        "list",
        "a list of physical functions and what they are to have",
        "Virtual functions that physical functions are to have, as the option C(physical_functions) of"
        " M(xen.pci.virtual_functions).",
        "[{pf: uplink, count: 4, drivers_autoprobe: false}]",
        "[]",
    ),
    Key(
        "xen_pci_exclusive",
        "bool",
        "true or false",
        "Whether the domains that are named have no other devices than those listed.",
        "false",
        "true",
    ),
    Key(
        "xen_pci_release_undeclared",
        "bool",
        "true or false",
        "Whether devices that pciback holds and nothing declares go back to the host.",
        "true",
        "false",
    ),
    Key(
        "xen_pci_undeclared_domains",
        "str",
        "keep or release",
        "What becomes of the devices of domains that are not named, if C(xen_pci_release_undeclared) is true: with"
        " V(keep) they stay, and a warning names them.",
        "release",
        "keep",
        choices=("keep", "release"),
    ),
    Key(
        "xen_pci_persistent",
        "bool",
        "true or false",
        "Whether pciback holds the declared devices after a reboot as well. If not given, that stays as it is; the role"
        " C(xen.pci.host) takes V(true) then.",
        "true",
    ),
    Key(
        "xen_pci_only",
        "list",
        "a list of domains",
        "The only domains to change, with the devices that they are to have. Nothing is released then.",
        "[web01]",
    ),
    Key(
        "xen_pci_converge",
        "str",
        "connected or active",
        "When a device counts as attached. With V(active), a driver in the guest must use it.",
        "active",
        "connected",
        choices=("connected", "active"),
    ),
    Key(
        "xen_pci_timeout",
        "int",
        "a whole number from 1 to 65536",
        "Seconds that each domain has.",
        "30",
        "60",
        least=1,
        most=65536,
    ),
    Key(
        "xen_pci_repair",
        "str",
        "never or first",
        "With V(first), faults of the domains and devices are repaired before anything else is done.",
        "first",
        "never",
        choices=("never", "first"),
    ),
    Key(
        "xen_pci_backup",
        "bool",
        "true or false",
        "Whether to keep a copy of each C(config) file that is changed.",
        "true",
        "false",
    ),
    Key(
        "xen_pci_pre_tasks",
        "str",
        "a file of tasks",
        "Tasks that run on each host before anything is done.",
        "drain.yml",
    ),
    Key(
        "xen_pci_post_tasks",
        "str",
        "a file of tasks",
        "Tasks that run on each host afterwards; C(apply_result) is what was done.",
        "announce.yml",
    ),
    Key(
        "xen_pci_serial",
        "str",
        "a number or a share of hosts",
        "How many hosts the playbook works on at a time. Only with C(-e) on the command line, as the play begins with"
        " it.",
        "25%",
        "100%",
    ),
    Key(
        "xen_pci_hosts",
        "str",
        "a pattern of hosts",
        "Hosts that the playbook works on. Only with C(-e) on the command line, as the play begins with it.",
        "xen",
        "all",
    ),
)
VARIABLES: Mapping[str, Key] = {key.name: key for key in _TABLE}


def unknown_variables(names: Iterable[str]) -> list[Refusal]:
    """Refuse each name that begins like the variables of this collection and is not one of them."""
    return [
        Refusal(
            "unknown-variable",
            name,
            f"{name} is not a variable of xen.pci",
            did_you_mean(
                name, VARIABLES, f"the variables are {listed(VARIABLES)}; give variables of your own another prefix"
            ),
        )
        for name in names
        if name.startswith(PREFIX.rstrip("_")) and name not in VARIABLES
    ]
