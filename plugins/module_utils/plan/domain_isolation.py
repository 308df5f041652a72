# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of the devices that domains gain: what they would share with others, and rights from an earlier use.

Apart from `isolation.py`, which needs no plan of domains: Ansible sends a host every file that a module can reach.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from ..values.refusal import Refusal
from .domain_plan import DomainsPlan
from .isolation import ties_of, with_waivers_that_help
from .safety import Check, Verdict, against, against_kind, judge


def judge_isolation(host: Host, plan: DomainsPlan, policies: Mapping[Sbdf, DevicePolicy]) -> Verdict:
    """Check what the devices are that domains gain, and what they share; return refusals, and what is overruled.

    A device in quarantine that no domain gets has no owner. Devices that one domain releases count as released.
    """
    owners = {sbdf: domain.domid for domain in host.domains.values() for sbdf in domain.devices}
    for step in plan.domains:
        for sbdf in step.remove:
            owners.pop(sbdf, None)
    for step in plan.domains:
        owners.update(dict.fromkeys(step.after, step.domain.domid))
    verdicts = []
    for step in plan.domains:
        apart = (host.with_host | frozenset(owners)) - frozenset(step.after)
        for sbdf in step.add:
            if sbdf in host.devices:
                policy, device = policies.get(sbdf, DevicePolicy()), host.devices[sbdf]
                ties = ties_of(host.topology, sbdf, apart, host.groups.get(sbdf, frozenset()))
                permissive = device.permissive and not policy.permissive
                of_kind = [
                    refusal for refusal in against_kind(device) if refusal.waivable
                ]  # others are refused already
                refusals = [*of_kind, *ties.refusals, *([_permissive(sbdf, step.domain.name)] if permissive else [])]
                verdicts.append(judge(with_waivers_that_help(refusals, policy.options), policy.waive))
    return Verdict(
        refusals=tuple(refusal for verdict in verdicts for refusal in verdict.refusals),
        waived=tuple(waived for verdict in verdicts for waived in verdict.waived),
    )


def _permissive(sbdf: Sbdf, domain: str) -> Refusal:
    reason = (
        f"{sbdf} (for {domain}) is permissive from an earlier use, so {domain} could write all of its configuration"
        " space, and no reason for that is declared"
    )
    advice = "run xen.pci.assignable_devices for it, which clears that, or declare permissive with a reason"
    return against(Check.PERMISSIVE, sbdf, reason, advice)
