# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one module in this process and print, as JSON, its result and the document of the plan that it made.

Arguments: the module's name and its parameters as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from traced_module import run

PLANS = {"assignable_devices": "assignment", "domain_devices": "declaration", "virtual_functions": "functions"}


def main() -> None:
    """Run the module, and keep what it makes."""
    module, parameters = sys.argv[1], json.loads(sys.argv[2])
    place: Any = importlib.import_module(f"ansible_collections.xen.pci.plugins.module_utils.plan.{PLANS[module]}")
    make, made = place.plan_document, []

    def recorded(*arguments: Any, **named: Any) -> Any:
        made.append(make(*arguments, **named))
        return made[-1]

    place.plan_document = recorded
    result = run(module, parameters)["result"]
    print(json.dumps({"result": result, "document": json.dumps(made[-1])}))


if __name__ == "__main__":
    main()
