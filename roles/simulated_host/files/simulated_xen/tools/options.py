# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a device in a PCI_SPEC_STRING, and what libxl makes of them in xenstore and in its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """What a domain is to have a device with; `slot` 0: any."""

    permissive: bool = False
    msitranslate: bool = False
    power_mgmt: bool = False
    relaxed: bool = False
    slot: int = 0

    @classmethod
    def read(cls, settings: Mapping[str, str], slot: str = "") -> Options:
        """From `key=value` words, and a slot behind an @; ValueError for what xl refuses."""
        policy = settings.get("rdm_policy", "strict")
        if policy not in ("strict", "relaxed"):
            raise ValueError(f"Unknown RDM policy: {policy}")
        place = int(settings.get("vslot", slot) or "0", 16)
        if place > 0x1F:
            raise ValueError(f"no such slot: {place:x}")
        flags = {
            name: settings.get(name, "0") not in ("0", "") for name in ("permissive", "msitranslate", "power_mgmt")
        }
        return cls(**flags, relaxed=policy == "relaxed", slot=place)

    @classmethod
    def stored(cls, entry: Mapping[str, Any]) -> Options:
        """From an entry of the stored configuration."""
        flags = {name: bool(entry.get(name)) for name in ("permissive", "msitranslate", "power_mgmt")}
        return cls(**flags, relaxed=entry.get("rdm_policy") == "relaxed", slot=int(entry.get("vdevfn", 0)) >> 3)

    @property
    def policy(self) -> str:
        """The word for what Xen is to do about reserved memory that devices share."""
        return "relaxed" if self.relaxed else "strict"

    @property
    def node(self) -> str:
        """The value of `opts-N`."""
        flags = f"msitranslate={self.msitranslate:d},power_mgmt={self.power_mgmt:d},permissive={self.permissive:d}"
        return f"{flags},rdm_policy={self.policy}"

    def entry(self, devfn: int) -> dict[str, Any]:
        """Fields of the stored configuration, those with their default value left out."""
        flags = {name: True for name in ("msitranslate", "power_mgmt", "permissive") if getattr(self, name)}
        return {**({"vdevfn": devfn} if devfn else {}), "vfunc_mask": 1, **flags, "rdm_policy": self.policy}


#: A device without options.
NONE = Options()
