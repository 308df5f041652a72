# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator's own socket: one JSON request a line, one JSON answer a line.

A request is {"do": name, ...arguments}; the answer {"result": ...}, {"errno": number} for what Linux or
Xen would refuse, or {"error": text} for a request that makes no sense.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Callable

from .domains import BadDomain, Config, NoSuchDomain
from .faults import BadFault, Faults
from .host.device import Device
from .inner_state import inner_state
from .simulated_host import SimulatedHost

Handler = Callable[..., Awaitable[Any]]


class Control:
    """Serves one host."""

    def __init__(self, host: SimulatedHost) -> None:
        self._host = host
        self._faults = Faults(host)
        self.stopped = asyncio.Event()
        self._listener: asyncio.AbstractServer | None = None
        self._handlers: dict[str, Handler] = {
            "sysfs-write": self._sysfs_write,
            "hypercall": self._hypercall,
            "create": self._create,
            "destroy": self._destroy,
            "end": self._end,
            "pause": self._pause,
            "list": self._list,
            "devices": self._devices,
            "inject": self._inject,
            "vf-settings": self._vf_settings,
            "set-vf": self._set_vf,
            "load-pcifront": self._load_pcifront,
            "trace": self._trace,
            "inner-state": self._inner_state,
            "at-rest": self._at_rest,
            "stop": self._stop,
        }

    async def start(self, path: Path) -> None:
        """Listen."""
        if path.exists():
            path.unlink()
        self._listener = await asyncio.start_unix_server(self._serve, str(path), backlog=128)

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                line = await reader.readline()
                if not line:
                    break
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers[request.pop("do")]
            return {"result": await handler(**request)}
        except OSError as error:
            return {"errno": error.errno}
        except (BadDomain, NoSuchDomain, BadFault) as error:
            return {"error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"bad request: {error!r}"}

    # -- requests ------------------------------------------------------------------------------------

    async def _sysfs_write(self, path: str, data: str, patient: bool = False) -> str:
        root = os.path.realpath(self._host.run.sys)
        file = os.path.relpath(path, root)
        hanging = self._host.hanging.of(file, data.strip())
        if hanging is not None and not patient:
            return "hangs"
        if hanging is not None:
            await hanging.wait()
        self._host.sysfs.write(file, data.encode("latin-1"))
        return ""

    async def _hypercall(self, name: str, arguments: dict[str, Any]) -> Any:
        calls = {
            "test_assign", "assign", "deassign", "device_group", "ioport_permission",
            "iomem_permission", "irq_permission", "map_pirq", "unmap_pirq", "getinfo", "virt_caps", "console_log",
        }  # fmt: skip
        if name not in calls:
            raise KeyError(name)
        return getattr(self._host.hypervisor, name)(**arguments)

    async def _create(self, config: dict[str, Any], paused: bool = False) -> dict[str, Any]:
        domain = await self._host.domains.create(Config.parse(config), paused)
        return {"domid": domain.domid, "uuid": domain.uuid}

    async def _destroy(self, domain: str, leave: bool = False, zombie: bool = False) -> None:
        await self._host.domains.destroy(self._host.domains.find(domain), leave, zombie)

    async def _end(self, domain: str, how: str) -> None:
        await self._host.domains.find(domain).guest.obey(how)

    async def _pause(self, domain: str, paused: bool) -> None:
        self._host.domains.pause(self._host.domains.find(domain), paused)

    async def _load_pcifront(self, domain: str) -> None:
        kernel = self._host.domains.find(domain).kernel
        if kernel is None:
            raise BadDomain("only a PV guest has pcifront")
        kernel.load_pcifront()

    async def _list(self) -> Any:
        return self._host.domains.listing()

    async def _devices(self) -> Any:
        return {
            str(device): {
                "model": device.model_name,
                "driver": device.driver,
                "owner": self._host.hypervisor.owner(device.address),
                "irq": device.irq,
                "resets": device.reset_count,
            }
            for device in self._host.bus.devices.values()
        }

    async def _vf_settings(self, interface: str) -> Any:
        fresh = {"address": "00:00:00:00:00:00", "spoofchk": True, "link_state": "auto"}
        return [{"vf": number, **fresh, **vf.settings} for number, vf in enumerate(self._functions(interface))]

    async def _set_vf(self, interface: str, number: int, settings: dict[str, Any]) -> None:
        functions = self._functions(interface)
        if number >= len(functions):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        functions[number].settings.update(settings)

    def _functions(self, interface: str) -> list[Device]:
        """The virtual functions behind a network interface."""
        return next((device.vfs for device in self._host.bus.devices.values() if interface in device.names), [])

    async def _inject(self, fault: str, **arguments: Any) -> None:
        await self._faults.inject(fault, arguments)

    async def _trace(self, start: int = 0) -> Any:
        return [str(entry) for entry in self._host.trace.entries[start:]]

    async def _inner_state(self) -> Any:
        return inner_state(self._host)

    async def _at_rest(self, clients: int = 0) -> bool:
        await asyncio.sleep(0)  # who has just been woken takes his turn first
        return self._host.at_rest(clients)

    async def _stop(self) -> None:
        self.stopped.set()
