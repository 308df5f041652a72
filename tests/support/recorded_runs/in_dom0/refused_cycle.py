# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a cycle that pciback gives up, and lets the product take it back; the first word has domid and devices."""

from __future__ import annotations

import json
import sys
import time

from ansible_collections.xen.pci.plugins.module_utils.apply import rollback
from ansible_collections.xen.pci.plugins.module_utils.host.access import open_host
from ansible_collections.xen.pci.plugins.module_utils.host.xenstore_nodes import read_connection, read_states, states_of
from ansible_collections.xen.pci.plugins.module_utils.model import connection_writes as changes
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

PATIENCE = 60.0


def main() -> int:
    """0 if pciback gave up and the product brought both ends back."""
    arguments = json.loads(sys.argv[1])
    devices = [Sbdf.parse(text) for text in arguments["devices"]]
    deadline = time.monotonic() + PATIENCE
    with open_host() as access:
        store = access.store
        domid = arguments["domid"]
        backend = read_connection(store, domid)
        assert backend is not None
        begin = changes.reconfigure(backend, devices, ())
        store.transaction(lambda transaction: transaction.apply(begin))
        while [str(int(state)) for state in states_of(read_states(store, domid))] != ["5", "7"]:
            if time.monotonic() > deadline:
                print("pciback did not give up")
                return 1
            time.sleep(0.01)
        recipe = rollback.reconfigure(access, domid, devices)
        try:
            while time.monotonic() < deadline:
                next(recipe)
                time.sleep(0.01)
        except StopIteration as end:
            left = read_connection(store, domid)
            assert left is not None
            tidy = changes.compact(left, devices)
            store.transaction(lambda transaction: transaction.apply(tidy))
            print(end.value)
            return 0
    print("it was not taken back")
    return 1


if __name__ == "__main__":
    sys.exit(main())
