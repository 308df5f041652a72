# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log names the person, not only root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from ansible_collections.xen.pci.plugins.module_utils.host.actor import actor

SSH = {"SSH_CONNECTION": "192.0.2.7 50022 198.51.100.1 22"}


@pytest.mark.parametrize(
    ("login", "environment", "who"),
    [
        ("0", {}, "root"),
        ("0", {"SUDO_USER": "alice", **SSH}, "root from 192.0.2.7"),
        ("4294967294", {}, "uid 4294967294"),
        ("4294967295", {"SUDO_USER": "alice"}, "alice"),
        ("4294967295", SSH, f"{pwd.getpwuid(os.geteuid()).pw_name} from 192.0.2.7"),
        (None, {"SUDO_USER": "alice"}, "alice"),
        ("?", {"SUDO_USER": "alice"}, "alice"),
    ],
)
def test_who_it_is(tmp_path: Path, login: str | None, environment: dict[str, str], who: str) -> None:
    file = tmp_path / "loginuid"
    if login is not None:
        file.write_text(login)
    assert actor(environment, file) == who
