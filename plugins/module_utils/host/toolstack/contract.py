# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a toolstack must do for us: the seam between this collection and libxl, or another one such as libvirt or XAPI.

The handshake with pciback is the same under every toolstack, and so are rights and resets. What differs is who else
changes a domain's devices, and how that one knows of ours. `libxl.Libxl` is the only implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Callable, NamedTuple, Protocol

from ...model.device_model import DeviceModel
from ...model.domain import Domain
from ...model.live_domain import Label
from ...model.store_changes import Change
from ...values.address import Sbdf
from ...values.device_options import NO_OPTIONS, DeviceOptions
from ...values.errors import HostError


class ToolstackError(HostError):
    """The toolstack is not there or refused; the text says what it said."""


class LockError(ToolstackError):
    """A domain's lock cannot be taken: another process has held it for the whole time allowed, or it has no file."""


class ConfigError(ToolstackError):
    """The stored configuration cannot be read or written; what was stored is still in place."""


class Markers(NamedTuple):
    """What the toolstack has noted of the host's devices."""

    #: The domain that each device is given to, by its number.
    holders: Mapping[Sbdf, int]
    #: The driver that each device had before it was made assignable, as a directory below /sys.
    drivers: Mapping[Sbdf, str]
    #: What each marker says that names no domain.
    unreadable: Mapping[Sbdf, str] = {}


class Toolstack(Protocol):
    """What is asked of the toolstack that runs the domains of a host.

    A device counts as taken from `claim` on until `unmark`. The order in a change is ours to keep: claim, rights,
    connection with `amend`, and backward to remove. An implementation keeps what each method says, also towards the
    toolstack's own processes, and is used from several threads where a method says so.
    """

    # ---- domains

    def labels(self) -> dict[int, Label]:
        """Read the names and UUIDs of domains but dom0, as the toolstack noted them, by numbers.

        A label says nothing about whether its domain is there: one that dies may lose it before, or leave it behind.
        """

    def domains(self, labels: Mapping[int, Label]) -> dict[int, Domain]:
        """Read all that the toolstack knows of these domains, of which name and UUID are known.

        That is their kind, how they were created, what a reboot would give them, and what their device models say.
        Connections and stub domains are left out. One domain never makes it fail: what cannot be read of it is None,
        and the silence of a device model is in its `problem`.
        """

    def stubs(self, domains: Collection[Domain]) -> dict[int, int]:
        """Find the stub domain of each of these that has one, by the guest's number."""

    def device_model(self, domain: Domain) -> DeviceModel:
        """Ask the device model of an HVM guest; its silence is in `problem`. From any thread."""

    # ---- markers

    def markers(self) -> Markers:
        """All markers of the host, those of dead domains and of absent devices too."""

    def holders(self, devices: Collection[Sbdf]) -> dict[Sbdf, int]:
        """Name the domains that have these devices by their markers; a device without a marker is left out."""

    def claim(self, domid: int, devices: Collection[Sbdf], along: Sequence[Change] = ()) -> dict[Sbdf, str]:
        """Mark the devices as this domain's: all at once, or none if another domain has one of them.

        `along` are writes of ours to xenstore that take effect with the markers, or not at all.
        Returns those that others have, with the number of that domain; empty on success. From then on the toolstack
        gives the devices to no other domain, and a run that is killed has left a trace before it gave any right.
        """

    def mark(self, domid: int, devices: Collection[Sbdf]) -> None:
        """Mark the devices as this domain's, whichever domain had them before."""

    def unmark(
        self, domid: int, devices: Collection[Sbdf], along: Sequence[Change] = (), always: Sequence[Change] = ()
    ) -> None:
        """Remove the markers of those devices that still have this domain's: another one's stays.

        `along` as in `claim`, but only if all of them have this domain's.
        """

    def drop_unreadable(self, device: Sbdf) -> None:
        """Remove the marker of a device if it names no domain."""

    def trace(self, domain: Domain) -> str:
        """Return a text that is another one once the toolstack has given a device without a marker to any domain.

        It may be another one for any other reason. Empty if nothing shows it. `domain` is one that runs: if the
        toolstack's record of it is not found, others would not be either.
        """

    def record_driver(self, device: Sbdf, directory: str | None) -> None:
        """Note the driver that a device had, so that the toolstack can give it back to it; None: forget it."""

    # ---- stored configuration

    def locked(self, domain: Domain, timeout: float) -> AbstractContextManager[None]:
        """Keep the toolstack from changing the domain's devices and its configuration. From any thread.

        Held for one commit only. Raises LockError after `timeout` seconds. A domain that the toolstack knows nothing of
        needs no lock, and gets none.
        """

    def amend(
        self,
        domain: Domain,
        add: Collection[Sbdf],
        remove: Collection[Sbdf],
        options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS,
    ) -> Callable[[], None]:
        """Have a reboot give the domain `add` and no longer `remove`; all else in its configuration stays.

        `options` are those of devices of `add`.

        It is stored for good when this returns, and the caller holds the lock. What is returned takes the change back.
        Both raise ConfigError. A domain without a configuration stays without.
        """

    # ---- devices of a guest with a device model, one at a time, from any thread

    def attach(self, domain: Domain, device: Sbdf, options: DeviceOptions) -> None:
        """Give the guest a device, all of it: device model, rights, xenstore, configuration, marker.

        Raises ToolstackError; then anything between nothing and all may be done, the marker may be gone as well, and
        the caller looks what is there.
        """

    def unplug(self, domain: Domain, device: Sbdf) -> None:
        """Ask the guest to eject a device. Returns before it has done so. Raises DeviceModelError."""

    def detach(self, domain: Domain, device: Sbdf) -> None:
        """Take what is left of a device that the guest has ejected: all that `attach` gave. Raises ToolstackError."""
