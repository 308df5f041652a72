# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is true on a simulated host at one moment, and what of it is not as it must be.

It comes from the simulator's inner state and from libxl's files, never from the product.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

QUARANTINE = 0x7FF1
BACKENDS = "/local/domain/0/backend/pci"
KINDS = ("frames", "ports", "irqs")
#: What this collection writes down for itself.
NOTES = "/tool/xen-pci"
#: Pairs of a domain's number, a kind of right and a number of that kind.
Rights = frozenset[tuple[int, str, int]]
#: Those that are left, and those that are missing.
Wrong = tuple[Rights, Rights]
NOTHING: Wrong = (frozenset(), frozenset())


@dataclass(frozen=True)
class Problem:
    """Something that contradicts what the guests have. `domain` and `device`: whom it is about, empty if none.

    `harmless`: no kernel and no toolstack goes by it.
    """

    domain: str
    device: str
    text: str
    harmless: bool = False

    def __str__(self) -> str:
        return f"{self.domain or 'host'} {self.device}: {self.text}"


@dataclass(frozen=True)
class Domain:
    """One live domain that is no stub domain. `sees`: devices on the buses of its kernel, with its drivers."""

    name: str
    domid: int
    type: str
    stub: int | None
    oops: str | None
    ended: bool
    sees: Mapping[str, str | None]
    configured: tuple[str, ...] | None

    @property
    def connects(self) -> int | None:
        """The domain that has the connection with pciback."""
        return self.domid if self.type == "pv" else self.stub


class Truth:
    """One look. `files`: libxl's stored configuration as text, by file name."""

    def __init__(self, state: dict[str, Any], files: Mapping[str, str]) -> None:
        self.state = state
        self.files = files
        self.store: dict[str, str] = state["store"]
        self.devices: dict[str, dict[str, Any]] = state["devices"]
        stubs = {one["stub"] for one in state["domains"]} - {None}
        self._raw = {one["domid"]: one for one in state["domains"]}
        self.domains = {one["name"]: self._domain(one) for one in state["domains"] if one["domid"] not in stubs}

    def _domain(self, one: dict[str, Any]) -> Domain:
        stub = self._raw.get(one["stub"])
        oops = one["oops"] or (stub["oops"] if stub else None)
        ended = bool(one["shutdown"])
        return Domain(
            one["name"], one["domid"], one["type"], one["stub"], oops, ended, one["sees"], self._configured(one)
        )

    def _configured(self, one: dict[str, Any]) -> tuple[str, ...] | None:
        """Devices in libxl's stored configuration; None if it cannot be read."""
        try:
            config = json.loads(self.files[f"userdata-d.{one['domid']}.{one['uuid']}.libxl-json"].rstrip("\0"))
            numbers = [
                [entry.get(key, 0) for key in ("domain", "bus", "dev", "func")] for entry in config.get("pcidevs", [])
            ]
        except (KeyError, ValueError):
            return None
        return tuple(sorted("{:04x}:{:02x}:{:02x}.{}".format(*four) for four in numbers))

    # -- what guests have

    def has(self, name: str) -> frozenset[str]:
        """What a domain sees; nothing if there is no such domain."""
        domain = self.domains.get(name)
        return frozenset(domain.sees) if domain else frozenset()

    def all(self) -> dict[str, frozenset[str]]:
        """What each domain sees."""
        return {name: self.has(name) for name in self.domains}

    def works(self, name: str, device: str) -> bool:
        """Whether a guest sees a device, may touch it, and reaches it."""
        domain = self.domains.get(name)
        if domain is None or domain.oops or device not in domain.sees or device not in self.devices:
            return False
        facts = self.devices[device]
        if facts["driver"] != "pciback" or facts["owner"] != domain.domid:
            return False
        connects = str(domain.connects)
        reached = domain.connects is None or (
            connects in self.state["attached"] and device in self.state["exported"].get(connects, ())
        )
        return reached and not self._due(domain.domid, [device], ("frames", "ports")) - self.rights()

    def working(self) -> set[tuple[str, str]]:
        """Every device that works in a guest."""
        return {(name, device) for name in self.domains for device in self.has(name) if self.works(name, device)}

    # -- rights

    def rights(self) -> Rights:
        """All rights of all domains but dom0."""
        return frozenset(
            (domid, kind, number)
            for domid, one in self._raw.items()
            for kind in KINDS
            for number in (one[kind] if kind == "irqs" else _numbers(one[kind]))
        )

    def _due(self, domid: int, devices: Iterable[str], kinds: Collection[str] = KINDS) -> Rights:
        found = set()
        for device in devices:
            facts = self.devices.get(device)
            if facts is None:
                continue
            for kind in kinds:
                line = [facts["irq"]] if 0 < facts["irq"] < 255 else []
                found |= {(domid, kind, number) for number in (line if kind == "irqs" else _numbers(facts[kind]))}
        return frozenset(found)

    def due_rights(self, has: Mapping[str, Collection[str]]) -> Rights:
        """The rights that belong to what guests have."""
        due: set[tuple[int, str, int]] = set()
        for name, domain in self.domains.items():
            for domid in (domain.domid, domain.connects):
                due |= self._due(domid, has.get(name, ())) if domid is not None else frozenset()
        return frozenset(due)

    def wrong_rights(self, has: Mapping[str, Collection[str]] | None = None) -> Wrong:
        """Rights that are left, and rights that are missing."""
        due, held = self.due_rights(self.all() if has is None else has), self.rights()
        return held - due, due - held

    # -- what contradicts

    def problems(self, has: Mapping[str, Collection[str]] | None = None, known: Wrong = NOTHING) -> list[Problem]:
        """Everything that is not as it must be if guests have exactly this (if not given: what they see).

        `known`: rights whose state is another program's doing, and which nobody can read.
        """
        expected = {name: frozenset(devices) for name, devices in (self.all() if has is None else has).items()}
        found: list[Problem] = []
        for domain in self.domains.values():
            if not domain.ended:
                due = expected.get(domain.name, frozenset())
                found += [*self._view(domain, due), *self._connection(domain, due), *self._records(domain, due)]
        left, missing = self.wrong_rights(expected)
        for what, wrong in (("right left", left - known[0]), ("right missing", missing - known[1])):
            for domid, kind in sorted({(domid, kind) for domid, kind, _number in wrong}):
                numbers = sorted(number for one, other, number in wrong if (one, other) == (domid, kind))
                found.append(Problem(self._name(domid), "", f"{what}: {kind} {numbers[0]:#x} ({len(numbers)})"))
        return [*found, *self._devices(expected), *self._leftovers(expected)]

    def _name(self, domid: int) -> str:
        name: str = self._raw[domid]["name"]
        return next((one.name for one in self.domains.values() if one.stub == domid), name)

    @staticmethod
    def _view(domain: Domain, due: frozenset[str]) -> Iterator[Problem]:
        if domain.oops:
            yield Problem(domain.name, "", f"its kernel oopsed: {domain.oops[-200:]}")
        for device in sorted(due - domain.sees.keys()):
            yield Problem(domain.name, device, "the guest does not see it")
        for device in sorted(domain.sees.keys() - due):
            yield Problem(domain.name, device, "the guest sees it still")

    def _connection(self, domain: Domain, due: frozenset[str]) -> Iterator[Problem]:
        """What xenstore says of the connections of a guest and of its stub domain."""
        for domid in {domain.domid, domain.stub} - {None}:
            back, front = f"{BACKENDS}/{domid}/0", f"/local/domain/{domid}/device/pci/0"
            if not due or (domain.stub and domid != domain.stub):
                if any(path == front or path.startswith(f"{front}/") for path in self.store):
                    yield Problem(domain.name, "", f"{front} is left")
                if any(path == back or path.startswith(f"{back}/") for path in self.store):
                    yield Problem(domain.name, "", f"{back} is left")
                continue
            live = domid == domain.connects
            yield from self._entries(domain, due, back, live)
            ends = (self.store.get(f"{back}/state"), self.store.get(f"{front}/state"))
            if live and ends != ("4", "4"):
                yield Problem(domain.name, "", f"its ends are at {ends[0]} and {ends[1]}")
            exported = self.state["exported"].get(str(domid), {})
            if live and due != exported.keys():
                yield Problem(domain.name, "", f"pciback has exported {sorted(exported)}")

    def _entries(self, domain: Domain, due: frozenset[str], back: str, live: bool) -> Iterator[Problem]:
        count = self.store.get(f"{back}/num_devs")
        if count != str(len(due)):
            yield Problem(domain.name, "", f"num_devs of {back} is {count!r}, not {len(due)}")
        listed = [self.store.get(f"{back}/dev-{index}") for index in range(len(due))]
        for device in sorted(due - set(listed)):
            yield Problem(domain.name, device, f"no entry in {back}")
        for index, device in enumerate(listed):
            if device is not None and device not in due:
                yield Problem(domain.name, device, f"entry {index} in {back}")
            if live:
                state, key = self.store.get(f"{back}/state-{index}"), self.store.get(f"{back}/key-{index}")
                if state != "3" or not self.store.get(f"{back}/vdev-{index}"):
                    yield Problem(domain.name, device or "", f"entry {index} is not exported: {state!r}")
                place, published = self._place(back, device or ""), self.store.get(f"{back}/vdev-{index}", "")
                if place and published and place[:10] != published[:10]:  # Linux before 5.14: a function of its own
                    yield Problem(domain.name, device or "", f"entry {index} is at {place}, not {published}")
                if key not in (device, None):  # libxl writes it and does not read it
                    yield Problem(domain.name, device or "", f"key-{index} is {key!r}")
        stray = [path for path in self.store if path.startswith(f"{back}/") and _index(path) >= len(due)]
        if stray:
            yield Problem(domain.name, "", f"stray nodes: {', '.join(stray)}")

    def _place(self, back: str, device: str) -> str:
        """Where the guest's bus has a device, as dom0's kernel answers."""
        exported = self.state["exported"].get(back.split("/")[6], {})
        return str(exported.get(device, ""))

    def _records(self, domain: Domain, due: frozenset[str]) -> Iterator[Problem]:
        for device in sorted(due):
            mark = self.store.get(marker(device))
            if mark != str(domain.domid):
                yield Problem(domain.name, device, f"its marker is {mark!r}")
        if domain.configured is None:
            yield Problem(domain.name, "", "its stored configuration cannot be read")
        if domain.configured is None or domain.stub is not None:  # libxl keeps it for the stub domain, and not always
            return
        for device in sorted(due - set(domain.configured)):
            yield Problem(domain.name, device, "its stored configuration does not list it")
        for device in sorted(set(domain.configured) - due):
            # A reboot brings only what is in both. xl leaves an entry at each pci-detach.
            yield Problem(domain.name, device, "its stored configuration lists it", harmless=True)

    def _devices(self, expected: Mapping[str, Collection[str]]) -> Iterator[Problem]:
        """Who owns each device, and whether its driver may have it."""
        holder = {device: self.domains[name] for name in self.domains for device in expected.get(name, ())}
        for device, facts in self.devices.items():
            domain = holder.get(device)
            name = domain.name if domain else ""
            owners = {domain.domid} if domain else {0, QUARANTINE}
            if facts["owner"] not in owners:
                yield Problem(name, device, f"Xen says that {facts['owner']} owns it")
            if domain and facts["driver"] != "pciback":
                yield Problem(name, device, f"driver {facts['driver']} has it")
            if not domain and facts["driver"] not in (None, "pciback") and facts["owner"] == QUARANTINE:
                yield Problem(name, device, f"driver {facts['driver']} has it, and it is in quarantine")
            held = self.state["held"].get(device)
            if not domain and held is not None and held not in self._first_held():
                yield Problem("", device, f"pciback holds it for {held}")
            mark = self.store.get(marker(device))
            if mark is not None and not domain:
                yield Problem("", device, f"its marker is {mark!r}")
        for device in sorted(set(holder) - set(self.devices)):
            yield Problem(holder[device].name, device, "the host does not have it")

    def _first_held(self) -> set[int]:
        """HVM guests with devices: pciback holds the first one that such a guest had until it has none."""
        return {one.domid for one in self.domains.values() if one.type == "hvm" and one.sees}

    def _leftovers(self, expected: Mapping[str, Collection[str]]) -> Iterator[Problem]:
        """Connections of domains that do not exist."""
        gone = {path.split("/")[6] for path in self.store if path.startswith(f"{BACKENDS}/")} - set(map(str, self._raw))
        for number in sorted(gone):
            yield Problem("", "", f"{BACKENDS}/{number} is left of a domain that has gone")

    # -- comparisons

    def view(self, name: str) -> object:
        """Everything that is a domain's own: what must not change where it is not declared."""
        domain = self.domains.get(name)
        if domain is None:
            return None
        numbers = {domain.domid, domain.stub or domain.domid}
        homes = tuple(
            home for number in numbers for home in (f"{BACKENDS}/{number}/0", f"/local/domain/{number}/device/pci")
        )
        nodes = {path: value for path, value in self.store.items() if path.startswith(homes)}
        # What it has lost is judged apart: any run may give back what is due to a guest.
        rights = frozenset(one for one in self.rights() - self.due_rights(self.all()) if one[0] in numbers)
        owned = sorted(device for device, facts in self.devices.items() if facts["owner"] in numbers)
        marks = sorted(path for path, value in self.store.items() if is_marker(path) and value == str(domain.domid))
        return (dict(domain.sees), domain.configured, nodes, rights, owned, marks)

    def lacks(self, name: str) -> Rights:
        """Rights over its devices that a domain does not have."""
        return self.due_rights({name: self.has(name)}) - self.rights()

    def substance(self) -> dict[str, object]:
        """Everything that a run may have changed, without notes and without counters."""
        nodes = {path: value for path, value in self.store.items() if not path.startswith(NOTES)}
        facts = {
            name: {key: value for key, value in one.items() if key not in ("resets", "fits")}
            for name, one in self.devices.items()
        }
        state = {key: self.state[key] for key in ("domains", "held", "slots", "exported")}
        return {**state, "store": nodes, "devices": facts, "files": dict(self.files)}

    def drivers(self) -> dict[str, str | None]:
        """Which driver of the host has each device."""
        return {device: facts["driver"] for device, facts in self.devices.items()}


def differences(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Where two substances differ, in words."""
    found = []
    for part, old in before.items():
        new = after[part]
        if isinstance(old, dict) and isinstance(new, dict):
            changed = [key for key in {*old, *new} if old.get(key) != new.get(key)]
            found += [f"{part} {key}: {old.get(key)!r} → {new.get(key)!r}"[:300] for key in sorted(map(str, changed))]
        elif old != new:
            found.append(f"{part}: {old!r} → {new!r}"[:400])
    return found


def marker(device: str) -> str:
    """libxl's marker of a device."""
    return f"/libxl/pci/{device.replace(':', '-').replace('.', '-')}/domid"


def is_marker(path: str) -> bool:
    return path.startswith("/libxl/pci/") and path.endswith("/domid")


def _index(path: str) -> int:
    """The number at the end of an entry's node; roots have numbers of their own."""
    name, _dash, number = path.rpartition("/")[2].rpartition("-")
    return int(number) if number.isdecimal() and name not in ("root", "") else -1


def _numbers(ranges: Iterable[Iterable[int]]) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)
