# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What manages the host, by its files: Qubes, XAPI, libvirt with all of its definitions that name devices, or xl.

No daemon is asked: one that does not run now takes devices when it runs again.
Sources: libvirt's src/libxl/libxl_conf.h (directories), docs/formatdomain.rst and formatnetwork.rst (definitions).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.management import LibvirtClaim, Management, Manager
from ..values.address import Sbdf

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

#: Files, below the root, that only such a host has.
_FILES = {
    "etc/qubes-release": Manager.QUBES,
    "var/lib/qubes/qubes.xml": Manager.QUBES,
    "etc/xensource-inventory": Manager.XAPI,
    "etc/xapi.conf": Manager.XAPI,
    "var/lib/xcp/xapi": Manager.XAPI,
    "var/xapi/xapi": Manager.XAPI,
}
#: libxl's files of the domains that it has built (XEN_LIB_DIR).
_LIBXL = "var/lib/xen"
_DEFINED, _RUNNING = "etc/libvirt/libxl", "run/libvirt/libxl"
_NETWORKS = ("etc/libvirt/qemu/networks", "run/libvirt/network")
_MOST_BYTES = 4 << 20


def observe_management(root: Path) -> Management:
    """Look which manager the host has; `root` is its root directory."""
    for name, manager in _FILES.items():
        if (root / name).exists():
            return Management(manager, f"/{name}")
    defined, running = _definitions(root / _DEFINED), _definitions(root / _RUNNING)
    networks = [path for name in _NETWORKS for path in _definitions(root / name)]
    if not defined and not running and not (root / _RUNNING).is_dir():
        return Management(Manager.XL, f"/{_LIBXL}") if (root / _LIBXL).is_dir() else Management()
    evidence = f"/{_DEFINED}" if defined else f"/{_RUNNING}"
    return _read([*defined, *running, *networks], Management(Manager.LIBVIRT, evidence), frozenset(running))


def _definitions(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == ".xml")
    except OSError:
        return []


def _read(paths: list[Path], found: Management, running: frozenset[Path]) -> Management:
    """Read all definitions; one that cannot be read may name any device."""
    claims: dict[LibvirtClaim, None] = {}
    uuids: dict[bool, set[str]] = {True: set(), False: set()}
    unreadable = []
    for path in paths:
        try:
            definition = _parsed(path)
            lasting = path not in running
            claims.update(dict.fromkeys(_claims(definition, lasting)))
            if definition.tag == "domain" and _text(definition, "uuid"):
                uuids[lasting].add(_text(definition, "uuid").lower())
        except (OSError, ValueError, SyntaxError) as error:
            unreadable.append(f"{path} ({error})")
    return Management(
        found.manager,
        found.evidence,
        tuple(claims),
        frozenset(uuids[True]),
        frozenset(uuids[False]),
        tuple(unreadable),
    )


def _parsed(path: Path) -> Element:
    """Read a definition, also one that is inside of the record of a running domain or network."""
    from xml.etree import ElementTree  # noqa: PLC0415 - hosts of libvirt only, and each import costs every run

    with path.open("rb") as file:
        text = file.read(_MOST_BYTES + 1)
    if len(text) > _MOST_BYTES or b"<!DOCTYPE" in text:
        raise ValueError("it is no definition of libvirt")
    root = ElementTree.fromstring(text)
    inner = [root, *root.findall("domain"), *root.findall("network")]
    definition = next((element for element in inner if element.tag in ("domain", "network")), None)
    if definition is None:
        raise ValueError(f"it defines {root.tag}")
    return definition


def _claims(definition: Element, lasting: bool) -> Iterator[LibvirtClaim]:
    """Yield the host's devices that a definition names: sources of devices, and what a network hands out."""
    owner = f"{definition.tag} {_text(definition, 'name')}"
    uuid = _text(definition, "uuid").lower()
    for parent in definition.iter():
        places = [parent, *parent.findall("driver")] if parent.tag == "forward" else parent.findall("source")
        for place in places:
            managed = "yes" in (parent.get("managed"), place.get("managed"))
            for address in place.findall("address"):
                if (device := _device(address)) is not None:
                    yield LibvirtClaim(owner, uuid, device, managed=managed, persistent=lasting)
            for physical in place.findall("pf"):
                yield LibvirtClaim(owner, uuid, interface=physical.get("dev", ""), managed=managed, persistent=lasting)


def _device(address: Element) -> Sbdf | None:
    """Read the address of a PCI device of the host; None for those of USB and SCSI devices. Raises ValueError."""
    if address.get("type", "pci") != "pci" or address.get("slot") is None:
        return None
    numbers = [int(address.get(name, "0"), 0) for name in ("domain", "bus", "slot", "function")]
    return Sbdf.parse("{:04x}:{:02x}:{:02x}.{:x}".format(*numbers))


def _text(definition: Element, name: str) -> str:
    return (definition.findtext(name) or "").strip()
