# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of faulty hosts: how each is made, which faults it has, and what its guests have once it is repaired."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fault_injection import (
    Break,
    acting,
    answered_late,
    back,
    backend_removed,
    close_unanswered,
    close_unfinished,
    closed_by_guest,
    died,
    emptied,
    front,
    in_turn,
    kept_for_an_hvm_guest,
    leaked,
    missed_connect,
    name,
    pause,
    refused_by_pciback,
    release_hangs,
    repair_killed,
    stale_and_stuck,
    stored,
    sysfs_unbind,
    torn_down,
    unbound,
    uncompacted,
    unconfigured,
    unheard_end,
    unmarked,
    wake,
    xl,
)
from simulated import TWIN_0, TWIN_1, A, B, C, D, marker


@dataclass(frozen=True)
class FaultyHost:
    """A bad state. `found`: the faults named at first; `repaired`: what guests have in the end.

    `asked`: the faults to name for repair; `wake`: what is done to the guest afterwards; `left`: no recipe helps;
    `noted`: what is reported without being a failure.
    """

    name: str
    before: Mapping[str, Collection[str]]
    make: Break
    found: Collection[str]
    repaired: Mapping[str, Collection[str]]
    asked: Collection[str] = ()
    wake: Break | None = None
    left: Collection[str] = ()
    noted: Collection[str] = ()


FAULTY_HOSTS = [
    FaultyHost(
        "a change that pciback refused",
        {"g1": [A]},
        refused_by_pciback,
        {"refused_cycle"},
        {"g1": [A]},
        noted={"leaked_hold"},
    ),
    FaultyHost("a removal met twice", {"g1": [A, B]}, stale_and_stuck, {"stuck_cycle"}, {"g1": [B]}),
    FaultyHost(
        "xl attached to a paused guest",
        {"g1": [A]},
        in_turn(pause, xl("pci-attach", "g1", B)),
        {"silent_guest"},
        {"g1": [A]},
        wake=wake,
    ),
    FaultyHost(
        "xl detached from a paused guest: rights gone, entry left",
        {"g1": [A, B]},
        in_turn(pause, xl("pci-detach", "g1", B)),
        {"silent_guest", "rights_missing", "missing_marker"},
        {"g1": [A, B]},
        wake=wake,
    ),
    FaultyHost("dom0's Connected was missed", {}, missed_connect, {"missed_connect"}, {"g1": [A]}),
    FaultyHost("a request answered after it was withdrawn", {"g1": [A]}, answered_late, {"late_answer"}, {"g1": [A]}),
    FaultyHost("a removal without compaction", {"g1": [A, B]}, uncompacted, {"unfinished_removal"}, {"g1": [B]}),
    FaultyHost("the last removal without compaction", {"g1": [A]}, uncompacted, {"unfinished_removal"}, {"g1": []}),
    FaultyHost(
        "an entry that pciback never saw",
        {"g1": [A]},
        acting(
            ("write", back(1, "dev-1"), B),
            ("write", back(1, "key-1"), B),
            ("write", back(1, "state-1"), "1"),
            ("write", back(1, "num_devs"), "2"),
        ),
        {"unexported_entry", "missing_marker"},
        {"g1": [A]},
    ),
    FaultyHost(
        "an entry that lost its dev-N",
        {"g1": [A, B]},
        acting(("remove", back(1, "dev-0"))),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "a hole where a device was removed",
        {"g1": [A, B, C]},
        in_turn(
            uncompacted, acting(*[("remove", back(1, f"{kind}-0")) for kind in ("dev", "key", "state", "vdev", "opts")])
        ),
        {"disordered_entries"},
        {"g1": [B, C]},
    ),
    FaultyHost(
        "num_devs too low",
        {"g1": [A, B]},
        acting(("write", back(1, "num_devs"), "1")),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "num_devs lost",
        {"g1": [A, B]},
        acting(("remove", back(1, "num_devs"))),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "compaction that stopped half-way: an entry twice",
        {"g1": [A, B]},
        in_turn(
            uncompacted,
            acting(
                ("write", back(1, "dev-0"), B),
                ("write", back(1, "key-0"), B),
                ("write", back(1, "state-0"), "3"),
                ("write", back(1, "vdev-0"), "0000:00:01.00"),
            ),
        ),
        {"disordered_entries"},
        {"g1": [B]},
    ),
    FaultyHost(
        "a state of dom0's end that another program wrote",
        {"g1": [A, B]},
        acting(("write", back(1, "state"), "1")),
        {"altered_state"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "a sub-state that another program wrote",
        {"g1": [A, B]},
        acting(("write", back(1, "state-0"), "5")),
        {"altered_entry"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "an entry that lost its place",
        {"g1": [A, B]},
        acting(("remove", back(1, "vdev-0"))),
        {"lost_place"},
        {},
        left={"lost_place"},
    ),
    FaultyHost(
        "an entry that nothing else knows of",
        {"g1": [A]},
        acting(
            ("write", back(1, "dev-1"), B),
            ("write", back(1, "key-1"), B),
            ("write", back(1, "state-1"), "3"),
            ("write", back(1, "vdev-1"), "0000:00:01.00"),
            ("write", back(1, "num_devs"), "2"),
        ),
        {"foreign_entry"},
        {},
        left={"foreign_entry"},
    ),
    FaultyHost(
        "a marker that names no domain", {"g1": []}, acting(("write", marker(A), "abc")), {"unreadable_marker"}, {}
    ),
    FaultyHost(
        "a stored configuration that cannot be read",
        {"g1": [A]},
        lambda host: stored(host, "g1").write_text("{"),
        {"unreadable_configuration"},
        {},
        left={"unreadable_configuration"},
    ),
    FaultyHost("num_devs=0", {"g1": [A]}, emptied, {"empty_connection", "left_rights"}, {"g1": []}),
    FaultyHost("a guest that died", {"g1": [A, B]}, died, {"orphaned_connection"}, {}),
    FaultyHost(
        "a guest that died, and somebody wrote to its directory",
        {"g1": [A, B]},
        in_turn(died, acting(("write", front(1, "state"), "6"))),
        {"orphaned_connection"},
        {},
    ),
    FaultyHost(
        "a marker of a domain long gone", {"g1": []}, acting(("write", marker(A), "99")), {"dead_marker"}, {"g1": []}
    ),
    FaultyHost(
        "a marker and rights without an entry",
        {"g1": []},
        acting(("write", marker(A), "1"), ("assign", "1", A)),
        {"left_rights"},
        {"g1": []},
    ),
    FaultyHost(
        "an owner and nothing else", {"g1": [B]}, acting(("assign", "1", A)), {"unexplained_owner"}, {"g1": [B]}
    ),
    FaultyHost(
        "an owner, with windows and interrupt, that nothing names",
        {"g1": [B, A]},
        unmarked,
        {"unexplained_owner", "stale_configuration"},
        {"g1": [B]},
    ),
    FaultyHost(
        "rights taken from under a guest", {"g1": [A]}, acting(("deassign", "1", A)), {"rights_missing"}, {"g1": [A]}
    ),
    FaultyHost("a marker lost", {"g1": [A]}, acting(("remove", marker(A))), {"missing_marker"}, {"g1": [A]}),
    FaultyHost(
        "a marker of another guest", {"g1": [A]}, acting(("write", marker(A), "2")), {"wrong_marker"}, {"g1": [A]}
    ),
    FaultyHost(
        "a device unbound under a guest",
        {"g1": [A, B]},
        sysfs_unbind(A),
        {"not_in_pciback"},
        {"g1": [B]},
        noted={"stray_slot"},
    ),
    FaultyHost(
        "the only device unbound under a guest",
        {"g1": [A]},
        sysfs_unbind(A),
        {"not_in_pciback"},
        {"g1": []},
        noted={"stray_slot"},
    ),
    FaultyHost("a guest closed its end", {"g1": [A, B]}, closed_by_guest, {"closed_connection"}, {"g1": [A, B]}),
    FaultyHost(
        "a guest closed its end, and a repair was killed",
        {"g1": [A, B]},
        in_turn(closed_by_guest, repair_killed),
        {"unfinished_repair"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "a request to close, not answered", {"g1": [A]}, close_unanswered, {"unanswered_close"}, {"g1": [A]}, wake=wake
    ),
    FaultyHost("a closed connection, not removed", {"g1": [A]}, close_unfinished, {"unfinished_close"}, {"g1": []}),
    FaultyHost(
        "a state that pciback did not follow",
        {"g1": [A]},
        acting(("write", back(1, "state"), "8")),
        {"lost_event"},
        {"g1": [A]},
    ),
    FaultyHost(
        "xl attached to a guest without pcifront",
        {},
        xl("pci-attach", "g3", A),
        {"never_connected"},
        {"g3": []},
        asked={"never_connected", "left_rights"},
    ),
    FaultyHost(
        "a device that pciback's list names and pciback does not hold",
        {},
        sysfs_unbind(A),
        {"stray_slot"},
        {},
        asked={"stray_slot"},
    ),
    FaultyHost(
        "a permissive setting that stuck",
        {"g1": []},
        acting(("set_permissive", A)),
        {"sticky_permissive"},
        {"g1": []},
        asked={"sticky_permissive"},
    ),
    FaultyHost(
        "a device that is not in quarantine", {"g1": []}, acting(("remove", "/tool/xen-pci")), {"unquarantined"}, {}
    ),
    FaultyHost(
        "the name of a domain long gone",
        {"g1": [A]},
        acting(("write", "/local/domain/77/name", "g1")),
        {"stale_name"},
        {"g1": [A]},
    ),
    FaultyHost("a guest without a name", {"g1": [A]}, acting(("remove", name(1))), {"lost_name"}, {"g1": [A]}),
    FaultyHost("a guest with an empty name", {"g1": [A]}, acting(("write", name(1), "")), {"lost_name"}, {"g1": [A]}),
    FaultyHost(
        "a guest without a name, whose own another one has",
        {"g1": [A]},
        acting(("remove", name(1)), ("write", name(2), "g1")),
        {"unnamed_domain"},
        {"g1": [A]},
        noted={"unnamed_domain"},
    ),
    FaultyHost(
        "two guests of one name",
        {"g1": [A]},
        acting(("write", name(2), "g1")),
        {"shared_name"},
        {"g1": [A]},
        noted={"shared_name"},
    ),
    FaultyHost(
        "a device in two connections",
        {"g1": [A], "g2": [B]},
        acting(
            ("write", back(2, "dev-1"), A),
            ("write", back(2, "key-1"), A),
            ("write", back(2, "state-1"), "3"),
            ("write", back(2, "vdev-1"), "0000:00:01.00"),
            ("write", back(2, "num_devs"), "2"),
        ),
        {"shared_device"},
        {},
        left={"shared_device"},
    ),
    FaultyHost(
        "a PCI error that the guest cannot handle",
        {"g1": [A]},
        lambda host: host.inject("aer", domain="g1"),
        {"aer_failure"},
        {"g1": [A]},
        left={"aer_failure"},
    ),
    FaultyHost(
        "a device that fell off the bus",
        {"g1": [A, B]},
        lambda host: host.pull_out(A),
        {"device_gone"},
        {"g1": [B]},
    ),
    FaultyHost("dom0's kernel missed the end", {"g1": [A]}, unheard_end, {"stuck_kernel_device"}, {"g1": []}),
    FaultyHost(
        "dom0's kernel missed the end, and xl attached anew",
        {"g1": [A]},
        in_turn(unheard_end, xl("pci-attach", "g1", B)),
        {"stuck_kernel_device", "left_rights"},
        {"g1": []},
    ),
    FaultyHost(
        "connections removed under both kernels",
        {"g1": [A, B]},
        torn_down,
        {"stuck_kernel_device"},
        {},
        left={"stuck_kernel_device"},
    ),
    FaultyHost("and dom0's then unbound", {"g1": [A]}, unbound, {"stuck_kernel_device"}, {"g1": []}),
    FaultyHost("dom0's end removed under the guest", {"g1": [A, B]}, backend_removed, {"lost_backend"}, {"g1": []}),
    FaultyHost(
        "an entry with a state that pciback ignores",
        {"g1": [A, B]},
        acting(("write", back(1, "state-0"), "9")),
        {"disordered_entries"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "an entry and its marker lost",
        {"g1": [A, B]},
        acting(("remove", back(1, "dev-0")), ("remove", marker(A))),
        {"disordered_entries", "lost_entry"},
        {"g1": [A, B]},
    ),
    FaultyHost(
        "connections removed, and the marker names another guest",
        {"g1": [A]},
        in_turn(torn_down, acting(("write", marker(A), "2"))),
        {"stuck_kernel_device", "lost_entry", "stale_configuration"},
        {},
        left={"stuck_kernel_device", "lost_entry"},
        noted={"stale_configuration"},
    ),
    *(
        FaultyHost(
            f"a device that {what}, and its marker {lost}",
            {"g1": [A, B], "g2": [C]},
            in_turn(gone, acting(step)),
            {fault, marked},
            {"g1": [B], "g2": [C]},
            noted=noted,
        )
        for what, gone, fault, noted in (
            ("fell off the bus", lambda host: host.pull_out(A), "device_gone", ()),
            ("was unbound", sysfs_unbind(A), "not_in_pciback", {"stray_slot"}),
        )
        for lost, step, marked in (
            ("lost", ("remove", marker(A)), "missing_marker"),
            ("of a domain long gone", ("write", marker(A), "99"), "missing_marker"),
            ("of another guest", ("write", marker(A), "2"), "wrong_marker"),
        )
    ),
    FaultyHost(
        "a device that pciback holds for nobody",
        {"g1": [A]},
        leaked,
        {"leaked_hold"},
        {"g1": [A]},
        noted={"leaked_hold"},
    ),
    FaultyHost(
        "a device that libxl's configuration lost", {"g1": [A, B]}, unconfigured, {"not_configured"}, {"g1": [A, B]}
    ),
    FaultyHost(
        "a device that xl detached, still in libxl's configuration",
        {"g1": [A, B]},
        xl("pci-detach", "g1", B),
        {"stale_configuration"},
        {"g1": [A]},
        asked={"stale_configuration"},
    ),
    FaultyHost(
        "a line that xl took along with another device on it",
        {"g1": [A, C]},
        xl("pci-detach", "g1", A),
        {"lost_line", "stale_configuration"},
        {"g1": [C]},
        noted={"stale_configuration"},
    ),
    FaultyHost(
        "a write that does not return",
        {"g1": [A]},
        release_hangs,
        {"hanging_write"},
        {"g1": [A]},
        left={"hanging_write"},
    ),
    FaultyHost(
        "the first device of an HVM guest, which pciback keeps",
        {"g1": [A]},
        kept_for_an_hvm_guest,
        {"kept_hold"},
        {"g1": [A], "h1": [C]},
        noted={"kept_hold"},
    ),
    FaultyHost(
        "two guests with faults at once",
        {"g1": [A, TWIN_0], "g2": [C, D]},
        in_turn(uncompacted, acting(("deassign", "2", D), ("remove", marker(C)))),
        {"unfinished_removal", "rights_missing", "missing_marker"},
        {"g1": [TWIN_0], "g2": [C, D]},
    ),
    FaultyHost(
        "one of two twins left: the line they share stays",
        {"g1": [TWIN_0, TWIN_1]},
        uncompacted,
        {"unfinished_removal"},
        {"g1": [TWIN_1]},
    ),
]
