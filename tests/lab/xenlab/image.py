# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the host's image from distribution packages; finds the one that fits the recipe."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xenlab import apt, disks, machine_needs, places
from xenlab.build_lock import only_builder
from xenlab.errors import LabError
from xenlab.topology import NVMES, SRIOV_NVME

DISK_SIZE = "3G"  # sparse
KEPT = 2  # images beside the one in use
RECIPE_INSIDE = "usr/share/xen-lab"


@dataclass(frozen=True)
class Image:
    """A built image: all that a host boots from, and the key that opens it."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "root.img"

    @property
    def xen(self) -> Path:
        return self.directory / "xen"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinux"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    def nvme(self, serial: str) -> Path:
        return self.directory / f"{serial}.img"


def digest() -> str:
    """Names an image by what goes into it: the recipe, and how we use it."""
    state = hashlib.sha256()
    inputs = [path for path in places.RECIPE.rglob("*") if path.is_file()]
    for path in sorted([*inputs, Path(__file__), Path(disks.__file__), Path(apt.__file__)]):
        executable = os.access(path, os.X_OK)
        state.update(f"{path.relative_to(places.LAB)} {executable} {path.stat().st_size}\n".encode())
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


def build(say: Callable[[str], None]) -> Image:
    """The image that fits the recipe, built now if it is not there. Safe to interrupt and to run twice at a time."""
    cache = places.cache()
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / digest()
    with only_builder(cache / "lock", say):
        if wanted.is_dir():
            os.utime(wanted)  # the last use
            return Image(wanted)
        machine_needs.require(machine_needs.BUILD if os.geteuid() == 0 else machine_needs.BUILD_WITHOUT_ROOT)
        for leftover in cache.glob("building-*"):
            shutil.rmtree(leftover)
        # Other versions of the recipe, perhaps of other clones of the project, stay for a while.
        old = sorted((path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        say("building the host's image (some minutes, once)")
        work = Path(tempfile.mkdtemp(prefix="building-", dir=cache))
        try:
            _build_into(work)
            work.rename(wanted)
        except BaseException:
            # mmdebstrap's log is what tells why.
            if (work / "log").exists():
                shutil.copy(work / "log", cache / "build.log")
            shutil.rmtree(work, ignore_errors=True)
            raise
        for directory in old[:-KEPT]:
            shutil.rmtree(directory)
    return Image(wanted)


def _build_into(work: Path) -> None:
    image = Image(work)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "xen-lab", "-f", image.key], check=True)
    for nvme in (*NVMES, SRIOV_NVME):
        disks.write(image.nvme(nvme.serial), nvme.serial)
    overlay = work / "overlay.tar"
    _write_overlay(overlay, image.key.with_suffix(".pub"))
    sources = _write_sources(work)
    # The hooks run as root of a user namespace when we are not root; that one may not enter our home directory.
    with tempfile.TemporaryDirectory(prefix="xen-pci-lab-") as open_to_all:
        Path(open_to_all).chmod(0o711)
        disk = Path(open_to_all) / image.disk.name
        disk.touch()
        disk.chmod(0o666)
        _bootstrap(work, image, overlay, sources, disk)
        subprocess.run(["cp", "--sparse=always", disk, image.disk], check=True)
    image.disk.chmod(0o600)
    for path in (overlay, *map(Path, sources)):
        (work / path).unlink()


def _bootstrap(work: Path, image: Image, overlay: Path, sources: list[str], disk: Path) -> None:
    """Packages, our files over them, what to boot from, and the file system `disk` with all of it."""
    command = [
        "mmdebstrap",
        "--mode=auto",
        "--variant=apt",
        "--format=null",
        '--aptopt=APT::Install-Recommends "false"',
        *(f"--aptopt={option}" for option in apt.options()),
        f"--include={','.join(_packages())}",
        f"--customize-hook=tar-in {overlay.name} /",
        f'--customize-hook=chroot "$1" /{RECIPE_INSIDE}/make-boot-files',
        *(
            f"--customize-hook=download /boot/lab/{path.name} {path.name}"
            for path in (image.xen, image.kernel, image.initrd)
        ),
        f"--customize-hook={_make_disk(disk)}",
        apt.RELEASE,
        "/dev/null",
        *sources,
    ]
    with (work / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=work, stdout=log, stderr=subprocess.STDOUT)
    try:
        status = process.wait()
    except BaseException:
        # Not killed: it has mounts and a tree of its own to clean up.
        process.terminate()
        process.wait()
        raise
    if status:
        raise LabError(f"building the image failed; the reason is in {places.cache() / 'build.log'}")


def _make_disk(disk: Path) -> str:
    """A hook that packs the tree into a file system; the bind mount leaves out what is mounted inside it (/proc)."""
    mke2fs = machine_needs.find("mke2fs")
    return (
        'tree=$(mktemp -d) && mount --bind "$1" "$tree" && '
        f'{mke2fs} -q -F -t ext4 -E root_owner=0:0 -d "$tree" {disk} {DISK_SIZE} && umount "$tree" && rmdir "$tree"'
    )


def _packages() -> list[str]:
    lines = (places.RECIPE / "packages.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _write_sources(work: Path) -> list[str]:
    """Copies of the machine's sources, in files of work; their names."""
    names = []
    entries = apt.sources()
    lines = [entry for entry in entries if entry.startswith("deb")]
    stanzas = [entry for entry in entries if not entry.startswith("deb")]
    if lines:
        (work / "apt.list").write_text("\n".join(lines) + "\n")
        names.append("./apt.list")
    if stanzas:
        (work / "apt.sources").write_text("\n\n".join(stanzas) + "\n")
        names.append("./apt.sources")
    return names


def _write_overlay(path: Path, public_key: Path) -> None:
    """The files that go over the packages: dom0's, the key, and the recipe for the rest. All owned by root."""
    with tarfile.open(path, "w") as tar:
        _add_tree(tar, places.RECIPE / "dom0", "")
        for name in ("boot", "guest", "hvm"):
            _add_tree(tar, places.RECIPE / name, f"{RECIPE_INSIDE}/{name}/")
        for name in ("make-boot-files", "extract-vmlinux"):
            source = places.RECIPE / name
            _add(tar, f"{RECIPE_INSIDE}/{name}", source.read_bytes(), 0o755)
        _add(tar, "root/.ssh/authorized_keys", public_key.read_bytes(), 0o600)


def _add_tree(tar: tarfile.TarFile, top: Path, prefix: str) -> None:
    for source in sorted(top.rglob("*")):
        if source.is_file():
            mode = 0o755 if os.access(source, os.X_OK) else 0o644
            _add(tar, prefix + str(source.relative_to(top)), source.read_bytes(), mode)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = mode, len(content)
    tar.addfile(entry, io.BytesIO(content))
