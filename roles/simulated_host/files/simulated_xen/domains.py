# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains: what xl create, destroy, pause and reboot leave in xenstore, in Xen and in libxl's files."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .hypervisor import Hypervisor
from .kernel.guest import GuestKernel, Platform
from .store.local import LocalClient
from .store.store import Store
from .store.tree import Permission, Permissions

DOM0 = 0


class NoSuchDomain(Exception):
    """Nobody has this name or number."""


class BadDomain(ValueError):
    """What was asked for makes no domain; the text says why."""


@dataclass
class Config:
    """What a domain is created from. `type`: pv, hvm or pvh; `pci`: host addresses given at creation."""

    name: str
    type: str = "pv"
    passthrough: bool = True
    e820_host: bool = True
    pcifront: bool = True
    linux: str = "6.1"
    memory: int = 160
    on_reboot: str = "restart"
    pci: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Config:
        """From a description; BadDomain names what is wrong."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise BadDomain(f"a domain has no setting {', '.join(sorted(unknown))}")
        if not values.get("name"):
            raise BadDomain("a domain needs a name")
        config = cls(**values)
        if config.type not in ("pv", "hvm", "pvh"):
            raise BadDomain(f"a domain is pv, hvm or pvh, not {config.type}")
        return config


@dataclass
class DeviceModel:
    """QEMU of an HVM guest: which host device sits where (device and function number in one byte)."""

    plugged: dict[str, int] = field(default_factory=dict)

    def plug(self, device: str) -> int:
        """Give a device the first free slot from 3 on."""
        if device in self.plugged:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        taken = set(self.plugged.values())
        devfn = next(slot << 3 for slot in range(3, 32) if slot << 3 not in taken)
        self.plugged[device] = devfn
        return devfn

    def ejected(self, device: str) -> None:
        """The guest has let go of a device."""
        self.plugged.pop(device, None)


@dataclass
class Domain:
    """One running domain. `kernel` is there for PV guests only: others do not take part in the handshake."""

    domid: int
    uuid: str
    config: Config
    kernel: GuestKernel | None = None
    model: DeviceModel | None = None
    paused: bool = False
    unplugging: list[str] = field(default_factory=list)

    @property
    def home(self) -> str:
        """Its directory in xenstore."""
        return f"/local/domain/{self.domid}"


def owned_by(domid: int, *others: str) -> Permissions:
    """A permission list: the owner with no access for the rest, then single entries."""
    return (Permission("n", domid), *tuple(Permission(entry[0], int(entry[1:])) for entry in others))


class Domains:
    """All domains of one host, and the toolstack's acts on them."""

    def __init__(self, store: Store, hypervisor: Hypervisor, platform: Platform, userdata: Path) -> None:
        self._store = store
        self._hypervisor = hypervisor
        self._platform = platform
        self._userdata = userdata
        self._xs = LocalClient(store, "T0", DOM0)
        self._next = 1
        self.running: dict[int, Domain] = {}
        userdata.mkdir(parents=True, exist_ok=True)
        self._dom0()

    def _dom0(self) -> None:
        for path, value in (("name", "Domain-0"), ("domid", "0"), ("vm", "/vm/00000000-0000-0000-0000-000000000000")):
            self._xs.write(f"/local/domain/0/{path}", value)
        self._xs.write("/libxl/0/type", "pv")
        self._xs.write("/vm/00000000-0000-0000-0000-000000000000/uuid", "00000000-0000-0000-0000-000000000000")

    def find(self, who: str) -> Domain:
        """A domain by name or number; NoSuchDomain."""
        for domain in self.running.values():
            if who in (domain.config.name, str(domain.domid)):
                return domain
        raise NoSuchDomain(f"{who} is no domain of this host")

    # -- life ----------------------------------------------------------------------------------------

    async def create(self, config: Config, paused: bool = False) -> Domain:
        """Build a domain, its records and its kernel. Devices of `config.pci` are xl's business."""
        if any(domain.config.name == config.name for domain in self.running.values()):
            raise BadDomain(f"there is a domain {config.name} already")
        domid, self._next = self._next, self._next + 1
        domain = Domain(domid, str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{config.name}.simulated.invalid")), config)
        self.running[domid] = domain
        self._hypervisor.create(domid, config.passthrough or bool(config.pci))
        self._write_store(domain)
        self._write_userdata(domain)
        self._store.introduce(domid)
        if config.type == "hvm":
            domain.model = DeviceModel()
        if config.type == "pv":
            major, _dot, minor = config.linux.partition(".")
            kernel = GuestKernel(self._store, domid, self._platform, (int(major), int(minor or "0")), config.pcifront)
            domain.kernel = kernel
            kernel.boot()
        if paused:
            self.pause(domain, True)
        return domain

    async def destroy(self, domain: Domain) -> None:
        """The domain is gone, with its directories; backend directories are left to who made them."""
        self.running.pop(domain.domid, None)
        rights = self._hypervisor.domains.get(domain.domid)
        if rights is not None:
            rights.dying = True
        if domain.kernel is not None:
            await domain.kernel.stop()
        console = f"/local/domain/0/backend/console/{domain.domid}"
        for path in (domain.home, f"/libxl/{domain.domid}", f"/vm/{domain.uuid}", console):
            self._xs.remove(path)
        self._file(domain).unlink(missing_ok=True)
        self._hypervisor.destroy(domain.domid)
        self._store.release(domain.domid)

    def pause(self, domain: Domain, paused: bool) -> None:
        """Stop or go on running."""
        domain.paused = paused
        if not paused and domain.model is not None:
            while domain.unplugging:
                domain.model.ejected(domain.unplugging.pop())
        if domain.kernel is not None:
            domain.kernel.pause(paused)

    def model(self, domid: int) -> DeviceModel:
        """The QEMU of an HVM guest."""
        domain = self.find(str(domid))
        if domain.model is None:
            raise BadDomain(f"domain {domid} is no HVM guest")
        return domain.model

    async def unplug(self, domid: int, device: str, seconds: float) -> None:
        """device_del: ask the guest, and wait until it has ejected the device. ENODEV, ETIMEDOUT."""
        domain, model = self.find(str(domid)), self.model(domid)
        if device not in model.plugged:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if not domain.paused:
            model.ejected(device)
            return
        domain.unplugging.append(device)
        await asyncio.sleep(seconds)
        if device in model.plugged:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    async def stop_all(self) -> None:
        """The host goes down."""
        for domain in list(self.running.values()):
            if domain.kernel is not None:
                await domain.kernel.stop()

    # -- records -------------------------------------------------------------------------------------

    def _write_store(self, domain: Domain) -> None:
        home, domid, config, xs = domain.home, domain.domid, domain.config, self._xs
        xs.make(home, owned_by(DOM0, f"r{domid}"))
        for name in ("cpu", "memory", "device", "control", "hvmloader"):
            xs.make(f"{home}/{name}", owned_by(DOM0, f"r{domid}"))
        for name in ("data", "drivers", "feature", "attr", "error"):
            xs.make(f"{home}/{name}", owned_by(domid))
        xs.make(f"{home}/control/shutdown", owned_by(domid))
        if config.type == "pv":
            xs.make(f"{home}/device/suspend/event-channel", owned_by(domid))
        xs.write(f"{home}/vm", f"/vm/{domain.uuid}")
        xs.write(f"{home}/name", config.name)
        xs.write(f"{home}/domid", domid)
        xs.write(f"{home}/memory/target", config.memory * 1024)
        xs.write(f"{home}/memory/static-max", config.memory * 1024)
        # Every guest has a console, so that pruning of empty directories stops below `backend`.
        console = f"/local/domain/0/backend/console/{domid}/0"
        xs.make(console, owned_by(DOM0, f"r{domid}"))
        for node, value in (("frontend", f"{home}/console"), ("frontend-id", domid), ("online", 1), ("state", 1)):
            xs.write(f"{console}/{node}", value)
        xs.make(f"/vm/{domain.uuid}", owned_by(DOM0, f"r{domid}"))
        xs.write(f"/vm/{domain.uuid}/name", config.name)
        xs.write(f"/vm/{domain.uuid}/uuid", domain.uuid)
        xs.make(f"/libxl/{domid}", owned_by(DOM0))
        xs.write(f"/libxl/{domid}/type", config.type)
        xs.write(f"/libxl/{domid}/device", "")
        if config.type == "hvm":
            xs.write(f"/libxl/{domid}/dm-version", "qemu_xen")

    def _file(self, domain: Domain) -> Path:
        return self._userdata / f"userdata-d.{domain.domid}.{domain.uuid}.libxl-json"

    def _write_userdata(self, domain: Domain) -> None:
        config = domain.config
        build: dict[str, Any] = {"max_memkb": config.memory * 1024, "target_memkb": config.memory * 1024}
        build[f"type.{config.type}"] = {"e820_host": config.e820_host} if config.type == "pv" else {}
        content = {
            "c_info": {
                "type": config.type,
                "name": config.name,
                "uuid": domain.uuid,
                "passthrough": self._passthrough(config),
            },
            "b_info": build,
            "pcidevs": [],
            "on_reboot": config.on_reboot,
        }
        # libxl stores the terminating NUL with the text.
        self._file(domain).write_bytes(json.dumps(content, indent=4).encode() + b"\0")

    @staticmethod
    def _passthrough(config: Config) -> str:
        """What libxl makes of passthrough="enabled", or of devices in the configuration."""
        if not (config.passthrough or config.pci):
            return "disabled"
        return "sync_pt" if config.type == "pv" else "share_pt"

    def listing(self) -> list[dict[str, Any]]:
        """All domains as data."""
        result = []
        for domain in self.running.values():
            kernel = domain.kernel
            result.append(
                {
                    **asdict(domain.config),
                    "domid": domain.domid,
                    "uuid": domain.uuid,
                    "paused": domain.paused,
                    "oops": kernel.oops if kernel else None,
                    "devices": {
                        str(where): {"host": str(seen.device), "driver": seen.driver}
                        for where, seen in (kernel.devices if kernel else {}).items()
                    },
                }
            )
        return result
