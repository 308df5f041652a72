# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what a task declares to one plan with every refusal of every stage, and none that only follows from another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.faults.diagnose import Finding
from ansible_collections.xen.pci.plugins.module_utils.faults.table import Fault
from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain, DomainKind
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.stored_config import Creation
from ansible_collections.xen.pci.plugins.module_utils.plan.catalog_lookup import checked_catalog
from ansible_collections.xen.pci.plugins.module_utils.plan.declaration import (
    CompletePlan,
    Declaration,
    DeclaredDomain,
    cannot_be_repaired,
    complete_plan,
    resolve_declaration,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.declared_domain import read_domain
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal

A, B, C = (Sbdf.parse(f"0000:0{number}:00.0") for number in (1, 2, 3))
LINE: dict[str, Any] = {"irq": 17, "interrupt_pin": 1}
BAD_FILE, LOST_FILE, GOOD_FILE = "/etc/xen/bad.cfg", "/etc/xen/lost.cfg", "/etc/xen/web01.cfg"
WHY_LOST = f"{LOST_FILE} cannot be read (Permission denied)"


def device(sbdf: Sbdf, **facts: Any) -> PciDevice:
    facts = {"driver": "pciback", "reset_methods": ("flr",), **facts}
    return PciDevice(sbdf, "8086", "10d3", "", "", "020000", "00", serial=f"00-00-00-00-00-00-00-0{sbdf.bus}", **facts)


def domain(domid: int, name: str, *devices: Sbdf) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))}
    for number, sbdf in enumerate(devices):
        nodes |= {f"dev-{number}": str(sbdf), f"state-{number}": "3", f"vdev-{number}": f"0000:00:0{number}.00"}
    connection = PciConnection.from_nodes(domid, nodes, "4") if devices else None
    return Domain(domid, name, kind=DomainKind.PV, own_connection=connection)


def host(*domains: Domain, devices: Sequence[PciDevice] = ()) -> Host:
    found = devices or [device(sbdf) for sbdf in (A, B, C)]
    return Host(
        {one.sbdf: one for one in found},
        {one.domid: one for one in domains or (domain(1, "web01"), domain(2, "db01"))},
        config_files={GOOD_FILE: "name = 'web01'\n", BAD_FILE: "name = 'web01'\npci = [\n"},
        unreadable_files={LOST_FILE: WHY_LOST},
    )


def wants(name: str, *devices: Any, present: bool = True, **more: Any) -> DeclaredDomain:
    state = "present" if present else "absent"
    return read_domain(name, {"devices": list(devices), "state": state, **more})


def planned(on: Host, *domains: DeclaredDomain, catalog: Any = None, findings: Sequence[Finding] = ()) -> CompletePlan:
    declaration = Declaration(domains, checked_catalog(catalog or {}))
    return complete_plan(on, resolve_declaration(on, declaration), findings)


def refused(
    on: Host, *domains: DeclaredDomain, catalog: Any = None, findings: Sequence[Finding] = ()
) -> list[tuple[str, str]]:
    return codes(planned(on, *domains, catalog=catalog, findings=findings).refusals)


def test_refusals_of_all_stages_come_in_one_answer() -> None:
    plan = planned(
        host(domain(1, "web01"), domain(2, "db01", B)),
        wants("web01", "uplnk", "used", config=LOST_FILE),
        wants("nobody", "nic", when_halted="fail"),
        catalog={
            "used": str(B),
            "nic": {"address": str(C), "waive": {"dsik": "it is empty"}},
        },
    )
    assert sorted(codes(plan.refusals)) == [
        ("config-file", "web01"),
        ("held", str(B)),
        ("unknown-device", "uplnk"),
        ("unknown-domain", "nobody"),
        ("waiver", "nic"),
    ]
    texts = {one.code: str(one) for one in plan.refusals}
    assert WHY_LOST in texts["config-file"]
    assert "db01" in texts["held"]
    assert "'dsik'" in texts["waiver"]


def test_what_nothing_speaks_against_is_planned_with_its_file() -> None:
    plan = planned(host(), wants("web01", "nic", config=GOOD_FILE), catalog={"nic": str(A)})
    assert plan.refusals == ()
    assert [(step.domain.name, step.add) for step in plan.plan.domains] == [("web01", (A,))]
    (change,) = plan.files
    assert str(A) in change.after
    assert dict(plan.resolution.found) == {"nic": A}


def test_a_declaration_without_domains_is_refused() -> None:
    assert refused(host()) == [("no-domain", "domains")]


def test_options_that_could_not_be_read_are_refused_with_the_rest() -> None:
    unread = Refusal("domain-value", "web01", "exclusive must be true or false")
    declaration = Declaration((wants("web01", "uplnk"),), refusals=(unread,))
    plan = complete_plan(host(), resolve_declaration(host(), declaration), [])
    assert codes(plan.refusals) == [("domain-value", "web01"), ("unknown-device", "uplnk")]
    only = resolve_declaration(host(), Declaration((), refusals=(unread,)))
    assert codes(only.refusals) == [("domain-value", "web01")], "that no domain is left is no fault of its own"


def test_an_empty_list_is_refused_unless_it_means_none() -> None:
    assert refused(host(), wants("web01")) == [("empty-devices", "web01")]
    assert refused(host(), wants("web01", exclusive=True)) == []


def test_each_kind_of_wrong_request_is_refused() -> None:
    assert refused(host(), wants("web01", 7)) == [("device-request", "7")]
    assert refused(host(), wants("web01", {"from": "vsf"})) == [("unknown-pool", "vsf")]
    catalog = {"nics": {"class": "02", "count": 1}}
    asked = [wants(name, {"from": "nics", "count": 1}) for name in ("web01", "db01")]
    assert refused(host(), *asked, catalog=catalog) == [("pool-too-small", "db01")]
    assert refused(host(), wants("web01", str(A), exclusive=True, present=False)) == [("exclusive-absent", "web01")]


def test_a_file_that_is_not_understood_is_refused() -> None:
    assert refused(host(), wants("web01", str(A), config=BAD_FILE)) == [("config-file", "web01")]


def test_a_fault_that_is_left_is_refused() -> None:
    fault = Finding(Fault.REFUSED_CYCLE, "as seen", 1, "web01", ())
    assert refused(host(), wants("web01", str(A)), findings=[fault]) == [(Fault.REFUSED_CYCLE.code, "web01")]


def test_what_devices_share_is_refused_unless_a_reason_is_declared() -> None:
    shared = host(devices=[device(A, **LINE), device(B, driver="e1000e", **LINE)])
    assert refused(shared, wants("web01", "nic"), catalog={"nic": str(A)}) == [("shared-interrupt", str(A))]
    waived = {"nic": {"address": str(A), "waive": {"shared-interrupt": "B is idle"}}}
    assert refused(shared, wants("web01", "nic"), catalog=waived) == []


def test_a_domain_whose_devices_are_absent_and_need_not_be_there_is_left_alone() -> None:
    catalog = {"card": {"serial": "00-00-00-00-00-00-00-77", "required": False}}
    plan = planned(host(), wants("web01", "card"), wants("db01", str(A)), catalog=catalog)
    assert plan.refusals == ()
    assert [step.domain.name for step in plan.plan.domains] == ["db01"]
    assert plan.resolution.missing == ("card",)


# ---- what only follows from another refusal is not said


def test_a_name_whose_entry_was_refused_is_not_unknown_as_well() -> None:
    assert refused(host(), wants("web01", "nic"), catalog={"nic": {"venodr": "8086"}}) == [("catalog-value", "nic")]


def test_a_pool_whose_entry_was_refused_is_not_unknown_as_well() -> None:
    catalog = {"nics": {"class": "02", "count": 0}}
    assert refused(host(), wants("web01", {"from": "nics"}), catalog=catalog) == [("catalog-value", "nics")]
    assert refused(host(), wants("web01", "nics"), catalog=catalog) == [("catalog-value", "nics")]


def test_a_virtual_function_of_a_name_whose_entry_was_refused_is_not_refused_as_well() -> None:
    catalog = {"uplink": {"venodr": "8086"}, "vf": {"pf": "uplink", "vf": 0}, "vfs": {"pf": "uplink", "count": 1}}
    assert refused(host(), wants("web01", "vf"), wants("db01", "vfs"), catalog=catalog) == [("catalog-value", "uplink")]


@pytest.mark.parametrize("unclear", ["uplnk", 7, "card", "gpus"])
def test_a_domain_with_an_unclear_device_is_not_judged_for_what_the_others_share(unclear: Any) -> None:
    """The unclear one may be the very device that the other has to be together with."""
    catalog = {"card": {"venodr": "8086"}, "gpus": {"class": "03", "count": 1}}
    shared = host(devices=[device(A, **LINE), device(B, driver="e1000e", **LINE)])
    found = refused(shared, wants("web01", str(A), unclear), catalog=catalog)
    assert "shared-interrupt" not in [code for code, _subject in found]
    assert found
    clear = refused(shared, wants("web01", unclear), wants("db01", str(A)), catalog=catalog)
    assert ("shared-interrupt", str(A)) in clear, "another domain is judged all the same"


def test_a_domain_of_which_no_name_is_clear_does_not_have_an_empty_list() -> None:
    assert refused(host(), wants("web01", "uplnk")) == [("unknown-device", "uplnk")]
    assert refused(host(), wants("nobody", "uplnk", when_halted="fail")) == [
        ("unknown-device", "uplnk"),
        ("unknown-domain", "nobody"),
    ]


def test_pools_are_not_too_small_while_another_name_is_unclear() -> None:
    catalog = {"nics": {"class": "02", "count": 1}}
    asked = [wants("web01", {"from": "nics", "count": 2}), wants("db01", "uplnk")]
    assert refused(host(), *asked, catalog=catalog) == [("unknown-device", "uplnk")]


def test_what_is_listed_twice_is_refused_once() -> None:
    (twice,) = refused(host(), wants("web01", "nic", "nic"), catalog={"nic": str(A)})
    assert twice == ("listed-twice", "web01")


def test_an_unknown_domain_is_refused_once() -> None:
    assert refused(host(), wants("nobody", str(A), when_halted="fail")) == [("unknown-domain", "nobody")]


# ---- what a repair cannot change


def test_only_what_the_host_has_to_do_with_may_be_repaired() -> None:
    on = host(domain(1, "web01"), domain(2, "db01", B))

    def hopeless(*domains: DeclaredDomain) -> bool:
        return cannot_be_repaired(on, resolve_declaration(on, Declaration(domains)))

    assert hopeless(wants("web01", "uplnk"))
    assert hopeless(wants("nobody", str(A), when_halted="fail"))
    assert hopeless(wants("web01", str(A), config=LOST_FILE))
    assert not hopeless(wants("web01", str(B))), "it may be free after a repair"
    assert not hopeless(wants("web01", str(A), config=GOOD_FILE))


def test_newcomers_are_what_domains_do_not_have_yet() -> None:
    on = host(domain(1, "web01", A), domain(2, "db01"))
    declaration = Declaration((wants("web01", str(A), str(B)), wants("db01", str(C), present=False)))
    assert resolve_declaration(on, declaration).newcomers(on) == [B]
    assert replace(resolve_declaration(on, declaration), desired=()).newcomers(on) == []


# ---- domains that do not run


def test_a_domain_that_does_not_run_is_skipped_with_a_warning_and_the_others_go_on() -> None:
    plan = planned(host(), wants("web01", str(A)), wants("web02", str(B), exclusive=True))
    assert plan.refusals == () and plan.skipped == ("web02",)
    assert [(step.domain.name, step.add) for step in plan.plan.domains] == [("web01", (A,))]
    (warning,) = [text for text in plan.plan.doubts if "web02" in text]
    assert "running: db01, web01" in warning and "config" in warning and "did you mean" not in warning


def test_a_warning_names_the_running_domain_that_may_be_meant() -> None:
    (warning,) = planned(host(), wants("wbe01", str(A))).plan.doubts
    assert "did you mean 'web01'?" in warning


def test_a_file_alone_is_kept_in_step_with_a_warning() -> None:
    halted = host(domain(2, "db01"))
    plan = planned(halted, wants("web01", str(A), config=GOOD_FILE))
    assert (plan.refusals, plan.skipped) == ((), ())
    assert [(file.running, file.changed) for file in plan.files] == [(False, True)]
    (warning,) = plan.plan.doubts
    assert GOOD_FILE in warning and "web01" in warning


def test_a_domain_that_is_to_be_skipped_keeps_its_file_as_it_is() -> None:
    halted = host(domain(2, "db01"))
    for file in (GOOD_FILE, LOST_FILE):
        plan = planned(halted, wants("web01", str(A), config=file, when_halted="skip"))
        assert (plan.refusals, plan.files, plan.skipped) == ((), (), ("web01",))
        assert file in plan.plan.doubts[0]


@pytest.mark.parametrize("more", [{}, {"config": GOOD_FILE}])
def test_a_domain_that_must_run_is_refused_if_it_does_not(more: dict[str, Any]) -> None:
    plan = planned(host(domain(2, "db01")), wants("web01", str(A), when_halted="fail", **more), wants("db01", str(B)))
    assert codes(plan.refusals) == [("unknown-domain", "web01")]
    assert "when_halted" in plan.refusals[0].advice


@pytest.mark.parametrize("name", ["Web01", "WEB01", "83", "", "1.5"])
def test_what_is_no_name_of_a_halted_domain_is_refused_and_not_skipped(name: str) -> None:
    assert refused(host(), wants(name, str(A))) == [("unknown-domain", name)]
    assert planned(host(), wants(name, str(A), when_halted="skip")).skipped == (name,), "the user knows"


def test_while_a_running_domain_has_no_name_none_is_taken_for_halted() -> None:
    on = host(domain(1, ""), domain(2, "db01"))
    assert refused(on, wants("web01", str(A))) == [("unknown-domain", "web01")]
    assert planned(on, wants("web01", str(A), when_halted="skip")).skipped == ("web01",)


def test_what_contradicts_itself_is_refused_whichever_domains_run() -> None:
    assert refused(host(), wants("web01", str(A)), wants("web02", str(A))) == [("declared-twice", str(A))]
    assert refused(host(), wants("web02")) == [("empty-devices", "web02")]


def test_a_skipped_domain_has_its_share_of_a_pool_and_chooses_last() -> None:
    catalog = {"nics": {"class": "02", "count": 3}}
    on = host(domain(1, "web01", A), domain(2, "db01"), domain(3, "other", C))
    plan = planned(on, wants("web02", {"from": "nics"}), wants("db01", {"from": "nics"}), catalog=catalog)
    assert [(step.domain.name, step.add) for step in plan.plan.domains] == [("db01", (B,))]
    greedy = [wants("web02", {"from": "nics", "count": 2}), wants("db01", {"from": "nics", "count": 2})]
    assert [code for code, _subject in refused(on, *greedy, catalog=catalog)][:1] == ["pool-too-small"]


def test_options_of_a_skipped_domain_are_not_judged_by_a_file_that_is_not_there() -> None:
    catalog = {"nic": {"address": str(A), "vslot": "8"}}
    assert refused(host(), wants("web02", "nic"), catalog=catalog) == []


# ---- domains that must be created again


def closed(name: str = "web01", **creation: Any) -> Domain:
    return replace(domain(1, name), creation=Creation(passthrough="disabled", **creation), uses_iommu=False)


def test_the_file_of_a_guest_that_was_created_without_passthrough_gets_the_devices() -> None:
    plan = planned(host(closed(), domain(2, "db01")), wants("web01", str(A), config=GOOD_FILE), wants("db01", str(B)))
    assert plan.refusals == ()
    steps = {step.domain.name: (step.add, step.deferred, step.changes) for step in plan.plan.domains}
    assert steps == {"web01": ((), (A,), False), "db01": ((B,), (), True)}
    (file,) = plan.files
    assert str(A) in file.after and "passthrough" in file.after
    assert any(str(A) in text and "created again" in text for text in plan.plan.doubts)


@pytest.mark.parametrize(
    "more", [{}, {"config": GOOD_FILE, "when_halted": "skip"}, {"config": GOOD_FILE, "when_halted": "fail"}]
)
def test_without_a_file_to_write_it_is_refused(more: dict[str, Any]) -> None:
    assert refused(host(closed()), wants("web01", str(A), **more)) == [("not-ready", "web01")]


def test_a_device_that_no_creation_could_give_is_refused() -> None:
    plain = host(closed(), devices=[device(A, driver="e1000e")])
    assert refused(plain, wants("web01", str(A), config=GOOD_FILE)) == [("not-assignable", str(A))]


def test_devices_in_files_are_kept_apart_like_those_of_domains_that_run() -> None:
    on = host(domain(2, "db01"), devices=[device(A, **LINE), device(B, **LINE)])
    asked = [wants("web01", str(A), config=GOOD_FILE), wants("db01", str(B))]
    assert refused(on, *asked) == [("shared-interrupt", str(B)), ("shared-interrupt", str(A))]
    later = host(closed(), domain(2, "db01"), devices=[device(A, **LINE), device(B, **LINE)])
    assert sorted(refused(later, *asked)) == [("shared-interrupt", str(A)), ("shared-interrupt", str(B))]


def test_a_domain_that_may_be_one_which_loses_its_devices_is_not_skipped() -> None:
    """With undeclared_domains: release, a typo would cost the domain its devices that it is to keep."""
    on = host(domain(1, "web01", A), domain(2, "db01", B))
    emptied = [DeclaredDomain(name, exclusive=True, emptied=True) for name in ("web01", "db01")]
    assert refused(on, wants("wbe01", str(C)), *emptied) == [("unknown-domain", "wbe01")]
    assert refused(on, wants("shop", str(A)), *emptied) == [("unknown-domain", "shop")]
    assert planned(on, wants("shop", str(C)), *emptied).skipped == ("shop",)
    assert planned(on, wants("wbe01", str(C), when_halted="skip"), *emptied).skipped == ("wbe01",)


def test_a_device_in_a_file_that_another_domain_has_is_warned_about() -> None:
    halted = wants("web01", str(A), config=GOOD_FILE)
    on = host(domain(2, "db01", A))
    plan = planned(on, halted)
    assert plan.refusals == () and any("db01 has it, so web01 cannot be created" in text for text in plan.plan.doubts)
    lost = wants("db01", exclusive=True)
    assert not any(
        "cannot be created" in text for text in planned(host(domain(2, "db01", A)), halted, lost).plan.doubts
    )
