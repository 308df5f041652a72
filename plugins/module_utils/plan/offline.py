# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans made away from the host, from what its snapshot says: those that the modules make there in check mode.

No module needs this file. It is for tools that look at many hosts at once.
"""

from __future__ import annotations

from ..faults.diagnose import diagnose
from ..faults.expected_repair import expected_repair
from ..faults.finding import in_words
from ..model.host import Host
from .assignment import WantedDevices, assignment_document, complete_plan
from .catalog_lookup import resolve_names
from .declaration import Declaration, cannot_be_repaired, domains_document, left_to_manager, resolve_declaration
from .declaration import complete_plan as complete_domains_plan
from .functions import WantedFunctions, complete_function_plan, functions_document, resolve_functions
from .plan_document import Document


def plan_assignable(host: Host, wanted: WantedDevices) -> Document:
    """Make the plan of xen.pci.assignable_devices."""
    found = resolve_names(wanted.catalog.entries, host, wanted.known_names, wanted.leaving)
    return assignment_document(host, wanted, complete_plan(host, wanted, found), found)


def plan_domains(host: Host, declaration: Declaration, repair_everything: bool = False) -> Document:
    """Make the plan of xen.pci.domain_devices; `repair_everything` as with repair: first."""
    declared = resolve_declaration(host, declaration)
    if cannot_be_repaired(host, declared) or not declared.scope.domains:
        return domains_document(host, declared, complete_domains_plan(host, declared, ()))
    if left_to_manager(host, declared):
        left = [finding for finding in diagnose(host) if declared.scope.matters(finding)]
        return domains_document(host, declared, complete_domains_plan(host, declared, left))
    expected = expected_repair(host, declared.scope, repair_everything)
    if expected.repaired:
        host, declared = expected.host, resolve_declaration(expected.host, declaration)
    plan = complete_domains_plan(host, declared, expected.left)
    return domains_document(host, declared, plan, [in_words(finding) for finding in expected.repaired])


def plan_virtual_functions(host: Host, wanted: WantedFunctions) -> Document:
    """Make the plan of xen.pci.virtual_functions."""
    declared = resolve_functions(host, wanted)
    return functions_document(host, declared, complete_function_plan(host, declared))
