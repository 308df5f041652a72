# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of all messages is as the source has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from messages import Message, messages  # noqa: E402 - the path comes first


def test_the_page_shows_every_text_as_it_is_now() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "messages.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_variable_that_is_used_twice_has_the_texts_of_each_use() -> None:
    source = """def refuse(name):
    reason = f"{name} is not there"
    first = Refusal("absent", name, reason)
    reason = f"{name} is there twice"
    return first, Refusal("ambiguous", name, reason)
"""
    assert messages(source) == [Message("{name} is not there", "absent"), Message("{name} is there twice", "ambiguous")]


def test_a_refusal_is_shown_with_its_code_wherever_its_text_is_assigned() -> None:
    source = '''"""A module with words of its own."""
def refuse(name):
    """Not a text of the product."""
    reason = f"{name} is not there"
    return Refusal("absent", name, reason, "look for it elsewhere")
'''
    assert messages(source) == [
        Message("{name} is not there", "absent"),
        Message("look for it elsewhere", "absent"),
    ]
