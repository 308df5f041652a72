# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is repaired before a plan is carried out, and what check mode expects of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from ..faults.diagnose import diagnose
from ..faults.finding import Finding, in_words
from ..host.access import HostAccess
from ..model.host import Host
from ..plan.declaration import ResolvedDeclaration
from .outcome import Repaired


@dataclass(frozen=True)
class FirstRepairs:
    """What was repaired before anything else, or would be, in words, and what could not be.

    `left` are the faults that are there still. `host` is the host as it is expected to be then, for check mode.
    `changed`: the host may not be as it was. `outcome` is what was done, for the log.
    """

    repaired: tuple[str, ...] = ()
    not_repaired: tuple[str, ...] = ()
    left: Sequence[Finding] = ()
    changed: bool = False
    host: Host | None = None
    outcome: Repaired | None = None
    #: The findings of `repaired`.
    findings: tuple[Finding, ...] = ()


NO_REPAIRS = FirstRepairs()


def leave_all(host: Host, declared: ResolvedDeclaration) -> FirstRepairs:
    """Repair nothing, and say what is wrong for the declaration."""
    return FirstRepairs(left=[finding for finding in diagnose(host) if declared.scope.matters(finding)])


def repair_first(
    access: HostAccess, host: Host, declared: ResolvedDeclaration, everything: bool, timeout: float
) -> FirstRepairs:
    """Repair what is in the way of the declaration. Raises RepairInterrupted.

    That is `everything` that has a recipe, or only what a killed run of ours has left. `host` is what was seen last.
    """
    scope = declared.scope
    if _is_in_order(host, declared, scope.covers if everything else scope.matters):
        return NO_REPAIRS
    from .run import finish_unfinished, repair  # noqa: PLC0415 - most hosts are in order, and each import costs every run

    outcome = repair(access, scope, timeout) if everything else finish_unfinished(access, scope, timeout)
    repaired = tuple(attempt.finding for attempt in outcome.attempts if attempt.repaired)
    return FirstRepairs(
        repaired=tuple(map(in_words, repaired)),
        not_repaired=tuple(outcome.not_repaired),
        left=outcome.left,
        changed=outcome.changed,
        outcome=outcome,
        findings=repaired,
    )


def expect_repairs(host: Host, declared: ResolvedDeclaration, everything: bool) -> FirstRepairs:
    """Say what `repair_first` would do, by one look at the host."""
    scope = declared.scope
    if _is_in_order(host, declared, scope.covers):
        return NO_REPAIRS
    from ..faults.expected_repair import expected_repair  # noqa: PLC0415 - as in repair_first

    expected = expected_repair(host, scope, everything)
    return FirstRepairs(
        repaired=tuple(map(in_words, expected.repaired)),
        left=expected.left,
        host=expected.host,
        findings=tuple(expected.repaired),
    )


def _is_in_order(host: Host, declared: ResolvedDeclaration, matters: Callable[[Finding], bool]) -> bool:
    """Whether nothing is declared of a domain that runs, or no fault of the host matters."""
    return not declared.scope.domains or not any(map(matters, diagnose(host)))
