# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links that a machine's description adds to the host's directory, for what the simulator has no model of.

All paths begin at the host's directory: `sys/class/net/wg0/flags`, `run/udev/data/b8:0`, `etc/default/grub`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable


class BadPath(ValueError):
    """A path or a text cannot be used; the message says why."""


@dataclass(frozen=True)
class ExtraFiles:
    """What to write. A path that ends in a slash is a directory; a text that begins with `#!` is a program."""

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, description: Mapping[str, Any]) -> ExtraFiles:
        """Read the keys `files` and `links` of a machine; raises BadPath."""
        found: dict[str, dict[str, str]] = {}
        for key in ("files", "links"):
            written = description.get(key) or {}
            if not isinstance(written, Mapping):
                raise BadPath(f"The {key} of a machine must be a mapping, not {written!r}.")
            for path, value in written.items():
                _check(key, path, value)
            found[key] = dict(written)
        return cls(**found)

    def write(self, root: Path, acts: Callable[[str, bytes], bool]) -> None:
        """Write all below `root`: links come first, so that a file's path may lead through them.

        `acts` is given each file's real path from the root, and says whether the write has had its effect already.
        Raises BadPath for what a link would put outside.
        """
        for path, target in self.links.items():
            place = root / path
            _check_inside(root, place.parent)
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                place.unlink()
            place.symlink_to(_target(root, place, target))
        for path, text in self.files.items():
            place = root / path
            _check_inside(root, place)
            if path.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            data = text.encode("utf-8", "surrogateescape")
            real = os.path.relpath(os.path.realpath(place), os.path.realpath(root))
            if not acts(real, data):
                _replace(place, data, program=text.startswith("#!"))


def _check(key: str, path: Any, value: Any) -> None:
    parts = path.split("/") if isinstance(path, str) else [".."]
    if ".." in parts or not parts[0]:
        raise BadPath(f"{path!r} is not a path below the host's directory ({key} of the machine).")
    if not isinstance(value, str):
        raise BadPath(f"{path}: {value!r} is not text; put it in quotes ({key} of the machine).")


def _check_inside(root: Path, place: Path) -> None:
    real = os.path.realpath(place)
    if not f"{real}/".startswith(f"{os.path.realpath(root)}/"):
        raise BadPath(
            f"{place.relative_to(root)} leads out of the host's directory, to {real} (a link of the machine)."
        )


def _target(root: Path, place: Path, target: str) -> str:
    """The text of a link: as it is if absolute or relative to the link, else made so from the host's directory."""
    if target.startswith(("/", "./", "../")) or target == "..":
        return target
    return os.path.relpath(root / target, os.path.realpath(place.parent))


def _replace(place: Path, data: bytes, program: bool) -> None:
    """Put a file in the place of one that may be read-only, with its mode, or through a link that leads to one."""
    real = Path(os.path.realpath(place))
    mode = real.stat().st_mode if real.exists() else 0o644
    real.unlink(missing_ok=True)
    real.write_bytes(data)
    real.chmod(0o755 if program else mode)
