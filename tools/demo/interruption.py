# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that end the demo, as one exception at a moment at which everything that runs is known."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The demo was asked to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _State:
    holding = False
    waiting: int | None = None


def watch() -> None:
    """From now on the signals raise Interrupted, the first of them once."""
    for ending in ENDINGS:
        signal.signal(ending, _interrupt)


def ignore() -> None:
    """From now on the signals do nothing."""
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN)


@contextmanager
def held() -> Iterator[None]:
    """Raise Interrupted after the block, not within: a process that is being started must get a name first."""
    _State.holding = True
    try:
        yield
    finally:
        _State.holding = False
    if _State.waiting is not None:
        _raise(_State.waiting)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if _State.holding:
        _State.waiting = number
    else:
        _raise(number)


def _raise(number: int) -> None:
    ignore()
    raise Interrupted(number)
