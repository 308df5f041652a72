# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps on devices of the host, all or none: what was done is undone in reverse if one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Callable

from ..values.errors import HostError, XenPciError


class StepFailed(XenPciError):
    """A step failed; `left` says in words what could not be undone, best empty."""

    def __init__(self, message: str, left: Sequence[str]) -> None:
        state = f"not everything could be undone: {'; '.join(left)}" if left else "all is as before this run"
        super().__init__(f"{message}; {state}")
        self.left = tuple(left)
        self.changed = bool(left)


class Undo:
    """What takes back the changes made so far; one that the host refuses keeps none of the others from it."""

    def __init__(self) -> None:
        self._actions: list[Callable[[], object]] = []

    def add(self, action: Callable[[], object]) -> None:
        """Note what takes back a change, best before it is made."""
        self._actions.append(action)

    def run(self) -> list[str]:
        """Take all back, newest first; returns in words what failed."""
        left = []
        for action in reversed(self._actions):
            try:
                action()
            except HostError as error:
                left.append(str(error))
        return left


@contextmanager
def all_or_none() -> Iterator[Undo]:
    """Run steps that note how each is undone; raises StepFailed if the host refuses one."""
    undo = Undo()
    try:
        yield undo
    except HostError as error:
        raise StepFailed(str(error), undo.run()) from error
    except BaseException:
        undo.run()
        raise
