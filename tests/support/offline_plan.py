# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the plan of a task from the snapshot of a host, in a process that can reach no host, and print its document.

On standard input: the module, its parameters and the snapshot, as JSON. There is no pyxs here and nothing of Xen;
whoever opens a file of the kernel, connects to anything or starts a program gets an error.
"""

from __future__ import annotations

import json
import sys
from typing import Any

sys.modules.update({"pyxs": None, "xen": None, "ansible": None})  # type: ignore[dict-item]


def forbid(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook against everything that only works on a host."""
    if event == "open" and str(arguments[0]).startswith(("/sys", "/proc", "/dev", "/run", "/var", "/etc")):
        raise PermissionError(f"a plan needs no file such as {arguments[0]}")
    if event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        raise PermissionError(f"a plan needs no {event}")


sys.addaudithook(forbid)

from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import from_json  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.plan import offline  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.plan.assignment import read_wanted  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.plan.functions import read_functions  # noqa: E402
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain  # noqa: E402


def document_of(module: str, parameters: dict[str, Any], snapshot: Any) -> dict[str, Any]:
    """The plan that the module would make of these parameters."""
    host, options = from_json(snapshot), dict(parameters)
    catalog = checked_catalog(options.pop("catalog", {}))
    if module == "assignable_devices":
        present = options.pop("state", "present") == "present"
        return offline.plan_assignable(host, read_wanted(options.pop("devices"), catalog, present=present, **options))
    if module == "domain_devices":
        domains = [read_domain(name, one) for name, one in options["domains"].items()]
        everything = options.get("repair") == "first"
        return offline.plan_domains(host, Declaration(tuple(domains), catalog), everything)
    return offline.plan_virtual_functions(host, read_functions(options["physical_functions"], catalog))


if __name__ == "__main__":
    print(json.dumps(document_of(**json.load(sys.stdin))))
    reached = [name for name in sys.modules if ".module_utils.host" in name or ".module_utils.apply" in name]
    assert not reached, f"a plan needs nothing of {reached}"
