# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A program `ip` in the place of a simulated host's own: it can refuse, and says what it was asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = """#!{python}
import json, pathlib, sys
file = pathlib.Path({state!r})
state = json.loads(file.read_text())
words = sys.argv[1:]
if "show" in words:
    listed = [{{"vf": int(vf), **one}} for vf, one in state["vfs"].items()]
    print(json.dumps([{{"ifname": words[-1], "vfinfo_list": listed}}]))
    sys.exit()
state["calls"].append(words)
file.write_text(json.dumps(state))
if state.get("refuse") in words or len(state["calls"]) >= state.get("refuse_from", 99):
    sys.exit("RTNETLINK answers: Operation not supported")
vf = state["vfs"][words[words.index("vf") + 1]]
pairs = dict(zip(words[6::2], words[7::2]))
if "mac" in pairs:
    vf["address"] = pairs["mac"]
if "vlan" in pairs:
    vf["vlan_list"] = [{{"vlan": int(pairs["vlan"])}}]
if "spoofchk" in pairs:
    vf["spoofchk"] = pairs["spoofchk"] == "on"
file.write_text(json.dumps(state))
"""


class FakeIp:
    """The program of a running host, and what it knows of virtual functions."""

    def __init__(self, host: Path) -> None:
        self._file = host / "ip.json"
        self._program = host / "bin/ip"
        self._program.write_text(_PROGRAM.format(python=sys.executable, state=str(self._file)))
        self.set({})

    def set(self, functions: dict[int, dict[str, Any]], **more: Any) -> None:
        """What it knows from now on: virtual functions by their numbers; `refuse` is a word that it refuses."""
        self._file.write_text(json.dumps({"vfs": functions, "calls": [], **more}))

    def lose(self) -> None:
        """Have the host lose the program."""
        self._program.unlink()

    @property
    def state(self) -> dict[str, Any]:
        """What it knows now, and the calls that would change something."""
        return dict(json.loads(self._file.read_text()))
