# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a simulated host, in a play: nothing reaches the machine below, with a module or without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from checkouts import ROOT
from own_machine import described_host

MACHINE: dict[str, Any] = {"devices": [{"at": "00:00.0", "model": "host-bridge"}], "domains": [{"name": "g1"}]}
REFUSED = {"ignore_errors": True}
TASKS: list[dict[str, Any]] = [
    {"ansible.builtin.file": {"path": "/etc/xen", "state": "directory"}},
    {"ansible.builtin.copy": {"content": "mine", "dest": "/etc/xen/xen-pci-test"}},
    {"ansible.builtin.fetch": {"src": "/etc/xen/xen-pci-test", "dest": "{{ place }}/", "flat": True}},
    {"ansible.builtin.fetch": {"src": "/etc/passwd", "dest": "{{ place }}/", "flat": True}, **REFUSED},
    {"ansible.builtin.raw": "xl list g1", "register": "listed"},
    {"ansible.builtin.raw": "git --version", "register": "raw", **REFUSED},
    {"ansible.builtin.script": "{{ place }}/script", "register": "script", **REFUSED},
    {"ansible.builtin.shell": "cat /etc/hostname", "register": "shell", **REFUSED},
    {"ansible.builtin.command": "git --version", "register": "command", **REFUSED},
    {"ansible.builtin.systemd": {"name": "ssh", "state": "restarted"}, "register": "service", **REFUSED},
    {"ansible.builtin.user": {"name": "xen-pci-test"}, "register": "user", **REFUSED},
    {"ansible.builtin.reboot": {}, "register": "reboot", **REFUSED},
    {
        "ansible.builtin.assert": {
            "that": [
                "'g1' in listed.stdout",
                "[raw, script, shell, command, service, user, reboot] | select('success') == []",
                "'git' in raw.stderr and 'git' in script.stderr and 'git' in command.cmd",
                "'systemctl' in service.msg and 'useradd' in user.msg and 'shutdown' in reboot.msg",
            ]
        }
    },
]


def play(directory: Path, tasks: list[dict[str, Any]], place: Path) -> subprocess.CompletedProcess[str]:
    """Run tasks on the host of a directory."""
    (place / "script").write_text("#!/bin/sh\ngit --version\n")
    (place / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    variables = {
        "ansible_connection": "xen.pci.simulated",
        "simulated_host_directory": str(directory),
        "ansible_python_interpreter": f"{directory}/bin/ansible-python",
        "place": str(place),
    }
    (place / "hosts.json").write_text(json.dumps({"all": {"hosts": {"h": variables}}}))
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", place / "hosts.json", place / "play.yml"],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".build/collections"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_a_play_reaches_this_machine(tmp_path: Path) -> None:
    with described_host(MACHINE) as host:
        done = play(host.directory, TASKS, tmp_path)
        assert not done.returncode, done.stdout + done.stderr
        assert (tmp_path / "xen-pci-test").read_text() == "mine" and not (tmp_path / "passwd").exists()
        assert (host.directory / "etc/xen/xen-pci-test").exists() and not Path("/etc/xen/xen-pci-test").exists()


def test_a_host_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = play(tmp_path / "nowhere", TASKS[:1], tmp_path)
    assert done.returncode and "No simulated host is in" in done.stdout + done.stderr
