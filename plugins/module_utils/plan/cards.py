# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the functions of one card, and those that belong to a graphics card beside its display function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from ..model.device import PciDevice
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from ..values.identity import DeviceFacts
from ..values.words import listed
from .safety import Check

_BRIDGE = "06"
_DISPLAY = "03"
#: What else is on a graphics card, by class: its driver expects to find them together.
_BESIDE_DISPLAY = {"0403": "audio", "0c03": "USB", "0c80": "serial bus"}


def functions_of_card(devices: Mapping[Sbdf, DeviceFacts], function: Sbdf) -> tuple[Sbdf, ...]:
    """Find all functions in the slot of one, and those below if it is the bridge of a card.

    Bridges are left out, and virtual functions, which are given away one by one.
    """
    path = devices[function].path
    slot = f"{path.rpartition('.')[0]}." if path else None
    return tuple(
        sbdf
        for sbdf, device in sorted(devices.items())
        if (sbdf.host_slot == function.host_slot or (slot is not None and device.path.startswith(slot)))
        and device.physfn is None
        and not device.class_code.startswith(_BRIDGE)
    )


def companions(devices: Mapping[Sbdf, PciDevice], function: Sbdf) -> dict[Sbdf, str]:
    """Find the other functions of a graphics card, each with a word for what it is; none of any other card."""
    if not _kind(devices[function].class_code):
        return {}
    slot = [replace(function, function=number) for number in range(8)]
    kinds = {sbdf: _kind(devices[sbdf].class_code) for sbdf in slot if sbdf in devices}
    if "display" not in kinds.values():
        return {}
    return {sbdf: kind for sbdf, kind in kinds.items() if kind and sbdf != function}


def suggestions(
    devices: Mapping[Sbdf, PciDevice],
    taken: Iterable[Sbdf],
    together: Collection[Sbdf],
    policies: Mapping[Sbdf, DevicePolicy],
    names: Callable[[], Mapping[Sbdf, str]],
) -> Iterator[str]:
    """Yield a sentence for each function that is declared without others of its graphics card.

    `together` are the functions that are declared. A waiver of acs ends it, as the warning about functions of one card.
    """
    for sbdf in taken:
        policy = policies.get(sbdf, DevicePolicy())
        others = {} if Check.ACS.value in policy.waive or sbdf not in devices else companions(devices, sbdf)
        lacking = {other: kind for other, kind in others.items() if other not in together}
        if lacking:
            yield _suggestion(policy.name, sbdf, lacking, names())


def _suggestion(name: str, sbdf: Sbdf, lacking: Mapping[Sbdf, str], names: Mapping[Sbdf, str]) -> str:
    def called(function: Sbdf, kind: str) -> str:
        return f"{names[function]} ({function}, {kind})" if function in names else f"{function} ({kind})"

    who = f"{name} ({sbdf})" if name and name != str(sbdf) else str(sbdf)
    return (
        f"{who} is declared without {listed(called(*other) for other in lacking.items())} of the same graphics card."
        " Its driver may need them: declare them beside it, or the card with functions: all"
    )


def _kind(class_code: str) -> str:
    if class_code.startswith(_DISPLAY):
        return "display"
    return next((word for code, word in _BESIDE_DISPLAY.items() if class_code.startswith(code)), "")
