# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a play is performed: what its script can do, the same on every kind of host."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from recorded_runs.trace import SCRIPT, Event, from_log, home, text

GUESTS = ("g1", "g2", "g3")


class Failed(AssertionError):
    """The play did not go as its script says; the text tells what happened instead."""


class Stage(ABC):
    """One host. `silence`: seconds to wait for a guest that will never answer; `patience`: for one that will;
    `python`: the Python there."""

    silence: float
    patience: float
    python: str

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._directions: list[tuple[int, Event]] = []

    @abstractmethod
    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Run a command in dom0; its status and output."""

    @abstractmethod
    def product(self, script: str, arguments: dict[str, Any]) -> tuple[int, str]:
        """Run a script of in_dom0 there, where the product can be imported; arguments as JSON."""

    @abstractmethod
    def _log(self) -> list[str]:
        """Lines of xenstored's log since the play began."""

    @abstractmethod
    def _mark(self) -> None:
        """The play begins here in the log."""

    def prepare(self, devices: Sequence[str]) -> None:
        """Give pciback the devices."""
        for device in devices:
            self.xl("pci-assignable-add", device)

    def begin(self, guests: Sequence[str] = GUESTS) -> None:
        """Record from here on what concerns these guests."""
        self._names = {}
        for guest in guests:
            self._know(guest)
        self._directions = []
        self._mark()

    def end(self, devices: Sequence[str]) -> None:
        """dom0 gets its devices back."""
        for device in devices:
            self.xl("pci-assignable-remove", "-r", device)

    def _know(self, guest: str) -> None:
        self._names[self._number(guest) or 0] = guest

    def _number(self, guest: str) -> int | None:
        status, output = self.run(["xl", "domid", guest])
        return int(output) if status == 0 else None

    def trace(self) -> list[Event]:
        """What happened since the play began, and what the script did to which guest when."""
        events = from_log(self._log(), self._names)
        for position, direction in reversed(self._directions):
            events.insert(position, direction)
        return events

    # -- what scripts do -----------------------------------------------------------------------------

    def declare(self, fails: bool = False, **guests: Sequence[str]) -> dict[str, Any]:
        """Run the module domain_devices: these guests have exactly these devices."""
        domains = {name: {"devices": list(devices), "exclusive": True} for name, devices in guests.items()}
        timeout = int(self.silence if fails else self.patience)
        _status, output = self.product("run_module.py", {"domains": domains, "timeout": timeout})
        said = [line for line in output.splitlines() if line.startswith("{")]
        if not said:
            raise Failed(output)
        result: dict[str, Any] = json.loads(said[-1])
        if bool(result.get("failed")) != fails:
            raise Failed(str(result.get("msg", result)))
        return result

    def refused_cycle(self, guest: str, *devices: str) -> None:
        """A cycle that pciback will give up, written without the checks that prevent it, and our way out of it."""
        domid = next(number for number, name in self._names.items() if name == guest)
        status, output = self.product("refused_cycle.py", {"domid": domid, "devices": list(devices)})
        if status:
            raise Failed(output)

    def xl(self, *words: str, fails: bool = False) -> None:
        """Run xl."""
        status, output = self.run(["xl", *words])
        if bool(status) != fails:
            raise Failed(f"xl {' '.join(words)} ended with {status}: {output}")
        if words[0] in ("pause", "unpause", "destroy"):
            self._direct(words[0], words[1])

    def _direct(self, action: str, guest: str) -> None:
        event = Event(SCRIPT, action, home([guest, *self._lives(guest)][-1]))
        self._directions.append((len(from_log(self._log(), self._names)), event))

    def _lives(self, guest: str) -> list[str]:
        """The names in the trace of all domains that a guest has been."""
        return [name for name in self._names.values() if name.partition(".")[0] == guest]

    def ends(self, guest: str, how: str) -> None:
        """Somebody in a guest ends it: `reboot` in good order, or `reset` without a word."""
        self._direct(how, guest)
        self.end_inside(guest, how)

    @abstractmethod
    def end_inside(self, guest: str, how: str) -> None:
        """See `ends`."""

    @abstractmethod
    def load_frontend(self, guest: str) -> None:
        """modprobe xen-pcifront in a guest."""

    @abstractmethod
    def start_hvm_guest(self) -> None:
        """Create h1, which does not run when the host starts."""

    def virtual_functions(self, device: str, count: int) -> None:
        """Have a device make so many virtual functions, which are not offered to any driver when they appear.

        nvme probes asynchronously and lets go of a disabled function some time later: whoever looks meanwhile
        (xl notes the driver that it finds) sees the one or the other. Afterwards drivers may have them again, or
        pciback could not.
        """
        code = (
            "import os, sys\n"
            "place = os.environ.get('SYSFS_PATH', '/sys') + '/bus/pci/devices/' + sys.argv[1]\n"
            "for name, value in ('drivers_autoprobe', '0'), ('numvfs', sys.argv[2]), ('drivers_autoprobe', '1'):\n"
            "    with open(f'{place}/sriov_{name}', 'w') as file:\n"
            "        file.write(value)\n"
        )
        status, output = self.run([self.python, "-c", code, device, str(count)])
        if status:
            raise Failed(output)

    def until(self, guest: str, backend: int | None, frontend: int | None) -> None:
        """Wait until both ends of a guest's connection are in these states (None: there is none)."""
        self._eventually(lambda: self.states(guest) == (backend, frontend), f"{guest}: {(backend, frontend)}")

    def until_gone(self, guest: str) -> None:
        """Wait until a guest is no domain any more."""
        self._eventually(lambda: self._number(guest) is None, f"{guest} goes")

    def reborn(self, guest: str) -> str:
        """Wait until a guest is another domain, and return its name in the trace from here on."""
        self._eventually(lambda: (self._number(guest) or 0) not in {0, *self._names}, f"{guest} comes back")
        self._names[self._number(guest) or 0] = name = f"{guest}.{len(self._lives(guest)) + 1}"
        return name

    def _eventually(self, check: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not check():
            if time.monotonic() > deadline:
                raise Failed(f"it did not happen: {what}; the trace:\n{text(self.trace()[-8:])}")
            time.sleep(self.patience / 1000)

    def states(self, guest: str) -> tuple[int | None, int | None]:
        """Backend's and frontend's state as the trace has it."""
        paths = f"/local/domain/0/backend/pci/{guest}/0/state", f"/local/domain/{guest}/device/pci/0/state"
        found: dict[str, int | None] = dict.fromkeys(paths)
        for event in self.trace():
            for path in paths:
                if event.action == "rm" and f"{path}/".startswith(f"{event.path}/"):
                    found[path] = None
                elif event.path == path and event.action == "write":
                    found[path] = int(event.value)
        return found[paths[0]], found[paths[1]]

    def settle(self) -> None:
        """Wait until nobody has changed anything for a while."""
        before = -1
        while before != (now := len(self.trace())):
            before = now
            time.sleep(self.patience / 60)
