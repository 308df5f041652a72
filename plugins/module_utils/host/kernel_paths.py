# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the kernel's file systems are, what a device is called there, and which PCI function it stands on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from ..values.address import AddressError, Sbdf


def beside(sysfs_root: Path, name: str) -> Path:
    """Another directory of the same host: /proc, /dev or /etc beside /sys, wherever a host's root is mounted."""
    return sysfs_root.parent / name


def pci_function_of(path: str) -> Sbdf | None:
    """The PCI function nearest to a kernel device, from its path below /sys/devices."""
    for part in reversed(path.split("/")):
        if part[-2:-1] == "." and part.count(":") == 2:
            with contextlib.suppress(AddressError):
                return Sbdf.parse(part)
    return None


class DeviceNames:
    """Kernel names of block devices by the paths in /dev that people and programs use.

    `mapped` are kernel names by those of device-mapper.
    """

    def __init__(self, directory: Path, mapped: Mapping[str, str]) -> None:
        self._directory, self._mapped = os.path.realpath(directory), mapped

    def of(self, path: str) -> str:
        """The name, links followed; empty if the path is not one of /dev."""
        if not path.startswith("/dev/"):
            return ""
        real = os.path.realpath(f"{self._directory}/{path[5:]}")
        name = real[len(self._directory) + 1 :] if real.startswith(f"{self._directory}/") else os.path.basename(real)
        if name.startswith("mapper/"):
            return self._mapped.get(name[7:], "")
        return name.replace("/", "!")  # as sysfs writes it, for example cciss!c0d0
