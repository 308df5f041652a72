# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognize what YAML makes of text without quotes: numbers of addresses and identifiers, truth values, dates.

YAML 1.1 reads digits with colons as a number in base 60 (0000:02:00.0 is 120.0, a MAC address can be one, too), and
digits with a zero in front as an octal number (0200 is 128). Ansible may turn such a number into text again.
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = re.compile(
    r"\s*[-+]?(([0-9][0-9_]*(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|\.?(inf|nan))\s*", re.ASCII | re.IGNORECASE
)
_CONTAINERS = (dict, list, tuple, set, type(None))


def advice_if_unquoted(value: Any) -> str:
    """Advise to use quotes where a value is not text, or is text that looks like a number; empty for other values.

    It is for values that must not look like a number: ask about text only where an address or the like is expected.
    """
    if isinstance(value, _CONTAINERS) or (isinstance(value, str) and not _NUMBER.fullmatch(value)):
        return ""
    if isinstance(value, bool):
        return "put it in quotes: without them, YAML reads yes, no, on and off as true or false"
    if isinstance(value, (str, int, float)):
        return "put it in quotes: without them, YAML makes numbers of such text, 120.0 of 0000:02:00.0 and 128 of 0200"
    return "put it in quotes: without them, YAML does not read it as text"
