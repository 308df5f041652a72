# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of the devices that domains gain: what they would share with others, and rights from an earlier use.

Apart from `isolation.py`, which needs no plan of domains: Ansible sends a host every file that a module can reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..model.host import Host
from ..values.address import Sbdf
from ..values.catalog import DevicePolicy
from ..values.refusal import Refusal
from .domain_plan import DomainsPlan
from .file_plan import FileChange, devices_in
from .isolation import against_interrupts, ties_of, with_waivers_that_help
from .safety import Check, Verdict, against, against_kind, judge


@dataclass(frozen=True)
class _Gain:
    """What one domain gains, and all that it has then; one that does not run has what its file lists."""

    name: str
    gained: Sequence[Sbdf]
    after: Sequence[Sbdf]


def judge_isolation(
    host: Host, plan: DomainsPlan, policies: Mapping[Sbdf, DevicePolicy], files: Iterable[FileChange] = ()
) -> Verdict:
    """Check what the devices are that domains gain, and what they share; return refusals, and what is overruled.

    A device in quarantine that no domain gets has no owner. Devices that one domain releases count as released.
    """
    gains = [*_by_domains(plan), *_by_files(files)]
    lost = {sbdf for step in plan.domains for sbdf in step.remove}
    owned = {sbdf for domain in host.domains.values() for sbdf in domain.devices if sbdf not in lost}
    owned.update(sbdf for gain in gains for sbdf in gain.after)
    verdicts = []
    for gain in gains:
        apart = (host.with_host | owned) - frozenset(gain.after)
        for sbdf in gain.gained:
            if sbdf in host.devices:
                policy, device = policies.get(sbdf, DevicePolicy()), host.devices[sbdf]
                ties = ties_of(host.topology, sbdf, apart, host.groups.get(sbdf, frozenset()))
                permissive = device.permissive and not policy.permissive
                of_kind = [
                    refusal for refusal in against_kind(device) if refusal.waivable
                ]  # others are refused already
                of_kind += against_interrupts(host.xen, sbdf)
                refusals = [*of_kind, *ties.refusals, *([_permissive(sbdf, gain.name)] if permissive else [])]
                verdicts.append(judge(with_waivers_that_help(refusals, policy.options), policy.waive))
    return Verdict(
        refusals=tuple(refusal for verdict in verdicts for refusal in verdict.refusals),
        waived=tuple(waived for verdict in verdicts for waived in verdict.waived),
    )


def _by_domains(plan: DomainsPlan) -> Iterator[_Gain]:
    for step in plan.domains:
        yield _Gain(step.domain.name, (*step.add, *step.deferred), (*step.after, *step.deferred))


def _by_files(files: Iterable[FileChange]) -> Iterator[_Gain]:
    for file in files:
        if not file.running:
            before, after = devices_in(file.before), devices_in(file.after)
            yield _Gain(file.want.name, [sbdf for sbdf in after if sbdf not in before], after)


def _permissive(sbdf: Sbdf, domain: str) -> Refusal:
    reason = (
        f"{sbdf} (for {domain}) is permissive from an earlier use, so {domain} could write all of its configuration"
        " space, and no reason for that is declared"
    )
    advice = "run xen.pci.assignable_devices for it, which clears that, or declare permissive with a reason"
    return against(Check.PERMISSIVE, sbdf, reason, advice)
