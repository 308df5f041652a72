# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes that repair faults: what each works on, and what it does in words.

How one is carried out is in `repair/`, how a host is afterwards in `simulate.py`; each function there names its recipes
with `implements`.
"""

from __future__ import annotations

from enum import Enum
from typing import Callable, TypeVar

T = TypeVar("T")


class RecipeKind(Enum):
    """What a recipe works on, which decides what carries it out."""

    DEVICE = "rights, markers, configuration or pciback's hold of single devices, or the name of a domain; done at once"
    CONNECTION = "a domain's connection, both ends of which it brings to rest"
    END_OF_CONNECTION = "a connection, which is gone afterwards"
    DEVICE_MODEL = "a device in the device model of an HVM guest"
    GUEST = "a device that the guest gives back: through its device model if it has one, else through its connection"


class Recipe(Enum):
    """What repairs a fault: its kind, and what it does in words."""

    WITHDRAW = RecipeKind.CONNECTION, "withdraw the cycle that the guest has not answered; it keeps what it had"
    RESTART = RecipeKind.CONNECTION, "drop the entries that pciback refused and have both ends finish the cycle"
    SKIP_STALE = (
        RecipeKind.CONNECTION,
        "have pciback look once more, then drop the entries that it does not have, one by one, until it goes on",
    )
    NUDGE = RecipeKind.CONNECTION, "write the states of both ends again, so that each looks at the other once more"
    CONNECT_AGAIN = RecipeKind.CONNECTION, "write again that both ends are connected, as both kernels have it"
    KEEP_ENTRIES = RecipeKind.CONNECTION, "write again that the devices which the guest uses are exported to it"
    REOPEN = RecipeKind.CONNECTION, "withdraw the request to close, which the guest has not answered"
    RECREATE = RecipeKind.CONNECTION, "remove the closed connection and create it again with the same devices"
    FORGET_ENTRIES = RecipeKind.CONNECTION, "drop the entries that nothing uses and close the gaps"
    PUT_IN_ORDER = RecipeKind.CONNECTION, "number the entries that the guest has without gaps, and drop all others"
    DISSOLVE = RecipeKind.END_OF_CONNECTION, "remove the connection from xenstore and wait for dom0's kernel to follow"
    CLOSE = RecipeKind.END_OF_CONNECTION, "close the empty connection with the guest, then remove it"
    END_LOST = RecipeKind.END_OF_CONNECTION, "write the lost connection again without devices, close it, remove it"
    UNPLUG = (
        RecipeKind.DEVICE_MODEL,
        "have the guest eject the device and libxl forget it, then take all rights over it",
    )
    DROP_RECORD = RecipeKind.DEVICE_MODEL, "have libxl drop its record (xl pci-detach -f), then take all rights over it"
    DETACH = RecipeKind.GUEST, "have the guest give the device back"
    GRANT = RecipeKind.DEVICE, "give the guest the rights over the device again"
    GRANT_LINE = RecipeKind.DEVICE, "give the domain the interrupt line of the device again"
    TAKE_RIGHTS = RecipeKind.DEVICE, "reset the device, take all rights over it from the domain, remove the marker"
    TAKE_FROM_ANY = RecipeKind.DEVICE, "reset the device and take it from the domain that Xen lets it be taken from"
    MARK = RecipeKind.DEVICE, "write libxl's marker"
    UNMARK = RecipeKind.DEVICE, "remove libxl's marker"
    DROP_MARKER = RecipeKind.DEVICE, "remove libxl's marker, which names no domain"
    FORGET_NAME = RecipeKind.DEVICE, "remove the name, once more after asking Xen whether it has the domain"
    NAME_AGAIN = RecipeKind.DEVICE, "write the name that libxl built the domain with"
    QUARANTINE = RecipeKind.DEVICE, "have Xen quarantine the device, and note it"
    CONFIGURE = RecipeKind.DEVICE, "have libxl's stored configuration list the devices of the connection"
    REBIND = RecipeKind.DEVICE, "take the device from pciback and give it back, which clears the setting"
    CORRECT_SLOT = RecipeKind.DEVICE, "have pciback's list name the device once if pciback holds it, else not at all"

    def __init__(self, kind: RecipeKind, text: str) -> None:
        self.kind = kind
        self.text = text


def implements(table: dict[Recipe, T], *recipes: Recipe) -> Callable[[T], T]:
    """Enter the function below into `table` as the one for these recipes."""

    def enter(function: T) -> T:
        table.update(dict.fromkeys(recipes, function))
        return function

    return enter
