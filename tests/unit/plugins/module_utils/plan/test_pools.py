# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices a pool gets and keeps, and how domains share it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.connection import PciConnection
from ansible_collections.xen.pci.plugins.module_utils.model.device import BlockUse, PciDevice
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.plan import pools as selection
from ansible_collections.xen.pci.plugins.module_utils.plan.device_facts import all_facts
from ansible_collections.xen.pci.plugins.module_utils.plan.names import Lookup, Resolution
from ansible_collections.xen.pci.plugins.module_utils.plan.pools import (
    NeedsJmespath,
    PoolRequest,
    SelectionError,
    parse_request,
    resolve_all,
    select,
    share_out,
    taken_away,
)
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf
from ansible_collections.xen.pci.plugins.module_utils.values.catalog import Criteria, parse_catalog
from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal, Refused, shown

PF = Sbdf.parse("0000:03:00.0")
VFS = [Sbdf.parse(f"0000:03:10.{number}") for number in range(6)]
SERIAL = "52-54-00-ff-ff-00-01-01"


def device(sbdf: Sbdf, driver: str | None = "iavf", **facts: Any) -> PciDevice:
    known = {"class_code": "020000", "reset_methods": ("flr",), "numa_node": 0, **facts}
    return PciDevice(sbdf, "8086", "154c", "", "", revision="00", driver=driver, **known)


def card(in_pciback: tuple[int, ...] = (), **facts: Any) -> list[PciDevice]:
    """A physical function and six virtual ones, some of which pciback holds."""
    virtual = [
        device(sbdf, "pciback" if number in in_pciback else "iavf", physfn=PF, vf_index=number, **facts)
        for number, sbdf in enumerate(VFS)
    ]
    return [device(PF, "i40e", serial=SERIAL, virtfns=tuple(VFS)), *virtual]


def domain(domid: int, name: str, *devices: Sbdf) -> Domain:
    nodes = {"state": "4", "num_devs": str(len(devices))} | {f"dev-{i}": str(sbdf) for i, sbdf in enumerate(devices)}
    return Domain(domid, name, own_connection=PciConnection.from_nodes(domid, nodes, "4"))


def host(devices: list[PciDevice], *domains: Domain) -> Host:
    return Host({one.sbdf: one for one in devices}, {one.domid: one for one in domains})


def resolved(catalog: Any, on: Host, *wanted: str, chosen_as: dict[Sbdf, str] | None = None) -> Resolution:
    where = Lookup(on.devices, {}, chosen_as or {})
    return resolve_all(parse_catalog(catalog), where, wanted, on, lambda: all_facts(on))


POOL: dict[str, Any] = {"uplink": {"serial": SERIAL}, "vfs": {"pf": "uplink", "count": 2}}


def members(resolution: Resolution, name: str = "vfs") -> list[int]:
    return [VFS.index(sbdf) for sbdf in resolution.pools[name]]


class TestPools:
    def test_a_pool_takes_the_first_that_fit(self) -> None:
        assert members(resolved(POOL, host(card()), "vfs")) == [0, 1]

    def test_what_pciback_holds_stays_chosen(self) -> None:
        assert members(resolved(POOL, host(card((3, 4))), "vfs")) == [3, 4]

    def test_what_a_domain_has_stays_chosen_before_what_is_idle(self) -> None:
        assert members(resolved(POOL, host(card((1, 3, 4)), domain(1, "web01", VFS[4])), "vfs")) == [4, 1]

    def test_what_was_chosen_under_this_name_stays_and_what_belongs_to_others_is_last(self) -> None:
        catalog = {**POOL, "rest": {"pf": "uplink", "count": 2}}
        chosen_as = {VFS[0]: "rest", VFS[1]: "rest", VFS[4]: "vfs"}
        resolution = resolved(catalog, host(card((0, 1, 4, 5))), "vfs", chosen_as=chosen_as)
        assert members(resolution) == [4, 5]
        assert members(resolution, "rest") == [0, 1]

    def test_names_that_no_longer_exist_keep_nothing(self) -> None:
        resolution = resolved(POOL, host(card((5,))), "vfs", chosen_as={VFS[5]: "former"})
        assert members(resolution) == [5, 0]

    def test_devices_with_a_name_of_their_own_are_in_no_pool(self) -> None:
        catalog = {**POOL, "first": {"pf": "uplink", "vf": 0}}
        assert members(resolved(catalog, host(card()), "vfs", str(VFS[1]))) == [2, 3]

    def test_pools_do_not_overlap_and_do_not_depend_on_who_is_asked_for(self) -> None:
        catalog = {**POOL, "rest": {"pf": "uplink", "count": 3}}
        both, one = (resolved(catalog, host(card()), *names) for names in (("vfs", "rest"), ("rest",)))
        assert members(both, "rest") == members(one, "rest") == [2, 3, 4]

    def test_what_the_host_needs_is_left_out_unless_free_says_no(self) -> None:
        devices = card()
        busy = device(VFS[0], "nvme", physfn=PF, vf_index=0, block=(BlockUse("nvme0n1", ("nvme0n1 is mounted on /",)),))
        devices[1] = busy
        assert members(resolved(POOL, host(devices), "vfs")) == [1, 2]
        assert members(resolved({**POOL, "vfs": {**POOL["vfs"], "free": False}}, host(devices), "vfs")) == [0, 1]

    def test_too_few_are_refused_unless_not_required(self) -> None:
        catalog: dict[str, Any] = {**POOL, "vfs": {"pf": "uplink", "count": 9}}
        (refusal,) = resolved(catalog, host(card()), "vfs").refusals
        assert codes([refusal]) == [("pool-shortage", "vfs")]
        assert "9 devices" in str(refusal) and "only 6" in str(refusal)
        catalog["vfs"]["required"] = False
        assert members(resolved(catalog, host(card()), "vfs")) == [0, 1, 2, 3, 4, 5]
        none = resolved({"gpus": {"class": "03", "count": 1, "required": False}}, host(card()), "gpus")
        assert (none.refusals, none.missing) == ((), ("gpus",))

    def test_without_count_all_that_fit_are_meant(self) -> None:
        assert members(resolved({"vfs": {"class": "02", "select": "[?vf_index > `3`]"}}, host(card()), "vfs")) == [4, 5]
        none = resolved({"x": {"select": "[?class=='ff']"}}, host(card()), "x")
        assert codes(none.refusals) == [("pool-shortage", "x")]

    def test_an_unclear_physical_function_is_refused(self) -> None:
        (refusal,) = resolved({"vfs": {"pf": "uplnk", "count": 1}}, host(card()), "vfs").refusals
        assert codes([refusal]) == [("unknown-device", "vfs")]
        assert "'uplnk'" in str(refusal)

    def test_a_moved_physical_function_is_reported(self) -> None:
        catalog = {**POOL, "uplink": {"serial": SERIAL, "address": "0000:09:00.0"}}
        (move,) = resolved(catalog, host(card()), "vfs").moved
        assert str(move) == "uplink moved 0000:09:00.0 → 0000:03:00.0"

    def test_a_pool_is_no_single_device(self) -> None:
        catalog = {**POOL, "vf": {"pf": "vfs", "vf": 0}}
        (refusal,) = resolved(catalog, host(card()), "vf").refusals
        assert codes([refusal]) == [("pool-for-device", "vf")]
        assert "'vfs'" in str(refusal)


@given(st.integers(1, 6), st.sets(st.integers(0, 5)))
def test_a_second_choice_is_the_first_one(count: int, held: set[int]) -> None:
    catalog = {"vfs": {"select": "[?vf_index!=null]", "count": count}}
    first = members(resolved(catalog, host(card(tuple(held))), "vfs"))
    assert sorted(first) == sorted([*sorted(held), *sorted(set(range(6)) - held)][:count])
    then = host(card(tuple(held | set(first))), domain(1, "web01", *(VFS[number] for number in first[:1])))
    chosen_as = {VFS[number]: "vfs" for number in first}
    assert set(members(resolved(catalog, then, "vfs", chosen_as=chosen_as))) == set(first)


class TestExpressions:
    facts: Any = all_facts(host(card()))

    def test_addresses_and_devices_are_both_understood(self) -> None:
        by_device = select(self.facts, Criteria("[?vf_index==`2`]"))
        assert by_device == select(self.facts, Criteria("[?vf_index==`2`].address"))
        assert [one["address"] for one in by_device] == [str(VFS[2])]
        assert select(self.facts, Criteria("[?vf_index==`2`] | [0]")) == by_device

    def test_the_order_of_the_result_is_kept(self) -> None:
        chosen = select(self.facts, Criteria("reverse(sort_by([?vf_index!=null], &vf_index))"))
        assert [one["vf_index"] for one in chosen] == [5, 4, 3, 2, 1, 0]

    def test_the_numa_node_is_a_criterion(self) -> None:
        assert select(self.facts, Criteria(numa_node=1)) == []

    @pytest.mark.parametrize("expression", ["[?numa_node==0", "[].numa_node", "length(@)", "nothing", "bogus(@)"])
    def test_a_wrong_one_is_refused_in_one_line(self, expression: str) -> None:
        with pytest.raises(SelectionError) as caught:
            select(self.facts, Criteria(expression))
        assert repr(expression) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("expression", "said", "advice"),
        [
            ("[?drvier=='iavf']", "'drvier'", "did you mean 'driver'?"),
            ("[].adress", "'adress'", "did you mean 'address'?"),
            ("[?numa_node==`0` && !colour]", "'colour'", "xen.pci.host_info returns all fields"),
            ("sort_by(@, &vf_idx)", "'vf_idx'", "did you mean 'vf_index'?"),
            ("[?config.busmaster]", "'busmaster'", "did you mean 'bus_master'?"),
            ("[?physfn.name=='uplink']", "'name'", ""),
            ("numa_node", "a list", "[?...]"),
            ("[?driver==iavf]", "'iavf' is the name of a field", "text in single quotes"),
            ('[?class=="020000"]', "'020000' is the name of a field", "text in single quotes"),
            ("[?is_bridge==false]", "not a literal", "`false`"),
            ("[?numa_node=='0']", "'0' is text", "numbers, true, false and null in backticks"),
            ("[?class==`20000`]", "20000 is a number", "text in single quotes"),
            ("[?numa_node==0]", "cannot be evaluated", "numbers, true, false and null in backticks"),
            ("[?sriov_totalvfs > 0]", "cannot be evaluated", "backticks"),
            ("[?driver='iavf']", "cannot be evaluated", "=="),
        ],
    )
    def test_what_jmespath_takes_for_null_is_named(self, expression: str, said: str, advice: str) -> None:
        with pytest.raises(SelectionError) as caught:
            select(self.facts, Criteria(expression))
        assert said in str(caught.value) and advice in caught.value.advice, (str(caught.value), caught.value.advice)

    @pytest.mark.parametrize(
        "expression",
        [
            "[?numa_node==`0` && !sriov_totalvfs]",
            "[?sriov_totalvfs > `0`].address",
            "[?interfaces[?up]]",
            "[?interfaces[].name | contains(@, 'eth0')]",
            "[?contains(macs, '52:54:00:00:01:01')]",
            "reverse(sort_by([?vf_index!=null], &vf_index))[0:2]",
            "[?vf_index!=`null`] | [0]",
            "[?starts_with(driver || '', 'i')]",
            "[?noted_waivers.acs]",
            "[?config.msi == `true`].address",
            "[?refusals[?check=='disk']]",
            "max_by([?vf_index!=null], &vf_index).address",
            "[[0].address, [1].address]",
            "not_null([?driver=='none'], @)",
            "[*].address | sort(@)",
            "@",
        ],
    )
    def test_what_means_something_is_evaluated(self, expression: str) -> None:
        select(self.facts, Criteria(expression))

    def test_a_mistake_says_which_pool_it_is_in_and_what_to_do(self) -> None:
        catalog = {"vfs": {"select": "[?drvier=='iavf']", "count": 2}}
        (refusal,) = resolved(catalog, host(card()), "vfs").refusals
        assert (refusal.code, refusal.subject) == ("pool-select", "vfs") and "'driver'" in refusal.advice

    def test_jmespath_is_needed_for_expressions_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(selection, "JMESPATH_IMPORT_ERROR", "ModuleNotFoundError")
        assert len(select(self.facts, Criteria(free=False))) == 7
        with pytest.raises(NeedsJmespath):
            select(self.facts, Criteria("[?vf_index==`2`]"))


class TestSharing:
    pool = Resolution({"disk": PF}, pools={"vfs": tuple(VFS[:4])})

    def share(self, has: dict[str, list[int]], **counts: int | None) -> tuple[dict[str, list[int]], list[Refusal]]:
        owned = {name: [VFS[number] for number in numbers] for name, numbers in has.items()}
        given, refusals = share_out(
            {name: [PoolRequest("vfs", count)] for name, count in counts.items()}, self.pool, owned
        )
        return {name: sorted(VFS.index(sbdf) for sbdf in devices) for name, devices in given.items()}, refusals

    def test_each_gets_its_number(self) -> None:
        assert self.share({}, a=1, b=2) == ({"a": [0], "b": [1, 2]}, [])

    def test_domains_keep_what_they_have(self) -> None:
        assert self.share({"a": [3], "b": [0]}, a=2, b=2) == ({"a": [1, 3], "b": [0, 2]}, [])

    def test_what_others_hold_is_taken_last(self) -> None:
        assert self.share({"c": [0, 1]}, a=2) == ({"a": [2, 3]}, [])
        assert self.share({"c": [0, 1]}, a=3) == ({"a": [0, 2, 3]}, [])

    def test_too_much_is_refused(self) -> None:
        _given, (refusal,) = self.share({}, a=3, b=2)
        assert codes([refusal]) == [("pool-too-small", "b")]
        assert "Pool 'vfs' has 4 devices" in str(refusal) and "3 for a + 2 for b = 5 are asked" in str(refusal)

    def test_the_sum_counts_who_takes_the_whole_pool_and_is_said_once(self) -> None:
        requests = {"a": ["vfs"], "b": [PoolRequest("vfs", 1)], "c": [PoolRequest("vfs", 3)]}
        _given, refusals = share_out(requests, self.pool, {})
        assert {str(one).partition(".")[0] for one in refusals if "4 for a + 1 for b + 3 for c = 8" in str(one)}
        assert shown(refusals).count("Pool 'vfs' has") == 1

    def test_names_and_whole_pools_come_with_their_names(self) -> None:
        given, _refusals = share_out({"a": ["disk", "vfs"]}, self.pool, {})
        assert given["a"] == {PF: "disk", **dict.fromkeys(VFS[:4], "vfs")}

    def test_taking_away_means_what_a_domain_has(self) -> None:
        assert list(taken_away([PoolRequest("vfs", 1)], self.pool, [VFS[2], VFS[3]])) == [VFS[2]]
        assert list(taken_away(["disk", PoolRequest("vfs", 9)], self.pool, [VFS[3]])) == [PF, VFS[3]]


@pytest.mark.parametrize(
    ("request_", "code", "subject"),
    [
        ({"form": "vfs"}, "device-request", "{'form': 'vfs'}"),
        ({"from": "vfs", "number": 2}, "device-request", "{'from': 'vfs', 'number': 2}"),
        (7, "device-request", "7"),
        ({"from": "uplink"}, "unknown-pool", "uplink"),
        ({"from": "vsf"}, "unknown-pool", "vsf"),
        ({"from": 7}, "device-request", "{'from': 7}"),
        ({"from": "vfs", "count": 0}, "device-request", "{'from': 'vfs', 'count': 0}"),
        ({"from": "vfs", "count": True}, "device-request", "{'from': 'vfs', 'count': True}"),
    ],
)
def test_a_wrong_request_is_refused(request_: Any, code: str, subject: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_request(request_, parse_catalog(POOL))
    assert set(codes(caught.value.refusals)) == {(code, subject)}


def test_a_misspelled_pool_is_named_with_the_nearest_one() -> None:
    with pytest.raises(Refused, match=r"'vsf'.*\. Did you mean 'vfs'\?"):
        parse_request({"from": "vsf"}, parse_catalog(POOL))


def test_a_request_is_a_name_or_a_share() -> None:
    catalog = parse_catalog(POOL)
    assert parse_request("uplink", catalog) == "uplink"
    assert parse_request({"from": "vfs"}, catalog) == PoolRequest("vfs", 1)
    assert parse_request({"from": "vfs", "count": "2"}, catalog) == PoolRequest("vfs", 2)
