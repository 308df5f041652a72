# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests assert of refusals: their codes and whom they are about. Their prose may change at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.xen.pci.plugins.module_utils.values.refusal import Refusal


def codes(refusals: Iterable[Refusal]) -> list[tuple[str, str]]:
    """Code and subject of each refusal, in their order."""
    return [(one.code, one.subject) for one in refusals]


def codes_in(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Code and subject of each refusal in a module's answer; none if it did not refuse."""
    return [(one["code"], one["subject"]) for one in answer.get("refusals", ())]
