# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a device to a driver of the host: to one by name, or to whichever of this kernel's fits it."""

from __future__ import annotations

import errno

from ..host.access import HostAccess
from ..host.sysfs import Sysfs, SysfsError
from ..model.device import PciDevice
from ..values.address import Sbdf


def bind(sysfs: Sysfs, sbdf: Sbdf, driver: str) -> None:
    """Give the device to a driver that is loaded. Raises SysfsError.

    A driver_override that reads as none may be the text `(null)`, which no driver fits. So it is cleared before the
    driver is asked once more.
    """
    try:
        sysfs.bind(sbdf, driver)
    except SysfsError as error:
        if error.errno != errno.ENODEV or sysfs.driver_override(sbdf) is not None:
            raise
        sysfs.clear_driver_override(sbdf)
        sysfs.bind(sbdf, driver)


def set_override(sysfs: Sysfs, sbdf: Sbdf, driver: str | None) -> None:
    """Let only this driver take the device; any, with None."""
    if driver is None:
        sysfs.clear_driver_override(sbdf)
    else:
        sysfs.set_driver_override(sbdf, driver)


def give_to_fitting_driver(access: HostAccess, device: PciDevice) -> None:
    """Give a device that has no driver to one that fits it.

    Without a driver is right only where this kernel has none for it, or none that it is configured to load; or for a
    virtual function, whose driver may refuse it until the physical one has been set up for it. Otherwise SysfsError
    says what keeps it from its driver.
    """
    sysfs, sbdf = access.sysfs, device.sbdf
    known = access.modules.drivers_of([(sbdf, device.modalias)])[sbdf] if device.modalias else ()
    fitting = [module for module in known if not module.unwanted]
    loaded = sysfs.drivers()
    # A device that was hidden at boot may be the only one of its kind, so its driver was never loaded.
    said = {
        module.name: access.modules.load(module.name)
        for module in fitting
        if not module.built_in and module.name not in loaded
    }
    if sysfs.probe(sbdf) or (sysfs.needs_driver_override(sbdf) and sysfs.driver_override(sbdf) is None):
        return  # a virtual function may be one that the kernel is not to offer to drivers
    override = sysfs.driver_override(sbdf)
    if override is not None:
        raise SysfsError(
            f"{sbdf} has no driver: its driver_override lets only {override} take it, which is not there or does not;"
            f" load {override}, or clear the driver_override (echo > /sys/bus/pci/devices/{sbdf}/driver_override)"
        )
    problems = []
    for module in fitting:
        names = sysfs.drivers_of_module(module.name)
        if not names:
            problems.append(f"module {module.name} cannot be loaded ({said.get(module.name) or 'it has no driver'})")
        for name in names:
            try:
                bind(sysfs, sbdf, name)
            except SysfsError as error:
                problems.append(str(error))
            else:
                return
    if problems and device.physfn is None:
        raise SysfsError(
            f"{sbdf} has no driver though this kernel has one for it: {'; '.join(problems)}; correct that, or keep the"
            " module from it for good (blacklist in /etc/modprobe.d), and run again"
        )
