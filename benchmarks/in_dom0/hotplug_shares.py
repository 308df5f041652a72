# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where our own time goes when one device is added or removed: run inside dom0 by hotplug.py --shares.

Reads its order from standard input and writes for each operation the milliseconds of each part. Parts are timed by
wrapping the functions, so they are those of the shipped code.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from typing import Any

import hotplug_rounds as rounds

from ansible_collections.xen.pci.plugins.module_utils.apply import handshake, rights
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host

_PARTS: dict[str, float] = defaultdict(float)


def main() -> None:
    """Time the parts of every operation, each device reset once and known to be clean once."""
    order = json.load(sys.stdin)
    guest, device = order["guest"], order["devices"][0]
    change = handshake.Handshake
    for owner, name, part in (
        (change, "_claim", "marker and notes before"),
        (change, "_reset_dirty", "reset before"),
        (rights, "grant", "rights"),
        (rights, "revoke", "rights"),
        (change, "_end_reset", "waiting for the reset after"),
        (change, "_forget_holder", "marker and notes after"),
        (rounds, "look_again", "verification"),
    ):
        setattr(owner, name, _timed(getattr(owner, name), part))
    handshake.commit = _timed(handshake.commit, "commits")  # type: ignore[assignment]
    for address in (rounds.ANCHOR, device):
        rounds.xl("pci-assignable-add", address)
    try:
        with open_host() as access:
            rounds.ours(access, guest, [rounds.ANCHOR])
            for _round in range(order["rounds"]):
                rounds.one_by_one(access, "pci-attach", guest, [device])
                rounds.one_by_one(access, "pci-detach", guest, [device])
                for operation in ("add", "remove", "add again", "remove"):
                    _PARTS.clear()
                    wanted = [rounds.ANCHOR] if operation == "remove" else [rounds.ANCHOR, device]
                    seconds, kernel = rounds.ours(access, guest, wanted)
                    print(json.dumps({"operation": operation, "beyond": seconds - kernel, **_PARTS}), flush=True)
            rounds.ours(access, guest, [])
    finally:
        for address in (rounds.ANCHOR, device):
            rounds.xl("pci-assignable-remove", "-r", address)


def _timed(call: Callable[..., Any], part: str) -> Callable[..., Any]:
    """Add the seconds of each call to its part, those of a flow until its end."""

    @functools.wraps(call)
    def timed(*arguments: Any, **named: Any) -> Any:
        began = time.monotonic()
        result = call(*arguments, **named)
        if isinstance(result, Generator):
            return _timed_flow(result, part)
        _PARTS[part] += time.monotonic() - began
        return result

    return timed


def _timed_flow(flow: Generator[Any, Any, Any], part: str) -> Generator[Any, Any, Any]:
    began = time.monotonic()
    result = yield from flow
    _PARTS[part] += time.monotonic() - began
    return result


if __name__ == "__main__":
    main()
