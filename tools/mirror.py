# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the working tree to a directory that ends in ansible_collections/xen/pci, where Ansible's own tools accept it.

ansible-test insists on that path, and it and others litter the directory they run in, so each step that needs a copy
has its own: steps run side by side. The copy holds what git would take (tracked, or untracked and not ignored), nothing
else, so the checks see the collection and not the workshop.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent

# Caches of the tools that run in the copy. They are ignored by git there too, and slow to make again.
KEEP = {".git", ".ansible"}


def wanted_files() -> set[Path]:
    """The files that git knows or would add, relative to the clone; those deleted but not yet committed left out."""
    # The owner of the clone may be another user (CI often checks out as another user): reading names is harmless.
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CLONE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = (Path(name) for name in listing.split("\0") if name)
    return {name for name in names if os.path.lexists(CLONE / name)}


def present_files(mirror: Path) -> set[Path]:
    """The files of the copy, relative to it, without the caches that stay."""
    found = set()
    for directory, subdirectories, files in os.walk(mirror):
        here = Path(directory).relative_to(mirror)
        if here == Path():
            subdirectories[:] = [name for name in subdirectories if name not in KEEP]
        links = [name for name in subdirectories if (mirror / here / name).is_symlink()]
        found.update(here / name for name in (*files, *links))
    return found


def is_current(source: Path, copy: Path) -> bool:
    """True if the copy has the size, time and mode of its source. Symbolic links are always made again."""
    if source.is_symlink() or copy.is_symlink() or not copy.is_file():
        return False
    ours, theirs = source.stat(), copy.stat()
    return (ours.st_size, ours.st_mtime_ns, ours.st_mode) == (theirs.st_size, theirs.st_mtime_ns, theirs.st_mode)


def remove(mirror: Path, name: Path) -> None:
    """Remove a file or link, and the directories above that become empty."""
    path = mirror / name
    path.unlink()
    for parent in path.parents:
        if parent == mirror or any(parent.iterdir()):
            return
        parent.rmdir()


def bring(mirror: Path) -> None:
    """Bring a copy in step with the working tree."""
    mirror.mkdir(parents=True, exist_ok=True)
    if not (mirror / ".git").exists():
        # ansible-test asks git which files there are; without a repository of its own the copy would be seen as a part
        # of the clone, which ignores .build, and no file would be tested.
        subprocess.run(["git", "init", "--quiet", mirror], check=True)
    wanted = wanted_files()
    for name in present_files(mirror) - wanted:
        remove(mirror, name)
    for name in wanted:
        source, copy = CLONE / name, mirror / name
        if is_current(source, copy):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.unlink(missing_ok=True)
        shutil.copy2(source, copy, follow_symlinks=False)


if __name__ == "__main__":
    bring(Path(sys.argv[1]))
