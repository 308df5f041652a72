# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host of any description, left as it has booted: nothing is done to it before the test."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from short_path import short_directory
from simulated import Host


class DescribedHost(Host):
    """A host whose machine the test describes."""

    def describe(self, description: Mapping[str, Any]) -> None:
        """Take this machine from the next start on."""
        self._machine.write_text(json.dumps({"name": "described", **description}))

    def repair(self, check: bool = False, **parameters: Any) -> dict[str, Any]:
        """Run xen.pci.repair, but leave the host at its start as it is."""
        if parameters == {"settle": 0, "faults": ["unquarantined"]}:
            return {}
        return super().repair(check, **parameters)

    def facts(self, address: str) -> dict[str, Any]:
        """Return what host_info says of one device."""
        (found,) = (one for one in self.info()["devices"] if one["address"] == address)
        return dict(found)

    def info(self) -> dict[str, Any]:
        """Return what host_info says."""
        result = self.run("host_info", {})
        assert not result.get("failed"), result["msg"]
        return result

    def assign(self, *devices: str, check: bool = False, kill_at: int | None = None, **options: Any) -> dict[str, Any]:
        """Run xen.pci.assignable_devices."""
        how: dict[str, Any] = {} if kill_at is None else {"kill_at": kill_at}
        return self.run("assignable_devices", {"devices": list(devices), **options}, check=check, **how)

    def driver(self, address: str) -> str | None:
        """Read which driver has the device, from the simulator's files."""
        link = self.directory / "sys" / "bus" / "pci" / "devices" / address / "driver"
        return link.readlink().name if link.is_symlink() else None


@contextmanager
def booted(description: Mapping[str, Any]) -> Iterator[DescribedHost]:
    """Boot such a host."""
    with short_directory() as parent:
        host = DescribedHost(parent / "h")
        host.describe(description)
        host.start()
        try:
            yield host
        finally:
            host.close()


def codes(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return code and subject of each refusal of a task."""
    return [(refusal["code"], refusal["subject"]) for refusal in result.get("refusals", [])]
