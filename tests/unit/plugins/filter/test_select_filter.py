# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter, called as a template calls it, and through Ansible's own templating with its tagged data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.xen.pci.plugins.filter import select as filter_module
from ansible_collections.xen.pci.plugins.module_utils.plan import pools as selection

DEVICES: list[dict[str, Any]] = [
    {"address": "0000:03:00.0", "class": "020000", "numa_node": 0, "physfn": None, "free": False},
    *(
        {
            "address": f"0000:03:10.{number}",
            "class": "020000",
            "numa_node": 0,
            "physfn": "0000:03:00.0",
            "vf_index": number,
            "free": number > 1,
            "assignable": number in (1, 3),
            "domain": "web01" if number == 1 else None,
        }
        for number in range(5)
    ),
    {"address": "0000:81:00.0", "class": "010802", "numa_node": 1, "physfn": None, "free": True},
]
select = filter_module.FilterModule().filters()["select"]


def addresses(*arguments: Any, **options: Any) -> list[str]:
    return [one["address"][5:] for one in select(DEVICES, *arguments, **options)]


def test_options_narrow_the_choice() -> None:
    assert addresses("[?vf_index > `2`]") == ["03:10.3", "03:10.4"]
    assert addresses(numa_node=1) == ["81:00.0"]
    assert addresses(**{"class": "0108"}) == ["81:00.0"]
    assert addresses(pf="3:0.0", free=False) == ["03:10.0", "03:10.1"]
    assert addresses(**{"class": "0x0108"}, numa_node="1") == ["81:00.0"]
    assert addresses(free=True) == ["03:10.2", "03:10.3", "03:10.4", "81:00.0"]
    assert select({"devices": DEVICES}) == DEVICES


def test_it_takes_what_a_pool_takes() -> None:
    """free: true of a pool, its default, is what pciback holds or what could be given away."""
    catalog = {"uplink": {"vendor": "8086", "address": "0000:03:00.0"}, "third": {"pf": "uplink", "vf": 2}}
    devices = [{**one, "vendor": "8086", "device": "154c", "subsystem_vendor": "15d9"} for one in DEVICES]

    def found(pool: dict[str, Any], **options: Any) -> list[str]:
        return [one["address"][5:] for one in select(devices, pool, catalog=catalog, **options)]

    assert found({"pf": "uplink", "count": 3}) == ["03:10.1", "03:10.3", "03:10.4"], "third has a name of its own"
    assert found({"pf": "uplink", "free": False}) == ["03:10.0", "03:10.1", "03:10.3", "03:10.4"]
    assert found({"select": "[?vf_index > `2`]", "class": "02"}) == ["03:10.3", "03:10.4"]
    assert found({"vendor": "8086", "subsystem_vendor": "15d9", "numa_node": 1}) == ["81:00.0"]
    assert found({"vendor": "1af4", "count": 2, "required": False, "waive": {"acs": "a test"}}) == []
    assert found({"class": "02", "free": False, "count": 5}, count=1) == ["03:10.1"]
    assert [one["address"][5:] for one in select(devices, pf="uplink", vendor="8086", catalog=catalog)][2] == "03:10.2"
    assert [one["address"][5:] for one in select(devices, select="[?vf_index==`1`]")] == ["03:10.1"]
    assert select(devices, subsystem="8086:0001") == [] == select(devices, count=0)


def test_a_count_keeps_what_is_in_use() -> None:
    assert addresses(pf="03:00.0", count=3) == ["03:10.1", "03:10.3", "03:10.0"]


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (("[?a==",), {}, "cannot be evaluated"),
        ((), {"count": 9}, "only 7 of"),
        ((), {"count": True}, "count must be a whole number"),
        ((), {"pf": "uplink"}, "not a PCI address"),
        ((), {"klass": "02"}, "no option klass"),
        ((), {"free": "false"}, "free must be true or false, not 'false'"),
        ((), {"numa_node": "one"}, "numa_node must be a whole number"),
        ((), {"class": 2}, "class must be 2, 4 or 6 hexadecimal digits in quotes, not 2; put it in quotes"),
        ((), {"class": "nic"}, "class must be 2, 4 or 6"),
        (("[?adress]",), {}, "did you mean 'address'"),
        (("[?free==true]",), {}, "`true`"),
        (({"pf": "uplink", "count": 2},), {}, "catalog=xen_pci_devices"),
        (({"pf": "uplnk", "count": 2},), {"catalog": {"uplink": "03:00.0"}}, "Did you mean 'uplink'"),
        (({"serial": "x"},), {}, "eight bytes"),
        (({"address": "03:00.0"},), {}, "not a pool"),
        (({"clas": "02", "count": 1},), {}, "'clas' is not a key of a device"),
        (({"class": "02", "count": 9},), {}, "only 4 of"),
        ((), {"catalog": {"uplink": {"venodr": "8086"}}}, "venodr"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleFilterError, match=words):
        select(DEVICES, *arguments, **options)


@pytest.mark.parametrize("data", [None, "text", [1], {"domains": []}, [{"name": "x"}], [{"address": object()}]])
def test_what_is_no_devices_is_refused(data: Any) -> None:
    with pytest.raises(AnsibleFilterError):
        select(data)


def test_without_jmespath_the_other_options_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "JMESPATH_IMPORT_ERROR", "ModuleNotFoundError")
    assert addresses(numa_node=1) == ["81:00.0"]
    with pytest.raises(AnsibleFilterError, match="jmespath"):
        addresses("[?vf_index > `2`]")


def test_tagged_data_of_ansible_is_understood() -> None:
    tagging = pytest.importorskip("ansible.template", reason="tags came with ansible-core 2.19")
    tagged = [
        {key: tagging.trust_as_template(value) if isinstance(value, str) else value for key, value in one.items()}
        for one in DEVICES
    ]
    expression = tagging.trust_as_template("[?starts_with(address, '0000:81')]")
    assert tagged[0]["address"].__class__ is not str
    found = select(tagged, expression)
    assert [one["address"] for one in found] == ["0000:81:00.0"]
    assert found[0]["address"].__class__ is str


def test_a_template_that_ansible_evaluates_gets_what_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "variables.json").write_text(json.dumps({"xen": {"devices": DEVICES}, "where": "{{ '0000:8' ~ 1 }}"}))
    expression = "[?starts_with(address, '\" ~ where ~ \"')]"
    text = f"{{{{ xen | xen.pci.select(\"{expression}\") | map(attribute='address') }}}}"
    collections = str(Path(filter_module.__file__).parents[5])
    command = [sys.executable, "-m", "ansible", "adhoc", "-i", "localhost,", "-c", "local", "localhost"]
    done = subprocess.run(
        [*command, "-m", "debug", "-a", json.dumps({"msg": text}), "-e", f"@{tmp_path / 'variables.json'}"],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": collections, "ANSIBLE_LOCAL_TEMP": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.partition("=>")[2])["msg"] == ["0000:81:00.0"]
