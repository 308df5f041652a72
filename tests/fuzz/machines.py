# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that episodes play on: what is in them, by short names, and what their domains are.

A to D are network cards that pciback has from boot, E and F are network cards of the host, V0 to V2 virtual functions
of the card P. The names of PV guests begin with g, those of HVM guests with h.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CARDS = {name: f"0000:{bus:02x}:00.0" for bus, name in enumerate("ABCD", 1)}
HOST_CARDS = {"E": "0000:06:00.0", "F": "0000:07:00.0"}
PHYSICAL = "0000:05:00.0"
FUNCTIONS = {f"V{number}": f"0000:05:00.{number + 1}" for number in range(3)}


@dataclass(frozen=True)
class Machine:
    """One machine. `functions`: how many virtual functions P has from boot; `settings`: of the whole machine.

    `quarantined`: a run has quarantined what pciback has from boot.
    """

    name: str
    domains: tuple[dict[str, Any], ...]
    functions: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    quarantined: bool = True

    @property
    def devices(self) -> dict[str, str]:
        """Addresses by short name."""
        card = {"P": PHYSICAL, **FUNCTIONS} if self.functions else {}
        return {**CARDS, **HOST_CARDS, **card}

    @property
    def guests(self) -> list[str]:
        """Names of the domains."""
        return [domain["name"] for domain in self.domains]

    def config(self, name: str) -> dict[str, Any]:
        """What a domain is created from."""
        return next(domain for domain in self.domains if domain["name"] == name)

    def description(self) -> dict[str, Any]:
        """The machine as the simulator reads it."""
        devices: list[dict[str, Any]] = [{"at": "00:00.0", "model": "host-bridge"}, UPLINK]
        for number, address in enumerate([*CARDS.values(), PHYSICAL, *HOST_CARDS.values()]):
            bus = address[5:7]
            devices.append({"at": f"00:1c.{number}", "model": "root-port", "bus": bus})
            if address != PHYSICAL:
                devices.append({"at": address[5:], "model": "e1000e", "mac": f"52:54:00:00:{bus}:01"})
        if self.functions:
            devices.append({"at": PHYSICAL[5:], "model": "igb", "mac": "52:54:00:00:05:01", "numvfs": self.functions})
        domains = list(self.domains)
        hidden = list(CARDS.values())
        return {
            "linux": "6.1",
            "xen": "4.17",
            "hidden": hidden,
            "domains": domains,
            "devices": devices,
            **self.settings,
        }


#: Ansible's connection and the host's only way out.
UPLINK = {"at": "00:03.0", "model": "e1000e", "mac": "52:54:00:00:00:01", "name": "mgmt0", "up": True}
_G1, _G2, _G3 = {"name": "g1"}, {"name": "g2"}, {"name": "g3", "linux": "5.10"}
_H1 = {"name": "h1", "type": "hvm"}
_S1 = {"name": "h2", "type": "hvm", "stubdomain": True}

MACHINES = {
    machine.name: machine
    for machine in (
        Machine("pv", (_G1, _G2, _G3), quarantined=False),
        Machine("vf", (_G1, _G2), functions=3),
        Machine("hvm", (_H1, _G1, _G2)),
        Machine("stub", (_S1, _H1, _G1)),
        Machine("new", (_G1, _G2, _H1), functions=3, settings={"linux": "6.12", "xen": "4.20"}),
        Machine("old", (_G1, _G2), functions=3, settings={"linux": "5.10"}),
    )
}
