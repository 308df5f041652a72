# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that our own release has reset is not reset again before the next guest gets it, unless it may have been
used in between.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from engine_host import A, B, Simulated, wants

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
