# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the virtual functions that a second look shows with what was declared."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.host import Host
from ..plan.function_plan import DesiredFunctions, plan_functions


def verify_functions(desired: Sequence[DesiredFunctions], seen: Host) -> list[str]:
    """Compare physical functions and their virtual ones with the declaration.

    Returns a sentence for each step that is still to be done.
    """
    gone = [wanted.pf for wanted in desired if wanted.pf not in seen.functions]
    left = plan_functions(seen, [wanted for wanted in desired if wanted.pf not in gone])
    return [
        *(f"{pf} is no longer on this host" for pf in gone),
        *(f"it is still necessary to {step}" for step in left.steps),
        *(refusal.reason for refusal in left.refusals),
    ]
