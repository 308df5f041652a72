# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SR-IOV as Linux offers it: the number of virtual functions in sysfs, their settings through iproute2's `ip`."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..model.physical_function import VfSettings
from ..values.address import Sbdf
from ..values.errors import HostError
from . import command
from .kernel_writes import KernelWrites, WriteHangs
from .sysfs import HANGING_ADVICE

#: Some drivers need seconds for a setting, while they wait for their firmware.
_IP_SECONDS = 60.0
#: The usual cause of each error of sriov_numvfs (sriov_numvfs_store and sriov_enable in drivers/pci/iov.c, and the
#: drivers' own sriov_configure), with what to do.
_CAUSES = {
    errno.ENOMEM: "the firmware left too little room for the windows or the bus numbers of the functions; enable SR-IOV"
    " and decoding above 4 GB in the firmware, or ask for fewer functions",
    errno.ENOENT: "its driver is not loaded, or has no SR-IOV; load another version of the driver",
    errno.ENOSYS: "its driver, or this kernel, has no SR-IOV; use another version of the driver",
    errno.EOPNOTSUPP: "its driver does not offer SR-IOV as the card is set up now; enable it in the card's firmware",
    errno.EBUSY: "it has virtual functions already, or its driver uses what they need; end that use and run again",
    errno.EPERM: "virtual functions are in use by a guest or held by pciback, or its driver forbids it as it is set up"
    " now; release them first",
    errno.ERANGE: "the card has fewer virtual functions than that; ask for fewer",
    errno.EINVAL: "its driver does not support that number; ask for fewer",
    errno.EAGAIN: "its driver is not ready, as after a reset; run again",
    errno.EIO: "the card did not answer its driver; see whether it has failed",
    errno.ENODEV: "the card has left the bus, or the firmware gave it no room; see whether it has failed",
    errno.ENOSPC: "the card has no room left for more functions; ask for fewer",
}


class SriovError(HostError):
    """The kernel or `ip` refused, or did not answer; the message says what."""


class Sriov:
    """Physical functions of the host whose sysfs is at `root`, written to through `writes`."""

    def __init__(self, root: Path, writes: KernelWrites) -> None:
        self._writes = writes
        self._devices = root / "bus" / "pci" / "devices"

    def drivers_autoprobe(self, pf: Sbdf) -> bool:
        """Whether drivers are offered new virtual functions; kernels before 4.12 always do."""
        try:
            return (self._devices / str(pf) / "sriov_drivers_autoprobe").read_text(encoding="ascii").strip() != "0"
        except OSError:
            return True

    def layout(self, pf: Sbdf) -> tuple[int, int, str]:
        """Read where virtual functions appear and what they are: first offset, stride, number of the chip.

        Zeros and an empty text where the kernel does not say it (sriov_offset and others, since Linux 4.14).
        """
        texts = [self._text(pf, name) for name in ("sriov_offset", "sriov_stride", "sriov_vf_device")]
        offset, stride = (int(text) if text.isdecimal() else 0 for text in texts[:2])
        return offset, stride, f"{texts[2]:0>4}" if texts[2] else ""

    def _text(self, pf: Sbdf, name: str) -> str:
        try:
            return (self._devices / str(pf) / name).read_text(encoding="ascii").strip()
        except OSError:
            return ""

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
            self._writes.write(file, value, pf)
        except WriteHangs as error:
            raise SriovError(f"{pf}: writing {value} to {file} hangs: {error.text}; {HANGING_ADVICE}") from error
        except OSError as error:
            cause = _CAUSES.get(error.errno or 0, "")
            raise SriovError(
                f"{pf}: writing {value} to {file} failed ({error.strerror}){f': {cause}' if cause else ''};"
                " the kernel log (dmesg) says more"
            ) from error


def _settings(info: dict[str, Any]) -> VfSettings:
    vlans = info.get("vlan_list") or [info]
    return VfSettings(
        mac=info.get("address", info.get("mac")),
        vlan=int(vlans[0].get("vlan", 0)),
        spoof_check=info.get("spoofchk"),
        link_state=info.get("link_state"),
    )


def _ip(words: Sequence[str]) -> str:
    try:
        done = command.run(["ip", *words], _IP_SECONDS)
    except OSError as error:
        raise SriovError(f"`ip` could not be run ({error.strerror}); install iproute2") from error
    if done.status:
        raise SriovError(f"`ip {' '.join(words)}` failed: {done.last_words}")
    return done.output
