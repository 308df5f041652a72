# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw steps by chance: weights, and words that mean something on the host as it is.

Choices follow from the seed and from the host's state alone. An episode has a theme, since damage after damage
leaves nothing to judge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from machines import MACHINES
from step import Step
from truth import Truth

MACHINE_WEIGHTS = {"pv": 5, "vf": 3, "hvm": 4, "stub": 2, "new": 3, "old": 2}
THEMES = {"calm": 4, "killed": 3, "faults": 3, "damage": 3, "bus": 2}
CARDS = ("A", "B", "C", "D")
SHORT = 3
ENTRY_DAMAGE = (
    "write back:{g}/state-{n} {state}", "remove back:{g}/state-{n}", "remove back:{g}/vdev-{n}",
    "write back:{g}/vdev-{n} 0000:00:1f.0", "remove back:{g}/dev-{n}", "write back:{g}/dev-{n} {other}",
    "write back:{g}/dev-{n} zzz", "remove back:{g}/key-{n}", "write back:{g}/num_devs {count}",
    "remove back:{g}/num_devs", "write back:{g}/num_devs x",
)  # fmt: skip
DAMAGE = (
    *ENTRY_DAMAGE, "write back:{g}/state {state}", "remove back:{g}/state", "write front:{g}/state {state}",
    "remove front:{g}/state", "remove back:{g}", "remove front:{g}", "remove marker:{mine}", "write marker:{mine} 77",
    "write marker:{other} {word}", "stored {g} {mine}", "stored {g} cut", "stored {g} gone", "unbind {mine}",
    "pull {mine}", "write back:{g}/online 0",
)  # fmt: skip
FAULTS = (
    "late domain=0 step=backend:{step} seconds=0.3", "late domain={g} step=frontend:{end} seconds=0.3",
    "silent domain=0 step=backend:{step}", "silent domain={g} step=frontend:{end}", "deaf domain={g}",
    "deaf domain=0", "driver domain={g} manner={manner} device={device}", "reset-fails device={device}",
    "refuse-export device={device}", "broken device={device}", "conflicts count=4", "store-frozen",
    "die-at domain=0 step=backend:{step} victim={g}", "pause-at domain=0 step=backend:{step} victim={g}",
    "reboot-at domain=0 step=backend:{step} victim={g}", "end-at domain=0 step=backend:{step} how={how} victim={g}",
    "xl-at domain=0 step=backend:{step} command=pci-detach+{g}+{mine}",
    "xl-at domain=0 step=backend:{step} command=pci-attach+{g}+{device}",
)  # fmt: skip
HVM_FAULTS = ("refuse-eject domain={g}", "eject-late domain={g} seconds=0.5", "qemu-silent domain={g}")


class Generator:
    """The steps of one episode. `look`: the host as it is; `machine` and `theme`: given, or by chance."""

    def __init__(
        self, seed: str, look: Callable[[], Truth], machine: str | None = None, theme: str | None = None
    ) -> None:
        self._random = random.Random(seed)
        self._look = look
        self.machine = MACHINES[machine or self._weighted(MACHINE_WEIGHTS)]
        self.theme = theme or self._weighted(THEMES)

    def _weighted(self, weights: dict[str, int]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def steps(self, count: int) -> Iterator[Step]:
        """About so many steps."""
        made = 0
        if self.machine.functions:
            yield Step.parse("hold V0,V1,V2")
            made += 1
        while made < count:
            for line in self._lines():
                yield Step.parse(line)
                made += 1

    def _lines(self) -> Iterator[str]:
        yield from {
            "calm": self._calm, "killed": self._killed, "faults": self._faulty, "damage": self._damaged,
            "bus": self._bus,
        }[self.theme]()  # fmt: skip

    # -- themes

    def _calm(self) -> Iterator[str]:
        kind = self._weighted({"declare": 12, "both": 2, "xl": 4, "end": 2, "info": 1, "repair": 1, "hold": 2})
        if kind == "declare":
            yield self._run()
        elif kind == "both":
            yield f"both {self._declare().partition(' ')[2]} | {self._declare().partition(' ')[2]}"
        elif kind == "xl":
            yield self._xl()
        elif kind == "end":
            yield from self._end()
        elif kind == "hold":
            yield self._hold()
        else:
            yield kind

    def _killed(self) -> Iterator[str]:
        kind = self._weighted({"declare": 6, "killed": 8, "hold": 3})
        if kind == "declare":
            yield self._run()
        else:
            line = self._run() if kind == "killed" else self._hold()
            hvm = any(word.startswith("h") for word in line.split()[1:]) and kind == "killed"
            limit = 70 if kind == "killed" else 10
            if kind == "hold" and self.machine.functions and self._random.random() < 0.2:
                line = f"functions P={self._random.choice((0, 2, 7))}"
            point = "xl" if hvm and self._random.random() < 0.3 else str(self._random.randrange(limit))
            yield f"{line} kill={point}"

    def _faulty(self) -> Iterator[str]:
        yield self._declare()
        names = self._names()
        templates = [*FAULTS, *(HVM_FAULTS * 3 if names["g"].startswith("h") else ())]
        yield f"fault {self._random.choice(templates).format(**names)}"
        yield f"{self._run()} timeout={SHORT}"
        yield "calm"
        yield "repair"
        yield from self._missing()
        yield self._declare()

    def _damaged(self) -> Iterator[str]:
        yield self._declare()
        yield self._random.choice(DAMAGE).format(**self._names())
        kind = self._weighted({"never": 3, "first": 2, "repair": 4, "killed": 1})
        if kind == "repair":
            yield "repair"
        elif kind == "killed":
            yield f"repair kill={self._random.randrange(12)} then=nothing"
        else:
            yield f"{self._run()} repair={kind}"
        yield "repair"
        yield "rescan"
        yield from self._missing(restart=True)

    def _bus(self) -> Iterator[str]:
        kind = self._weighted({"declare": 4, "hold": 5, "functions": 2, "xl": 2, "pull": 1, "unbind": 1})
        if kind == "declare":
            yield self._run()
        elif kind == "hold":
            yield self._hold()
        elif kind == "functions" and self.machine.functions:
            yield f"functions P={self._random.choice((0, 1, 2, 3, 7))}"
        elif kind == "xl":
            device = self._random.choice([*CARDS, "E", "F"])
            yield self._random.choice((f"xl pci-assignable-add {device}", f"xl pci-assignable-remove -r {device}"))
        elif kind in ("pull", "unbind"):
            free = [name for name in CARDS if not self._owner(name)]
            yield f"{kind} {self._random.choice(free or ['E'])}"
            yield "repair"
            yield "rescan"

    # -- words

    def _run(self) -> str:
        """A declaration, for either of the modules that take one."""
        return f"{self._declare()} by=host" if self._random.random() < 0.3 else self._declare()

    def _pool(self) -> list[str]:
        """Short names of what pciback has."""
        devices = self._look().devices
        return [name for name, at in self.machine.devices.items() if devices.get(at, {}).get("driver") == "pciback"]

    def _owner(self, name: str) -> str | None:
        truth, address = self._look(), self.machine.devices[name]
        return next((guest for guest in truth.domains if address in truth.has(guest)), None)

    def _alive(self) -> list[str]:
        truth = self._look()
        return [name for name in self.machine.guests if name in truth.domains and not truth.domains[name].ended]

    def _declare(self) -> str:
        """One to three domains, with devices that no other domain has."""
        alive = self._alive() or self.machine.guests[:1]
        chosen = self._random.sample(alive, min(len(alive), self._random.choice((1, 1, 2, 2, 3))))
        free = [name for name in self._pool() if self._owner(name) in (None, *chosen)]
        shares: dict[str, list[str]] = {name: [] for name in chosen}
        for device in free:
            place = self._random.choice([*chosen, *chosen, None])
            if place is not None:
                shares[place].append(device)
        words = []
        for name, devices in shares.items():
            sign = self._random.choices("=+-", (8, 1, 1))[0]
            # What another one of them has cannot be had as well; nothing can only be declared exclusively.
            listed = devices if sign != "+" else [one for one in devices if self._owner(one) in (None, name)]
            words.append(f"{name}{sign if listed else '='}{','.join(listed)}")
        return " ".join(["declare", *words])

    def _names(self) -> dict[str, Any]:
        """What a template of a fault or of damage may name."""
        truth, alive = self._look(), self._alive() or self.machine.guests[:1]
        having = [name for name in alive if truth.has(name)] or alive
        guest = self._random.choice(having)
        short = {address: name for name, address in self.machine.devices.items()}
        mine = sorted(short.get(device, device) for device in truth.has(guest)) or ["A"]
        others = [name for name in CARDS if name not in mine]
        return {
            "g": guest,
            "mine": self._random.choice(mine),
            "other": self._random.choice(others or ["E"]),
            "device": self._random.choice(self._pool() or ["A"]),
            "n": self._random.randrange(len(mine)),
            "count": self._random.choice((0, 1, 2, 3, 9)),
            "state": self._random.choice((0, 1, 2, 3, 5, 6, 7, 8, 9, "x")),
            "word": self._random.choice(("abc", "-1", "99", "1", "2")),
            "step": self._random.choice((2, 3, 4, 7, "export", "reset")),
            "end": self._random.choice((4, 5, 7, 8)),
            "manner": self._random.choice(("refuse", "hang", "keep", "crash")),
            "how": self._random.choice(("poweroff", "reboot", "reset")),
        }

    def _xl(self) -> str:
        truth, names = self._look(), self._names()
        guest = str(names["g"])
        verb = self._weighted({"pci-detach": 4, "pci-attach": 4, "pause": 0})
        if verb == "pci-detach" and truth.has(guest):
            return f"xl pci-detach {guest} {names['mine']}"
        free = [name for name in self._pool() if self._owner(name) is None]
        return f"xl pci-attach {guest} {self._random.choice(free or ['A'])}"

    def _end(self) -> Iterator[str]:
        guest = self._random.choice(self._alive() or self.machine.guests)
        kind = self._weighted({"xl reboot": 2, "xl destroy": 2, "reboot": 1, "reset": 2, "poweroff": 1})
        yield f"{kind} {guest}" if kind.startswith("xl") else f"end {guest} {kind}"
        yield from self._missing()

    def _missing(self, restart: bool = False) -> Iterator[str]:
        """Domains that have gone come back; with `restart` those whose kernel died do, too."""
        truth = self._look()
        for name in self.machine.guests:
            domain = truth.domains.get(name)
            if restart and domain is not None and domain.oops:
                yield f"xl destroy {name}"
                domain = None
            if domain is None:
                yield f"create {name}"

    def _hold(self) -> str:
        kind = self._random.choice(("hold", "release"))
        names = [name for name in self.machine.devices if name != "P" and self._owner(name) is None]
        if kind == "release":
            names = [name for name in names if name in self._pool()]
        chosen = self._random.sample(names, min(len(names), self._random.choice((1, 1, 2)))) or ["E"]
        return f"{kind} {','.join(sorted(chosen))}"
