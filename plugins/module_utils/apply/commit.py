# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of a domain's devices: xenstore and the stored configuration together, under the toolstack's locks.

An entry too many in the configuration does no harm: libxl leaves out what xenstore does not have. One too few loses
the device at the guest's next reboot. So whatever goes wrong, adding comes early and removing late.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Callable, NamedTuple

from ..host.access import HostAccess
from ..host.toolstack.contract import ConfigError, LockError
from ..host.xenstore import Transaction, XenStoreGone
from ..model.domain import Domain
from ..values.address import Sbdf
from ..values.device_options import NO_OPTIONS, DeviceOptions
from .loop import Flow, Work

_LOCK_SECONDS = 10.0


class Listed(NamedTuple):
    """What a transaction has made of a connection: devices that are in it now, and those that are not any more."""

    added: Collection[Sbdf] = ()
    removed: Collection[Sbdf] = ()
    #: What `commit` returns.
    value: Any = None
    #: Options of the devices that were added.
    options: Mapping[Sbdf, DeviceOptions] = NO_OPTIONS


def commit(access: HostAccess, domain: Domain, body: Callable[[Transaction], Listed]) -> Flow:
    """Run `body` in a transaction, and have the configuration list what it added and no longer what it removed.

    In libxl's order: the configuration is on disk before the transaction is committed. After a conflict `body` runs
    again, and what it returns last counts. Raises what `body` raises, LockError, and, if devices are added,
    ConfigError; the configuration then is as before.
    """
    with ExitStack() as locks:
        yield from _lock(access, domain, locks)
        restore: list[Callable[[], None]] = []

        def whole(transaction: Transaction) -> Any:
            listed = body(transaction)
            try:
                if restore:  # the try before met a conflict, and may have meant other devices
                    restore[0]()
                    restore.clear()
                restore.append(access.toolstack.amend(domain, listed.added, listed.removed, listed.options))
            except ConfigError:
                if listed.added:
                    raise
            return listed.value

        try:
            return access.store.transaction(whole)
        except XenStoreGone:
            raise  # whether it was committed is not known
        except BaseException:
            if restore:
                with suppress(ConfigError):
                    restore[0]()
            raise


def forget(access: HostAccess, domain: Domain, devices: Collection[Sbdf]) -> Flow:
    """Have the configuration no longer list devices whose attachment was taken back."""
    with suppress(ConfigError, LockError):
        yield from unlist(access, domain, devices)


def unlist(access: HostAccess, domain: Domain, devices: Collection[Sbdf]) -> Flow:
    """Have the configuration no longer list devices that the domain does not have. Raises ConfigError, LockError."""
    with ExitStack() as locks:
        yield from _lock(access, domain, locks)
        access.toolstack.amend(domain, (), devices)


def _lock(access: HostAccess, domain: Domain, locks: ExitStack) -> Flow:
    """Take the domain's locks; another toolstack may hold them for long, which is not to hold up the other domains."""
    try:
        locks.enter_context(access.toolstack.locked(domain, 0))
    except LockError:
        yield Work(lambda: locks.enter_context(access.toolstack.locked(domain, _LOCK_SECONDS)))
