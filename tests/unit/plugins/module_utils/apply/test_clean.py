# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that our own release has reset is not reset again before the next guest gets it, unless it may have been
used in between.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from engine_host import A, B, Simulated, wants

from ansible_collections.xen.pci.plugins.module_utils.apply.clean import is_clean, proof_of
from ansible_collections.xen.pci.plugins.module_utils.host.sysfs import SysfsError
from ansible_collections.xen.pci.plugins.module_utils.model.device import ConfigFlags, XenOwner
from ansible_collections.xen.pci.plugins.module_utils.model.domain import Domain
from ansible_collections.xen.pci.plugins.module_utils.values.address import Sbdf

NOTE = "/tool/xen-pci/clean/0000-01-00-0"


def resets(host: Simulated) -> int:
    return int(host.ask("devices")[A]["resets"])


def given_and_taken(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.run(wants("g1", B, exclusive=True))
    host.has("g1", B)


def given_again(host: Simulated, guest: str = "g1") -> int:
    """How often the device is reset on its way into a guest."""
    before = resets(host)
    run = host.run(wants(guest, A))
    assert run.domains[guest].error == ""
    assert A in {seen["host"] for seen in host.guest(guest)["devices"].values()}
    return resets(host) - before


@pytest.mark.parametrize("guest", ["g1", "g2"])
def test_one_reset_between_two_guests_is_enough(host: Simulated, guest: str) -> None:
    given_and_taken(host)
    assert NOTE in host.nodes()
    assert given_again(host, guest) == 0
    assert NOTE not in host.nodes(), "a guest has it, and so it is not clean any more"


def test_what_was_never_given_by_us_is_reset(host: Simulated) -> None:
    assert given_again(host) == 1


def by_xl(host: Simulated) -> None:
    host.xl("pci-attach", "g2", A)
    host.xl("pci-detach", "g2", A)


def another_one_by_xl(host: Simulated) -> None:
    host.xl("pci-attach", "g1", "0000:03:00.0")


def by_a_driver_of_the_host(host: Simulated) -> None:
    for file, value in (("pciback/unbind", A), ("e1000e/bind", A), ("e1000e/unbind", A), ("pciback/bind", A)):
        host.write_sysfs(f"bus/pci/drivers/{file}", value)


def bound_once_more(host: Simulated) -> None:
    for file in ("unbind", "bind"):
        host.write_sysfs(f"bus/pci/drivers/pciback/{file}", A)


@pytest.mark.parametrize("used", [by_xl, another_one_by_xl, by_a_driver_of_the_host, bound_once_more])
def test_after_a_use_that_is_not_ours_it_is_reset(host: Simulated, used: Callable[[Simulated], None]) -> None:
    given_and_taken(host)
    used(host)
    assert given_again(host, "g1") == 1


def test_after_a_release_whose_reset_failed_it_is_reset(host: Simulated) -> None:
    host.run(wants("g1", A, B))
    host.inject("reset-fails", device=A)
    host.run(wants("g1", B, exclusive=True))
    assert NOTE not in host.nodes()
    host.inject("reset-fails", device=A, fails=False)
    assert given_again(host) == 1


def access(**changed: Any) -> Any:
    """A host on which the device is at rest in pciback, but for what is given."""
    seen = {
        "binding": "7",
        "trace": "8",
        "answers": True,
        "config_flags": ConfigFlags(memory=True),
        "driver_of": "pciback",
        "owner": XenOwner.HOST,
        **changed,
    }

    def say(name: str) -> Callable[[object], Any]:
        def call(_of_what: object) -> Any:
            if isinstance(seen[name], Exception):
                raise seen[name]
            return seen[name]

        return call

    both = SimpleNamespace(**{name: say(name) for name in seen})
    return SimpleNamespace(sysfs=both, toolstack=both, hypervisor=both)


@pytest.mark.parametrize(
    "changed",
    [
        {"binding": "9"},
        {"trace": "9"},
        {"binding": ""},
        {"trace": ""},
        {"answers": False},
        {"answers": SysfsError("it is gone")},
        {"config_flags": ConfigFlags(bus_master=True)},
        {"config_flags": ConfigFlags(msi=True)},
        {"config_flags": ConfigFlags(msix=True)},
        {"driver_of": "e1000e"},
        {"owner": XenOwner.GUEST},
        {"owner": XenOwner.UNKNOWN},
    ],
    ids=str,
)
def test_whatever_speaks_against_it_means_a_reset(changed: dict[str, Any]) -> None:
    device, guest = Sbdf.parse(A), Domain(1, "g1")
    noted = proof_of(access(), guest, device)
    assert is_clean(access(), guest, device, noted)
    assert not is_clean(access(**changed), guest, device, noted)


def test_without_a_note_nothing_is_clean() -> None:
    assert not is_clean(access(), Domain(1, "g1"), Sbdf.parse(A), None)
    assert not is_clean(access(trace=""), Domain(1, "g1"), Sbdf.parse(A), "")
