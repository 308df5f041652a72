# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of domains are to say, and which files are refused."""

from __future__ import annotations

from typing import Any

from refusal_codes import codes

from ansible_collections.xen.pci.plugins.module_utils.model.host import Host
from ansible_collections.xen.pci.plugins.module_utils.model.xl_file import devices_of
from ansible_collections.xen.pci.plugins.module_utils.plan.domain_plan import DesiredDomain
from ansible_collections.xen.pci.plugins.module_utils.plan.file_plan import plan_files
from ansible_collections.xen.pci.plugins.module_utils.plan.names import Moved
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

A, B, C, D = (Sbdf.parse(f"0000:{bus:02x}:00.0") for bus in (1, 2, 3, 4))
FILE = "/etc/xen/web01.cfg"
TEXT = "name = 'web01'\npci = ['0000:01:00.0', '0000:02:00.0']\n"


def host(**unreadable: Any) -> Host:
    return Host({}, {}, config_files={FILE: TEXT}, **unreadable)


def web01(*devices: Sbdf, **more: Any) -> DesiredDomain:
    return DesiredDomain("web01", devices, config=FILE, **more)


def planned(want: DesiredDomain, *moved: Moved) -> tuple[Sbdf, ...]:
    (change,), refusals = plan_files(host(), [want], moved)
    assert refusals == ()
    assert (change.path, change.before) == (FILE, TEXT)
    assert change.changed == (change.after != TEXT)
    return devices_of(change.after)


def test_the_file_gets_the_declaration_that_the_domain_gets() -> None:
    assert planned(web01(C)) == (A, B, C)
    assert planned(web01(B, C, exclusive=True)) == (B, C)
    assert planned(web01(exclusive=True)) == ()
    assert planned(web01(A, D, present=False)) == (B,)
    assert planned(web01(A, exclusive=True, present=False)) == (B,)


def test_the_old_address_of_a_device_that_moved_goes() -> None:
    assert planned(web01(C), Moved("uplink", A, C)) == (B, C)
    assert planned(web01(C), Moved("uplink", A, D)) == (A, B, C)
    assert planned(web01(C, present=False), Moved("uplink", A, C)) == (B,)


def test_an_old_address_that_was_listed_beside_the_new_one_is_another_device() -> None:
    assert planned(web01(B), Moved("uplink", A, B)) == (A, B)


def test_a_domain_without_a_file_has_no_change() -> None:
    assert plan_files(host(), [DesiredDomain("web01", (A,))], []) == ((), ())


def test_all_files_that_are_not_understood_are_refused_at_once() -> None:
    gone, why = "/etc/xen/none.cfg", "/etc/xen/none.cfg cannot be read (No such file or directory)"
    wants = [
        web01(C),
        DesiredDomain("web02", (A,), config=FILE),
        DesiredDomain("web03", (B,), config=gone),
    ]
    changes, refusals = plan_files(host(unreadable_files={gone: why}), wants, [])
    assert [change.want.name for change in changes] == ["web01"]
    assert codes(refusals) == [("config-file", "web02"), ("config-file", "web03")]
    other, missing = map(str, refusals)
    assert FILE in other and "line 1" in other and "'web01'" in other
    assert why in missing
