# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and links of a machine's description: what the simulator has no model of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from simulated_xen.host.machine import BadMachine, build

NIC = "0000:01:00.0"


def test_files_and_links_are_there_from_the_start(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        root: Path = toolstack.host.run.path
        assert (root / "sys/class/net/wg0/flags").read_text() == "0x1003\n"
        assert os.readlink(root / "sys/class/net/wg0") == "../../devices/virtual/net/wg0"
        assert (root / "proc/net/route").read_text() == "none\n", "in the place of the simulator's own"
        assert (root / f"sys/bus/pci/devices/{NIC}/class").read_text() == "0x0d8000"
        assert os.readlink(root / "proc/7/fd/3") == "/dev/dri/card0"
        assert os.readlink(root / "dev/disk/by-id/x") == "../../sda"
        assert (root / "sys/class/input").is_dir()
        assert (root / "etc/odd").read_bytes() == b"\xff\0"
        assert subprocess.run([root / "bin/ip"], capture_output=True, check=True).stdout == b"said\n"

    links = {
        "sys/class/net/wg0": "sys/devices/virtual/net/wg0",
        "proc/7/fd/3": "/dev/dri/card0",
        "dev/disk/by-id/x": "../../sda",
    }
    files = {
        "sys/devices/virtual/net/wg0/flags": "0x1003\n",
        "sys/class/input/": "",
        "proc/net/route": "none\n",
        f"sys/bus/pci/devices/{NIC}/class": "0x0d8000",
        "etc/odd": "\udcff\0",
        "bin/ip": "#!/bin/sh\necho said\n",
    }
    play(script, files=files, links=links)


def test_a_file_of_sysfs_that_acts_when_it_is_written_does_so(play: Any) -> None:
    async def script(toolstack: Any) -> None:
        device = next(one for one in toolstack.host.bus.devices.values() if str(one) == NIC)
        assert (device.driver, device.override) == (None, "vfio-pci")

    base = f"sys/bus/pci/devices/{NIC}"
    play(script, files={f"{base}/driver_override": "vfio-pci", f"{base}/driver/unbind": NIC})


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "sys/../../x", ""])
@pytest.mark.parametrize("key", ["files", "links"])
def test_nothing_outside_of_the_hosts_directory_is_written(key: str, path: str) -> None:
    with pytest.raises(BadMachine, match="not a path"):
        build({key: {path: "x"}})


def test_a_number_is_not_taken_for_text() -> None:
    with pytest.raises(BadMachine, match="quotes"):
        build({"files": {"sys/class/net/wg0/flags": 0x1003}})
    with pytest.raises(BadMachine, match="mapping"):
        build({"files": ["sys/class/net/wg0/flags"]})
