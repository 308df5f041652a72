# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Short episodes that once broke a rule: they are played in each run of the tests.

One that OPEN names is known to break its rule still; its entry there goes with its fix. F1 to F17 were found by an
earlier tester of this kind; the names of those that came from this one begin with N.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A machine and the steps, in the words of step.py."""

    machine: str
    steps: str


FINDINGS = {
    "F1 a virtual function leaves a guest that keeps a device, Linux 5.10": Finding(
        "old", "hold V0; declare g2=V0,C; declare g2=C"
    ),
    "F1 virtual functions are swapped, Linux 5.10": Finding(
        "old", "hold V0,V1; declare g1=V0,A g2=V1,B; declare g1=V1,A g2=V0,B"
    ),
    "F2 the first device of an HVM guest goes to a PV guest": Finding(
        "hvm", "declare h1=A,B; declare h1=B; declare g2=A"
    ),
    "F2 the first device of an HVM guest goes to a stub domain": Finding("stub", "declare h1=A,B; declare h1=B h2=A"),
    "F3 release is killed": Finding("pv", "release A kill=4"),
    "F3 take is killed, then released": Finding("pv", "hold E kill=2 then=nothing; release E"),
    "F3a pciback missed that the guest let a device go": Finding(
        "pv", "declare g1=A,B; fault deaf domain=0; declare g1=B timeout=2; calm; repair must=better"
    ),
    "F3a pciback missed that the guest let a device go, which xl detached": Finding(
        "pv", "declare g1=A,B; fault deaf domain=0; xl pci-detach g1 A; calm; repair must=better"
    ),
    "F4 an HVM release is killed: check mode": Finding("hvm", "declare h1=A,B; declare h1= kill=6"),
    "F5 the run is killed while its xl goes on": Finding("hvm", "declare h1=A,B kill=xl"),
    "F6 HVM, an entry cannot be read": Finding("hvm", "declare h1=A,B; write back:h1/dev-0 zzz; declare h1=A,B"),
    "F6 HVM, an entry has lost its device": Finding("hvm", "declare h1=A,B; remove back:h1/dev-0; declare h1=A,B"),
    "F7 HVM, a hole in the entries": Finding("hvm", "declare h1=A,B; write back:h1/num_devs 3; repair"),
    "F7 HVM, num_devs is no number": Finding("hvm", "declare h1=A,B; write back:h1/num_devs x; repair"),
    "F8 a place in the guest is lost": Finding("pv", "declare g1=A,B; remove back:g1/vdev-0; repair must=better"),
    "F8 a place in the guest where nothing is": Finding(
        "pv", "declare g1=A,B; write back:g1/vdev-0 0000:00:1f.0; repair must=better"
    ),
    "F8 a device in use is marked as closing": Finding(
        "pv", "declare g1=A,B; write back:g1/state-0 5; repair must=better"
    ),
    "F8 a device in use is marked as closing, repair: never": Finding(
        "pv", "declare g1=A,B; write back:g1/state-0 5; declare g1=A,B must=better"
    ),
    "F9 the backend of a working guest says 1": Finding("pv", "declare g1=A,B; write back:g1/state 1; repair"),
    "F10 an entry names a device that pciback has not exported": Finding(
        "pv", "declare g1=A,B; write back:g1/dev-0 C; repair must=better"
    ),
    "F11 a live connection whose backend says 9": Finding(
        "pv", "declare g1=A,B; write back:g1/state 9; repair; declare g1=A,B must=ok"
    ),
    "F12 another program wrote the frontend's state": Finding(
        "pv", "declare g1=A,B; write front:g1/state 7; repair must=ok"
    ),
    "F13 a marker that is no number": Finding("pv", "write marker:A abc; repair"),
    "F14 stored configuration that cannot be read": Finding("pv", "declare g1=A; stored g1 cut; repair"),
    "F15 an impossible declaration after a killed run": Finding(
        "pv", "declare g1=A,B; declare g1=B kill=30 then=nothing; declare g1+ must=untouched"
    ),
    "N2 a device that another connection lists as well is moved": Finding(
        "hvm", "declare g2=B g1=C; write back:g1/dev-0 B; declare g2= h1=B"
    ),
    "N3 two devices of a guest with a stub domain on one line": Finding("stub", "declare h2=B,D; declare h2=D"),
    "N4 the first device of an HVM guest moves on when the guest is emptied": Finding(
        "hvm", "declare h1=A,C; declare h1=C; declare h1= g1=A must=ok"
    ),
    "N4 the same, and the guest gets another device": Finding(
        "hvm", "declare h1=A,C; declare h1=C; declare h1=D g1=A must=ok"
    ),
    "N5 a device leaves the bus while a guest with a stub domain has it": Finding(
        "stub", "declare h2=A,C,D; pull C; declare h2=; repair; declare h2=D"
    ),
    "N6 a second connection lists a device that a guest runs": Finding(
        "pv",
        "declare g1=A g2=B; write back:g2/dev-1 A; write back:g2/key-1 A; write back:g2/state-1 3;"
        " write back:g2/vdev-1 0000:00:01.00; write back:g2/num_devs 2; declare g2=B; repair; declare g2=B must=ok",
    ),
    "N7 check mode expects what a run after the loss of a stub domain's connection refuses": Finding(
        "stub", "declare h2=B; remove back:h2; repair; pull B; declare h2= h1= g1=A,D"
    ),
    "N8 xl gives a guest what pciback keeps for an HVM guest": Finding(
        "hvm", "declare h1=A,B; declare h1=B; xl pci-attach g1 A; repair must=ok; declare h1= g1=A must=ok"
    ),
    "N11 an entry is damaged and the stored configuration is gone": Finding(
        "hvm", "declare h1=D; stored h1 gone; write back:h1/dev-0 zzz; repair"
    ),
    "N9 a stub domain's connection has lost a place": Finding(
        "stub", "declare h2=A,C,D; remove back:h2/vdev-1; declare h2=D must=untouched; declare h2= must=untouched"
    ),
    "N9 the same, of its only device": Finding(
        "stub", "declare h2=A; remove back:h2/vdev-0; declare h2= must=untouched"
    ),
    "N10 a part of an entry in the connection of an HVM guest without devices": Finding(
        "hvm", "write back:h1/state-0 0; repair must=ok; repair; declare h1=A must=ok; declare h1= must=ok"
    ),
    "S1 a device leaves the bus and comes back": Finding("pv", "hold E; pull E; rescan; hold E"),
    "N1 a take is killed before the quarantine": Finding("pv", "hold E kill=9"),
    "F16 a device that a guest gave back is in quarantine": Finding("pv", "declare g1=A; declare g1=; hold A"),
}

#: Those that are not corrected yet, by the first word of their names.
OPEN: frozenset[str] = frozenset()
