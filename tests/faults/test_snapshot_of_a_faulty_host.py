# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a host can be told from its snapshot, as on the host itself."""

from __future__ import annotations

import pytest
from faulty_hosts import FAULTY_HOSTS, FaultyHost
from simulated import Host

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import diagnose
from ansible_collections.xen.pci.plugins.module_utils.model.snapshot import from_json, to_json
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.host_facts import domain_facts, host_facts
from ansible_collections.xen.pci.plugins.module_utils.results.finding_results import finding_result


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
    devices = [{name: value for name, value in one.items() if name != "held"} for one in answer["devices"]]
    assert all_facts(seen) == devices
    assert [domain_facts(domain) for domain in seen.domains.values()] == answer["domains"]
    assert host_facts(seen) == answer["host"]
