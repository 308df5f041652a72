# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SR-IOV as Linux offers it: the number of virtual functions in sysfs, their settings through iproute2's `ip`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..model.physical_function import VfSettings
from ..values.address import Sbdf
from ..values.errors import HostError
from . import command
from .kernel_files import write_attribute


class SriovError(HostError):
    """The kernel or `ip` refused, or did not answer; the message says what."""


class Sriov:
    """Physical functions of the host whose sysfs is at `root`."""

    def __init__(self, root: Path) -> None:
        self._devices = root / "bus" / "pci" / "devices"

    def drivers_autoprobe(self, pf: Sbdf) -> bool:
        """Whether drivers are offered new virtual functions; kernels before 4.12 always do."""
        try:
            return (self._devices / str(pf) / "sriov_drivers_autoprobe").read_text(encoding="ascii").strip() != "0"
        except OSError:
            return True

    def set_drivers_autoprobe(self, pf: Sbdf, offer: bool) -> None:
        """Offer virtual functions that appear from now on to drivers, or do not."""
        self._write(pf, "sriov_drivers_autoprobe", str(int(offer)))

    def set_count(self, pf: Sbdf, count: int) -> None:
        """Create `count` virtual functions where there are none, or with 0 remove all. Some drivers take seconds."""
        self._write(pf, "sriov_numvfs", str(count))

    def vf_settings(self, interface: str) -> dict[int, VfSettings]:
        """Read what is set for each virtual function behind a network interface. Raises SriovError."""
        text = _ip(["-json", "-details", "link", "show", "dev", interface])
        try:
            (link,) = json.loads(text)
            return {int(info["vf"]): _settings(info) for info in link.get("vfinfo_list", [])}
        except (ValueError, KeyError, TypeError) as error:
            raise SriovError(
                f"`ip -json link show dev {interface}` gave something unreadable; install all of iproute2"
            ) from error

    def set_vf(self, interface: str, index: int, settings: VfSettings) -> None:
        """Set what is declared for one virtual function. Raises SriovError if the driver does not have it."""
        words = ["mac", settings.mac] if settings.mac is not None else []
        words += ["vlan", str(settings.vlan)] if settings.vlan is not None else []
        words += ["spoofchk", "on" if settings.spoof_check else "off"] if settings.spoof_check is not None else []
        if words:
            _ip(["link", "set", "dev", interface, "vf", str(index), *words])

    def _write(self, pf: Sbdf, name: str, value: str) -> None:
        file = self._devices / str(pf) / name
        try:
            write_attribute(file, value)
        except OSError as error:
            raise SriovError(
                f"{pf}: writing {value} to {file} failed ({error.strerror}); the kernel log (dmesg) says more"
            ) from error


def _settings(info: dict[str, Any]) -> VfSettings:
    vlans = info.get("vlan_list") or [info]
    return VfSettings(
        mac=info.get("address", info.get("mac")),
        vlan=int(vlans[0].get("vlan", 0)),
        spoof_check=info.get("spoofchk"),
    )


def _ip(words: Sequence[str]) -> str:
    try:
        done = command.run(["ip", *words])
    except OSError as error:
        raise SriovError(f"`ip` could not be run ({error.strerror}); install iproute2") from error
    if done.status:
        raise SriovError(f"`ip {' '.join(words)}` failed: {done.last_words}")
    return done.output
