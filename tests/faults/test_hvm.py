# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HVM guests, whose device model is in dom0 or in a stub domain: the same declaration, and the same that must hold.

What must hold in each scenario is in scenarios.py. h1 is such a guest; g1 and g2 are PV.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from refusal_codes import codes_in
from scenarios import Act, Scenario, State, both, inject, nothing, perform
from simulated import OTHERS, TWIN_0, TWIN_1, A, B, C, Host, marker

CHANGES: dict[str, tuple[State, State]] = {
    "first device": ({"h1": []}, {"h1": [A]}),
    "more": ({"h1": [A]}, {"h1": [A, B]}),
    "three": ({"h1": []}, {"h1": [A, B, C]}),
    "fewer": ({"h1": [A, B]}, {"h1": [B]}),
    "both": ({"h1": [A, B]}, {"h1": [B, C]}),
    "last device": ({"h1": [A]}, {"h1": []}),
    "to PV": ({"h1": [A], "g1": []}, {"h1": [], "g1": [A]}),
    "from PV": ({"g1": [A], "h1": []}, {"g1": [], "h1": [A]}),
    "swap with PV": ({"g1": [A], "h1": [B]}, {"g1": [B], "h1": [A]}),
}


@pytest.fixture
def stubbed(host: Host) -> Host:
    """A host with h1, whose device model is in the domain h1-dm."""
    host.ask("create", config={"name": "h1", "type": "hvm", "stubdomain": True})
    return host


def pause(paused: bool, name: str = "h1") -> Act:
    return lambda host: host.ask("pause", domain=name, paused=paused)


def driver(host: Host, device: str) -> str | None:
    """The guest's driver of a device."""
    return next((one["driver"] for one in host.guest("h1")["devices"].values() if one["host"] == device), None)


# ---- the same declaration, the same results


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes(hvm: Host, change: tuple[State, State]) -> None:
    before, after = ({name: list(devices) for name, devices in state.items()} for state in change)
    begun = hvm.devices(**before)
    assert not begun.get("failed"), begun["msg"]
    planned = hvm.devices(how={"check": True}, **after)
    done = hvm.devices(**after)
    assert not done.get("failed"), done["msg"]
    assert (planned["changed"], done["changed"]) == (True, True)
    assert (planned["actions"], planned["diff"]) == (done["actions"], done["diff"])
    assert hvm.settled(after) == []
    again = hvm.devices(**after)
    assert (again.get("failed"), again["changed"], again["actions"]) == (None, False, [])
    assert hvm.repair(check=True)["findings"] == []


def test_what_is_told(plain: Host) -> None:
    result = plain.run(
        "domain_devices", {"domains": {"h1": {"devices": [A, B]}}, "converge": "active", "_ansible_verbosity": 2}
    )
    [domain] = result["domains"]
    assert [one["converged"] for one in domain["devices"]] == ["active", "active"]
    assert [one["guest_address"] for one in domain["devices"]] == ["0000:00:03.00", "0000:00:04.00"]
    assert [one["added"] for one in domain["cycles"]] == [[A], [B]]
    assert {one["node"] for one in domain["timeline"]} == {
        "device model/pci-pt-01_00.0",
        "device model/pci-pt-02_00.0",
    }


def test_two_functions_of_a_slot_have_slots_of_their_own(hvm: Host) -> None:
    done = hvm.devices(h1=[TWIN_0, TWIN_1])
    assert not done.get("failed"), done["msg"]
    assert hvm.settled({"h1": [TWIN_0, TWIN_1]}) == []
    assert not hvm.devices(h1=[TWIN_1]).get("failed")
    assert hvm.settled({"h1": [TWIN_1]}) == []


def test_a_stub_domain_is_not_to_be_named(stubbed: Host) -> None:
    refused = stubbed.devices(**{"h1-dm": [A]})
    assert codes_in(refused) == [("wrong-kind", "h1-dm")]


# ---- what may go wrong

PLAIN = [
    Scenario(
        f"HVM, {change}: the guest does not eject", *CHANGES[change], inject("refuse-eject", domain="h1"),
        calm=inject("refuse-eject", domain="h1", refuse=False), says=(device,), also=also,
    )
    for change, device, also in (
        ("fewer", A, None),
        ("both", A, {"h1": [B]}),
        ("last device", A, None),
        ("to PV", A, {}),
        ("swap with PV", B, {"g1": [A]}),
    )
] + [
    Scenario(
        f"HVM, {change}: the guest is paused", *CHANGES[change], pause(True), calm=pause(False),
        outcomes=("ok",) if change in ("first device", "more") else ("error",),
    )
    for change in ("first device", "more", "fewer", "last device")
] + [
    Scenario(
        f"HVM, {change}: the guest ejects later than xl waits", *CHANGES[change],
        inject("eject-late", domain="h1", seconds=0.8), outcomes=("ok",), timeout=15,
    )
    for change in ("fewer", "both", "to PV", "swap with PV")
] + [
    Scenario(
        f"HVM, {change}: Xen refuses a device after QEMU has it", *CHANGES[change], inject("broken", device=device),
        calm=inject("broken", device=device, broken=False), says=(device, "xl"), timeout=15,
        also={"g1": [], "h1": []} if change == "from PV" else None,
    )
    for change, device in (("first device", A), ("more", B), ("three", B), ("three", C), ("both", C), ("from PV", A))
] + [
    Scenario(
        "HVM, three: Xen refuses the third, and the guest keeps the others", *CHANGES["three"],
        both(inject("broken", device=C), inject("refuse-eject", domain="h1")),
        calm=both(inject("broken", device=C, broken=False), inject("refuse-eject", domain="h1", refuse=False)),
        says=(A, B, C), timeout=10,
    ),
    Scenario(
        "HVM: a reset fails before an attach", *CHANGES["more"], inject("reset-fails", device=B),
        calm=inject("reset-fails", device=B, fails=False), says=(B, "reset"),
    ),
    Scenario(
        "HVM: QEMU does not answer", *CHANGES["more"], inject("qemu-silent", domain="h1"),
        calm=inject("qemu-silent", domain="h1", silent=False), outcomes=("refused",), refused=("silent_device_model",),
    ),
    Scenario(
        "HVM: QEMU falls silent in the middle", *CHANGES["first device"], nothing,
        inject("qemu-silent", domain="h1"), ("/local/domain/0/backend/pci/4/0/dev-0", A),
        calm=inject("qemu-silent", domain="h1", silent=False), says=("QEMU", A),
    ),
    Scenario(
        "HVM: the guest dies at its first device", *CHANGES["first device"],
        inject("die-at", domain="0", step="backend:2", victim="h1"), outcomes=("ok", "error"), again=False,
    ),
    Scenario(
        "HVM: without a driver, active wanted", *CHANGES["first device"], pause(True), calm=pause(False),
        says=("driver", A), level="active",
    ),
]  # fmt: skip

STUB = [
    replace(one, name=one.name.replace("HVM", "stub domain"))
    for one in PLAIN
    if "later than xl" not in one.name and "in the middle" not in one.name and "dies" not in one.name
] + [
    Scenario(
        f"stub domain, {change}: it is silent at {step}", *CHANGES[change], inject("silent", domain="h1-dm", step=step),
        calm=inject("resume", domain="h1-dm", step=step), says=(A if change != "more" else B,),
        outcomes=("error",) if "frontend:1" in step or "frontend:7" in step else ("ok", "error"),
    )
    for change, steps in (
        ("first device", ("frontend:1", "frontend:4")),
        ("more", ("frontend:7", "frontend:8")),
        ("fewer", ("frontend:7", "frontend:8")),
        ("last device", ("frontend:5",)),
    )
    for step in steps
] + [
    Scenario(
        f"stub domain, {change}: it is late at {step}", *CHANGES[change],
        inject("late", domain="h1-dm", step=step, seconds=0.7),
        calm=inject("late", domain="h1-dm", step=step, seconds=0),
        outcomes=("ok", "error") if change == "fewer" else ("ok",), timeout=15,
    )
    for change, step in (("first device", "frontend:1"), ("more", "frontend:7"), ("fewer", "frontend:7"))
] + [
    Scenario(
        f"stub domain, {change}: pciback refuses", *CHANGES[change], inject("refuse-export", device=device),
        calm=inject("refuse-export", device=device, refuse=False), says=(device,), timeout=15,
    )
    for change, device in (("first device", A), ("more", B))
]  # fmt: skip


@pytest.mark.parametrize("scenario", PLAIN, ids=[scenario.name for scenario in PLAIN])
def test_no_false_ok(plain: Host, scenario: Scenario, record_property: Callable[[str, object], None]) -> None:
    perform(plain, scenario, record_property)


@pytest.mark.parametrize("scenario", STUB, ids=[scenario.name for scenario in STUB])
def test_no_false_ok_with_a_stub_domain(
    stubbed: Host, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    perform(stubbed, scenario, record_property)


@contextmanager
def held_socket(host: Host) -> Iterator[None]:
    """Somebody else is QEMU's client, without libxl's lock."""
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(str(host.directory / "run" / f"qmp-libxl-{host.guest('h1')['domid']}"))
        assert b"QMP" in other.recv(4096)
        yield


def test_another_client_holds_the_socket(plain: Host, record_property: Callable[[str, object], None]) -> None:
    record_property("scenario", "HVM: somebody else holds QEMU's socket")
    with held_socket(plain):
        refused = plain.devices(h1=[A])
    record_property("happened", refused["msg"][:150])
    assert ("silent_device_model", "h1") in codes_in(refused)
    assert plain.wrong({"h1": []}) == []
    assert not plain.devices(h1=[A]).get("failed")


# ---- what was left, and its repair


def qmp(host: Host, command: str, **arguments: str) -> None:
    """Tell QEMU something, behind libxl's back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(host.directory / "run" / f"qmp-libxl-{host.guest('h1')['domid']}"))
        stream = connection.makefile("rw")
        stream.readline()
        for name, values in (("qmp_capabilities", {}), (command, arguments)):
            stream.write(json.dumps({"execute": name, "arguments": values}) + "\n")
            stream.flush()
            assert "return" in json.loads(stream.readline())


def late_eject(host: Host) -> None:
    """traces: xl gives up on a paused guest, which ejects the device when it wakes up. Where there is a stub domain, xl
    does not ask the guest, but one of our own runs does, and may be killed then.
    """
    pause(True)(host)
    if host.guest("h1")["stub"]:
        qmp(host, "device_del", id="pci-pt-01_00.0")
    else:
        assert host.xl("pci-detach", "h1", A).returncode == 1
    pause(False)(host)


def unlisted(host: Host) -> None:
    """xl was killed after QEMU had the device: the next attach fails with a duplicate ID."""
    host.act(("write", marker(B), str(host.guest("h1")["domid"])), ("assign", str(host.guest("h1")["domid"]), B))
    qmp(host, "device_add", driver="xen-pci-passthrough", id="pci-pt-02_00.0", hostaddr=B)


def refused_by_xen(host: Host) -> None:
    """xl leaves the device in QEMU when Xen refuses it, and removes its marker."""
    host.inject("broken", device=B)
    assert host.xl("pci-attach", "h1", B).returncode == 1
    host.inject("broken", device=B, broken=False)
    if not host.guest("h1")["stub"]:
        assert "Duplicate" in host.xl("pci-attach", "h1", B).stderr


def half_detached(host: Host) -> None:
    """The guest has ejected the device, and xl was killed before it took any right."""
    qmp(host, "device_del", id="pci-pt-01_00.0")
    time.sleep(0.1)


LEFT: dict[str, tuple[Act, str, list[str]]] = {
    "ejected late": (late_eject, "stale_record", []),
    "half detached": (half_detached, "stale_record", []),
    "half attached": (unlisted, "unlisted_device", [A]),
    "refused by Xen": (refused_by_xen, "unlisted_device", [A]),
}
#: Where there is a stub domain, libxl has listed the device before Xen refuses it: it is really given then.
LISTED_BY_STUB: tuple[str, list[str]] = ("rights_missing", [A, B])


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_a_repair_finishes_it(
    hvm: Host,
    left: tuple[Act, str, list[str]],
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    record_property("scenario", f"repair, {request.node.callspec.id}")
    make, fault, has_then = left
    if make is refused_by_xen and hvm.guest("h1")["stub"]:
        fault, has_then = LISTED_BY_STUB
    assert not hvm.devices(h1=[A]).get("failed")
    make(hvm)
    before = len(hvm.ask("trace"))
    expected = hvm.repair(check=True)
    record_property("happened", expected["actions"][0][:150])
    assert fault in {one["fault"] for one in expected["findings"]}
    assert (expected["changed"], len(hvm.ask("trace"))) == (True, before)
    repaired = hvm.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert hvm.wrong({"h1": has_then}) == []
    assert hvm.repair(check=True)["findings"] == []


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_the_next_run_finishes_it(hvm: Host, left: tuple[Act, str, list[str]]) -> None:
    assert not hvm.devices(h1=[A]).get("failed")
    left[0](hvm)
    if left[0] is refused_by_xen and hvm.guest("h1")["stub"]:
        # Nothing tells it from a device that somebody took the rights of: that is left to a repair, and said so.
        refused = hvm.devices(h1=[A, B])
        assert refused["failed"] and "missing_marker" in {one["code"] for one in refused["refusals"]}
        assert not hvm.repair().get("failed")
    done = hvm.devices(h1=[A, B])
    assert not done.get("failed"), done["msg"]
    assert hvm.settled({"h1": [A, B]}) == []


def test_a_device_that_libxls_configuration_lost(plain: Host) -> None:
    """libxl before 4.15 did so with a first device: the guest would come back from its next reboot without it."""
    assert not plain.devices(h1=[A]).get("failed")
    [file] = (plain.directory / "var/lib/xen").glob(f"userdata-d.{plain.guest('h1')['domid']}.*.libxl-json")
    kept = json.loads(file.read_text().rstrip("\0"))
    file.write_text(json.dumps({**kept, "pcidevs": []}) + "\0")
    assert [one["fault"] for one in plain.repair(check=True)["findings"]] == ["not_configured"]
    again = plain.devices(h1=[A])
    assert codes_in(again) == [("not_configured", "h1")]
    assert not plain.repair().get("failed")
    assert json.loads(file.read_text().rstrip("\0"))["pcidevs"] == kept["pcidevs"]
    assert not plain.devices(h1=[A])["changed"]


def test_a_silent_device_model_is_named_and_has_no_recipe(plain: Host) -> None:
    assert not plain.devices(h1=[A]).get("failed")
    plain.inject("qemu-silent", domain="h1")
    repaired = plain.repair()
    plain.inject("qemu-silent", domain="h1", silent=False)
    assert (repaired["failed"], [one["fault"] for one in repaired["findings"]]) == (True, ["silent_device_model"])
    assert plain.settled({"h1": [A]}) == []


def test_a_device_that_fell_off_the_bus_leaves_no_right(plain: Host) -> None:
    assert not plain.devices(h1=[A, B]).get("failed")
    plain.pull_out(A)
    assert not plain.repair().get("failed")
    assert plain.settled({"h1": [B]}) == []
    plain.pull_out(B)
    assert not plain.devices(h1=[]).get("failed")
    assert plain.settled({"h1": []}) == []


def test_a_device_that_went_to_another_guest_is_not_among_those_of_before(plain: Host) -> None:
    assert not plain.devices(g1=[A], h1=[B]).get("failed")
    plain.inject("broken", device=A)
    failed = plain.devices(g1=[B], h1=[A])
    (reported,) = (one for one in failed["domains"] if one["name"] == "h1")
    assert failed["failed"] and reported["after"] == [] and B in reported["error"]


def test_what_libxl_lists_after_the_guest_let_it_go_is_not_called_as_before(stubbed: Host) -> None:
    """pciback does not have it any more, so the stub domain cannot let it go, which is left to a repair."""
    assert not stubbed.devices(h1=[A]).get("failed")
    stubbed.act(("unbind", A))
    failed = stubbed.devices(timeout=3, h1=[])
    assert failed["failed"] and A in failed["msg"]
    for _try in range(2):
        repaired = stubbed.repair()
    assert not repaired.get("failed"), repaired["msg"]
    assert stubbed.settled({"h1": []}) == []


def test_what_is_out_when_qemu_falls_silent_is_told(plain: Host) -> None:
    assert not plain.devices(h1=[A, B]).get("failed")
    socket_file = plain.directory / "run" / f"qmp-libxl-{plain.guest('h1')['domid']}"
    plain.inject("eject-late", domain="h1", seconds=0.5)
    remover = threading.Timer(0.2, socket_file.unlink)
    remover.start()
    failed = plain.devices(h1=[B])
    remover.join()
    assert failed["failed"] and A in failed["msg"]


def test_the_faults_of_a_stub_domain_are_among_those_of_its_guest(stubbed: Host) -> None:
    """A stub domain that is stuck keeps its guest from any change, so who asks for the guest's faults means it, too."""
    assert not stubbed.devices(h1=[A]).get("failed")
    pause(True, "h1-dm")(stubbed)
    stubbed.xl("pci-attach", "h1", B)
    expected = stubbed.repair(check=True, domains=["h1"])
    assert {"silent_guest"} <= {one["fault"] for one in expected["findings"] if one["domain"] == "h1-dm"}
    assert stubbed.repair(check=True, domains=["g1"])["findings"] == []
    repaired = stubbed.repair(domains=["h1"])
    assert not repaired.get("failed"), repaired["msg"]
    pause(False, "h1-dm")(stubbed)
    assert stubbed.settled({"h1": [A]}) == []


@pytest.mark.parametrize("device", [B, OTHERS[0], OTHERS[1]], ids=["another guest's", "an interface", "a disk"])
def test_a_device_model_that_lies_gets_nobody_elses_device_reset(plain: Host, device: str) -> None:
    """Its name for a device is its word only; the disk is the host's own."""
    assert not plain.devices(g1=[B]).get("failed")
    name = f"pci-pt-{device[5:7]}_{device[8:10]}.{device[11]}"
    qmp(plain, "device_add", driver="xen-pci-passthrough", id=name, hostaddr=C)
    before = len(plain.ask("trace"))
    repaired, refused = plain.repair(), plain.devices(h1=[A])
    assert [(one["fault"], one["devices"]) for one in repaired["left"]] == [("unlisted_device", [])]
    assert repaired["failed"] and refused["failed"] and name in refused["msg"]
    assert [line for line in plain.ask("trace", start=before) if "reset" in line or device in line] == []


# ---- killed in the middle


@pytest.mark.parametrize("change", ["three", "both", "last device"])
def test_killed_while_xl_works(hvm: Host, change: str, record_property: Callable[[str, object], None]) -> None:
    """xl goes on by itself; the next run finds what has come of it."""
    before, after = CHANGES[change]
    task = {"domains": {"h1": {"devices": list(after["h1"]), "exclusive": True}}, "timeout": 15}
    for kill_at in itertools.count(0, 5):
        assert not hvm.devices(h1=list(before["h1"])).get("failed")
        killed = hvm.run("domain_devices", task, kill_at=kill_at)
        done = hvm.run("domain_devices", task)
        assert not done.get("failed"), (kill_at, done["msg"])
        assert hvm.settled(after) == [], kill_at
        if "killed" not in killed:
            break
    record_property("scenario", f"HVM, {change}: killed")
    record_property("happened", f"at {kill_at // 5} points, finished by the next run each time")
    assert kill_at > 5


# ---- the first device, which pciback keeps


def left_by_xl(host: Host) -> None:
    done = host.xl("pci-detach", "h1", A)
    assert done.returncode == 0, done.stderr


def left_in_a_run(host: Host) -> None:
    done = host.devices(h1=[B])
    assert not done.get("failed"), done["msg"]


def left_in_a_killed_run(host: Host) -> None:
    """It is killed where the guest has ejected the device and libxl still lists it; the next run finishes that."""
    killed = host.devices(h1=[B], how={"kill_at": "before xen iomem 4"})
    assert killed.get("killed"), killed
    done = host.devices(h1=[B])
    assert not done.get("failed"), done["msg"]


@pytest.mark.parametrize("leave", [left_in_a_run, left_by_xl, left_in_a_killed_run])
@pytest.mark.parametrize("stubbed_taker", [False, True], ids=["to PV", "to a stub domain"])
def test_the_first_device_stays_known_after_it_has_left(plain: Host, leave: Act, stubbed_taker: bool) -> None:
    taker = "g1"
    if stubbed_taker:
        plain.ask("create", config={"name": "h2", "type": "hvm", "stubdomain": True})
        taker = "h2"
    assert not plain.devices(h1=[A, B, C]).get("failed")
    assert not plain.devices(h1=[A, B]).get("failed")  # what was not the first one can go on
    assert not plain.devices(**{taker: [C]}).get("failed")
    assert not plain.devices(**{taker: []}).get("failed")
    leave(plain)
    for check in (True, False):
        refused = plain.devices(how={"check": check}, **{taker: [A]})
        assert [(one["code"], one["subject"]) for one in refused["refusals"]] == [("kept-by-pciback", A)]
    assert not plain.devices(h1=[B, A]).get("failed")  # to the same guest it can go back
    refused = plain.devices(**{"h1": [B], taker: [A]})
    assert [(one["code"], one["subject"]) for one in refused["refusals"]] == [("kept-by-pciback", A)]
    done = plain.devices(**{"h1": [], taker: [A]})
    assert not done.get("failed"), done["msg"]
    assert plain.settled({taker: [A]}) == []
    # The guest's next connection has another first device.
    assert not plain.devices(h1=[B, C]).get("failed")
    for state in ({taker: []}, {taker: [A]}):
        done = plain.devices(**state)
        assert not done.get("failed"), done["msg"]


@pytest.mark.parametrize("stubbed_taker", [False, True], ids=["to PV", "to a stub domain"])
def test_what_pciback_keeps_waits_until_the_guest_is_empty(plain: Host, stubbed_taker: bool) -> None:
    taker = "g1"
    if stubbed_taker:
        plain.ask("create", config={"name": "h2", "type": "hvm", "stubdomain": True})
        taker = "h2"
    for has in ([A, C], [C]):
        assert not plain.devices(h1=has).get("failed")
    pause(True)(plain)
    result = plain.devices(timeout=3, **{"h1": [], taker: [A]})
    pause(False)(plain)
    assert result["failed"] and not result.get("refusals")
    assert "waits for" in result["msg"] and C in result["msg"], result["msg"]
    result = plain.devices(**{"h1": [B], taker: [A]})
    assert not result.get("failed"), result["msg"]
    assert plain.settled({"h1": [B], taker: [A]}) == []


def test_the_first_device_of_a_guest_moves_to_another_hvm_guest(plain: Host) -> None:
    plain.ask("create", config={"name": "h2", "type": "hvm"})
    assert not plain.devices(h1=[A, B]).get("failed")
    done = plain.devices(h1=[B], h2=[A])
    assert not done.get("failed"), done["msg"]
    assert plain.settled({"h1": [B], "h2": [A]}) == []


# ---- two devices on one line


def test_a_line_stays_when_one_of_its_devices_leaves(hvm: Host) -> None:
    lines = {device: facts["irq"] for device, facts in hvm.ask("devices").items()}
    assert lines[A] == lines[C]
    assert not hvm.devices(h1=[A, C]).get("failed")
    assert not hvm.devices(h1=[C]).get("failed")
    assert hvm.settled({"h1": [C]}) == []


def test_a_line_that_went_with_a_moved_device_is_given_back(host: Host) -> None:
    assert not host.devices(g1=[A, C]).get("failed")
    assert host.xl("pci-detach", "g1", A).returncode == 0
    for check in (True, False):  # though the task is about another guest
        done = host.devices(g2=[A], how={"check": check})
        assert not done.get("failed"), done["msg"]
        assert any("lost_line" in one for one in done["repaired"])
    assert host.settled({"g1": [C], "g2": [A]}) == []
    assert host.devices(g1=[C], g2=[A])["changed"] is False
