# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A minimal ``xl``: the commands that deal with PCI devices and what they need."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..host.device import Address
from ..interpreter.xen.lowlevel._simulator import Refused
from . import guests
from .libxl import Libxl
from .options import Options
from .qmp_client import Failed
from .toolstack import complain


class Usage(Exception):
    """The command line is wrong."""


def device(spec: str) -> tuple[Address, dict[str, str], Options]:
    """A PCI_SPEC_STRING: the address and its options, as words and as what libxl makes of them."""
    text, *options = spec.split(",")
    settings = dict(option.partition("=")[::2] for option in options)
    if text.startswith("bdf="):
        text = text[4:]
    try:
        return Address.parse(text.partition("@")[0]), settings, Options.read(settings, text.partition("@")[2])
    except ValueError:
        raise Usage(f'pci: malformed BDF specification "{spec}"') from None


def listing(libxl: Libxl, words: list[str]) -> None:
    """xl list [DOMAIN]"""
    wanted = words[0] if words else None
    print(f"{'Name':<40} {'ID':>5} {'Mem':>5} VCPUs\tState\tTime(s)")
    if wanted in (None, "0", "Domain-0"):
        print(f"{'Domain-0':<40} {0:>5} {1024:>5} {1:>5}     {'r-----':<8} {1.0:>8.1f}")
    if wanted not in (None, "0", "Domain-0"):
        libxl.domid(str(wanted))
    for domain in libxl.ask("list"):
        if wanted in (None, domain["name"], str(domain["domid"])):
            state = "--p---" if domain["paused"] else "---s--" if domain["shutdown"] else "-b----"
            print(f"{domain['name']:<40} {domain['domid']:>5} {domain['memory']:>5} {1:>5}     {state:<8} {1.0:>8.1f}")


def info(libxl: Libxl, words: list[str]) -> None:
    """xl info"""
    major, minor = (
        (libxl.sys / "hypervisor/version" / name).read_text(encoding="ascii").strip() for name in ("major", "minor")
    )
    print(f"host                   : simulated\nxen_major              : {major}\nxen_minor              : {minor}")
    print(f"xen_version            : {major}.{minor}.0\nvirt_caps              : pv hvm{libxl.iommu_caps()}")


def pci_list(libxl: Libxl, words: list[str]) -> None:
    """xl pci-list DOMAIN"""
    domid = libxl.domid(words[0])
    entries = libxl.attached(domid)
    if entries:
        print("Vdev Device")
    for number, address in entries.items():
        vdevfn = libxl.xs.read(f"{libxl.backend(domid)}/vdevfn-{number}") or ""
        devfn = int(vdevfn, 16) if re.fullmatch("[0-9a-f]+", vdevfn) else 0
        print(f"{devfn >> 3:02x}.{devfn & 7:01x} {address}")


def pci_attach(libxl: Libxl, words: list[str]) -> None:
    """xl pci-attach DOMAIN BDF"""
    address, settings, options = device(words[1])
    if settings.get("seize") == "1" and not libxl.bound(address):
        libxl.assignable_add(address)
    libxl.attach(libxl.domid(words[0]), address, options)


def pci_detach(libxl: Libxl, words: list[str]) -> None:
    """xl pci-detach [-f] DOMAIN BDF"""
    force = words[0] == "-f"
    domain, spec = words[1:] if force else words
    libxl.detach(libxl.domid(domain), device(spec)[0], force)


def assignable_list(libxl: Libxl, words: list[str]) -> None:
    """xl pci-assignable-list"""
    for address in libxl.assignable():
        print(address)


def assignable_add(libxl: Libxl, words: list[str]) -> None:
    """xl pci-assignable-add BDF"""
    libxl.assignable_add(device(words[0])[0])


def assignable_remove(libxl: Libxl, words: list[str]) -> None:
    """xl pci-assignable-remove [-r] BDF"""
    libxl.assignable_remove(device(words[-1])[0], words[0] == "-r")


def read_config(path: str) -> dict[str, Any]:
    """The settings of an xl.cfg file that this xl knows; values are Python literals there, too."""
    settings: dict[str, Any] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("#")[0].partition("=")
        if equals:
            settings[name.strip()] = ast.literal_eval(value.strip())
    return settings


PASSED_ON = ("name", "type", "memory", "on_poweroff", "on_reboot")


def create(libxl: Libxl, words: list[str]) -> None:
    """xl create [-p] FILE"""
    settings = read_config(words[-1])
    config: dict[str, Any] = {name: settings[name] for name in PASSED_ON if name in settings}
    devices = [device(spec) for spec in settings.get("pci", [])]
    config["stubdomain"] = bool(settings.get("device_model_stubdomain_override", 0))
    config["pci"] = [str(address) for address, _settings, _options in devices]
    config["passthrough"] = settings.get("passthrough", "disabled") not in ("disabled", 0)
    config["e820_host"] = bool(settings.get("e820_host", devices))
    print(f"Parsing config from {words[-1]}")
    guests.create(libxl, config, [(address, options) for address, _settings, options in devices], paused="-p" in words)


def destroy(libxl: Libxl, words: list[str]) -> None:
    """xl destroy DOMAIN"""
    guests.destroy(libxl, libxl.domid(words[0]))


def shutdown(libxl: Libxl, words: list[str]) -> None:
    """xl shutdown DOMAIN"""
    domid = libxl.domid(words[0])
    print(f"Shutting down domain {domid}")
    guests.ask(libxl, domid, "poweroff")


def reboot(libxl: Libxl, words: list[str]) -> None:
    """xl reboot DOMAIN"""
    domid = libxl.domid(words[0])
    print(f"Rebooting domain {domid}")
    guests.ask(libxl, domid, "reboot")


def save(libxl: Libxl, words: list[str]) -> None:
    """xl save [-c] DOMAIN FILE"""
    domid = libxl.domid(words[-2])
    Path(words[-1]).write_text(json.dumps(guests.save(libxl, domid)), encoding="utf-8")
    if words[0] != "-c":
        guests.destroy(libxl, domid)


def restore(libxl: Libxl, words: list[str]) -> None:
    """xl restore FILE"""
    libxl.ask("create", config=json.loads(Path(words[-1]).read_text(encoding="utf-8")))


def migrate(libxl: Libxl, words: list[str]) -> None:
    """xl migrate DOMAIN HOST, where HOST is the run directory of another simulated host"""
    target = Libxl(Path(words[-1]))
    try:
        guests.migrate(libxl, libxl.domid(words[-2]), target)
    finally:
        target.xs.close()


def pause(libxl: Libxl, words: list[str]) -> None:
    """xl pause DOMAIN"""
    libxl.ask("pause", domain=str(libxl.domid(words[0])), paused=True)


def unpause(libxl: Libxl, words: list[str]) -> None:
    """xl unpause DOMAIN"""
    libxl.ask("pause", domain=str(libxl.domid(words[0])), paused=False)


def domid(libxl: Libxl, words: list[str]) -> None:
    """xl domid NAME"""
    print(libxl.domid(words[0]))


COMMANDS: dict[str, tuple[Callable[[Libxl, list[str]], None], int]] = {
    "list": (listing, 0),
    "info": (info, 0),
    "domid": (domid, 1),
    "pci-list": (pci_list, 1),
    "pci-attach": (pci_attach, 2),
    "pci-detach": (pci_detach, 2),
    "pci-assignable-list": (assignable_list, 0),
    "pci-assignable-add": (assignable_add, 1),
    "pci-assignable-remove": (assignable_remove, 1),
    "create": (create, 1),
    "destroy": (destroy, 1),
    "shutdown": (shutdown, 1),
    "reboot": (reboot, 1),
    "save": (save, 2),
    "restore": (restore, 1),
    "migrate": (migrate, 2),
    "pause": (pause, 1),
    "unpause": (unpause, 1),
}


def main(words: list[str]) -> int:
    """Run one command; xl's exit status."""
    if not words or words[0] not in COMMANDS:
        print("xl: commands are " + ", ".join(sorted(COMMANDS)), file=sys.stderr)
        return 1
    command, needed = COMMANDS[words[0]]
    if len(words) - 1 < needed:
        print(f"'xl {words[0]}' requires at least {needed} argument(s).\n\nUsage: {command.__doc__}", file=sys.stderr)
        return 2
    libxl = Libxl(Path(os.environ["SIMULATED_XEN_DIR"]))
    try:
        command(libxl, words[1:])
    except (Failed, Usage, Refused) as error:
        complain(str(error))
        return 1
    except OSError as error:
        complain(error.strerror or str(error))
        return 1
    finally:
        libxl.xs.close()
    return 0
