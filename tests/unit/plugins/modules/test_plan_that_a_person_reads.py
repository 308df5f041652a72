# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What --diff prints: one line for each device that changes, the same in check mode and in the run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from checkouts import ROOT
from declared_host import DeclaredHost, declared_host

DEVICES = (
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "02:00.0", "model": "nvme", "serial": "S4EV0A1"},
    {"at": "03:00.0", "model": "edu"},
    {"at": "05:00.0", "model": "nvme-sriov", "serial": "NVSR"},
)
CATALOG = {
    "uplink": {"address": "0000:01:00.0"},
    "scratch": {"nvme_serial": "S4EV0A1"},
    "store": {"nvme_serial": "NVSR"},
    "slice": {"pf": "store", "vf": 1},
    "test": {"address": "0000:03:00.0", "waive": {"shared-interrupt": "it is for tests"}},
}
GUESTS = {"web01": {"devices": ["scratch", "slice"]}, "web02": {"devices": ["uplink", "0000:05:00.1"]}}
SWAPPED = {"web01": {"devices": ["uplink", "slice"]}, "web02": {"devices": ["scratch"]}}
NONE = {"web01": {"devices": []}, "web02": {"devices": []}}
TASKS = (
    ("virtual_functions", {"physical_functions": [{"pf": "store", "count": 2}]}),
    ("assignable_devices", {"devices": ["uplink", "scratch", "slice", "test", "0000:05:00.1"], "persistent": True}),
    ("domain_devices", {"domains": GUESTS}),
    ("domain_devices", {"domains": SWAPPED, "exclusive": True}),
    ("assignable_devices", {"devices": ["uplink"], "persistent": False}),
    ("domain_devices", {"domains": NONE, "exclusive": True}),
    ("assignable_devices", {"devices": ["slice"], "exclusive": True}),
)
TEXTS = (
    """\
host  ~ store  0000:05:00.0 (nvme NVSR)  virtual functions 0 -> 2
""",
    """\
pciback  +          0000:05:00.1 (VF 0 of store)                    from no driver, after a reboot: held
pciback  + scratch  0000:02:00.0 (nvme S4EV0A1)                     from nvme, after a reboot: held
pciback  + slice    0000:05:00.2 (VF 1 of store)                    from no driver, after a reboot: held
pciback  + test     0000:03:00.0 (class 00ff 1234:11e8)             from no driver, after a reboot: held
pciback  + uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)  from e1000e, after a reboot: held
""",
    """\
web01  + scratch  0000:02:00.0 (nvme S4EV0A1)
web01  + slice    0000:05:00.2 (VF 1 of store)
web02  +          0000:05:00.1 (VF 0 of store)
web02  + uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)
""",
    """\
web01  - scratch  0000:02:00.0 (nvme S4EV0A1)                     to web02
web01  + uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)  from web02
web02  -          0000:05:00.1 (VF 0 of store)
web02  - uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)  to web01
web02  + scratch  0000:02:00.0 (nvme S4EV0A1)                     from web01
""",
    """\
pciback  ~ uplink  0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)  after a reboot: with the host
""",
    """\
web01  - slice    0000:05:00.2 (VF 1 of store)
web01  - uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)
web02  - scratch  0000:02:00.0 (nvme S4EV0A1)
""",
    """\
pciback  -          0000:05:00.1 (VF 0 of store)                    back to the host
pciback  - scratch  0000:02:00.0 (nvme S4EV0A1)                     back to nvme
pciback  - test     0000:03:00.0 (class 00ff 1234:11e8)             back to the host
pciback  - uplink   0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)  back to e1000e
""",
)


@pytest.fixture(scope="module")
def host() -> Iterator[DeclaredHost]:
    machine: dict[str, Any] = {"domains": [{"name": "web01"}, {"name": "web02"}]}
    machine["files"] = {"run/systemd/system/": ""}
    with declared_host(DEVICES, **machine) as started:
        yield started


def change(host: DeclaredHost, module: str, **arguments: Any) -> dict[str, Any]:
    """Plan a change, make it, and see that nothing is left to do."""
    task = {"catalog": CATALOG, **arguments}
    planned = host.run(module, True, **task)
    done = host.run(module, **task)
    assert "failed" not in planned and "failed" not in done, (planned.get("msg"), done.get("msg"))
    assert planned["changed"] and done["changed"]
    assert planned["diff"] == done["diff"]
    assert planned["changes"] == done["changes"]
    for check in (True, False):
        again = host.run(module, check, **task)
        assert (again["changed"], again["diff"], again["changes"]) == (False, [], [])
    return done


def test_from_the_first_plan_to_the_release(host: DeclaredHost) -> None:
    for (module, arguments), text in zip(TASKS, TEXTS, strict=True):
        assert change(host, module, **arguments)["diff"][0]["prepared"] == text


def test_a_domain_that_does_not_run_has_its_devices_in_its_file_only(host: DeclaredHost) -> None:
    file = host.directory.parent / "db.cfg"
    file.write_text('name = "db"\ntype = "pv"\n')
    declared = {"db": {"devices": ["scratch"], "config": str(file)}}
    assert "failed" not in host.run("assignable_devices", catalog=CATALOG, devices=["scratch"])
    lines, written = change(host, "domain_devices", domains=declared)["diff"]
    assert lines["prepared"] == "db  + scratch  0000:02:00.0 (nvme S4EV0A1)  in its file only, as it does not run\n"
    assert (written["after_header"], written["after"]) == (str(file), file.read_text())


def test_what_did_not_go_as_planned_is_shown_as_it_is(host: DeclaredHost) -> None:
    """A guest that does not answer keeps what it had, and the other one is as planned."""
    assert "failed" not in host.run("assignable_devices", catalog=CATALOG, devices=["scratch", "0000:01:00.0"])
    host.xl("pause", "web01")
    domains = {"web01": {"devices": ["scratch"]}, "web02": {"devices": ["0000:01:00.0"]}}
    done = host.run("domain_devices", catalog=CATALOG, domains=domains, timeout=3)
    host.xl("unpause", "web01")
    assert done["failed"]
    assert done["diff"][0]["prepared"] == "web02  + uplink  0000:01:00.0 (network 52-54-00-ff-ff-00-01-01)\n"
    named = [(one["subject"], one["device"], one["name"]) for one in done["changes"]]
    assert named == [("web01", "0000:02:00.0", "scratch"), ("web02", "0000:01:00.0", "uplink")]
    assert [[one["name"] for one in domain["devices"]] for domain in done["domains"]] == [[], ["uplink"]]


def test_a_refusal_names_the_device(host: DeclaredHost) -> None:
    twice = {"web01": {"devices": ["uplink"]}, "web02": {"devices": ["uplink"]}}
    for module in ("domain_devices", "host_state"):
        refused = host.run(module, catalog=CATALOG, domains=twice)
        named = [(one["code"], one["subject"], one["name"]) for one in refused["refusals"]]
        assert ("declared-twice", "0000:01:00.0", "uplink") in named
        assert "uplink 0000:01:00.0 is declared for web01 and for web02." in refused["msg"]
    waived = host.run("assignable_devices", True, catalog=CATALOG, devices=["test"])["waived"]
    assert [(one["address"], one["name"], one["check"]) for one in waived] == [
        ("0000:03:00.0", "test", "shared-interrupt")
    ]


MANY_MISTAKES = {
    "b": {"devices": ["scratch", "nope", "scratch"]},
    "a": {"devices": ["slice", "neither"], "state": "absent"},
    "web02": {"devices": ["0000:00:03.0", "0000:00:00.0", "uplink"], "whatever": 1, "other": 2},
    "web01": {"devices": ["uplink", "test"]},
}
SETS = (
    ("domain_devices", {"domains": MANY_MISTAKES}),
    ("assignable_devices", {"devices": ["nope", "neither", "0000:00:03.0", "test", "0000:00:00.0"]}),
    ("assignable_devices", {"devices": ["test", "uplink", "scratch"], "exclusive": True}),
    ("virtual_functions", {"physical_functions": [{"pf": "scratch", "count": 2, "x": 1, "y": 2}]}),
    ("host_info", {}),
)


@pytest.mark.parametrize(("module", "arguments"), SETS, ids=[f"{at} {name}" for at, (name, _given) in enumerate(SETS)])
def test_results_come_in_one_order(host: DeclaredHost, module: str, arguments: dict[str, Any]) -> None:
    catalog = {} if module == "host_info" else {"catalog": CATALOG}
    answers = set()
    for seed in ("1", "2", "3"):
        host.environment["PYTHONHASHSEED"] = seed  # the order of a set of texts depends on it
        answer = host.run(module, module != "host_info", **arguments, **catalog)
        answers.add(json.dumps({key: value for key, value in answer.items() if key != "invocation"}))
    assert len(answers) == 1


PAGE = ROOT / "docs/reading-a-plan.md"
OF_THE_PAGE = (
    {"at": "01:00.0", "model": "e1000e", "mac": "52:54:00:00:01:01"},
    {"at": "03:00.0", "model": "nvme", "serial": "S4EV0A1"},
    {"at": "3b:00.0", "model": "i40e", "mac": "02:00:5e:3b:00:00"},
)


def test_the_page_shows_what_is_printed() -> None:
    inventory, first, swap = re.findall(r"(?ms)^```(?:yaml)?\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    declared = yaml.safe_load(inventory)
    task = {
        "catalog": declared["xen_pci_devices"],
        "virtual_functions": declared["xen_pci_virtual_functions"],
        "persistent": True,
    }
    domains = declared["xen_pci_domains"]
    kept = domains["web01"]["devices"][1:]
    swapped = {"web01": {"devices": ["uplink", *kept]}, "web02": {"devices": ["scratch"]}}
    guests = {"domains": [{"name": "web01"}, {"name": "web02"}], "files": {"run/systemd/system/": ""}}
    with declared_host(OF_THE_PAGE, **guests) as host:
        for wanted, text in ((domains, first), (swapped, swap)):
            for check in (True, False):
                assert host.run("host_state", check, **task, domains=wanted)["diff"][0]["prepared"] == text
