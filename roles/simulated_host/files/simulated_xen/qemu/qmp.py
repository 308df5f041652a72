# Copyright (c) 2026, xen.pci contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""QMP, QEMU's control protocol, as far as libxl and tools for passthrough use it: one client at a time."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any, Callable

from ..host.device import Address
from .device_model import DeviceModel, Refused

GREETING = {
    "QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": "simulated"}, "capabilities": ["oob"]}
}
_ADDRESS = re.compile(r"([0-9a-fA-F]{1,2})(?:\.([0-7]))?")


class QmpServer:
    """The socket of one guest's QEMU."""

    def __init__(self, model: DeviceModel, path: Path) -> None:
        self._model = model
        self._path = path
        self._turn = asyncio.Lock()
        self._speaks = asyncio.Event()
        self._speaks.set()
        self._listener: asyncio.AbstractServer | None = None
        self._writer: asyncio.StreamWriter | None = None
        model.on_deleted = self._deleted
        self._commands: dict[str, Callable[[dict[str, Any]], Any]] = {
            "qmp_capabilities": lambda arguments: {},
            "query-version": lambda arguments: GREETING["QMP"]["version"],
            "query-status": lambda arguments: {
                "status": "paused" if model.paused else "running", "singlestep": False, "running": not model.paused,
            },
            "query-pci": lambda arguments: model.query_pci(),
            "device_add": self._device_add,
            "device_del": self._device_del,
        }  # fmt: skip

    async def start(self) -> None:
        """Listen."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = await asyncio.start_unix_server(self._serve, str(self._path))

    def stop(self) -> None:
        """QEMU ends."""
        if self._listener is not None:
            self._listener.close()
        self._path.unlink(missing_ok=True)

    def silence(self, silent: bool) -> None:
        """QEMU's main loop hangs: it takes what it gets and says nothing; then it answers all of it."""
        if silent:
            self._speaks.clear()
        else:
            self._speaks.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A second client is connected, but hears nothing until the first has gone: QEMU has one monitor.
        async with self._turn:
            self._writer = writer
            try:
                await self._speaks.wait()
                self._send(GREETING)
                negotiated = False
                while line := await reader.readline():
                    await self._speaks.wait()
                    answer, negotiated = self._answer(line, negotiated)
                    self._send(answer)
                    await writer.drain()
            except ConnectionError:
                return
            finally:
                self._writer = None
                writer.close()

    def _send(self, message: Any) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\r\n")

    def _deleted(self, name: str) -> None:
        self._send({"event": "DEVICE_DELETED", "data": {"device": name, "path": f"/machine/peripheral/{name}"}})

    def _answer(self, line: bytes, negotiated: bool) -> tuple[dict[str, Any], bool]:
        try:
            request = json.loads(line)
            name = request["execute"]
        except (ValueError, KeyError, TypeError):
            return _error("GenericError", "JSON parse error"), negotiated
        identity = {"id": request["id"]} if "id" in request else {}
        if name not in self._commands or (not negotiated and name != "qmp_capabilities"):
            return _error("CommandNotFound", f"The command {name} has not been found") | identity, negotiated
        try:
            result = self._commands[name](request.get("arguments") or {})
        except Refused as error:
            kind = "DeviceNotFound" if str(error).endswith("not found") else "GenericError"
            return _error(kind, str(error)) | identity, negotiated
        return {"return": result} | identity, True

    def _device_add(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if arguments.get("driver") != "xen-pci-passthrough":
            raise Refused(f"'{arguments.get('driver')}' is not a valid device model name")
        try:
            address = Address.parse(str(arguments.get("hostaddr")))
        except ValueError:
            raise Refused("Property 'xen-pci-passthrough.hostaddr' is wrong") from None
        place = _ADDRESS.fullmatch(str(arguments.get("addr", ""))) if "addr" in arguments else None
        slot, function = (int(place[1], 16), int(place[2] or 0)) if place else (None, 0)
        self._model.plug(str(arguments.get("id")), address, slot, function)
        return {}

    def _device_del(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._model.unplug(str(arguments.get("id")))
        return {}


def _error(kind: str, text: str) -> dict[str, Any]:
    return {"error": {"class": kind, "desc": text}}
