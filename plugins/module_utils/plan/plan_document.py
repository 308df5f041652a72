# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan as a document, with a fingerprint by which a later run knows whether it is still the plan that was approved.

A plan follows from the host and the declaration alone, so what it depends on is seen in the plan itself: whatever is
observed differently and changes no step is of no importance to it. What a step does not say is which device sits at
its address and which guest has its name. That belongs to the fingerprint as well, and so does the declaration.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..model.domain import Domain
from ..model.host import Host
from ..values.address import Sbdf
from ..values.identity import Remembered
from ..values.plain import plain
from ..values.refusal import Refusal

#: Grows when the same plan gets another fingerprint.
SCHEMA = 1

Document = dict[str, Any]


def plan_document(
    kind: str, steps: Any, basis: Any, refusals: Sequence[Refusal] = (), warnings: Sequence[str] = ()
) -> Document:
    """The document of a plan: `steps` are what is done, `basis` is what they are meant for.

    The fingerprint is not of `refusals`, with which nothing is done, nor of `warnings`, which are for people.
    """
    content = plain({"schema": SCHEMA, "kind": kind, "steps": steps, "basis": basis})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {
        **content,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:32],
        "refusals": plain(refusals),
        "warnings": list(warnings),
    }


def check_fingerprint(document: Document, wanted: str | None) -> Refusal | None:
    """Refuse a plan that is not the one of the wanted fingerprint; None wants none."""
    now = document["fingerprint"]
    if not wanted or wanted == now:
        return None
    return Refusal(
        "fingerprint",
        "fingerprint",
        f"This is not the plan of fingerprint {wanted}: the host or the declaration has changed since, and the plan is"
        f" now that of fingerprint {now}",
        "look at it in check mode, and give its fingerprint if it is as it should be",
    )


def identities(host: Host, devices: Iterable[Sbdf]) -> dict[Sbdf, Document | None]:
    """What tells each device from any other one that may sit at its address; None if there is none.

    Nothing in it depends on the driver that has the device now.
    """
    return {sbdf: _identity(host, sbdf) if sbdf in host.devices else None for sbdf in devices}


def guest_identity(domain: Domain) -> Document:
    """What tells a guest from any other one of its name, and one life of it from the next."""
    return {"domid": domain.domid, "name": domain.name, "uuid": domain.uuid, "kind": domain.kind}


def _identity(host: Host, sbdf: Sbdf) -> Document:
    device, remembered = host.devices[sbdf], host.remembered.get(sbdf, Remembered())
    # A virtual function may get another MAC address whenever a driver takes it.
    macs = (
        [interface.mac for interface in device.net if interface.mac] or list(remembered.macs)
        if device.physfn is None
        else []
    )
    return {
        "vendor": device.vendor,
        "device": device.device,
        "subsystem_vendor": device.subsystem_vendor,
        "subsystem_device": device.subsystem_device,
        "class": device.class_code,
        "revision": device.revision,
        "path": device.path,
        "serial": device.serial,
        "nvme_serial": device.nvme_serial or remembered.nvme_serial,
        "macs": sorted(macs),
        "physfn": device.physfn,
        "vf_index": device.vf_index,
    }
