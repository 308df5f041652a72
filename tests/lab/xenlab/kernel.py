# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds a kernel that has pciback built in, which Debian's has not, from Debian's own source."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from xenlab import machine_needs, places
from xenlab.build_lock import only_builder
from xenlab.errors import LabError

SOURCE = "linux-source-6.1"  # of the release that the image is made of


def build(say: Callable[[str], None]) -> Path:
    """The kernel that fits its configuration, as a tarball for dom0's disk. Cached."""
    cache = places.kernels()
    cache.mkdir(parents=True, exist_ok=True)
    inputs = places.KERNEL_CONFIG.read_bytes() + Path(__file__).read_bytes()
    wanted = cache / f"{hashlib.sha256(inputs).hexdigest()[:16]}.tar.gz"
    with only_builder(cache / "lock", say):
        if wanted.exists():
            return wanted
        machine_needs.require(machine_needs.BUILD_KERNEL)
        for leftover in cache.glob("building-*"):
            shutil.rmtree(leftover)
        say("building a kernel that has pciback built in (some minutes, once)")
        with tempfile.TemporaryDirectory(prefix="building-", dir=cache) as directory:
            _build_into(Path(directory)).rename(wanted)
        for old in cache.glob("*.tar.gz"):
            if old != wanted:
                old.unlink()
    return wanted


def _build_into(work: Path) -> Path:
    """Source, configuration, kernel and modules, packed: each step in `work`, its words in a log of the cache."""
    _run(["apt-get", "download", "--quiet", SOURCE], work)
    _run(["dpkg-deb", "--extract", *work.glob(f"{SOURCE}_*.deb"), "package"], work)
    _run(["tar", "--extract", "--file", work / "package" / "usr" / "src" / f"{SOURCE}.tar.xz"], work)
    source, disk = work / SOURCE, work / "disk"
    # Beneath everything else that this machine has to do.
    make = ["nice", "-n", "19", "make", "--silent", f"--jobs={os.cpu_count()}"]
    _run([*make, f"KCONFIG_ALLCONFIG={places.KERNEL_CONFIG}", "allnoconfig"], source)
    _require_configured(source / ".config")
    _run([*make, "bzImage", "modules"], source)
    _run([*make, f"INSTALL_MOD_PATH={disk / 'usr'}", "INSTALL_MOD_STRIP=1", "modules_install"], source)
    release = (source / "include" / "config" / "kernel.release").read_text().strip()
    (disk / "boot").mkdir()
    shutil.copy(source / "arch" / "x86" / "boot" / "bzImage", disk / "boot" / f"vmlinuz-{release}")
    # update-grub learns from it that the kernel can be dom0's (its 20_linux_xen).
    shutil.copy(source / ".config", disk / "boot" / f"config-{release}")
    for link in ("build", "source"):
        (disk / "usr" / "lib" / "modules" / release / link).unlink(missing_ok=True)
    packed = work / "kernel.tar.gz"
    _run(["tar", "--create", "--gzip", "--owner=0", "--group=0", "--file", packed, "boot", "usr"], disk)
    return packed


def _require_configured(config: Path) -> None:
    """The kernel's makefiles drop what lacks something else without a word."""
    wanted = [line for line in places.KERNEL_CONFIG.read_text().splitlines() if line.startswith("CONFIG_")]
    if missing := set(wanted) - set(config.read_text().splitlines()):
        raise LabError(f"the kernel's configuration lacks what {', '.join(sorted(missing))} needs")


def _run(words: Sequence[str | Path], directory: Path) -> None:
    log = places.kernels() / "build.log"
    with log.open("w") as file:
        done = subprocess.run(words, cwd=directory, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
    if done.returncode:
        raise LabError(f"building the kernel failed at {words[0]}; the reason is in {log}")
