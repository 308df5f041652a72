# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ip, as far as a simulated host has a network: its interfaces, and the settings of virtual functions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..interpreter.xen.lowlevel._simulator import Refused, request

_KNOWN = "link show [dev NAME], link set dev NAME vf NUMBER {mac|vlan|spoofchk} VALUE ..."


class Unknown(Exception):
    """This ip does not have it; the text says what."""


def main(words: Sequence[str]) -> int:
    """Run one command; ip's exit status."""
    asked = [word for word in words if word not in ("-json", "-j", "-details", "-d")]
    run = Path(os.environ["SIMULATED_XEN_DIR"])
    try:
        if asked[:2] == ["link", "show"]:
            print(json.dumps(_show(run, asked[2:])))
        elif asked[:3] == ["link", "set", "dev"] and asked[4:5] == ["vf"] and len(asked) > 5:
            request(str(run), "set-vf", interface=asked[3], number=int(asked[5]), settings=_settings(asked[6:]))
        else:
            raise Unknown(f"{' '.join(words)}: this simulated host has no more of a network than {_KNOWN}")
    except (Unknown, ValueError) as error:
        print(f"ip: {error}", file=sys.stderr)
        return 1
    except (Refused, OSError) as error:
        print(f"RTNETLINK answers: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 2
    return 0


def _show(run: Path, which: Sequence[str]) -> list[dict[str, Any]]:
    interfaces = run / "sys/class/net"
    names = [which[-1]] if which else sorted(os.listdir(interfaces))
    if not (interfaces / names[-1]).is_dir() if names else False:
        raise Unknown(f'Device "{names[-1]}" does not exist.')
    found = []
    for name in names:
        link: dict[str, Any] = {"ifname": name, "link_type": "ether"}
        for key, file in (("ifindex", "ifindex"), ("address", "address")):
            text = interfaces / name / file
            if text.exists():
                value = text.read_text(encoding="ascii").strip()
                link[key] = int(value) if key == "ifindex" else value
        functions = request(str(run), "vf-settings", interface=name)
        found.append({**link, **({"vfinfo_list": functions} if functions else {})})
    return found


def _settings(words: Sequence[str]) -> dict[str, Any]:
    if len(words) % 2:
        raise Unknown(f'argument "{words[-1]}" is wrong')
    settings: dict[str, Any] = {}
    for name, value in zip(words[::2], words[1::2]):
        if name == "mac":
            settings["address"] = value
        elif name == "vlan":
            settings["vlan_list"] = [{"vlan": int(value)}]
        elif name == "spoofchk":
            settings["spoofchk"] = value == "on"
        else:
            raise Unknown(f"vf {name}: this simulated host has {_KNOWN}")
    return settings
