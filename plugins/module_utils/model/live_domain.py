# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which domains there are, as Xen lists them; what xenstore calls them is only a label.

A directory of a domain in xenstore may be missing, and that of a dead one may be left. Xen's list is never wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

_UUID_BYTES, _NO_UUID = 16, bytes(16)


@dataclass(frozen=True)
class LiveDomain:
    """A domain that Xen has."""

    domid: int
    #: All that it had is taken, and only others that still use its memory keep it (DOMDYING_dead).
    dying: bool = False
    #: Bytes that contain its UUID, at the same place for each domain of a host.
    record: bytes = b""


class Label(NamedTuple):
    """What a toolstack wrote of a domain in xenstore: a name and a UUID, each empty if there is none."""

    name: str = ""
    uuid: str = ""


def uuids(found: Mapping[int, LiveDomain], labels: Mapping[int, Label]) -> dict[int, str]:
    """Read the UUIDs of domains from what Xen says of them; empty for one that cannot be known.

    Where in a record it is, shows from those domains of which xenstore has the right one.
    """
    claimed = {domid: _bytes_of(labels[domid].uuid) for domid in found.keys() & labels.keys()}
    places = Counter(
        found[domid].record.find(uuid) for domid, uuid in claimed.items() if uuid and uuid in found[domid].record
    )
    exact = next((0 for domain in found.values() if len(domain.record) == _UUID_BYTES), None)
    place = places.most_common(1)[0][0] if places else exact
    if place is None:
        return dict.fromkeys(found, "")
    return {domid: _text_of(domain.record[place : place + _UUID_BYTES]) for domid, domain in found.items()}


def is_refuted(domain: LiveDomain, label: Label) -> bool:
    """Whether a label is that of another domain: Xen says nothing of its UUID."""
    uuid = _bytes_of(label.uuid)
    return bool(uuid) and uuid not in domain.record


def _bytes_of(uuid: str) -> bytes:
    """Read the bytes of a UUID; none where it is no UUID, or that of all zeros, which means that there is none."""
    digits = uuid.replace("-", "")
    try:
        found = bytes.fromhex(digits) if digits.isalnum() else b""
    except ValueError:
        return b""
    return found if len(found) == _UUID_BYTES and found != _NO_UUID else b""


def _text_of(uuid: bytes) -> str:
    digits = uuid.hex()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "" if uuid == _NO_UUID or len(uuid) != _UUID_BYTES else "-".join(parts)
