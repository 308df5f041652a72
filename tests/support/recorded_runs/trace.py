# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traces of xenstore in a form that can be compared: who changed what, in order.

What may differ between two hosts is normalised here and nowhere else:

- Numbers that a host gives out: domids become names; grant references, event channels, connections,
  transactions and times go.
- Writes of a transaction count when it is committed, as everybody else sees them; refused transactions do
  not count. Removals of what does not exist change nothing and are left out.
- Directories: a written empty value and mkdir are the same node, and a node's creation implies its parents.
- Order of writers that do not wait for each other: see `ordered`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

CHANGES = ("write", "mkdir", "rm", "setperms")
TOOLSTACK, DOM0, SCRIPT = "toolstack", "dom0", "script"

_DOMAIN = re.compile(r"(?<=/local/domain/)(\d+)|(?<=/backend/pci/)(\d+)|(?<=/libxl/)(\d+)")
_SCOPE = re.compile(
    r"/local/domain/0/(error/)?backend/pci\b"
    r"|/local/domain/[^/]+/((error/)?device/pci|control/shutdown)\b"
    r"|/libxl/pci\b"
)
_GUEST = re.compile(r"/backend/pci/([^/]+)/|/local/domain/(?!0/)([^/]+)/")
_OWN_NUMBER = ("pci-op-ref", "event-channel")
_CHANNEL = re.compile(r"(?<=event channel )\d+")


@dataclass(frozen=True)
class Event:
    """One change. `writer`: toolstack, dom0 (its kernel), a guest's name, or script (what a play does to a guest)."""

    writer: str
    action: str
    path: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.writer:<10} {self.action:<9} {self.path} {self.value}".rstrip()

    @classmethod
    def parse(cls, line: str) -> Event:
        """A line as `str` makes it."""
        writer, action, path, *value = line.split(None, 3)
        return cls(writer, action, path, value[0] if value else "")


def home(guest: str) -> str:
    """A guest's directory."""
    return f"/local/domain/{guest}"


def as_log(trace: Iterable[str]) -> Iterator[str]:
    """Lines of a simulated host's trace as of a log without transactions: it has only what took effect, in order."""
    for line in trace:
        time, who, rest = line.split(None, 2)
        yield f"{time} {who.partition('.')[0]} {rest}"


def from_log(lines: Iterable[str], names: Mapping[int, str]) -> list[Event]:
    """Events of xenstored's access log (oxenstored's, or the simulated host's trace), of PCI devices only."""
    pending: dict[str, list[Event]] = {}
    committed: list[Event] = []
    for line in lines:
        words = line.split(None, 4)
        if len(words) < 3:
            continue
        _time, who, action, *rest = words
        # oxenstored repeats a transaction by itself where that gives the client the same answers ("r(5):A224.6"),
        # and merges one that nobody stood in the way of ("coalesce").
        who = who.rpartition(":")[2]
        if action in ("commit", "coalesce"):
            committed += pending.pop(who, [])
        elif action in ("conflict", "abort"):
            pending.pop(who, None)
        elif action in CHANGES and rest:
            event = _event(who, action, rest[0], rest[1].strip() if len(rest) > 1 else "", names)
            (pending.setdefault(who, []) if "." in who else committed).append(event)
    return _effective(committed)


def _event(who: str, action: str, path: str, value: str, names: Mapping[int, str]) -> Event:
    connection = who.partition(".")[0]
    domid = int(connection[1:]) if connection[:1] == "D" else None
    if not path.startswith("/"):
        path = f"/local/domain/{domid or 0}/{path}"
    writer = TOOLSTACK if domid is None else DOM0 if domid == 0 else names.get(domid, connection)

    def named(match: re.Match[str]) -> str:
        return names.get(int(match[0]), match[0])

    last = path.rpartition("/")[2]
    if action == "setperms":
        value = " ".join(f"{entry[0]}{names.get(int(entry[1:]), entry[1:])}" for entry in value.split())
    elif last in ("frontend-id", "domid") and value.isdigit():
        value = names.get(int(value), value)
    elif last in _OWN_NUMBER:
        value = "*"
    else:
        value = _CHANNEL.sub("*", _DOMAIN.sub(named, value))
    return Event(writer, "write" if action == "mkdir" else action, _DOMAIN.sub(named, path), value)


def _effective(events: Iterable[Event]) -> list[Event]:
    """Those that concern PCI devices, or the end of a guest, and changed something."""
    there: set[str] = set()
    found = []
    for event in events:
        if event.action == "rm":
            gone = {node for node in there if node == event.path or node.startswith(f"{event.path}/")}
            if not gone:
                continue
            there -= gone
        elif not _SCOPE.match(event.path):
            continue
        else:
            parts = event.path.split("/")
            there.update(path for path in itertools.accumulate(parts, "{}/{}".format) if _SCOPE.match(path))
        found.append(event)
    return found


def text(events: Iterable[Event]) -> str:
    """Lines for a file."""
    return "".join(f"{event}\n" for event in events)


def read(lines: str) -> list[Event]:
    """What `text` wrote; lines that begin with # are for the reader."""
    return [Event.parse(line) for line in lines.splitlines() if line and not line.startswith("#")]


def ordered(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Events by the guest whose connection they belong to, in the order that the protocol gives them.

    Connections of two guests go side by side, so there is one list for each (and one for the parent of all
    backends, which goes with the last of them). Within one of them two pairs of
    writers do not wait for each other, and here dom0 goes first:

    - From the creation of both directories to Connected, pciback exports and pcifront publishes its page.
    - A guest whose directory was removed complains about its event channel when it comes to it; one that is
      destroyed may not come to it.
    """
    streams: dict[str, list[Event]] = {}
    holders: dict[str, str] = {}
    for event in events:
        if event.path.startswith("/libxl/pci/"):
            # The marker of a device belongs to the guest that it names or named.
            whose = (
                holders.setdefault(event.path, event.value) if event.action != "rm" else holders.pop(event.path, "all")
            )
        else:
            match = _GUEST.search(f"{event.path}/")
            whose = (match[1] or match[2]) if match else "all"
        streams.setdefault(whose, []).append(event)
    return {whose: _complaint_first(_dom0_first(stream)) for whose, stream in streams.items()}


def _dom0_first(stream: list[Event]) -> list[Event]:
    found: list[Event] = []
    guest: list[Event] | None = None
    for event in stream:
        created = event.writer == TOOLSTACK and event.path.endswith("device/pci/0/state") and event.value == "1"
        # The transaction of the creation may go on after that node: kernels see it as a whole.
        waited = event.writer == TOOLSTACK and found and (guest or found[-1].writer == DOM0)
        connected = event.writer == DOM0 and event.path.endswith("/0/state") and event.value == "4"
        if guest is not None and (waited or connected):
            found += guest
            guest = None
        if guest is not None and event.writer not in (DOM0, TOOLSTACK):
            guest.append(event)
        else:
            found.append(event)
        guest = [] if created else guest
    return found + (guest or [])


def _complaint_first(stream: list[Event]) -> list[Event]:
    found: list[Event] = []
    removed = 0
    homes = [event.path for event in stream if event.writer == SCRIPT and event.action == "destroy"]
    for event in stream:
        # Its home goes with a guest; when its connection went before, that shows only if a complaint was in there.
        last = event.action == "rm" and event.path in homes and removed
        if homes and ("/error/device/pci/" in event.path or last):
            continue
        if "/error/device/pci/" in event.path and removed:
            found.insert(removed, event)
            continue
        found.append(event)
        if event.action == "rm" and event.path.endswith("/device/pci/0"):
            removed = len(found)
    return found


def difference(real: Iterable[Event], simulated: Iterable[Event]) -> str | None:
    """The first step at which two traces part, with what went before; None if they are the same."""
    ours, theirs = ordered(real), ordered(simulated)
    for whose in sorted(ours.keys() | theirs.keys()):
        for number, pair in enumerate(itertools.zip_longest(ours.get(whose, []), theirs.get(whose, []))):
            if pair[0] != pair[1]:
                before = "".join(f"    {event}\n" for event in ours.get(whose, [])[max(number - 6, 0) : number])
                return f"{whose}, step {number}:\n{before}    real:      {pair[0]}\n    simulated: {pair[1]}"
    return None
