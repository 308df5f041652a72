# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options with which a guest has a device, in the forms in which Xen's tools write them.

Sources: xl-pci-configuration(5), Xen's tools/libs/util/libxlu_pci.c (xl), tools/libs/light/libxl_pci.c (xenstore) and
libxl_types.idl (stored configuration).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .address import Sbdf

_LAST_SLOT = 0x1F


@dataclass(frozen=True)
class DeviceOptions:
    """The options of one device; None where nothing is declared, or nothing is known."""

    #: The guest may write all of the device's configuration space.
    permissive: bool | None = None
    #: Whether reserved memory that devices share is tolerated: relaxed, else strict.
    rdm_policy: str | None = None
    #: The device uses MSI even if the guest uses the interrupt line.
    msitranslate: bool | None = None
    #: The guest may change the device's power state.
    power_mgmt: bool | None = None
    #: The slot of the guest's bus.
    vslot: int | None = None

    @classmethod
    def from_words(cls, words: Mapping[str, str]) -> DeviceOptions:
        """Read options in the form `key=value`, as libxl does: what it does not know is left out."""
        policy, slot = words.get("rdm_policy"), _number(words.get("vslot", ""), 16)
        return cls(
            permissive=_flag(words.get("permissive")),
            rdm_policy=policy if policy in ("strict", "relaxed") else None,
            msitranslate=_flag(words.get("msitranslate")),
            power_mgmt=_flag(words.get("power_mgmt")),
            vslot=slot if slot is not None and 0 < slot <= _LAST_SLOT else None,
        )

    @classmethod
    def from_nodes(cls, options: str, vdevfn: str = "") -> DeviceOptions:
        """Read the nodes `opts-N` and `vdevfn-N` of a connection."""
        words = dict(word.strip().partition("=")[::2] for word in options.split(","))
        place = _number(vdevfn, 16)
        return cls.from_words({**words, "vslot": f"{place >> 3:x}" if place else ""})

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> DeviceOptions:
        """Read an entry of libxl's stored configuration, which leaves out what has its default value."""
        place, policy = entry.get("vdevfn"), entry.get("rdm_policy")
        return cls(
            permissive=entry.get("permissive") is True,
            rdm_policy=policy if policy in ("strict", "relaxed") else None,
            msitranslate=entry.get("msitranslate") is True,
            power_mgmt=entry.get("power_mgmt") is True,
            vslot=place >> 3 & _LAST_SLOT or None if isinstance(place, int) else None,
        )

    def __bool__(self) -> bool:
        return self != DeviceOptions()

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.words())

    @property
    def relaxed(self) -> bool:
        """Whether Xen is to tolerate reserved memory that devices share."""
        return self.rdm_policy == "relaxed"

    def words(self) -> Iterator[tuple[str, str]]:
        """Yield each option that is not None, with its value as xl reads it."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                text = f"{value:x}" if field.name == "vslot" else str(int(value)) if isinstance(value, bool) else value
                yield field.name, text

    def differences(self, others: DeviceOptions) -> list[str]:
        """List which options are declared here and have another value there, or a default one, in words."""
        now = dict(others.over(DEFAULTS).words())
        return [f"{name}={now.get(name, 'any')}, not {value}" for name, value in self.words() if now.get(name) != value]

    def over(self, others: DeviceOptions) -> DeviceOptions:
        """Return these options, and those of `others` where there is none here."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return DeviceOptions(**{name: getattr(others, name) if value is None else value for name, value in own.items()})

    def as_node(self) -> str:
        """Write the node `opts-N`; pciback ignores it, and libxl reads it when it lists devices."""
        full = self.over(DEFAULTS)
        flags = f"msitranslate={full.msitranslate:d},power_mgmt={full.power_mgmt:d},permissive={full.permissive:d}"
        return f"{flags},rdm_policy={full.rdm_policy}"

    def as_spec(self, device: Sbdf) -> str:
        """Write what `xl pci-attach` takes for a device with these options, without those that have a default value."""
        slot = f"@{self.vslot:x}" if self.vslot is not None else ""
        default = dict(DEFAULTS.words())
        words = [f"{name}={value}" for name, value in self.words() if name != "vslot" and default[name] != value]
        return ",".join([f"{device}{slot}", *words])

    def as_entry(self) -> dict[str, Any]:
        """Write the fields of an entry of libxl's stored configuration, in libxl's order."""
        flags = ("msitranslate", "power_mgmt", "permissive")
        return {
            **({"vdevfn": self.vslot << 3} if self.vslot is not None else {}),
            "vfunc_mask": 1,  # for any function
            **{name: True for name in flags if getattr(self, name)},
            "rdm_policy": self.rdm_policy or "strict",
        }


#: What counts if nothing is said.
DEFAULTS = DeviceOptions(permissive=False, rdm_policy="strict", msitranslate=False, power_mgmt=False)
#: No device has an option.
NO_OPTIONS: Mapping[Sbdf, DeviceOptions] = {}


def _number(text: str, base: int) -> int | None:
    try:
        return int(text, base)
    except ValueError:
        return None


def _flag(text: str | None) -> bool | None:
    """Read a truth value as xl does, which takes any number but 0 for true (atoi)."""
    return None if text is None else bool(_number(text.strip(), 10))
