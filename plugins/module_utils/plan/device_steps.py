# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a plan for pciback, as data: what each does with one device, and how a person reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Union

from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from ..values.words import listed


@dataclass(frozen=True)
class Take:
    """Move a device from its driver, if it has one, to pciback, and put it into Xen's quarantine.

    `record` is the driver's directory that xenstore has from earlier. The driver that the device has now replaces it.
    `reserved_for` is another driver that alone may take the device by its `driver_override`, which is cleared.
    """

    action: ClassVar[str] = "take"

    sbdf: Sbdf
    driver: str | None
    record: str | None
    policy: DevicePolicy = field(default_factory=DevicePolicy)
    reserved_for: str | None = None

    def __str__(self) -> str:
        source = (
            f"take {self.sbdf} from driver {self.driver}" if self.driver else f"take {self.sbdf}, which has no driver"
        )
        cleared = f", clear its driver_override {self.reserved_for}" if self.reserved_for else ""
        return f"{source}{cleared}, give it to pciback and quarantine it"


@dataclass(frozen=True)
class Quarantine:
    """Put a device that pciback already holds into Xen's quarantine.

    Xen does not say whether a device is in quarantine; asking for it again does no harm.
    """

    action: ClassVar[str] = "quarantine"

    sbdf: Sbdf
    policy: DevicePolicy = field(default_factory=DevicePolicy)

    def __str__(self) -> str:
        return f"quarantine {self.sbdf}, which pciback holds and which is not known to be in quarantine"


@dataclass(frozen=True)
class Rebind:
    """Take a device from pciback and give it back, which is the only way to clear its permissive flag."""

    action: ClassVar[str] = "rebind"

    sbdf: Sbdf

    def __str__(self) -> str:
        return f"take {self.sbdf} from pciback and give it back, to clear its permissive flag"


@dataclass(frozen=True)
class MakePermissive:
    """Have pciback let the guest write all of a device's configuration space."""

    action: ClassVar[str] = "make-permissive"

    sbdf: Sbdf
    reason: str

    def __str__(self) -> str:
        return f"make {self.sbdf} permissive ({self.reason})"


@dataclass(frozen=True)
class Release:
    """Take a device from quarantine and pciback and give it back to the host.

    `driver` is the one that `record` names; None lets the kernel find one that fits. `reset_after` is the guest that
    had the device, if the device must be reset first to remove what the guest left in it; empty if it need not be.
    """

    action: ClassVar[str] = "release"
    bound: ClassVar[bool] = False

    sbdf: Sbdf
    driver: str | None
    record: str | None
    reset_after: str = ""

    def __str__(self) -> str:
        target = f"driver {self.driver}" if self.driver else "the driver that the kernel finds for it"
        release = f"release {self.sbdf} from quarantine and pciback and give it to {target}"
        return f"reset {self.sbdf}, which {self.reset_after} had; {release}" if self.reset_after else release


@dataclass(frozen=True)
class FinishRelease:
    """Finish a release that was begun, as a whole one ends: off pciback's list, no record, and with its driver.

    `driver` is the one that `record` names; None lets the kernel find one that fits. `bound`: it has one already.
    """

    action: ClassVar[str] = "finish-release"

    sbdf: Sbdf
    driver: str | None
    record: str | None
    bound: bool = False

    def __str__(self) -> str:
        target = f"driver {self.driver}" if self.driver else "the driver that the kernel finds for it"
        given = "" if self.bound else f" and give it to {target}"
        return f"finish the release of {self.sbdf}: take it off pciback's list{given}"


@dataclass(frozen=True)
class Forget:
    """Remove what is left of a device that the host does not have: its place on pciback's list, its record, our note.

    pciback would take whatever device comes to that place.
    """

    action: ClassVar[str] = "forget"

    sbdf: Sbdf
    record: str | None
    listed: bool

    def __str__(self) -> str:
        left = [
            *(["its place on pciback's list"] if self.listed else []),
            *(["the record of its driver"] if self.record else []),
            "what was noted of it",
        ]
        return f"forget {self.sbdf}, which this host does not have: {listed(left)}"


Step = Union[Take, Quarantine, Rebind, MakePermissive, Release, FinishRelease, Forget]
