# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a switch of Open vSwitch's kernel module with a port of its own and a card in it, or removes it. Runs in dom0.

The module alone is enough for what sysfs shows of such a switch, so Open vSwitch's programs are not in the image. This
speaks generic netlink as they do (include/uapi/linux/openvswitch.h).

    open_vswitch.py make PORT CARD
    open_vswitch.py remove
"""

from __future__ import annotations

import socket
import struct
import sys

_GENERIC, _CONTROL, _REQUEST_WITH_ANSWER, _ERROR = 16, 16, 0x5, 2
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2
_NEW, _DELETE = 1, 2
#: Attributes of a switch (name, process for unknown packets, features) and of a port (type, name, process).
_SWITCH = {"name": 1, "process": 2, "features": 5}
_PORT = {"type": 2, "name": 3, "process": 5}
_CARD, _INTERNAL = 1, 2
SWITCH = "ovs-system"


def attribute(kind: int, value: int | str) -> bytes:
    data = struct.pack("=I", value) if isinstance(value, int) else value.encode() + b"\0"
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def ask(family: int, command: int, version: int, payload: bytes) -> bytes:
    """The kernel's answer; raises OSError with its error."""
    body = struct.pack("=BBH", command, version, 0) + payload
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _GENERIC) as netlink:
        netlink.bind((0, 0))
        netlink.send(struct.pack("=IHHII", 16 + len(body), family, _REQUEST_WITH_ANSWER, 1, 0) + body)
        answer = netlink.recv(65536)
    error = struct.unpack_from("=i", answer, 16)[0] if struct.unpack_from("=H", answer, 4)[0] == _ERROR else 0
    if error:
        raise OSError(-error, "the kernel refuses")
    return answer


def family(name: str) -> int:
    answer = ask(_CONTROL, _GET_FAMILY, 1, attribute(_FAMILY_NAME, name))
    at = 20
    while at < len(answer):
        length, kind = struct.unpack_from("=HH", answer, at)
        if kind == _FAMILY_ID:
            return int(struct.unpack_from("=H", answer, at + 4)[0])
        at += (length + 3) & ~3
    raise LookupError(name)


def make(port: str, card: str) -> None:
    features = attribute(_SWITCH["features"], 0)
    begin = attribute(_SWITCH["name"], SWITCH) + attribute(_SWITCH["process"], 0)
    ask(family("ovs_datapath"), _NEW, 2, struct.pack("=i", 0) + begin + features)
    number = struct.pack("=i", socket.if_nametoindex(SWITCH))
    for kind, name in ((_INTERNAL, port), (_CARD, card)):
        about = attribute(_PORT["type"], kind) + attribute(_PORT["name"], name) + attribute(_PORT["process"], 0)
        ask(family("ovs_vport"), _NEW, 1, number + about)


def remove() -> None:
    number = struct.pack("=i", socket.if_nametoindex(SWITCH))
    ask(family("ovs_datapath"), _DELETE, 2, number + attribute(_SWITCH["name"], SWITCH))


if __name__ == "__main__":
    make(*sys.argv[2:]) if sys.argv[1] == "make" else remove()
