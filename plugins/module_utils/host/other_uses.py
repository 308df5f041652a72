# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the host may need a PCI function for though nothing is mounted on it and no interface is up.

These are keyboards and other things on its USB or Thunderbolt bus, data on its disks, and programs that have its device
nodes open. Reading it takes a while, so it is read only where a device may be taken from the host.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..model.device import PciDevice
from ..model.usage import OtherUse
from ..values.address import Sbdf
from .disk_data import DiskData
from .kernel_files import beside, link_target, list_names, pci_function_of, read_text
from .open_nodes import OpenNodes

_EV_KEY, _EV_REP = 1 << 1, 1 << 20
#: The first keys: Escape, digits, the upper row of letters. udev calls what has all of them a keyboard.
_FIRST_KEYS = 0xFFFFFFFE
_BLUETOOTH = "0005"
_USB_DIRECTORY = re.compile(
    r"usb\d+|\d+-\d+(\.\d+)*(:\d+\.\d+)?|usbmisc|[0-9A-F]{4}:[0-9A-F]{4}:[0-9A-F]{4}\.[0-9A-F]+"
)
_SMART_CARD_CLASS = "0b"
#: How the description of a HID device begins: with its usage page.
_HID_KINDS = {b"\x05\x84": "power supply (UPS)", b"\x06\xd0\xf1": "security key"}
#: A device behind a controller; the controller's own has the route 0, and a part of a device has a dot or a colon.
_THUNDERBOLT_DEVICE = re.compile(r"\d+-[1-9a-f][0-9a-f]*")


def other_uses(sysfs_root: Path, devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, OtherUse]:
    """Read the uses of all functions that the host itself drives; without those that have none."""
    ours = {sbdf: device for sbdf, device in devices.items() if not device.in_pciback}
    inputs, thunderbolt = _inputs(sysfs_root), _thunderbolt(sysfs_root)
    tunneled = _tunneled(sysfs_root, ours) if thunderbolt else frozenset()
    disks, processes = DiskData(sysfs_root), OpenNodes(sysfs_root, ours).by_device()
    found = {
        sbdf: OtherUse(
            inputs=tuple(inputs.get(sbdf, ())),
            peripherals=tuple(_on_usb(f"{sysfs_root}/bus/pci/devices/{sbdf}")),
            thunderbolt=tuple(thunderbolt.get(sbdf, ())),
            claims=tuple(claim for disk in device.block if (claim := disks.claim(disk))),
            data=tuple(sentence for disk in device.block for sentence in disks.on(disk)),
            processes=tuple(processes.get(sbdf, ())),
            tunneled=sbdf in tunneled,
        )
        for sbdf, device in ours.items()
    }
    return {sbdf: use for sbdf, use in found.items() if use != OtherUse()}


def _inputs(root: Path) -> dict[Sbdf, list[str]]:
    """Keyboards and mice, by the functions that they need, whatever buses are between."""
    found: dict[Sbdf, list[str]] = defaultdict(list)
    directory, handlers = root / "class" / "input", _handlers(beside(root, "proc") / "bus" / "input" / "devices")
    for name in sorted(list_names(directory)):
        if not name.startswith("input"):
            continue
        path = link_target(f"{directory}/{name}")
        kind = _kind_of_input(root, Path(path), handlers)
        for function in _functions_of_input(root, path) if kind else ():
            found[function].append(f"{kind} {_called(path, 'name') or name}")
    return found


def _kind_of_input(root: Path, path: Path, handlers: Mapping[str, set[str]]) -> str:
    """Distinguish keyboards and mice from power buttons, lids and jacks, which are input devices, too.

    The kernel's handler for SysRq takes what has an Alt key (sysrq_ids in drivers/tty/sysrq.c).
    """
    names = {path.name, *(name for name in list_names(path) if name.startswith("event"))}
    handled = {handler for name in names for handler in handlers.get(name, ())}
    events = _number(read_text(path / "capabilities" / "ev"))
    keys = _number((read_text(path / "capabilities" / "key") or "0").split()[-1])
    repeats = events & _EV_KEY and events & _EV_REP
    said = read_text(beside(root, "run") / "udev" / "data" / f"+input:{path.name}") or ""
    if "sysrq" in handled or repeats or keys & _FIRST_KEYS == _FIRST_KEYS or "ID_INPUT_KEYBOARD=1" in said:
        return "keyboard"
    mouse = any(re.fullmatch(r"mouse\d+", name) for name in (*handled, *list_names(path)))
    return "mouse" if mouse or "ID_INPUT_MOUSE=1" in said else ""


def _functions_of_input(root: Path, path: str) -> Iterable[Sbdf]:
    """Find the function above an input device; all with a Bluetooth adapter, where a program connects it (uhid)."""
    function = pci_function_of(path)
    if function is not None:
        return [function]
    if read_text(f"{path}/id/bustype") != _BLUETOOTH:
        return []
    adapters = root / "class" / "bluetooth"
    above = (pci_function_of(link_target(f"{adapters}/{name}")) for name in sorted(list_names(adapters)))
    return {function: None for function in above if function is not None}


def _handlers(file: Path) -> dict[str, set[str]]:
    """Handlers in the kernel's list of input devices, by each of them and by the name of the device in sysfs."""
    found = {}
    for block in (read_text(file) or "").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        handlers = set(lines.get("H", "").partition("=")[2].split())
        names = [os.path.basename(lines.get("S", "")), *(name for name in handlers if name.startswith("event"))]
        found.update({name: handlers for name in names if name})
    return found


def _on_usb(directory: str) -> Iterator[str]:
    """Smart card readers, security keys and power supplies below a USB controller, hubs between or not."""
    for name in sorted(name for name in list_names(directory) if name.startswith("usb")):
        yield from _below(f"{directory}/{name}", "")


def _below(directory: str, device: str) -> Iterator[str]:
    names = list_names(directory)
    device = _called(directory, "manufacturer", "product") or device
    kind = "smart card reader" if read_text(f"{directory}/bInterfaceClass") == _SMART_CARD_CLASS else ""
    if "report_descriptor" in names:
        kind = _hid_kind(f"{directory}/report_descriptor")
    if kind:
        yield f"{kind} {device or os.path.basename(directory)}"
    for name in sorted(names):
        if name.startswith("hiddev"):
            yield f"{name} {device}, which is no input device and may be a power supply (UPS)"
        elif _USB_DIRECTORY.fullmatch(name) and not os.path.islink(f"{directory}/{name}"):
            yield from _below(f"{directory}/{name}", device)


def _hid_kind(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            begin = stream.read(4)
    except OSError:
        return ""
    return next((kind for page, kind in _HID_KINDS.items() if begin.startswith(page)), "")


def _thunderbolt(root: Path) -> dict[Sbdf, list[str]]:
    """Devices that are connected over Thunderbolt or USB4, by their controller."""
    found: dict[Sbdf, list[str]] = defaultdict(list)
    directory = root / "bus" / "thunderbolt" / "devices"
    for name in sorted(list_names(directory)):
        path = link_target(f"{directory}/{name}")
        function = pci_function_of(path)
        if _THUNDERBOLT_DEVICE.fullmatch(name) and function is not None:
            called = _called(path, "vendor_name", "device_name") or name
            found[function].append(f"Thunderbolt device {called}")
    return found


def _tunneled(root: Path, devices: Mapping[Sbdf, PciDevice]) -> frozenset[Sbdf]:
    """Functions that were plugged in from outside: the kernel knows which ports lead out (pci_set_removable)."""
    files = {sbdf: root / "bus" / "pci" / "devices" / str(sbdf) / "removable" for sbdf in devices}
    return frozenset(sbdf for sbdf, file in files.items() if read_text(file) == "removable")


def _called(directory: str, *files: str) -> str:
    """Return what a device calls itself, as far as it can be printed."""
    text = " ".join(filter(None, (read_text(f"{directory}/{file}") for file in files)))
    return "".join(letter for letter in text if letter.isprintable())[:80]


def _number(text: str | None) -> int:
    try:
        return int(text or "0", 16)
    except ValueError:
        return 0
