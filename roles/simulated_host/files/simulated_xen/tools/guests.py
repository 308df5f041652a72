# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What xl and libxl do with whole guests that have devices, with xl's bad habits where it has some."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..host.device import Address
from ..interpreter.xen.lowlevel._simulator import Refused
from .libxl import Libxl
from .options import Options
from .qmp_client import Failed
from .toolstack import complain

#: libxl waits 10 s for a backend and 60 s for a guest that was asked.
REQUEST_WAITS = 6


def create(
    libxl: Libxl, config: dict[str, Any], devices: Iterable[tuple[Address, Options]], paused: bool = False
) -> None:
    """A new guest, which begins to run once it has its devices (each with its options)."""
    domid = int(libxl.ask("create", config=config, paused=True)["domid"])
    try:
        for number, (address, options) in enumerate(devices):
            libxl.attach(domid, address, options, starting=number > 0)
    except Failed:
        destroy(libxl, domid)
        raise
    if not paused:
        libxl.ask("pause", domain=str(domid), paused=False)


def destroy(libxl: Libxl, domid: int) -> None:
    """Force all devices out, then the domain; a backend that could not be emptied stays behind."""
    libxl.detach_all(domid)
    libxl.ask("destroy", domain=str(domid))


def ask(libxl: Libxl, domid: int, what: str) -> None:
    """Tell a guest to shut down and wait until it has taken note; what it does then is up to it."""
    request = f"/local/domain/{domid}/control/shutdown"
    libxl.xs.write(request, what)
    if not libxl.xs.wait_for(request, "", REQUEST_WAITS * libxl.wait):
        raise Failed(f"Domain {domid}:guest didn't acknowledge control request: -9")


def restart(libxl: Libxl, domid: int) -> None:
    """on_reboot=restart: a new domain from the stored configuration, with the devices that are in both the
    configuration and xenstore."""
    config = libxl.config(domid)
    listed = {str(address) for address in libxl.attached(domid).values()}
    devices = [device for device in libxl.remembered(domid) if device in listed]
    options = [Options.stored(libxl.remembered_entry(domid, device)) for device in devices]
    destroy(libxl, domid)
    create(libxl, config, zip(map(Address.parse, devices), options))


def save(libxl: Libxl, domid: int) -> dict[str, Any]:
    """What a saved guest is made again from. Devices are not in it, and do not hinder it."""
    return libxl.config(domid) | {"pci": []}


def migrate(libxl: Libxl, domid: int, target: Libxl) -> None:
    """Live migration: Xen tracks no writes of a guest that has a device, so it refuses."""
    if libxl.attached(domid):
        raise Failed("xc: error: Failed to enable logdirty: 22,0,22: Internal error\nMigration failed")
    saved = save(libxl, domid)
    target.ask("create", config=saved)
    destroy(libxl, domid)


def clean_up(domid: str, reason: str) -> int:
    """What the process does that `xl create` leaves behind, once Xen says that the guest has shut down
    (handle_domain_death); the process's exit status."""
    libxl = Libxl(Path(os.environ["SIMULATED_XEN_DIR"]))
    try:
        number = libxl.domid(domid)
        action = libxl.config(number)[f"on_{reason}"]
        if action != "preserve":
            (restart if action == "restart" else destroy)(libxl, number)
    except (Failed, Refused, OSError) as error:  # somebody else destroyed it meanwhile
        complain(str(error))
        return 1
    finally:
        libxl.xs.close()
    return 0
