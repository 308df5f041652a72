# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault of the catalogue is made on the lab by a test there, or it stands here with the reason why it is not.

Of one that is made there, the lab shows less than its name says: `leaked_hold`. pciback keeps a device for nobody
when its virtual bus is full (xen_pcibk_export_device), and the lab's devices cannot fill the 32 slots of one. What is
made there is a hold of a connection that xenstore has lost, with the same complaint; it ends with that connection.
"""

from __future__ import annotations

from pathlib import Path

from ansible_collections.xen.pci.plugins.module_utils.decisions.faults import Fault

TESTS = Path(__file__).resolve().parents[1] / "lab"
NOT_MADE = {
    Fault.UNLISTED_DEVICE: "no test with an HVM guest does so yet: xl is killed before it writes its record",
    Fault.SILENT_DEVICE_MODEL: "no test with an HVM guest does so yet: its QEMU is stopped",
}


def test_each_fault_is_made_on_the_lab_or_it_is_told_why_not() -> None:
    texts = [file.read_text(encoding="utf-8") for file in TESTS.glob("**/test_*.py")]
    made = {fault for fault in Fault if any(f'"{fault.code}"' in text for text in texts)}
    assert made | NOT_MADE.keys() == set(Fault)
    assert made & NOT_MADE.keys() == set(), "it is made there by now"
