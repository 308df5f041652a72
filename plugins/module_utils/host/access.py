# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The outside systems of one host, opened together for one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from .boot_config import BootConfig
from .hypervisor import Hypervisor
from .kernel_modules import KernelModules
from .sriov import Sriov
from .sysfs import Sysfs
from .xenstore import XenStore


@dataclass(frozen=True)
class HostAccess:
    """Everything that a run can read and change."""

    store: XenStore
    sysfs: Sysfs
    hypervisor: Hypervisor
    modules: KernelModules = field(default_factory=KernelModules)
    boot: BootConfig = field(default_factory=BootConfig)

    @property
    def sriov(self) -> Sriov:
        """Virtual functions in sysfs."""
        return Sriov(self.sysfs.root)

    @contextmanager
    def answering(self) -> Iterator[HostAccess]:
        """The same; where the connection to xenstored is gone, with a new one. Raises XenStoreGone."""
        if self.store.is_alive:
            yield self
            return
        with XenStore.open(self.store.timeout) as store:
            yield replace(self, store=store)


@contextmanager
def open_host(request_timeout: float = 10.0) -> Iterator[HostAccess]:
    """Connect to xenstored, Xen and sysfs of the host this runs on; `request_timeout` in seconds.

    Raises XenStoreError or HypervisorError where this is no Xen dom0.
    """
    with XenStore.open(request_timeout) as store, Hypervisor.open() as hypervisor:
        sysfs = Sysfs.from_environment()
        root = sysfs.root.parent  # the host's own: a simulated one must not have this machine's boot changed
        yield HostAccess(store, sysfs, hypervisor, KernelModules(root), BootConfig(root))
