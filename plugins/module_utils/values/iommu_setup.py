# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how Xen has set up the IOMMU, from its log, its command line and the firmware's table. Pure.

Xen has no call that says it. iommu_setup (xen/drivers/passthrough/iommu.c) writes it to the log, whose beginning is
lost once the ring is full, or when it is cleared (xl dmesg -c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .command_line import settings_of, words

#: A guest's own lines begin with its number. In front of the text, Xen may write the time.
_LINE = r"^\(XEN\) (?:\[[^\]\n]*\] )?{}\r?$"
_REMAPPING = re.compile(_LINE.format(r"Interrupt remapping (en|dis)abled"), re.MULTILINE)
_DOM0_MODE = re.compile(_LINE.format(r" ?- Dom0 mode: (Passthrough|Strict|Relaxed)"), re.MULTILINE)
#: What Xen takes for no (parse_bool in xen/common/kernel.c).
_NO = frozenset(("0", "no", "off", "false", "disable"))
#: INTR_REMAP in the flags of ACPI's table DMAR, and where these are.
_FLAGS_AT, _INTR_REMAP = 37, 1


def remaps_interrupts(log: str, command_line: str, dmar: bytes | None, has_ivrs: bool = False) -> bool | None:
    """Say whether each device can raise only those interrupts that Xen gave it; None if nothing shows it.

    Where the log is lost, the default counts: Xen does it if the hardware can, which the firmware's table says for
    Intel, and which all IOMMUs of AMD can. One table for all devices of AMD lets them raise each other's (XSA-36).
    """
    options = [option for value in settings_of(words(command_line), "iommu") for option in value.split(",")]
    if _chosen(options, "amd-iommu-perdev-intremap") is False and has_ivrs:
        return False
    said = _REMAPPING.search(log)
    if said is not None:
        return said[1] == "en"
    if False in (_chosen(options, "intremap"), _chosen(options, "qinval")):
        return False
    if dmar is not None and len(dmar) > _FLAGS_AT:
        return bool(dmar[_FLAGS_AT] & _INTR_REMAP)
    return True if has_ivrs else None


def dom0_mode(log: str, command_line: str) -> str:
    """Say what the IOMMU lets dom0's devices reach: `passthrough`, `strict` or `relaxed`; empty if nothing shows it."""
    said = _DOM0_MODE.search(log)
    if said is not None:
        return said[1].lower()
    found = words(command_line)
    options = [option for value in settings_of(found, "dom0-iommu") for option in value.split(",")]
    older = [option for value in settings_of(found, "iommu") for option in value.split(",")]
    for mode in ("strict", "passthrough"):
        if True in (_chosen(options, mode), _chosen(older, f"dom0-{mode}")):
            return mode
    return ""


def _chosen(options: list[str], name: str) -> bool | None:
    """Return the last setting of a boolean option, None if there is none (parse_boolean)."""
    return next(_settings(reversed(options), name), None)


def _settings(options: Iterator[str], name: str) -> Iterator[bool]:
    for option in options:
        if option in (name, f"no-{name}"):
            yield option == name
        elif option.startswith(f"{name}="):
            yield option.partition("=")[2] not in _NO
