# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GRUB for a host that is to boot as its disk says, the kernel's command line included."""

from __future__ import annotations

import subprocess
from pathlib import Path

MODULES_DIRECTORY = Path("/usr/lib/grub/i386-pc")
#: What update-grub's entries load is in it already: no modules are on the host's disk.
MODULES = (
    *("biosdisk", "ext2", "search", "search_fs_file", "search_fs_uuid", "gzio", "serial", "terminal"),
    *("normal", "configfile", "test", "echo", "sleep", "linux", "multiboot", "multiboot2"),
)


def make(directory: Path, xen_options: str, dom0_options: str) -> Path:
    """Make a GRUB that QEMU starts as its "kernel".

    It obeys the disk's grub.cfg; as long as there is none, it boots what the image's maker put in /boot/lab.
    """
    script = directory / "grub-early.cfg"
    script.write_text(
        f"""serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
search --set=root --file /boot/lab/xen
set prefix=($root)/boot/grub
if [ -e /boot/grub/grub.cfg ]; then
    configfile /boot/grub/grub.cfg
fi
multiboot2 /boot/lab/xen placeholder {xen_options}
module2 /boot/lab/vmlinux placeholder {dom0_options}
module2 /boot/lab/initrd
boot
"""
    )
    core = directory / "grub-core"
    words = ["grub-mkimage", "--format=i386-pc", "--prefix=/boot/grub", f"--config={script}", f"--output={core}"]
    subprocess.run([*words, *MODULES], check=True)
    loader = directory / "grub"
    loader.write_bytes((MODULES_DIRECTORY / "lnxboot.img").read_bytes() + core.read_bytes())
    return loader
