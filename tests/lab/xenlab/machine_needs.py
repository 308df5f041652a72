# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab needs from the machine that it runs on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from xenlab.errors import LabError

BUILD = {"mmdebstrap": "mmdebstrap", "mke2fs": "e2fsprogs", "apt-config": "apt", "ssh-keygen": "openssh-client"}
BUILD_WITHOUT_ROOT = {**BUILD, "newuidmap": "uidmap"}  # mmdebstrap then works in a user namespace
BUILD_KERNEL = {name: name for name in ("gcc", "make", "flex", "bison", "bc")} | {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "xz": "xz-utils",
    "depmod": "kmod",
    "/usr/include/gelf.h": "libelf-dev",
}
RUN = {"qemu-system-x86_64": "qemu-system-x86", "ssh": "openssh-client"}
RUN_GRUB = {"grub-mkimage": "grub-common", "/usr/lib/grub/i386-pc/lnxboot.img": "grub-pc-bin"}
# mke2fs and its like are not on everybody's PATH.
EXTRA_PATH = "/usr/sbin:/sbin"


def find(program: str) -> str | None:
    """The program's path, or None; a file that is no program is asked for by its own."""
    if program.startswith("/"):
        return program if os.path.exists(program) else None
    return shutil.which(program) or shutil.which(program, path=EXTRA_PATH)


def require(programs: dict[str, str]) -> None:
    """LabError, in one line and with the command that helps, unless all `programs` are there."""
    missing = [program for program in programs if find(program) is None]
    if missing:
        raise LabError(
            f"missing on this machine: {', '.join(missing)}; install with: "
            f"apt-get install --no-install-recommends {' '.join(_unique(programs[name] for name in missing))}"
        )


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
