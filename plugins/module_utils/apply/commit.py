# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One change of a domain's devices: xenstore and libxl's stored configuration together, under libxl's locks.

An entry too many in the configuration does no harm: libxl leaves out what xenstore does not have. One too few loses
the device at the guest's next reboot. So whatever goes wrong, adding comes early and removing late.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack, suppress
from typing import Callable, TypeVar

from ..host.toolstack.libxl_state import LockError, domain_locks
from ..host.toolstack.stored_config_file import ConfigError, read_config, write_config
from ..host.xenstore import Transaction, XenStore, XenStoreGone
from ..model.domain import Domain
from ..model.stored_config import amended
from ..values.address import Sbdf
from .loop import Flow, Work

T = TypeVar("T")

_LOCK_SECONDS = 10.0


def commit(
    store: XenStore,
    domain: Domain,
    body: Callable[[Transaction], T],
    add: Collection[Sbdf] = (),
    remove: Collection[Sbdf] = (),
) -> Flow:
    """Run `body` in a transaction, and have the configuration list `add` and no longer list `remove`; returns what
    `body` does.

    In libxl's order: the configuration is on disk before the transaction is committed. Both are looked at once `body`
    has run, which may fill them in by what it finds. Raises what `body` raises,
    LockError, and, if devices are to be added, ConfigError; the configuration then is as before.
    """
    with ExitStack() as locks:
        yield _lock(domain, locks)
        restore: list[Callable[[], None]] = []

        def whole(transaction: Transaction) -> T:
            result = body(transaction)
            try:
                restore.append(_amend(domain, add, remove))
            except ConfigError:
                if add:
                    raise
            return result

        try:
            return store.transaction(whole)
        except XenStoreGone:
            raise  # whether it was committed is not known
        except BaseException:
            if restore:
                with suppress(ConfigError):
                    restore[0]()
            raise


def forget(domain: Domain, devices: Collection[Sbdf]) -> Flow:
    """Have the configuration no longer list devices whose attachment was taken back."""
    with suppress(ConfigError, LockError), ExitStack() as locks:
        yield _lock(domain, locks)
        _amend(domain, (), devices)


def _lock(domain: Domain, locks: ExitStack) -> Work:
    """Take libxl's locks; another toolstack may hold them for long, which is not to hold up the other domains."""
    return Work(lambda: locks.enter_context(domain_locks(domain.domid, domain.uuid, _LOCK_SECONDS)))


def _amend(domain: Domain, add: Collection[Sbdf], remove: Collection[Sbdf]) -> Callable[[], None]:
    """Change the stored configuration; returns what takes the change back."""
    before = read_config(domain.domid, domain.uuid)
    if before is None:
        return lambda: None
    after = amended(before, add, remove)
    if after == before:
        return lambda: None
    write_config(domain.domid, domain.uuid, after)
    return lambda: write_config(domain.domid, domain.uuid, before)
