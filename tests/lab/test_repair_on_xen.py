# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad states on real Xen, made by what makes them: xen.pci.repair names and repairs them, for the guest's benefit.

The fault suite does the same on the simulator, with more states; what is seen here is that real kernels agree.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pytest
from disposable_host import Ward, marker, ward
from guest_lifecycle import listed, store, stored

from xenlab import Host, topology

PARTS = (topology.NICS[0], topology.NICS[1], topology.EDUS[0], topology.RNG)
A, B, E, R = (part.bdf for part in PARTS)
OUTSIDE = topology.NICS[2].bdf
QUARANTINE = 0x7FF1
#: The two I/O APICs of QEMU's q35 have not more.
LINES = 64
ENTRY = ("dev", "key", "state", "vdev", "opts")


Break = Callable[[Ward], object]


@dataclass(frozen=True)
class FaultyHost:
    """A bad state. `found`: the faults named at first; `repaired`: what g1 has in the end.

    `asked`: the faults to name for repair; `after`: what is done when that is over, whatever came of it; g1 that wakes
    up may do by itself what is `awaited`. `noted`: what is reported until then without being a failure. `costs`: g1
    loses devices that it uses, so the repair fails, though nothing is left.
    """

    name: str
    before: Collection[str]
    make: Break
    found: Collection[str]
    repaired: Collection[str]
    asked: Collection[str] = ()
    awaited: Collection[str] = ()
    noted: Collection[str] = ()
    after: Break | None = None
    costs: bool = False


def entry(lab: Ward, index: int, device: str, state: str = "1", domid: int | None = None) -> list[tuple[object, ...]]:
    return [
        *[("write", lab.back(f"{kind}-{index}", domid), device) for kind in ("dev", "key")],
        ("write", lab.back(f"state-{index}", domid), state),
        ("write", lab.back("num_devs", domid), str(index + 1)),
    ]


def refused_by_pciback(lab: Ward) -> None:
    """A device that pciback does not have, written by a toolstack that did not look."""
    lab.act(*entry(lab, 1, OUTSIDE), ("write", lab.back("state"), "7"), ("until", lab.back("state"), "5"))


def uncompacted(lab: Ward) -> None:
    """The guest and pciback have let the first device go, and then the toolstack died."""
    begin = ("write", lab.back("state-0"), "5"), ("write", lab.back("state"), "7")
    lab.act(*begin, ("until", lab.back("state"), "4"))


def removal_met_twice(lab: Ward) -> None:
    """A removal that nobody compacted, and another change on top of it."""
    uncompacted(lab)
    lab.act(("write", lab.back("state"), "7"), ("until", lab.front("state"), "7"))


def unpause(lab: Ward) -> None:
    lab.xl("unpause", "g1")


def attached_while_paused(lab: Ward) -> None:
    lab.xl("pause", "g1")
    lab.xl("pci-attach", "g1", E)


def detached_while_paused(lab: Ward) -> None:
    """xl takes the rights, waits 10 s for nothing, and calls it done."""
    lab.xl("pause", "g1")
    lab.xl("pci-detach", "g1", B)


def attached_without_frontend(lab: Ward) -> None:
    lab.xl("pci-attach", "g3", E)


def marked_for_another(lab: Ward) -> None:
    lab.act(("write", marker(A), str(lab.g3)))


def missed_connect(lab: Ward) -> None:
    """The guest sleeps when dom0 connects, and an impatient toolstack asks for the next change."""
    steps = ("until", lab.front("state"), "3"), ("pause", lab.g1), ("until", lab.back("state"), "4")
    lab.modules.ask("act", steps)
    lab.xl("pci-attach", "g1", A)
    lab.modules.answer()
    lab.xl("pci-attach", "g1", E)


def unseen_entry(lab: Ward) -> None:
    lab.act(*entry(lab, 1, E))


def lost_entry(lab: Ward) -> None:
    lab.act(("remove", lab.back("dev-0")))


def half_compaction(lab: Ward) -> None:
    uncompacted(lab)
    moved = [("write", lab.back(f"{kind}-0"), B) for kind in ("dev", "key")]
    lab.act(*moved, ("write", lab.back("state-0"), "3"), ("write", lab.back("vdev-0"), "0000:00:01.00"))


def emptied(lab: Ward) -> None:
    uncompacted(lab)
    lab.act(("write", lab.back("num_devs"), "0"), *[("remove", lab.back(f"{kind}-0")) for kind in ENTRY])


def closed_by_guest(lab: Ward) -> None:
    """The guest finds no address of the device to remove, and gives up."""
    begin = ("write", lab.back("state-0"), "5"), ("write", lab.back("state"), "7")
    lab.act(("remove", lab.back("vdev-0")), *begin)
    lab.act(("until", lab.front("state"), "5"), ("until", lab.back("state"), "5"))


def repair_killed(lab: Ward) -> None:
    """Behind the removal of the connection that the guest has closed, before it is made anew."""
    closed_by_guest(lab)
    words = {"settle": 0.5, "timeout": 120}
    removed = "after rm /local/domain/0/backend, then after commit"
    assert lab.modules.run("repair", words, kill_at=removed) == {"killed": 9}


def close_unanswered(lab: Ward) -> None:
    lab.xl("pause", "g1")
    lab.act(("write", lab.back("online"), "0"), ("write", lab.back("state"), "5"))


def close_unfinished(lab: Ward) -> None:
    lab.act(("write", lab.back("online"), "0"), ("write", lab.back("state"), "5"), ("until", lab.back("state"), "6"))


def acting(*steps: tuple[object, ...]) -> Break:
    return lambda lab: lab.act(*steps)


def rights_without_entry(lab: Ward) -> None:
    lab.act(("write", marker(E), str(lab.g1)), ("assign", lab.g1, E))


def owner_without_entry(lab: Ward) -> None:
    lab.act(("assign", lab.g1, E))


def rights_taken(lab: Ward) -> None:
    lab.act(("deassign", lab.g1, A))


def state_not_followed(lab: Ward) -> None:
    lab.act(("write", lab.back("state"), "8"))


def state_written(value: str) -> Break:
    """By another program, in dom0's end of a connection that works; nothing: removed."""
    return lambda lab: lab.act(("write", lab.back("state"), value) if value else ("remove", lab.back("state")))


def frontend_state_written(value: str) -> Break:
    return lambda lab: lab.act(("write", lab.front("state"), value))


def sub_state_written(value: str) -> Break:
    return lambda lab: lab.act(("write", lab.back("state-0"), value))


def renamed(lab: Ward) -> None:
    """The first entry, by a device that pciback has for no guest."""
    lab.act(("write", lab.back("dev-0"), E), ("write", lab.back("key-0"), E))


def quarantine_lost(lab: Ward) -> None:
    """Of a device that had no driver, xl leaves no record; only we do."""
    lab.act(("remove", "/tool/xen-pci"), ("deassign", QUARANTINE, E))


def answered_late(lab: Ward) -> None:
    """A toolstack takes its request back without a look at the guest, whose driver is letting go of the device by then.

    The driver of an idle NIC wakes it up for that, that of a busy one switches it off: either shows.
    """
    begin = [("write", lab.back(f"state-{index}"), "5") for index in (0, 1)]
    undo = [("write", lab.back(f"state-{index}"), "3") for index in (0, 1)]
    request, withdrawal = (("write", lab.back("state"), state) for state in "74")
    lab.act(*begin, request, ("until_touched", A), withdrawal, *undo, ("until", lab.front("state"), "7"))


def unconfigured(lab: Ward) -> None:
    """Another toolstack attached B: xenstore has it, libxl's configuration does not."""
    store(lab.host, stored(lab.host, "g1")[:1], "g1")


def detached_by_xl(lab: Ward) -> None:
    lab.xl("pci-detach", "g1", B)


def pulled_out(lab: Ward) -> None:
    """dom0's kernel loses it, as a card that fell off the bus."""
    lab.host.run(f"echo 1 > /sys/bus/pci/devices/{A}/remove")


def plugged_in(lab: Ward) -> None:
    lab.host.run("echo 1 > /sys/bus/pci/rescan")
    lab.host.run(["xl", "pci-assignable-add", A])


def bound_again(lab: Ward) -> None:
    """It is still on pciback's list and in quarantine."""
    lab.host.run(f"echo {E} > /sys/bus/pci/drivers/pciback/bind")


def listed_and_bound_again(lab: Ward) -> None:
    """It is still in quarantine."""
    lab.host.run(f"echo {E} > /sys/bus/pci/drivers/pciback/new_slot")
    bound_again(lab)


def tidied_up(lab: Ward) -> None:
    """By a person, in xenstore: no kernel looks at what is above its own directory."""
    lab.act(("remove", "/local/domain/0/backend/pci"))


def backend_removed(lab: Ward) -> None:
    """As far down as dom0's kernel looks: it takes its devices back. The guest hears nothing of it."""
    lab.act(("remove", lab.back("").rstrip("/")))
    device = f"/sys/bus/xen-backend/devices/pci-{lab.g1}-0"
    lab.host.run(f"timeout 60 sh -c 'while test -e {device}; do sleep 0.2; done'")


#: In an order in which A is the first entry wherever it matters: entries are numbered as they come.
FAULTY_HOSTS = [
    FaultyHost("no bad state", [], lambda lab: None, [], []),
    FaultyHost(
        "a permissive setting that stuck",
        [],
        acting(("set_permissive", E)),
        ["sticky_permissive"],
        [],
        asked=["sticky_permissive"],
    ),
    FaultyHost(
        "a device that pciback's list names and pciback does not hold",
        [],
        acting(("unbind", E)),
        ["stray_slot"],
        [],
        asked=["stray_slot"],
        after=listed_and_bound_again,
    ),
    FaultyHost("a device that is not in quarantine", [], quarantine_lost, ["unquarantined"], []),
    FaultyHost("a marker of a domain long gone", [], acting(("write", marker(A), "999")), ["dead_marker"], []),
    FaultyHost("a marker that names no domain", [], acting(("write", marker(A), "abc")), ["unreadable_marker"], []),
    FaultyHost("a marker and rights without an entry", [], rights_without_entry, ["left_rights"], []),
    FaultyHost("an owner and nothing else", [], owner_without_entry, ["unexplained_owner"], []),
    FaultyHost(
        "xl attached to a guest without pcifront",
        [],
        attached_without_frontend,
        ["never_connected"],
        [],
        asked=["never_connected", "left_rights"],
    ),
    FaultyHost(
        "dom0's Connected was missed",
        [],
        missed_connect,
        ["missed_connect"],
        [A],
        awaited=["lost_event"],
        after=unpause,
    ),
    FaultyHost(
        "a change that pciback refused",
        [A],
        refused_by_pciback,
        ["refused_cycle", "not_in_pciback", "missing_marker"],
        [A],
    ),
    FaultyHost("xl attached to a paused guest", [A], attached_while_paused, ["silent_guest"], [A], after=unpause),
    FaultyHost("an entry that pciback never saw", [A], unseen_entry, ["unexported_entry", "missing_marker"], [A]),
    FaultyHost("a marker lost", [A], acting(("remove", marker(A))), ["missing_marker"], [A]),
    FaultyHost("a marker of another guest", [A], marked_for_another, ["wrong_marker"], [A]),
    FaultyHost("rights taken from under a guest", [A], rights_taken, ["rights_missing"], [A]),
    FaultyHost("a state that pciback did not follow", [A], state_not_followed, ["lost_event"], [A]),
    FaultyHost("a request to close, not answered", [A], close_unanswered, ["unanswered_close"], [A], after=unpause),
    FaultyHost(
        "xl detached from a paused guest",
        [A, B],
        detached_while_paused,
        ["silent_guest", "rights_missing", "missing_marker"],
        [A, B],
        after=unpause,
    ),
    FaultyHost("an entry that lost its dev-N", [A, B], lost_entry, ["disordered_entries", "lost_entry"], [A, B]),
    FaultyHost("a guest closed its end", [A, B], closed_by_guest, ["closed_connection"], [A, B]),
    FaultyHost("a guest closed its end, and a repair was killed", [A, B], repair_killed, ["unfinished_repair"], [A, B]),
    FaultyHost("compaction that stopped half-way", [A, B], half_compaction, ["disordered_entries"], [B]),
    FaultyHost("num_devs=0", [A], emptied, ["empty_connection", "left_rights"], []),
    FaultyHost("a removal met twice", [A, B], removal_met_twice, ["stuck_cycle"], [B]),
    FaultyHost("a closed connection, not removed", [A], close_unfinished, ["unfinished_close"], []),
    FaultyHost("a removal without compaction", [A, B], uncompacted, ["unfinished_removal"], [B]),
    FaultyHost("an answer to what had been taken back", [A, B], answered_late, ["late_answer"], [A, B]),
    FaultyHost("a device that libxl's configuration lost", [A, B], unconfigured, ["not_configured"], [A, B]),
    FaultyHost(
        "a device that xl detached",
        [A, B],
        detached_by_xl,
        ["stale_configuration"],
        [A],
        asked=["stale_configuration"],
    ),
    FaultyHost("a device that fell off the bus", [A, B], pulled_out, ["device_gone"], [B], after=plugged_in),
    FaultyHost(
        "a connection that xenstore lost",
        [A],
        tidied_up,
        ["stuck_kernel_device"],
        [],
        asked=["stuck_kernel_device", "left_rights"],
        costs=True,
    ),
    *(
        FaultyHost(f"dom0's state is {value or 'gone'}", [A, B], state_written(value), ["altered_state"], [A, B])
        for value in ("", "3")
    ),
    *(
        FaultyHost(f"the guest's state is {value}", [A, B], frontend_state_written(value), [fault], [A, B])
        for value, fault in (("3", "altered_state"), ("7", "late_answer"))
    ),
    FaultyHost("a sub-state is 1", [A, B], sub_state_written("1"), ["altered_entry"], [A, B]),
    FaultyHost(
        "an entry that names another device",
        [A, B],
        renamed,
        ["disordered_entries", "foreign_entry", "lost_entry"],
        [A, B],
    ),
    FaultyHost("dom0's end removed under the guest", [A, B], backend_removed, ["lost_backend"], []),
    FaultyHost(
        "a device unbound under a guest",
        [A, E],
        acting(("unbind", E)),
        ["not_in_pciback"],
        [A],
        noted=["stray_slot"],
        after=bound_again,
    ),
]


@pytest.fixture(scope="module")
def lab(host: Host) -> Iterator[Ward]:
    with ward(host, PARTS) as running:
        yield running


def names(findings: list[Mapping[str, object]]) -> list[object]:
    return sorted({finding["fault"] for finding in findings})


@pytest.mark.parametrize("faulty", FAULTY_HOSTS, ids=[faulty.name for faulty in FAULTY_HOSTS])
def test_a_fault_is_named_and_repaired(lab: Ward, faulty: FaultyHost, happened: Callable[[str], None]) -> None:
    try:
        happened(is_named_and_repaired(lab, faulty))
    except BaseException:
        lab.renew()
        raise


def test_what_xl_leaves_of_a_dead_guest(lab: Ward, happened: Callable[[str], None]) -> None:
    """xl gives up on a connection that is not at rest."""
    try:
        assert not lab.modules.devices({"g1": [A]}).get("failed")
        close_unfinished(lab)
        lab.xl("destroy", "g1")
        assert names(lab.modules.repair(check=True)["findings"]) == ["orphaned_connection"]
        repaired = lab.modules.repair()
        assert not repaired.get("failed")
        happened("; ".join(repaired["actions"]))
        assert lab.wrong({"g2": []}) == []
    finally:
        lab.renew()
    assert not lab.modules.devices({"g1": [A]}).get("failed")
    assert lab.wrong({"g1": [A]}) == []


def test_a_stored_configuration_that_was_cut(lab: Ward) -> None:
    """libxl cannot write it again while the guest runs, so it is named before a change of its devices begins."""
    assert not lab.modules.devices({"g1": [A]}).get("failed")
    (path,) = lab.host.run(f"ls /var/lib/xen/userdata-d.{lab.g1}.*.libxl-json").lines
    lab.host.run(f"cp {path} /root/kept.json && truncate -s 20 {path}")
    try:
        assert names(lab.modules.run("host_info", {})["findings"]) == ["unreadable_configuration"]
        refused = lab.modules.devices({"g1": [A, B]})
        assert {one["code"] for one in refused["refusals"]} == {"unreadable_configuration"}
    finally:
        lab.host.run(f"cp /root/kept.json {path}")
    assert lab.wrong({"g1": [A]}) == []
    assert not lab.modules.devices({"g1": []}).get("failed")


def test_a_device_in_two_connections(lab: Ward, happened: Callable[[str], None]) -> None:
    """Only one guest really has it, and pciback gives up without a word when it shall take it from the other."""
    try:
        assert not lab.modules.devices({"g1": [A], "g2": [B]}).get("failed")
        listed_as_well = *entry(lab, 1, A, "3", lab.g2), ("write", lab.back("vdev-1", lab.g2), "0000:00:01.00")
        lab.act(*listed_as_well)
        assert names(lab.modules.repair(check=True)["findings"]) == ["shared_device"]
        repaired = lab.modules.repair()
        assert repaired["failed"] and names(repaired["left"]) == ["shared_device"], repaired
        happened(repaired["msg"])
        assert lab.modules.devices({"g2": [B]}, timeout=10).get("failed")
        repaired = lab.modules.repair()
        assert not repaired.get("failed"), repaired["msg"]
        assert lab.wrong({"g1": [A], "g2": [B]}) == []
        assert lab.modules.repair(check=True)["findings"] == []
        assert not lab.modules.devices({"g2": []}).get("failed")
    except BaseException:
        lab.renew("g1", "g2")
        raise


def test_a_device_that_pciback_holds_for_nobody(lab: Ward, happened: Callable[[str], None]) -> None:
    """For g1, as far as xenstore and Xen go, and so refuses it to g2. This hold ends with what has it."""
    try:
        assert not lab.modules.devices({"g1": [E]}).get("failed")
        tidied_up(lab)
        lab.act(("deassign", lab.g1, E), ("remove", marker(E)))
        store(lab.host, [], "g1")
        lab.xl("pci-attach", "g2", A)
        lab.act(("until", lab.front("state", lab.g2), "4"), ("until", lab.back("state", lab.g2), "4"))
        lab.xl("pci-attach", "g2", E)
        lab.act(("until", lab.back("state", lab.g2), "5"))
        lab.modules.repair(domains=["g2"])
        assert names(lab.modules.repair(check=True)["findings"]) == ["leaked_hold", "stuck_kernel_device"]
        repaired = lab.modules.repair()
        assert not repaired.get("failed") and names(repaired["left"]) == ["leaked_hold"], repaired
        happened("; ".join(repaired["actions"]))
        assert not lab.modules.devices({"g2": [A, E]}).get("failed")
        assert lab.wrong({"g2": [A, E]}) == []
        assert lab.modules.repair(check=True)["findings"] == []
        assert not lab.modules.devices({"g2": []}).get("failed")
    finally:  # what g1 may map of the device, nothing tells any more
        lab.renew("g1", "g2")


def test_an_entry_that_lost_its_place(lab: Ward, happened: Callable[[str], None]) -> None:
    """Neither kernel can remove it alone, so its guest keeps it until all of its devices go."""
    try:
        assert not lab.modules.devices({"g1": [A, B]}).get("failed")
        lab.act(("remove", lab.back("vdev-0")))
        repaired = lab.modules.repair()
        assert repaired["failed"] and names(repaired["left"]) == ["lost_place"], repaired
        happened(repaired["msg"])
        assert lab.modules.devices({"g1": [B]}).get("failed")
        assert not lab.modules.devices({"g1": []}).get("failed")
        assert lab.wrong({"g1": []}) == []
    except BaseException:
        lab.renew()
        raise


def test_a_pci_error_that_the_guest_cannot_handle(lab: Ward, happened: Callable[[str], None]) -> None:
    """All that pciback does is to say so, though dom0 calls the device recovered; it stays with the guest."""
    try:
        assert not lab.modules.devices({"g1": [R]}).get("failed")
        lab.host.report_pci_error(topology.RNG, "COMP_TIME")
        lab.act(("until", lab.back("aerState"), "aerfail"))
        repaired = lab.modules.repair()
        assert repaired["failed"] and names(repaired["left"]) == ["aer_failure"], repaired
        happened(repaired["msg"])
        assert not lab.modules.devices({"g1": []}).get("failed")
        assert lab.wrong({"g1": []}) == []
        assert lab.modules.repair(check=True)["findings"] == []
    except BaseException:
        lab.renew()
        raise


def lines_of(lab: Ward, domid: int) -> set[int]:
    """The interrupt lines that Xen lets a domain have, in its own words (debug key q).

    Message interrupts, which are in the same list, have numbers above those of all lines (nr_irqs_gsi).
    """
    lab.host.run("xl dmesg -c > /dev/null; xl debug-keys q; sleep 1")
    text = lab.host.run("xl dmesg").stdout.partition(f"General information for domain {domid}:")[2]
    found = re.search(r"Interrupts\s*\{([^}]*)\}", text.partition("General information for domain")[0])
    assert found is not None, text
    ranges = [part.split("-") for part in found[1].replace(" ", "").split(",") if part]
    numbers = {line for ends in ranges for line in range(int(ends[0], 16), int(ends[-1], 16) + 1)}
    return {number for number in numbers if number < LINES}


def test_a_line_that_xl_took_along_with_another_device(lab: Ward, happened: Callable[[str], None]) -> None:
    """B and R are on one line, since their ports are four slots apart; xl asks for no other device."""
    try:
        assert not lab.modules.devices({"g1": [B, R]}).get("failed")
        had = lines_of(lab, lab.g1)
        assert len(had) == 1, "the two are not on one line"
        assert lab.xl("pci-detach", "g1", B) == 0
        assert lines_of(lab, lab.g1) == set()
        assert names(lab.modules.repair(check=True)["findings"]) == ["lost_line", "stale_configuration"]
        done = lab.modules.devices({"g1": [R]})
        assert not done.get("failed"), done["msg"]
        happened("; ".join(done["repaired"]))
        assert lines_of(lab, lab.g1) == had
        # When we take one of them, the other one keeps it.
        for devices in ([B, R], [B]):
            assert not lab.modules.devices({"g1": devices}).get("failed")
            assert lines_of(lab, lab.g1) == had
        assert not lab.modules.devices({"g1": []}).get("failed")
        assert lines_of(lab, lab.g1) == set()
    except BaseException:
        lab.renew()
        raise


def test_a_write_that_goes_on_from_an_earlier_run(lab: Ward, happened: Callable[[str], None]) -> None:
    """What such a run leaves behind: a process that holds the device's lock. No driver of this host hangs by itself."""
    program = (
        "import fcntl, os, time; os.makedirs('/run/xen.pci', exist_ok=True); "
        f"lock = open('/run/xen.pci/{A}', 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print(file=lock, flush=True); "
        "time.sleep(300)"
    )
    process = lab.host.run(f'python3 -c "{program}" > /dev/null 2>&1 & echo $!').stdout.strip()
    try:
        deadline = time.monotonic() + 60
        while names(lab.modules.repair(check=True)["findings"]) != ["hanging_write"]:
            assert time.monotonic() < deadline
        refused = lab.modules.devices({"g1": [A]})
        assert [one["code"] for one in refused["refusals"]] == ["hanging_write"]
        happened(refused["msg"])
        assert not lab.modules.devices({"g1": [B]}).get("failed")
    finally:
        lab.host.run(["kill", process])
        lab.modules.devices({"g1": []})
    assert not lab.modules.devices({"g1": [A]}).get("failed")
    assert not lab.modules.devices({"g1": []}).get("failed")


def is_named_and_repaired(lab: Ward, faulty: FaultyHost) -> str:
    """Make it and see it through; what was named and done."""
    begun = lab.modules.devices({"g1": faulty.before})
    assert not begun.get("failed"), begun["msg"]
    faulty.make(lab)
    try:
        expected = lab.modules.repair(check=True)
        assert names(expected["findings"]) == sorted(faulty.found)
        repaired = lab.modules.repair(faults=sorted(faulty.asked))
    finally:
        if faulty.after is not None:
            faulty.after(lab)
    assert bool(repaired.get("failed")) == (bool(faulty.awaited) or faulty.costs), repaired.get("msg")
    assert names(repaired["left"]) == sorted([*faulty.awaited, *faulty.noted])

    assert lab.wrong({"g1": faulty.repaired}) == []
    assert len(listed(lab.host, "g1")) == len(faulty.repaired)
    again = lab.modules.repair()
    assert (again["changed"], names(again["left"])) == (False, [])
    return "; ".join(repaired["actions"]) or f"{', '.join(faulty.found)}: nothing to do"
