# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a plan as a document with a fingerprint, by which a later run sees whether the plan is still the same.

A plan follows from the host and the declaration alone, so the fingerprint is made of the plan itself: a change of the
host that changes no step does not matter. A step does not say which device sits at its address and which guest has its
name, so both belong to the fingerprint as well, and so does the declaration.
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

#: To be raised when the same plan gets another fingerprint.
SCHEMA = 1

Document = dict[str, Any]


def plan_document(
    kind: str,
    steps: Any,
    basis: Any,
    changes: bool,
    refusals: Sequence[Refusal] = (),
    warnings: Sequence[str] = (),
) -> Document:
    """Write the document of a plan: `steps` are what is done, `basis` is what they depend on.

    `changes` says whether there is anything to do. The fingerprint leaves it out, and also `refusals`, with which
    nothing is done, and `warnings`, which are for people.
    """
    content = plain({"schema": SCHEMA, "kind": kind, "steps": steps, "basis": basis})
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return {
        **content,
        "changes": changes,
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:32],
        "refusals": plain(refusals),
        "warnings": list(warnings),
    }


def against_fingerprint(document: Document, approved: str | None) -> tuple[Refusal, ...]:
    """Refuse a plan that does not have the approved fingerprint; with None, any plan is right.

    A plan that changes nothing is right as well, so that an approved task can be run again.
    """
    now = document["fingerprint"]
    if approved in (None, "", now) or not document["changes"]:
        return ()
    reason = (
        f"The plan does not have the fingerprint {approved}: the host or the declaration has changed, and the"
        f" fingerprint is now {now}"
    )
    advice = "look at the plan in check mode, and give its fingerprint if the plan is right"
    return (Refusal("fingerprint", "fingerprint", reason, advice),)


def identities(host: Host, devices: Iterable[Sbdf]) -> dict[Sbdf, Document | None]:
    """Describe the device at each address so that any other device would differ; None if there is no device.

    Nothing in the description depends on the driver that the device has now.
    """
    return {sbdf: _identity(host, sbdf) if sbdf in host.devices else None for sbdf in devices}


def guest_identity(domain: Domain) -> Document:
    """Describe a guest so that another guest of its name would differ, and the same guest after a restart, too."""
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
