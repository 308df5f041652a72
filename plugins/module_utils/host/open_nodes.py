# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which processes have device nodes of a PCI function open: its driver may wait for them when it is to let go."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from threading import Thread

from ..model.device import PciDevice
from ..values.address import AddressError, Sbdf
from .kernel_files import beside, link_target, list_names, pci_function_of, read_text

#: Nodes that stand on no card. Most of what is open is one of them.
_OF_NO_CARD = (
    "null",
    "zero",
    "full",
    "random",
    "urandom",
    "pts/",
    "ptmx",
    "tty",
    "console",
    "shm/",
    "kmsg",
    "fuse",
    "log",
)
_TERMINALS_OF_CARDS = ("ttyS", "ttyUSB", "ttyACM")
#: Open as long as the host runs, and no hindrance: clocks, the management engine; of input devices see other_uses.py.
_OVERLOOKED = ("input", "mei", "rtc")
_NVIDIA = "nvidia"
_LOOK_SECONDS = 5.0


def open_nodes_of(sysfs_root: Path, sbdf: Sbdf) -> list[str]:
    """List nodes of one function with who has them open, as far as that can be found out in a few seconds.

    A reader of a process's map waits while that process changes it, and that one may wait for the kernel.
    """
    found: list[str] = []
    look = Thread(target=lambda: found.extend(OpenNodes(sysfs_root, {}).by_device().get(sbdf, ())), daemon=True)
    look.start()
    look.join(_LOOK_SECONDS)
    return found


class OpenNodes:
    """The device nodes that processes of the host have open or mapped."""

    def __init__(self, sysfs_root: Path, devices: Mapping[Sbdf, PciDevice]) -> None:
        self._root = sysfs_root
        self._proc = beside(sysfs_root, "proc")
        self._devices = devices
        self._known: dict[str, tuple[Sbdf, ...]] = {}

    def by_device(self) -> dict[Sbdf, list[str]]:
        """Node and process, in words, by the function."""
        found: dict[Sbdf, dict[str, None]] = defaultdict(dict)
        for pid in sorted((name for name in list_names(self._proc) if name.isdecimal()), key=int):
            if int(pid) == os.getpid():
                continue
            for file, node in sorted(set(self._open_in(pid)), key=lambda one: one[1]):
                for function in self._functions(file, node):
                    found[function][f"{node} in {self._name(pid)} ({pid})"] = None
        return {sbdf: list(words) for sbdf, words in found.items()}

    def _open_in(self, pid: str) -> Iterator[tuple[str, str]]:
        """Files of a process that may be device nodes: how to reach each, and its path as the process has it."""
        descriptors = f"{self._proc}/{pid}/fd"
        for descriptor in list_names(descriptors):
            try:
                target = os.readlink(f"{descriptors}/{descriptor}")
            except OSError:
                continue
            if _may_stand_on_card(target):
                yield f"{descriptors}/{descriptor}", target.removesuffix(" (deleted)")
        for line in (read_text(f"{self._proc}/{pid}/maps") or "").splitlines():
            path = line[line.find("/") :] if "/" in line else ""
            if _may_stand_on_card(path):
                yield path, path.removesuffix(" (deleted)")

    def _functions(self, file: str, node: str) -> tuple[Sbdf, ...]:
        if node not in self._known:
            self._known[node] = tuple(dict.fromkeys(self._look_up(file, node)))
        return self._known[node]

    def _look_up(self, file: str, node: str) -> Iterable[Sbdf]:
        """Find the functions that a node stands on: by its number, else by its name."""
        if "/sys/" in node:
            function = pci_function_of(node)
            return [] if function is None else [function]
        name = node.rpartition("/dev/")[2]
        if name.startswith(_NVIDIA):
            return self._of_nvidia(name)
        if name.startswith("vfio/"):
            group = (
                self._root / "kernel" / "iommu_groups" / name.rpartition("/")[2].removeprefix("noiommu-") / "devices"
            )
            members = list(_addresses(list_names(group)))
            if members:
                return members
        path = self._by_number(file) or (self._by_name(name) if node.startswith("/dev/") else "")
        return self._above(path) if path and not self._is_overlooked(path) else []

    def _by_number(self, file: str) -> str:
        try:
            status = os.stat(file)
        except OSError:
            return ""
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            return ""
        kind = "block" if stat.S_ISBLK(status.st_mode) else "char"
        link = f"{self._root}/dev/{kind}/{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        return link_target(link) if os.path.islink(link) else ""

    def _by_name(self, name: str) -> str:
        """Where sysfs has a device whose node has this name; of most, it is the last part."""
        if name.startswith("bus/usb/"):
            return self._usb.get(tuple(int(part) for part in name.split("/")[2:] if part.isdecimal()), "")
        last = os.path.basename(name)
        for group in sorted(list_names(self._root / "class")):
            for candidate in (last, last.removeprefix("n")):  # a tape that does not rewind has no name of its own
                place = f"{self._root}/class/{group}/{candidate}"
                if os.path.lexists(place):
                    return link_target(place)
        return ""

    @cached_property
    def _usb(self) -> Mapping[tuple[int, ...], str]:
        """USB devices by the numbers of bus and device, which are their nodes' names."""
        places = self._root / "bus" / "usb" / "devices"
        found = {}
        for name in list_names(places):
            numbers = [read_text(places / name / file) or "" for file in ("busnum", "devnum")]
            if all(number.isdecimal() for number in numbers):
                found[tuple(map(int, numbers))] = link_target(f"{places}/{name}")
        return found

    def _is_overlooked(self, path: str) -> bool:
        return any(os.path.lexists(f"{self._root}/class/{group}/{os.path.basename(path)}") for group in _OVERLOOKED)

    def _above(self, path: str) -> Iterator[Sbdf]:
        """Yield the function that a device stands on; of a volume or an array, those of all disks below."""
        function = pci_function_of(path)
        if function is not None:
            yield function
        else:
            for name in list_names(f"{path}/slaves"):
                yield from self._above(link_target(f"{self._root}/class/block/{name}"))

    def _of_nvidia(self, name: str) -> list[Sbdf]:
        """Cards of NVIDIA's own driver, which sysfs has no nodes of: one by its number, all by a common node."""
        cards = beside(self._root, "proc") / "driver" / "nvidia" / "gpus"
        ours = list(_addresses(list_names(cards))) or [
            sbdf for sbdf, device in self._devices.items() if device.driver == _NVIDIA
        ]
        number = name.removeprefix(_NVIDIA)
        if not number.isdecimal():
            return ours
        by_number = [sbdf for sbdf in ours if self._minor(cards / str(sbdf) / "information") == number]
        return by_number or ours

    @staticmethod
    def _minor(file: Path) -> str:
        lines = (read_text(file) or "").splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("Device Minor")), "")

    def _name(self, pid: str) -> str:
        text = read_text(f"{self._proc}/{pid}/comm") or "a process"
        return "".join(letter if letter.isprintable() else "?" for letter in text)


def _may_stand_on_card(path: str) -> bool:
    if path.startswith("/sys/devices/pci"):
        return True
    name = path.rpartition("/dev/")[2] if "/dev/" in path else ""
    return bool(name) and (name.startswith(_TERMINALS_OF_CARDS) or not name.startswith(_OF_NO_CARD))


def _addresses(names: Iterable[str]) -> Iterator[Sbdf]:
    for name in names:
        try:
            yield Sbdf.parse(name)
        except AddressError:
            continue
