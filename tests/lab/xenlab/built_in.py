# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose dom0 kernel has pciback built in, and that boots as Debian's hosts do: what update-grub made of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from xenlab import kernel, machine

if TYPE_CHECKING:
    from xenlab.host import Host

DEFAULTS = f"""GRUB_DISTRIBUTOR=Debian
GRUB_DEFAULT="Debian GNU/Linux, with Xen hypervisor"
GRUB_TIMEOUT=0
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_CMDLINE_LINUX="{machine.DOM0_OPTIONS}"
GRUB_CMDLINE_XEN="{machine.XEN_OPTIONS}"
"""

# Like Debian's, this kernel gets an initramfs; the lab's finds the disk with any kernel. Not before all packages are
# installed: a trigger of theirs would make it anew.
INITRAMFS = "cd /boot && for kernel in vmlinuz-*-pciback; do cp lab/initrd initrd.img-${kernel#vmlinuz-}; done"


def install(host: Host, say: Callable[[str], None], timeout: float) -> None:
    """Install that kernel and GRUB's tools in dom0, and boot it."""
    host.unpack(kernel.build(say))
    say(f"host {host.name} gets its kernel and GRUB's tools, and reboots")
    host.run("apt-get update -qq && apt-get install -qq --no-install-recommends grub2-common", timeout=timeout)
    host.run(INITRAMFS)
    host.run("cat > /etc/default/grub", stdin=DEFAULTS)
    host.run("mkdir -p /boot/grub && update-grub", timeout=timeout)
    host.reboot(timeout=timeout)
