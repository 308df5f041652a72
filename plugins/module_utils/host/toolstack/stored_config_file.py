# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""libxl's stored configuration of each running domain: the file, read and replaced as libxl does it.

Source: Xen's tools/libs/light/libxl_dom.c (userdata). The text ends with a NUL; a new one is written beside it and
renamed. Who changes it holds libxl's locks of the domain (`libxl.domain_locks`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...values.errors import HostError

#: Where libxl keeps its files of domains (XEN_LIB_DIR).
USERDATA = Path("/var/lib/xen")
_NUL = "\0"
#: Names of domains and files are bytes to libxl; those that are not UTF-8 must come out as they went in.
_ENCODING, _ERRORS = "utf-8", "surrogateescape"


class ConfigError(HostError):
    """The stored configuration cannot be read or written; what was stored is still in place."""


def read_config(domid: int, uuid: str, directory: Path = USERDATA) -> dict[str, Any] | None:
    """The configuration, or None where there is none: another toolstack's domain. Raises ConfigError."""
    file = _file("d", domid, uuid, directory)
    try:
        config = json.loads(file.read_text(_ENCODING, _ERRORS).rstrip(_NUL))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"libxl's configuration of the domain, {file}, cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"libxl's configuration of the domain, {file}, cannot be read (it is no JSON object)")
    return config


def write_config(domid: int, uuid: str, config: dict[str, Any], directory: Path = USERDATA) -> None:
    """Replace the configuration as a whole; raises ConfigError. The caller holds the domain's locks."""
    text = json.dumps(config, indent=4, ensure_ascii=False) + "\n" + _NUL
    new, current = _file("n", domid, uuid, directory), _file("d", domid, uuid, directory)
    try:
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(text.encode(_ENCODING, _ERRORS))
        new.replace(current)
    except OSError as error:
        raise ConfigError(
            f"libxl's configuration of the domain, {current}, cannot be written ({error.strerror})"
        ) from error


def _file(kind: str, domid: int, uuid: str, directory: Path) -> Path:
    return directory / f"userdata-{kind}.{domid}.{uuid}.libxl-json"
