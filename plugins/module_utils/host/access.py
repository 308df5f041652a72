# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All ways to one host, opened together for one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .device_memory import DeviceMemory
from .hypervisor import Hypervisor
from .managers import observe_management
from .network_usage import NetGraph
from .note_store import NoteStore
from .run_lock import run_lock
from .sysfs import Sysfs
from .toolstack.contract import Toolstack
from .toolstack.libxl import Libxl
from .xenstore import XenStore

if TYPE_CHECKING:
    from ..model.device import PciDevice
    from ..model.management import Management
    from ..model.usage import OtherUse
    from ..values.address import Sbdf
    from .boot_config import BootConfig
    from .kernel_modules import KernelModules
    from .sriov import Sriov
    from .xl_cfg_file import XlCfgFiles


class HostAccess:
    """Everything that a run reads or changes on a host. Nothing else opens a file, a socket or a program of it.

    A member with an import of its own is not needed by a run that finds all as declared; each import costs every run.
    """

    def __init__(self, store: XenStore, sysfs: Sysfs, hypervisor: Hypervisor) -> None:
        self.store = store
        self.sysfs = sysfs
        self.hypervisor = hypervisor

    @cached_property
    def toolstack(self) -> Toolstack:
        """What runs the domains; the only place that knows which toolstack it is."""
        return Libxl(self.store)

    @cached_property
    def notes(self) -> NoteStore:
        """What we note in xenstore until dom0 reboots."""
        return NoteStore(self.store)

    @cached_property
    def memory(self) -> DeviceMemory:
        """What devices are, kept over reboots."""
        return DeviceMemory(self._root)

    @cached_property
    def network(self) -> NetGraph:
        """Network interfaces and what uses them."""
        return NetGraph(self.sysfs.root)

    def management(self) -> Management:
        """Read what manages the host now."""
        return observe_management(self._root)

    @cached_property
    def sriov(self) -> Sriov:
        """Virtual functions: their number and their settings."""
        from .sriov import Sriov  # noqa: PLC0415 - for xen.pci.virtual_functions only

        return Sriov(self.sysfs.root, self.sysfs.writes)

    @cached_property
    def modules(self) -> KernelModules:
        """The kernel's modules."""
        from .kernel_modules import KernelModules  # noqa: PLC0415 - for xen.pci.assignable_devices only

        return KernelModules(self._root, self.sysfs.root)

    @cached_property
    def boot(self) -> BootConfig:
        """What decides over the next boot."""
        from .boot_config import BootConfig  # noqa: PLC0415 - for xen.pci.assignable_devices only

        return BootConfig(self._root)

    def other_uses(self, devices: Mapping[Sbdf, PciDevice]) -> dict[Sbdf, OtherUse]:
        """Read what else the host may need functions for that it drives itself."""
        from .other_uses import other_uses  # noqa: PLC0415 - only where a device may be taken from the host

        return other_uses(self.sysfs.root, devices)

    @cached_property
    def config_files(self) -> XlCfgFiles:
        """The xl.cfg of domains."""
        from .xl_cfg_file import XlCfgFiles  # noqa: PLC0415 - for tasks that name such a file only

        return XlCfgFiles(self._root)

    def run_lock(self, timeout: float, only_looks: bool = False) -> AbstractContextManager[None]:
        """Keep other changing runs off the host; raises RunLockError after `timeout` seconds.

        As long may each write to the kernel take. A run that only looks, as in check mode, takes no lock.
        """
        self.sysfs.writes.seconds = timeout
        return nullcontext() if only_looks else run_lock(timeout)

    @contextmanager
    def answering(self) -> Iterator[HostAccess]:
        """Use this access, or one with a new connection to xenstored if its own is gone. Raises XenStoreGone."""
        if self.store.is_alive:
            yield self
            return
        with XenStore.open(self.store.timeout) as store:
            yield HostAccess(store, self.sysfs, self.hypervisor)

    @property
    def _root(self) -> Path:
        """The host's own directories beside /sys: a simulated one must not have this machine's boot changed."""
        return self.sysfs.root.parent


@contextmanager
def open_host(request_timeout: float = 10.0) -> Iterator[HostAccess]:
    """Connect to xenstored, Xen and sysfs of the host this runs on; `request_timeout` in seconds.

    Raises XenStoreError or HypervisorError where this is no Xen dom0.
    """
    with XenStore.open(request_timeout) as store, Hypervisor.open() as hypervisor:
        yield HostAccess(store, Sysfs.from_environment(), hypervisor)
