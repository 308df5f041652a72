# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A step of an episode as one line of text, so that a failing episode can be read, repeated and kept as a test.

What modules do, judged by the rules in judge.py (`check`, then the run, then the same again):

    declare g1=A,B g2= g3+C g3-D   exclusively, without devices, present, absent
    both g1=A | g1=B               two declarations at once
    hold E,F / release E           assignable_devices
    functions P=3                  virtual_functions
    repair [faults=x,y]
    info                           host_info

A declaration is one of domain_devices, with by=host one of host_state, which also has pciback take the devices. All
have the options kill=N (before that change), kill=xl (once it has started xl), then=nothing (not the same again),
repair=first, timeout=N, and must=ok|failed|untouched|better for what a fixed episode asks for beyond the rules.

What others do:

    xl pci-attach g1 A             any command of xl
    create g1 / end g1 reset / pause g1 / wake g1
    fault NAME key=value ... / calm
    write PATH VALUE / remove PATH with paths such as back:g1/state-0, front:g1/state, marker:A
    stored g1 cut|empty|gone|A     libxl's stored configuration is damaged, or forgets A
    unbind A / pull A / rescan     sysfs
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from world import World

from simulated_xen.interpreter.xen.lowlevel._simulator import Refused

RUNS = ("declare", "both", "hold", "release", "functions", "repair", "info")
OPTIONS = ("kill", "then", "repair", "timeout", "must", "faults", "by")


@dataclass(frozen=True)
class Step:
    """One line."""

    kind: str
    words: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: str) -> Step:
        kind, *rest = line.split()
        options: dict[str, str] = {}
        words: list[str] = []
        for word in rest:
            name, equals, value = word.partition("=")
            if kind in RUNS and equals and name in OPTIONS:
                options[name] = value
            else:
                words.append(word)
        return cls(kind, tuple(words), options)

    def __str__(self) -> str:
        return " ".join([self.kind, *self.words, *(f"{name}={value}" for name, value in self.options.items())])


def parse(text: str) -> list[Step]:
    """All steps of a text, one a line or with semicolons between them."""
    lines = text.replace(";", "\n").splitlines()
    return [Step.parse(line) for line in lines if line.strip() and not line.strip().startswith("#")]


# -- what others do


def act(world: World, step: Step) -> str:
    """Do what is not a run of a module; what was said, where that is xl. What is refused is not done."""
    try:
        return ACTS[step.kind](world, *step.words) or ""
    except (Refused, OSError):
        return ""


def _xl(world: World, *words: str) -> str:
    done = world.xl(*map(world.address, words))
    world.rest()
    return done.stdout + done.stderr


def _end(world: World, name: str, how: str) -> None:
    world.ask("end", domain=name, how=how)


def _fault(world: World, name: str, *settings: str) -> None:
    arguments: dict[str, Any] = {}
    for setting in settings:
        key, _equals, value = setting.partition("=")
        if key in ("seconds", "count"):
            arguments[key] = float(value)
        elif key == "path":
            arguments[key] = world.path(value)
        elif key == "command":  # words with + between them
            arguments[key] = " ".join(map(world.address, value.split("+")))
        else:
            arguments[key] = world.address(value)
    world.inject(name, **arguments)


def _write(world: World, path: str, *words: str) -> None:
    with world.store() as store:
        store.write(world.path(path), " ".join(map(world.address, words)))
    world.rest()


def _remove(world: World, path: str) -> None:
    with world.store() as store:
        store.remove(world.path(path))
    world.rest()


def _stored(world: World, name: str, how: str) -> None:
    file = world.stored(name)
    if file is None:
        return
    if how == "gone":
        file.unlink()
    elif how == "empty":
        file.write_text("")
    elif how == "cut":
        file.write_text(file.read_text()[:40])
    else:
        config = json.loads(file.read_text().rstrip("\0"))
        bus = int(world.address(how)[5:7], 16)
        config["pcidevs"] = [one for one in config["pcidevs"] if one.get("bus", 0) != bus]
        file.write_text(json.dumps(config) + "\0")


def _create(world: World, name: str) -> None:
    world.ask("create", config=world.machine.config(name))


def _pause(world: World, name: str) -> None:
    world.ask("pause", domain=name, paused=True)


def _wake(world: World, name: str) -> None:
    world.ask("pause", domain=name, paused=False)


ACTS: dict[str, Callable[..., str | None]] = {
    "xl": _xl,
    "create": _create,
    "end": _end,
    "pause": _pause,
    "wake": _wake,
    "fault": _fault,
    "calm": lambda world: world.calm(),
    "write": _write,
    "remove": _remove,
    "stored": _stored,
    "unbind": lambda world, name: world.sysfs("bus/pci/drivers/pciback/unbind", world.address(name)),
    "pull": lambda world, name: world.sysfs(f"bus/pci/devices/{world.address(name)}/remove", "1"),
    "rescan": lambda world: world.sysfs("bus/pci/rescan", "1"),
}


# -- what modules are asked for


def declared(world: World, words: tuple[str, ...]) -> dict[str, Any]:
    """The option domains of domain_devices."""
    domains: dict[str, Any] = {}
    for word in words:
        for sign, extra in (("=", {"exclusive": True}), ("+", {}), ("-", {"state": "absent"})):
            name, found, devices = word.partition(sign)
            if found:
                listed = [world.address(device) for device in devices.split(",") if device]
                domains[name] = {"devices": listed, **extra}
                break
    return domains


def goal(domains: Mapping[str, Any], has: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """What domains have when a declaration is fulfilled, the others as they are."""
    result = dict(has)
    for name, wanted in domains.items():
        devices = frozenset(wanted["devices"])
        old = has.get(name, frozenset())
        if wanted.get("exclusive"):
            result[name] = devices
        else:
            result[name] = old - devices if wanted.get("state") == "absent" else old | devices
    return result
