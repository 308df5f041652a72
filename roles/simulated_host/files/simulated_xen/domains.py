# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Domains: what their creation, pause and end leave in xenstore, in Xen and in libxl's files."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .host.device import Address, Device
from .hypervisor import Hypervisor
from .kernel.domu import DomuKernel
from .kernel.guest import GuestKernel, Manner, Platform
from .qemu.device_model import DeviceModel
from .qemu.qmp import QmpServer
from .store.local import LocalClient
from .store.store import Store
from .store.tree import Permission, Permissions

DOM0 = 0


class Surroundings(Platform, Protocol):
    """What guests and their QEMU reach outside of themselves."""

    def host_device(self, address: Address) -> Device | None:
        """A device of the machine."""

    def has_shut_down(self, domid: int, reason: str) -> None:
        """Xen tells the toolstack of a domain that runs no more."""


class NoSuchDomain(Exception):
    """Nobody has this name or number."""


class BadDomain(ValueError):
    """What was asked for makes no domain; the text says why."""


@dataclass
class Config:
    """What a domain is created from. `type`: pv, hvm or pvh; `pci`: host addresses given at creation;
    `stubdomain`: the device model of an HVM guest runs in a domain of its own; `twin`: another domain may have the same
    name, as after a failed migration; `uuid`: if it is not to be made from the name; `manager`: xl, or
    libvirt, which stores its definition with it."""

    name: str
    type: str = "pv"
    passthrough: bool = True
    e820_host: bool = True
    pcifront: bool = True
    linux: str = "6.1"
    memory: int = 160
    on_poweroff: str = "destroy"
    on_reboot: str = "restart"
    stubdomain: bool = False
    twin: bool = False
    uuid: str = ""
    manager: str = "xl"
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
        if config.manager not in ("xl", "libvirt"):
            raise BadDomain(f"the manager of a domain is xl or libvirt, not {config.manager}")
        if config.type not in ("pv", "hvm", "pvh"):
            raise BadDomain(f"a domain is pv, hvm or pvh, not {config.type}")
        if config.stubdomain and config.type != "hvm":
            raise BadDomain("only an hvm domain has a stub domain")
        return config


@dataclass
class Domain:
    """One domain. `monitor`: the socket of its QEMU; `stub`: the domain that this QEMU runs in; `shutdown`: why it runs
    no more, which it does not until somebody destroys it."""

    domid: int
    uuid: str
    config: Config
    guest: DomuKernel
    model: DeviceModel | None = None
    monitor: QmpServer | None = None
    stub: Domain | None = None
    paused: bool = False
    shutdown: str | None = None

    @property
    def kernel(self) -> GuestKernel | None:
        """That of a PV guest: others do not take part in the handshake."""
        return self.guest if isinstance(self.guest, GuestKernel) else None

    @property
    def home(self) -> str:
        """Its directory in xenstore."""
        return f"/local/domain/{self.domid}"


def owned_by(domid: int, *others: str) -> Permissions:
    """A permission list: the owner with no access for the rest, then single entries."""
    return (Permission("n", domid), *tuple(Permission(entry[0], int(entry[1:])) for entry in others))


class Domains:
    """All domains of one host, and the toolstack's acts on them."""

    def __init__(
        self, store: Store, hypervisor: Hypervisor, platform: Surroundings, userdata: Path, sockets: Path
    ) -> None:
        self._store = store
        self._hypervisor = hypervisor
        self._platform = platform
        self._userdata = userdata
        self._sockets = sockets
        hypervisor.on_assigned = self._assigned
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
        if not config.twin and any(domain.config.name == config.name for domain in self.running.values()):
            raise BadDomain(f"there is a domain {config.name} already")
        domid, self._next = self._next, self._next + 1
        called = f"{config.name}.{domid}" if config.twin else config.name
        identity = config.uuid or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{called}.simulated.invalid"))
        domain = self.running[domid] = Domain(domid, identity, config, self._kernel(domid, config))
        domain.guest.on_end = lambda reason: self._has_shut_down(domain, reason)
        handle = uuid.UUID(identity).bytes
        self._hypervisor.create(domid, config.passthrough or bool(config.pci), handle, config.type != "pv")
        self._write_store(domain)
        self._write_userdata(domain)
        self._store.introduce(domid)
        if config.type == "hvm":
            await self._start_qemu(domain)
        domain.guest.boot()
        if paused:
            self.pause(domain, True)
        return domain

    def _kernel(self, domid: int, config: Config) -> DomuKernel:
        if config.type != "pv":
            return DomuKernel(self._store, domid)
        major, _dot, minor = config.linux.partition(".")
        return GuestKernel(self._store, domid, self._platform, (int(major), int(minor or "0")), config.pcifront)

    async def _start_qemu(self, domain: Domain) -> None:
        """QEMU in dom0, or in a PV domain of its own that gets each device first and hands it on."""
        domid, platform, hypervisor = domain.domid, self._platform, self._hypervisor
        if domain.config.stubdomain:
            name = f"{domain.config.name}-dm"
            domain.stub = await self.create(Config(name, passthrough=False, linux=domain.config.linux, memory=64))
            if domain.stub.kernel is not None:
                # pcifront only brings the devices; no driver takes them.
                domain.stub.kernel.manners["*"] = Manner.REFUSE
            self._xs.write(f"{domain.home}/image/device-model-domid", domain.stub.domid)
            self._xs.write(f"{domain.stub.home}/target", domid)
        domain.model = DeviceModel(
            platform.host_device,
            lambda device: hypervisor.owner(device.address) == domid,
            platform.config_changed,
        )
        domain.monitor = QmpServer(domain.model, self._sockets / f"qmp-libxl-{domid}")
        await domain.monitor.start()

    def _assigned(self, domid: int) -> None:
        """Xen has given a domain a device."""
        domain = self.running.get(domid)
        if domain is not None and domain.model is not None:
            domain.model.go_on()

    def _has_shut_down(self, domain: Domain, reason: str) -> None:
        domain.shutdown = reason
        if domain.model is not None:
            domain.model.paused = True  # nobody ejects a device any more
        self._platform.has_shut_down(domain.domid, reason)

    async def destroy(self, domain: Domain, leave: bool = False, zombie: bool = False) -> None:
        """The domain is gone, with its directories; backend directories are left to who made them.

        With `leave`, the toolstack has not cleaned up behind it. With `zombie`, Xen still lists it as dying.
        """
        self.running.pop(domain.domid, None)
        rights = self._hypervisor.domains.get(domain.domid)
        if rights is not None:
            rights.dying = True
        await domain.guest.stop()
        if domain.monitor is not None:
            domain.monitor.stop()
        if domain.stub is not None:
            await self.destroy(domain.stub, leave, zombie)
        console = f"/local/domain/0/backend/console/{domain.domid}"
        for path in () if leave else (domain.home, f"/libxl/{domain.domid}", f"/vm/{domain.uuid}", console):
            self._xs.remove(path)
        if not leave:
            for kind in ("libxl-json", "libvirt-xml"):
                self._file(domain, kind).unlink(missing_ok=True)
        self._hypervisor.destroy(domain.domid, zombie)
        self._store.release(domain.domid)

    def pause(self, domain: Domain, paused: bool) -> None:
        """Stop or go on running."""
        domain.paused = paused
        if domain.model is not None:
            domain.model.paused = paused
            domain.model.go_on()
        domain.guest.pause(paused)

    async def stop_all(self) -> None:
        """The host goes down."""
        for domain in list(self.running.values()):
            await domain.guest.stop()
            if domain.monitor is not None:
                domain.monitor.stop()

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

    def _file(self, domain: Domain, kind: str = "libxl-json") -> Path:
        return self._userdata / f"userdata-d.{domain.domid}.{domain.uuid}.{kind}"

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
            "on_poweroff": config.on_poweroff,
            "on_reboot": config.on_reboot,
        }
        # libxl stores the terminating NUL with the text.
        self._file(domain).write_bytes(json.dumps(content, indent=4).encode() + b"\0")
        if config.manager == "libvirt":
            definition = f"<domain type='xen'><name>{config.name}</name><uuid>{domain.uuid}</uuid></domain>"
            self._file(domain, "libvirt-xml").write_bytes(definition.encode() + b"\0")

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
                    "shutdown": domain.shutdown,
                    "oops": kernel.oops if kernel else None,
                    "stub": domain.stub.domid if domain.stub else None,
                    "devices": self._devices(domain),
                }
            )
        return result

    @staticmethod
    def _devices(domain: Domain) -> dict[str, dict[str, str | None]]:
        """What the guest sees by its own addresses; nothing once it runs no more."""
        if domain.shutdown:
            return {}
        if domain.model is not None:
            return {
                f"0000:00:{one.slot:02x}.{one.function}": {
                    "host": str(one.device),
                    "driver": one.device.model.driver if one.taken else None,
                }
                for one in domain.model.plugged.values()
            }
        seen = domain.kernel.devices if domain.kernel else {}
        return {str(where): {"host": str(one.device), "driver": one.driver} for where, one in seen.items()}
