# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a machine description (JSON; YAML where PyYAML is installed) and build its devices.

A description is::

    {"name": "small", "linux": "6.1", "iommu": true, "devices": [
      {"at": "00:1c.0", "model": "root-port", "bus": "01"},
      {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01", "name": "eth0"}]}
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import config_space
from .device import Address, Apertures, Device, Facts, serial_bytes, serial_from_mac
from .extra_files import BadPath, ExtraFiles
from .models import MODELS

SHIPPED = Path(__file__).resolve().parent.parent / "machines"
_DEVICE_KEYS = {
    *("at", "model", "bus", "numvfs", "numa", "mac", "serial", "name", "mounted", "up", "boot_vga", "segment"),
    "reserved",
}
_MACHINE_KEYS = {
    *("name", "linux", "xen", "iommu", "dom0", "hidden", "passthrough", "cpus_per_node", "devices", "domains"),
    *("files", "links", "interrupt_remapping", "dom0_iommu"),
}


class BadMachine(ValueError):
    """The description is wrong; the text says where."""


@dataclass
class Machine:
    """A machine after firmware and before any driver. `hidden` devices go to pciback at boot;
    `passthrough` is pciback's module parameter of that name; `domains` are created at the start; `extra` is written to
    the host's directory before the first program runs."""

    name: str
    linux: tuple[int, int] = (6, 1)
    xen: tuple[int, int] = (4, 17)
    iommu: bool = True
    interrupt_remapping: bool = True
    dom0_iommu: str = "relaxed"
    dom0: str = "pv"
    passthrough: bool = False
    hidden: list[Address] = field(default_factory=list)
    cpus_per_node: int = 8
    devices: list[Device] = field(default_factory=list)
    numvfs: dict[Address, int] = field(default_factory=dict)
    domains: list[dict[str, Any]] = field(default_factory=list)
    apertures: Apertures = field(default_factory=Apertures)
    extra: ExtraFiles = field(default_factory=ExtraFiles)


def load(name: str) -> Machine:
    """Read a description by path, or by the name of a shipped one; BadMachine says what is wrong with it."""
    path = Path(name)
    if not path.exists():
        path = SHIPPED / f"{name}.json"
    if not path.exists():
        shipped = ", ".join(sorted(entry.stem for entry in SHIPPED.glob("*.json")))
        raise BadMachine(f"There is no machine description {name!r}: give the path of one, or one of {shipped}.")
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".yml", ".yaml"):
        import yaml  # noqa: PLC0415 - only where the user prefers YAML: nothing else here needs it

        return build(yaml.safe_load(text))
    return build(json.loads(text))


def build(description: dict[str, Any]) -> Machine:
    """Build the devices that a description lists."""
    unknown = set(description) - _MACHINE_KEYS
    if unknown:
        raise BadMachine(f"A machine has no setting {', '.join(sorted(unknown))}.")
    machine = Machine(
        name=str(description.get("name", "machine")),
        linux=version(description.get("linux", "6.1")),
        xen=version(description.get("xen", "4.17")),
        iommu=bool(description.get("iommu", True)),
        interrupt_remapping=bool(description.get("interrupt_remapping", True)),
        dom0_iommu=str(description.get("dom0_iommu", "relaxed")),
        dom0=str(description.get("dom0", "pv")),
        passthrough=bool(description.get("passthrough", False)),
        hidden=[_address(text) for text in description.get("hidden", ())],
        cpus_per_node=int(description.get("cpus_per_node", 8)),
        domains=list(description.get("domains", ())),
        extra=_extra_files(description),
    )
    entries = [(_address(entry["at"]), entry) for entry in description.get("devices", ())]
    shared = {(a.segment, a.bus, a.slot) for a, _entry in entries if a.function}
    bridges: dict[tuple[int, int], Device] = {}
    for address, entry in entries:
        multifunction = (address.segment, address.bus, address.slot) in shared
        device = _device(machine, address, entry, multifunction)
        device.parent = bridges.get((address.segment, address.bus))
        if device.parent is None and address.bus and any(b[0] == address.segment for b in bridges):
            _check_root_bus(address, bridges)
        if device.model.bridge:
            bridges[(address.segment, int(str(entry["bus"]), 16))] = device
        machine.devices.append(device)
        if entry.get("numvfs"):
            machine.numvfs[address] = int(entry["numvfs"])
    return machine


def _extra_files(description: dict[str, Any]) -> ExtraFiles:
    try:
        return ExtraFiles.parse(description)
    except BadPath as error:
        raise BadMachine(str(error)) from None


def _address(written: object) -> Address:
    """An address as it is written; YAML makes a number of one without quotes."""
    if not isinstance(written, str):
        raise BadMachine(f"{written!r} is not an address: put addresses in quotes.")
    try:
        return Address.parse(written)
    except ValueError as error:
        raise BadMachine(f"{error}.") from None


def version(text: object) -> tuple[int, int]:
    """``6.1`` as (6, 1)."""
    major, _dot, minor = str(text).partition(".")
    return int(major), int(minor or "0")


def _check_root_bus(address: Address, bridges: dict[tuple[int, int], Device]) -> None:
    """A bus without a bridge in the list is a root bus of its own (a second socket), which must begin it."""
    if address.slot == 0 and address.function == 0 and (address.segment, address.bus) in bridges:
        raise BadMachine(f"{address} is on a bus that a bridge has already.")


def _device(machine: Machine, address: Address, entry: dict[str, Any], multifunction: bool) -> Device:
    unknown = set(entry) - _DEVICE_KEYS
    if unknown:
        raise BadMachine(f"Device {address} has no setting {', '.join(sorted(unknown))}.")
    model = MODELS.get(entry.get("model", ""))
    if model is None:
        raise BadMachine(f"Device {address} has model {entry.get('model')!r}; known are {', '.join(sorted(MODELS))}.")
    facts = Facts(
        numa=int(entry.get("numa", -1)),
        mac=str(entry.get("mac", "")),
        serial=str(entry.get("serial", "")),
        name=str(entry.get("name", "")),
        mounted=str(entry.get("mounted", "")),
        up=bool(entry.get("up", False)),
        boot_vga=bool(entry.get("boot_vga", False)),
        reserved=tuple(_region(text) for text in entry.get("reserved", ())),
    )
    number = serial_from_mac(facts.mac) if facts.mac else ""
    capabilities = config_space.Capabilities(
        flr="flr" in model.resets,
        msix_vectors=model.msix_vectors,
        msi=model.msi,
        serial=serial_bytes(number) if number else None,
        vfs=vf_layout(address, model.total_vfs, model.vf_model),
        port_type=model.port_type,
        acs=model.acs,
    )
    buses = None
    if model.bridge:
        secondary = int(str(entry["bus"]), 16)
        buses = (address.bus, secondary, secondary)
    return Device(
        address=address,
        model=model,
        model_name=str(entry["model"]),
        facts=facts,
        config=config_space.build(model.identity, capabilities, multifunction, buses),
        regions=machine.apertures.regions(model),
        irq=16 + (address.bus * 4 + address.slot + address.function) % 8 if not model.bridge else 0,
        resets=list(model.resets),
    )


def _region(text: str) -> tuple[int, int]:
    """``7b800000-7bffffff``, the first and the last byte."""
    first, _dash, last = text.partition("-")
    return int(first, 16), int(last, 16)


def vf_layout(address: Address, total: int, vf_model: str) -> Any:
    """Where the VFs of a PF appear: behind all functions of its slot, function n in turn with its siblings."""
    if not total:
        return None
    offset = 16 + address.function * total if total > 8 else 1 + address.devfn * 0
    return (total, offset, 1, MODELS[vf_model].identity.device)


def virtual_function(machine: Machine, physical: Device, index: int) -> Device:
    """The VF number `index` of a PF, as it appears when sriov_numvfs is written."""
    layout = vf_layout(physical.address, physical.model.total_vfs, physical.model.vf_model)
    routing = (physical.address.bus << 8 | physical.address.devfn) + layout[1] + index * layout[2]
    address = Address.from_sbdf(physical.address.segment << 16 | routing)
    model = MODELS[physical.model.vf_model]
    mac = ""
    if model.child == "net":
        tail = physical.facts.mac.split(":")[3:] or ["00", "00", "00"]
        mac = ":".join(["02", *tail, f"{index >> 8:02x}", f"{index & 255:02x}"])
    capabilities = config_space.Capabilities(flr=True, msix_vectors=model.msix_vectors)
    return Device(
        address=address,
        model=model,
        model_name=physical.model.vf_model,
        facts=Facts(numa=physical.facts.numa, mac=mac),
        config=config_space.build(model.identity, capabilities, False),
        regions=machine.apertures.regions(model),
        irq=0,
        parent=physical.parent,
        physfn=physical,
        resets=list(model.resets),
    )
