# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host can be told from its snapshot, as on the host itself."""

from __future__ import annotations

import pytest
from faulty_hosts import FAULTY_HOSTS, FaultyHost
from simulated import D, Host

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import from_json, to_json
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import Declaration
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.host_facts import domain_facts, host_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.offline import plan_domains
from ansible_collections.xen.pci.plugins.module_utils.results.finding_results import finding_result
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain


@pytest.mark.parametrize("faulty", FAULTY_HOSTS, ids=[faulty.name for faulty in FAULTY_HOSTS])
def test_a_snapshot_of_a_faulty_host_says_what_is_wrong(host: Host, faulty: FaultyHost) -> None:
    before = {name: list(devices) for name, devices in faulty.before.items() if devices}
    assert not before or not host.devices(**before).get("failed")
    faulty.make(host)
    answer = host.run("host_info", {"gather": ["devices", "domains", "snapshot"]})
    seen = from_json(answer["snapshot"])
    assert to_json(seen) == answer["snapshot"]
    found = [finding_result(finding) for finding in diagnose(seen)]
    assert found == answer["findings"]
    assert set(faulty.found) <= {finding["fault"] for finding in found}
    of_boot = ("held", "held_unknown")  # the module adds them, by the next boot
    devices = [{name: value for name, value in one.items() if name not in of_boot} for one in answer["devices"]]
    assert all_facts(seen) == devices
    assert [domain_facts(domain, seen.xen) for domain in seen.domains.values()] == answer["domains"]
    assert host_facts(seen) == answer["host"]


@pytest.mark.parametrize("everything", [False, True], ids=["repair never", "repair first"])
@pytest.mark.parametrize("faulty", FAULTY_HOSTS, ids=[faulty.name for faulty in FAULTY_HOSTS])
def test_a_plan_made_from_the_snapshot_of_a_faulty_host_is_the_one_made_there(
    host: Host, faulty: FaultyHost, everything: bool
) -> None:
    declared = {name: {"devices": list(devices), "exclusive": True} for name, devices in faulty.before.items()}
    declared = declared or {"g2": {"devices": [D]}}
    assert not host.run("domain_devices", {"domains": declared}).get("failed")
    faulty.make(host)
    host.rest()
    snapshot = host.run("host_info", {"gather": ["snapshot"]})["snapshot"]
    task = {"domains": declared, "repair": "first" if everything else "never"}
    here = host.run("domain_devices", task, check=True)
    declaration = Declaration(tuple(read_domain(name, one) for name, one in declared.items()))
    elsewhere = plan_domains(from_json(snapshot), declaration, everything)
    refused = [{key: one[key] for key in one if key != "name"} for one in here.get("refusals", [])]  # the result's own
    assert refused == elsewhere["refusals"]
    if not here.get("failed"):
        assert here["fingerprint"] == elsewhere["fingerprint"]
        assert here["repaired"] == elsewhere["steps"]["repairs"]
        assert here["changed"] == elsewhere["changes"]
