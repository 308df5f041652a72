# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guest as an adversary: whatever it writes into its own directory, and however fast, nothing breaks here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import A, B, Host

FRONT = "/local/domain/1/device/pci/0"
BACK = "/local/domain/0/backend/pci/1/0"
TIMEOUT = 1
#: What a node may hold: any bytes but NUL (xenstored's limit of 2 KiB a value holds for guests).
VALUES = st.one_of(
    st.sampled_from(["", "0", "4", "5", "6", "7", "8", "9", "-1", "04", " 4", "4\n", "٤", "4" * 2000, "../../0"]),
    st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=300),
)
NODES = st.sampled_from(["state", "backend", "backend-id", "pci-op-ref", "event-channel", "magic", "x", "state/x"])


@pytest.fixture
def attached(host: Host) -> Host:
    assert not host.devices(g1=[A]).get("failed")
    return host


def answers_in_words(host: Host, timeout: int = TIMEOUT) -> str:
    """The task ends in time, with success or a sentence of bounded length; so does a diagnosis."""
    result = host.devices(timeout, g1=[A, B])
    message: str = result.get("msg", "")
    assert len(message) < 1500 and "Traceback" not in message
    diagnosis = host.repair(check=True, settle=0.1)
    assert all(len(one["evidence"]) < 1000 for one in diagnosis["findings"])
    # Its own time, the time for taking back, and what a busy machine adds.
    assert result["elapsed"] < timeout + 60
    return message


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=st.lists(st.tuples(NODES, VALUES), min_size=1, max_size=4))
def fuzz(host: Host, written: list[tuple[str, str]]) -> None:
    before = {path for path in host.nodes() if not path.startswith(FRONT)}
    host.ask("pause", domain="g1", paused=True)
    steps = [
        ("write", f"{FRONT}/{node}", value.encode("latin-1", "ignore").decode("latin-1")) for node, value in written
    ]
    with contextlib.suppress(AssertionError):  # a store that refuses the value is no news
        host.act(*steps)
    answers_in_words(host)
    after = {path for path in host.nodes() if not path.startswith(FRONT)}
    strange = {
        path for path in after - before if not path.startswith((BACK, "/libxl/pci/", "/tool/", "/local/domain/0/error"))
    }
    assert not strange, "a path was built from what a guest wrote"
    host.restart()
    assert not host.devices(g1=[A]).get("failed")


def test_nodes_of_any_content(attached: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "adversary: nodes of any content")
    fuzz(attached)
    record_property("happened", "25 examples: always an answer in time, no path from a guest's words")


@pytest.mark.parametrize("states", ["47", "4567", "0123456789", "x4"], ids=["4-7", "4-5-6-7", "all", "x-4"])
def test_a_state_that_flaps(attached: Host, states: str, record_property: Callable[[str, object], None]) -> None:
    """As fast as the store takes it, from a connection of its own, all through the task."""
    record_property("scenario", f"adversary: a state that flaps between {', '.join(states)}")
    host = attached
    flapping = host.flap(f"{FRONT}/state", states)
    try:
        message = answers_in_words(host)
    finally:
        flapping.kill()
        flapping.wait()
    record_property("happened", message[:150] or "ok")


def test_a_directory_full_of_nodes(attached: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "adversary: a thousand nodes in its directory")
    attached.act(*[("write", f"{FRONT}/node-{number}", "y" * 1000) for number in range(1000)])
    message = answers_in_words(attached, 15)
    record_property("happened", message[:150] or "ok")
    assert message == ""
    assert attached.settled({"g1": [A, B]}) == []
