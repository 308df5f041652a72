# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host says of its PCI functions beyond their own files: consoles, slots, memory that firmware reserves."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..model.device import BlockUse, NetInterface
from ..values.address import Sbdf
from ..values.reserved_memory import ReservedMemory, parse_dmar
from .acpi_tables import dmar_table
from .kernel_files import list_names, pci_function_of, read_text

_SLOT_ADDRESS = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})", re.ASCII)


@dataclass(frozen=True)
class Surroundings:
    """What the host says of its functions beyond their own files."""

    #: Disks on each function.
    blocks: Mapping[Sbdf, list[BlockUse]] = field(default_factory=dict)
    #: Network interfaces on each function.
    nets: Mapping[Sbdf, list[NetInterface]] = field(default_factory=dict)
    #: How the host's console depends on each function.
    consoles: Mapping[Sbdf, list[str]] = field(default_factory=dict)
    #: What the firmware calls each slot of the host.
    slot_names: Mapping[tuple[int, int, int], str] = field(default_factory=dict)
    #: How often pciback's list names each function.
    pciback_slots: Mapping[Sbdf, int] = field(default_factory=dict)
    #: The kernel shows only the beginning of that list.
    pciback_slots_cut: bool = False
    #: Functions that pciback lets be written in full.
    permissive: frozenset[Sbdf] = frozenset()
    #: Memory that firmware keeps devices at.
    reserved_memory: tuple[ReservedMemory, ...] = ()
    #: Writes to a function's files that an earlier run has given up and that go on, in words.
    hanging: Mapping[Sbdf, str] = field(default_factory=dict)


def consoles(sysfs_root: Path) -> dict[Sbdf, list[str]]:
    """Framebuffers, and terminals that the kernel writes to, by the function they stand on."""
    found: dict[Sbdf, list[str]] = defaultdict(list)
    terminals = (read_text(sysfs_root / "class" / "tty" / "console" / "active") or "").split()
    candidates = [("graphics", name, "framebuffer") for name in sorted(list_names(sysfs_root / "class" / "graphics"))]
    for group, name, what in candidates + [("tty", name, "console") for name in terminals]:
        if re.fullmatch(r"(fb|tty)\w+", name):
            function = pci_function_of(os.path.realpath(sysfs_root / "class" / group / name / "device"))
            if function is not None:
                found[function].append(f"{what} {name}")
    return dict(found)


def slot_names(sysfs_root: Path) -> dict[tuple[int, int, int], str]:
    """Read what the firmware calls the slots of the host, by segment, bus and slot."""
    found = {}
    slots = sysfs_root / "bus" / "pci" / "slots"
    for name in list_names(slots):
        match = _SLOT_ADDRESS.fullmatch(read_text(slots / name / "address") or "")
        if match is not None:
            segment, bus, slot = (int(part, 16) for part in match.groups())
            found[segment, bus, slot] = name
    return found


def reserved_memory(sysfs_root: Path) -> tuple[ReservedMemory, ...]:
    """Memory that firmware keeps devices at; nothing where there is no such table or we may not read it."""
    return parse_dmar(dmar_table(sysfs_root) or b"")
