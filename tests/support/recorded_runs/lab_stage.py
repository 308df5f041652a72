# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of the lab as a stage."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import module_runner

from recorded_runs.stage import GUESTS, Stage
from xenlab import Host, topology

LOG = "/var/log/xen/xenstored-access.log"
PLACE = "/root/plays"
BACKENDS = "/local/domain/0/backend/pci"


class LabStage(Stage):
    """A running host. The product is copied there once for each stage."""

    silence = 15.0
    patience = 300.0
    python = "python3"

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._start = 0
        module_runner.send(self._host, PLACE, Path(__file__).parent.glob("in_dom0/*.py"))

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        done = self._host.run(words, check=False, timeout=600)
        return done.status, done.stdout + done.stderr

    def product(self, script: str, arguments: dict[str, Any]) -> tuple[int, str]:
        words = ["env", f"PYTHONPATH={PLACE}/lib", "python3", f"{PLACE}/{script}", json.dumps(arguments)]
        return self.run(words)

    def load_frontend(self, guest: str) -> None:
        self._host.guest(guest).run("modprobe xen-pcifront")

    def end_inside(self, guest: str, how: str) -> None:
        self._host.guest(guest).run("true", timeout=120)
        # Its shell takes busybox' own reboot for the bare name, which has no init to tell.
        command = {"reboot": "/sbin/reboot", "reset": "echo b > /proc/sysrq-trigger"}[how]
        self._host.guest(guest).run(command, timeout=5, check=False)  # nobody is left to answer

    def start_hvm_guest(self) -> None:
        self._host.start_guest(topology.HVM_GUEST)

    def _log(self) -> list[str]:
        return self._host.run(f"tail -c +{self._start + 1} {LOG}").lines

    def _mark(self) -> None:
        self._start = int(self._host.run(f"stat -c %s {LOG}").stdout)

    def renew(self) -> None:
        """Have all guests run, without devices: what a play left is taken away, connections of dead guests too."""
        left = (
            f"for n in $(xenstore-list {BACKENDS} 2>/dev/null); do xl domname $n || xenstore-rm -t {BACKENDS}/$n; done"
        )
        self.run(["sh", "-c", left])
        for guest in GUESTS:
            status, attached = self.run(["xl", "pci-list", guest])
            if status == 0 and not attached.strip():
                continue
            if status == 0:
                self.xl("destroy", guest)
            self.xl("create", f"/etc/xen/{guest}.cfg")
            self._host.guest(guest).run("true", timeout=120)
