# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""This machine's apt configuration: where the image's packages come from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from xenlab.errors import LabError

RELEASE = "bookworm"  # the one that has Xen 4.17
SUITES = {RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security"}
ETC_APT = Path("/etc/apt")


def sources() -> list[str]:
    """Entries of this machine's sources that offer the release: deb822 stanzas and one-line entries."""
    found = []
    for path in sorted([ETC_APT / "sources.list", *ETC_APT.glob("sources.list.d/*")]):
        if not path.is_file():
            continue
        if path.suffix == ".sources":
            stanzas = re.split(r"\n\s*\n", path.read_text())
            found += [stanza.strip() for stanza in stanzas if _stanza_fits(stanza)]
        elif path.suffix == ".list":
            found += [line.strip() for line in path.read_text().splitlines() if _line_fits(line)]
    if not found:
        raise LabError(
            f"apt on this machine knows no source for Debian {RELEASE}; "
            f"add a file with one to {ETC_APT}/sources.list.d (it may be disabled for this machine by a low pin)"
        )
    return found


def options() -> list[str]:
    """How this machine's apt reaches the network (proxies and the like), as lines of apt.conf."""
    dump = subprocess.run(["apt-config", "dump"], check=True, capture_output=True, text=True).stdout
    return [line for line in dump.splitlines() if re.match(r"Acquire::https?::.* \"[^\"]+\";", line)]


def _stanza_fits(stanza: str) -> bool:
    fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, flags=re.M))
    return (
        "deb" in fields.get("Types", "").split()
        and fields.get("Enabled", "yes") != "no"
        and bool(SUITES & set(fields.get("Suites", "").split()))
    )


def _line_fits(line: str) -> bool:
    match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?\S+\s+(\S+)", line)
    return match is not None and match[1] in SUITES
