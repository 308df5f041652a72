# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repair would do, judged by one look: which faults it repairs, in which order, and what it would leave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..model.host import Host
from .diagnose import diagnose
from .finding import Finding
from .recipes import RecipeKind
from .scope import Scope
from .simulate import simulate_repair
from .table import Turn

#: Each pass repairs one thing of each connection; a bound against two toolstacks that undo each other's work.
MOST_PASSES = 40


@dataclass(frozen=True)
class ExpectedRepair:
    """What a run would repair, what it would leave, and the host as it would be then."""

    repaired: tuple[Finding, ...]
    left: tuple[Finding, ...]
    host: Host


def expected_repair(host: Host, scope: Scope, everything: bool) -> ExpectedRepair:
    """Say what a run would repair before anything else, judged by one look, `host`.

    `everything`: all that has a recipe, as `repair` does; else what `finish_unfinished` does.
    """
    repairs = scope.repairs if everything else scope.finishes
    repaired = dict[object, Finding]()
    for _pass in range(MOST_PASSES):
        findings = [finding for finding in diagnose(host) if scope.covers(finding) and finding.key not in repaired]
        now = [finding for finding in findings if repairs(finding)]
        if not now:
            break
        by_device, by_connection = choose_for_pass(now)
        chosen = [*by_device, *by_connection]
        repaired.update((finding.key, finding) for finding in chosen)
        host = simulate_repair(host, chosen)
    return ExpectedRepair(tuple(repaired.values()), tuple(findings), host)


def choose_for_pass(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Choose what one pass repairs: faults of single devices, and one fault of each domain's connection.

    A fault that a connection may explain waits until none is to be repaired any more.
    """
    by_device: list[Finding] = []
    by_connection: dict[int, Finding] = {}
    for finding in findings:
        if finding.required_recipe.kind is RecipeKind.DEVICE:
            by_device.append(finding)
        else:
            by_connection.setdefault(finding.required_domid, finding)
    if by_connection:
        by_device = [finding for finding in by_device if finding.fault.turn is not Turn.AFTER_CONNECTIONS]
    return by_device, list(by_connection.values())
