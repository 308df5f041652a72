# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write what the kernel shows as files and links, and which PCI function stands behind one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..values.address import AddressError, Sbdf

_PAGE = 4096


def beside(sysfs_root: Path, name: str) -> Path:
    """Another directory of the same host: /proc, /dev or /etc beside /sys, wherever a host's root is mounted."""
    return sysfs_root.parent / name


def pci_function_of(path: str) -> Sbdf | None:
    """Find the PCI function nearest to a kernel device that Xen can name, from its path below /sys/devices.

    What is on a device behind an Intel VMD counts as the VMD's: who gets the VMD gets it, too.
    """
    for part in reversed(path.split("/")):
        if part[-2:-1] == "." and part.count(":") == 2:
            with contextlib.suppress(AddressError):
                sbdf = Sbdf.parse(part)
                if sbdf.has_xen_number:
                    return sbdf
    return None


def read_text(file: Path | str) -> str | None:
    """Read a file without the spaces around its text, None if it cannot be read."""
    try:
        with open(file, "rb", buffering=0) as stream:
            return stream.read().decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_attribute(file: str) -> str | None:
    """Do the same for an attribute in sysfs, in one read.

    The kernel hands out at most a page (sysfs_kf_seq_show in fs/sysfs/file.c). A large host has ten thousand of these
    files, of a few bytes each.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            return os.read(descriptor, _PAGE).decode("utf-8", "replace").strip()
        finally:
            os.close(descriptor)
    except OSError:
        return None


def write_attribute(file: Path, text: str) -> None:
    """Write an attribute in sysfs in one write, and make no file where there is none; raises OSError."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)


def list_names(directory: Path | str) -> list[str]:
    """Names in a directory, none if it is not there."""
    try:
        return os.listdir(directory)
    except OSError:
        return []


def link_target(link: str) -> str:
    """Return what a link of sysfs leads to; a place that is no link is the target itself.

    By that one link: in sysfs links lead straight to a directory below devices.
    """
    try:
        return os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)))
    except OSError:
        return link


def link_name(link: Path | str) -> str | None:
    """Last part of what a link points to, None if there is no such link."""
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None
